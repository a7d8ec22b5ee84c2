//! The simulated cluster: real vDC, real node daemon, real TLS; only hypervisor and storage are in memory.
#![allow(clippy::unwrap_used)]

mod adopt;
mod backup;
mod bad_input;
mod canary;
mod certificate;
mod device;
mod event;
mod explore;
mod file;
mod fleet;
mod fuzz;
mod hold;
mod join;
mod kill;
mod ldap;
mod ldap_sign_in;
mod log;
mod main_job;
mod metrics;
mod oidc;
mod pool_change;
#[path = "../../../store/tests/it/postgres.rs"]
mod postgres;
mod prepare;
mod registration;
mod registration_errors;
mod stall;
mod step_kill;
mod store_trouble;
mod stranger;
mod volume;
mod volume_kill;
mod watch;

use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1::{self as volume_api, VolumeFormat};

/// The smallest thing that is an ISO by content.
fn iso(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len.max(40 << 10)];
    bytes[32769..32774].copy_from_slice(b"CD001");
    bytes
}

/// The smallest thing that is a disk by content, with something in it.
fn disk(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..len.max(2 << 20)).map(|n| u8::try_from(n % 251).expect("below 251")).collect();
    bytes[..510].fill(0);
    bytes[510] = 0x55;
    bytes[511] = 0xaa;
    bytes
}

/// A small volume with nothing in it.
fn blank_volume(name: &str, pool_id: &str) -> volume_api::CreateVolumeRequest {
    volume_api::CreateVolumeRequest {
        name: name.into(),
        pool_id: pool_id.into(),
        size_bytes: 1 << 20,
        format: VolumeFormat::VOLUME_FORMAT_QCOW2.into(),
        ..Default::default()
    }
}

/// A small VM with one blank disk.
fn wish(name: &str, pool_id: &str) -> vm::CreateVmRequest {
    vm::CreateVmRequest {
        name: name.into(),
        vcpus: 1,
        memory_bytes: 128 << 20,
        firmware: vm::Firmware::FIRMWARE_BIOS.into(),
        disks: vec![vm::NewDisk {
            pool_id: pool_id.into(),
            size_bytes: 8 << 20,
            format: VolumeFormat::VOLUME_FORMAT_QCOW2.into(),
            ..Default::default()
        }],
        nics: vec![vm::Nic { kind: vm::NicKind::NIC_KIND_USER.into(), ..Default::default() }],
        ..Default::default()
    }
}
