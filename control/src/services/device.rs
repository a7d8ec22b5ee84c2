//! Disks of hosts: what is on them, and the wish to make one a pool. The work is in `device_work`.

use crate::bus::Thing;
use crate::ids;
use crate::services::device_work::{Input, KIND};
use crate::services::{App, host};
use crate::tasks::NewTask;
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::host::v1 as wire;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::time;
use quantix_model::id::HostId;
use quantix_model::name::check_label;
use quantix_model::{Fault, FaultCode};

/// All disks of a host, asked now.
pub async fn list(app: &App, id: HostId) -> Result<wire::ListDevicesResponse, Fault> {
    let host = app.core.store.host_get(id).await?;
    let line = app.lines.to(app, &host)?;
    let asked = line.list_devices(node::ListDevicesRequest::default()).await;
    let mut answer = asked.map_err(|fault| host::no_answer(app, &host, fault))?;
    line.name().clone_into(&mut answer.host);
    if !answer.observed_at.is_set() {
        answer.observed_at = time::to_proto(app.core.clock.now()).into();
    }
    for device in &mut answer.devices {
        device.allowed_actions = vec![AllowedAction {
            verb: "initialise".into(),
            allowed: device.refused_because.is_empty(),
            reason_if_not: device.refused_because.clone(),
            ..Default::default()
        }];
    }
    Ok(answer)
}

/// Writes the wish for a disk to become a pool down; the task carries it out.
pub async fn initialise(
    app: &App,
    user: &str,
    request: wire::InitialiseDeviceRequest,
) -> Result<wire::InitialiseDeviceResponse, Fault> {
    let host_id: HostId = request.host_id.parse()?;
    check_label("pool_name", &request.pool_name)?;
    if !request.device.starts_with("/dev/") || request.device.len() > 256 || request.fingerprint.len() > 256 {
        let message = format!("{:?} is not a disk of the host.", request.device);
        return Err(Fault::invalid("device", message, "Give it as listed, for example /dev/sdb."));
    }
    let host = app.core.store.host_get(host_id).await?;
    // Nobody else begins the same between looking and writing.
    let _turn = app.placing.lock().await;
    refuse_taken_name(app, &request.pool_name).await?;
    for task in app.core.store.task_unfinished().await?.into_iter().filter(|task| task.kind == KIND) {
        let Ok(other) = serde_json::from_value::<Input>(task.input.clone()) else { continue };
        if other.pool_name == request.pool_name {
            return Err(name_taken(&request.pool_name, "a disk is being made a pool of that name"));
        }
        if other.host_id == host_id && other.device == request.device {
            return Err(Fault::new(
                FaultCode::Busy,
                format!("{} of {} is being made a pool already.", request.device, host.name),
                "Wait until that task has ended.",
            )
            .on_host(&host.name));
        }
    }
    let input = Input {
        host_id,
        device: request.device.clone(),
        fingerprint: request.fingerprint,
        erase: request.erase,
        pool_id: ids::pool(),
        pool_name: request.pool_name.clone(),
    };
    let pool_id = input.pool_id;
    let task = app.core.tasks.draft(NewTask {
        kind: KIND,
        title: format!("Initialise {} of {} as pool {}", request.device, host.name, request.pool_name),
        object: Thing::Host(host_id),
        object_name: host.name.clone(),
        host: host.name,
        user_name: user.to_owned(),
        input: serde_json::to_value(&input).map_err(Fault::internal)?,
    });
    app.core.store.task_insert(&task).await?;
    let task_id = task.id;
    app.core.tasks.submit(task);
    Ok(wire::InitialiseDeviceResponse {
        task_id: task_id.to_string(),
        pool_id: pool_id.to_string(),
        ..Default::default()
    })
}

/// Refuses the name of a pool that is there.
pub(super) async fn refuse_taken_name(app: &App, name: &str) -> Result<(), Fault> {
    let taken = app.core.store.pool_all().await?.into_iter().any(|pool| pool.name == name);
    if taken { Err(name_taken(name, "")) } else { Ok(()) }
}

fn name_taken(name: &str, why: &str) -> Fault {
    let fault = Fault::new(
        FaultCode::NameTaken,
        format!("There is a pool {name} already."),
        "Choose another name for this pool.",
    );
    Fault { field: "pool_name".into(), ..fault.because(why) }
}
