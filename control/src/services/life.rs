//! Lives of daemons: whether one host speaks under one identity, two do (a cloned disk), or one speaks far too often.
//!
//! ```text
//!   beat ─▶ this life's next ─▶ taken          a new life ─▶ taken: the daemon was started anew
//!     ├─ said before, or late ─▶ answered, not taken
//!     └─ an earlier life goes on ─▶ CLONED: the life that was there first is believed, the other refused
//!                                     └─ only one has beaten for three intervals ─▶ it is the host again
//! ```
//! Each start of a daemon has a boot id and counts its beats. A daemon that was started anew never speaks under its earlier
//! boot id again; what is late of it was looked at earlier than what came since. A network that repeats a beat repeats
//! its time, too: within one life, a count that does not go up while time does is a second machine that was copied while
//! it ran.
//!
//! Beats may come [`BURST`] at once, and twenty times as often as they should for as long as one likes.

use quantix_model::host::BEATS_MISSED_MAX;
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode, UnixMs};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lives of one host that are remembered; the oldest goes first.
const LIVES_MAX: usize = 4;
/// An earlier life that says so many new things goes on, whatever its clock says.
const AFTER_MAX: u32 = 3;
/// Beats that may come at once: changes are told as they happen.
const BURST: f64 = 60.0;
/// So many times the expected rate is taken for ever.
const OFTEN: f64 = 20.0;

/// What tells one beat from another.
#[derive(Clone, Copy, Debug)]
pub struct Beat<'a> {
    /// Life of the daemon.
    pub boot_id: &'a str,
    /// Count within that life.
    pub sequence: u64,
    /// By the host's clock.
    pub observed_at: UnixMs,
    /// Where it came from, without port.
    pub address: &'a str,
}

/// What becomes of a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// News.
    Take,
    /// Known, or late.
    Late,
    /// Of a second machine with this identity.
    Cloned,
}

#[derive(Clone, Debug)]
struct Life {
    boot_id: String,
    sequence: u64,
    observed_at: UnixMs,
    heard_at: UnixMs,
    address: String,
    /// New things it said since another life took its place.
    after: u32,
}

#[derive(Debug, Default)]
struct Host {
    /// The one that is believed first; no boot id twice, but for a machine that was copied while it ran.
    lives: Vec<Life>,
    cloned: bool,
    interval: Duration,
    tokens: f64,
    filled_at: Option<UnixMs>,
}

/// The lives of all hosts.
#[derive(Debug, Default)]
pub struct Lives(Mutex<HashMap<HostId, Host>>);

impl Lives {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a beat; also whether that changed whether the host counts as cloned.
    pub fn heard(&self, id: HostId, beat: Beat<'_>, interval: Duration, now: UnixMs) -> (Verdict, bool) {
        let mut hosts = self.hosts();
        let host = hosts.entry(id).or_default();
        host.interval = interval;
        let before = host.cloned;
        host.settle(now);
        let verdict = host.judge(beat, now);
        (verdict, host.cloned != before)
    }

    /// Whether a host may beat now. Counts, so ask once per beat.
    pub fn may_beat(&self, id: HostId, now: UnixMs) -> Result<(), Fault> {
        let mut hosts = self.hosts();
        // The first beat says how often it should.
        let Some(host) = hosts.get_mut(&id).filter(|host| !host.interval.is_zero()) else { return Ok(()) };
        let every = host.interval.as_secs_f64() / OFTEN;
        let since = host.filled_at.map_or(Duration::MAX, |at| at.age(now));
        let filled = host.tokens + since.as_secs_f64() / every;
        host.filled_at = Some(now);
        host.tokens = filled.min(BURST);
        if host.tokens >= 1.0 {
            host.tokens -= 1.0;
            return Ok(());
        }
        Err(Fault::new(
            FaultCode::Busy,
            "This host reports far more often than it should.",
            "Nothing to do if it ends by itself. If it lasts, look at the log of quantix-node on that host.",
        )
        .retry_after(host.interval))
    }

    /// Where the two machines speak from, while a host counts as cloned.
    pub fn cloned(&self, id: HostId) -> Option<Vec<String>> {
        let hosts = self.hosts();
        let host = hosts.get(&id).filter(|host| host.cloned)?;
        let mut addresses: Vec<String> = host.lives.iter().map(|life| life.address.clone()).collect();
        addresses.sort();
        addresses.dedup();
        Some(addresses)
    }

    /// Hosts that counted as cloned, and of which only one speaks any more.
    pub fn settled(&self, now: UnixMs) -> Vec<HostId> {
        let mut hosts = self.hosts();
        let cloned = hosts.iter_mut().filter(|(_, host)| host.cloned);
        cloned.filter_map(|(id, host)| (host.settle(now), host.cloned).1.eq(&false).then_some(*id)).collect()
    }

    /// Forgets a host.
    pub fn remove(&self, id: HostId) {
        self.hosts().remove(&id);
    }
}

