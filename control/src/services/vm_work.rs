//! Carrying out VM intents on their host.
//!
//! ```text
//!   vm.create: CreateVolume per new disk ─▶ ApplyVm ─▶ PowerVm start, if wished ─▶ Ready
//!       undo:  PowerVm force stop ─▶ DeleteVm ─▶ DeleteVolume per new disk ─▶ rows gone
//!   vm.delete: DeleteVm ─▶ DeleteVolume per disk, if asked ─▶ rows gone      (first undefine, then remove files)
//! ```
//! Every call is idempotent by id on the host, so a task that runs again after a restart doubles nothing.

use crate::bus::Thing;
use crate::services::vm_create::pools_of;
use crate::services::{App, lines, report, vm, volume_work};
use crate::tasks::{TaskContext, TaskKind};
use async_trait::async_trait;
use quantix_client::HostClient;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::twin;
use quantix_model::id::{VmId, VolumeId};
use quantix_model::vm::{PowerVerb, VmPhase};
use quantix_model::{Fault, FaultCode};
use quantix_store::{StoreError, VmRecord};
use serde::Deserialize;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long undoing is tried; the engine gives it a minute.
const UNDO_PATIENCE: Duration = Duration::from_secs(40);
/// Between two attempts.
const UNDO_RETRY: Duration = Duration::from_millis(500);

/// Makes the kinds known.
pub(super) fn register(app: &Arc<App>) {
    app.core.tasks.register(Arc::new(Create(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Power(Arc::downgrade(app))));
    app.core.tasks.register(Arc::new(Delete(Arc::downgrade(app))));
}

struct Create(Weak<App>);
struct Power(Weak<App>);
struct Delete(Weak<App>);

#[derive(Deserialize)]
struct CreateInput {
    start: bool,
    new_volumes: Vec<VolumeId>,
}

#[derive(Deserialize)]
struct PowerInput {
    verb: PowerVerb,
}

#[derive(Deserialize)]
struct DeleteInput {
    delete_volumes: bool,
}

fn tell(app: &App, vm: &VmRecord) {
    app.core.bus.changed(Thing::Vm(vm.id));
    app.core.bus.changed(Thing::Host(vm.host_id));
    for disk in &vm.spec.disks {
        app.core.bus.changed(Thing::Volume(disk.volume_id));
    }
    for pool in pools_of(&vm.spec) {
        app.core.bus.changed(Thing::Pool(pool));
    }
    if let Some(cdrom) = &vm.spec.cdrom {
        app.core.bus.changed(Thing::Image(cdrom.image_id));
    }
}

async fn mark(app: &App, id: VmId, phase: VmPhase, fault: Option<Fault>) -> Result<VmRecord, Fault> {
    let change = |vm: &mut VmRecord| {
        vm.phase = phase;
        vm.fault = fault;
        Ok::<(), StoreError>(())
    };
    let vm = app.core.store.vm_update(id, change).await?;
    tell(app, &vm);
    Ok(vm)
}

async fn power(app: &App, line: &HostClient, record: &VmRecord, verb: PowerVerb) -> Result<(), Fault> {
    let wish = node::PowerVmRequest {
        vm_id: record.id.to_string(),
        verb: twin::write(verb),
        generation: record.generation,
        ..Default::default()
    };
    let said = line.power_vm(wish).await?;
    report::take_vm(app, record.host_id, record.id, &said).await?;
    Ok(())
}

async fn undefine(app: &App, line: &HostClient, record: &VmRecord) -> Result<(), Fault> {
    let wish = node::DeleteVmRequest {
        vm_id: record.id.to_string(),
        generation: record.generation,
        ..Default::default()
    };
    match line.delete_vm(wish).await {
        Err(fault) if fault.code == FaultCode::VmMissingOnHost => {}
        done => drop(done?),
    }
    app.live.change(record.host_id, |live| {
        live.missing.remove(&record.id);
        if let Some(vms) = &mut live.vms {
            vms.remove(&record.id);
        }
    });
    Ok(())
}

#[async_trait]
impl TaskKind for Create {
    fn name(&self) -> &'static str {
        "vm.create"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let input: CreateInput = task.input()?;
        let record = app.core.store.vm_get(task.object_id()?).await?;
        let line = lines::to_host(&app, record.host_id).await?;
        task.on_host(line.name());
        let made = tokio::select! {
            made = make(&app, task, &line, &record, &input) => made,
            () = task.cancelled() => task.check(),
        };
        made.map_err(|fault| in_step(task, &app, fault))
    }

    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        let Ok(id) = task.object_id::<VmId>() else { return };
        let Ok(input) = task.input::<CreateInput>() else { return };
        if let Err(fault) = unmake_patiently(&app, id, &input).await {
            // The host may hold parts of it: the record stays, as the way to delete them.
            tracing::warn!(%fault, "a VM that was not made could not be undone");
            let both = why.clone().because(format!("{}; undoing it failed: {}", why.cause, fault.message));
            if let Err(fault) = mark(&app, id, VmPhase::Error, Some(both)).await {
                tracing::warn!(%fault, "a VM could not be marked");
            }
        }
    }
}

