//! Machines on the wire: what they are made of, and how they do.

use crate::quantix::host::v1 as wire;
use crate::twin::{self, missing, twins};
use quantix_model::Fault;
use quantix_model::host::{
    Accelerator, Cpu, Discovery, Disk, Engine, ExistingVm, HostPhase, Inventory, Mount, Nic, PciDevice,
    Vitals,
};

twins!(HostPhase => wire::HostPhase, "phase" {
    Pending = HOST_PHASE_PENDING,
    Ready = HOST_PHASE_READY,
    Degraded = HOST_PHASE_DEGRADED,
    Disconnected = HOST_PHASE_DISCONNECTED,
});

twins!(Accelerator => wire::Accelerator, "accelerator" {
    Kvm = ACCELERATOR_KVM,
    Tcg = ACCELERATOR_TCG,
});

/// Makes both directions of a message whose fields are plain and named alike.
macro_rules! plain {
    ($model:ident => $wire:ident { $($field:ident),* $(,)? }) => {
        impl From<&$model> for wire::$wire {
            fn from(it: &$model) -> wire::$wire {
                wire::$wire { $($field: it.$field.clone(),)* ..Default::default() }
            }
        }
        impl From<&wire::$wire> for $model {
            fn from(it: &wire::$wire) -> $model {
                $model { $($field: it.$field.clone(),)* }
            }
        }
    };
}

plain!(Cpu => Cpu { model, vendor, sockets, cores, threads, numa_nodes, virtualization });
plain!(Disk => Disk { name, model, serial, size_bytes, rotational, in_use });
plain!(Nic => Nic { name, mac, speed_mbps, up, addresses });
plain!(PciDevice => PciDevice { address, vendor_device, class, driver });
plain!(Mount => Mount { source, target, fs_type });
plain!(ExistingVm => ExistingVm { id, name, running });

impl From<&Vitals> for wire::Vitals {
    fn from(vitals: &Vitals) -> wire::Vitals {
        wire::Vitals {
            cpu_used_ratio: vitals.cpu_used_ratio,
            memory_total_bytes: vitals.memory_total_bytes,
            memory_used_bytes: vitals.memory_used_bytes,
            load_1m: vitals.load_1m,
            uptime_seconds: vitals.uptime_seconds,
            ..Default::default()
        }
    }
}

impl TryFrom<&wire::Vitals> for Vitals {
    type Error = Fault;
    /// Figures that are no figures are refused; a ratio a little out of its range is brought back into it.
    fn try_from(vitals: &wire::Vitals) -> Result<Vitals, Fault> {
        Ok(Vitals {
            cpu_used_ratio: finite("cpu_used_ratio", vitals.cpu_used_ratio)?.clamp(0.0, 1.0),
            memory_total_bytes: vitals.memory_total_bytes,
            memory_used_bytes: vitals.memory_used_bytes,
            load_1m: finite("load_1m", vitals.load_1m)?.max(0.0),
            uptime_seconds: vitals.uptime_seconds,
        })
    }
}

fn finite(field: &str, value: f64) -> Result<f64, Fault> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Fault::invalid(
        field,
        format!("The field {field} holds {value}, which is no figure."),
        "Send a number.",
    ))
}

impl From<&Engine> for wire::Engine {
    fn from(engine: &Engine) -> wire::Engine {
        wire::Engine {
            libvirt_version: engine.libvirt_version.clone(),
            qemu_version: engine.qemu_version.clone(),
            kvm_device_present: engine.kvm_device_present,
            accelerator: twin::write(engine.accelerator),
            accelerator_reason: engine.accelerator_reason.clone(),
            fault: engine.fault.as_ref().map(Into::into).into(),
            weakness: engine.weakness.as_ref().map(Into::into).into(),
            ..Default::default()
        }
    }
}

impl TryFrom<&wire::Engine> for Engine {
    type Error = Fault;
    fn try_from(engine: &wire::Engine) -> Result<Engine, Fault> {
        Ok(Engine {
            libvirt_version: engine.libvirt_version.clone(),
            qemu_version: engine.qemu_version.clone(),
            kvm_device_present: engine.kvm_device_present,
            accelerator: twin::read("engine.accelerator", engine.accelerator)?,
            accelerator_reason: engine.accelerator_reason.clone(),
            fault: engine.fault.as_option().map(Fault::from),
            weakness: engine.weakness.as_option().map(Fault::from),
        })
    }
}

/// The wire keeps inventory, engine and found VMs in one message.
impl From<&Discovery> for wire::Discovery {
    fn from(found: &Discovery) -> wire::Discovery {
        wire::Discovery {
            engine: wire::Engine::from(&found.engine).into(),
            existing_vms: found.existing_vms.iter().map(Into::into).collect(),
            ..wire::Discovery::from(&found.inventory)
        }
    }
}

/// The machine alone: no engine, no VMs.
impl From<&Inventory> for wire::Discovery {
    fn from(it: &Inventory) -> wire::Discovery {
        wire::Discovery {
            hostname: it.hostname.clone(),
            machine_id: it.machine_id.clone(),
            os: it.os.clone(),
            kernel: it.kernel.clone(),
            cpu: wire::Cpu::from(&it.cpu).into(),
            memory_total_bytes: it.memory_total_bytes,
            disks: it.disks.iter().map(Into::into).collect(),
            nics: it.nics.iter().map(Into::into).collect(),
            pci_devices: it.pci_devices.iter().map(Into::into).collect(),
            mounts: it.mounts.iter().map(Into::into).collect(),
            ..Default::default()
        }
    }
}

