//! Making and removing volumes on hosts.

use crate::bus::Thing;
use crate::services::{App, lines};
use crate::tasks::{TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_client::HostClient;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::twin;
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::volume::{Allocation, SIZE_BYTES_MAX, VolumePhase, VolumeSource};
use quantix_model::{Fault, FaultCode};
use quantix_store::{StoreError, VolumeRecord};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long undoing is tried; the engine gives it a minute.
const UNDO_PATIENCE: Duration = Duration::from_secs(40);
/// Between two attempts.
const UNDO_RETRY: Duration = Duration::from_millis(500);

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Create(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Delete(Arc::downgrade(app))));
}

struct Create(Weak<App>);
struct Delete(Weak<App>);

/// Makes one volume on a host; the same one again is a success there.
pub(super) async fn make(line: &HostClient, volume: &VolumeRecord) -> Result<node::VolumeReport, Fault> {
    let mut wish = node::CreateVolumeRequest {
        pool_id: volume.pool_id.to_string(),
        volume_id: volume.id.to_string(),
        size_bytes: volume.size_bytes,
        format: twin::write(volume.format),
        allocation: twin::write(volume.allocation),
        ..Default::default()
    };
    match &volume.source {
        VolumeSource::Blank => {}
        VolumeSource::Image { id, linked } => (wish.image_id, wish.linked) = (id.to_string(), *linked),
        VolumeSource::Volume { id, snapshot, linked } => {
            wish.source_volume_id = id.to_string();
            wish.source_snapshot.clone_from(snapshot);
            wish.linked = *linked;
        }
    }
    // Written by a release that kept the image only.
    if let (VolumeSource::Blank, Some(id)) = (&volume.source, volume.image_id) {
        wish.image_id = id.to_string();
    }
    line.create_volume(wish).await
}

/// Takes the host's word on a volume: it is there, and so it is.
pub(super) async fn take(app: &App, id: VolumeId, said: &node::VolumeReport) -> Result<VolumeRecord, Fault> {
    let format = twin::read("format", said.format)?;
    let allocation = twin::read_or("allocation", said.allocation, Allocation::Thin)?;
    let parent_id = match said.parent_volume_id.as_str() {
        "" => None,
        parent => Some(parent.parse()?),
    };
    let change = |volume: &mut VolumeRecord| {
        volume.phase = VolumePhase::Ready;
        volume.fault = None;
        volume.size_bytes = said.size_bytes.clamp(1, SIZE_BYTES_MAX);
        (volume.format, volume.allocation, volume.parent_id) = (format, allocation, parent_id);
        Ok::<(), StoreError>(())
    };
    let volume = app.core.store.volume_update(id, change).await?;
    app.core.bus.changed(Thing::Volume(id));
    app.core.bus.changed(Thing::Pool(volume.pool_id));
    // Its source is no longer held up, or has a clone now.
    if let Some(source) = volume.source.volume() {
        app.core.bus.changed(Thing::Volume(source));
    }
    Ok(volume)
}

/// Removes one volume from a host; one that is not there is a success.
pub(super) async fn remove(line: &HostClient, volume: &VolumeRecord) -> Result<(), Fault> {
    remove_by_id(line, volume.pool_id, volume.id).await
}

/// The same, for one without a record.
pub(super) async fn remove_by_id(line: &HostClient, pool: PoolId, id: VolumeId) -> Result<(), Fault> {
    let wish = node::DeleteVolumeRequest {
        pool_id: pool.to_string(),
        volume_id: id.to_string(),
        ..Default::default()
    };
    match line.delete_volume(wish).await {
        Err(fault) if fault.code == FaultCode::VolumeMissing => Ok(()),
        done => done.map(|_| ()),
    }
}

/// Says where a volume stands now.
pub(super) async fn mark(
    app: &App,
    id: VolumeId,
    phase: VolumePhase,
    fault: Option<Fault>,
) -> Result<(), Fault> {
    let change = |volume: &mut VolumeRecord| {
        volume.phase = phase;
        volume.fault = fault;
        Ok::<(), StoreError>(())
    };
    app.core.store.volume_update(id, change).await?;
    app.core.bus.changed(Thing::Volume(id));
    Ok(())
}

/// Removes what may have been made, as long as undoing may take: its host may be away for a moment.
async fn undo_patiently(app: &App, volume: &VolumeRecord) -> Result<(), Fault> {
    let end = Instant::now() + UNDO_PATIENCE;
    loop {
        let removed = async { remove(&lines::to_maker(app, volume).await?, volume).await };
        match removed.await {
            Err(fault) if fault.retryable() && Instant::now() < end => {
                tracing::debug!(%fault, "undoing again");
                tokio::time::sleep(UNDO_RETRY).await;
            }
            done => return done,
        }
    }
}

#[async_trait]
impl TaskKind for Create {
    fn name(&self) -> &'static str {
        "volume.create"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let id: VolumeId = task.object_id()?;
        let volume = app.core.store.volume_get(id).await?;
        task.step("Looking for a host of the pool")?;
        // A host that is gone for a moment is asked again: the same wish is the same volume there.
        let made = lines::patiently(task, || async {
            let line = lines::to_maker(&app, &volume).await?;
            task.on_host(line.name());
            task.step("Making the disk")?;
            make(&line, &volume).await
        });
        tokio::select! {
            made = made => take(&app, id, &made?).await.map(drop),
            () = task.cancelled() => task.check(),
        }
    }

    async fn undo(&self, task: &TaskContext, _why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let undone = async {
            let id: VolumeId = task.object_id()?;
            let volume = app.core.store.volume_get(id).await?;
            undo_patiently(&app, &volume).await?;
            app.core.store.volume_delete(id).await?;
            app.core.bus.changed(Thing::Volume(id));
            if let Some(source) = volume.source.volume() {
                app.core.bus.changed(Thing::Volume(source));
            }
            app.core.bus.changed(Thing::Pool(volume.pool_id));
            Ok::<(), Fault>(())
        };
        if let Err(fault) = undone.await {
            // The host may hold a file: the record stays, as the way to delete it.
            tracing::warn!(%fault, "a volume that was not made could not be undone");
            if let Ok(id) = task.object_id()
                && let Err(fault) = mark(&app, id, VolumePhase::Error, Some(fault)).await
            {
                tracing::warn!(%fault, "a volume could not be marked");
            }
        }
    }
}

#[async_trait]
impl TaskKind for Delete {
    fn name(&self) -> &'static str {
        "volume.delete"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let id: VolumeId = task.object_id()?;
        let volume = match app.core.store.volume_get(id).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        task.step("Removing the disk")?;
        let pool_id = volume.pool_id;
        super::pool_work::retry(task, || async {
            let line = lines::to_pool(&app, pool_id).await?;
            task.on_host(line.name());
            remove(&line, &volume).await
        })
        .await?;
        app.core.store.volume_delete(id).await?;
        app.core.bus.changed(Thing::Volume(id));
        app.core.bus.changed(Thing::Pool(pool_id));
        Ok(())
    }

    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        if let Ok(id) = task.object_id()
            && let Err(fault) = mark(&app, id, VolumePhase::Error, Some(why.clone())).await
        {
            tracing::warn!(%fault, "a volume could not be marked");
        }
    }
}
