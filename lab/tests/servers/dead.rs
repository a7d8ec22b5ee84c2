//! The NFS server stops while a guest runs on its export: everybody has an answer in time, what is said is true, and all
//! is well when it is back.

use super::*;
use quantix_contract::quantix::task::v1::TaskState;
use quantix_lab::rig;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_on_a_dead_server_is_told_of_truly() {
    let folder = rig::folder();
    let rig = Rig::without_host(folder.path(), HOST_ADDRESS).await;
    let host = LabHost::start("host-a");
    let host_id = host.join(&rig).await;
    host.vm.ok(&["mkdir", EXPORT, "/srv/local"]);
    let export = rig.pool_on("export", nfs(&host), vec![host_id.clone()]).await;
    let local = pool::LocalPool { path: "/srv/local/pool".into(), ..Default::default() };
    let local = pool::PoolSpec { backend: Some(local.into()), ..Default::default() };
    let local = rig.pool_on("local", local, vec![host_id.clone()]).await;
    let iso = counter(&rig, &local).await;
    let sick = rig.vm(wish("sick", &host_id, &export, &iso)).await;
    let well = rig.vm(wish("well", &host_id, &local, &iso)).await;
    run(&rig, &host, &well.id).await;
    run(&rig, &host, &sick.id).await;

    host.vm.ok(&["rpc.nfsd", "0"]);
    let began = Instant::now();
    let told = until("the pool tells", STEP_DEADLINE, async || {
        let request = pool::GetPoolRequest { id: export.clone(), ..Default::default() };
        let seen = rig.client.pools().get_pool(request).await.ok()?.into_owned();
        (seen.phase != pool::PoolPhase::POOL_PHASE_READY).then_some(seen)
    })
    .await;
    eprintln!("servers | dead server | the pool tells after {:.1?}: {:?}", began.elapsed(), told.fault);
    let request = vm::GetVmRequest { id: sick.id.clone(), ..Default::default() };
    let seen = rig.client.vms().get_vm(request).await.unwrap().into_owned();
    eprintln!("servers | dead server | the VM is {:?} ({})", seen.power_state, seen.power_reason);

    let began = Instant::now();
    let request = vm::PowerVmRequest {
        id: sick.id.clone(),
        verb: vm::PowerVerb::POWER_VERB_FORCE_STOP.into(),
        ..Default::default()
    };
    let task = rig.ok(rig.client.vms().power_vm(request).await.map(|a| a.into_owned())).task_id;
    // Meanwhile the guest beside it obeys.
    let beside = Instant::now();
    rig.power(&well.id, vm::PowerVerb::POWER_VERB_PAUSE).await;
    rig.powered(&well.id, vm::PowerState::POWER_STATE_PAUSED).await;
    rig.power(&well.id, vm::PowerVerb::POWER_VERB_RESUME).await;
    rig.powered(&well.id, vm::PowerState::POWER_STATE_RUNNING).await;
    let beside = beside.elapsed();
    let end = rig.task_end(&task).await;
    let took = began.elapsed();
    let request = vm::GetVmRequest { id: sick.id.clone(), ..Default::default() };
    let seen = rig.client.vms().get_vm(request).await.unwrap().into_owned();
    eprintln!(
        "servers | dead server | force stop {:?} after {took:.1?}, the VM is {:?} ({}), the one beside obeyed in \
         {beside:.1?} | {:?}",
        end.state, seen.power_state, seen.power_reason, end.fault
    );
    assert!(took < Duration::from_secs(100), "{took:?}");
    // Its QEMU cannot end, and libvirt would wait with it for the server: so nobody is asked to try.
    assert!(end.state != TaskState::TASK_STATE_DONE, "{end:?}");
    let fault = end.fault.as_option().unwrap();
    assert_eq!(
        fault.code,
        quantix_contract::quantix::fault::v1::FaultCode::FAULT_CODE_POOL_STALLED,
        "{fault:?}"
    );
    assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
    assert_eq!(seen.power_state, vm::PowerState::POWER_STATE_RUNNING, "and QEMU does run");

    all_is_well_again(&rig, &host, &export, &sick.id).await;
}

/// The server comes back: the pool is ready, and the guest obeys, starts and goes.
async fn all_is_well_again(rig: &Rig, host: &LabHost, export: &str, sick: &str) {
    host.vm.ok(&["rpc.nfsd", "8"]);
    let began = Instant::now();
    rig.pool_ready(export).await;
    let ready = began.elapsed();
    rig.power(sick, vm::PowerVerb::POWER_VERB_FORCE_STOP).await;
    rig.powered(sick, vm::PowerState::POWER_STATE_OFF).await;
    eprintln!(
        "servers | dead server | back: pool ready after {ready:.1?}, VM off after {:.1?}",
        began.elapsed()
    );
    run(rig, host, sick).await;
    assert_eq!(host.stuck(&["qemu", "quantix", "mount"]), Vec::<String>::new());
    force_off(rig, sick).await;
    rig.delete_vm(sick).await;
    delete_pool(rig, export).await;
}