impl From<&wire::Discovery> for Inventory {
    fn from(it: &wire::Discovery) -> Inventory {
        Inventory {
            hostname: it.hostname.clone(),
            machine_id: it.machine_id.clone(),
            os: it.os.clone(),
            kernel: it.kernel.clone(),
            cpu: it.cpu.as_option().map(Cpu::from).unwrap_or_default(),
            memory_total_bytes: it.memory_total_bytes,
            disks: it.disks.iter().map(Into::into).collect(),
            nics: it.nics.iter().map(Into::into).collect(),
            pci_devices: it.pci_devices.iter().map(Into::into).collect(),
            mounts: it.mounts.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<&wire::Discovery> for Discovery {
    type Error = Fault;
    fn try_from(found: &wire::Discovery) -> Result<Discovery, Fault> {
        let engine = found.engine.as_option().ok_or_else(|| missing("engine"))?;
        Ok(Discovery {
            inventory: Inventory::from(found),
            engine: Engine::try_from(engine)?,
            existing_vms: found.existing_vms.iter().map(Into::into).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::check_table;
    use proptest::prelude::*;
    use quantix_model::FaultCode;

    #[test]
    fn tables() {
        check_table::<HostPhase>();
        check_table::<Accelerator>();
    }

    fn text() -> impl Strategy<Value = String> {
        ".{0,12}"
    }

    fn inventory() -> impl Strategy<Value = Inventory> {
        let disk =
            (text(), text(), text(), any::<(u64, bool, bool)>()).prop_map(|(name, model, serial, n)| Disk {
                name,
                model,
                serial,
                size_bytes: n.0,
                rotational: n.1,
                in_use: n.2,
            });
        let nic = (text(), text(), any::<(u64, bool)>(), prop::collection::vec(text(), 0..3))
            .prop_map(|(name, mac, n, addresses)| Nic { name, mac, speed_mbps: n.0, up: n.1, addresses });
        let pci = (text(), text(), text(), text()).prop_map(|(address, vendor_device, class, driver)| {
            PciDevice { address, vendor_device, class, driver }
        });
        let mount =
            (text(), text(), text()).prop_map(|(source, target, fs_type)| Mount { source, target, fs_type });
        let cpu =
            (text(), text(), any::<[u32; 4]>(), text()).prop_map(|(model, vendor, n, virtualization)| Cpu {
                model,
                vendor,
                sockets: n[0],
                cores: n[1],
                threads: n[2],
                numa_nodes: n[3],
                virtualization,
            });
        (
            (text(), text(), text(), text(), cpu, any::<u64>()),
            prop::collection::vec(disk, 0..3),
            prop::collection::vec(nic, 0..3),
            prop::collection::vec(pci, 0..3),
            prop::collection::vec(mount, 0..3),
        )
            .prop_map(
                |((hostname, machine_id, os, kernel, cpu, memory), disks, nics, pci_devices, mounts)| {
                    Inventory {
                        hostname,
                        machine_id,
                        os,
                        kernel,
                        cpu,
                        memory_total_bytes: memory,
                        disks,
                        nics,
                        pci_devices,
                        mounts,
                    }
                },
            )
    }

    fn discovery() -> impl Strategy<Value = Discovery> {
        let fault = || {
            text().prop_map(|why| {
                Fault::new(FaultCode::HypervisorUnavailable, "libvirt does not answer.", "Start it.")
                    .because(why)
            })
        };
        let vm =
            (text(), text(), any::<bool>()).prop_map(|(id, name, running)| ExistingVm { id, name, running });
        (
            inventory(),
            (
                text(),
                text(),
                any::<bool>(),
                any::<bool>(),
                text(),
                prop::option::of(fault()),
                prop::option::of(fault()),
            ),
            prop::collection::vec(vm, 0..3),
        )
            .prop_map(|(inventory, engine, existing_vms)| Discovery {
                inventory,
                engine: Engine {
                    libvirt_version: engine.0,
                    qemu_version: engine.1,
                    kvm_device_present: engine.2,
                    accelerator: if engine.3 { Accelerator::Kvm } else { Accelerator::Tcg },
                    accelerator_reason: engine.4,
                    fault: engine.5,
                    weakness: engine.6,
                },
                existing_vms,
            })
    }

    proptest! {
        #[test]
        fn discoveries_both_ways(found in discovery()) {
            prop_assert_eq!(Discovery::try_from(&wire::Discovery::from(&found)), Ok(found));
        }

        #[test]
        fn vitals_both_ways(ratio in 0.0f64..=1.0, load in 0.0f64..1e6, n: [u64; 3]) {
            let vitals = Vitals {
                cpu_used_ratio: ratio,
                memory_total_bytes: n[0],
                memory_used_bytes: n[1],
                load_1m: load,
                uptime_seconds: n[2],
            };
            prop_assert_eq!(Vitals::try_from(&wire::Vitals::from(&vitals)), Ok(vitals));
        }
    }

    #[test]
    fn figures_that_are_none_are_refused() {
        for (bad, field) in [(f64::NAN, "cpu_used_ratio"), (f64::INFINITY, "cpu_used_ratio")] {
            let vitals = wire::Vitals { cpu_used_ratio: bad, ..Default::default() };
            assert_eq!(Vitals::try_from(&vitals).expect_err("no figure").field, field);
        }
        let fault = Engine::try_from(&wire::Engine { accelerator: 9.into(), ..Default::default() });
        assert_eq!(fault.expect_err("stranger").field, "engine.accelerator");
    }
}
