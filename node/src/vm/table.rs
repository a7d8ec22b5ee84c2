//! What is known of each machine, how old it is, and since when it is so.
//!
//! Filled by the watcher (lists and events) and by owners after each change. An older look never covers a newer
//! one: a list that began before a machine was looked at alone does not touch that machine.

use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::{time, twin};
use quantix_hypervisor::driver::MachineReport;
use quantix_model::id::VmId;
use quantix_model::vm::PowerState;
use quantix_model::{Fault, UnixMs};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One machine as last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct VmFact {
    /// In the hypervisor's words.
    pub report: MachineReport,
    /// Its power state is this since; after a restart of the daemon, since it was first seen.
    pub since: UnixMs,
    /// Seen then.
    pub observed_at: UnixMs,
    /// Guest CPU per second and vCPU between the last two looks.
    pub cpu_used_ratio: Option<f64>,
    /// What could not be done for it and is tried again, and since when that is so.
    pub fault: Option<(Fault, UnixMs)>,
}

impl VmFact {
    /// As it travels. `known`: the hypervisor answers now.
    pub fn to_proto(&self, known: bool) -> wire::VmReport {
        let report = &self.report;
        let (state, reason) = if known {
            (report.power_state, report.power_reason.clone())
        } else {
            (PowerState::Unknown, "the hypervisor does not answer".to_owned())
        };
        wire::VmReport {
            vm_id: report.id.to_string(),
            name: report.name.clone(),
            generation: report.generation.unwrap_or(0),
            power_state: twin::write(state),
            power_reason: reason,
            since: time::to_proto(self.since).into(),
            observed_at: time::to_proto(self.observed_at).into(),
            cpu_used_ratio: self.cpu_used_ratio.filter(|_| known),
            memory_used_bytes: report.memory_used_bytes.filter(|_| known),
            fault: self.fault.as_ref().map(|(fault, _)| fault.into()).into(),
            fault_since: self.fault.as_ref().map(|(_, since)| time::to_proto(*since)).into(),
            ..Default::default()
        }
    }
}

#[derive(Debug, Default)]
struct State {
    vms: BTreeMap<VmId, VmFact>,
    gone: BTreeMap<VmId, UnixMs>,
    known: bool,
    fault: Option<Fault>,
}

/// The table. Every change answers whether something worth telling at once has changed.
#[derive(Debug, Default)]
pub struct Table(Mutex<State>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the hypervisor answered at the last look.
    pub fn is_known(&self) -> bool {
        self.lock().known
    }

    /// Why it is not known.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().fault.clone()
    }

    /// All machines as last seen.
    pub fn all(&self) -> Vec<VmFact> {
        self.lock().vms.values().cloned().collect()
    }

    /// One machine as last seen.
    pub fn get(&self, id: VmId) -> Option<VmFact> {
        self.lock().vms.get(&id).cloned()
    }

    /// Whether the machine is there, when that is known.
    pub fn exists(&self, id: VmId) -> Option<bool> {
        let state = self.lock();
        state.known.then(|| state.vms.contains_key(&id))
    }

    /// A whole list, begun at `begun`.
    pub fn replace(&self, list: Vec<MachineReport>, begun: UnixMs, now: UnixMs) -> bool {
        let mut state = self.lock();
        let mut changed = !state.known;
        state.known = true;
        state.fault = None;
        let listed: BTreeMap<VmId, MachineReport> = list.into_iter().map(|r| (r.id, r)).collect();
        let vanished: Vec<VmId> = state
            .vms
            .iter()
            .filter(|(id, fact)| !listed.contains_key(id) && fact.observed_at <= begun)
            .map(|(id, _)| *id)
            .collect();
        changed |= !vanished.is_empty();
        for id in vanished {
            forget(&mut state, id);
        }
        for (id, report) in listed {
            let newer = state.vms.get(&id).is_some_and(|fact| fact.observed_at > begun);
            let removed = state.gone.get(&id).is_some_and(|at| *at > begun);
            if !newer && !removed {
                changed |= put(&mut state, report, None, now);
            }
        }
        state.gone.retain(|_, at| *at > begun);
        changed
    }

    /// One machine, looked at alone; `None`: it is not there. `since`: when an event said so.
    pub fn note(&self, id: VmId, report: Option<MachineReport>, since: Option<UnixMs>, now: UnixMs) -> bool {
        let mut state = self.lock();
        match report {
            Some(report) => {
                state.gone.remove(&id);
                put(&mut state, report, since, now)
            }
            None => {
                state.gone.insert(id, now);
                forget(&mut state, id)
            }
        }
    }

    /// Says what could not be done for a machine; `None`: it could, or need not be done any more.
    pub fn blame(&self, id: VmId, fault: Option<Fault>, now: UnixMs) -> bool {
        let mut state = self.lock();
        let Some(fact) = state.vms.get_mut(&id) else { return false };
        let since = fact.fault.as_ref().map_or(now, |(_, since)| *since);
        let told = fault.map(|fault| (fault, since));
        let changed = fact.fault != told;
        fact.fault = told;
        changed
    }

    /// The hypervisor did not answer.
    pub fn unknown(&self, fault: Fault) -> bool {
        let mut state = self.lock();
        let changed = state.known || state.fault.is_none();
        state.known = false;
        state.fault = Some(fault);
        changed
    }
}

