//! Reading what hosts send: in bounds, without control characters, in numbers that can be.

use crate::services::live::{CertificateLive, HostLive, VmLive};
use crate::services::{App, host};
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::{pool::report_from_proto, time, twin};
use quantix_model::host::{Engine, HostPhase, Vitals};
use quantix_model::id::VmId;
use quantix_model::pool::PoolReport;
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::HostBrief;
use std::collections::BTreeMap;
use std::sync::Arc;

/// More pools or VMs than this on one host is a mistake of the host.
const THINGS_MAX: usize = 10_000;
/// No file system of a host is larger: 2^60 bytes.
const BYTES_MAX: u64 = 1 << 60;
/// Words of a host longer than this are cut.
const WORDS_CHARS_MAX: usize = 1000;
/// Boot ids are UUIDs.
pub const BOOT_ID_BYTES_MAX: usize = 64;
/// Digests are compared, never read: any hash fits.
const DIGEST_BYTES_MAX: usize = 64;

/// A whole beat, brought to sense.
pub fn read(app: &App, record: &HostBrief, beat: &node::BeatRequest) -> Result<HostLive, Fault> {
    if beat.pools.len() > THINGS_MAX || beat.vms.len() > THINGS_MAX {
        return Err(absurd(record, "it lists more than 10000 pools or VMs"));
    }
    if beat.node_version.len() > 64 {
        return Err(absurd(record, "its version is longer than 64 bytes"));
    }
    let now = app.core.clock.now();
    let observed_at = beat.observed_at.as_option().map_or(now, time::from_proto);
    let engine = beat.engine.as_option().map(Engine::try_from).transpose()?;
    let mut pools = BTreeMap::new();
    for pool in &beat.pools {
        let (id, report) = report_from_proto(pool)?;
        if report.capacity.is_some_and(|c| c.total_bytes > BYTES_MAX) {
            return Err(absurd(record, "a pool of more than 2^60 bytes"));
        }
        pools.insert(id, Arc::new(sane_pool(report)));
    }
    let mut vms = BTreeMap::new();
    for vm in beat.vms.iter().filter(|_| beat.vms_known) {
        // A domain that is not ours may have any name; an id that is none cannot be ours.
        let Ok(id) = vm.vm_id.parse::<VmId>() else { continue };
        vms.insert(id, read_vm(vm)?);
    }
    let broken = engine.as_ref().is_some_and(|e| e.fault.is_some());
    let missing = app.live.get(record.id).map(|l| l.missing.clone()).unwrap_or_default();
    // Figures come in the order of these lists.
    let in_order = beat.pools.iter().is_sorted_by(|a, b| a.pool_id < b.pool_id)
        && beat.vms.iter().is_sorted_by(|a, b| a.vm_id < b.vm_id)
        && (vms.len() == beat.vms.len() || !beat.vms_known);
    let digest = Some(&beat.state_digest).filter(|d| in_order && (1..=DIGEST_BYTES_MAX).contains(&d.len()));
    Ok(HostLive {
        beat_at: now,
        boot_id: beat.boot_id.clone(),
        sequence: beat.sequence,
        clock_skew_ms: observed_at.0.saturating_sub(now.0),
        vitals: vitals(beat)?,
        engine,
        pools,
        // Collected anew it is packed: kept for thousands of hosts, that is half the memory.
        vms: beat.vms_known.then(|| vms.into_iter().collect()),
        missing,
        phase: if broken { HostPhase::Degraded } else { HostPhase::Ready },
        interval: host::interval_of(record.beat_interval_ms),
        digest: digest.map(|d| d.as_slice().into()),
        kept: false,
        compared: None,
        certificate: certificate(beat),
    })
}

/// What the host proves itself with, if it says so in a way that can be.
fn certificate(beat: &node::BeatRequest) -> Option<CertificateLive> {
    let said = beat.certificate.as_option()?;
    let fault = said.fault.as_option().map(|fault| Box::new(cut_fault(fault.into())));
    Some(CertificateLive {
        trust_sha256: said.trust_sha256.as_slice().try_into().ok()?,
        expires_at: time::from_proto(said.expires_at.as_option()?),
        fault,
    })
}

/// Load of the machine.
pub fn vitals(beat: &node::BeatRequest) -> Result<Vitals, Fault> {
    Ok(sane_vitals(beat.vitals.as_option().map(Vitals::try_from).transpose()?.unwrap_or_default()))
}

