//! The definition of a machine as libvirt reads it, built from typed parts so that no name or path can
//! break out of its place. What a guest sees is decided here and nowhere else:
//!
//! - q35, virtio disks with explicit format and serial, one SATA drive for media, virtio NIC, RNG, balloon;
//! - a USB tablet, so that the pointer in a web console is where the mouse is;
//! - a VNC screen without any listener: the daemon asks for a file descriptor;
//! - serial port and guest agent channel;
//! - who made it and from which generation of the intent, in the metadata under our own namespace.
//!
//! The elements themselves are in `parts`; this file gives them their values and checks what XML cannot carry.

mod disk;
mod parts;
mod read;

use crate::driver::{Machine, MachineNic, Result};
pub(crate) use disk::{disk_name, disk_xml};
use parts::*;
use quantix_model::Fault;
use quantix_model::host::Accelerator;
use quantix_model::vm::{Firmware, NicKind};
use quick_xml::events::Event;
pub(crate) use read::{FoundDisk, disks};

/// Our namespace in the metadata. A name, not an address.
pub const METADATA_NAMESPACE: &str = "urn:quantix:vm:1";
/// Name of the guest agent's channel, fixed by the agent.
const GUEST_AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";
/// virtio-blk has room for no more.
pub(crate) const SERIAL_CHARS_MAX: usize = 20;
/// Ports for devices the VM has from the start, besides its disks and cards: balloon, RNG, channel, USB.
const PORTS_OWN: usize = 4;
/// Free ports, so that disks can be given to a running VM; each is taken by one.
pub(crate) const PORTS_SPARE: usize = 8;

/// The definition of `machine`. Refuses names and paths that XML or libvirt cannot carry.
pub fn domain_xml(machine: &Machine) -> Result<String> {
    check(machine)?;
    let mut xml = String::new();
    let mut serializer = quick_xml::se::Serializer::with_root(&mut xml, Some("domain"))
        .map_err(|error| Fault::internal(format!("domain XML: {error}")))?;
    serializer.indent(' ', 2);
    serde::Serialize::serialize(&domain(machine), serializer)
        .map_err(|error| Fault::internal(format!("domain XML: {error}")))?;
    Ok(xml)
}

/// The definition of a key that libvirt keeps in memory only and tells nobody. The key itself is set beside it.
pub(crate) fn secret_xml(uuid: uuid::Uuid, usage: &str) -> Result<String> {
    check_text("usage", usage)?;
    let secret = SecretDefinition {
        ephemeral: "yes",
        private: "yes",
        uuid: uuid.to_string(),
        usage: SecretUsage { kind: "ceph", name: usage.to_owned() },
    };
    quick_xml::se::to_string(&secret).map_err(|error| Fault::internal(format!("secret XML: {error}")))
}

