//! Counts for the dashboard. Silent hosts add nothing to sums, and are counted themselves, so that a sum is known
//! to be partial.
//!
//! Every page asks for them after every change. Whoever asks while a count runs has the next one, together with all others
//! who wait; and counting rests nine times as long as it took. Nobody is told a count that began before they asked.

use crate::services::{App, host, pool, vm};
use quantix_contract::quantix::system::v1 as wire;
use quantix_contract::time;
use quantix_contract::twin::{self, Twin};
use quantix_model::host::HostPhase;
use quantix_model::id::{HostId, PoolId};
use quantix_model::image::ImagePhase;
use quantix_model::pool::{PoolPhase, capacity};
use quantix_model::{Fault, UnixMs};
use quantix_store::{HostBrief, Mark, PoolAssignmentRecord};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Counting takes this part of the time at most …
const RESTS: u32 = 9;
/// … and nobody waits longer for it to begin.
const REST_MAX: Duration = Duration::from_secs(1);

/// Counts as they were last.
#[derive(Debug, Default)]
pub struct Summaries(tokio::sync::Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    counted: Option<Counted>,
    /// CPU threads of each host, as long as nothing was written to it.
    threads: HashMap<HostId, (Mark, u32)>,
}

#[derive(Debug)]
struct Counted {
    begun: Instant,
    rests_until: Instant,
    sum: wire::Summary,
}

fn count<N: TryInto<u32>>(n: N) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

/// How many there are of each, in the order of the wire's numbers, so that the same counts always read the same.
struct Tally<K>(BTreeMap<i32, (K, u32)>);

impl<K: Twin> Tally<K> {
    fn new() -> Tally<K> {
        Tally(BTreeMap::new())
    }

    fn add(&mut self, kind: K) {
        self.0.entry(twin::write(kind).to_i32()).or_insert((kind, 0)).1 += 1;
    }

    fn rows<R>(self, row: impl Fn(K, u32) -> R) -> Vec<R> {
        self.0.into_values().map(|(kind, count)| row(kind, count)).collect()
    }
}

/// All counts; version and times are added at the edge.
pub async fn counts(app: &App) -> Result<wire::Summary, Fault> {
    let asked = Instant::now();
    let mut kept = app.summaries.0.lock().await;
    if let Some(last) = &kept.counted {
        if last.begun >= asked {
            return Ok(last.sum.clone());
        }
        tokio::time::sleep_until(last.rests_until.into()).await;
    }
    let begun = Instant::now();
    let sum = look(app, &mut kept.threads).await?;
    let rests_until = Instant::now() + begun.elapsed().saturating_mul(RESTS).min(REST_MAX);
    kept.counted = Some(Counted { begun, rests_until, sum: sum.clone() });
    Ok(sum)
}

/// Which host should have a pool, by pool.
type Assigned = HashMap<PoolId, Vec<PoolAssignmentRecord>>;

async fn look(app: &App, threads: &mut HashMap<HostId, (Mark, u32)>) -> Result<wire::Summary, Fault> {
    let mut sum = wire::Summary::default();
    let assigned = hosts_and_vms(app, &mut sum, threads).await?;
    pools(app, &mut sum, assigned).await?;
    let images = app.core.store.image_all().await?;
    sum.images_total = count(images.len());
    sum.images_ready = count(images.iter().filter(|i| i.phase == ImagePhase::Ready).count());
    sum.volumes_total = count(app.core.store.volume_total().await?);
    Ok(sum)
}

async fn hosts_and_vms(
    app: &App,
    sum: &mut wire::Summary,
    threads: &mut HashMap<HostId, (Mark, u32)>,
) -> Result<Assigned, Fault> {
    let (mut phases, mut powers) = (Tally::new(), Tally::new());
    let mut oldest: Option<UnixMs> = None;
    let mut assigned = Assigned::new();
    for host in &app.core.rosters.hosts().await? {
        sum.hosts_total += 1;
        let phase = host::phase_of(app, host);
        phases.add(phase);
        let known = matches!(phase, HostPhase::Ready | HostPhase::Degraded);
        sum.hosts_ready += u32::from(phase == HostPhase::Ready);
        sum.hosts_silent += u32::from(!known);
        // Removed a moment ago.
        let Ok(on_it) = app.core.rosters.get(host.id).await else { continue };
        for (pool, assignment) in &on_it.roster.pools {
            assigned.entry(pool.id).or_default().push(assignment.clone());
        }
        for state in vm::power_states(app, &on_it.roster) {
            sum.vms_total += 1;
            sum.vms_running += u32::from(state.is_active());
            powers.add(state);
        }
        if let Some(live) = app.live.get(host.id).filter(|_| known) {
            oldest = Some(oldest.map_or(live.beat_at, |at| at.min(live.beat_at)));
            sum.memory_total_bytes = sum.memory_total_bytes.saturating_add(live.vitals.memory_total_bytes);
            sum.memory_used_bytes = sum.memory_used_bytes.saturating_add(live.vitals.memory_used_bytes);
            sum.cpu_threads = sum.cpu_threads.saturating_add(threads_of(app, host, threads).await?);
        }
    }
    sum.hosts = phases.rows(|phase, count| wire::HostCount {
        phase: twin::write(phase),
        count,
        ..Default::default()
    });
    sum.vms = powers.rows(|state, count| wire::VmCount {
        power_state: twin::write(state),
        count,
        ..Default::default()
    });
    sum.oldest_report_at = oldest.map(time::to_proto).into();
    Ok(assigned)
}

async fn pools(app: &App, sum: &mut wire::Summary, mut assigned: Assigned) -> Result<(), Fault> {
    let mut phases = Tally::new();
    for record in app.core.store.pool_all().await? {
        sum.pools_total += 1;
        let assignments = assigned.remove(&record.id).unwrap_or_default();
        let statuses = pool::statuses_as_assigned(app, record.id, &assignments).await?;
        let phase = pool::phase_of(app, &record, &statuses).0;
        phases.add(phase);
        sum.pools_ready += u32::from(phase == PoolPhase::Ready);
        if let Some((bytes, _)) = capacity(record.spec.is_shared(), &statuses) {
            sum.pool_total_bytes = sum.pool_total_bytes.saturating_add(bytes.total_bytes);
            sum.pool_used_bytes = sum.pool_used_bytes.saturating_add(bytes.used_bytes);
        }
    }
    sum.pools = phases.rows(|phase, count| wire::PoolCount {
        phase: twin::write(phase),
        count,
        ..Default::default()
    });
    Ok(())
}

async fn threads_of(
    app: &App,
    host: &HostBrief,
    kept: &mut HashMap<HostId, (Mark, u32)>,
) -> Result<u32, Fault> {
    let mark = app.core.store.host_mark(host.id);
    if let Some((_, threads)) = kept.get(&host.id).filter(|(at, _)| *at == mark) {
        return Ok(*threads);
    }
    let record = app.core.store.host_get(host.id).await?;
    let threads = record.discovery.map_or(0, |found| found.inventory.cpu.threads);
    kept.insert(host.id, (mark, threads));
    Ok(threads)
}
