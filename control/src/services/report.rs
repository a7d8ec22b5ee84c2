//! Beats: what hosts say of themselves, checked, held in memory, and written only where it changed.
//!
//! ```text
//!   beat ─▶ is it that host? ─▶ newer than the last? ─▶ sane? ─▶ live ─▶ store, if changed ─▶ watchers
//!                                        └─ no: dropped, still answered          answer: all pools it should have
//! ```
//! A host may speak of its own VMs and pools only; what it says of others is passed over.

use crate::bus::Thing;
use crate::services::live::{HostLive, VmLive};
use crate::services::{App, host, pool};
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::{pool::report_from_proto, time, twin};
use quantix_model::host::{Discovery, Engine, HostPhase, Inventory, Vitals};
use quantix_model::id::{HostId, PoolId, VmId};
use quantix_model::pool::PoolReport;
use quantix_model::vm::{PowerState, VmPhase};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::{HostRecord, PoolStatusRecord, StoreError, VmRecord};
use std::collections::HashMap;

/// More pools or VMs than this on one host is a mistake of the host.
const THINGS_MAX: usize = 10_000;
/// No file system of a host is larger: 2^60 bytes.
const BYTES_MAX: u64 = 1 << 60;
/// Words of a host longer than this are cut.
const WORDS_CHARS_MAX: usize = 1000;
/// A VM that is not there in so many beats in a row is lost.
const MISSING_BEATS: u32 = 2;
/// `seen_at` is written when it is older than this.
const SEEN_EVERY_MS: i64 = 300_000;

/// Takes a beat of `caller`, who proved by certificate to be that host.
pub async fn beat(app: &App, caller: HostId, beat: node::BeatRequest) -> Result<node::BeatResponse, Fault> {
    let id: HostId = beat.host_id.parse()?;
    if id != caller {
        return Err(Fault::new(
            FaultCode::Forbidden,
            "A host may report for itself only.",
            "Register the host anew if its identity is mixed up.",
        )
        .because(format!("the certificate is that of host {caller}, the report is for {id}")));
    }
    let record = app.core.store.host_get(id).await.map_err(|err| match err {
        StoreError::NotFound { .. } => Fault::new(
            FaultCode::Forbidden,
            "This host is not registered here any more.",
            "Make a token with `quantix-node token` and add the host again.",
        ),
        other => other.into(),
    })?;
    if app.live.is_newer(id, &beat.boot_id, beat.sequence) {
        take(app, &record, &beat).await?;
    }
    answer(app, &record).await
}

async fn answer(app: &App, host: &HostRecord) -> Result<node::BeatResponse, Fault> {
    let pools = app.core.store.pool_of_host(host.id).await?;
    let wanted = pools.iter().filter(|(pool, a)| !a.releasing && !pool.deleting);
    Ok(node::BeatResponse {
        interval_ms: u64::try_from(host::interval(host).as_millis()).unwrap_or(u64::MAX),
        pools: wanted.map(|(record, _)| pool::intent(record)).collect(),
        ..Default::default()
    })
}

async fn take(app: &App, record: &HostRecord, beat: &node::BeatRequest) -> Result<(), Fault> {
    let said = read(app, record, beat)?;
    let before = app.live.replace(record.id, said.clone());
    keep_host(app, record, beat).await?;
    let assigned: Vec<PoolId> =
        app.core.store.pool_of_host(record.id).await?.iter().map(|(pool, _)| pool.id).collect();
    let mut changed = Vec::new();
    for (pool_id, report) in said.pools.iter().filter(|(id, _)| assigned.contains(id)) {
        let last = before.as_ref().and_then(|b| b.pools.get(pool_id));
        if last.is_none_or(|last| differs(last, report)) {
            let (pool_id, host_id, report) = (*pool_id, record.id, report.clone());
            changed.push(PoolStatusRecord { pool_id, host_id, report });
        }
    }
    if !changed.is_empty() {
        app.core.store.pool_status_put(&changed).await?;
    }
    // Capacity and ages move with every beat; watchers read the view, the store is left alone.
    for pool_id in &assigned {
        app.core.bus.changed(Thing::Pool(*pool_id));
    }
    settle_releases(app, record, &said).await?;
    if let Some(vms) = &said.vms {
        keep_vms(app, record.id, vms, before.as_ref()).await?;
    }
    if before.is_none_or(|b| b.phase != said.phase) {
        tell_vms(app, record.id).await?;
    }
    app.core.bus.changed(Thing::Host(record.id));
    Ok(())
}

/// A host that no longer has a pool it should let go of: the assignment ends, whoever asked it.
async fn settle_releases(app: &App, record: &HostRecord, said: &HostLive) -> Result<(), Fault> {
    for (pool, assignment) in app.core.store.pool_of_host(record.id).await? {
        let busy = app.core.tasks.of(Thing::Pool(pool.id)).is_some();
        if assignment.releasing && !busy && !said.pools.contains_key(&pool.id) {
            app.core.store.pool_unassign(pool.id, record.id).await?;
            app.core.bus.changed(Thing::Pool(pool.id));
        }
    }
    Ok(())
}

