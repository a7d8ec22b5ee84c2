//! Images: ISOs and disk images, declared here, uploaded through `upload`, checked by their host.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, right, volume};
use crate::tasks::NewTask;
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::image::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::Fault;
use quantix_model::id::{ImageId, PoolId, TaskId};
use quantix_model::image::ImagePhase;
use quantix_model::name::check_title;
use quantix_model::right::Sight;
use quantix_store::{ImageRecord, Page, PageRequest};
use std::time::Duration;

/// No image is larger: 16 TiB, what ext4 allows one file.
const SIZE_BYTES_MAX: u64 = 16 << 40;

/// How long a call waits for a deletion that usually takes milliseconds.
const DELETE_PATIENCE: Duration = Duration::from_millis(800);
/// Between two looks.
const DELETE_LOOK: Duration = Duration::from_millis(20);

/// One page of images.
pub async fn list(app: &App, request: &PageRequest, sight: &Sight) -> Result<Page<wire::Image>, Fault> {
    let page = match right::pools_in(sight) {
        None => app.core.store.image_page(request).await?,
        Some(pools) => app.core.store.image_page_among(request, &pools).await?,
    };
    let mut rows = Vec::with_capacity(page.rows.len());
    for image in &page.rows {
        rows.push(view(app, image).await?);
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// An image as shown.
pub async fn get(app: &App, id: ImageId) -> Result<wire::Image, Fault> {
    view(app, &app.core.store.image_get(id).await?).await
}

/// Where its bytes are sent.
pub fn upload_path(id: ImageId) -> String {
    format!("/api/v1/uploads/{id}")
}

async fn view(app: &App, image: &ImageRecord) -> Result<wire::Image, Fault> {
    let pool = app.core.store.pool_get(image.pool_id).await.map(|p| p.name).unwrap_or_default();
    let facts = image.facts.as_ref();
    let received = app.uploads.received(image.id).unwrap_or(image.received_bytes);
    let user = app.core.store.vm_find_by_part(&image.id.to_string()).await?;
    let reason = match (image.phase, user) {
        (ImagePhase::Deleting, _) => "It is being deleted.".to_owned(),
        (_, Some(vm)) => format!("It is in the drive of VM {}.", vm.name),
        _ => match linked_to(app, image).await? {
            Some(volume) => format!("Volume {volume} is linked to it."),
            None => String::new(),
        },
    };
    let uploading = image.phase == ImagePhase::Uploading;
    Ok(wire::Image {
        id: image.id.to_string(),
        name: image.name.clone(),
        pool_id: image.pool_id.to_string(),
        pool,
        phase: twin::write(image.phase),
        fault: image.fault.as_ref().map(Into::into).into(),
        format: facts.map(|f| twin::write(f.format)).unwrap_or_default(),
        size_bytes: image.size_bytes,
        received_bytes: if image.phase == ImagePhase::Ready { image.size_bytes } else { received },
        virtual_size_bytes: facts.map_or(0, |f| f.virtual_size_bytes),
        sha256: facts.map_or_else(|| image.sha256_wanted.clone(), |f| f.sha256.clone()),
        created_at: time::to_proto(image.created_at).into(),
        ready_at: image.ready_at.map(time::to_proto).into(),
        allowed_actions: vec![
            AllowedAction {
                verb: "delete".into(),
                allowed: reason.is_empty(),
                reason_if_not: reason,
                ..Default::default()
            },
            AllowedAction {
                verb: "upload".into(),
                allowed: uploading,
                reason_if_not: if uploading { String::new() } else { "Its bytes are not awaited.".into() },
                ..Default::default()
            },
        ],
        upload_path: if uploading { upload_path(image.id) } else { String::new() },
        ..Default::default()
    })
}

/// A volume that cannot be without the image.
async fn linked_to(app: &App, image: &ImageRecord) -> Result<Option<String>, Fault> {
    let volumes = app.core.store.volume_of_pool(image.pool_id).await?;
    Ok(volumes.into_iter().find(|volume| volume.needs_image() == Some(image.id)).map(|volume| volume.name))
}

/// Checks what is said of bytes to come; the checksum in lower case.
pub(super) fn check_upload(size_bytes: u64, least: u64, sha256: &str) -> Result<String, Fault> {
    if size_bytes < least || size_bytes > SIZE_BYTES_MAX {
        return Err(Fault::invalid(
            "size_bytes",
            format!("A file of {size_bytes} bytes cannot be kept."),
            format!("Choose a file of {least} bytes to 16 TiB."),
        ));
    }
    let sha256 = sha256.trim().to_ascii_lowercase();
    if !sha256.is_empty() && (sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(Fault::invalid(
            "sha256",
            "The checksum is no SHA-256.",
            "Give 64 hex digits, or leave it empty.",
        ));
    }
    Ok(sha256)
}

/// Declares an image; its task waits for the bytes.
pub async fn create(
    app: &App,
    user: &str,
    name: &str,
    pool_id: PoolId,
    size_bytes: u64,
    sha256: &str,
) -> Result<(wire::Image, TaskId), Fault> {
    check_title("name", name)?;
    let sha256 = check_upload(size_bytes, 1, sha256)?;
    let (pool, can) = volume::usable_pool(app, "pool_id", pool_id).await?;
    if !can.images {
        let remedy = "Choose a pool with files: a local directory or NFS.";
        return Err(volume::cannot("pool_id", &pool.name, "keep images", remedy));
    }
    let id = ids::image();
    let task = app.core.tasks.draft(NewTask {
        kind: "image.upload",
        title: format!("Upload image {name}"),
        object: Thing::Image(id),
        object_name: name.to_owned(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    let image = ImageRecord {
        id,
        name: name.to_owned(),
        pool_id,
        phase: ImagePhase::Uploading,
        fault: None,
        size_bytes,
        received_bytes: 0,
        sha256_wanted: sha256,
        facts: None,
        created_at: app.core.clock.now(),
        ready_at: None,
        task_id: Some(task.id),
    };
    app.core.store.image_insert(&image, &task).await?;
    let task_id = task.id;
    app.core.tasks.submit(task);
    app.core.bus.changed(Thing::Image(id));
    app.core.bus.changed(Thing::Pool(pool_id));
    Ok((view(app, &image).await?, task_id))
}

/// Removes an image; ends its upload when one is under way.
pub async fn delete(app: &App, user: &str, id: ImageId) -> Result<(), Fault> {
    let image = app.core.store.image_get(id).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "image.delete",
        title: format!("Delete image {}", image.name),
        object: Thing::Image(id),
        object_name: image.name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    app.core.store.image_mark_deleting(id, Some(&task)).await?;
    app.uploads.stop(id);
    if let Some(upload) = image.task_id
        && let Err(fault) = app.core.tasks.cancel(upload).await
    {
        tracing::debug!(%fault, "the upload had ended already");
    }
    let task_id = task.id;
    app.core.tasks.submit(task);
    app.core.bus.changed(Thing::Image(id));
    app.core.bus.changed(Thing::Pool(image.pool_id));
    end_of(app, task_id).await
}

/// Waits a while for the end of a deletion; one that takes longer goes on as a task.
async fn end_of(app: &App, id: TaskId) -> Result<(), Fault> {
    let end = tokio::time::Instant::now() + DELETE_PATIENCE;
    while tokio::time::Instant::now() < end {
        let task = app.core.tasks.get(id).await?;
        if task.state.is_final() {
            return task.fault.map_or(Ok(()), Err);
        }
        tokio::time::sleep(DELETE_LOOK).await;
    }
    Ok(())
}
