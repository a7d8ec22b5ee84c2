//! RPC about snapshots of volumes. What a running VM writes to is not touched, unless its pool can do so.

use crate::daemon::Daemon;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::time;
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::volume::check_snapshot_name;
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_storage::backend::SnapshotInfo;
use quantix_storage::worker::PoolWorker;

/// A request read.
struct Wish {
    pool: PoolId,
    volume: VolumeId,
    name: String,
    worker: PoolWorker,
}

fn read(daemon: &Daemon, request: wire::SnapshotRequest) -> Result<Wish, Fault> {
    let pool = request.pool_id.parse()?;
    check_snapshot_name("name", &request.name)?;
    Ok(Wish {
        pool,
        volume: request.volume_id.parse()?,
        name: request.name,
        worker: daemon.pools.worker(pool)?,
    })
}

pub async fn list(
    daemon: &Daemon,
    request: wire::SnapshotRequest,
) -> Result<wire::ListSnapshotsResponse, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let volume: VolumeId = request.volume_id.parse()?;
    let worker = daemon.pools.worker(pool)?;
    let snapshots = daemon.pools.promptly(pool, worker.snapshot_list(volume)).await?;
    Ok(wire::ListSnapshotsResponse {
        snapshots: snapshots.iter().map(report).collect(),
        ..Default::default()
    })
}

pub async fn create(daemon: &Daemon, request: wire::SnapshotRequest) -> Result<wire::SnapshotReport, Fault> {
    let Wish { pool, volume, name, worker } = read(daemon, request)?;
    if !daemon.pools.capabilities(pool)?.snapshots_running {
        daemon.vms.idle_volume(volume, "make a snapshot of it").await?;
    }
    let made = daemon.pools.noting(pool, worker.snapshot_create(volume, name).await)?;
    daemon.pools.look_again(pool);
    Ok(report(&made))
}

pub async fn revert(daemon: &Daemon, request: wire::SnapshotRequest) -> Result<wire::SnapshotReport, Fault> {
    let Wish { pool, volume, name, worker } = read(daemon, request)?;
    daemon.vms.idle_volume(volume, "revert it").await?;
    daemon.pools.noting(pool, worker.snapshot_revert(volume, name.clone()).await)?;
    daemon.pools.look_again(pool);
    let all = daemon.pools.noting(pool, worker.snapshot_list(volume).await)?;
    all.iter().find(|snapshot| snapshot.name == name).map(report).ok_or_else(|| {
        Fault::new(
            FaultCode::SnapshotMissing,
            format!("The snapshot {name:?} was gone right after the volume was reverted to it."),
            "Look whether another tool manages this pool.",
        )
    })
}

pub async fn delete(
    daemon: &Daemon,
    request: wire::SnapshotRequest,
) -> Result<wire::DeleteSnapshotResponse, Fault> {
    let Wish { pool, volume, name, worker } = read(daemon, request)?;
    if !daemon.pools.capabilities(pool)?.snapshots_running {
        daemon.vms.idle_volume(volume, "delete a snapshot of it").await?;
    }
    let existed = daemon.pools.noting(pool, worker.snapshot_delete(volume, name).await)?;
    daemon.pools.look_again(pool);
    Ok(wire::DeleteSnapshotResponse { existed, ..Default::default() })
}

fn report(info: &SnapshotInfo) -> wire::SnapshotReport {
    wire::SnapshotReport {
        name: info.name.clone(),
        created_at: time::to_proto(UnixMs(info.created_at_ms)).into(),
        size_bytes: info.size_bytes,
        clones: info.clones,
        ..Default::default()
    }
}