/// The generation in a metadata element as libvirt returns it; `None` when it is not ours.
pub fn metadata_generation(xml: &str) -> Option<u64> {
    let mut reader = quick_xml::Reader::from_str(xml);
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => {
                if element.local_name().as_ref() != "vm" {
                    return None;
                }
                let attribute = element.try_get_attribute("generation").ok()??;
                return attribute.value.parse().ok();
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn check(machine: &Machine) -> Result<()> {
    check_text("name", &machine.name)?;
    if machine.name.is_empty() || machine.name == "." || machine.name == ".." || machine.name.contains('/') {
        return Err(Fault::invalid(
            "name",
            format!("{:?} cannot be the name of a VM here.", machine.name),
            "Choose a name that is not empty, not a dot or two, and has no slash.",
        ));
    }
    machine.disks.iter().try_for_each(disk::check)?;
    if let Some(source) = &machine.cdrom {
        disk::check_source("cdrom", source)?;
    }
    machine.nics.iter().try_for_each(|nic| quantix_model::vm::check_mac("nics.mac", &nic.mac))
}

fn check_path(field: &str, path: &str) -> Result<()> {
    check_text(field, path)?;
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Fault::invalid(
        field,
        format!("{path:?} is not an absolute path."),
        "Give the whole path from the root.",
    ))
}

/// XML 1.0 has no way to write most control characters, and turns line breaks in attributes into blanks.
fn check_text(field: &str, text: &str) -> Result<()> {
    match text.chars().find(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        None => Ok(()),
        Some(c) => Err(Fault::invalid(
            field,
            format!(
                "{text:?} contains the character U+{:04X}, which a VM definition cannot carry.",
                c as u32
            ),
            "Use a name and a path without control characters.",
        )),
    }
}

fn domain(machine: &Machine) -> Domain {
    let kvm = machine.accelerator == Accelerator::Kvm;
    Domain {
        kind: if kvm { "kvm" } else { "qemu" },
        name: machine.name.clone(),
        uuid: machine.id.to_string(),
        metadata: Metadata {
            vm: MetadataVm {
                namespace: METADATA_NAMESPACE,
                managed_by: "quantix",
                generation: machine.generation,
            },
        },
        memory: Memory { unit: "b", value: machine.memory_bytes },
        vcpu: Vcpu { placement: "static", value: machine.vcpus },
        os: os(machine.firmware),
        features: Features { acpi: Flag {}, apic: Flag {} },
        cpu: cpu(machine.accelerator, machine.vcpus),
        clock: Clock { offset: "utc" },
        on_poweroff: "destroy",
        on_reboot: "restart",
        on_crash: "destroy",
        pm: Pm { suspend_to_mem: enabled("no"), suspend_to_disk: enabled("no") },
        devices: devices(machine),
    }
}

fn enabled(value: &'static str) -> Enabled {
    Enabled { enabled: value }
}

fn os(firmware: Firmware) -> Os {
    let (auto, features) = match firmware {
        Firmware::Bios => (None, None),
        // Without its own keys the firmware boots unsigned loaders too; Secure Boot is another choice.
        Firmware::Uefi => (
            Some("efi"),
            Some(FirmwareFeatures { feature: vec![FirmwareFeature { enabled: "no", name: "secure-boot" }] }),
        ),
    };
    Os {
        firmware: auto,
        kind: OsType { arch: "x86_64", machine: "q35", value: "hvm" },
        firmware_features: features,
    }
}

/// KVM guests get the host's processor. Emulated ones get all QEMU can emulate, so that systems built for
/// x86-64-v2 and v3 run, but for what stock guests trip over when it is emulated. One socket, because some
/// systems are licensed by sockets.
fn cpu(accelerator: Accelerator, vcpus: u32) -> Cpu {
    let (mode, disabled): (_, &[&'static str]) = match accelerator {
        Accelerator::Kvm => ("host-passthrough", &[]),
        Accelerator::Tcg => ("maximum", &["la57", "svm"]),
    };
    Cpu {
        mode,
        check: "none",
        migratable: "on",
        topology: Topology { sockets: 1, cores: vcpus, threads: 1 },
        feature: disabled.iter().map(|name| CpuFeature { policy: "disable", name }).collect(),
    }
}

fn devices(machine: &Machine) -> Devices {
    let mut disks: Vec<Disk> = machine.disks.iter().enumerate().map(|(slot, d)| disk::at(slot, d)).collect();
    disks.push(disk::cdrom(machine.cdrom.as_ref()));
    let ports = machine.disks.len() + machine.nics.len() + PORTS_OWN + PORTS_SPARE;
    let bridge = |model| Controller { kind: "pci", model };
    Devices {
        controller: std::iter::once(bridge("pcie-root"))
            .chain(std::iter::repeat_with(|| bridge("pcie-root-port")).take(ports))
            .collect(),
        disk: disks,
        interface: machine.nics.iter().map(nic).collect(),
        serial: Character { kind: "pty", target: CharacterTarget { kind: None, name: None, port: Some(0) } },
        console: Character {
            kind: "pty",
            target: CharacterTarget { kind: Some("serial"), name: None, port: Some(0) },
        },
        channel: Character {
            kind: "unix",
            target: CharacterTarget { kind: Some("virtio"), name: Some(GUEST_AGENT_CHANNEL), port: None },
        },
        input: Input { kind: "tablet", bus: "usb" },
        graphics: Graphics { kind: "vnc", share_policy: "force-shared", listen: Listen { kind: "none" } },
        video: Video { model: VideoModel { kind: "vga" } },
        memballoon: Model { model: "virtio" },
        rng: Rng { model: "virtio", backend: RngBackend { model: "random", value: "/dev/urandom" } },
    }
}

fn nic(nic: &MachineNic) -> Interface {
    Interface {
        kind: match nic.kind {
            NicKind::User => "user",
        },
        mac: Mac { address: nic.mac.clone() },
        model: InterfaceModel { kind: "virtio" },
    }
}

#[cfg(test)]
mod tests;
