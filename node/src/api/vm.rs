//! RPC about VMs.

use crate::daemon::Daemon;
use crate::vm::queue::Ask;
use crate::vm::table::VmFact;
use crate::vm::{Intent, Outcome};
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::quantix::vm::v1 as vm_wire;
use quantix_contract::twin;
use quantix_model::id::VmId;
use quantix_model::name::check_label;
use quantix_model::vm::VmSpec;
use quantix_model::{Fault, FaultCode};

pub async fn apply(daemon: &Daemon, intent: wire::VmIntent) -> Result<wire::VmReport, Fault> {
    let id: VmId = intent.vm_id.parse()?;
    check_label("name", &intent.name)?;
    let generation = positive(intent.generation)?;
    let spec = intent
        .spec
        .as_option()
        .ok_or_else(|| Fault::invalid("spec", "The field spec is missing.", "Say what the VM should be."))?;
    let spec = VmSpec::try_from(spec)?;
    spec.check()?;
    let wish = Intent { name: intent.name.clone(), spec };
    report(daemon.vms.ask(id, Ask::Apply { generation }, Some(wish)).await?)
}

pub async fn power(daemon: &Daemon, request: wire::PowerVmRequest) -> Result<wire::VmReport, Fault> {
    let id: VmId = request.vm_id.parse()?;
    let verb = twin::read("verb", request.verb)?;
    let generation = positive(request.generation)?;
    report(daemon.vms.ask(id, Ask::Power { verb, generation }, None).await?)
}

pub async fn delete(
    daemon: &Daemon,
    request: wire::DeleteVmRequest,
) -> Result<wire::DeleteVmResponse, Fault> {
    let id: VmId = request.vm_id.parse()?;
    let generation = positive(request.generation)?;
    let outcome = daemon.vms.ask(id, Ask::Delete { generation }, None).await?;
    Ok(wire::DeleteVmResponse { existed: outcome.existed, ..Default::default() })
}

/// Every domain, with what is written down of those that are ours.
pub async fn list(daemon: &Daemon, _: wire::ListDomainsRequest) -> Result<wire::ListDomainsResponse, Fault> {
    let (book, table) = (daemon.ledger.book(), daemon.vms.table());
    let known = table.is_known();
    let domain = |fact: VmFact| {
        let id = fact.report.id;
        let entry = book.vms.get(&id);
        let intent = entry.and_then(|entry| {
            let spec = entry.spec.as_ref()?;
            Some(wire::VmIntent {
                vm_id: id.to_string(),
                name: entry.name.clone(),
                generation: entry.generation,
                spec: vm_wire::VmSpec::from(spec).into(),
                ..Default::default()
            })
        });
        wire::Domain {
            vcpus: fact.report.vcpus,
            report: fact.to_proto(known).into(),
            intent: intent.into(),
            ..Default::default()
        }
    };
    let fault = table.fault().filter(|_| !known);
    Ok(wire::ListDomainsResponse {
        domains: table.all().into_iter().map(domain).collect(),
        fault: fault.as_ref().map(Into::into).into(),
        ..Default::default()
    })
}

/// Generation 0 marks machines Quantix did not make, so no intent may carry it.
fn positive(generation: u64) -> Result<u64, Fault> {
    if generation == 0 {
        return Err(Fault::invalid(
            "generation",
            "An intent needs a generation.",
            "Send the VM's generation, 1 or more.",
        ));
    }
    Ok(generation)
}

fn report(outcome: Outcome) -> Result<wire::VmReport, Fault> {
    outcome.fact.map(|fact| fact.to_proto(true)).ok_or_else(|| {
        Fault::new(
            FaultCode::VmMissingOnHost,
            "The VM was gone from the host right after the change.",
            "Look whether another tool manages VMs on this host.",
        )
    })
}
