//! Uploads of plain files: a record and a task that waits for the bytes, which come through `upload` as an image's do.
//!
//! ```text
//!   Receiving ──▶ Finishing ──▶ Done
//!       └─────────────┴───────▶ Failed     its bytes are removed
//! ```
//! The file appears under its name only when it is whole. The record outlives the upload for a day, so that a sender
//! who missed the last answer can still ask.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, file, image, image_work, lines, upload, upload_wait};
use crate::tasks::{NewTask, TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::file::v1 as wire;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::file::check_new_path;
use quantix_model::id::{ImageId, PoolId};
use quantix_model::{Fault, FaultCode};
use quantix_store::{StoreError, UploadRecord, UploadState};
use serde::Deserialize;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Ended uploads are remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Makes the kind known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Upload(Arc::downgrade(app))));
}

/// Opens an upload.
pub async fn create(
    app: &App,
    user: &str,
    pool_id: PoolId,
    path: &str,
    size_bytes: u64,
    sha256: &str,
) -> Result<wire::CreateUploadResponse, Fault> {
    check_new_path("path", path)?;
    file::refuse_own_folders("path", path)?;
    let sha256_wanted = image::check_upload(size_bytes, 0, sha256)?;
    file::refuse_without_files(app, pool_id).await?;
    file::refuse_taken(app, pool_id, "path", path).await?;
    let now = app.core.clock.now();
    for other in app.core.store.upload_all().await? {
        let under_way = matches!(other.state, UploadState::Receiving | UploadState::Finishing);
        if under_way && (other.pool_id, other.path.as_str()) == (pool_id, path) {
            let message = format!("{path} is being uploaded already.");
            let fault =
                Fault::new(FaultCode::FileExists, message, "Wait for that upload, or cancel its task.");
            return Err(Fault { field: "path".into(), ..fault });
        }
        if !under_way && other.created_at.age(now) > REMEMBERED {
            app.core.store.upload_delete(other.id).await?;
        }
    }
    let id = ids::image();
    let pool = app.core.store.pool_get(pool_id).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "file.upload",
        title: format!("Upload {path}"),
        object: Thing::Pool(pool_id),
        object_name: pool.name,
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::json!({ "upload_id": id }),
    });
    let record = UploadRecord {
        id,
        pool_id,
        path: path.to_owned(),
        size_bytes,
        received_bytes: 0,
        sha256_wanted,
        task_id: task.id,
        state: UploadState::Receiving,
        fault: None,
        created_at: now,
    };
    app.core.store.upload_insert(&record, &task).await?;
    let task_id = task.id.to_string();
    app.core.tasks.submit(task);
    Ok(wire::CreateUploadResponse {
        upload_id: id.to_string(),
        upload_path: image::upload_path(id),
        task_id,
        ..Default::default()
    })
}

struct Upload(Weak<App>);

#[derive(Deserialize)]
struct Input {
    upload_id: ImageId,
}

async fn mark(app: &App, id: ImageId, state: UploadState, fault: Option<Fault>) -> Result<(), Fault> {
    let change = |upload: &mut UploadRecord| {
        upload.state = state;
        upload.fault = fault;
        Ok::<(), StoreError>(())
    };
    app.core.store.upload_update(id, change).await?;
    Ok(())
}

#[async_trait]
impl TaskKind for Upload {
    fn name(&self) -> &'static str {
        "file.upload"
    }

    fn deadline(&self) -> Duration {
        image_work::UPLOAD_DEADLINE
    }

    fn beside(&self) -> bool {
        true
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let id = task.input::<Input>()?.upload_id;
        let record = app.core.store.upload_get(id).await?;
        match record.state {
            UploadState::Done => return Ok(()),
            UploadState::Receiving => {
                upload_wait::receive(&app, task, &upload::Target::from(&record)).await?
            }
            UploadState::Finishing => {}
            UploadState::Failed => {
                return Err(record
                    .fault
                    .unwrap_or_else(|| Fault::internal("an upload failed without a word")));
            }
        }
        task.step("Putting the file in place")?;
        let before = record.state;
        mark(&app, id, UploadState::Finishing, None).await?;
        let finished = super::pool_work::retry(task, || async {
            let line = lines::to_pool(&app, record.pool_id).await?;
            task.on_host(line.name());
            let wish = node::FinishFileRequest {
                pool_id: record.pool_id.to_string(),
                upload_id: id.to_string(),
                path: record.path.clone(),
                size_bytes: record.size_bytes,
                sha256: record.sha256_wanted.clone(),
                ..Default::default()
            };
            line.finish_file(wish).await
        });
        let finished = tokio::select! {
            finished = finished => finished,
            () = task.cancelled() => return task.check(),
        };
        match finished {
            Ok(_) => {}
            // Taken up again after the host had put it there: the bytes are under their name, whole.
            Err(fault) if before == UploadState::Finishing && is_there(&app, &record).await => {
                tracing::debug!(%fault, "the file is in place already");
            }
            Err(fault) => return Err(fault),
        }
        mark(&app, id, UploadState::Done, None).await?;
        app.uploads.stop(id);
        app.core.bus.changed(Thing::Pool(record.pool_id));
        Ok(())
    }

    /// Its bytes go; the record says why, for the sender.
    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let Ok(Input { upload_id: id }) = task.input() else { return };
        app.uploads.stop(id);
        let undone = async {
            let record = app.core.store.upload_get(id).await?;
            if record.state == UploadState::Done {
                return Ok(());
            }
            mark(&app, id, UploadState::Failed, Some(why.clone())).await?;
            upload_wait::clear(&app, record.pool_id, id).await
        };
        if let Err(fault) = undone.await {
            tracing::warn!(%fault, "the bytes of a failed upload could not be removed");
        }
    }
}

async fn is_there(app: &App, record: &UploadRecord) -> bool {
    let found = file::get(app, record.pool_id, &record.path).await;
    found.is_ok_and(|d| d.file.as_option().is_some_and(|f| f.size_bytes == record.size_bytes))
}
