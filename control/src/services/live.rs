//! What hosts said last, in memory only: after a restart of the vDC nothing is known until they speak again.
//!
//! One entry per host, replaced by each whole beat it accepts and refreshed by the others. Locks are held for a moment,
//! never across a wait; readers share an entry and copy nothing.

use quantix_model::host::{BEATS_MISSED_MAX, Engine, HostPhase, Vitals};
use quantix_model::id::{HostId, PoolId, VmId};
use quantix_model::pool::PoolReport;
use quantix_model::vm::PowerState;
use quantix_model::{Fault, UnixMs};
use quantix_store::Mark;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
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
    /// What the host could not do for it. Few have one, and it is large.
    pub fault: Option<Box<Fault>>,
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
    pub pools: BTreeMap<PoolId, Arc<PoolReport>>,
    /// Its VMs; `None` when its libvirt did not answer.
    pub vms: Option<BTreeMap<VmId, VmLive>>,
    /// Beats in a row in which a VM of ours was not there.
    pub missing: BTreeMap<VmId, u32>,
    /// The phase watchers were told.
    pub phase: HostPhase,
    /// How often it beats.
    pub interval: Duration,
    /// Stands for what it said in its last whole beat, as long as nobody changed it since. A beat without lists must
    /// carry the same.
    pub digest: Option<Box<[u8]>>,
    /// The store has what is worth keeping of this.
    pub kept: bool,
    /// Its VMs were compared with the store as it stood then.
    pub compared: Option<Mark>,
    /// What it proves itself with.
    pub certificate: Option<CertificateLive>,
}

/// What a host said of its certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateLive {
    /// Stands for the authorities it trusts.
    pub trust_sha256: [u8; 32],
    /// Ends then.
    pub expires_at: UnixMs,
    /// Why it could not renew it. Few have one, and it is large.
    pub fault: Option<Box<Fault>>,
}

/// What became of a beat without lists.
#[derive(Clone, Debug, PartialEq)]
pub enum Refreshed {
    /// It stands for what we hold, which is now as fresh as it. As it was before.
    Fresh(Arc<HostLive>),
    /// It stands for something else: nothing of it was taken.
    Unknown,
}

fn guard<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// All hosts' last words.
#[derive(Debug)]
pub struct Live {
    started_at: UnixMs,
    hosts: Mutex<HashMap<HostId, Arc<HostLive>>>,
    /// Hosts that were there at the start, had spoken before, and have not since; with their intervals.
    expected: Mutex<HashMap<HostId, Duration>>,
    seen: Mutex<Seen>,
}

/// When hosts were seen, as far as it is written.
#[derive(Debug, Default)]
struct Seen {
    /// Written, or about to be.
    noted: HashMap<HostId, UnixMs>,
    /// About to be written …
    ids: HashSet<HostId>,
    /// … and the earliest of these.
    first: Option<UnixMs>,
}

/// When a host was seen is written so often.
const SEEN_EVERY: Duration = Duration::from_secs(300);

