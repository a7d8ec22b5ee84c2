//! Volumes: virtual disks with an id and a life of their own. Changing them is in `volume_change`.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, pool, right, vm};
use crate::tasks::NewTask;
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::volume::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::id::{ImageId, PoolId, TaskId, VmId, VolumeId};
use quantix_model::image::{ImageFacts, ImageFormat, ImagePhase};
use quantix_model::name::check_title;
use quantix_model::pool::{Capabilities, PoolPhase};
use quantix_model::right::Sight;
use quantix_model::vm::PowerState;
use quantix_model::volume::actions::{Standing, VolumeVerb};
use quantix_model::volume::{Allocation, VolumeFormat, VolumePhase, VolumeSource, check_size};
use quantix_model::{Fault, FaultCode};
use quantix_store::{ImageRecord, Page, PageRequest, PoolRecord, StoreError, VolumeRecord};
use std::collections::HashMap;

/// One page of volumes; `only_free`: of those that no VM has.
pub async fn list(
    app: &App,
    request: &PageRequest,
    pool: Option<PoolId>,
    only_free: bool,
    sight: &Sight,
) -> Result<Page<wire::Volume>, Fault> {
    let mut among = right::volumes_in(app, sight).await?;
    if only_free {
        let free = app.core.store.volume_ids_free().await?.into_iter().map(|id| id.0);
        among = Some(match among {
            Some(seen) => free.filter(|id| seen.contains(id)).collect(),
            None => free.collect(),
        });
    }
    let page = app.core.store.volume_page_among(request, pool, among).await?;
    let mut around = Around::default();
    let mut rows = Vec::with_capacity(page.rows.len());
    for volume in &page.rows {
        rows.push(view_among(app, &mut around, volume).await?);
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// A volume as shown.
pub async fn get(app: &App, id: VolumeId) -> Result<wire::Volume, Fault> {
    view(app, &app.core.store.volume_get(id).await?).await
}

/// What stands around volumes, read once for a whole list.
#[derive(Default)]
struct Around {
    /// Name, usable, what it can do.
    pools: HashMap<PoolId, (String, bool, Capabilities)>,
    /// Name and power.
    vms: HashMap<VmId, (String, PowerState)>,
}

impl Around {
    async fn pool(&mut self, app: &App, id: PoolId) -> Result<(String, bool, Capabilities), Fault> {
        if let Some(known) = self.pools.get(&id) {
            return Ok(known.clone());
        }
        let found = match app.core.store.pool_get(id).await {
            Err(StoreError::NotFound { .. }) => (String::new(), false, Capabilities::default()),
            found => {
                let record = found?;
                let statuses = pool::statuses(app, id).await?;
                let usable = is_usable(pool::phase_of(app, &record, &statuses).0);
                (record.name, usable, pool::capabilities(&statuses).unwrap_or_default())
            }
        };
        self.pools.insert(id, found.clone());
        Ok(found)
    }

    async fn vm(&mut self, app: &App, id: VmId) -> Result<(String, PowerState), Fault> {
        if let Some(known) = self.vms.get(&id) {
            return Ok(known.clone());
        }
        let found = match app.core.store.vm_get(id).await {
            Err(StoreError::NotFound { .. }) => (String::new(), PowerState::Unknown),
            found => {
                let record = found?;
                let host = app.core.store.host_get(record.host_id).await?;
                let state = vm::power(app, &host, &record).state;
                (record.name, state)
            }
        };
        self.vms.insert(id, found.clone());
        Ok(found)
    }
}

/// The task at work on a volume: its own, or its VM's that gives or takes it.
fn task_of(app: &App, volume: &VolumeRecord) -> Option<TaskId> {
    app.core.tasks.of(Thing::Volume(volume.id)).or_else(|| {
        let task = app.core.tasks.of(Thing::Vm(volume.vm_id?))?;
        let record = app.core.tasks.live(task)?;
        let named = record.input.get("volume_id").and_then(|id| id.as_str()) == Some(&volume.id.to_string());
        named.then_some(task)
    })
}

/// All that the rules look at.
pub async fn standing(app: &App, volume: &VolumeRecord) -> Result<Standing, Fault> {
    standing_among(app, &mut Around::default(), volume).await
}

/// What a volume that is there cannot be without.
async fn linked_to(app: &App, volume: &VolumeRecord) -> Result<Option<String>, Fault> {
    if volume.phase == VolumePhase::Creating {
        return Ok(None);
    }
    if let Some(id) = volume.parent_id {
        let name = app.core.store.volume_get(id).await.map_or_else(|_| id.to_string(), |parent| parent.name);
        return Ok(Some(format!("volume {name}")));
    }
    Ok(linked_image(app, volume).await?.map(|name| format!("image {name}")))
}

/// The name of the image a volume that is there cannot be without.
async fn linked_image(app: &App, volume: &VolumeRecord) -> Result<Option<String>, Fault> {
    let Some(id) = volume.needs_image().filter(|_| volume.phase != VolumePhase::Creating) else {
        return Ok(None);
    };
    match app.core.store.image_get(id).await {
        Err(StoreError::NotFound { .. }) => Ok(Some(id.to_string())),
        found => Ok(Some(found?.name)),
    }
}

async fn standing_among(app: &App, around: &mut Around, volume: &VolumeRecord) -> Result<Standing, Fault> {
    let (pool, pool_usable, can) = around.pool(app, volume.pool_id).await?;
    let vm = match volume.vm_id {
        Some(id) => Some(around.vm(app, id).await?),
        None => None,
    };
    let children = app.core.store.volume_children(volume.id).await?;
    let reads_it = |child: &&VolumeRecord| matches!(&child.source, VolumeSource::Volume { id, snapshot, linked: true } if *id == volume.id && snapshot.is_empty());
    // A clone that is being made reads its source, whatever becomes of it later.
    let copied = children.iter().any(|child| child.phase == VolumePhase::Creating);
    let linked_to = linked_to(app, volume).await?;
    Ok(Standing {
        name: volume.name.clone(),
        linked_to,
        phase: volume.phase,
        busy: copied || task_of(app, volume).is_some(),
        vm,
        pool,
        pool_usable,
        can,
        frozen_by: children.iter().find(reads_it).map(|child| child.name.clone()),
        clones: children.into_iter().map(|child| child.name).collect(),
    })
}

/// Refuses what may not be done with a volume now.
pub async fn refuse_unless_allowed(
    app: &App,
    volume: &VolumeRecord,
    verb: VolumeVerb,
) -> Result<Standing, Fault> {
    let standing = standing(app, volume).await?;
    standing.check(verb)?;
    Ok(standing)
}

/// Why a VM must not be started on a volume now: its bytes are being copied or changed.
pub async fn why_not_run(app: &App, id: VolumeId) -> Result<Option<String>, Fault> {
    let volume = app.core.store.volume_get(id).await?;
    let standing = standing(app, &volume).await?;
    Ok(match (standing.busy, standing.frozen_by) {
        (true, _) => Some(format!("Another task is at work on its disk {}.", volume.name)),
        (_, Some(clone)) => Some(format!("The volume {clone} needs its disk {} as it is.", volume.name)),
        (false, None) => None,
    })
}

/// A volume as shown.
pub async fn view(app: &App, volume: &VolumeRecord) -> Result<wire::Volume, Fault> {
    view_among(app, &mut Around::default(), volume).await
}

async fn view_among(app: &App, around: &mut Around, volume: &VolumeRecord) -> Result<wire::Volume, Fault> {
    let standing = standing_among(app, around, volume).await?;
    let parent = match volume.parent_id.filter(|_| volume.phase != VolumePhase::Creating) {
        Some(id) => Some((id, app.core.store.volume_get(id).await.map(|v| v.name).unwrap_or_default())),
        None => None,
    };
    let (parent_volume_id, parent_volume) =
        parent.map(|(id, name)| (id.to_string(), name)).unwrap_or_default();
    let linked_image = linked_image(app, volume).await?.unwrap_or_default();
    let allowed_actions = standing.actions().iter().map(AllowedAction::from).collect();
    Ok(wire::Volume {
        id: volume.id.to_string(),
        name: volume.name.clone(),
        pool_id: volume.pool_id.to_string(),
        pool: standing.pool,
        phase: twin::write(volume.phase),
        fault: volume.fault.as_ref().map(Into::into).into(),
        format: twin::write(volume.format),
        size_bytes: volume.size_bytes,
        vm_id: volume.vm_id.map(|id| id.to_string()).unwrap_or_default(),
        vm: standing.vm.map(|(name, _)| name).unwrap_or_default(),
        created_at: time::to_proto(volume.created_at).into(),
        allowed_actions,
        image_id: volume.image_id.map(|id| id.to_string()).unwrap_or_default(),
        allocation: twin::write(volume.allocation),
        parent_volume_id,
        parent_volume,
        linked_image,
        task_id: task_of(app, volume).map(|id| id.to_string()).unwrap_or_default(),
        ..Default::default()
    })
}

/// A volume that is wished for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// On which pool.
    pub pool_id: PoolId,
    /// As the guest sees it; 0: as large as the image.
    pub size_bytes: u64,
    /// Kept how; `None`: as the pool usually does.
    pub format: Option<VolumeFormat>,
    /// Starts as a copy of this image.
    pub image_id: Option<ImageId>,
    /// When its space is taken.
    pub allocation: Allocation,
    /// Without copying the image.
    pub linked: bool,
}

/// A wish that was checked, with nothing left open.
#[derive(Clone, Debug)]
pub struct Settled {
    /// On which pool.
    pub pool_id: PoolId,
    /// As the guest sees it.
    pub size_bytes: u64,
    /// Kept how.
    pub format: VolumeFormat,
    /// When its space is taken.
    pub allocation: Allocation,
    /// Made from what.
    pub source: VolumeSource,
}

fn is_usable(phase: PoolPhase) -> bool {
    match phase {
        PoolPhase::Ready | PoolPhase::Degraded => true,
        PoolPhase::Pending | PoolPhase::Error | PoolPhase::Deleting => false,
    }
}

/// The pool, when it can be used now, and what it can do.
pub async fn usable_pool(app: &App, field: &str, id: PoolId) -> Result<(PoolRecord, Capabilities), Fault> {
    let record = app.core.store.pool_get(id).await?;
    let statuses = pool::statuses(app, id).await?;
    if is_usable(pool::phase_of(app, &record, &statuses).0) {
        return Ok((record, pool::capabilities(&statuses).unwrap_or_default()));
    }
    Err(Fault { field: field.to_owned(), ..pool::why_unusable(app, &record, &statuses) })
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

/// What the pool cannot do.
pub fn cannot(field: &str, pool: &str, what: &str, remedy: impl Into<String>) -> Fault {
    let fault = Fault::new(FaultCode::PoolCannot, format!("Pool {pool} cannot {what}."), remedy);
    Fault { field: field.to_owned(), ..fault }
}

/// Checks a wish against pool and image; answers it with its size and format settled.
pub async fn check(app: &App, field: &str, wish: &Wish) -> Result<Settled, Fault> {
    let (pool, can) = usable_pool(app, &format!("{field}pool_id"), wish.pool_id).await?;
    let format = check_form(field, wish, &pool.name, &can)?;
    let mut size_bytes = wish.size_bytes;
    let mut source = VolumeSource::Blank;
    if let Some(image_id) = wish.image_id {
        let least = check_image(app, field, image_id, &pool, &can).await?;
        if size_bytes == 0 {
            size_bytes = least;
        }
        if size_bytes < least {
            return Err(Fault::invalid(
                &format!("{field}size_bytes"),
                "The disk is smaller than its image.",
                format!("Choose {least} bytes or more."),
            ));
        }
        source = VolumeSource::Image { id: image_id, linked: wish.linked };
    }
    check_size(&format!("{field}size_bytes"), size_bytes)?;
    Ok(Settled { pool_id: wish.pool_id, size_bytes, format, allocation: wish.allocation, source })
}

/// Format, allocation and linking, as far as the pool can.
fn check_form(field: &str, wish: &Wish, pool: &str, can: &Capabilities) -> Result<VolumeFormat, Fault> {
    let usual = can.formats.first().copied().unwrap_or(VolumeFormat::Qcow2);
    let format = wish.format.unwrap_or(usual);
    if !can.formats.is_empty() && !can.formats.contains(&format) {
        let words: Vec<&str> = can.formats.iter().map(|f| f.as_str()).collect();
        let remedy = format!("Use {}.", words.join(" or "));
        return Err(cannot(
            &format!("{field}format"),
            pool,
            &format!("keep {} disks", format.as_str()),
            remedy,
        ));
    }
    if wish.allocation == Allocation::Thick && !can.thick {
        let remedy = "Let its space be taken as it is written (thin).";
        return Err(cannot(
            &format!("{field}allocation"),
            pool,
            "reserve all space of a disk at once",
            remedy,
        ));
    }
    if !wish.linked {
        return Ok(format);
    }
    let on = format!("{field}linked");
    if wish.image_id.is_none() {
        return Err(Fault::invalid(
            &on,
            "An empty disk has nothing to be linked to.",
            "Choose an image, or do not link.",
        ));
    }
    if wish.allocation == Allocation::Thick {
        return Err(Fault::invalid(
            &on,
            "A linked disk cannot have all its space reserved.",
            "Choose thin, or copy.",
        ));
    }
    check_linked(&on, pool, can, format)?;
    Ok(format)
}

/// Whether a disk of this format can be made without copying.
pub fn check_linked(field: &str, pool: &str, can: &Capabilities, format: VolumeFormat) -> Result<(), Fault> {
    if !can.clones {
        return Err(cannot(field, pool, "make disks without copying", "Copy instead."));
    }
    if format == VolumeFormat::Raw && can.formats.contains(&VolumeFormat::Qcow2) {
        return Err(cannot(field, pool, "link raw disks", "Use qcow2, or copy."));
    }
    Ok(())
}

/// Whether a disk on the pool can start as a copy of the image; the least bytes it must have.
async fn check_image(
    app: &App,
    field: &str,
    id: ImageId,
    pool: &PoolRecord,
    can: &Capabilities,
) -> Result<u64, Fault> {
    let on = format!("{field}image_id");
    let (image, facts) = ready_image(app, &on, id).await?;
    if image.pool_id != pool.id {
        let other = app.core.store.pool_get(image.pool_id).await?;
        let remedy = match can.images {
            true => format!("Put the disk on {}, or upload the image to {}.", other.name, pool.name),
            false => format!(
                "Put the disk on {}: pool {} keeps no images, and disks start from images of their own pool.",
                other.name, pool.name
            ),
        };
        return Err(Fault::invalid(
            &on,
            format!("Image {} is on pool {}, the disk would be on {}.", image.name, other.name, pool.name),
            remedy,
        ));
    }
    if facts.format == ImageFormat::Iso {
        return Err(Fault::invalid(
            &on,
            format!("{} is an ISO: a disk cannot start as a copy of it.", image.name),
            "Put it into the VM's CD drive and start with an empty disk.",
        ));
    }
    Ok(facts.virtual_size_bytes.div_ceil(512) * 512)
}

/// The record for a wish that was checked.
pub fn record(app: &App, name: &str, wish: &Settled) -> VolumeRecord {
    VolumeRecord {
        id: ids::volume(),
        name: name.to_owned(),
        pool_id: wish.pool_id,
        phase: VolumePhase::Creating,
        fault: None,
        format: wish.format,
        size_bytes: wish.size_bytes,
        image_id: wish.source.image(),
        vm_id: None,
        created_at: app.core.clock.now(),
        allocation: wish.allocation,
        // Until it is made it needs its source, linked or not.
        parent_id: wish.source.volume(),
        source: wish.source.clone(),
    }
}

/// Writes the intent for a new volume.
pub async fn create(app: &App, user: &str, name: &str, wish: &Wish) -> Result<(wire::Volume, TaskId), Fault> {
    check_title("name", name)?;
    let volume = record(app, name, &check(app, "", wish).await?);
    begin(app, user, &volume, format!("Create volume {name}")).await
}

/// Writes the intent for a volume that was checked, whatever it is made from.
pub async fn begin(
    app: &App,
    user: &str,
    volume: &VolumeRecord,
    title: String,
) -> Result<(wire::Volume, TaskId), Fault> {
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.create",
        title,
        object: Thing::Volume(volume.id),
        object_name: volume.name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::Value::Null,
    });
    app.core.store.volume_insert(volume, &task).await?;
    if let Some(source) = volume.source.volume() {
        app.core.bus.changed(Thing::Volume(source));
    }
    submitted(app, volume, task).await
}

/// Says that a volume should go.
pub async fn delete(app: &App, user: &str, id: VolumeId) -> Result<(wire::Volume, TaskId), Fault> {
    let volume = app.core.store.volume_get(id).await?;
    refuse_unless_allowed(app, &volume, VolumeVerb::Delete).await?;
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

/// Hands a task over and tells of its volume.
pub async fn submitted(
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
