//! Counts for the dashboard. Silent hosts add nothing to sums, and are counted themselves, so that a sum is known
//! to be partial.

use crate::services::{App, host, pool, vm};
use quantix_contract::quantix::system::v1 as wire;
use quantix_contract::time;
use quantix_contract::twin::{self, Twin};
use quantix_model::host::HostPhase;
use quantix_model::id::HostId;
use quantix_model::image::ImagePhase;
use quantix_model::pool::{PoolPhase, capacity};
use quantix_model::vm::PowerState;
use quantix_model::{Fault, UnixMs};
use quantix_store::VmRecord;
use std::collections::{BTreeMap, HashMap};

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
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
    let mut sum = wire::Summary::default();
    hosts_and_vms(app, &mut sum).await?;
    pools(app, &mut sum).await?;
    let images = app.core.store.image_all().await?;
    sum.images_total = count(images.len());
    sum.images_ready = count(images.iter().filter(|i| i.phase == ImagePhase::Ready).count());
    sum.volumes_total = count(app.core.store.volume_all().await?.len());
    Ok(sum)
}

async fn hosts_and_vms(app: &App, sum: &mut wire::Summary) -> Result<(), Fault> {
    let mut of_host: HashMap<HostId, Vec<VmRecord>> = HashMap::new();
    for vm in app.core.store.vm_all().await? {
        of_host.entry(vm.host_id).or_default().push(vm);
    }
    let (mut phases, mut powers) = (Tally::new(), Tally::new());
    let mut oldest: Option<UnixMs> = None;
    for host in app.core.store.host_all().await? {
        sum.hosts_total += 1;
        let phase = host::phase(app, &host);
        phases.add(phase);
        let known = matches!(phase, HostPhase::Ready | HostPhase::Degraded);
        sum.hosts_ready += u32::from(phase == HostPhase::Ready);
        sum.hosts_silent += u32::from(!known);
        for vm in of_host.remove(&host.id).unwrap_or_default() {
            let state = vm::power(app, &host, &vm).state;
            sum.vms_total += 1;
            sum.vms_running += u32::from(state.is_active());
            powers.add(state);
        }
        if let Some(live) = app.live.get(host.id).filter(|_| known) {
            oldest = Some(oldest.map_or(live.beat_at, |at| at.min(live.beat_at)));
            sum.memory_total_bytes = sum.memory_total_bytes.saturating_add(live.vitals.memory_total_bytes);
            sum.memory_used_bytes = sum.memory_used_bytes.saturating_add(live.vitals.memory_used_bytes);
            sum.cpu_threads += host.discovery.as_ref().map_or(0, |d| d.inventory.cpu.threads);
        }
    }
    // Nobody knows of VMs whose host is gone.
    for vm in of_host.into_values().flatten() {
        tracing::debug!(vm = %vm.id, "a VM without a host");
        sum.vms_total += 1;
        powers.add(PowerState::Unknown);
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
    Ok(())
}

async fn pools(app: &App, sum: &mut wire::Summary) -> Result<(), Fault> {
    let mut phases = Tally::new();
    for record in app.core.store.pool_all().await? {
        sum.pools_total += 1;
        let statuses = pool::statuses(app, record.id).await?;
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
