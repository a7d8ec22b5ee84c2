//! Changing a pool that is there: a new generation, told to the hosts that are there at once, and to those that are away
//! by the answer to their next beat.
//!
//! Each host's row says whether it has taken the change. Nothing is undone when a host cannot use what it was told: the
//! row says why, and the way out is another change.

use crate::bus::Thing;
use crate::services::{App, host, pool, pool_secret, pool_work};
use crate::tasks::{NewTask, TaskContext};
use quantix_contract::quantix::pool::v1 as wire;
use quantix_model::host::HostPhase;
use quantix_model::id::{HostId, PoolId, TaskId};
use quantix_model::name::check_label;
use quantix_model::pool::{PoolSpec, change};
use quantix_model::{Fault, FaultCode};
use quantix_store::PoolRecord;

/// What is wanted.
pub struct Wish {
    /// Of which pool.
    pub id: PoolId,
    /// Of the pool as the asker saw it.
    pub generation: u64,
    /// Left out: as it is.
    pub name: Option<String>,
    /// Left out: as it is. Secrets in it may be left out, too.
    pub spec: Option<PoolSpec>,
}

/// Writes the change down; the task, if there is anything to do, tells the hosts.
pub async fn update(app: &App, user: &str, wish: Wish) -> Result<(wire::Pool, Option<TaskId>), Fault> {
    // Nobody else makes or changes a pool between looking and writing.
    let _turn = app.placing.lock().await;
    let there = app.core.store.pool_get(wish.id).await?;
    let name = wish.name.unwrap_or_else(|| there.name.clone());
    check_label("name", &name)?;
    let stands = pool_secret::open(app, there.id, there.spec.clone())?;
    let spec = match wish.spec {
        Some(spec) => change::changed(&stands, spec)?,
        None => stands.clone(),
    };
    // Also when it was asked for before and the answer got lost.
    if name == there.name && spec == stands {
        return Ok((pool::view(app, &there).await?, None));
    }
    if wish.generation != there.generation {
        return Err(changed_meanwhile(&there, wish.generation));
    }
    pool::refuse_same_bytes(app, &spec, Some(there.id)).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "pool.update",
        title: match name == there.name {
            true => format!("Change pool {name}"),
            false => format!("Change pool {} and name it {name}", there.name),
        },
        object: Thing::Pool(there.id),
        object_name: name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    let wanted = PoolRecord { name, spec: pool_secret::close(app, there.id, spec)?, ..there };
    let pool = app.core.store.pool_update(&wanted, app.core.clock.now(), &task).await?;
    let (pool, task_id) = pool::submitted(app, pool, task).await?;
    Ok((pool, Some(task_id)))
}

fn changed_meanwhile(there: &PoolRecord, seen: u64) -> Fault {
    let message = format!("Pool {} was changed since you looked at it.", there.name);
    let remedy = "Look at what it is now, then change it again if that is still wanted.";
    let cause = format!("you saw generation {seen}, it has {}", there.generation);
    Fault { field: "generation".into(), ..Fault::new(FaultCode::Conflict, message, remedy).because(cause) }
}

/// Tells every host that is there, all at once.
pub(super) async fn push(app: &App, task: &TaskContext, id: PoolId) -> Result<(), Fault> {
    let (mut there, mut names, mut away): (Vec<HostId>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for assignment in app.core.store.pool_assignments(id).await?.iter().filter(|a| !a.releasing) {
        let record = app.core.store.host_get(assignment.host_id).await?;
        match host::phase(app, &record) {
            HostPhase::Ready | HostPhase::Degraded => {
                there.push(record.id);
                names.push(record.name);
            }
            HostPhase::Pending | HostPhase::Disconnected => away.push(record.name),
        }
    }
    if !there.is_empty() {
        task.step(format!("Telling {}", names.join(", ")))?;
        pool_work::apply_on(app, task, id, &there).await?;
    }
    if !away.is_empty() {
        let verb = if away.len() == 1 { "is away and takes" } else { "are away and take" };
        task.step(format!("{} {verb} the change when back", away.join(", ")))?;
    }
    Ok(())
}
