//! Changing volumes that are there: growing, clones of them, and giving them to VMs and taking them away.
//!
//! ```text
//!   volume.attach: volume is the VM's, spec has the disk ─▶ ApplyVm ─▶ done
//!           undo:  spec without the disk ─▶ ApplyVm ─▶ volume free
//!   volume.detach: spec without the disk ─▶ ApplyVm ─▶ volume free
//!           undo:  spec with the disk, where it was ─▶ ApplyVm
//!   volume.grow:   GrowVolume on the host that has it open ─▶ size as it says      (nothing to undo)
//! ```
//! Each intent is the whole VM under a new generation, so that doing it again after a kill changes nothing. While a
//! host may still have a volume open, the volume stays its VM's: nobody else gets it.

use crate::bus::Thing;
use crate::services::{App, lines, pool, report, vm, volume, volume_work};
use crate::tasks::{NewTask, TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::volume::v1 as wire;
use quantix_model::id::{TaskId, VmId, VolumeId};
use quantix_model::name::check_title;
use quantix_model::pool::PoolHealth;
use quantix_model::vm::{Disk, PowerState, VmPhase};
use quantix_model::volume::actions::VolumeVerb;
use quantix_model::volume::{Allocation, VolumeSource, check_size, check_snapshot_name};
use quantix_model::{Fault, FaultCode};
use quantix_store::{HostRecord, StoreError, VmRecord, VolumeRecord};
use serde::Deserialize;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long undoing is tried; the engine gives it a minute.
const UNDO_PATIENCE: Duration = Duration::from_secs(40);
/// Between two attempts.
const UNDO_RETRY: Duration = Duration::from_millis(500);

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Attach(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Detach(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Grow(Arc::downgrade(app))));
}

/// Says that a volume should be larger.
pub async fn grow(
    app: &App,
    user: &str,
    id: VolumeId,
    size_bytes: u64,
) -> Result<(wire::Volume, TaskId), Fault> {
    let record = app.core.store.volume_get(id).await?;
    check_size("size_bytes", size_bytes)?;
    if size_bytes <= record.size_bytes {
        let message = format!(
            "Volume {} has {} bytes; {size_bytes} would not be more.",
            record.name, record.size_bytes
        );
        let remedy = "Choose a larger size. Volumes never shrink: what is at their end would be lost.";
        let fault = Fault::new(FaultCode::VolumeCannotShrink, message, remedy);
        return Err(Fault { field: "size_bytes".into(), ..fault });
    }
    volume::refuse_unless_allowed(app, &record, VolumeVerb::Grow).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.grow",
        title: format!("Grow volume {}", record.name),
        object: Thing::Volume(id),
        object_name: record.name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::json!({ "size_bytes": size_bytes }),
    });
    app.core.store.task_insert(&task).await?;
    volume::submitted(app, &record, task).await
}

/// Writes the intent for a volume with the contents of another.
pub async fn clone(
    app: &App,
    user: &str,
    id: VolumeId,
    name: &str,
    snapshot: &str,
    linked: bool,
) -> Result<(wire::Volume, TaskId), Fault> {
    check_title("name", name)?;
    let source = app.core.store.volume_get(id).await?;
    let standing = volume::refuse_unless_allowed(app, &source, VolumeVerb::Clone).await?;
    let in_use = |reason: String, remedy: &str| Err(Fault::new(FaultCode::VolumeInUse, reason, remedy));
    if snapshot.is_empty() {
        match &standing.vm {
            Some((vm, state)) if state.is_active() => {
                let reason =
                    format!("VM {vm} is {}, so volume {} changes all the time.", state.as_str(), source.name);
                return in_use(reason, "Shut the VM down, or clone a snapshot of the volume.");
            }
            Some((vm, _)) if linked => {
                let reason =
                    format!("VM {vm} writes to volume {}, which a linked clone needs as it is.", source.name);
                return in_use(reason, "Link to a snapshot, detach the volume first, or copy.");
            }
            _ => {}
        }
    } else {
        check_snapshot_name("snapshot", snapshot)?;
        if !standing.can.snapshots {
            return Err(volume::cannot(
                "snapshot",
                &standing.pool,
                "snapshot volumes",
                "Clone the volume as it is.",
            ));
        }
    }
    if linked {
        volume::check_linked("linked", &standing.pool, &standing.can, source.format)?;
    }
    let wish = volume::Settled {
        pool_id: source.pool_id,
        size_bytes: source.size_bytes,
        format: source.format,
        allocation: if linked { Allocation::Thin } else { source.allocation },
        source: VolumeSource::Volume { id, snapshot: snapshot.to_owned(), linked },
    };
    let made = volume::record(app, name, &wish);
    volume::begin(app, user, &made, format!("Clone volume {} as {name}", source.name)).await
}

