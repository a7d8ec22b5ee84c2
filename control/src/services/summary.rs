//! Counts for the dashboard. Silent hosts add nothing to sums, and are counted themselves, so that a sum is known
//! to be partial.

use crate::services::{App, host, pool, vm};
use quantix_contract::quantix::system::v1 as wire;
use quantix_model::Fault;
use quantix_model::host::HostPhase;
use quantix_model::image::ImagePhase;
use quantix_model::pool::{PoolPhase, capacity};

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// All counts; version and times are added at the edge.
pub async fn counts(app: &App) -> Result<wire::Summary, Fault> {
    let mut sum = wire::Summary::default();
    let vms = app.core.store.vm_all().await?;
    for host in app.core.store.host_all().await? {
        sum.hosts_total += 1;
        let phase = host::phase(app, &host);
        let known = matches!(phase, HostPhase::Ready | HostPhase::Degraded);
        sum.hosts_ready += u32::from(phase == HostPhase::Ready);
        sum.hosts_silent += u32::from(!known);
        let on_it = vms.iter().filter(|vm| vm.host_id == host.id);
        sum.vms_running += count(on_it.filter(|v| vm::power(app, &host, v).state.is_active()).count());
        if let Some(live) = app.live.get(host.id).filter(|_| known) {
            sum.memory_total_bytes = sum.memory_total_bytes.saturating_add(live.vitals.memory_total_bytes);
            sum.memory_used_bytes = sum.memory_used_bytes.saturating_add(live.vitals.memory_used_bytes);
            sum.cpu_threads += host.discovery.as_ref().map_or(0, |d| d.inventory.cpu.threads);
        }
    }
    for record in app.core.store.pool_all().await? {
        sum.pools_total += 1;
        let statuses = pool::statuses(app, record.id).await?;
        sum.pools_ready += u32::from(pool::phase_of(app, &record, &statuses).0 == PoolPhase::Ready);
        if let Some((bytes, _)) = capacity(record.spec.is_shared(), &statuses) {
            sum.pool_total_bytes = sum.pool_total_bytes.saturating_add(bytes.total_bytes);
            sum.pool_used_bytes = sum.pool_used_bytes.saturating_add(bytes.used_bytes);
        }
    }
    let images = app.core.store.image_all().await?;
    sum.images_total = count(images.len());
    sum.images_ready = count(images.iter().filter(|i| i.phase == ImagePhase::Ready).count());
    sum.vms_total = count(vms.len());
    sum.volumes_total = count(app.core.store.volume_all().await?.len());
    Ok(sum)
}