impl Host {
    /// Ends the doubt once only one has spoken for as long as makes a host silent.
    fn settle(&mut self, now: UnixMs) {
        if !self.cloned {
            return;
        }
        let patience = self.interval * BEATS_MISSED_MAX;
        let speaks = |life: &Life| life.heard_at.age(now) <= patience;
        if self.lives.iter().filter(|life| speaks(life)).count() <= 1 {
            self.lives.sort_by_key(|life| std::cmp::Reverse(life.heard_at));
            self.lives.truncate(1);
            self.cloned = false;
        }
    }

    fn judge(&mut self, beat: Beat<'_>, now: UnixMs) -> Verdict {
        let Some(first) = self.lives.first() else {
            self.lives.push(Life::of(beat, now));
            return Verdict::Take;
        };
        if first.boot_id == beat.boot_id {
            return self.of_the_first(beat, now);
        }
        let Some(at) = self.lives.iter().position(|life| life.boot_id == beat.boot_id) else {
            return self.of_a_new_one(beat, now);
        };
        let newest = first.observed_at;
        let life = &mut self.lives[at];
        if beat.sequence <= life.sequence {
            return Verdict::Late;
        }
        let after = life.after + 1;
        *life = Life { after, ..Life::of(beat, now) };
        if self.cloned {
            return Verdict::Cloned;
        }
        if beat.observed_at <= newest && after < AFTER_MAX {
            return Verdict::Late;
        }
        self.cloned = true;
        // It was there before the other.
        self.lives.swap(0, at);
        Verdict::Take
    }

    fn of_the_first(&mut self, beat: Beat<'_>, now: UnixMs) -> Verdict {
        let Some(first) = self.lives.first_mut() else { return Verdict::Late };
        if beat.sequence > first.sequence && (!self.cloned || first.address == beat.address) {
            *first = Life::of(beat, now);
            return Verdict::Take;
        }
        if beat.sequence <= first.sequence && beat.observed_at <= first.observed_at {
            return Verdict::Late;
        }
        // Copied while it ran: it has the other's boot id and counts on from the same number.
        self.cloned = true;
        let other = Life::of(beat, now);
        match self.lives.iter_mut().skip(1).find(|life| life.boot_id == beat.boot_id) {
            Some(life) => *life = other,
            None => self.lives.push(other),
        }
        Verdict::Cloned
    }

    fn of_a_new_one(&mut self, beat: Beat<'_>, now: UnixMs) -> Verdict {
        let life = Life::of(beat, now);
        if self.cloned {
            self.lives.truncate(LIVES_MAX - 1);
            self.lives.push(life);
            return Verdict::Cloned;
        }
        self.lives.insert(0, life);
        self.lives.truncate(LIVES_MAX);
        Verdict::Take
    }
}

impl Life {
    fn of(beat: Beat<'_>, now: UnixMs) -> Life {
        Life {
            boot_id: beat.boot_id.to_owned(),
            sequence: beat.sequence,
            observed_at: beat.observed_at,
            heard_at: now,
            address: beat.address.to_owned(),
            after: 0,
        }
    }
}

