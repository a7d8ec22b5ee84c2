//! VMs that a host has and no record here names: shown as they are, and taken in when Quantix made them.
//!
//! The host is asked each time, and keeps what a VM should be, so that a vDC whose store was lost or set back finds it
//! again. Nothing on the host changes: an adopted VM goes on as it was.

use crate::bus::Thing;
use crate::services::report::note_power;
use crate::services::report_read::read_vm;
use crate::services::{App, lines, orphan, vm};
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::vm::v1 as wire;
use quantix_contract::time;
use quantix_model::id::{HostId, VmId};
use quantix_model::name::check_label;
use quantix_model::vm::{PowerState, VmPhase, VmSpec};
use quantix_model::{Fault, FaultCode};
use quantix_store::{StoreError, VmRecord};
use std::collections::HashMap;

/// What the host has and nobody here knows.
pub async fn list(app: &App, host_id: HostId) -> Result<wire::ListDiscoveredVmsResponse, Fault> {
    let line = lines::to_host(app, host_id).await?;
    let said = line.list_domains(node::ListDomainsRequest::default()).await?;
    let reports = said.domains.iter().filter_map(|domain| domain.report.as_option());
    let ids: Vec<VmId> = reports.filter_map(|report| report.vm_id.parse().ok()).collect();
    let records: HashMap<VmId, VmRecord> =
        app.core.store.vm_some(&ids).await?.into_iter().map(|vm| (vm.id, vm)).collect();
    let mut vms = Vec::new();
    for domain in &said.domains {
        let Some(report) = domain.report.as_option() else { continue };
        let record = report.vm_id.parse().ok().and_then(|id| records.get(&id));
        if record.is_some_and(|vm| vm.host_id == host_id) {
            continue;
        }
        vms.push(view(app, domain, report, record).await?);
    }
    Ok(wire::ListDiscoveredVmsResponse {
        vms,
        host: line.name().to_owned(),
        observed_at: time::to_proto(app.core.clock.now()).into(),
        fault: said.fault,
        ..Default::default()
    })
}

async fn view(
    app: &App,
    domain: &node::Domain,
    report: &node::VmReport,
    elsewhere: Option<&VmRecord>,
) -> Result<wire::DiscoveredVm, Fault> {
    let live = read_vm(report)?;
    let intent = domain.intent.as_option();
    let spec = intent.and_then(|intent| VmSpec::try_from(intent.spec.as_option()?).ok());
    let why_not = match elsewhere {
        Some(record) => {
            let host = app.core.store.host_get(record.host_id).await?.name;
            format!("Here it is the VM {} of {host}.", record.name)
        }
        None if spec.is_some() => String::new(),
        None if report.generation > 0 => {
            "An older release made it and did not write down what it should be.".to_owned()
        }
        None => "Quantix did not make it: its disks are in no pool.".to_owned(),
    };
    Ok(wire::DiscoveredVm {
        id: report.vm_id.clone(),
        name: report.name.clone(),
        vcpus: domain.vcpus,
        memory_bytes: spec.as_ref().map_or(0, |spec| spec.memory_bytes),
        disk_count: spec.map_or(0, |spec| u32::try_from(spec.disks.len()).unwrap_or(u32::MAX)),
        power_state: report.power_state,
        power_reason: live.power_reason,
        power_since: report.since.clone(),
        observed_at: report.observed_at.clone(),
        ours: report.generation > 0,
        allowed_actions: vec![AllowedAction {
            verb: "adopt".into(),
            allowed: why_not.is_empty(),
            reason_if_not: why_not,
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Takes one in. The same again is a success.
pub async fn adopt(app: &App, host_id: HostId, id: VmId) -> Result<wire::Vm, Fault> {
    match app.core.store.vm_get(id).await {
        Ok(record) if record.host_id == host_id => return vm::view(app, &record).await,
        Ok(_) | Err(StoreError::NotFound { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let line = lines::to_host(app, host_id).await?;
    let said = line.list_domains(node::ListDomainsRequest::default()).await?;
    let wanted = id.to_string();
    let domain = said.domains.iter().find_map(|domain| {
        let report = domain.report.as_option().filter(|report| report.vm_id == wanted)?;
        Some((domain, report))
    });
    let (domain, report) = domain.ok_or_else(|| {
        let message = format!("{} has no VM {id}.", line.name());
        Fault::new(FaultCode::VmMissingOnHost, message, "Look at the list again.").on_host(line.name())
    })?;
    let elsewhere = match app.core.store.vm_get(id).await {
        Ok(record) => Some(record),
        Err(StoreError::NotFound { .. }) => None,
        Err(other) => return Err(other.into()),
    };
    let seen = view(app, domain, report, elsewhere.as_ref()).await?;
    if let Some(action) = seen.allowed_actions.iter().find(|action| !action.allowed) {
        let message = format!("{} cannot be adopted.", report.name);
        let remedy = "Manage it with virsh on its host, or make a VM here and copy its disks.";
        return Err(Fault::new(FaultCode::Conflict, message, remedy)
            .because(&action.reason_if_not)
            .on_host(line.name()));
    }
    let record = record(app, host_id, id, domain, report)?;
    let (unknown, known) = disks(app, &record).await?;
    app.core.store.vm_adopt(&record, &unknown, &known).await?;
    app.core.bus.changed(Thing::Vm(id));
    app.core.bus.changed(Thing::Host(host_id));
    for disk in &record.spec.disks {
        app.core.bus.changed(Thing::Volume(disk.volume_id));
        app.core.bus.changed(Thing::Pool(disk.pool_id));
    }
    vm::get(app, id).await
}

fn record(
    app: &App,
    host_id: HostId,
    id: VmId,
    domain: &node::Domain,
    report: &node::VmReport,
) -> Result<VmRecord, Fault> {
    let missing = || Fault::internal("a domain that may be adopted has an intent");
    let intent = domain.intent.as_option().ok_or_else(missing)?;
    let spec = VmSpec::try_from(intent.spec.as_option().ok_or_else(missing)?)?;
    spec.check()?;
    check_label("name", &intent.name)?;
    let mut record = VmRecord {
        id,
        name: intent.name.clone(),
        description: String::new(),
        host_id,
        spec,
        generation: intent.generation,
        phase: VmPhase::Ready,
        fault: None,
        power_state: PowerState::Unknown,
        power_reason: String::new(),
        power_since: None,
        observed_at: None,
        created_at: app.core.clock.now(),
    };
    note_power(&mut record, &read_vm(report)?);
    Ok(record)
}

/// Its disks: those without a record, as their pools have them now, and the ids of those with one.
async fn disks(
    app: &App,
    vm: &VmRecord,
) -> Result<(Vec<quantix_store::VolumeRecord>, Vec<quantix_model::id::VolumeId>), Fault> {
    let (mut unknown, mut known) = (Vec::new(), Vec::new());
    for (number, disk) in vm.spec.disks.iter().enumerate() {
        match app.core.store.volume_get(disk.volume_id).await {
            Ok(_) => known.push(disk.volume_id),
            Err(StoreError::NotFound { .. }) => {
                let name = format!("{}-disk-{number}", vm.name);
                let there = orphan::look(app, disk.pool_id, disk.volume_id, &name).await?;
                unknown.push(quantix_store::VolumeRecord { vm_id: Some(vm.id), ..there });
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok((unknown, known))
}
