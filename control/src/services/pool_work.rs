//! Carrying out pool intents: telling hosts, waiting for their word, letting go.
//!
//! A host that cannot be reached now is asked again until the deadline; after that it converges by its own beats,
//! because each beat is answered with all pools it should have.

use crate::bus::Thing;
use crate::services::{App, lines, pool, pool_change, pool_prepare, report};
use crate::tasks::{TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::fault::HostReason;
use quantix_model::id::{HostId, PoolId};
use quantix_model::pool::{PENDING_DEADLINE, PoolHealth, PoolReport};
use quantix_model::{Fault, FaultCode};
use quantix_store::PoolReleaseRecord;
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    for what in [What::Create, What::Assign, What::Update, What::Unassign, What::Delete] {
        app.core.tasks.register(Arc::new(Work { app: Arc::downgrade(app), what }));
    }
}

#[derive(Clone, Copy)]
enum What {
    Create,
    Assign,
    Update,
    Unassign,
    Delete,
}

struct Work {
    app: Weak<App>,
    what: What,
}

#[derive(Deserialize)]
struct Hosts {
    host_ids: Vec<HostId>,
}

#[derive(Deserialize)]
struct Force {
    /// Tasks of an older release do not say.
    #[serde(default)]
    force: bool,
}

#[async_trait]
impl TaskKind for Work {
    fn name(&self) -> &'static str {
        match self.what {
            What::Create => "pool.create",
            What::Assign => "pool.assign",
            What::Update => "pool.update",
            What::Unassign => "pool.unassign",
            What::Delete => "pool.delete",
        }
    }

    fn deadline(&self) -> Duration {
        PENDING_DEADLINE
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.app)?;
        let id: PoolId = task.object_id()?;
        match self.what {
            What::Create | What::Assign => apply_all(&app, task, id).await,
            What::Update => pool_change::push(&app, task, id).await,
            What::Unassign => {
                let force = task.input::<Force>()?.force;
                for host_id in task.input::<Hosts>()?.host_ids {
                    release(&app, task, id, host_id, force).await?;
                }
                app.core.bus.changed(Thing::Pool(id));
                Ok(())
            }
            What::Delete => delete(&app, task, id).await,
        }
    }
}

/// All hosts at once: one that is away holds up no other. What each says stands on the pool's page, too.
async fn apply_all(app: &App, task: &TaskContext, id: PoolId) -> Result<(), Fault> {
    let hosts = task.input::<Hosts>()?.host_ids;
    let mut names = Vec::with_capacity(hosts.len());
    for host_id in &hosts {
        names.push(app.core.store.host_get(*host_id).await?.name);
    }
    task.step(format!("Preparing the pool on {}", names.join(", ")))?;
    retry(task, || pool_prepare::prepare(app, id)).await?;
    apply_on(app, task, id, &hosts).await
}

/// The same on some hosts.
pub(super) async fn apply_on(
    app: &App,
    task: &TaskContext,
    id: PoolId,
    hosts: &[HostId],
) -> Result<(), Fault> {
    let total = u64::try_from(hosts.len()).unwrap_or(u64::MAX);
    let done = AtomicU64::new(0);
    task.progress(0, total, "steps");
    let one = |host_id: HostId| {
        let done = &done;
        async move {
            let applied = retry(task, || apply(app, id, host_id)).await;
            task.progress(done.fetch_add(1, Ordering::Relaxed) + 1, total, "steps");
            applied.map_err(|fault| (host_id, fault))
        }
    };
    let said = futures::future::join_all(hosts.iter().copied().map(one)).await;
    let failed: Vec<(HostId, Fault)> = said.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(summed(failed, 0)) }
}

/// One fault for all: that of the host at `first`, with what each said when there are several.
pub(super) fn summed(failed: Vec<(HostId, Fault)>, first: usize) -> Fault {
    let reasons = failed.iter().map(|(host_id, fault)| HostReason {
        host_id: host_id.to_string(),
        host: fault.host.clone(),
        reason: [fault.message.as_str(), fault.cause.as_str()].join(" ").trim().to_owned(),
    });
    let reasons: Vec<HostReason> = if failed.len() > 1 { reasons.collect() } else { Vec::new() };
    let fault = failed.into_iter().nth(first).map(|(_, fault)| fault);
    fault.unwrap_or_else(|| Fault::internal("nobody said why")).with_reasons(reasons)
}

