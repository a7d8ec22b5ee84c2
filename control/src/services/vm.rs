//! Virtual machines: what is shown of them, and the intents to power and delete them. Creating is in `vm_create`.

use crate::bus::Thing;
use crate::services::{App, host, right, volume};
use crate::tasks::NewTask;
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::vm::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::host::HostPhase;
use quantix_model::id::{HostId, TaskId, VmId};
use quantix_model::right::Sight;
use quantix_model::vm::{PowerState, PowerVerb, VmPhase, allowed_actions};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::{
    HostBrief, HostRecord, Page, PageRequest, Roster, StoreError, TaskRecord, VmBrief, VmRecord,
};

/// One page of VMs, on one host or on all.
pub async fn list(
    app: &App,
    request: &PageRequest,
    of: Option<HostId>,
    sight: &Sight,
) -> Result<Page<wire::Vm>, Fault> {
    let among = right::vms_in(app, sight).await?;
    let page = app.core.store.vm_page_among(request, of, among).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for vm in &page.rows {
        // What is kept of its host is at hand: a page of a hundred VMs asks the store once.
        let known = app.core.rosters.get(vm.host_id).await?;
        rows.push(shown(app, vm, &known.roster.host));
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// A VM as shown.
pub async fn get(app: &App, id: VmId) -> Result<wire::Vm, Fault> {
    view(app, &app.core.store.vm_get(id).await?).await
}

/// What is known of a VM's power now.
#[derive(Clone, Debug, PartialEq)]
pub struct Power {
    /// Unknown while its host is silent or its libvirt does not answer.
    pub state: PowerState,
    /// The host's event behind it.
    pub reason: String,
    /// So since, by the host's clock.
    pub since: Option<UnixMs>,
    /// The host looked then.
    pub observed_at: Option<UnixMs>,
    /// Of its vCPUs, 0 to 1.
    pub cpu_used_ratio: Option<f64>,
    /// Resident on the host.
    pub memory_used_bytes: Option<u64>,
    /// What its host could not do for it.
    pub fault: Option<Fault>,
    /// So since, by the host's clock.
    pub fault_since: Option<UnixMs>,
}

/// What is known of a VM's power now.
pub fn power(app: &App, host: &HostRecord, vm: &VmRecord) -> Power {
    power_of(app, &HostBrief::from(host), vm.id, vm.observed_at)
}

/// The same, by what is needed for it. `observed_at`: when its host looked last, as written.
pub fn power_of(app: &App, host: &HostBrief, id: VmId, observed_at: Option<UnixMs>) -> Power {
    let unknown = |reason: &str| Power {
        state: PowerState::Unknown,
        reason: reason.to_owned(),
        since: None,
        observed_at,
        cpu_used_ratio: None,
        memory_used_bytes: None,
        fault: None,
        fault_since: None,
    };
    match host::phase_of(app, host) {
        HostPhase::Pending => return unknown("its host has not reported yet"),
        HostPhase::Disconnected => return unknown("its host is silent"),
        HostPhase::Ready | HostPhase::Degraded => {}
    }
    let live = app.live.get(host.id);
    let Some(vms) = live.as_ref().and_then(|live| live.vms.as_ref()) else {
        return unknown("libvirt on its host does not answer");
    };
    match vms.get(&id) {
        None => unknown("its host does not list it"),
        Some(live) => Power {
            state: live.power_state,
            reason: live.power_reason.clone(),
            since: live.since,
            observed_at: live.observed_at,
            cpu_used_ratio: live.cpu_used_ratio,
            memory_used_bytes: live.memory_used_bytes,
            fault: live.fault.as_deref().cloned(),
            fault_since: live.fault_since,
        },
    }
}

/// The power of each of a host's VMs, as far as is known.
pub fn power_states(app: &App, on_host: &Roster) -> Vec<PowerState> {
    let known = matches!(host::phase_of(app, &on_host.host), HostPhase::Ready | HostPhase::Degraded);
    let live = app.live.get(on_host.host.id).filter(|_| known);
    let vms = live.as_ref().and_then(|live| live.vms.as_ref());
    let state = |id: VmId| vms.and_then(|vms| vms.get(&id)).map_or(PowerState::Unknown, |vm| vm.power_state);
    on_host.vms.iter().map(|vm| state(vm.id)).collect()
}

/// How many of a host's VMs were running when it spoke last, which stands beside the time when that was.
pub fn ran(app: &App, on_host: &Roster) -> u32 {
    let live = app.live.get(on_host.host.id);
    let active = |vm: &&VmBrief| match &live {
        Some(live) => {
            live.vms.as_ref().and_then(|vms| vms.get(&vm.id)).is_some_and(|vm| vm.power_state.is_active())
        }
        None => vm.power_state.is_active(),
    };
    u32::try_from(on_host.vms.iter().filter(active).count()).unwrap_or(u32::MAX)
}

/// A VM as its page shows it: with its disks and the image in its drive by name.
pub async fn view(app: &App, vm: &VmRecord) -> Result<wire::Vm, Fault> {
    let host = app.core.store.host_get(vm.host_id).await?;
    let records = app.core.store.volume_of_vm(vm.id).await?;
    let mut volumes = Vec::with_capacity(vm.spec.disks.len());
    for disk in &vm.spec.disks {
        if let Some(record) = records.iter().find(|v| v.id == disk.volume_id) {
            volumes.push(volume::view(app, record).await?);
        }
    }
    let cdrom_image = match &vm.spec.cdrom {
        Some(cdrom) => app.core.store.image_get(cdrom.image_id).await.map(|i| i.name).unwrap_or_default(),
        None => String::new(),
    };
    Ok(wire::Vm { volumes, cdrom_image, ..shown(app, vm, &HostBrief::from(&host)) })
}

/// A VM as a list shows it.
fn shown(app: &App, vm: &VmRecord, host: &HostBrief) -> wire::Vm {
    let power = power_of(app, host, vm.id, vm.observed_at);
    let task = app.core.tasks.of(Thing::Vm(vm.id));
    let actions = allowed_actions(vm.phase, power.state, task.is_some());
    let host_fault = power.fault.map(|fault| fault.on_host(&host.name));
    wire::Vm {
        id: vm.id.to_string(),
        name: vm.name.clone(),
        description: vm.description.clone(),
        host_id: vm.host_id.to_string(),
        host: host.name.clone(),
        spec: wire::VmSpec::from(&vm.spec).into(),
        phase: twin::write(vm.phase),
        fault: vm.fault.as_ref().map(Into::into).into(),
        power_state: twin::write(power.state),
        power_reason: power.reason,
        power_since: power.since.map(time::to_proto).into(),
        observed_at: power.observed_at.map(time::to_proto).into(),
        generation: vm.generation,
        allowed_actions: actions.iter().map(AllowedAction::from).collect(),
        created_at: time::to_proto(vm.created_at).into(),
        task_id: task.map(|id| id.to_string()).unwrap_or_default(),
        cpu_used_ratio: power.cpu_used_ratio,
        memory_used_bytes: power.memory_used_bytes,
        host_fault: host_fault.as_ref().map(Into::into).into(),
        host_fault_since: power.fault_since.map(time::to_proto).into(),
        ..Default::default()
    }
}

/// What a host should be told of a VM.
pub fn intent(vm: &VmRecord) -> node::VmIntent {
    node::VmIntent {
        vm_id: vm.id.to_string(),
        name: vm.name.clone(),
        generation: vm.generation,
        spec: wire::VmSpec::from(&vm.spec).into(),
        ..Default::default()
    }
}

/// Refuses a verb that is not allowed now, with the reason that is shown beside the button.
pub async fn refuse_unless_allowed(app: &App, vm: &VmRecord, verb: &str) -> Result<HostRecord, Fault> {
    let host = app.core.store.host_get(vm.host_id).await?;
    let power = power(app, &host, vm);
    let busy = app.core.tasks.of(Thing::Vm(vm.id)).is_some();
    let actions = allowed_actions(vm.phase, power.state, busy);
    let reason = match actions.iter().find(|a| a.verb == verb) {
        Some(action) => action.reason_if_not.clone(),
        None => Some(format!("There is no action {verb}.")),
    };
    let Some(reason) = reason else { return Ok(host) };
    let silent = power.state == PowerState::Unknown && !busy && vm.phase != VmPhase::Lost;
    let not_running = verb == "console" && !power.state.is_active() && power.state != PowerState::Unknown;
    let (code, remedy) = match () {
        () if not_running => (FaultCode::ConsoleNotRunning, "Start it, then open the console."),
        () if silent && !power.reason.is_empty() => {
            (FaultCode::VmActionNotAllowed, "Wait until its host reports again, or look after that host.")
        }
        () if busy => (FaultCode::VmActionNotAllowed, "Wait for that task's end."),
        () => (FaultCode::VmActionNotAllowed, "Do what the reason says first."),
    };
    let words = verb.replace('_', " ");
    let message = format!("VM {} cannot do that now ({words}): {reason}", vm.name);
    Err(Fault::new(code, message, remedy).because(power.reason).on_host(host.name))
}

/// Refuses to start a VM while the bytes of a disk are being copied or changed.
async fn refuse_busy_disks(app: &App, vm: &VmRecord) -> Result<(), Fault> {
    for disk in &vm.spec.disks {
        if let Some(reason) = volume::why_not_run(app, disk.volume_id).await? {
            let message = format!("VM {} cannot be started now: {reason}", vm.name);
            return Err(Fault::new(
                FaultCode::VmActionNotAllowed,
                message,
                "Wait for its end, then start it again.",
            ));
        }
    }
    Ok(())
}

/// Asks for a change of power.
pub async fn change_power(
    app: &App,
    user: &str,
    id: VmId,
    verb: PowerVerb,
) -> Result<(wire::Vm, TaskId), Fault> {
    let vm = app.core.store.vm_get(id).await?;
    let host = refuse_unless_allowed(app, &vm, verb.as_str()).await?;
    host::refuse_cloned(app, host.id, &host.name)?;
    if verb == PowerVerb::Start {
        refuse_busy_disks(app, &vm).await?;
    }
    let word = match verb {
        PowerVerb::Start => "Start",
        PowerVerb::ShutDown => "Shut down",
        PowerVerb::ForceStop => "Force stop",
        PowerVerb::Reboot => "Reboot",
        PowerVerb::Reset => "Reset",
        PowerVerb::Pause => "Pause",
        PowerVerb::Resume => "Resume",
    };
    let task = app.core.tasks.draft(NewTask {
        kind: "vm.power",
        title: format!("{word} VM {}", vm.name),
        object: Thing::Vm(id),
        object_name: vm.name.clone(),
        host: host.name,
        user_name: user.to_owned(),
        input: serde_json::json!({ "verb": verb }),
    });
    app.core.store.task_insert(&task).await?;
    submitted(app, &vm, task).await
}

/// Says that a VM should go; its disks stay unless asked.
pub async fn delete(
    app: &App,
    user: &str,
    id: VmId,
    delete_volumes: bool,
) -> Result<(wire::Vm, TaskId), Fault> {
    let vm = app.core.store.vm_get(id).await?;
    let host = refuse_unless_allowed(app, &vm, "delete").await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "vm.delete",
        title: format!("Delete VM {}", vm.name),
        object: Thing::Vm(id),
        object_name: vm.name.clone(),
        host: host.name,
        user_name: user.to_owned(),
        input: serde_json::json!({ "delete_volumes": delete_volumes }),
    });
    let change = |vm: &mut VmRecord| {
        vm.phase = VmPhase::Deleting;
        vm.generation += 1;
        vm.fault = None;
        Ok::<(), StoreError>(())
    };
    let vm = app.core.store.vm_update_with_task(id, &task, change).await?;
    submitted(app, &vm, task).await
}

/// Hands a task over and tells of its VM.
pub async fn submitted(app: &App, vm: &VmRecord, task: TaskRecord) -> Result<(wire::Vm, TaskId), Fault> {
    let task_id = task.id;
    app.core.tasks.submit(task);
    app.core.bus.changed(Thing::Vm(vm.id));
    app.core.bus.changed(Thing::Host(vm.host_id));
    Ok((view(app, vm).await?, task_id))
}
