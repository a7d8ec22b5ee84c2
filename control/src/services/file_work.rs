//! Copying and removing files, as tasks beside each other: they take as long as they take.
//!
//! A host ends a copy it began, also when nobody listens any more. So a copy that is cancelled is followed to its end
//! and then removed, and one that is taken up again after a restart may find its work done.

use crate::bus::Thing;
use crate::services::{App, file, lines};
use crate::tasks::{NewTask, TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::file::v1 as wire;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::id::{PoolId, TaskId};
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Copy(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Delete(Arc::downgrade(app))));
}

/// Begins a copy within the pool.
pub async fn copy(app: &App, user: &str, id: PoolId, from: &str, to: &str) -> Result<TaskId, Fault> {
    file::check_pair(app, id, from, to).await?;
    file::refuse_without_files(app, id).await?;
    let on = |fault: Fault, field: &str| Fault { field: field.to_owned(), ..fault };
    file::get(app, id, from).await.map_err(|fault| on(fault, "from_path"))?;
    file::refuse_taken(app, id, "to_path", to).await?;
    let input = serde_json::json!({ "from": from, "to": to });
    begin(app, user, "file.copy", format!("Copy {from} to {to}"), id, input).await
}

/// Begins to remove a file or a folder with what is in it.
pub async fn delete(app: &App, user: &str, id: PoolId, path: &str) -> Result<TaskId, Fault> {
    file::refuse_claimed(app, id, path).await?;
    file::refuse_without_files(app, id).await?;
    file::get(app, id, path).await?;
    let input = serde_json::json!({ "path": path });
    begin(app, user, "file.delete", format!("Delete {path}"), id, input).await
}

async fn begin(
    app: &App,
    user: &str,
    kind: &'static str,
    title: String,
    id: PoolId,
    input: serde_json::Value,
) -> Result<TaskId, Fault> {
    let pool = app.core.store.pool_get(id).await?;
    let task = app.core.tasks.draft(NewTask {
        kind,
        title,
        object: Thing::Pool(id),
        object_name: pool.name,
        host: String::new(),
        user_name: user.to_owned(),
        input,
    });
    app.core.store.task_insert(&task).await?;
    let task_id = task.id;
    app.core.tasks.submit(task);
    Ok(task_id)
}

/// Removes a path; nothing there is a success.
async fn remove(app: &App, task: &TaskContext, pool: PoolId, path: &str) -> Result<(), Fault> {
    let line = lines::to_pool(app, pool).await?;
    task.on_host(line.name());
    let ask =
        wire::DeleteFileRequest { pool_id: pool.to_string(), path: path.to_owned(), ..Default::default() };
    match line.delete_file(ask, |at| task.progress(at.done_bytes, at.total_bytes, "steps")).await {
        Err(fault) if fault.code == FaultCode::FileNotFound => Ok(()),
        done => done,
    }
}

struct Copy(Weak<App>);
struct Delete(Weak<App>);

#[derive(Deserialize)]
struct Pair {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct One {
    path: String,
}

#[async_trait]
impl TaskKind for Copy {
    fn name(&self) -> &'static str {
        "file.copy"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn beside(&self) -> bool {
        true
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let pool: PoolId = task.object_id()?;
        let Pair { from, to } = task.input()?;
        task.step(format!("Copying {from}"))?;
        let line = lines::patiently(task, || lines::to_pool(&app, pool)).await?;
        task.on_host(line.name());
        let ask = wire::CopyFileRequest {
            pool_id: pool.to_string(),
            from_path: from.clone(),
            to_path: to.clone(),
            ..Default::default()
        };
        let progress = |at: node::Progress| task.progress(at.done_bytes, at.total_bytes, "bytes");
        let copied = match line.copy_file(ask, progress).await {
            Err(fault) if fault.code == FaultCode::FileExists && again(&app, task).await? => {
                same(&app, pool, &from, &to).await?.then_some(()).ok_or(fault)
            }
            done => done,
        };
        copied?;
        app.core.bus.changed(Thing::Pool(pool));
        if task.check().is_err() {
            remove(&app, task, pool, &to).await?;
        }
        task.check()
    }
}

/// Whether the task began before the vDC did: its work may be done.
async fn again(app: &App, task: &TaskContext) -> Result<bool, Fault> {
    let started_at = app.core.tasks.get(task.id()).await?.started_at;
    Ok(started_at.is_some_and(|at| at < app.core.started_at))
}

/// Whether two files are equally long, as far as a copy that ended can be told.
async fn same(app: &App, pool: PoolId, from: &str, to: &str) -> Result<bool, Fault> {
    let (from, to) = (file::get(app, pool, from).await?, file::get(app, pool, to).await?);
    let size = |details: &wire::FileDetails| details.file.as_option().map(|file| file.size_bytes);
    Ok(size(&from) == size(&to))
}

#[async_trait]
impl TaskKind for Delete {
    fn name(&self) -> &'static str {
        "file.delete"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn beside(&self) -> bool {
        true
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let pool: PoolId = task.object_id()?;
        let One { path } = task.input()?;
        // A volume or an image may have come to lie there since.
        file::refuse_claimed(&app, pool, &path).await?;
        task.step(format!("Removing {path}"))?;
        lines::patiently(task, || remove(&app, task, pool, &path)).await?;
        app.core.bus.changed(Thing::Pool(pool));
        Ok(())
    }
}