impl Live {
    /// Nothing known yet, since `started_at`.
    pub fn new(started_at: UnixMs) -> Live {
        Live { started_at, hosts: Mutex::default(), expected: Mutex::default(), seen: Mutex::default() }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Arc<HostLive>>> {
        // A panic while it was held left whole entries only: each is replaced at once.
        guard(&self.hosts)
    }

    /// This vDC's life began then.
    pub fn started_at(&self) -> UnixMs {
        self.started_at
    }

    /// What a host said last, if it spoke in this life of the vDC.
    pub fn get(&self, id: HostId) -> Option<Arc<HostLive>> {
        self.hosts().get(&id).cloned()
    }

    /// Whether a beat is newer than what we have: another life of the daemon, or a higher count in the same.
    pub fn is_newer(&self, id: HostId, boot_id: &str, sequence: u64) -> bool {
        self.hosts().get(&id).is_none_or(|h| h.boot_id != boot_id || sequence > h.sequence)
    }

    /// Takes a host's words in place of its last; answers those.
    pub fn replace(&self, id: HostId, said: HostLive) -> Option<Arc<HostLive>> {
        self.hosts().insert(id, Arc::new(said))
    }

    /// Takes a beat without lists into what is held, if it stands for that. `refresh` says whether it fitted.
    pub fn refresh(
        &self,
        id: HostId,
        boot_id: &str,
        digest: &[u8],
        refresh: impl FnOnce(&mut HostLive) -> bool,
    ) -> Refreshed {
        let mut hosts = self.hosts();
        let Some(live) = hosts.get_mut(&id) else { return Refreshed::Unknown };
        if live.boot_id != boot_id || live.digest.as_deref() != Some(digest) {
            return Refreshed::Unknown;
        }
        let before = Arc::clone(live);
        let mut after = HostLive::clone(live);
        if !refresh(&mut after) {
            return Refreshed::Unknown;
        }
        *live = Arc::new(after);
        Refreshed::Fresh(before)
    }

    /// Connected hosts that do not hold the authorities this digest stands for.
    pub fn without_trust(&self, trust_sha256: &[u8; 32]) -> Vec<HostId> {
        let hosts = self.hosts();
        let behind = hosts.iter().filter(|(_, live)| {
            let held = live.certificate.as_ref().map(|c| &c.trust_sha256);
            live.phase != HostPhase::Disconnected && held != Some(trust_sha256)
        });
        behind.map(|(id, _)| *id).collect()
    }

    /// Changes what is known of a host, if anything is, by another way than its beats: they must then tell everything
    /// once, so that both know the same.
    pub fn change(&self, id: HostId, change: impl FnOnce(&mut HostLive)) {
        self.note(id, |live| {
            live.digest = None;
            change(live);
        });
    }

    /// Notes something about what a host said, if it said anything.
    pub fn note(&self, id: HostId, note: impl FnOnce(&mut HostLive)) {
        if let Some(live) = self.hosts().get_mut(&id) {
            note(Arc::make_mut(live));
        }
    }

    /// Forgets a host.
    pub fn remove(&self, id: HostId) {
        self.hosts().remove(&id);
        guard(&self.seen).noted.remove(&id);
        guard(&self.expected).remove(&id);
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

    /// Says which hosts had spoken before the start, and how often they should.
    pub fn expect(&self, hosts: impl IntoIterator<Item = (HostId, Duration)>) {
        guard(&self.expected).extend(hosts);
    }

    /// Hosts that were expected and whose time is up; each is told once.
    pub fn absent(&self, now: UnixMs) -> Vec<HostId> {
        let (hosts, mut expected) = (self.hosts(), guard(&self.expected));
        expected.retain(|id, _| !hosts.contains_key(id));
        let age = self.started_at.age(now);
        expected.extract_if(|_, interval| age > *interval * BEATS_MISSED_MAX).map(|(id, _)| id).collect()
    }

    /// Notes that a host was seen, to be written with others. `written`: as the store had it.
    pub fn note_seen(&self, id: HostId, at: UnixMs, written: Option<UnixMs>) {
        let mut seen = guard(&self.seen);
        let noted = seen.noted.get(&id).copied().or(written);
        if noted.is_some_and(|noted| noted.age(at) < SEEN_EVERY) {
            return;
        }
        seen.noted.insert(id, at);
        seen.ids.insert(id);
        seen.first = Some(seen.first.map_or(at, |first| first.min(at)));
    }

    /// These could not be written.
    pub fn forget_seen(&self, ids: &[HostId]) {
        let mut seen = guard(&self.seen);
        seen.noted.retain(|id, _| !ids.contains(id));
    }

    /// Hosts seen since the last call, and a time at which each was seen or a little later.
    pub fn take_seen(&self) -> (Vec<HostId>, Option<UnixMs>) {
        let mut seen = guard(&self.seen);
        (seen.ids.drain().collect(), seen.first.take())
    }

    /// Hosts whose phase is no longer the one watchers were told.
    pub fn turned(&self, now: UnixMs) -> Vec<(HostId, HostPhase)> {
        let mut turned = Vec::new();
        for (id, live) in self.hosts().iter_mut() {
            let fault = live.engine.as_ref().is_some_and(|e| e.fault.is_some());
            let phase = quantix_model::host::phase(Some(live.beat_at), live.interval, fault, now);
            if phase != live.phase {
                Arc::make_mut(live).phase = phase;
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
            pools: BTreeMap::new(),
            vms: None,
            missing: BTreeMap::new(),
            phase: HostPhase::Ready,
            interval: Duration::from_secs(1),
            digest: None,
            kept: true,
            compared: None,
            certificate: None,
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
        let (live, id) = (Live::new(UnixMs(0)), HostId(Uuid::nil()));
        live.replace(id, said("a", 1, 0));
        assert!(live.turned(UnixMs(3_000)).is_empty());
        assert_eq!(live.turned(UnixMs(3_001)), vec![(id, HostPhase::Disconnected)]);
        assert!(live.turned(UnixMs(9_000)).is_empty());
    }

    #[test]
    fn only_what_stands_for_the_same_refreshes() {
        let (live, id) = (Live::new(UnixMs(0)), HostId(Uuid::nil()));
        let refresh = |boot_id: &str, digest: &[u8], fits: bool| {
            let done = live.refresh(id, boot_id, digest, |live| {
                live.sequence += 1;
                fits
            });
            matches!(done, Refreshed::Fresh(_))
        };
        assert!(!refresh("a", b"1", true), "nothing is known");
        live.replace(id, HostLive { digest: Some(b"1".as_slice().into()), ..said("a", 1, 0) });
        assert!(!refresh("b", b"1", true), "another life");
        assert!(!refresh("a", b"2", true), "another state");
        assert!(!refresh("a", b"1", false), "it does not fit");
        assert_eq!(live.get(id).unwrap().sequence, 1, "nothing was taken");
        assert!(refresh("a", b"1", true));
        live.change(id, |_| {});
        assert!(!refresh("a", b"1", true), "somebody changed it since");
    }

    #[test]
    fn after_a_restart_nothing_is_known_but_a_host_gets_its_time() {
        let (live, id, every) = (Live::new(UnixMs(10_000)), HostId(Uuid::nil()), Duration::from_secs(1));
        assert_eq!(live.phase(id, every, true, UnixMs(13_000)), HostPhase::Pending);
        assert_eq!(live.phase(id, every, true, UnixMs(13_001)), HostPhase::Disconnected);
        assert_eq!(live.phase(id, every, false, UnixMs(99_000)), HostPhase::Pending);
    }
}
