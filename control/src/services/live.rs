//! What hosts said last, in memory only: after a restart of the vDC nothing is known until they speak again.
//!
//! One entry per host, replaced whole by each beat it accepts. Locks are held for a copy, never across a wait.

use quantix_model::host::{BEATS_MISSED_MAX, Engine, HostPhase, Vitals};
use quantix_model::id::{HostId, PoolId, VmId};
use quantix_model::pool::PoolReport;
use quantix_model::vm::PowerState;
use quantix_model::{Fault, UnixMs};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What a host said of one of its VMs.
#[derive(Clone, Debug, PartialEq)]
pub struct VmLive {
    /// Generation it carries; 0 when not made by Quantix.
    pub generation: u64,
    /// As reported.
    pub power_state: PowerState,
    /// The host's event behind it.
    pub power_reason: String,
    /// So since, by the host's clock.
    pub since: Option<UnixMs>,
    /// The host looked then, by its clock.
    pub observed_at: Option<UnixMs>,
    /// Of its vCPUs, 0 to 1.
    pub cpu_used_ratio: Option<f64>,
    /// Resident on the host.
    pub memory_used_bytes: Option<u64>,
    /// What the host could not do for it.
    pub fault: Option<Fault>,
    /// So since, by the host's clock.
    pub fault_since: Option<UnixMs>,
}

/// What a host said last.
#[derive(Clone, Debug, PartialEq)]
pub struct HostLive {
    /// The beat came then, by our clock.
    pub beat_at: UnixMs,
    /// Life of the daemon.
    pub boot_id: String,
    /// Count within that life.
    pub sequence: u64,
    /// Host clock minus ours.
    pub clock_skew_ms: i64,
    /// Moving figures.
    pub vitals: Vitals,
    /// libvirt and QEMU.
    pub engine: Option<Engine>,
    /// Its pools.
    pub pools: HashMap<PoolId, PoolReport>,
    /// Its VMs; `None` when its libvirt did not answer.
    pub vms: Option<HashMap<VmId, VmLive>>,
    /// Beats in a row in which a VM of ours was not there.
    pub missing: HashMap<VmId, u32>,
    /// The phase watchers were told.
    pub phase: HostPhase,
}

/// All hosts' last words.
#[derive(Debug)]
pub struct Live {
    started_at: UnixMs,
    hosts: Mutex<HashMap<HostId, HostLive>>,
    /// Hosts that never spoke since, and were told of once.
    absent: Mutex<HashSet<HostId>>,
}

impl Live {
    /// Nothing known yet, since `started_at`.
    pub fn new(started_at: UnixMs) -> Live {
        Live { started_at, hosts: Mutex::default(), absent: Mutex::default() }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, HostLive>> {
        // A panic while it was held left whole entries only: each is replaced at once.
        self.hosts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// This vDC's life began then.
    pub fn started_at(&self) -> UnixMs {
        self.started_at
    }

    /// What a host said last, if it spoke in this life of the vDC.
    pub fn get(&self, id: HostId) -> Option<HostLive> {
        self.hosts().get(&id).cloned()
    }

    /// Whether a beat is newer than what we have: another life of the daemon, or a higher count in the same.
    pub fn is_newer(&self, id: HostId, boot_id: &str, sequence: u64) -> bool {
        self.hosts().get(&id).is_none_or(|h| h.boot_id != boot_id || sequence > h.sequence)
    }

    /// Takes a host's words in place of its last; answers those.
    pub fn replace(&self, id: HostId, said: HostLive) -> Option<HostLive> {
        self.hosts().insert(id, said)
    }

    /// Changes what is known of a host, if anything is.
    pub fn change(&self, id: HostId, change: impl FnOnce(&mut HostLive)) {
        if let Some(host) = self.hosts().get_mut(&id) {
            change(host);
        }
    }

    /// Forgets a host.
    pub fn remove(&self, id: HostId) {
        self.hosts().remove(&id);
    }

    /// The phase of a host. One that has not spoken since the vDC started is given three intervals.
    pub fn phase(&self, id: HostId, interval: Duration, seen_before: bool, now: UnixMs) -> HostPhase {
        let hosts = self.hosts();
        match hosts.get(&id) {
            None if seen_before && self.started_at.age(now) > interval * BEATS_MISSED_MAX => {
                HostPhase::Disconnected
            }
            None => HostPhase::Pending,
            Some(live) => {
                let fault = live.engine.as_ref().is_some_and(|e| e.fault.is_some());
                quantix_model::host::phase(Some(live.beat_at), interval, fault, now)
            }
        }
    }

    /// Whether this is the first time that a host which never spoke since the start is found to be silent.
    pub fn first_absence(&self, id: HostId) -> bool {
        let spoke = self.hosts().contains_key(&id);
        let mut absent = self.absent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        !spoke && absent.insert(id)
    }

    /// Hosts whose phase is no longer the one watchers were told.
    pub fn turned(&self, now: UnixMs, interval: impl Fn(HostId) -> Duration) -> Vec<(HostId, HostPhase)> {
        let mut turned = Vec::new();
        for (id, live) in self.hosts().iter_mut() {
            let fault = live.engine.as_ref().is_some_and(|e| e.fault.is_some());
            let phase = quantix_model::host::phase(Some(live.beat_at), interval(*id), fault, now);
            if phase != live.phase {
                live.phase = phase;
                turned.push((*id, phase));
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    pub(crate) fn said(boot_id: &str, sequence: u64, at: i64) -> HostLive {
        HostLive {
            beat_at: UnixMs(at),
            boot_id: boot_id.into(),
            sequence,
            clock_skew_ms: 0,
            vitals: Vitals::default(),
            engine: None,
            pools: HashMap::new(),
            vms: None,
            missing: HashMap::new(),
            phase: HostPhase::Ready,
        }
    }

    #[test]
    fn only_newer_words_count() {
        let (live, id) = (Live::new(UnixMs(0)), HostId(Uuid::nil()));
        assert!(live.is_newer(id, "a", 5));
        live.replace(id, said("a", 5, 0));
        assert!(!live.is_newer(id, "a", 5));
        assert!(!live.is_newer(id, "a", 4));
        assert!(live.is_newer(id, "a", 6));
        assert!(live.is_newer(id, "b", 1));
    }

    #[test]
    fn silence_is_told_once() {
        let (live, id, every) = (Live::new(UnixMs(0)), HostId(Uuid::nil()), Duration::from_secs(1));
        live.replace(id, said("a", 1, 0));
        assert!(live.turned(UnixMs(3_000), |_| every).is_empty());
        assert_eq!(live.turned(UnixMs(3_001), |_| every), vec![(id, HostPhase::Disconnected)]);
        assert!(live.turned(UnixMs(9_000), |_| every).is_empty());
    }

    #[test]
    fn after_a_restart_nothing_is_known_but_a_host_gets_its_time() {
        let (live, id, every) = (Live::new(UnixMs(10_000)), HostId(Uuid::nil()), Duration::from_secs(1));
        assert_eq!(live.phase(id, every, true, UnixMs(13_000)), HostPhase::Pending);
        assert_eq!(live.phase(id, every, true, UnixMs(13_001)), HostPhase::Disconnected);
        assert_eq!(live.phase(id, every, false, UnixMs(99_000)), HostPhase::Pending);
    }
}
