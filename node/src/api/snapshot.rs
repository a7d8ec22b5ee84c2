//! RPC about snapshots of volumes. What a running VM writes to is not touched, unless its pool can do so.

use super::volume::hint;
use crate::daemon::Daemon;
use crate::vm::disk::Runs;
use futures::future::BoxFuture;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::time;
use quantix_model::id::{PoolId, VmId, VolumeId};
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
    /// The VM that has it, as far as the asker knows.
    vm: Option<VmId>,
}

fn read(daemon: &Daemon, request: wire::SnapshotRequest) -> Result<Wish, Fault> {
    let pool = request.pool_id.parse()?;
    check_snapshot_name("name", &request.name)?;
    Ok(Wish {
        pool,
        volume: request.volume_id.parse()?,
        name: request.name,
        worker: daemon.pools.worker(pool)?,
        vm: hint(&request.vm_id)?,
    })
}

impl Wish {
    /// Does it in the turn of the VM that has the volume. While it runs only where `running` says so; else refused:
    /// `what` completes "to …".
    async fn carry_out<T: Send + 'static, F>(
        self,
        daemon: &Daemon,
        running: bool,
        what: &'static str,
        work: impl FnOnce(PoolWorker, VolumeId, String) -> F + Send + 'static,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let Wish { pool, volume, name, worker, vm } = self;
        let turn = move |runs: Option<Runs>| -> BoxFuture<'static, Result<T, Fault>> {
            match runs.filter(|_| !running) {
                Some(runs) => Box::pin(std::future::ready(Err(runs.refuse(what)))),
                None => Box::pin(work(worker, volume, name)),
            }
        };
        let done = daemon.pools.noting(pool, daemon.vms.with_volume(volume, vm, turn).await);
        daemon.pools.look_again(pool);
        done
    }
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
    let wish = read(daemon, request)?;
    let running = daemon.pools.capabilities(wish.pool)?.snapshots_running;
    let make = |worker: PoolWorker, volume, name| async move { worker.snapshot_create(volume, name).await };
    let made = wish.carry_out(daemon, running, "make a snapshot of it", make).await?;
    Ok(report(&made))
}

pub async fn revert(daemon: &Daemon, request: wire::SnapshotRequest) -> Result<wire::SnapshotReport, Fault> {
    let wish = read(daemon, request)?;
    let back = |worker: PoolWorker, volume, name: String| async move {
        worker.snapshot_revert(volume, name.clone()).await?;
        let all = worker.snapshot_list(volume).await?;
        all.into_iter().find(|snapshot| snapshot.name == name).ok_or_else(|| gone(&name))
    };
    let now = wish.carry_out(daemon, false, "revert it", back).await?;
    Ok(report(&now))
}

fn gone(name: &str) -> Fault {
    Fault::new(
        FaultCode::SnapshotMissing,
        format!("The snapshot {name:?} was gone right after the volume was reverted to it."),
        "Look whether another tool manages this pool.",
    )
}

pub async fn delete(
    daemon: &Daemon,
    request: wire::SnapshotRequest,
) -> Result<wire::DeleteSnapshotResponse, Fault> {
    let wish = read(daemon, request)?;
    let running = daemon.pools.capabilities(wish.pool)?.snapshots_running;
    let forget = |worker: PoolWorker, volume, name| async move { worker.snapshot_delete(volume, name).await };
    let existed = wish.carry_out(daemon, running, "delete a snapshot of it", forget).await?;
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
