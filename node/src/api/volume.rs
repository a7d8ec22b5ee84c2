//! RPC about volumes.

use crate::daemon::Daemon;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::volume::{Allocation, VolumeSource, check_size, check_snapshot_name};
use quantix_storage::backend::{VolumeInfo, VolumeWish};

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
    let worker = daemon.pools.worker(pool)?;
    let volumes = daemon.pools.noting(pool, worker.volume_list().await)?;
    Ok(wire::ListVolumesResponse { volumes: volumes.iter().map(report).collect(), ..Default::default() })
}

/// Grows a volume that no running VM has.
pub async fn grow(daemon: &Daemon, request: wire::GrowVolumeRequest) -> Result<wire::VolumeReport, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let id: VolumeId = request.volume_id.parse()?;
    check_size("size_bytes", request.size_bytes)?;
    daemon.vms.idle_volume(id, "grow it").await?;
    let worker = daemon.pools.worker(pool)?;
    let grown = daemon.pools.noting(pool, worker.volume_grow(id, request.size_bytes).await)?;
    daemon.pools.look_again(pool);
    Ok(report(&grown))
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