/// What is said of a host under whose identity two machines speak.
pub fn fault(name: &str, addresses: &[String]) -> Fault {
    let from = match addresses {
        [one] => format!("both from {one}"),
        several => format!("from {}", several.join(" and ")),
    };
    Fault::new(
        FaultCode::HostCloned,
        format!("Two machines report as {name}, {from}: one is a copy of the other's disk."),
        format!(
            "Stop quantix-node on the copy, delete /var/lib/quantix there, start it, and add it as a host of its own. \
             {name} is used again once only one has reported for three beats."
        ),
    )
    .because("both carry the certificate of this host; nothing is started or changed there until then")
    .on_host(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const ID: HostId = HostId(Uuid::nil());
    const EVERY: Duration = Duration::from_secs(1);

    struct Script(Lives);

    impl Script {
        /// A beat of life `boot`, `at` by both clocks.
        fn says(&self, boot: &str, sequence: u64, at: i64) -> Verdict {
            self.from(boot, sequence, (at, at), "10.0.0.1")
        }

        fn from(&self, boot_id: &str, sequence: u64, (observed, now): (i64, i64), address: &str) -> Verdict {
            let beat = Beat { boot_id, sequence, observed_at: UnixMs(observed), address };
            self.0.heard(ID, beat, EVERY, UnixMs(now)).0
        }
    }

    #[test]
    fn a_daemon_that_starts_anew_is_no_clone() {
        let host = Script(Lives::default());
        for (boot, sequence, at) in [("a", 1, 10), ("a", 2, 20), ("b", 1, 30), ("b", 2, 40), ("c", 1, 50)] {
            assert_eq!(host.says(boot, sequence, at), Verdict::Take);
        }
        assert_eq!(host.0.cloned(ID), None);
    }

    #[test]
    fn what_the_network_repeats_or_delays_is_no_clone() {
        let host = Script(Lives::default());
        host.says("a", 1, 10);
        host.says("a", 2, 20);
        assert_eq!(host.says("a", 2, 20), Verdict::Late, "twice");
        assert_eq!(host.says("a", 1, 10), Verdict::Late, "late");
        host.says("b", 1, 40);
        assert_eq!(host.says("a", 3, 30), Verdict::Late, "late, of the life before");
        assert_eq!(host.says("b", 2, 50), Verdict::Take);
        assert_eq!(host.0.cloned(ID), None);
    }

    #[test]
    fn two_that_speak_by_turns_are_noticed_and_the_first_is_believed() {
        let host = Script(Lives::default());
        host.from("a", 7, (1_000, 1_000), "10.0.0.1");
        assert_eq!(host.from("b", 1, (1_500, 1_500), "10.0.0.2"), Verdict::Take, "it may have started anew");
        assert_eq!(host.from("a", 8, (2_000, 2_000), "10.0.0.1"), Verdict::Take);
        assert_eq!(host.0.cloned(ID).unwrap(), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(host.from("b", 2, (2_500, 2_500), "10.0.0.2"), Verdict::Cloned);
        assert_eq!(host.from("c", 1, (2_600, 2_600), "10.0.0.2"), Verdict::Cloned, "started anew");
        assert_eq!(host.from("a", 9, (3_000, 3_000), "10.0.0.1"), Verdict::Take);
        assert!(host.0.settled(UnixMs(3_100)).is_empty());
        assert_eq!(host.from("a", 10, (5_700, 5_700), "10.0.0.1"), Verdict::Take);
        assert_eq!(host.0.cloned(ID), None, "the copy has been silent for three beats");
    }

    #[test]
    fn the_copy_takes_over_when_the_first_falls_silent() {
        let host = Script(Lives::default());
        host.says("a", 1, 0);
        host.says("b", 1, 500);
        host.says("a", 2, 1_000);
        for n in 2..5 {
            assert_eq!(host.says("b", n, i64::try_from(n).unwrap() * 1_000), Verdict::Cloned);
        }
        assert_eq!(host.0.settled(UnixMs(4_100)), vec![ID]);
        assert_eq!(host.says("b", 5, 5_000), Verdict::Take);
    }

    #[test]
    fn a_clone_whose_clock_is_behind_is_noticed_too() {
        let host = Script(Lives::default());
        host.from("a", 1, (0, 0), "10.0.0.1");
        for n in 1..4 {
            let now = i64::try_from(n).unwrap() * 1_000;
            host.from("b", n, (now + 60_000, now + 500), "10.0.0.2");
            host.from("a", n + 1, (now, now + 900), "10.0.0.1");
        }
        assert!(host.0.cloned(ID).is_some());
    }

    #[test]
    fn a_machine_copied_while_it_ran_is_noticed() {
        let host = Script(Lives::default());
        host.from("a", 5, (1_000, 1_000), "10.0.0.1");
        assert_eq!(host.from("a", 6, (2_000, 2_000), "10.0.0.1"), Verdict::Take);
        assert_eq!(host.from("a", 6, (2_400, 2_400), "10.0.0.2"), Verdict::Cloned);
        assert_eq!(host.from("a", 7, (3_000, 3_000), "10.0.0.1"), Verdict::Take);
        assert_eq!(host.from("a", 8, (3_400, 3_400), "10.0.0.2"), Verdict::Cloned);
        assert_eq!(host.0.cloned(ID).unwrap().len(), 2);
    }

    #[test]
    fn who_beats_a_hundred_times_as_often_is_told_when_to_come_again() {
        let (host, other) = (Script(Lives::default()), HostId(Uuid::from_u128(2)));
        host.says("a", 1, 0);
        let at = |n: u32| UnixMs(i64::from(n) * 10);
        let refused = (0..200).filter_map(|n| host.0.may_beat(ID, at(n)).err()).collect::<Vec<_>>();
        assert!((90..=110).contains(&refused.len()), "{}", refused.len());
        assert_eq!((refused[0].code, refused[0].retry_after_ms), (FaultCode::Busy, 1_000));
        assert_eq!(host.0.may_beat(other, at(200)), Ok(()), "others are not hurt");
        assert_eq!(host.0.may_beat(ID, UnixMs(5_000)), Ok(()), "it comes again in time");
    }

    proptest! {
        /// One machine, however often it starts, and a network that drops, repeats and swaps its beats.
        #[test]
        fn one_machine_is_never_a_clone(starts in prop::collection::vec(2u64..6, 1..4), swaps in any::<u64>()) {
            let host = Script(Lives::default());
            let mut all: Vec<(String, u64, i64)> = Vec::new();
            for (life, beats) in starts.iter().enumerate() {
                for n in 1..=*beats {
                    all.push((format!("boot-{life}"), n, i64::try_from(all.len()).unwrap() * 100));
                }
            }
            for n in 1..all.len() {
                if swaps >> (n % 64) & 1 == 1 && n % 3 == 0 {
                    all.swap(n - 1, n);
                }
            }
            for (n, (boot, sequence, at)) in all.iter().enumerate() {
                let now = i64::try_from(n).unwrap() * 100;
                host.from(boot, *sequence, (*at, now), "10.0.0.1");
                host.from(boot, *sequence, (*at, now), "10.0.0.1");
            }
            prop_assert_eq!(host.0.cloned(ID), None);
        }
    }
}
