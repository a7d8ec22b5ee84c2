//! Orphans: volumes in a pool that no record claims, and records whose volume is not in the pool. Found by asking a
//! host now; nothing is kept, and nothing is removed unless a person says so.

use crate::bus::Thing;
use crate::services::{App, lines, volume, volume_work};
use crate::tasks::{NewTask, TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::volume::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::name::check_title;
use quantix_model::volume::{Allocation, VolumePhase, VolumeSource};
use quantix_model::{Fault, FaultCode};
use quantix_store::{StoreError, VolumeRecord};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long the call waits for a deletion that usually takes milliseconds.
const DELETE_PATIENCE: Duration = Duration::from_millis(700);
/// Between two looks.
const DELETE_LOOK: Duration = Duration::from_millis(20);

/// Makes the kind known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Purge(Arc::downgrade(app))));
}

/// What a host finds in the pool now.
async fn found(app: &App, pool: PoolId) -> Result<(Vec<node::VolumeReport>, String), Fault> {
    app.core.store.pool_get(pool).await?;
    let line = lines::to_pool(app, pool).await?;
    let ask = node::ListVolumesRequest { pool_id: pool.to_string(), ..Default::default() };
    let call = line.list_volumes(ask);
    let answer = lines::soon(app, pool, line.name(), "the list of volumes", call).await?;
    Ok((answer.volumes, line.name().to_owned()))
}

/// Both kinds of orphans of a pool.
pub async fn list(app: &App, pool: PoolId) -> Result<wire::ListOrphansResponse, Fault> {
    // Records before and after: what is made meanwhile is neither without a record nor missing.
    let before = app.core.store.volume_of_pool(pool).await?;
    let (there, host) = found(app, pool).await?;
    let records = app.core.store.volume_of_pool(pool).await?;
    let claimed: HashSet<String> = records.iter().map(|volume| volume.id.to_string()).collect();
    let present: HashSet<&str> = there.iter().map(|volume| volume.volume_id.as_str()).collect();
    let mut missing = Vec::new();
    for volume in records.iter().filter(|volume| before.contains(volume)) {
        let id = volume.id.to_string();
        if volume.phase == VolumePhase::Ready && !present.contains(id.as_str()) {
            missing.push(volume::view(app, volume).await?);
        }
    }
    let unclaimed = there.iter().filter(|volume| !claimed.contains(&volume.volume_id));
    let unclaimed = unclaimed.map(|volume| wire::Unclaimed {
        volume_id: volume.volume_id.clone(),
        format: volume.format,
        size_bytes: volume.size_bytes,
        allocated_bytes: volume.allocated_bytes,
        ..Default::default()
    });
    Ok(wire::ListOrphansResponse {
        unclaimed: unclaimed.collect(),
        missing,
        host,
        observed_at: time::to_proto(app.core.clock.now()).into(),
        ..Default::default()
    })
}

/// Takes an unclaimed volume into the inventory.
pub async fn adopt(app: &App, pool: PoolId, id: VolumeId, name: &str) -> Result<wire::Volume, Fault> {
    check_title("name", name)?;
    if app.core.tasks.of(Thing::Volume(id)).is_some() {
        return Err(Fault::new(FaultCode::Busy, "A task is at work on it.", "Wait for that task's end."));
    }
    match app.core.store.volume_get(id).await {
        Ok(record) if record.pool_id == pool && record.name == name => {
            return volume::view(app, &record).await;
        }
        Ok(record) => return Err(claimed(&record)),
        Err(StoreError::NotFound { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let record = look(app, pool, id, name).await?;
    app.core.store.volume_adopt(&record).await?;
    app.core.bus.changed(Thing::Volume(id));
    app.core.bus.changed(Thing::Pool(pool));
    volume::view(app, &record).await
}

/// A volume that no record claims, as it would be recorded.
pub(super) async fn look(app: &App, pool: PoolId, id: VolumeId, name: &str) -> Result<VolumeRecord, Fault> {
    let (there, host) = found(app, pool).await?;
    let wanted = id.to_string();
    let said = there.iter().find(|volume| volume.volume_id == wanted).ok_or_else(|| {
        let message = format!("There is no volume {id} in the pool.");
        Fault::new(FaultCode::VolumeMissing, message, "Look at the list again.").on_host(&host)
    })?;
    let parent_id = match said.parent_volume_id.as_str() {
        "" => None,
        parent => Some(parent.parse()?),
    };
    Ok(VolumeRecord {
        id,
        name: name.to_owned(),
        pool_id: pool,
        phase: VolumePhase::Ready,
        fault: None,
        format: twin::read("format", said.format)?,
        size_bytes: said.size_bytes,
        image_id: None,
        vm_id: None,
        created_at: app.core.clock.now(),
        allocation: twin::read_or("allocation", said.allocation, Allocation::Thin)?,
        source: VolumeSource::Blank,
        parent_id,
    })
}

fn claimed(record: &VolumeRecord) -> Fault {
    Fault::new(
        FaultCode::VolumeInUse,
        format!("It is volume {}.", record.name),
        format!("Work with volume {} instead.", record.name),
    )
}

/// Deletes an unclaimed volume's bytes for good. One that takes longer goes on as a task.
pub async fn delete(app: &App, user: &str, pool: PoolId, id: VolumeId) -> Result<(), Fault> {
    let record = app.core.store.pool_get(pool).await?;
    match app.core.store.volume_get(id).await {
        Ok(record) => return Err(claimed(&record)),
        Err(StoreError::NotFound { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    lines::to_pool(app, pool).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.purge",
        title: format!("Delete unclaimed volume {id} of pool {}", record.name),
        object: Thing::Volume(id),
        object_name: id.to_string(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::json!({ "pool_id": pool }),
    });
    app.core.store.task_insert(&task).await?;
    let task_id = task.id;
    app.core.tasks.submit(task);
    let end = Instant::now() + DELETE_PATIENCE;
    while Instant::now() < end {
        let task = app.core.tasks.get(task_id).await?;
        if task.state.is_final() {
            return task.fault.map_or(Ok(()), Err);
        }
        tokio::time::sleep(DELETE_LOOK).await;
    }
    Ok(())
}

struct Purge(Weak<App>);

#[derive(Deserialize)]
struct Input {
    pool_id: PoolId,
}

#[async_trait]
impl TaskKind for Purge {
    fn name(&self) -> &'static str {
        "volume.purge"
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
        let pool = task.input::<Input>()?.pool_id;
        // Adopted meanwhile: no longer an orphan.
        match app.core.store.volume_get(id).await {
            Ok(record) => return Err(claimed(&record)),
            Err(StoreError::NotFound { .. }) => {}
            Err(other) => return Err(other.into()),
        }
        task.step("Removing the disk")?;
        lines::patiently(task, || async {
            let line = lines::to_pool(&app, pool).await?;
            task.on_host(line.name());
            volume_work::remove_by_id(&line, pool, id).await
        })
        .await?;
        app.core.bus.changed(Thing::Pool(pool));
        Ok(())
    }
}
