//! A vDC that was set back finds again what its hosts have, and takes it in as it is.

use crate::wish;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;
use quantix_model::id::VmId;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            // SQLite's own files may go while they are looked at: it is closed a moment after the vDC died.
            false => match std::fs::copy(entry.path(), target) {
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            },
        }
    }
}

async fn discovered(cluster: &Cluster, host_id: &str) -> Vec<vm::DiscoveredVm> {
    let request = vm::ListDiscoveredVmsRequest { host_id: host_id.into(), ..Default::default() };
    let list = cluster.ok(cluster.client.vms().list_discovered_vms(request).await).into_owned();
    assert!(list.observed_at.is_set() && list.host == "host-1" && list.fault.is_unset(), "{list:?}");
    list.vms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vdc_that_was_set_back_finds_its_vms_again() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let host = cluster.host_ready().await;
    let kept = tempfile::tempdir().unwrap();
    cluster.kill_vdc();
    copy(&cluster.vdc_dir(), kept.path());
    cluster.start_vdc().await;
    cluster.host_ready().await;
    let made = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) }).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    assert_eq!(discovered(&cluster, &host.id).await, []);
    cluster.kill_vdc();
    std::fs::remove_dir_all(cluster.vdc_dir()).unwrap();
    copy(kept.path(), &cluster.vdc_dir());
    cluster.start_vdc().await;
    cluster.host_ready().await;

    let stranger = VmId(uuid::Uuid::now_v7());
    cluster.driver.add_foreign(stranger, "theirs");
    let found = until("both are discovered", DEADLINE, async || {
        let found = discovered(&cluster, &host.id).await;
        (found.len() == 2).then_some(found)
    })
    .await;
    let lost = found.iter().find(|vm| vm.id == made.id).unwrap();
    assert_eq!((lost.name.as_str(), lost.vcpus, lost.disk_count, lost.ours), ("web-1", 1, 1, true));
    assert_eq!(lost.power_state, vm::PowerState::POWER_STATE_RUNNING);
    assert!(lost.allowed_actions[0].allowed);

    let adopt =
        |id: &str| vm::AdoptVmRequest { host_id: host.id.clone(), id: id.into(), ..Default::default() };
    let back = cluster.ok(cluster.client.vms().adopt_vm(adopt(&made.id)).await).into_owned();
    cluster.ok(cluster.client.vms().adopt_vm(adopt(&made.id)).await);
    assert_eq!((back.name.as_str(), &back.spec, back.generation), ("web-1", &made.spec, made.generation));
    assert_eq!(back.power_state, vm::PowerState::POWER_STATE_RUNNING, "it went on meanwhile");
    assert_eq!((back.volumes.len(), back.volumes[0].name.as_str()), (1, "web-1-disk-0"));
    // It is one like any other from now on.
    let grow = volume::GrowVolumeRequest {
        id: back.volumes[0].id.clone(),
        size_bytes: 128 << 20,
        ..Default::default()
    };
    let grown = cluster.ok(cluster.client.volumes().grow_volume(grow).await).into_owned();
    cluster.task_done(&grown.task_id).await;
    let done = cluster.ok(cluster.power(&back.id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await);
    cluster.task_done(&done.task_id).await;
    cluster.powered(&back.id, vm::PowerState::POWER_STATE_OFF).await;

    // One that Quantix did not make stays with whoever did.
    let fault = cluster.refused(cluster.client.vms().adopt_vm(adopt(&stranger.to_string())).await);
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::Conflict, "host-1"), "{fault}");
    assert!(fault.cause.contains("did not make it") && !fault.remedy.is_empty(), "{fault}");
    let nobody = VmId(uuid::Uuid::now_v7()).to_string();
    let fault = cluster.refused(cluster.client.vms().adopt_vm(adopt(&nobody)).await);
    assert_eq!(fault.code, FaultCode::VmMissingOnHost, "{fault}");
    assert_eq!(discovered(&cluster, &host.id).await.len(), 1);
}
