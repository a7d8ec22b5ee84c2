//! Hypervisor machines: what they are made of, and how fresh our knowledge of them is.

use crate::fault::Fault;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often a host reports, unless the vDC says otherwise.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(30);
/// So many beats missed make a host silent and its facts unknown.
pub const BEATS_MISSED_MAX: u32 = 3;

/// Where a host stands, from the vDC's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPhase {
    /// Registered, no beat yet.
    Pending,
    /// Beats arrive and the engine works.
    Ready,
    /// Beats arrive, something on it does not work.
    Degraded,
    /// Silent for three beats: its facts are unknown.
    Disconnected,
}

/// The phase that follows from the last beat. `has_fault`: the host itself reported one.
pub fn phase(last_beat: Option<UnixMs>, interval: Duration, has_fault: bool, now: UnixMs) -> HostPhase {
    match last_beat {
        None => HostPhase::Pending,
        Some(at) if at.age(now) > interval * BEATS_MISSED_MAX => HostPhase::Disconnected,
        Some(_) if has_fault => HostPhase::Degraded,
        Some(_) => HostPhase::Ready,
    }
}

/// Moving figures of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// 0 to 1 of all CPUs since the last reading.
    pub cpu_used_ratio: f64,
    /// From /proc/meminfo.
    pub memory_total_bytes: u64,
    /// Total less `MemAvailable`.
    pub memory_used_bytes: u64,
    /// As in /proc/loadavg.
    pub load_1m: f64,
    /// As in /proc/uptime.
    pub uptime_seconds: u64,
}

/// What a machine is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// As in `uname -n`.
    pub hostname: String,
    /// /etc/machine-id, empty when there is none.
    pub machine_id: String,
    /// `PRETTY_NAME` of /etc/os-release.
    pub os: String,
    /// As in `uname -r`.
    pub kernel: String,
    /// Processors.
    pub cpu: Cpu,
    /// From /proc/meminfo, not from libvirt, which is wrong in some VMs.
    pub memory_total_bytes: u64,
    /// Whole block devices, without loop and RAM disks.
    pub disks: Vec<Disk>,
    /// Physical and virtual links, without `lo`.
    pub nics: Vec<Nic>,
    /// From /sys/bus/pci.
    pub pci_devices: Vec<PciDevice>,
    /// Mounts that could hold a pool.
    pub mounts: Vec<Mount>,
}

/// Processors of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// `model name` of /proc/cpuinfo.
    pub model: String,
    /// `vendor_id` of /proc/cpuinfo.
    pub vendor: String,
    /// Distinct physical packages.
    pub sockets: u32,
    /// In all sockets together.
    pub cores: u32,
    /// Logical processors online.
    pub threads: u32,
    /// Nodes in /sys/devices/system/node, 1 at least.
    pub numa_nodes: u32,
    /// `vmx`, `svm` or empty.
    pub virtualization: String,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name, e.g. `sda`.
    pub name: String,
    /// As the device tells.
    pub model: String,
    /// As the device tells.
    pub serial: String,
    /// /sys/block/…/size times 512.
    pub size_bytes: u64,
    /// Spinning.
    pub rotational: bool,
    /// Mounted, partitioned or held by another device.
    pub in_use: bool,
}

/// A network link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Kernel name.
    pub name: String,
    /// Colon form.
    pub mac: String,
    /// 0 when the link does not tell.
    pub speed_mbps: u64,
    /// Carrier seen.
    pub up: bool,
    /// With prefix length.
    pub addresses: Vec<String>,
}

/// A PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDevice {
    /// `0000:00:1f.2`.
    pub address: String,
    /// `8086:1234`.
    pub vendor_device: String,
    /// Class as six hex digits.
    pub class: String,
    /// Bound driver, empty when none.
    pub driver: String,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Device or server path.
    pub source: String,
    /// Mount point.
    pub target: String,
    /// `ext4`, `nfs4`, …
    pub fs_type: String,
}

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// Hardware virtualization.
    Kvm,
    /// Software emulation: correct, and slow.
    Tcg,
}

/// Which accelerator the administrator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceleratorChoice {
    /// KVM where a guest was seen to run under it, else emulation.
    #[default]
    Auto,
    /// KVM without proof.
    Kvm,
    /// Emulation.
    Tcg,
}

/// libvirt and QEMU as found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// `9.0.0`; empty when libvirt does not answer.
    pub libvirt_version: String,
    /// `7.2.0`; empty when unknown.
    pub qemu_version: String,
    /// /dev/kvm is there; says nothing about whether guests run.
    pub kvm_device_present: bool,
    /// What guests use.
    pub accelerator: Accelerator,
    /// What was tried and what it said.
    pub accelerator_reason: String,
    /// Set when libvirt does not answer.
    pub fault: Option<Fault>,
    /// Set when guests run with more rights than they need: as root, or with every system call open to them.
    #[serde(default)]
    pub weakness: Option<Fault>,
}

/// A VM that was there before us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingVm {
    /// libvirt's UUID.
    pub id: String,
    /// libvirt's name.
    pub name: String,
    /// Active in libvirt.
    pub running: bool,
}

/// All a host tells about itself during registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discovery {
    /// The machine.
    pub inventory: Inventory,
    /// Its engine.
    pub engine: Engine,
    /// VMs found.
    pub existing_vms: Vec<ExistingVm>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn silence_wins_over_everything() {
        let at = Some(UnixMs(0));
        let late = UnixMs(90_001);
        assert_eq!(phase(at, BEAT_INTERVAL, false, late), HostPhase::Disconnected);
        assert_eq!(phase(at, BEAT_INTERVAL, true, late), HostPhase::Disconnected);
        assert_eq!(phase(at, BEAT_INTERVAL, true, UnixMs(90_000)), HostPhase::Degraded);
        assert_eq!(phase(None, BEAT_INTERVAL, false, late), HostPhase::Pending);
    }

    proptest! {
        #[test]
        fn never_ready_when_silent(last in 0i64..1_000_000_000, gap_ms in 90_001i64..10_000_000_000) {
            prop_assert_eq!(
                phase(Some(UnixMs(last)), BEAT_INTERVAL, false, UnixMs(last + gap_ms)),
                HostPhase::Disconnected
            );
        }
    }
}
