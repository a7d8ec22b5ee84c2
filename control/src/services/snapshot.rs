//! Snapshots of volumes. The pool keeps them, not the vDC: each list is asked of a host, and each name is checked
//! there before a task is made. All three kinds of work bear being repeated: a snapshot that is there is made, one
//! that is not there is gone, and nothing is written between two reverts, because the volume counts as busy.

use crate::bus::Thing;
use crate::services::{App, lines, volume};
use crate::tasks::{NewTask, TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::volume::v1 as wire;
use quantix_contract::time;
use quantix_model::id::{TaskId, VolumeId};
use quantix_model::volume::actions::VolumeVerb;
use quantix_model::volume::{VolumePhase, VolumeSource, check_snapshot_name};
use quantix_model::{Fault, FaultCode};
use quantix_store::VolumeRecord;
use serde::Deserialize;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    for what in [What::Create, What::Revert, What::Delete] {
        app.core.tasks.register(Arc::new(Work { app: Arc::downgrade(app), what }));
    }
}

/// What is to be done with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Keep how the volume is now.
    Create,
    /// Throw away what was written since.
    Revert,
    /// Forget it.
    Delete,
}

impl What {
    fn kind(self) -> &'static str {
        match self {
            What::Create => "snapshot.create",
            What::Revert => "snapshot.revert",
            What::Delete => "snapshot.delete",
        }
    }

    fn title(self, volume: &str, name: &str) -> String {
        match self {
            What::Create => format!("Take snapshot {name} of volume {volume}"),
            What::Revert => format!("Revert volume {volume} to snapshot {name}"),
            What::Delete => format!("Delete snapshot {name} of volume {volume}"),
        }
    }
}

fn request(volume: &VolumeRecord, name: &str) -> node::SnapshotRequest {
    node::SnapshotRequest {
        pool_id: volume.pool_id.to_string(),
        volume_id: volume.id.to_string(),
        name: name.to_owned(),
        vm_id: volume.vm_id.map(|id| id.to_string()).unwrap_or_default(),
        ..Default::default()
    }
}

async fn found(app: &App, record: &VolumeRecord) -> Result<(Vec<node::SnapshotReport>, String), Fault> {
    let line = lines::to_volume(app, record).await?;
    let call = line.list_snapshots(request(record, ""));
    let answer = lines::soon(app, record.pool_id, line.name(), "the list of snapshots", call).await?;
    Ok((answer.snapshots, line.name().to_owned()))
}

/// The snapshots of a volume as a host says now.
pub async fn list(app: &App, id: VolumeId) -> Result<wire::ListSnapshotsResponse, Fault> {
    let record = app.core.store.volume_get(id).await?;
    let standing = volume::standing(app, &record).await?;
    let (mut said, mut host) = (Vec::new(), String::new());
    // One that is not there yet, or whose pool has none, has no snapshots: nobody needs to be asked.
    if record.phase != VolumePhase::Creating && (standing.can.snapshots || standing.can.snapshots_running) {
        (said, host) = found(app, &record).await?;
    }
    let one = |s: node::SnapshotReport| wire::Snapshot {
        name: s.name,
        created_at: s.created_at,
        size_bytes: s.size_bytes,
        clones: s.clones,
        ..Default::default()
    };
    Ok(wire::ListSnapshotsResponse {
        snapshots: said.into_iter().map(one).collect(),
        host,
        observed_at: time::to_proto(app.core.clock.now()).into(),
        ..Default::default()
    })
}

/// Writes the intent for work on a snapshot.
pub async fn begin(
    app: &App,
    user: &str,
    what: What,
    id: VolumeId,
    name: &str,
) -> Result<(wire::Volume, TaskId), Fault> {
    check_snapshot_name("name", name)?;
    let record = app.core.store.volume_get(id).await?;
    let verb = if what == What::Revert { VolumeVerb::Revert } else { VolumeVerb::Snapshot };
    volume::refuse_unless_allowed(app, &record, verb).await?;
    let (said, host) = found(app, &record).await?;
    let there = said.iter().find(|snapshot| snapshot.name == name);
    let fault = match (what, there) {
        (What::Create, Some(_)) => Some(Fault::new(
            FaultCode::NameTaken,
            format!("Volume {} has a snapshot {name} already.", record.name),
            "Choose another name.",
        )),
        (What::Revert | What::Delete, None) => Some(Fault::new(
            FaultCode::SnapshotMissing,
            format!("Volume {} has no snapshot {name}.", record.name),
            "Look at the list again.",
        )),
        (What::Delete, Some(_)) => needed(app, &record, name).await?,
        (What::Create, None) | (What::Revert, Some(_)) => None,
    };
    if let Some(fault) = fault {
        return Err(Fault { field: "name".into(), ..fault }.on_host(host));
    }
    let task = app.core.tasks.draft(NewTask {
        kind: what.kind(),
        title: what.title(&record.name, name),
        object: Thing::Volume(id),
        object_name: record.name.clone(),
        host,
        user_name: user.to_owned(),
        input: serde_json::json!({ "name": name }),
    });
    app.core.store.task_insert(&task).await?;
    volume::submitted(app, &record, task).await
}

/// Why a snapshot must stay: a clone reads it.
async fn needed(app: &App, record: &VolumeRecord, name: &str) -> Result<Option<Fault>, Fault> {
    let children = app.core.store.volume_children(record.id).await?;
    let reads = |child: &&VolumeRecord| matches!(&child.source, VolumeSource::Volume { snapshot, .. } if snapshot == name);
    Ok(children.iter().find(reads).map(|clone| {
        Fault::new(
            FaultCode::VolumeHasClones,
            format!("The linked clone {} needs snapshot {name} of volume {}.", clone.name, record.name),
            format!("Make volume {} independent (flatten it), or delete it first.", clone.name),
        )
    }))
}

struct Work {
    app: Weak<App>,
    what: What,
}

#[derive(Deserialize)]
struct Input {
    name: String,
}

#[async_trait]
impl TaskKind for Work {
    fn name(&self) -> &'static str {
        self.what.kind()
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(600)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.app)?;
        let id: VolumeId = task.object_id()?;
        let name = task.input::<Input>()?.name;
        task.step(match self.what {
            What::Create => "Taking the snapshot",
            What::Revert => "Reverting the disk",
            What::Delete => "Deleting the snapshot",
        })?;
        lines::patiently(task, || async {
            let record = app.core.store.volume_get(id).await?;
            let line = lines::to_volume(&app, &record).await?;
            task.on_host(line.name());
            let wish = request(&record, &name);
            match self.what {
                What::Create => line.create_snapshot(wish).await.map(drop),
                What::Revert => line.revert_snapshot(wish).await.map(drop),
                What::Delete => line.delete_snapshot(wish).await.map(drop),
            }
        })
        .await?;
        app.core.bus.changed(Thing::Volume(id));
        Ok(())
    }
}