pub(super) async fn apply(app: &App, id: PoolId, host_id: HostId) -> Result<(), Fault> {
    let intent = pool::intent(app, &app.core.store.pool_get(id).await?)?;
    ask(app, id, host_id, intent).await?
}

/// Tells a host what it should have. Answers why it cannot use it, if so; fails when the host did not answer.
pub(super) async fn ask(
    app: &App,
    id: PoolId,
    host_id: HostId,
    intent: node::PoolIntent,
) -> Result<Result<(), Fault>, Fault> {
    let line = lines::to_host(app, host_id).await?;
    let said = PoolReport::try_from(&line.apply_pool(intent).await?)?;
    let usable = usable(&said, line.name());
    report::take_pool(app, host_id, id, said).await?;
    Ok(usable)
}

/// Why a host cannot use a pool, by its report.
fn usable(said: &PoolReport, host: &str) -> Result<(), Fault> {
    match said.health {
        PoolHealth::Healthy | PoolHealth::Degraded => Ok(()),
        health @ (PoolHealth::Unknown | PoolHealth::Error | PoolHealth::Unmounted) => {
            let unsaid = || {
                Fault::new(
                    FaultCode::PoolNotReady,
                    format!("The pool is {health:?} on {host}."),
                    "Look at the log of quantix-node on that host.",
                )
            };
            Err(said.fault.clone().unwrap_or_else(unsaid).on_host(host))
        }
    }
}

/// Repeats what may work later, until little is left of the task's time; then says what it said last.
pub(super) async fn retry<T, F: Future<Output = Result<T, Fault>>>(
    task: &TaskContext,
    attempt: impl Fn() -> F,
) -> Result<T, Fault> {
    loop {
        match attempt().await {
            Err(fault) if fault.retryable() && task.remaining() > RETRY * 3 => {
                tracing::debug!(%fault, "trying again");
                tokio::time::sleep(RETRY).await;
                task.check()?;
            }
            done => return done,
        }
    }
}

pub(super) async fn release(
    app: &App,
    task: &TaskContext,
    id: PoolId,
    host_id: HostId,
    force: bool,
) -> Result<(), Fault> {
    let record = app.core.store.pool_get(id).await?;
    let line = lines::to_host(app, host_id).await?;
    task.step(format!("Letting go of the pool on {}", line.name()))?;
    let ask = || async {
        let wish = node::ReleasePoolRequest {
            pool_id: id.to_string(),
            generation: record.generation,
            force,
            ..Default::default()
        };
        line.release_pool(wish).await
    };
    let done = if force { ask().await } else { retry(task, ask).await };
    // One that did not hear of it hears of it when it beats again.
    if done.as_ref().is_err_and(|fault| force && fault.retryable()) {
        let (generation, at) = (record.generation, app.core.clock.now());
        let note = PoolReleaseRecord { pool_id: id, host_id, generation, at };
        app.core.store.pool_release_note(&note).await?;
    }
    match done {
        Ok(_) => {}
        Err(fault) if fault.code == FaultCode::NotFound => {}
        Err(fault) if force && fault.retryable() => {
            tracing::warn!(%fault, "the host will let go of the pool later");
        }
        Err(fault) => return Err(fault),
    }
    app.live.change(host_id, |live| {
        live.pools.remove(&id);
    });
    app.core.store.pool_unassign(id, host_id).await?;
    app.core.bus.changed(Thing::Host(host_id));
    Ok(())
}

async fn delete(app: &App, task: &TaskContext, id: PoolId) -> Result<(), Fault> {
    let force = task.input::<Force>()?.force;
    for assignment in app.core.store.pool_assignments(id).await? {
        release(app, task, id, assignment.host_id, force).await?;
    }
    task.step("Forgetting the pool")?;
    let volumes = app.core.store.volume_of_pool(id).await?;
    let images = app.core.store.image_of_pool(id).await?;
    app.core.store.pool_delete(id).await?;
    volumes.iter().for_each(|v| app.core.bus.changed(Thing::Volume(v.id)));
    images.iter().for_each(|i| app.core.bus.changed(Thing::Image(i.id)));
    app.core.bus.changed(Thing::Pool(id));
    Ok(())
}
