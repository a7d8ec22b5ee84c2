//! The life of an image's task: waiting for its bytes, having them checked, or removing them.

use crate::bus::Thing;
use crate::services::{App, lines, upload, upload_wait};
use crate::tasks::{TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::id::ImageId;
use quantix_model::image::{ImageFacts, ImagePhase};
use quantix_model::{Fault, FaultCode};
use quantix_store::{ImageRecord, StoreError};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The longest an upload may take in all.
pub(super) const UPLOAD_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Upload(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Delete(Arc::downgrade(app))));
}

struct Upload(Weak<App>);
struct Delete(Weak<App>);

#[async_trait]
impl TaskKind for Upload {
    fn name(&self) -> &'static str {
        "image.upload"
    }

    fn deadline(&self) -> Duration {
        UPLOAD_DEADLINE
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let id: ImageId = task.object_id()?;
        let image = app.core.store.image_get(id).await?;
        match image.phase {
            ImagePhase::Ready => return Ok(()),
            ImagePhase::Error | ImagePhase::Deleting => return Err(gone(&image)),
            ImagePhase::Uploading | ImagePhase::Verifying => {}
        }
        upload_wait::receive(&app, task, &upload::Target::from(&image)).await?;
        let facts = verify(&app, task, &image).await?;
        let now = app.core.clock.now();
        let ready = |image: &mut ImageRecord| {
            if image.phase != ImagePhase::Deleting {
                image.phase = ImagePhase::Ready;
                image.received_bytes = image.size_bytes;
                image.facts = Some(facts);
                image.ready_at = Some(now);
                image.fault = None;
            }
            Ok::<(), StoreError>(())
        };
        app.core.store.image_update(id, ready).await?;
        app.uploads.stop(id);
        app.core.bus.changed(Thing::Image(id));
        Ok(())
    }

    /// Cancelled: nothing stays. Failed: the record stays and says why; its bytes do not.
    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let Ok(id) = task.object_id::<ImageId>() else { return };
        app.uploads.stop(id);
        let undone = async {
            let image = match app.core.store.image_get(id).await {
                Err(StoreError::NotFound { .. }) => return Ok(()),
                found => found?,
            };
            if matches!(image.phase, ImagePhase::Deleting | ImagePhase::Ready) {
                return Ok(());
            }
            let removed = upload_wait::clear(&app, image.pool_id, image.id).await;
            if why.code == FaultCode::TaskCancelled && removed.is_ok() {
                app.core.store.image_delete(id).await?;
            } else {
                mark(&app, id, ImagePhase::Error, Some(why.clone())).await?;
            }
            removed
        };
        if let Err(fault) = undone.await {
            tracing::warn!(%fault, "the bytes of a failed upload could not be removed");
        }
        app.core.bus.changed(Thing::Image(id));
    }
}

fn gone(image: &ImageRecord) -> Fault {
    Fault::new(
        FaultCode::TaskCancelled,
        format!("The upload of {} has ended.", image.name),
        "Start a new upload.",
    )
}

/// Has the host check what came; a host that is gone for a while is asked again.
async fn verify(app: &App, task: &TaskContext, image: &ImageRecord) -> Result<ImageFacts, Fault> {
    task.step("Checking the image")?;
    mark(app, image.id, ImagePhase::Verifying, None).await?;
    let checked = super::pool_work::retry(task, || async {
        let line = lines::to_pool(app, image.pool_id).await?;
        let wish = node::FinishUploadRequest {
            pool_id: image.pool_id.to_string(),
            image_id: image.id.to_string(),
            size_bytes: image.size_bytes,
            sha256: image.sha256_wanted.clone(),
            ..Default::default()
        };
        ImageFacts::try_from(&line.finish_upload(wish).await?)
    });
    tokio::select! {
        checked = checked => checked,
        () = task.cancelled() => Err(task.check().err().unwrap_or_else(|| gone(image))),
    }
}

async fn mark(app: &App, id: ImageId, phase: ImagePhase, fault: Option<Fault>) -> Result<(), Fault> {
    let change = |image: &mut ImageRecord| {
        if image.phase != ImagePhase::Deleting {
            image.phase = phase;
            image.fault = fault;
        }
        Ok::<(), StoreError>(())
    };
    app.core.store.image_update(id, change).await?;
    app.core.bus.changed(Thing::Image(id));
    Ok(())
}

async fn remove(app: &App, image: &ImageRecord) -> Result<(), Fault> {
    upload_wait::remove(app, image.pool_id, image.id).await
}

#[async_trait]
impl TaskKind for Delete {
    fn name(&self) -> &'static str {
        "image.delete"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let id: ImageId = task.object_id()?;
        let image = match app.core.store.image_get(id).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        task.step("Removing the image")?;
        super::pool_work::retry(task, || remove(&app, &image)).await?;
        app.core.store.image_delete(id).await?;
        app.uploads.stop(id);
        app.core.bus.changed(Thing::Image(id));
        app.core.bus.changed(Thing::Pool(image.pool_id));
        Ok(())
    }

    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let Ok(id) = task.object_id::<ImageId>() else { return };
        let why = why.clone();
        let change = |image: &mut ImageRecord| {
            image.phase = ImagePhase::Error;
            image.fault = Some(why);
            Ok::<(), StoreError>(())
        };
        if let Err(fault) = app.core.store.image_update::<StoreError>(id, change).await {
            tracing::warn!(%fault, "an image could not be marked");
        }
        app.core.bus.changed(Thing::Image(id));
    }
}
