//! Guests on real servers: vDC on this machine, host daemons in lab VMs, which have the kernel NFS and iSCSI clients,
//! LVM, libvirt and QEMU. Run by `./x test lab`; by hand `./x lab servers [TEST…]`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dead;
mod guests;
mod shared;

use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::counter::Mark;
use quantix_lab::labvm::{CHAP_PASSWORD, CHAP_USER, HOST_ADDRESS, SHARE, TARGET};
use quantix_lab::rig::{Rig, STEP_DEADLINE, until};
use quantix_lab::vm_host::LabHost;
use quantix_model::{Fault, FaultCode};
use std::path::Path;
use std::time::Instant;

/// Of a disk, when it is made.
const BEFORE: u64 = 64 << 20;
/// When it has grown.
const AFTER: u64 = 128 << 20;
/// The folder that stands as an export, on the server itself.
const EXPORT: &str = "/srv/nfs/rw/guests";
const GROUP: &str = "qxguests";

/// The export of `server`, as every lab VM reaches it.
fn nfs(server: &LabHost) -> pool::PoolSpec {
    let nfs = pool::NfsPool {
        server: HOST_ADDRESS.into(),
        export: EXPORT.into(),
        version: pool::NfsVersion::NFS_VERSION_4_1.into(),
        options: format!("port={}", server.nfs_port()),
        ..Default::default()
    };
    pool::PoolSpec { backend: Some(nfs.into()), ..Default::default() }
}

/// The first LUN of `server`, as every lab VM reaches it.
fn lun(server: &LabHost) -> pool::PoolSpec {
    let chap = pool::Chap { user: CHAP_USER.into(), password: CHAP_PASSWORD.into(), ..Default::default() };
    let iscsi = pool::IscsiPool {
        portal: server.portal(),
        target: TARGET.into(),
        chap: chap.into(),
        volume_group: GROUP.into(),
        create_volume_group: true,
        ..Default::default()
    };
    pool::PoolSpec { backend: Some(iscsi.into()), ..Default::default() }
}

/// Writes the counting guest's CD and puts it into a pool; answers the image's id.
async fn counter(rig: &Rig, pool_id: &str) -> String {
    let file = rig.dir().join("counter.iso");
    std::fs::write(&file, quantix_lab::counter::iso()).unwrap();
    rig.upload("counter.iso", pool_id, &file).await
}

/// A VM that boots the counting guest and has one blank disk on the pool.
fn wish(name: &str, host_id: &str, pool_id: &str, iso_id: &str) -> vm::CreateVmRequest {
    let disk = vm::NewDisk { pool_id: pool_id.into(), size_bytes: BEFORE, ..Default::default() };
    vm::CreateVmRequest {
        name: name.into(),
        host_id: host_id.into(),
        vcpus: 1,
        memory_bytes: 64 << 20,
        firmware: vm::Firmware::FIRMWARE_BIOS.into(),
        disks: vec![disk],
        cdrom_image_id: iso_id.into(),
        ..Default::default()
    }
}

/// The only volume of a VM.
async fn volume_of(rig: &Rig, vm_id: &str) -> volume::Volume {
    let request = vm::GetVmRequest { id: vm_id.into(), ..Default::default() };
    let seen = rig.client.vms().get_vm(request).await.unwrap().into_owned();
    seen.volumes.first().cloned().unwrap()
}

/// Starts a VM and waits until its guest writes.
async fn run(rig: &Rig, host: &LabHost, id: &str) {
    let began = Instant::now();
    rig.power(id, vm::PowerVerb::POWER_VERB_START).await;
    rig.powered(id, vm::PowerState::POWER_STATE_RUNNING).await;
    let started = began.elapsed();
    writes_on(host, id).await;
    eprintln!("servers | {} | started in {started:.1?}, writes after {:.1?}", host.name(), began.elapsed());
}

/// Waits until the guest has written more than it had.
async fn writes_on(host: &LabHost, id: &str) {
    let before = host.guest_writes(id);
    until("the guest writes", STEP_DEADLINE, async || (host.guest_writes(id) > before + 2).then_some(()))
        .await;
}

async fn force_off(rig: &Rig, id: &str) {
    rig.power(id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await;
    rig.powered(id, vm::PowerState::POWER_STATE_OFF).await;
}

/// Bytes of a running VM's disk, as QEMU says.
fn capacity(host: &LabHost, id: &str) -> u64 {
    let told = host.virsh(&["domblkinfo", id, "vda"]);
    let line = told.lines().find_map(|line| line.strip_prefix("Capacity:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The marks in the second and the last sector of a disk of `size_bytes`, as `qemu-img` reads it.
fn marks(host: &LabHost, file: &str, format: &str, size_bytes: u64) -> [Option<Mark>; 2] {
    [1, size_bytes / 512 - 1].map(|sector| {
        // It counts from the disk's beginning, what it skips included.
        let (skip, count) = (format!("skip={sector}"), format!("count={}", sector + 1));
        let input = format!("if={file}");
        let output = format!("of={SHARE}/sector");
        let dd =
            ["qemu-img", "dd", "-U", "-f", format, "-O", "raw", "bs=512", &count, &skip, &input, &output];
        Mark::read(&host.bytes(&dd, "sector"))
    })
}

/// Looking at a pool of an emulated machine with a guest in it can take longer than its daemon waits: then again.
async fn grow(rig: &Rig, id: &str, size_bytes: u64) {
    until("the volume grows", STEP_DEADLINE, async || {
        let request = volume::GrowVolumeRequest { id: id.into(), size_bytes, ..Default::default() };
        let growing = rig.client.volumes().grow_volume(request).await.map(|answer| answer.into_owned());
        let fault = match growing {
            Err(refused) => rig.client.fault(&refused),
            Ok(growing) => {
                let end = rig.task_end(&growing.task_id).await;
                let Some(fault) = end.fault.as_option() else { return Some(()) };
                Fault::from(fault)
            }
        };
        assert_eq!(fault.code, FaultCode::PoolStalled, "{fault:?}");
        None
    })
    .await;
}

async fn delete_pool(rig: &Rig, id: &str) {
    let request = pool::DeletePoolRequest { id: id.into(), ..Default::default() };
    let gone = rig.ok(rig.client.pools().delete_pool(request).await.map(|answer| answer.into_owned()));
    rig.task_done(&gone.task_id).await;
}

/// What a host still has of any pool: mounts, sessions, records, mapped devices.
fn left(host: &LabHost) -> Vec<String> {
    let look = [
        "sh",
        "-c",
        "grep /var/lib/quantix /proc/mounts; ls -d /sys/class/iscsi_session/* \
                /var/lib/quantix/pools/* /run/quantix/iscsi/* /etc/iscsi/nodes/* /dev/mapper/*quantix* 2> /dev/null",
    ];
    host.vm.run(&look, STEP_DEADLINE).stdout.lines().map(str::to_owned).collect()
}

/// The tag of what a host holds in a volume group.
fn holder(host: &LabHost) -> String {
    format!("quantix.host={}", host.initiator())
}

/// Where the server itself has the file of a volume in [`EXPORT`].
fn file_of(volume: &volume::Volume) -> String {
    Path::new(EXPORT).join(format!("volumes/{}.qcow2", volume.id)).to_string_lossy().into_owned()
}
