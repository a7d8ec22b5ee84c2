//! Beats: what hosts say of themselves, checked, held in memory, and written only where it changed.
//!
//! ```text
//!   beat ─▶ is it that host? ─▶ newer than the last? ─▶ whole ─▶ sane? ─▶ live ─▶ store, if changed ─▶ watchers
//!                    │                     │             └ or digest + figures: of what we hold? ─▶ live
//!                    │                     │                                    └─ no: everything is asked for
//!                    └─ no: refused        └─ no: dropped, still answered        answer: all pools it should have
//! ```
//! A host may speak of its own VMs and pools only; what it says of others is passed over. A beat of a fleet at rest reads
//! nothing and writes nothing: it is held against [`crate::roster`].

use crate::bus::Thing;
use crate::roster::Known;
use crate::services::life::{self, Beat, Verdict};
use crate::services::live::{HostLive, Refreshed, VmLive};
use crate::services::report_read::{BOOT_ID_BYTES_MAX, absurd, read, read_vm, refresh, sane_pool};
use crate::services::{App, certificate, host, pool, pool_unknown};
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::time;
use quantix_model::host::{Discovery, Engine, HostPhase, Inventory};
use quantix_model::id::{HostId, PoolId, VmId};
use quantix_model::pool::PoolReport;
use quantix_model::vm::{PowerState, VmPhase};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::{
    HostRecord, PoolAssignmentRecord, PoolRecord, PoolStatusRecord, StoreError, VmBrief, VmRecord,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A VM that is not there in so many beats in a row is lost.
const MISSING_BEATS: u32 = 2;

/// Takes a beat of `caller`, who proved by certificate to be that host; also whether it told anything new.
pub async fn beat(
    app: &App,
    caller: HostId,
    address: &str,
    beat: node::BeatRequest,
) -> Result<(node::BeatResponse, bool), Fault> {
    let id: HostId = beat.host_id.parse()?;
    if id != caller {
        return Err(Fault::new(
            FaultCode::Forbidden,
            "A host may report for itself only.",
            "Register the host anew if its identity is mixed up.",
        )
        .because(format!("the certificate is that of host {caller}, the report is for {id}")));
    }
    let known = app.core.rosters.get(id).await.map_err(|err| match err {
        StoreError::NotFound { .. } => Fault::new(
            FaultCode::Forbidden,
            "This host is not registered here any more.",
            "Make a token with `quantix-node token` and add the host again.",
        ),
        other => other.into(),
    })?;
    let mut full_wanted = false;
    let beat_trust = beat.certificate.as_option().map(|held| held.trust_sha256.clone());
    let news = is_news(app, &known, address, &beat)? && app.live.is_newer(id, &beat.boot_id, beat.sequence);
    if news {
        full_wanted = match beat.figures.as_option() {
            Some(figures) => !take_figures(app, &known, &beat, figures).await?,
            None => {
                let _turn = app.turns.take().await?;
                not_for_want_of_a_store(app, id, take(app, &known, &beat).await)?;
                false
            }
        };
    }
    // What was just taken may have changed what it is answered.
    let known = app.core.rosters.get(id).await?;
    let trust_pem = certificate::to_trust(app, beat_trust);
    let answer = node::BeatResponse { full_wanted, trust_pem, ..answer(app, &known).await };
    Ok((answer, news))
}

/// Whether a beat is the next of the host that is known. One of a second machine with its identity is refused.
fn is_news(app: &App, known: &Known, address: &str, beat: &node::BeatRequest) -> Result<bool, Fault> {
    let host = &known.roster.host;
    if beat.boot_id.len() > BOOT_ID_BYTES_MAX {
        return Err(absurd(host, "its boot id is longer than 64 bytes"));
    }
    let now = app.core.clock.now();
    let said = Beat {
        boot_id: &beat.boot_id,
        sequence: beat.sequence,
        observed_at: beat.observed_at.as_option().map_or(now, time::from_proto),
        address,
    };
    let (verdict, turned) = app.lives.heard(host.id, said, host::interval_of(host.beat_interval_ms), now);
    if turned {
        app.core.bus.changed(Thing::Host(host.id));
    }
    match verdict {
        Verdict::Take => Ok(true),
        Verdict::Late => Ok(false),
        Verdict::Cloned => {
            let fault = life::fault(&host.name, &app.lives.cloned(host.id).unwrap_or_default());
            Err(fault.retry_after(host::interval_of(host.beat_interval_ms)))
        }
    }
}

/// What the host should have and what it should let go of. While it is in doubt who speaks, nothing new is asked.
async fn answer(app: &App, known: &Known) -> node::BeatResponse {
    let (roster, said) = (&known.roster, app.live.get(known.roster.host.id));
    let interval = host::interval_of(roster.host.beat_interval_ms);
    let answer = node::BeatResponse {
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        ..Default::default()
    };
    if app.lives.cloned(roster.host.id).is_some() {
        return answer;
    }
    let (over, wanted): (Vec<_>, Vec<_>) =
        roster.pools.iter().partition(|(pool, assignment)| assignment.releasing || pool.deleting);
    let mut released: Vec<(PoolId, u64)> = over.iter().map(|(pool, _)| (pool.id, pool.generation)).collect();
    if let Some(said) = said
        && !pool_unknown::of(known, &said).is_empty()
    {
        match pool_unknown::forgotten(app, known, &said).await {
            Ok(forgotten) => released.extend(forgotten),
            Err(fault) => {
                tracing::warn!(%fault, host = roster.host.name, "what it may let go of is not known")
            }
        }
    }
    let release = |(id, generation): (PoolId, u64)| node::PoolRelease {
        pool_id: id.to_string(),
        generation,
        ..Default::default()
    };
    // A secret that cannot be opened keeps one pool as it is; it must not cost the host its other pools.
    let intent = |(record, _): &(Arc<PoolRecord>, PoolAssignmentRecord)| match pool::intent(app, record) {
        Ok(intent) => Some(intent),
        Err(fault) => {
            tracing::warn!(%fault, pool = record.name, "the host is not told of this pool");
            None
        }
    };
    node::BeatResponse {
        pools: wanted.into_iter().filter_map(intent).collect(),
        released: released.into_iter().map(release).collect(),
        ..answer
    }
}

/// Takes a beat that tells only what moved; whether it stands for what we hold.
async fn take_figures(
    app: &App,
    known: &Known,
    beat: &node::BeatRequest,
    figures: &node::Figures,
) -> Result<bool, Fault> {
    let (id, now) = (known.roster.host.id, app.core.clock.now());
    let interval = host::interval_of(known.roster.host.beat_interval_ms);
    let vitals = crate::services::report_read::vitals(beat)?;
    let done = app.live.refresh(id, &beat.boot_id, &beat.state_digest, |live| {
        live.interval = interval;
        refresh(live, beat, figures, vitals, now)
    });
    let Refreshed::Fresh(before) = done else { return Ok(false) };
    let Some(said) = app.live.get(id) else { return Ok(false) };
    app.live.note_seen(id, now, known.roster.host.seen_at);
    if before.compared != Some(known.roster.mark) || !before.missing.is_empty() {
        let compared = compare(app, known, &said, Some(&before)).await;
        not_for_want_of_a_store(app, id, compared)?;
    }
    tell(app, known, &before, &said);
    Ok(true)
}

/// A store that takes nothing is no fault of the host: its words are held in memory, and asked for again as a whole
/// until they could be written.
fn not_for_want_of_a_store(app: &App, id: HostId, done: Result<(), Fault>) -> Result<(), Fault> {
    match done {
        Err(fault) if matches!(fault.code, FaultCode::StoreUnavailable | FaultCode::StoreFull) => {
            app.core.store_health.suspect();
            app.live.change(id, |live| live.kept = false);
            Ok(())
        }
        done => done,
    }
}

/// Takes a whole beat.
async fn take(app: &App, known: &Known, beat: &node::BeatRequest) -> Result<(), Fault> {
    let said = read(app, &known.roster.host, beat)?;
    let id = known.roster.host.id;
    let before = app.live.replace(id, said.clone());
    // What could not be written then counts as never said.
    let written = before.as_ref().filter(|before| before.kept);
    app.live.note_seen(id, said.beat_at, known.roster.host.seen_at);
    // Nobody waits for what is known not to answer.
    app.core.store_health.fault().map_or(Ok(()), Err)?;
    keep_host(app, known, beat).await?;
    // In this life of the vDC it may be its first beat, and what was written in another one still true.
    let kept = match written {
        Some(_) => Vec::new(),
        None => app.core.store.pool_status_on(id, said.pools.keys().copied()).await?,
    };
    let mut changed = Vec::new();
    for (pool_id, report) in said.pools.iter().filter(|(id, _)| is_assigned(known, **id)) {
        let last = written.and_then(|b| b.pools.get(pool_id)).map(|report| &**report);
        let last = last.or_else(|| Some(&kept.iter().find(|status| status.pool_id == *pool_id)?.report));
        if last.is_none_or(|last| differs(last, report)) {
            changed.push(PoolStatusRecord {
                pool_id: *pool_id,
                host_id: id,
                report: PoolReport::clone(report),
            });
        }
    }
    if !changed.is_empty() {
        app.core.store.pool_status_put(&changed).await?;
    }
    for status in &changed {
        app.core.bus.changed(Thing::Pool(status.pool_id));
    }
    compare(app, known, &said, before.as_deref()).await?;
    app.live.note(id, |live| live.kept = true);
    match &before {
        Some(before) => tell(app, known, before, &said),
        None => app.core.bus.changed(Thing::Host(id)),
    }
    // Everything on it is known again, or unknown now.
    if before.is_none_or(|b| b.phase != said.phase || b.vms.is_some() != said.vms.is_some()) {
        known_anew(app, known, said.vms.as_ref());
        app.core.bus.moved(id);
    }
    Ok(())
}

/// Says that everything on a host is known again, or unknown now. A VM of which there is nothing new to tell shows itself
/// anew to those who look at it, and costs nothing else.
fn known_anew(app: &App, known: &Known, said: Option<&BTreeMap<VmId, VmLive>>) {
    for (pool, _) in &known.roster.pools {
        app.core.bus.changed(Thing::Pool(pool.id));
    }
    for vm in &known.roster.vms {
        let power = said.and_then(|vms| vms.get(&vm.id)).map_or(PowerState::Unknown, |live| live.power_state);
        if app.told.is_news_of_vm(vm.id, vm.phase, power) {
            app.core.bus.changed(Thing::Vm(vm.id));
        }
    }
}

fn is_assigned(known: &Known, id: PoolId) -> bool {
    known.roster.pools.iter().any(|(pool, _)| pool.id == id)
}

/// What is on the host by its own words, against what should be.
async fn compare(app: &App, known: &Known, said: &HostLive, before: Option<&HostLive>) -> Result<(), Fault> {
    settle_releases(app, known, said).await?;
    // Its alert comes and goes with them.
    if !pool_unknown::of(known, said).is_empty() || app.alerted.has(Thing::Host(known.roster.host.id)) {
        app.core.bus.changed(Thing::Host(known.roster.host.id));
    }
    if let Some(vms) = &said.vms {
        keep_vms(app, known, vms, before).await?;
    }
    let mark = known.roster.mark;
    app.live.note(known.roster.host.id, |live| live.compared = Some(mark));
    Ok(())
}

/// Tells watchers: of what happened each by itself, of what only moved once for the whole host.
fn tell(app: &App, known: &Known, before: &HostLive, said: &HostLive) {
    let bus = &app.core.bus;
    let id = known.roster.host.id;
    // Alerts look at whole seconds.
    let skew = |live: &HostLive| live.clock_skew_ms / 1000;
    let ends = |live: &HostLive| live.certificate.as_ref().map(|c| (c.expires_at, c.fault.is_some()));
    if before.phase != said.phase
        || before.engine != said.engine
        || skew(before) != skew(said)
        || ends(before) != ends(said)
    {
        bus.changed(Thing::Host(id));
    }
    for (pool_id, report) in said.pools.iter().filter(|(id, _)| is_assigned(known, **id)) {
        if before.pools.get(pool_id).is_some_and(|last| percent_used(last) != percent_used(report)) {
            bus.changed(Thing::Pool(*pool_id));
        }
    }
    bus.moved(id);
}

/// Alerts look at whole percents.
fn percent_used(report: &PoolReport) -> Option<u64> {
    report.capacity.and_then(|c| (c.used_bytes / 100).checked_mul(10_000)?.checked_div(c.total_bytes))
}

/// A host that no longer has a pool it should let go of: the assignment ends, whoever asked it.
async fn settle_releases(app: &App, known: &Known, said: &HostLive) -> Result<(), Fault> {
    for (pool, assignment) in &known.roster.pools {
        let busy = app.core.tasks.of(Thing::Pool(pool.id)).is_some();
        if assignment.releasing && !busy && !said.pools.contains_key(&pool.id) {
            app.core.store.pool_unassign(pool.id, known.roster.host.id).await?;
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

/// Writes of all hosts that were seen since when, in few statements.
pub async fn write_seen(app: &App) -> Result<(), Fault> {
    let (ids, at) = app.live.take_seen();
    let Some(at) = at else { return Ok(()) };
    // Their next beats say it again.
    let written = app.core.store.host_seen(&ids, at).await;
    Ok(written.inspect_err(|_| app.live.forget_seen(&ids))?)
}

/// Writes what a host is made of, and its release.
async fn keep_host(app: &App, known: &Known, beat: &node::BeatRequest) -> Result<(), Fault> {
    let now = app.core.clock.now();
    let inventory = beat.inventory.as_option().map(Inventory::from);
    let engine = beat.engine.as_option().map(Engine::try_from).transpose()?;
    let (first, version) = (known.roster.host.seen_at.is_none(), &known.roster.host.node_version);
    if !first && beat.node_version == *version && inventory.is_none() {
        return Ok(());
    }
    let change = |host: &mut HostRecord| {
        if host.seen_at.is_none() {
            host.seen_at = Some(now);
        }
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
    app.core.store.host_update(known.roster.host.id, change).await?;
    app.core.bus.changed(Thing::Host(known.roster.host.id));
    Ok(())
}

/// Writes power states that changed, and tells of VMs that are gone or came back.
async fn keep_vms(
    app: &App,
    known: &Known,
    said: &BTreeMap<VmId, VmLive>,
    before: Option<&HostLive>,
) -> Result<(), Fault> {
    let mut missing = BTreeMap::new();
    let mut ids = Vec::new();
    for vm in &known.roster.vms {
        match said.get(&vm.id) {
            Some(live) if power_differs(vm, live) || vm.phase == VmPhase::Lost => ids.push(vm.id),
            Some(live) => {
                // What it could not do for it is not written, but worth showing.
                let last = before.and_then(|b| b.vms.as_ref()).and_then(|vms| vms.get(&vm.id));
                if last.is_some_and(|last| last.fault != live.fault) {
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
    app.live.note(known.roster.host.id, |live| live.missing.clone_from(&missing));
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

fn power_differs(vm: &VmBrief, live: &VmLive) -> bool {
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

/// Takes a host's word on one pool, given in answer to a call.
pub async fn take_pool(app: &App, host_id: HostId, pool_id: PoolId, said: PoolReport) -> Result<(), Fault> {
    let report = sane_pool(said);
    app.live.change(host_id, |live| {
        live.pools.insert(pool_id, Arc::new(report.clone()));
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
    for id in app.lives.settled(now) {
        tracing::info!(host = %id, "only one machine reports under this identity any more");
        app.core.bus.changed(Thing::Host(id));
    }
    let mut turned = app.live.turned(now);
    // One that has not spoken since the vDC started falls silent, too, when its time is up.
    turned.extend(app.live.absent(now).into_iter().map(|id| (id, HostPhase::Disconnected)));
    for (id, phase) in &turned {
        app.core.bus.changed(Thing::Host(*id));
        let known = match app.core.rosters.get(*id).await {
            Err(StoreError::NotFound { .. }) => continue,
            known => known?,
        };
        tracing::info!(host = known.roster.host.name, ?phase, "the host's phase turned");
        let live = app.live.get(*id).filter(|_| *phase != HostPhase::Disconnected);
        known_anew(app, &known, live.as_ref().and_then(|live| live.vms.as_ref()));
        app.core.bus.moved(*id);
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
    fn watchers_hear_of_whole_percents() {
        let used = |bytes: u64| percent_used(&report(bytes * 100, PoolHealth::Healthy));
        assert_eq!((used(0), used(1)), (Some(0), Some(100)));
        let nothing = PoolReport { capacity: None, ..report(1, PoolHealth::Healthy) };
        assert_eq!(percent_used(&nothing), None);
    }
}