/// Whether a report is worth writing: all but ages and the moving part of capacity.
fn differs(last: &PoolReport, now: &PoolReport) -> bool {
    let still = |r: &PoolReport| {
        let total = r.capacity.map(|c| c.total_bytes);
        (r.generation, r.health, r.fault.clone(), r.mount_path.clone(), r.volume_count, total, r.since)
    };
    still(last) != still(now) || last.capabilities != now.capabilities
}

fn read(app: &App, record: &HostRecord, beat: &node::BeatRequest) -> Result<HostLive, Fault> {
    if beat.pools.len() > THINGS_MAX || beat.vms.len() > THINGS_MAX {
        return Err(absurd(record, "it lists more than 10000 pools or VMs"));
    }
    if beat.boot_id.len() > 64 || beat.node_version.len() > 64 {
        return Err(absurd(record, "its boot id or version is longer than 64 bytes"));
    }
    let now = app.core.clock.now();
    let observed_at = beat.observed_at.as_option().map_or(now, time::from_proto);
    let vitals = beat.vitals.as_option().map(Vitals::try_from).transpose()?.unwrap_or_default();
    let engine = beat.engine.as_option().map(Engine::try_from).transpose()?;
    let mut pools = HashMap::new();
    for pool in &beat.pools {
        let (id, report) = report_from_proto(pool)?;
        if report.capacity.is_some_and(|c| c.total_bytes > BYTES_MAX) {
            return Err(absurd(record, "a pool of more than 2^60 bytes"));
        }
        pools.insert(id, sane_pool(report));
    }
    let mut vms = HashMap::new();
    for vm in beat.vms.iter().filter(|_| beat.vms_known) {
        // A domain that is not ours may have any name; an id that is none cannot be ours.
        let Ok(id) = vm.vm_id.parse::<VmId>() else { continue };
        vms.insert(id, read_vm(vm)?);
    }
    let broken = engine.as_ref().is_some_and(|e| e.fault.is_some());
    let known = app.live.get(record.id).map(|l| l.missing).unwrap_or_default();
    Ok(HostLive {
        beat_at: now,
        boot_id: beat.boot_id.clone(),
        sequence: beat.sequence,
        clock_skew_ms: observed_at.0.saturating_sub(now.0),
        vitals: sane_vitals(vitals),
        engine,
        pools,
        vms: beat.vms_known.then_some(vms),
        missing: known,
        phase: if broken { HostPhase::Degraded } else { HostPhase::Ready },
    })
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
        fault: vm.fault.as_option().map(|fault| cut_fault(fault.into())),
        fault_since: vm.fault_since.as_option().map(time::from_proto),
    })
}