/// Adds the step to a fault that names none.
fn in_step(task: &TaskContext, app: &App, fault: Fault) -> Fault {
    let step = app.core.tasks.live(task.id()).map(|t| t.step).unwrap_or_default();
    if fault.phase.is_empty() { fault.in_phase(step) } else { fault }
}

async fn make(
    app: &App,
    task: &TaskContext,
    line: &HostClient,
    record: &VmRecord,
    input: &CreateInput,
) -> Result<(), Fault> {
    let steps = input.new_volumes.len() + 1 + usize::from(input.start);
    let total = u64::try_from(steps).unwrap_or(0);
    let mut done = 0;
    for id in &input.new_volumes {
        let volume = app.core.store.volume_get(*id).await?;
        task.progress(done, total, "steps");
        task.step(format!("Making disk {}", volume.name))?;
        let made = volume_work::make(line, &volume).await?;
        volume_work::take(app, *id, &made).await?;
        done += 1;
    }
    task.progress(done, total, "steps");
    task.step("Defining the VM")?;
    let said = line.apply_vm(vm::intent(record)).await?;
    report::take_vm(app, record.host_id, record.id, &said).await?;
    if input.start {
        task.progress(done + 1, total, "steps");
        task.step("Starting the VM")?;
        power(app, line, record, PowerVerb::Start).await?;
    }
    mark(app, record.id, VmPhase::Ready, None).await?;
    task.progress(total, total, "steps");
    Ok(())
}

/// Undoes, as long as undoing may take: the host may be away for a moment, or still at work on what was dropped.
async fn unmake_patiently(app: &App, id: VmId, input: &CreateInput) -> Result<(), Fault> {
    let end = tokio::time::Instant::now() + UNDO_PATIENCE;
    loop {
        match unmake(app, id, input).await {
            Err(fault) if fault.retryable() && tokio::time::Instant::now() < end => {
                tracing::debug!(%fault, "undoing again");
                tokio::time::sleep(UNDO_RETRY).await;
            }
            done => return done,
        }
    }
}

async fn unmake(app: &App, id: VmId, input: &CreateInput) -> Result<(), Fault> {
    let record = match app.core.store.vm_get(id).await {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        found => found?,
    };
    let line = lines::to_host(app, record.host_id).await?;
    if let Err(fault) = power(app, &line, &record, PowerVerb::ForceStop).await {
        tracing::debug!(%fault, "nothing to stop");
    }
    undefine(app, &line, &record).await?;
    for id in &input.new_volumes {
        let volume = match app.core.store.volume_get(*id).await {
            Err(StoreError::NotFound { .. }) => continue,
            found => found?,
        };
        volume_work::remove(&line, &volume).await?;
    }
    app.core.store.vm_delete(id, false).await?;
    for id in &input.new_volumes {
        app.core.store.volume_delete(*id).await?;
    }
    tell(app, &record);
    Ok(())
}

#[async_trait]
impl TaskKind for Power {
    fn name(&self) -> &'static str {
        "vm.power"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let verb = task.input::<PowerInput>()?.verb;
        let record = app.core.store.vm_get(task.object_id()?).await?;
        let line = lines::to_host(&app, record.host_id).await?;
        let started_at = app.core.tasks.get(task.id()).await?.started_at;
        let again = started_at.is_some_and(|at| at < app.core.started_at);
        if again && matches!(verb, PowerVerb::Reboot | PowerVerb::Reset) {
            return Err(Fault::new(
                FaultCode::Conflict,
                "The vDC was restarted before the host answered: whether the guest was restarted is not known.",
                "Look at the guest, and repeat it if need be.",
            )
            .on_host(line.name()));
        }
        task.step(format!("Asking {}", line.name()))?;
        // The host took it; the state that follows comes with its next report.
        power(&app, &line, &record, verb).await
    }
}

#[async_trait]
impl TaskKind for Delete {
    fn name(&self) -> &'static str {
        "vm.delete"
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let app = super::upgrade(&self.0)?;
        let input: DeleteInput = task.input()?;
        let id: VmId = task.object_id()?;
        let record = match app.core.store.vm_get(id).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        let line = lines::to_host(&app, record.host_id).await?;
        task.step("Removing the VM's definition")?;
        super::pool_work::retry(task, || undefine(&app, &line, &record)).await?;
        let volumes = app.core.store.volume_of_vm(id).await?;
        if input.delete_volumes {
            for volume in &volumes {
                task.step(format!("Removing disk {}", volume.name))?;
                super::pool_work::retry(task, || volume_work::remove(&line, volume)).await?;
            }
        }
        app.core.store.vm_delete(id, input.delete_volumes).await?;
        tell(&app, &record);
        Ok(())
    }

    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let Ok(app) = super::upgrade(&self.0) else { return };
        if let Ok(id) = task.object_id()
            && let Err(fault) = mark(&app, id, VmPhase::Error, Some(why.clone())).await
        {
            tracing::warn!(%fault, "a VM could not be marked");
        }
    }
}