fn forget(state: &mut State, id: VmId) -> bool {
    let Some(fact) = state.vms.remove(&id) else { return false };
    tracing::info!(vm = %id, name = fact.report.name, "VM is gone");
    true
}

fn put(state: &mut State, report: MachineReport, since: Option<UnixMs>, now: UnixMs) -> bool {
    let before = state.vms.get(&report.id);
    let same = before.filter(|fact| fact.report.power_state == report.power_state);
    let fact = VmFact {
        since: same.map_or(since.unwrap_or(now), |fact| fact.since),
        cpu_used_ratio: cpu_ratio(before, &report, now),
        fault: before.and_then(|fact| fact.fault.clone()),
        observed_at: now,
        report,
    };
    let changed = before.is_none_or(|old| {
        old.report.power_state != fact.report.power_state
            || old.report.generation != fact.report.generation
            || old.report.name != fact.report.name
    });
    let report = &fact.report;
    let (vm, name, why) = (report.id, &report.name, &report.power_reason);
    let power = report.power_state.as_str();
    match before {
        // All of them, when the daemon starts.
        None => tracing::debug!(%vm, name, power, why, "VM found"),
        Some(_) if same.is_some() => {}
        Some(_) if report.power_state == PowerState::Crashed => {
            tracing::warn!(%vm, name, power, why, "VM")
        }
        Some(_) => tracing::info!(%vm, name, power, why, "VM"),
    }
    state.vms.insert(fact.report.id, fact);
    changed
}

