//! Making a host's disk a pool: the host initialises the disk, then the pool is written down and given to the host.
//!
//! Every step bears being repeated: the host knows the disk by the pool's id, and the pool is written once. What fails
//! leaves no pool behind, and says what state the disk is in.

use crate::bus::Thing;
use crate::services::{App, device, lines, pool_work};
use crate::tasks::{TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::Fault;
use quantix_model::id::{HostId, PoolId};
use quantix_model::pool::PoolSpec;
use quantix_store::{PoolRecord, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Name of this kind of task.
pub(super) const KIND: &str = "host.initialise_device";
/// A large flash disk takes its time to be told that it is empty.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// Looking, initialising, giving it to the host.
const STEPS: u64 = 3;

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Input {
    pub host_id: HostId,
    pub device: String,
    pub fingerprint: String,
    pub erase: bool,
    pub pool_id: PoolId,
    pub pool_name: String,
}

/// Makes the kind known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Work { app: Arc::downgrade(app) }));
}

struct Work {
    app: Weak<App>,
}

#[async_trait]
impl TaskKind for Work {
    fn name(&self) -> &'static str {
        KIND
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.app)?;
        let input: Input = task.input()?;
        task.progress(0, STEPS, "steps");
        if pool_of(&app, input.pool_id).await?.is_none() {
            device::refuse_taken_name(&app, &input.pool_name).await?;
            task.progress(1, STEPS, "steps");
            task.step(format!("Initialising {}", input.device))?;
            initialise(&app, task, &input).await?;
            task.progress(2, STEPS, "steps");
            write_down(&app, &input).await.map_err(|fault| without_pool(&input, fault))?;
        }
        task.step(format!("Mounting pool {}", input.pool_name))?;
        let applied = lines::patiently(task, || pool_work::apply(&app, input.pool_id, input.host_id)).await;
        applied.map_err(|fault| without_pool(&input, fault))?;
        task.progress(STEPS, STEPS, "steps");
        app.core.bus.changed(Thing::Pool(input.pool_id));
        Ok(())
    }

    /// The pool goes again; the disk stays as the fault says.
    async fn undo(&self, task: &TaskContext, _: &Fault) {
        let Ok(app) = super::upgrade(&self.app) else { return };
        let Ok(input) = task.input::<Input>() else { return };
        let undone = async {
            if pool_of(&app, input.pool_id).await?.is_none() {
                return Ok(());
            }
            pool_work::release(&app, task, input.pool_id, input.host_id, true).await?;
            app.core.store.pool_delete(input.pool_id).await?;
            app.core.bus.changed(Thing::Pool(input.pool_id));
            Ok::<(), Fault>(())
        };
        if let Err(fault) = undone.await {
            tracing::warn!(%fault, pool = %input.pool_id, "the pool of a disk that failed stays");
        }
    }
}

async fn pool_of(app: &App, id: PoolId) -> Result<Option<PoolRecord>, Fault> {
    match app.core.store.pool_get(id).await {
        Ok(pool) => Ok(Some(pool)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

async fn initialise(app: &App, task: &TaskContext, input: &Input) -> Result<(), Fault> {
    let done = lines::patiently(task, || async {
        let line = lines::to_host(app, input.host_id).await?;
        let wish = node::InitialiseDeviceRequest {
            device: input.device.clone(),
            fingerprint: input.fingerprint.clone(),
            erase: input.erase,
            pool_id: input.pool_id.to_string(),
            ..Default::default()
        };
        line.initialise_device(wish).await
    });
    done.await.map(drop)
}

async fn write_down(app: &App, input: &Input) -> Result<(), Fault> {
    let _turn = app.placing.lock().await;
    let now = app.core.clock.now();
    let pool = PoolRecord {
        id: input.pool_id,
        name: input.pool_name.clone(),
        spec: PoolSpec::disk(input.pool_id),
        generation: 1,
        deleting: false,
        prepared: false,
        created_at: now,
        changed_at: now,
    };
    app.core.store.pool_insert_beside(&pool, &[input.host_id]).await?;
    app.core.bus.changed(Thing::Pool(pool.id));
    app.core.bus.changed(Thing::Host(input.host_id));
    Ok(())
}

/// The disk is done and the pool is not.
fn without_pool(input: &Input, fault: Fault) -> Fault {
    let message = format!(
        "{} {} carries a new, empty file system now, and no pool was made of it.",
        fault.message, input.device
    );
    Fault { message, ..fault }
}