/// Brings what is held of a host to what moved since; whether the figures fit what is held.
pub fn refresh(
    live: &mut HostLive,
    beat: &node::BeatRequest,
    figures: &node::Figures,
    vitals: Vitals,
    now: UnixMs,
) -> bool {
    let observed_at = beat.observed_at.as_option().map_or(now, time::from_proto);
    let all = |n: usize, counts: [usize; 3]| counts.iter().all(|count| *count == n);
    let pools =
        [figures.pool_age_ms.len(), figures.pool_used_bytes.len(), figures.pool_available_bytes.len()];
    let vms = [figures.vm_age_ms.len(), figures.vm_cpu_used.len(), figures.vm_memory_used_bytes.len()];
    let vms_fit = live.vms.as_ref().is_none_or(|held| all(held.len(), vms));
    if !all(live.pools.len(), pools) || !vms_fit || live.vms.is_some() != beat.vms_known {
        return false;
    }
    live.beat_at = now;
    live.sequence = beat.sequence;
    live.certificate = certificate(beat);
    live.clock_skew_ms = observed_at.0.saturating_sub(now.0);
    live.vitals = vitals;
    let broken = live.engine.as_ref().is_some_and(|e| e.fault.is_some());
    live.phase = if broken { HostPhase::Degraded } else { HostPhase::Ready };
    let at = |age_ms: i64| UnixMs(observed_at.0.saturating_sub(age_ms));
    for (n, report) in live.pools.values_mut().enumerate() {
        let report = Arc::make_mut(report);
        report.observed_at = at(figures.pool_age_ms[n]);
        if let Some(capacity) = &mut report.capacity {
            capacity.used_bytes = figures.pool_used_bytes[n].min(capacity.total_bytes);
            capacity.available_bytes = figures.pool_available_bytes[n].min(capacity.total_bytes);
        }
    }
    for (n, vm) in live.vms.iter_mut().flat_map(|vms| vms.values_mut()).enumerate() {
        vm.observed_at = Some(at(figures.vm_age_ms[n]));
        let cpu = figures.vm_cpu_used[n].checked_sub(1);
        vm.cpu_used_ratio = cpu.map(|parts| ratio(f64::from(parts) / 10_000.0));
        let memory = figures.vm_memory_used_bytes[n].checked_sub(1);
        vm.memory_used_bytes = memory.map(|bytes| bytes.min(BYTES_MAX));
    }
    true
}

/// A host's report of one VM.
pub fn read_vm(vm: &node::VmReport) -> Result<VmLive, Fault> {
    Ok(VmLive {
        generation: vm.generation,
        power_state: twin::read("vms.power_state", vm.power_state)?,
        power_reason: cut(&vm.power_reason),
        since: vm.since.as_option().map(time::from_proto),
        observed_at: vm.observed_at.as_option().map(time::from_proto),
        cpu_used_ratio: vm.cpu_used_ratio.map(ratio),
        memory_used_bytes: vm.memory_used_bytes.map(|bytes| bytes.min(BYTES_MAX)),
        fault: vm.fault.as_option().map(|fault| Box::new(cut_fault(fault.into()))),
        fault_since: vm.fault_since.as_option().map(time::from_proto),
    })
}

/// What a host says that cannot be.
pub fn absurd(record: &HostBrief, what: &str) -> Fault {
    Fault::new(
        FaultCode::InvalidArgument,
        format!("{} reports what cannot be.", record.name),
        "Look at the log of quantix-node on that host, and update it.",
    )
    .because(what)
    .on_host(&record.name)
}

fn cut(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}

fn cut_fault(fault: Fault) -> Fault {
    Fault { message: cut(&fault.message), cause: cut(&fault.cause), remedy: cut(&fault.remedy), ..fault }
}

/// A share of one; what is no number counts as nothing used.
fn ratio(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}

fn sane_vitals(v: Vitals) -> Vitals {
    let memory_total_bytes = v.memory_total_bytes.min(BYTES_MAX);
    Vitals {
        cpu_used_ratio: ratio(v.cpu_used_ratio),
        memory_total_bytes,
        memory_used_bytes: v.memory_used_bytes.min(memory_total_bytes),
        load_1m: if v.load_1m.is_finite() { v.load_1m.clamp(0.0, 1e6) } else { 0.0 },
        uptime_seconds: v.uptime_seconds,
    }
}

/// Facts of one pool on one host that are kept.
const POOL_FACTS_MAX: usize = 32;

/// A report without what cannot be.
pub fn sane_pool(mut report: PoolReport) -> PoolReport {
    report.probe = cut(&report.probe);
    report.mount_path = cut(&report.mount_path);
    report.facts.truncate(POOL_FACTS_MAX);
    for fact in &mut report.facts {
        fact.name = cut(&fact.name);
        fact.value = cut(&fact.value);
    }
    if let Some(capacity) = &mut report.capacity {
        capacity.used_bytes = capacity.used_bytes.min(capacity.total_bytes);
        capacity.available_bytes = capacity.available_bytes.min(capacity.total_bytes);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::pool::{Capabilities, Capacity, PoolHealth};

    fn report(used_bytes: u64, health: PoolHealth) -> PoolReport {
        PoolReport {
            generation: 1,
            health,
            fault: None,
            probe: "statfs".into(),
            since: UnixMs(1),
            observed_at: UnixMs(i64::try_from(used_bytes).expect("small")),
            capacity: Some(Capacity {
                total_bytes: 100,
                used_bytes,
                available_bytes: 100 - used_bytes.min(100),
            }),
            mount_path: "/p".into(),
            volume_count: 0,
            capabilities: Capabilities::default(),
            facts: Vec::new(),
        }
    }

    #[test]
    fn absurd_numbers_are_brought_to_sense() {
        assert_eq!(ratio(f64::NAN), 0.0);
        assert_eq!(ratio(7.0), 1.0);
        assert_eq!(ratio(-1.0), 0.0);
        let capacity = sane_pool(report(500, PoolHealth::Healthy)).capacity.expect("kept");
        assert_eq!(capacity.used_bytes, 100);
        let v = sane_vitals(Vitals { memory_total_bytes: 5, memory_used_bytes: 9, ..Vitals::default() });
        assert_eq!(v.memory_used_bytes, 5);
        assert_eq!(cut("a\n\u{1b}[2Jb"), "a[2Jb");
    }
}
