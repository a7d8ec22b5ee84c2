//! Making linked clones independent of the volume or image they read. The host copies what is shared and answers how
//! far it is; what it began it ends, also when nobody listens any more, so a task that runs again after a kill finds
//! the work done or goes on with it. Nothing to undo: until the end the volume is linked, and whole.

use crate::bus::Thing;
use crate::services::{App, lines, volume};
use crate::tasks::{NewTask, TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::volume::v1 as wire;
use quantix_model::id::{TaskId, VolumeId};
use quantix_model::volume::VolumeSource;
use quantix_model::volume::actions::VolumeVerb;
use quantix_model::{Fault, FaultCode};
use quantix_store::{StoreError, VolumeRecord};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two looks at whether the host has ended what it was at.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// Makes the kind known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Flatten(Arc::downgrade(app))));
}

/// Says that a volume should stand alone.
pub async fn begin(app: &App, user: &str, id: VolumeId) -> Result<(wire::Volume, TaskId), Fault> {
    let record = app.core.store.volume_get(id).await?;
    let standing = volume::refuse_unless_allowed(app, &record, VolumeVerb::Flatten).await?;
    let from = standing.linked_to.unwrap_or_default();
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.flatten",
        title: format!("Make volume {} independent of {from}", record.name),
        object: Thing::Volume(id),
        object_name: record.name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    app.core.store.task_insert(&task).await?;
    volume::submitted(app, &record, task).await
}

struct Flatten(Weak<App>);

/// Writes that a volume needs nothing any more; answers what it was made from.
async fn set_alone(app: &App, id: VolumeId) -> Result<VolumeSource, Fault> {
    let mut source = VolumeSource::Blank;
    let change = |volume: &mut VolumeRecord| {
        volume.parent_id = None;
        if let VolumeSource::Image { linked, .. } | VolumeSource::Volume { linked, .. } = &mut volume.source {
            *linked = false;
        }
        source = volume.source.clone();
        Ok::<(), StoreError>(())
    };
    app.core.store.volume_update(id, change).await?;
    Ok(source)
}

#[async_trait]
impl TaskKind for Flatten {
    fn name(&self) -> &'static str {
        "volume.flatten"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let id: VolumeId = task.object_id()?;
        let record = app.core.store.volume_get(id).await?;
        task.step("Copying what it shares")?;
        let attempt = || async {
            let line = lines::to_volume(&app, &record).await?;
            task.on_host(line.name());
            let wish = node::FlattenVolumeRequest {
                pool_id: record.pool_id.to_string(),
                volume_id: id.to_string(),
                vm_id: record.vm_id.map(|vm| vm.to_string()).unwrap_or_default(),
                ..Default::default()
            };
            line.flatten_volume(wish, |at| task.progress(at.done_bytes, at.total_bytes, "bytes")).await
        };
        // What an earlier try began the host is still at: then its end is awaited.
        while let Err(fault) = lines::patiently(task, attempt).await {
            if fault.code != FaultCode::Busy {
                return Err(fault);
            }
            tokio::time::sleep(BUSY_RETRY).await;
            task.check()?;
        }
        let source = set_alone(&app, id).await?;
        app.core.bus.changed(Thing::Volume(id));
        app.core.bus.changed(Thing::Pool(record.pool_id));
        if let Some(parent) = record.parent_id {
            app.core.bus.changed(Thing::Volume(parent));
        }
        if let Some(image) = source.image() {
            app.core.bus.changed(Thing::Image(image));
        }
        Ok(())
    }
}
