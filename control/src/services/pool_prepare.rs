//! Who makes what a pool needs on storage that several hosts share, a volume group on a LUN: one host at a time.
//!
//! ```text
//!   not prepared ──▶ a host gets leave ──▶ works ──▶ prepared: all others open what is there
//!                     ▲     │    └─ says why not ──▶ the next host gets leave
//!                     └─────┘ no answer: it may be at work, so nobody else gets leave while it is there
//! ```
//! Leave is good for one attempt and stands in no intent: a host that comes back with an old one makes nothing.

use crate::bus::Thing;
use crate::services::{App, host, pool, pool_work};
use futures::StreamExt as _;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::host::HostPhase;
use quantix_model::id::{HostId, PoolId};
use quantix_model::pool::PoolHealth;
use quantix_model::{Fault, FaultCode};

/// Pools that are prepared at the same time.
const AT_ONCE: usize = 4;

/// One round: makes the pool on the first host that can, unless it was made before.
pub(super) async fn prepare(app: &App, id: PoolId) -> Result<(), Fault> {
    let record = app.core.store.pool_get(id).await?;
    if record.prepared || !record.spec.is_made_once() {
        return Ok(());
    }
    let works = |health| matches!(health, PoolHealth::Healthy | PoolHealth::Degraded);
    let statuses = pool::statuses(app, id).await?;
    if statuses.iter().any(|s| s.report.as_ref().is_some_and(|report| works(report.health))) {
        return Ok(app.core.store.pool_set_prepared(id).await?);
    }
    let mut failed = Vec::new();
    for assignment in app.core.store.pool_assignments(id).await?.iter().filter(|a| !a.releasing) {
        let host_id = assignment.host_id;
        let intent = node::PoolIntent { may_make: true, ..pool::intent(app, &record)? };
        match pool_work::ask(app, id, host_id, intent).await {
            Ok(Ok(())) => return Ok(app.core.store.pool_set_prepared(id).await?),
            // Whoever hangs may still be at it.
            Ok(Err(fault)) if fault.code == FaultCode::PoolStalled => return Err(fault),
            Ok(Err(fault)) => failed.push((host_id, fault)),
            Err(fault) if is_away(app, host_id).await? => failed.push((host_id, fault)),
            Err(fault) => return Err(fault),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    // One that may come right by itself keeps the task trying.
    let first = failed.iter().position(|(_, fault)| fault.retryable()).unwrap_or(0);
    Err(pool_work::summed(failed, first))
}

async fn is_away(app: &App, host_id: HostId) -> Result<bool, Fault> {
    let phase = host::phase(app, &app.core.store.host_get(host_id).await?);
    Ok(!matches!(phase, HostPhase::Ready | HostPhase::Degraded))
}

/// Prepares what no task does any more: its hosts were away, or its storage was, for longer than a task waits.
pub async fn prepare_left(app: &App) -> Result<(), Fault> {
    let pools = app.core.store.pool_all().await?;
    let left = pools.into_iter().filter(|pool| pool.spec.is_made_once() && !pool.prepared && !pool.deleting);
    let idle = left.filter(|pool| app.core.tasks.of(Thing::Pool(pool.id)).is_none());
    futures::stream::iter(idle)
        .for_each_concurrent(AT_ONCE, async |pool| {
            if let Err(fault) = prepare(app, pool.id).await {
                tracing::debug!(%fault, pool = pool.name, "the pool is not prepared yet");
            }
        })
        .await;
    Ok(())
}
