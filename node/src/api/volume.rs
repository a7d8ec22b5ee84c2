//! RPC about volumes.

use crate::daemon::Daemon;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::volume::check_size;
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
        image_id: match request.image_id.as_str() {
            "" => None,
            id => Some(id.parse::<ImageId>()?),
        },
    };
    let worker = daemon.pools.worker(pool)?;
    let made = daemon.pools.noting(pool, worker.volume_create(wish, None).await)?;
    daemon.pools.look_again(pool);
    Ok(report(&made))
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

fn report(info: &VolumeInfo) -> wire::VolumeReport {
    wire::VolumeReport {
        volume_id: info.id.to_string(),
        size_bytes: info.size_bytes,
        allocated_bytes: info.allocated_bytes,
        format: twin::write(info.format),
        ..Default::default()
    }
}