fn absurd(record: &HostRecord, what: &str) -> Fault {
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

fn sane_pool(mut report: PoolReport) -> PoolReport {
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

/// Writes what a host is made of, its release, and now and then that it was seen.
async fn keep_host(app: &App, record: &HostRecord, beat: &node::BeatRequest) -> Result<(), Fault> {
    let now = app.core.clock.now();
    let inventory = beat.inventory.as_option().map(Inventory::from);
    let engine = beat.engine.as_option().map(Engine::try_from).transpose()?;
    let stale = record.seen_at.is_none_or(|at| now.0.saturating_sub(at.0) > SEEN_EVERY_MS);
    let version = beat.node_version != record.node_version;
    if !stale && !version && inventory.is_none() {
        return Ok(());
    }
    let change = |host: &mut HostRecord| {
        host.seen_at = Some(now);
        beat.node_version.clone_into(&mut host.node_version);
        let had = host.discovery.take();
        let existing_vms = had.as_ref().map(|d| d.existing_vms.clone()).unwrap_or_default();
        let was = had.as_ref().map(|d| (d.inventory.clone(), d.engine.clone()));
        host.discovery = match (inventory, engine, was) {
            (Some(inventory), Some(engine), _) => Some(Discovery { inventory, engine, existing_vms }),
            (Some(inventory), None, Some((_, engine))) => Some(Discovery { inventory, engine, existing_vms }),
            (None, Some(engine), Some((inventory, _))) => Some(Discovery { inventory, engine, existing_vms }),
            _ => had,
        };
        Ok::<(), StoreError>(())
    };
    app.core.store.host_update(record.id, change).await?;
    Ok(())
}

/// Writes power states that changed, and tells of VMs that are gone or came back.
async fn keep_vms(
    app: &App,
    host_id: HostId,
    said: &HashMap<VmId, VmLive>,
    before: Option<&HostLive>,
) -> Result<(), Fault> {
    let ours = app.core.store.vm_of_host(host_id).await?;
    let mut missing = HashMap::new();
    let mut ids = Vec::new();
    for vm in &ours {
        match said.get(&vm.id) {
            Some(live) if power_differs(vm, live) || vm.phase == VmPhase::Lost => ids.push(vm.id),
            Some(live) => {
                // Load moved: nothing to write, but worth showing.
                let last = before.and_then(|b| b.vms.as_ref()).and_then(|vms| vms.get(&vm.id));
                if last != Some(live) {
                    app.core.bus.changed(Thing::Vm(vm.id));
                }
            }
            None if matches!(vm.phase, VmPhase::Ready | VmPhase::Error)
                && app.core.tasks.of(Thing::Vm(vm.id)).is_none() =>
            {
                let count = before.and_then(|b| b.missing.get(&vm.id)).copied().unwrap_or(0) + 1;
                missing.insert(vm.id, count);
                if count >= MISSING_BEATS {
                    ids.push(vm.id);
                }
            }
            None => {}
        }
    }
    app.live.change(host_id, |live| live.missing.clone_from(&missing));
    if ids.is_empty() {
        return Ok(());
    }
    let changed = app
        .core
        .store
        .vm_update_many(&ids, |vm| match said.get(&vm.id) {
            Some(live) => note_power(vm, live),
            None => lose(vm),
        })
        .await?;
    for vm in changed {
        app.core.bus.changed(Thing::Vm(vm.id));
    }
    Ok(())
}

fn power_differs(vm: &VmRecord, live: &VmLive) -> bool {
    (vm.power_state, &vm.power_reason, vm.power_since) != (live.power_state, &live.power_reason, live.since)
}

/// Writes a host's word into a VM's record. One that was lost and is back is Ready again.
pub fn note_power(vm: &mut VmRecord, live: &VmLive) {
    vm.power_state = live.power_state;
    vm.power_reason.clone_from(&live.power_reason);
    vm.power_since = live.since;
    vm.observed_at = live.observed_at;
    if vm.phase == VmPhase::Lost {
        vm.phase = VmPhase::Ready;
        vm.fault = None;
    }
}

fn lose(vm: &mut VmRecord) {
    if !matches!(vm.phase, VmPhase::Ready | VmPhase::Error) {
        return;
    }
    vm.phase = VmPhase::Lost;
    vm.power_state = PowerState::Unknown;
    vm.fault = Some(Fault::new(
        FaultCode::VmMissingOnHost,
        format!("The host no longer has VM {}.", vm.name),
        "If it was removed there on purpose, delete it here; its disks are kept unless you say otherwise.",
    ));
}

async fn tell_vms(app: &App, host_id: HostId) -> Result<(), Fault> {
    for vm in app.core.store.vm_of_host(host_id).await? {
        app.core.bus.changed(Thing::Vm(vm.id));
    }
    Ok(())
}

/// Takes a host's word on one pool, given in answer to a call.
pub async fn take_pool(app: &App, host_id: HostId, pool_id: PoolId, said: PoolReport) -> Result<(), Fault> {
    let report = sane_pool(said);
    app.live.change(host_id, |live| {
        live.pools.insert(pool_id, report.clone());
    });
    app.core.store.pool_status_put(&[PoolStatusRecord { pool_id, host_id, report }]).await?;
    app.core.bus.changed(Thing::Pool(pool_id));
    Ok(())
}

/// Takes a host's word on one VM, given in answer to a call.
pub async fn take_vm(app: &App, host_id: HostId, id: VmId, said: &node::VmReport) -> Result<VmRecord, Fault> {
    let said = read_vm(said)?;
    app.live.change(host_id, |live| {
        live.missing.remove(&id);
        if let Some(vms) = &mut live.vms {
            vms.insert(id, said.clone());
        }
    });
    let note = |vm: &mut VmRecord| {
        note_power(vm, &said);
        Ok::<(), StoreError>(())
    };
    let vm = app.core.store.vm_update(id, note).await?;
    app.core.bus.changed(Thing::Vm(id));
    Ok(vm)
}

/// Tells watchers of hosts that fell silent, and of everything that is unknown since.
pub async fn tell_silent(app: &App, now: UnixMs) -> Result<usize, Fault> {
    let hosts = app.core.store.host_all().await?;
    let every: HashMap<HostId, _> = hosts.iter().map(|h| (h.id, host::interval(h))).collect();
    let mut turned =
        app.live.turned(now, |id| every.get(&id).copied().unwrap_or(quantix_model::host::BEAT_INTERVAL));
    // One that has not spoken since the vDC started falls silent, too, when its time is up.
    for host in hosts.iter().filter(|h| host::phase(app, h) == HostPhase::Disconnected) {
        if app.live.first_absence(host.id) {
            turned.push((host.id, HostPhase::Disconnected));
        }
    }
    for (id, phase) in &turned {
        let name = hosts.iter().find(|h| h.id == *id).map_or("", |h| h.name.as_str());
        tracing::info!(host = name, ?phase, "the host's phase turned");
        app.core.bus.changed(Thing::Host(*id));
        for (pool, _) in app.core.store.pool_of_host(*id).await? {
            app.core.bus.changed(Thing::Pool(pool.id));
        }
        tell_vms(app, *id).await?;
    }
    Ok(turned.len())
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
    fn moving_figures_alone_are_not_written() {
        assert!(!differs(&report(1, PoolHealth::Healthy), &report(2, PoolHealth::Healthy)));
        assert!(differs(&report(1, PoolHealth::Healthy), &report(1, PoolHealth::Error)));
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
