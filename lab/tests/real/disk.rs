//! A real guest gets a second disk while it runs, sees it grow, and gives it back.

use crate::{guest_iso, guest_vm};
use quantix_contract::quantix::task::v1::TaskState;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::rig::{self, Rig, STEP_DEADLINE, until, virsh};

const SIZE: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_guest_gets_a_disk_sees_it_grow_and_gives_it_back() {
    let iso = guest_iso();
    let folder = rig::folder();
    let rig = Rig::start(folder.path()).await;
    let pool_id = rig.pool("main", &folder.path().join("pool")).await;
    let iso_id = rig.upload("guest.iso", &pool_id, &iso).await;
    let made = rig.vm(guest_vm("web-1", &pool_id, &iso_id)).await;
    rig.power(&made.id, vm::PowerVerb::POWER_VERB_START).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;

    let request = volume::CreateVolumeRequest {
        name: "data".into(),
        pool_id: pool_id.clone(),
        size_bytes: SIZE,
        format: volume::VolumeFormat::VOLUME_FORMAT_QCOW2.into(),
        ..Default::default()
    };
    let data = rig.client.volumes().create_volume(request).await.expect("accepted").into_owned();
    rig.task_done(&data.task_id).await;
    let id = data.volume.as_option().expect("a volume comes back").id.clone();

    let request =
        volume::AttachVolumeRequest { id: id.clone(), vm_id: made.id.clone(), ..Default::default() };
    let task = rig.client.volumes().attach_volume(request).await.expect("accepted").into_owned();
    rig.task_done(&task.task_id).await;
    assert_eq!(capacity(&rig, &made.id, "vdb"), Some(SIZE), "the guest has it");

    let request = volume::GrowVolumeRequest { id: id.clone(), size_bytes: 2 * SIZE, ..Default::default() };
    let task = rig.client.volumes().grow_volume(request).await.expect("accepted").into_owned();
    rig.task_done(&task.task_id).await;
    assert_eq!(capacity(&rig, &made.id, "vdb"), Some(2 * SIZE), "and sees it grow");

    // Until its system is up, a guest holds on to what it has.
    until("the guest lets go", 3 * STEP_DEADLINE, async || {
        let request = volume::DetachVolumeRequest { id: id.clone(), ..Default::default() };
        let task = rig.client.volumes().detach_volume(request).await.ok()?.into_owned();
        let end = rig.task_end(&task.task_id).await;
        let done = end.state == TaskState::TASK_STATE_DONE;
        assert!(
            done || capacity(&rig, &made.id, "vdb").is_some(),
            "what it holds, it keeps: {:?}",
            end.fault
        );
        done.then_some(())
    })
    .await;
    assert_eq!(capacity(&rig, &made.id, "vdb"), None);
    assert_eq!(capacity(&rig, &made.id, "vda"), Some(SIZE), "the first is left alone");
    rig.power(&made.id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
    rig.delete_vm(&made.id).await;
}

/// Bytes of a disk of the running guest, as QEMU says; `None` when it has no such disk.
fn capacity(rig: &Rig, vm: &str, target: &str) -> Option<u64> {
    let uri = rig.libvirt_uri();
    let there = virsh(&uri, &["domblklist", vm]).lines().any(|line| line.trim_start().starts_with(target));
    if !there {
        return None;
    }
    let info = virsh(&uri, &["domblkinfo", vm, target]);
    let line = info.lines().find_map(|line| line.strip_prefix("Capacity:"));
    Some(line.and_then(|text| text.trim().parse().ok()).expect("a capacity"))
}