/// The VM with its host, when its disks may be changed now.
async fn changeable(app: &App, id: VmId) -> Result<(VmRecord, HostRecord), Fault> {
    let record = app.core.store.vm_get(id).await?;
    let host = app.core.store.host_get(record.host_id).await?;
    let refuse = |reason: String, remedy: &str| {
        let message = format!("The disks of VM {} cannot be changed now: {reason}", record.name);
        Err(Fault::new(FaultCode::VmActionNotAllowed, message, remedy).on_host(&host.name))
    };
    if app.core.tasks.of(Thing::Vm(id)).is_some() {
        return refuse("Another task is at work on it.".into(), "Wait for that task's end.");
    }
    match record.phase {
        VmPhase::Ready | VmPhase::Error => {}
        VmPhase::Creating => return refuse("It is still being created.".into(), "Wait for its task's end."),
        VmPhase::Deleting => return refuse("It is being deleted.".into(), "Choose another VM."),
        VmPhase::Lost => return refuse("Its host no longer has it.".into(), "Look at the VM's page."),
    }
    let power = vm::power(app, &host, &record);
    if power.state == PowerState::Unknown {
        let reason = format!("Nobody knows its state: {}.", power.reason);
        return refuse(reason, "Wait until its host reports again, or look after that host.");
    }
    Ok((record, host))
}

/// Refuses when the pool does not work on the host.
async fn refuse_unless_on(app: &App, volume: &VolumeRecord, host: &HostRecord) -> Result<(), Fault> {
    let name = app.core.store.pool_get(volume.pool_id).await?.name;
    let statuses = pool::statuses(app, volume.pool_id).await?;
    let fault = match statuses.iter().find(|s| s.host_id == host.id) {
        Some(s) if matches!(s.health(), PoolHealth::Healthy | PoolHealth::Degraded) => return Ok(()),
        Some(s) => {
            let why = s.report.as_ref().and_then(|r| r.fault.as_ref()).map(|f| f.message.clone());
            let message = format!("Pool {name} does not work on {}, where the VM is.", host.name);
            Fault::new(FaultCode::PoolNotReady, message, "Look at the pool's page.")
                .because(why.unwrap_or_default())
        }
        None => Fault::new(
            FaultCode::PoolNotAssigned,
            format!("Pool {name} is not on {}, where the VM is.", host.name),
            format!(
                "Assign pool {name} to {}, if it can be shared, or use a volume of another pool.",
                host.name
            ),
        ),
    };
    Err(fault.on_host(&host.name))
}

/// Gives a free volume to a VM.
pub async fn attach(
    app: &App,
    user: &str,
    id: VolumeId,
    vm_id: VmId,
) -> Result<(wire::Volume, TaskId), Fault> {
    let record = app.core.store.volume_get(id).await?;
    volume::refuse_unless_allowed(app, &record, VolumeVerb::Attach).await?;
    let (owner, host) = changeable(app, vm_id).await?;
    refuse_unless_on(app, &record, &host).await?;
    let mut spec = owner.spec.clone();
    spec.disks.push(Disk { volume_id: id, pool_id: record.pool_id });
    spec.check()?;
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.attach",
        title: format!("Attach volume {} to VM {}", record.name, owner.name),
        object: Thing::Vm(vm_id),
        object_name: owner.name,
        host: host.name,
        user_name: user.to_owned(),
        input: serde_json::json!({ "volume_id": id, "index": owner.spec.disks.len() }),
    });
    let owner = app.core.store.volume_attach(id, vm_id, &task).await?;
    tell(app, &owner);
    volume::submitted(app, &app.core.store.volume_get(id).await?, task).await
}

/// Takes a volume away from its VM.
pub async fn detach(app: &App, user: &str, id: VolumeId) -> Result<(wire::Volume, TaskId), Fault> {
    let record = app.core.store.volume_get(id).await?;
    volume::refuse_unless_allowed(app, &record, VolumeVerb::Detach).await?;
    let vm_id = record.vm_id.ok_or_else(|| Fault::internal("a volume without VM was to be detached"))?;
    let (owner, host) = changeable(app, vm_id).await?;
    let index = owner.spec.disks.iter().position(|disk| disk.volume_id == id).unwrap_or(0);
    let task = app.core.tasks.draft(NewTask {
        kind: "volume.detach",
        title: format!("Detach volume {} from VM {}", record.name, owner.name),
        object: Thing::Vm(vm_id),
        object_name: owner.name,
        host: host.name,
        user_name: user.to_owned(),
        input: serde_json::json!({ "volume_id": id, "index": index }),
    });
    let without = |vm: &mut VmRecord| {
        vm.spec.disks.retain(|disk| disk.volume_id != id);
        vm.generation += 1;
        Ok::<(), StoreError>(())
    };
    let owner = app.core.store.vm_update_with_task(vm_id, &task, without).await?;
    tell(app, &owner);
    volume::submitted(app, &record, task).await
}

fn tell(app: &App, owner: &VmRecord) {
    app.core.bus.changed(Thing::Vm(owner.id));
    for disk in &owner.spec.disks {
        app.core.bus.changed(Thing::Volume(disk.volume_id));
    }
}

struct Attach(Weak<App>);
struct Detach(Weak<App>);
struct Grow(Weak<App>);

