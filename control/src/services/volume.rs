//! Volumes: virtual disks with an id and a life of their own.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, pool};
use crate::tasks::NewTask;
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::volume::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::id::{ImageId, PoolId, TaskId, VolumeId};
use quantix_model::image::{ImageFacts, ImageFormat, ImagePhase};
use quantix_model::name::check_title;
use quantix_model::pool::PoolPhase;
use quantix_model::volume::{VolumeFormat, VolumePhase, check_size};
use quantix_model::{Fault, FaultCode};
use quantix_store::{ImageRecord, Page, PageRequest, PoolRecord, VolumeRecord};

/// One page of volumes.
pub async fn list(
    app: &App,
    request: &PageRequest,
    pool: Option<PoolId>,
) -> Result<Page<wire::Volume>, Fault> {
    let page = app.core.store.volume_page(request, pool).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for volume in &page.rows {
        rows.push(view(app, volume).await?);
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// A volume as shown.
pub async fn get(app: &App, id: VolumeId) -> Result<wire::Volume, Fault> {
    view(app, &app.core.store.volume_get(id).await?).await
}

/// A volume as shown.
pub async fn view(app: &App, volume: &VolumeRecord) -> Result<wire::Volume, Fault> {
    let pool = app.core.store.pool_get(volume.pool_id).await.map(|p| p.name).unwrap_or_default();
    let vm = match volume.vm_id {
        Some(id) => app.core.store.vm_get(id).await.map(|vm| vm.name).unwrap_or_default(),
        None => String::new(),
    };
    let reason = match (volume.phase, volume.vm_id) {
        (VolumePhase::Deleting, _) => "It is being deleted.".to_owned(),
        (_, Some(_)) => format!("VM {vm} has it."),
        (VolumePhase::Creating, _) => "It is still being created.".to_owned(),
        (VolumePhase::Ready | VolumePhase::Error, None) => String::new(),
    };
    Ok(wire::Volume {
        id: volume.id.to_string(),
        name: volume.name.clone(),
        pool_id: volume.pool_id.to_string(),
        pool,
        phase: twin::write(volume.phase),
        fault: volume.fault.as_ref().map(Into::into).into(),
        format: twin::write(volume.format),
        size_bytes: volume.size_bytes,
        vm_id: volume.vm_id.map(|id| id.to_string()).unwrap_or_default(),
        vm,
        created_at: time::to_proto(volume.created_at).into(),
        allowed_actions: vec![AllowedAction {
            verb: "delete".into(),
            allowed: reason.is_empty(),
            reason_if_not: reason,
            ..Default::default()
        }],
        image_id: volume.image_id.map(|id| id.to_string()).unwrap_or_default(),
        ..Default::default()
    })
}

/// A volume to be made.
#[derive(Clone, Debug)]
pub struct Wish {
    /// On which pool.
    pub pool_id: PoolId,
    /// As the guest sees it; 0: as large as the image.
    pub size_bytes: u64,
    /// Kept how.
    pub format: VolumeFormat,
    /// Starts as a copy of this image.
    pub image_id: Option<ImageId>,
}

/// The pool, when it can be used now.
pub async fn usable_pool(app: &App, field: &str, id: PoolId) -> Result<PoolRecord, Fault> {
    let record = app.core.store.pool_get(id).await?;
    let statuses = pool::statuses(app, id).await?;
    match pool::phase_of(app, &record, &statuses).0 {
        PoolPhase::Ready | PoolPhase::Degraded => Ok(record),
        PoolPhase::Pending | PoolPhase::Error | PoolPhase::Deleting => {
            Err(Fault { field: field.to_owned(), ..pool::why_unusable(app, &record, &statuses) })
        }
    }
}

/// The image with what is in it, when it is Ready.
pub async fn ready_image(app: &App, field: &str, id: ImageId) -> Result<(ImageRecord, ImageFacts), Fault> {
    let image = app.core.store.image_get(id).await?;
    match (&image.phase, &image.facts) {
        (ImagePhase::Ready, Some(facts)) => Ok((image.clone(), facts.clone())),
        _ => Err(Fault {
            field: field.to_owned(),
            ..Fault::new(
                FaultCode::ImageNotReady,
                format!("Image {} is not ready.", image.name),
                "Wait for its upload and check, or choose another image.",
            )
            .because(image.fault.as_ref().map(|f| f.message.clone()).unwrap_or_default())
        }),
    }
}

/// Checks a wish against pool and image; answers it with its size settled.
pub async fn check(app: &App, field: &str, wish: &Wish) -> Result<Wish, Fault> {
    let pool = usable_pool(app, &format!("{field}pool_id"), wish.pool_id).await?;
    let mut settled = wish.clone();
    if let Some(image_id) = wish.image_id {
        let on = format!("{field}image_id");
        let (image, facts) = ready_image(app, &on, image_id).await?;
        if image.pool_id != wish.pool_id {
            let other = app.core.store.pool_get(image.pool_id).await?;
            return Err(Fault::invalid(
                &on,
                format!(
                    "Image {} is on pool {}, the disk would be on {}.",
                    image.name, other.name, pool.name
                ),
                format!("Put the disk on {}, or upload the image to {}.", other.name, pool.name),
            ));
        }
        if facts.format == ImageFormat::Iso {
            return Err(Fault::invalid(
                &on,
                format!("{} is an ISO: a disk cannot start as a copy of it.", image.name),
                "Put it into the VM's CD drive and start with an empty disk.",
            ));
        }
        let least = facts.virtual_size_bytes.div_ceil(512) * 512;
        if settled.size_bytes == 0 {
            settled.size_bytes = least;
        }
        if settled.size_bytes < facts.virtual_size_bytes {
            return Err(Fault::invalid(
                &format!("{field}size_bytes"),
                format!("The disk is smaller than image {}.", image.name),
                format!("Choose {least} bytes or more."),
            ));
        }
    }
    check_size(&format!("{field}size_bytes"), settled.size_bytes)?;
    Ok(settled)
}

/// The record for a wish that was checked.
pub fn record(app: &App, name: &str, wish: &Wish) -> VolumeRecord {
    VolumeRecord {
        id: ids::volume(),
        name: name.to_owned(),
        pool_id: wish.pool_id,
        phase: VolumePhase::Creating,
        fault: None,
        format: wish.format,
        size_bytes: wish.size_bytes,
        image_id: wish.image_id,
        vm_id: None,
        created_at: app.core.clock.now(),
    }
}

/// Writes the intent for a new volume.
pub async fn create(app: &App, user: &str, name: &str, wish: &Wish) -> Result<(wire::Volume, TaskId), Fault> {
    check_title("name", name)?;
    let volume = record(app, name, &check(app, "", wish).await?);
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.create",
        title: format!("Create volume {name}"),
        object: Thing::Volume(volume.id),
        object_name: name.to_owned(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    app.core.store.volume_insert(&volume, &task).await?;
    submitted(app, &volume, task).await
}

/// Says that a volume should go.
pub async fn delete(app: &App, user: &str, id: VolumeId) -> Result<(wire::Volume, TaskId), Fault> {
    let volume = app.core.store.volume_get(id).await?;
    if volume.phase == VolumePhase::Creating {
        return Err(Fault::new(
            FaultCode::Busy,
            format!("Volume {} is still being created.", volume.name),
            "Cancel its task, or wait for its end.",
        ));
    }
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.delete",
        title: format!("Delete volume {}", volume.name),
        object: Thing::Volume(id),
        object_name: volume.name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    let volume = app.core.store.volume_mark_deleting(id, &task).await?;
    submitted(app, &volume, task).await
}

async fn submitted(
    app: &App,
    volume: &VolumeRecord,
    task: quantix_store::TaskRecord,
) -> Result<(wire::Volume, TaskId), Fault> {
    let task_id = task.id;
    app.core.tasks.submit(task);
    app.core.bus.changed(Thing::Volume(volume.id));
    app.core.bus.changed(Thing::Pool(volume.pool_id));
    Ok((view(app, volume).await?, task_id))
}
