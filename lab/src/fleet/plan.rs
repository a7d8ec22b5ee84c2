//! What goes wrong in a simulated fleet, and when: the same for the same seed.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::HashSet;
use std::time::Duration;

/// How many hosts or pools have which trouble.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Decides who and when.
    pub seed: u64,
    /// Hosts that beat once and then say nothing.
    pub silent: u32,
    /// Hosts one of whose pools fails and recovers by turns.
    pub flapping: u32,
    /// Hosts some of whose beats never arrive.
    pub lost_beats: u32,
    /// Hosts some of whose answers never arrive.
    pub lost_answers: u32,
    /// Hosts some of whose beats arrive twice.
    pub doubled: u32,
    /// Hosts some of whose beats arrive again after later ones.
    pub reordered: u32,
    /// Hosts one of whose VMs is switched off and on by somebody else all the time.
    pub restless: u32,
}

/// The trouble of one host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trouble {
    /// Seed of its own dice.
    pub seed: u64,
    /// Says nothing after its first beat.
    pub silent: bool,
    /// Its first pool turns so often.
    pub flapping: Option<Duration>,
    /// Share of beats that never arrive.
    pub lost_beats: f64,
    /// Share of answers that never arrive.
    pub lost_answers: f64,
    /// Share of beats that arrive twice.
    pub doubled: f64,
    /// Share of beats that arrive again after the next.
    pub reordered: f64,
    /// Its first VM is switched so often.
    pub restless: Option<Duration>,
}

/// Who has which trouble.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    hosts: Vec<Trouble>,
}

/// A pool or VM turns after so long, between these.
const TURN: std::ops::Range<u64> = 500..3000;
/// Share of beats with a trouble, on a host that has it.
const SHARE: f64 = 0.3;

impl Plan {
    /// Deals the troubles out among so many hosts; a host may have several.
    pub fn new(hosts: u32, troubles: &Troubles) -> Plan {
        let mut dice = StdRng::seed_from_u64(troubles.seed);
        let mut all: Vec<Trouble> =
            (0..hosts).map(|_| Trouble { seed: dice.random(), ..Trouble::default() }).collect();
        let mut deal = |count: u32, give: fn(&mut Trouble, Duration)| {
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.shuffle(&mut dice);
            for n in order.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
                give(&mut all[n], Duration::from_millis(dice.random_range(TURN)));
            }
        };
        deal(troubles.silent, |t, _| t.silent = true);
        deal(troubles.flapping, |t, every| t.flapping = Some(every));
        deal(troubles.lost_beats, |t, _| t.lost_beats = SHARE);
        deal(troubles.lost_answers, |t, _| t.lost_answers = SHARE);
        deal(troubles.doubled, |t, _| t.doubled = SHARE);
        deal(troubles.reordered, |t, _| t.reordered = SHARE);
        deal(troubles.restless, |t, every| t.restless = Some(every));
        Plan { hosts: all }
    }

    /// The trouble of a host.
    pub fn of(&self, host: u32) -> Trouble {
        usize::try_from(host).ok().and_then(|n| self.hosts.get(n)).cloned().unwrap_or_default()
    }

    /// Numbers of the hosts whose trouble is such.
    pub fn hosts_with(&self, is: impl Fn(&Trouble) -> bool) -> HashSet<usize> {
        self.hosts.iter().enumerate().filter(|(_, trouble)| is(trouble)).map(|(n, _)| n).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_deals_the_same() {
        let plan = |seed| Plan::new(50, &Troubles { seed, silent: 5, flapping: 7, ..Troubles::default() });
        assert_eq!(plan(1).hosts, plan(1).hosts);
        assert_ne!(plan(1).hosts, plan(2).hosts);
        assert_eq!(plan(1).hosts_with(|t| t.silent).len(), 5);
        assert_eq!(plan(1).hosts_with(|t| t.flapping.is_some()).len(), 7);
        assert_eq!(plan(1).of(1000), Trouble::default());
    }
}
