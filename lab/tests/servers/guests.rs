//! A guest on an NFS export and one on a logical volume of an iSCSI LUN: both run, write, and see their disks grow.

use super::*;
use quantix_lab::rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_run_on_an_export_and_on_a_lun_that_grow() {
    let folder = rig::folder();
    let rig = Rig::without_host(folder.path(), HOST_ADDRESS).await;
    let host = LabHost::start("host-a");
    let host_id = host.join(&rig).await;
    host.vm.ok(&["mkdir", EXPORT]);
    let export = rig.pool_on("export", nfs(&host), vec![host_id.clone()]).await;
    let group = rig.pool_on("group", lun(&host), vec![host_id.clone()]).await;
    let iso = counter(&rig, &export).await;

    on_the_export(&rig, &host, &wish("on-nfs", &host_id, &export, &iso)).await;
    // A busy machine may have been too slow for it meanwhile; then it is tried again by itself.
    rig.pool_ready(&group).await;
    on_the_lun(&rig, &host, &wish("on-lun", &host_id, &group, &iso)).await;

    rig.delete_image(&iso).await;
    delete_pool(&rig, &group).await;
    delete_pool(&rig, &export).await;
    assert_eq!(left(&host), Vec::<String>::new());
    assert_eq!(host.vm.ok(&["virsh", "-q", "list", "--all", "--name"]).trim(), "");
}

async fn on_the_export(rig: &Rig, host: &LabHost, wish: &vm::CreateVmRequest) {
    let made = rig.vm(wish.clone()).await;
    let disk = volume_of(rig, &made.id).await;
    assert_eq!(disk.format, volume::VolumeFormat::VOLUME_FORMAT_QCOW2);
    run(rig, host, &made.id).await;
    let mut screen = rig.screen(&made.id).await;
    for whole in [true, false, false] {
        assert!(screen.painted(whole).await > 0, "the screen moves");
    }
    drop(screen);
    grows(rig, host, &made.id, &disk).await;
    force_off(rig, &made.id).await;
    let [second, last] = marks(host, &file_of(&disk), "qcow2", AFTER);
    assert!(second.is_some() && last == second, "what the guest wrote is there: {second:?} {last:?}");
    assert_eq!(second.map(|mark| u64::from(mark.sectors) * 512), Some(AFTER));
    rig.delete_vm(&made.id).await;
    assert_eq!(host.vm.ok(&["ls", &format!("{EXPORT}/volumes")]).trim(), "");
}

async fn on_the_lun(rig: &Rig, host: &LabHost, wish: &vm::CreateVmRequest) {
    let made = rig.vm(wish.clone()).await;
    let disk = volume_of(rig, &made.id).await;
    assert_eq!(disk.format, volume::VolumeFormat::VOLUME_FORMAT_RAW);
    run(rig, host, &made.id).await;
    let xml = host.virsh(&["dumpxml", &made.id]);
    let device = xml.split("<source dev='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    // The LUN's own bytes, past every cache: what a second host would read.
    let raw = |size_bytes: u64| marks(host, device, "raw", size_bytes);
    let [second, last] = raw(BEFORE);
    assert!(second.is_some() && last.is_some(), "the guest wrote: {second:?} {last:?}");
    grows(rig, host, &made.id, &disk).await;
    until("the guest writes at the new end", STEP_DEADLINE, async || raw(AFTER)[1]).await;
    let held = || host.vm.ok(&["lvs", "--noheadings", "-o", "lv_tags", GROUP]).contains(&holder(host));
    assert!(held(), "the volume is this host's while the guest runs");
    force_off(rig, &made.id).await;
    until("the volume is let go of", STEP_DEADLINE, async || (!held()).then_some(())).await;
    rig.delete_vm(&made.id).await;
    assert_eq!(host.vm.ok(&["lvs", "--noheadings", "-o", "lv_name", GROUP]).trim(), "");
}

/// Grows the disk of a running guest, which is told at once and sees it when it starts anew.
async fn grows(rig: &Rig, host: &LabHost, id: &str, disk: &volume::Volume) {
    assert_eq!(capacity(host, id), BEFORE);
    let began = Instant::now();
    grow(rig, &disk.id, AFTER).await;
    eprintln!("servers | {} | grown in {:.1?} while it runs", disk.pool, began.elapsed());
    assert_eq!(capacity(host, id), AFTER, "QEMU has the new size");
    rig.powered(id, vm::PowerState::POWER_STATE_RUNNING).await;
    rig.power(id, vm::PowerVerb::POWER_VERB_RESET).await;
    writes_on(host, id).await;
}
