//! Virtual machines on the wire.

use crate::quantix::vm::v1 as wire;
use crate::twin::{self, twins};
use quantix_model::Fault;
use quantix_model::vm::{Cdrom, Disk, Firmware, Nic, NicKind, PowerState, PowerVerb, VmPhase, VmSpec};

twins!(Firmware => wire::Firmware, "firmware" {
    Bios = FIRMWARE_BIOS,
    Uefi = FIRMWARE_UEFI,
});

twins!(NicKind => wire::NicKind, "kind" {
    User = NIC_KIND_USER,
});

twins!(VmPhase => wire::VmPhase, "phase" {
    Creating = VM_PHASE_CREATING,
    Ready = VM_PHASE_READY,
    Error = VM_PHASE_ERROR,
    Deleting = VM_PHASE_DELETING,
    Lost = VM_PHASE_LOST,
});

twins!(PowerState => wire::PowerState, "power_state" {
    Unknown = POWER_STATE_UNKNOWN,
    Off = POWER_STATE_OFF,
    Running = POWER_STATE_RUNNING,
    Paused = POWER_STATE_PAUSED,
    ShuttingDown = POWER_STATE_SHUTTING_DOWN,
    Crashed = POWER_STATE_CRASHED,
});

twins!(PowerVerb => wire::PowerVerb, "verb" {
    Start = POWER_VERB_START,
    ShutDown = POWER_VERB_SHUT_DOWN,
    ForceStop = POWER_VERB_FORCE_STOP,
    Reboot = POWER_VERB_REBOOT,
    Reset = POWER_VERB_RESET,
    Pause = POWER_VERB_PAUSE,
    Resume = POWER_VERB_RESUME,
});

impl From<&Disk> for wire::Disk {
    fn from(disk: &Disk) -> wire::Disk {
        wire::Disk {
            volume_id: disk.volume_id.to_string(),
            pool_id: disk.pool_id.to_string(),
            ..Default::default()
        }
    }
}

impl TryFrom<&wire::Disk> for Disk {
    type Error = Fault;
    fn try_from(disk: &wire::Disk) -> Result<Disk, Fault> {
        Ok(Disk { volume_id: disk.volume_id.parse()?, pool_id: disk.pool_id.parse()? })
    }
}

impl From<&Cdrom> for wire::Cdrom {
    fn from(cdrom: &Cdrom) -> wire::Cdrom {
        wire::Cdrom {
            image_id: cdrom.image_id.to_string(),
            pool_id: cdrom.pool_id.to_string(),
            ..Default::default()
        }
    }
}

impl TryFrom<&wire::Cdrom> for Cdrom {
    type Error = Fault;
    fn try_from(cdrom: &wire::Cdrom) -> Result<Cdrom, Fault> {
        Ok(Cdrom { image_id: cdrom.image_id.parse()?, pool_id: cdrom.pool_id.parse()? })
    }
}

impl From<&Nic> for wire::Nic {
    fn from(nic: &Nic) -> wire::Nic {
        wire::Nic { kind: twin::write(nic.kind), mac: nic.mac.clone(), ..Default::default() }
    }
}

impl TryFrom<&wire::Nic> for Nic {
    type Error = Fault;
    /// The MAC is taken as it is; [`VmSpec::check`] judges it.
    fn try_from(nic: &wire::Nic) -> Result<Nic, Fault> {
        Ok(Nic { kind: twin::read("nics.kind", nic.kind)?, mac: nic.mac.clone() })
    }
}

impl From<&VmSpec> for wire::VmSpec {
    fn from(spec: &VmSpec) -> wire::VmSpec {
        wire::VmSpec {
            vcpus: spec.vcpus,
            memory_bytes: spec.memory_bytes,
            firmware: twin::write(spec.firmware),
            disks: spec.disks.iter().map(wire::Disk::from).collect(),
            cdrom: spec.cdrom.as_ref().map(wire::Cdrom::from).into(),
            nics: spec.nics.iter().map(wire::Nic::from).collect(),
            ..Default::default()
        }
    }
}

impl TryFrom<&wire::VmSpec> for VmSpec {
    type Error = Fault;
    /// Reads; does not judge. Follow with [`VmSpec::check`].
    fn try_from(spec: &wire::VmSpec) -> Result<VmSpec, Fault> {
        Ok(VmSpec {
            vcpus: spec.vcpus,
            memory_bytes: spec.memory_bytes,
            firmware: twin::read("firmware", spec.firmware)?,
            disks: spec.disks.iter().map(Disk::try_from).collect::<Result<_, _>>()?,
            cdrom: spec.cdrom.as_option().map(Cdrom::try_from).transpose()?,
            nics: spec.nics.iter().map(Nic::try_from).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::check_table;
    use proptest::prelude::*;
    use quantix_model::id::{ImageId, PoolId, VolumeId};
    use uuid::Uuid;

    #[test]
    fn tables() {
        check_table::<Firmware>();
        check_table::<NicKind>();
        check_table::<VmPhase>();
        check_table::<PowerState>();
        check_table::<PowerVerb>();
    }

    fn uuid<T>(make: fn(u128) -> T) -> impl Strategy<Value = T>
    where
        T: std::fmt::Debug,
    {
        any::<u128>().prop_map(make)
    }

    fn pool() -> impl Strategy<Value = PoolId> {
        uuid(|n| PoolId(Uuid::from_u128(n)))
    }

    fn spec() -> impl Strategy<Value = VmSpec> {
        let disk = (uuid(|n| VolumeId(Uuid::from_u128(n))), pool())
            .prop_map(|(volume_id, pool_id)| Disk { volume_id, pool_id });
        let cdrom = (uuid(|n| ImageId(Uuid::from_u128(n))), pool())
            .prop_map(|(image_id, pool_id)| Cdrom { image_id, pool_id });
        let nic = ".{0,20}".prop_map(|mac| Nic { kind: NicKind::User, mac });
        (
            any::<u32>(),
            any::<u64>(),
            any::<bool>(),
            prop::collection::vec(disk, 0..4),
            prop::option::of(cdrom),
            prop::collection::vec(nic, 0..4),
        )
            .prop_map(|(vcpus, memory_bytes, uefi, disks, cdrom, nics)| VmSpec {
                vcpus,
                memory_bytes,
                firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
                disks,
                cdrom,
                nics,
            })
    }

    proptest! {
        #[test]
        fn specs_both_ways(spec in spec()) {
            prop_assert_eq!(VmSpec::try_from(&wire::VmSpec::from(&spec)), Ok(spec));
        }
    }

    #[test]
    fn bad_parts_are_named() {
        let mut bad = wire::VmSpec { firmware: 7.into(), ..Default::default() };
        assert_eq!(VmSpec::try_from(&bad).expect_err("firmware 7").field, "firmware");
        bad.firmware = twin::write(Firmware::Bios);
        bad.disks = vec![wire::Disk { volume_id: "../x".into(), ..Default::default() }];
        assert_eq!(VmSpec::try_from(&bad).expect_err("no id").field, "volume_id");
    }
}
