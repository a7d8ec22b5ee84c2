//! A VM whose disk is an RBD image: through vDC, host daemon, libvirt and QEMU, and grown while it runs.

use super::*;
use quantix_contract::quantix::pool::v1 as api_pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::rig::{self, Rig, virsh};
use std::process::Command;

const BEFORE: u64 = 64 << 20;
const AFTER: u64 = 128 << 20;

/// The test guest's ISO, built when it is not there yet.
fn guest_iso() -> PathBuf {
    let workshop = std::env::var_os("QUANTIX_X").expect("QUANTIX_X is not set: run this through `./x test`");
    let out = rig::target().join("guest");
    let built =
        Command::new(workshop).arg("guest").arg("--out").arg(&out).output().expect("the workshop runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    out.join("guest.iso")
}

fn wish_for(pool_id: &str, iso_id: &str) -> vm::CreateVmRequest {
    let disk = vm::NewDisk {
        pool_id: pool_id.into(),
        size_bytes: BEFORE,
        format: volume::VolumeFormat::VOLUME_FORMAT_RAW.into(),
        ..Default::default()
    };
    vm::CreateVmRequest {
        name: "on-ceph".into(),
        vcpus: 1,
        memory_bytes: 256 << 20,
        firmware: vm::Firmware::FIRMWARE_BIOS.into(),
        disks: vec![disk],
        cdrom_image_id: iso_id.into(),
        ..Default::default()
    }
}

/// As QEMU itself tells it.
fn capacity(uri: &str, vm_id: &str, target: &str) -> String {
    let told = virsh(uri, &["domblkinfo", vm_id, target]);
    told.lines().find_map(|line| line.strip_prefix("Capacity:")).unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_runs_on_an_rbd_image_that_grows() {
    let folder = rig::folder();
    let lab = CephLab::start(&folder.path().join("ceph"));
    let spec = lab.pool("guests");
    let rig = Rig::start(folder.path()).await;
    let local = rig.pool("iso", &folder.path().join("pool")).await;
    let iso_id = rig.upload("guest.iso", &local, &guest_iso()).await;
    let ceph = api_pool::CephPool {
        monitors: spec.monitors.clone(),
        pool: spec.pool.clone(),
        user: spec.user.clone(),
        key: spec.key.expose().into(),
        ..Default::default()
    };
    let ceph = api_pool::PoolSpec { backend: Some(ceph.into()), ..Default::default() };
    let pool_id = rig.pool_of("guests", ceph).await;

    let made = rig.vm(wish_for(&pool_id, &iso_id)).await;
    rig.power(&made.id, vm::PowerVerb::POWER_VERB_START).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    let uri = rig.libvirt_uri();
    let xml = virsh(&uri, &["dumpxml", &made.id]);
    assert!(xml.contains("protocol='rbd'"), "{xml}");
    let target = xml.split("<target dev='").skip(1).find(|t| t.starts_with('v')).expect("a virtio disk");
    let target = target.split('\'').next().expect("its name").to_owned();
    assert_eq!(capacity(&uri, &made.id, &target), BEFORE.to_string());
    let image = lab.rbd(&["ls", "guests"]).trim().to_owned();
    let watched = || lab.rbd(&["status", &format!("guests/{image}")]).contains("watcher=");
    eventually("QEMU has the image open", watched);
    let key = spec.key.expose();
    assert_eq!(kill::programs_with(key), 0, "the key stands in some program's arguments");

    let volume_id = image.strip_prefix("quantix-").expect("a volume's image").to_owned();
    let request = volume::GrowVolumeRequest { id: volume_id, size_bytes: AFTER, ..Default::default() };
    let growing = rig.ok(rig.client.volumes().grow_volume(request).await.map(|answer| answer.into_owned()));
    rig.task_done(&growing.task_id).await;
    assert_eq!(capacity(&uri, &made.id, &target), AFTER.to_string(), "the running guest sees it");
    assert!(
        lab.rbd(&["info", "--format", "json", &format!("guests/{image}")])
            .contains(&format!("\"size\":{AFTER}"))
    );
    rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;

    rig.power(&made.id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
    // Its watcher is gone with QEMU's connection, or half a minute later.
    rig::until("nobody watches", rig::STEP_DEADLINE, async || (!watched()).then_some(())).await;
    rig.delete_vm(&made.id).await;
    rig.delete_image(&iso_id).await;
    eventually("no image is left", || lab.rbd(&["ls", "guests"]).is_empty());
}
