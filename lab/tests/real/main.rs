//! The real thing: libvirt, QEMU under emulation, vDC and node daemon as processes. Run through `./x test`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod disk;
mod kill;
mod main_job;
mod two_networks;

use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1::VolumeFormat;
use std::path::PathBuf;
use std::process::Command;

/// The test guest's ISO, built when it is not there yet.
fn guest_iso() -> PathBuf {
    let workshop = std::env::var_os("QUANTIX_X").expect("QUANTIX_X is not set: run this through `./x test`");
    let out = quantix_lab::rig::target().join("guest");
    let output =
        Command::new(workshop).arg("guest").arg("--out").arg(&out).output().expect("the workshop runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out.join("guest.iso")
}

/// A small VM that boots the ISO and has one blank disk.
fn guest_vm(name: &str, pool_id: &str, iso_id: &str) -> vm::CreateVmRequest {
    let disk = vm::NewDisk {
        pool_id: pool_id.into(),
        size_bytes: 64 << 20,
        format: VolumeFormat::VOLUME_FORMAT_QCOW2.into(),
        ..Default::default()
    };
    vm::CreateVmRequest {
        name: name.into(),
        vcpus: 1,
        memory_bytes: 256 << 20,
        firmware: vm::Firmware::FIRMWARE_BIOS.into(),
        disks: vec![disk],
        cdrom_image_id: iso_id.into(),
        nics: vec![vm::Nic { kind: vm::NicKind::NIC_KIND_USER.into(), ..Default::default() }],
        ..Default::default()
    }
}

/// Names of everything in a folder of the pool, ours in progress included.
fn files(folder: PathBuf) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}