/// CPU use between two looks, 0 to 1 of all vCPUs. Looks too close together tell nothing new.
fn cpu_ratio(before: Option<&VmFact>, report: &MachineReport, now: UnixMs) -> Option<f64> {
    let current = report.cpu_time_ns?;
    let old = before?;
    let passed_ns = u64::try_from(now.0 - old.observed_at.0).ok()?.checked_mul(1_000_000)?;
    if passed_ns < 500_000_000 {
        return old.cpu_used_ratio;
    }
    let used = current.checked_sub(old.report.cpu_time_ns?)?;
    let all = passed_ns as f64 * f64::from(report.vcpus.max(1));
    Some((used as f64 / all).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::FaultCode;
    use uuid::Uuid;

    fn machine(n: u128, power_state: PowerState, cpu: Option<u64>) -> MachineReport {
        MachineReport {
            id: VmId(Uuid::from_u128(n)),
            name: format!("vm-{n}"),
            generation: Some(1),
            power_state,
            power_reason: String::new(),
            cpu_time_ns: cpu,
            memory_used_bytes: None,
            vcpus: 2,
        }
    }

    fn id(n: u128) -> VmId {
        VmId(Uuid::from_u128(n))
    }

    #[test]
    fn a_list_that_began_earlier_never_covers_a_newer_look() {
        let table = Table::default();
        table.note(id(1), Some(machine(1, PowerState::Running, None)), None, UnixMs(10));
        table.replace(vec![machine(1, PowerState::Off, None)], UnixMs(5), UnixMs(20));
        assert_eq!(table.get(id(1)).unwrap().report.power_state, PowerState::Running);
        table.replace(vec![], UnixMs(5), UnixMs(20));
        assert!(table.get(id(1)).is_some(), "defined after the list began");
        table.note(id(1), None, None, UnixMs(30));
        table.replace(vec![machine(1, PowerState::Off, None)], UnixMs(25), UnixMs(35));
        assert!(table.get(id(1)).is_none(), "removed after the list began");
        table.replace(vec![machine(1, PowerState::Off, None)], UnixMs(40), UnixMs(45));
        assert!(table.get(id(1)).is_some(), "and there again in a later list");
    }

    #[test]
    fn since_moves_only_with_the_state() {
        let table = Table::default();
        assert!(table.replace(vec![machine(1, PowerState::Off, None)], UnixMs(1), UnixMs(2)));
        assert!(!table.replace(vec![machine(1, PowerState::Off, None)], UnixMs(11), UnixMs(12)));
        assert_eq!(table.get(id(1)).unwrap().since, UnixMs(2));
        assert!(table.note(id(1), Some(machine(1, PowerState::Running, None)), Some(UnixMs(15)), UnixMs(16)));
        let fact = table.get(id(1)).unwrap();
        assert_eq!((fact.since, fact.observed_at), (UnixMs(15), UnixMs(16)));
    }

    #[test]
    fn what_could_not_be_done_is_told_until_it_could() {
        let table = Table::default();
        let fault = Fault::new(FaultCode::PoolStalled, "x", "y");
        assert!(!table.blame(id(1), Some(fault.clone()), UnixMs(1)), "there is no such machine");
        table.note(id(1), Some(machine(1, PowerState::Off, None)), None, UnixMs(2));
        assert!(table.blame(id(1), Some(fault.clone()), UnixMs(3)));
        assert!(!table.blame(id(1), Some(fault.clone()), UnixMs(4)), "the same as before");
        table.note(id(1), Some(machine(1, PowerState::Off, None)), None, UnixMs(5));
        let report = table.get(id(1)).unwrap().to_proto(true);
        assert_eq!(time::from_proto(report.fault_since.as_option().unwrap()), UnixMs(3), "told with its age");
        assert_eq!(report.fault.as_option().unwrap().message, fault.message);
        assert!(table.blame(id(1), None, UnixMs(6)));
        assert_eq!(table.get(id(1)).unwrap().fault, None);
    }

    #[test]
    fn cpu_use_is_between_two_looks() {
        let table = Table::default();
        let at =
            |ms, cpu| table.note(id(1), Some(machine(1, PowerState::Running, Some(cpu))), None, UnixMs(ms));
        at(0, 0);
        assert_eq!(table.get(id(1)).unwrap().cpu_used_ratio, None);
        at(1000, 1_000_000_000);
        assert_eq!(table.get(id(1)).unwrap().cpu_used_ratio, Some(0.5));
        at(1100, 1_200_000_000);
        assert_eq!(table.get(id(1)).unwrap().cpu_used_ratio, Some(0.5), "too soon for a new figure");
        at(3000, 0);
        assert_eq!(table.get(id(1)).unwrap().cpu_used_ratio, None, "restarted guest");
    }

    #[test]
    fn a_silent_hypervisor_makes_states_unknown_and_keeps_their_age() {
        let table = Table::default();
        table.replace(vec![machine(1, PowerState::Running, None)], UnixMs(1), UnixMs(2));
        let fault = Fault::new(FaultCode::HypervisorUnavailable, "x", "y");
        assert!(table.unknown(fault.clone()));
        assert!(!table.unknown(fault));
        let report = table.get(id(1)).unwrap().to_proto(table.is_known());
        let state: PowerState = twin::read("power_state", report.power_state).unwrap();
        assert_eq!(state, PowerState::Unknown);
        assert_eq!(time::from_proto(report.observed_at.as_option().unwrap()), UnixMs(2));
        assert!(table.replace(vec![], UnixMs(3), UnixMs(4)), "known again is worth telling");
    }
}
