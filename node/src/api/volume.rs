//! RPC about volumes.

use super::file::{Told, telling};
use crate::daemon::Daemon;
use crate::vm::disk::{Runs, serial};
use futures::future::BoxFuture;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::{PoolId, VmId, VolumeId};
use quantix_model::volume::{Allocation, VolumeSource, check_size, check_snapshot_name};
use quantix_storage::backend::{Attachment, VolumeInfo, VolumeWish};
use std::sync::Arc;

pub async fn create(
    daemon: &Daemon,
    request: wire::CreateVolumeRequest,
) -> Result<wire::VolumeReport, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    check_size("size_bytes", request.size_bytes)?;
    let wish = VolumeWish {
        id: request.volume_id.parse()?,
        size_bytes: request.size_bytes,
        format: twin::read("format", request.format)?,
        allocation: twin::read_or("allocation", request.allocation, Allocation::Thin)?,
        source: source(&request)?,
    };
    let worker = daemon.pools.worker(pool)?;
    let made = daemon.pools.noting(pool, worker.volume_create(wish, None).await)?;
    daemon.pools.look_again(pool);
    Ok(report(&made))
}

fn source(request: &wire::CreateVolumeRequest) -> Result<VolumeSource, Fault> {
    let linked = request.linked;
    Ok(match (request.image_id.as_str(), request.source_volume_id.as_str()) {
        ("", "") => VolumeSource::Blank,
        (image, "") => VolumeSource::Image { id: image.parse()?, linked },
        ("", volume) => {
            let snapshot = request.source_snapshot.clone();
            if !snapshot.is_empty() {
                check_snapshot_name("source_snapshot", &snapshot)?;
            }
            VolumeSource::Volume { id: volume.parse()?, snapshot, linked }
        }
        _ => {
            return Err(Fault::invalid(
                "source_volume_id",
                "A volume starts from an image or from a volume, not from both.",
                "Leave out one of them.",
            ));
        }
    })
}

pub async fn delete(
    daemon: &Daemon,
    request: wire::DeleteVolumeRequest,
) -> Result<wire::DeleteVolumeResponse, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let id: VolumeId = request.volume_id.parse()?;
    let worker = daemon.pools.worker(pool)?;
    let existed = daemon.pools.noting(pool, worker.volume_delete(id).await)?;
    daemon.pools.look_again(pool);
    Ok(wire::DeleteVolumeResponse { existed, ..Default::default() })
}

pub async fn list(
    daemon: &Daemon,
    request: wire::ListVolumesRequest,
) -> Result<wire::ListVolumesResponse, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let volumes = daemon.pools.volumes(pool).await?;
    Ok(wire::ListVolumesResponse { volumes: volumes.iter().map(report).collect(), ..Default::default() })
}

/// Grows a volume: one that a VM runs on through the hypervisor, so that its guest sees it at once.
pub async fn grow(daemon: &Daemon, request: wire::GrowVolumeRequest) -> Result<wire::VolumeReport, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let id: VolumeId = request.volume_id.parse()?;
    check_size("size_bytes", request.size_bytes)?;
    let size_bytes = request.size_bytes;
    let (pools, vms) = (Arc::clone(&daemon.pools), Arc::clone(&daemon.vms));
    let worker = pools.worker(pool)?;
    let grow = move |runs: Option<Runs>| -> BoxFuture<'static, Result<VolumeInfo, Fault>> {
        Box::pin(async move {
            let Some(runs) = runs else { return worker.volume_grow(id, size_bytes).await };
            if !pools.capabilities(pool)?.grow_running {
                return Err(runs.refuse("grow it"));
            }
            // QEMU itself grows files and RBD images; a device is grown before it is told.
            if let Attachment::Block { .. } = worker.volume_attach(id).await? {
                worker.volume_grow(id, size_bytes).await?;
            }
            vms.driver().disk_grow(runs.vm, &serial(id), size_bytes).await?;
            let all = worker.volume_list().await?;
            let found = all.into_iter().find(|volume| volume.id == id);
            let found = found.ok_or_else(|| Fault::internal("a grown volume is not in its pool's list"))?;
            Ok(VolumeInfo { size_bytes, ..found })
        })
    };
    let grown = daemon.vms.with_volume(id, hint(&request.vm_id)?, grow).await;
    let grown = daemon.pools.noting(pool, grown)?;
    daemon.pools.look_again(pool);
    Ok(report(&grown))
}

/// Makes a linked clone independent. Its VM is looked at in its turn; the pool then keeps it from starting meanwhile.
pub fn flatten(daemon: &Daemon, request: wire::FlattenVolumeRequest) -> Result<Told, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let id: VolumeId = request.volume_id.parse()?;
    let hint = hint(&request.vm_id)?;
    let (worker, vms) = (daemon.pools.worker(pool)?, Arc::clone(&daemon.vms));
    Ok(telling(Arc::clone(&daemon.pools), pool, move |tell| async move {
        let check = |runs: Option<Runs>| -> BoxFuture<'static, Result<(), Fault>> {
            let refused = runs.map(|runs| runs.refuse("make its disk independent"));
            Box::pin(std::future::ready(refused.map_or(Ok(()), Err)))
        };
        vms.with_volume(id, hint, check).await?;
        worker.volume_flatten(id, Some(tell)).await.map(drop)
    }))
}

/// The VM that has a volume, as far as the asker knows.
pub(super) fn hint(vm_id: &str) -> Result<Option<VmId>, Fault> {
    Ok(if vm_id.is_empty() { None } else { Some(vm_id.parse()?) })
}

fn report(info: &VolumeInfo) -> wire::VolumeReport {
    wire::VolumeReport {
        volume_id: info.id.to_string(),
        size_bytes: info.size_bytes,
        allocated_bytes: info.allocated_bytes,
        format: twin::write(info.format),
        allocation: twin::write(info.allocation),
        parent_volume_id: info.parent.map(|id| id.to_string()).unwrap_or_default(),
        clones: info.clones,
        ..Default::default()
    }
}