#[derive(Deserialize)]
struct Size {
    size_bytes: u64,
}

#[derive(Deserialize)]
struct Input {
    volume_id: VolumeId,
    /// Place among the VM's disks.
    index: usize,
}

/// Hands the whole VM to its host.
async fn apply(app: &App, id: VmId) -> Result<(), Fault> {
    let owner = app.core.store.vm_get(id).await?;
    let line = lines::to_host(app, owner.host_id).await?;
    let said = line.apply_vm(vm::intent(&owner)).await?;
    report::take_vm(app, owner.host_id, id, &said).await?;
    tell(app, &owner);
    Ok(())
}

/// The same, as long as undoing may take.
async fn apply_patiently(app: &App, id: VmId) -> Result<(), Fault> {
    let end = Instant::now() + UNDO_PATIENCE;
    loop {
        match apply(app, id).await {
            Err(fault) if fault.retryable() && Instant::now() < end => tokio::time::sleep(UNDO_RETRY).await,
            done => return done,
        }
    }
}

/// Writes whether the VM should have the volume, when that is not what stands there.
async fn want(app: &App, id: VmId, input: &Input, has: bool) -> Result<VmRecord, Fault> {
    let pool_id = app.core.store.volume_get(input.volume_id).await?.pool_id;
    let disk = Disk { volume_id: input.volume_id, pool_id };
    let change = |vm: &mut VmRecord| {
        if vm.spec.disks.contains(&disk) != has {
            vm.spec.disks.retain(|d| *d != disk);
            if has {
                vm.spec.disks.insert(input.index.min(vm.spec.disks.len()), disk);
            }
            vm.generation += 1;
        }
        Ok::<(), StoreError>(())
    };
    Ok(app.core.store.vm_update(id, change).await?)
}

async fn set_free(app: &App, id: VolumeId, vm: VmId) -> Result<(), Fault> {
    app.core.store.volume_free(id).await?;
    app.core.bus.changed(Thing::Volume(id));
    app.core.bus.changed(Thing::Vm(vm));
    Ok(())
}

#[async_trait]
impl TaskKind for Attach {
    fn name(&self) -> &'static str {
        "volume.attach"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(180)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let input: Input = task.input()?;
        let vm_id: VmId = task.object_id()?;
        want(&app, vm_id, &input, true).await?;
        task.step("Giving the disk to the VM")?;
        lines::patiently(task, || apply(&app, vm_id)).await?;
        app.core.bus.changed(Thing::Volume(input.volume_id));
        Ok(())
    }

    async fn undo(&self, task: &TaskContext, _why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let (Ok(id), Ok(input)) = (task.object_id::<VmId>(), task.input::<Input>()) else { return };
        let undone = async {
            want(&app, id, &input, false).await?;
            match apply_patiently(&app, id).await {
                Ok(()) => set_free(&app, input.volume_id, id).await,
                Err(fault) => {
                    // The host may have it open: it stays the VM's, and can be detached once the host is back.
                    want(&app, id, &input, true).await?;
                    Err(fault)
                }
            }
        };
        if let Err(fault) = undone.await {
            tracing::warn!(%fault, "attaching a volume could not be undone");
        }
    }
}

#[async_trait]
impl TaskKind for Detach {
    fn name(&self) -> &'static str {
        "volume.detach"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(180)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let input: Input = task.input()?;
        let vm_id: VmId = task.object_id()?;
        want(&app, vm_id, &input, false).await?;
        task.step("Asking the guest to let go of the disk")?;
        lines::patiently(task, || apply(&app, vm_id)).await?;
        set_free(&app, input.volume_id, vm_id).await
    }

    async fn undo(&self, task: &TaskContext, _why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let (Ok(id), Ok(input)) = (task.object_id::<VmId>(), task.input::<Input>()) else { return };
        let undone = async {
            want(&app, id, &input, true).await?;
            apply_patiently(&app, id).await
        };
        if let Err(fault) = undone.await {
            tracing::warn!(%fault, "detaching a volume could not be undone");
        }
        app.core.bus.changed(Thing::Volume(input.volume_id));
        app.core.bus.changed(Thing::Vm(id));
    }
}

#[async_trait]
impl TaskKind for Grow {
    fn name(&self) -> &'static str {
        "volume.grow"
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
        let size_bytes = task.input::<Size>()?.size_bytes;
        task.step("Growing the disk")?;
        let grown = lines::patiently(task, || async {
            let record = app.core.store.volume_get(id).await?;
            let line = lines::to_volume(&app, &record).await?;
            task.on_host(line.name());
            let wish = node::GrowVolumeRequest {
                pool_id: record.pool_id.to_string(),
                volume_id: id.to_string(),
                size_bytes,
                vm_id: record.vm_id.map(|vm| vm.to_string()).unwrap_or_default(),
                ..Default::default()
            };
            line.grow_volume(wish).await
        });
        let record = volume_work::take(&app, id, &grown.await?).await?;
        if let Some(vm) = record.vm_id {
            app.core.bus.changed(Thing::Vm(vm));
        }
        Ok(())
    }
}
