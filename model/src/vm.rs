//! Virtual machines: what should be, what a host said, and what may be done now.

use crate::fault::Fault;
use crate::id::{ImageId, PoolId, VolumeId};
use serde::{Deserialize, Serialize};

/// How the guest boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF.
    Uefi,
}

/// A disk of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Which.
    pub volume_id: VolumeId,
    /// Where.
    pub pool_id: PoolId,
}

/// The ISO in the drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdrom {
    /// Which.
    pub image_id: ImageId,
    /// Where.
    pub pool_id: PoolId,
}

/// How a NIC reaches out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NicKind {
    /// QEMU's own NAT: out, not in.
    #[default]
    User,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Reaches out how.
    pub kind: NicKind,
    /// Colon form, lower case.
    pub mac: String,
}

/// What a VM should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Virtual processors.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_bytes: u64,
    /// Boots how.
    pub firmware: Firmware,
    /// In boot order.
    pub disks: Vec<Disk>,
    /// In the drive, if any.
    pub cdrom: Option<Cdrom>,
    /// In slot order.
    pub nics: Vec<Nic>,
}

/// Fewest and most of what a VM may have; the most are libvirt's and QEMU's for q35.
pub const VCPUS_MAX: u32 = 255;
/// Smallest guest that still boots something.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// 6 TiB, vSphere's own for one VM is 24 TiB; QEMU's phys-bits on common hosts is the limit here.
pub const MEMORY_BYTES_MAX: u64 = 6 << 40;
/// Virtio disks on the root complex plus what ports libvirt adds.
pub const DISKS_MAX: usize = 16;
/// Likewise for NICs.
pub const NICS_MAX: usize = 8;

impl VmSpec {
    /// Refuses what no host could run.
    pub fn check(&self) -> Result<(), Fault> {
        if self.vcpus == 0 || self.vcpus > VCPUS_MAX {
            return Err(Fault::invalid(
                "vcpus",
                format!("A VM cannot have {} vCPUs.", self.vcpus),
                "Choose from 1 to 255.",
            ));
        }
        if !(MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&self.memory_bytes)
            || !self.memory_bytes.is_multiple_of(1 << 20)
        {
            return Err(Fault::invalid(
                "memory_bytes",
                format!("A VM cannot have {} bytes of memory.", self.memory_bytes),
                "Choose from 64 MiB to 6 TiB, in whole MiB.",
            ));
        }
        if self.disks.len() > DISKS_MAX {
            return Err(Fault::invalid(
                "disks",
                format!("{} disks are too many.", self.disks.len()),
                "Use 16 at most.",
            ));
        }
        if self.nics.len() > NICS_MAX {
            return Err(Fault::invalid(
                "nics",
                format!("{} NICs are too many.", self.nics.len()),
                "Use 8 at most.",
            ));
        }
        self.nics.iter().try_for_each(|nic| check_mac("nics.mac", &nic.mac))
    }
}

/// Checks a unicast MAC in colon form.
pub fn check_mac(field: &str, mac: &str) -> Result<(), Fault> {
    let parts: Vec<&str> = mac.split(':').collect();
    let octets: Vec<u8> = parts
        .iter()
        .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
        .filter_map(|p| u8::from_str_radix(p, 16).ok())
        .collect();
    if parts.len() != 6 || octets.len() != 6 || octets[0] & 1 == 1 {
        return Err(Fault::invalid(
            field,
            format!("{mac:?} is not a unicast MAC address."),
            "Write six lower-case hex pairs, for example 52:54:00:12:34:56.",
        ));
    }
    Ok(())
}

/// What the vDC does with a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmPhase {
    /// Intent is durable; the host is making it.
    Creating,
    /// Defined on its host.
    Ready,
    /// Needs a person.
    Error,
    /// Going away.
    Deleting,
    /// Its host no longer has it.
    Lost,
}

/// What a host said of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// Nobody knows: the host is silent or its libvirt does not answer.
    Unknown,
    /// Defined, not running.
    Off,
    /// CPUs run.
    Running,
    /// CPUs stopped, memory kept.
    Paused,
    /// Asked to stop, still running.
    ShuttingDown,
    /// QEMU ended by itself.
    Crashed,
}

impl PowerState {
    /// Word on screen.
    pub fn as_str(self) -> &'static str {
        match self {
            PowerState::Unknown => "unknown",
            PowerState::Off => "off",
            PowerState::Running => "running",
            PowerState::Paused => "paused",
            PowerState::ShuttingDown => "shutting down",
            PowerState::Crashed => "crashed",
        }
    }

    /// Whether a QEMU process is there.
    pub fn is_active(self) -> bool {
        matches!(self, PowerState::Running | PowerState::Paused | PowerState::ShuttingDown)
    }
}

/// A change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerVerb {
    /// Power on.
    Start,
    /// ACPI power button; the guest decides.
    ShutDown,
    /// Pulls the plug.
    ForceStop,
    /// ACPI restart request.
    Reboot,
    /// Reset button.
    Reset,
    /// Stops the CPUs.
    Pause,
    /// Lets them go on.
    Resume,
}

impl PowerVerb {
    /// Every verb there is.
    pub const ALL: [PowerVerb; 7] = [
        PowerVerb::Start,
        PowerVerb::ShutDown,
        PowerVerb::ForceStop,
        PowerVerb::Reboot,
        PowerVerb::Reset,
        PowerVerb::Pause,
        PowerVerb::Resume,
    ];

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            PowerVerb::Start => "start",
            PowerVerb::ShutDown => "shut_down",
            PowerVerb::ForceStop => "force_stop",
            PowerVerb::Reboot => "reboot",
            PowerVerb::Reset => "reset",
            PowerVerb::Pause => "pause",
            PowerVerb::Resume => "resume",
        }
    }
}

/// What a verb means in a given state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerStep {
    /// Do it.
    Go,
    /// It is so already: answer well, do nothing.
    Already,
    /// Cannot be; says why.
    Refuse(&'static str),
}

/// Total table of verbs and states, used by the vDC to offer and by the host to decide.
pub fn power_step(state: PowerState, verb: PowerVerb) -> PowerStep {
    use PowerState as S;
    use PowerStep::*;
    use PowerVerb as V;
    match (state, verb) {
        (S::Unknown, _) => Refuse("Its host does not say what state it is in."),
        (S::Off | S::Crashed, V::Start) => Go,
        (S::Running | S::ShuttingDown, V::Start) => Already,
        (S::Paused, V::Start) => Refuse("It is paused: resume it."),
        (S::Running | S::ShuttingDown, V::ShutDown) => Go,
        (S::Paused, V::ShutDown) => Refuse("It is paused and cannot react: resume it first."),
        (S::Off | S::Crashed, V::ShutDown | V::ForceStop) => Already,
        (S::Running | S::Paused | S::ShuttingDown, V::ForceStop) => Go,
        (S::Running | S::ShuttingDown, V::Reboot | V::Reset) => Go,
        (S::Paused, V::Reboot | V::Reset) => Refuse("It is paused: resume it first."),
        (S::Off | S::Crashed, V::Reboot | V::Reset | V::Pause | V::Resume) => Refuse("It is off."),
        (S::Running | S::ShuttingDown, V::Pause) => Go,
        (S::Paused, V::Pause) => Already,
        (S::Paused, V::Resume) => Go,
        (S::Running | S::ShuttingDown, V::Resume) => Already,
    }
}

/// One line of `allowed_actions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedAction {
    /// `start`, `delete`, …
    pub verb: String,
    /// Absent when allowed.
    pub reason_if_not: Option<String>,
}

/// What may be done with a VM now, with the reason for each thing that may not.
pub fn allowed_actions(phase: VmPhase, state: PowerState, busy: bool) -> Vec<AllowedAction> {
    let blocked: Option<&str> = match phase {
        _ if busy => Some("Another task is at work on it."),
        VmPhase::Creating => Some("It is still being created."),
        VmPhase::Deleting => Some("It is being deleted."),
        VmPhase::Lost => Some("Its host no longer has it."),
        VmPhase::Error | VmPhase::Ready => None,
    };
    let mut actions: Vec<AllowedAction> = PowerVerb::ALL
        .iter()
        .map(|verb| {
            let reason = blocked.or(match power_step(state, *verb) {
                PowerStep::Go => None,
                PowerStep::Already => Some(match state {
                    PowerState::Off | PowerState::Crashed => "It is off already.",
                    PowerState::Paused => "It is paused already.",
                    _ => "It is running already.",
                }),
                PowerStep::Refuse(why) => Some(why),
            });
            AllowedAction { verb: verb.as_str().to_owned(), reason_if_not: reason.map(str::to_owned) }
        })
        .collect();
    let console = blocked.or(match state {
        s if s.is_active() => None,
        PowerState::Unknown => Some("Its host does not say what state it is in."),
        _ => Some("It is off: there is no screen."),
    });
    actions.push(AllowedAction { verb: "console".into(), reason_if_not: console.map(str::to_owned) });
    let unknown = (state == PowerState::Unknown).then_some("Its host does not say what state it is in.");
    let attach = blocked.or(unknown);
    actions.push(AllowedAction { verb: "attach_volume".into(), reason_if_not: attach.map(str::to_owned) });
    let delete = match phase {
        _ if busy => Some("Another task is at work on it."),
        VmPhase::Creating => Some("It is still being created."),
        VmPhase::Deleting => Some("It is being deleted."),
        VmPhase::Lost => None,
        VmPhase::Error | VmPhase::Ready => match state {
            PowerState::Off | PowerState::Crashed => None,
            PowerState::Unknown => Some("Its host does not say what state it is in."),
            _ => Some("It is running: stop it first."),
        },
    };
    actions.push(AllowedAction { verb: "delete".into(), reason_if_not: delete.map(str::to_owned) });
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [PowerState; 6] = [
        PowerState::Unknown,
        PowerState::Off,
        PowerState::Running,
        PowerState::Paused,
        PowerState::ShuttingDown,
        PowerState::Crashed,
    ];

    #[test]
    fn unknown_allows_nothing() {
        for phase in [VmPhase::Ready, VmPhase::Error, VmPhase::Creating, VmPhase::Deleting] {
            assert!(
                allowed_actions(phase, PowerState::Unknown, false).iter().all(|a| a.reason_if_not.is_some())
            );
        }
    }

    #[test]
    fn what_is_offered_is_what_the_host_will_do() {
        for state in STATES {
            for action in allowed_actions(VmPhase::Ready, state, false) {
                let Some(verb) = PowerVerb::ALL.iter().find(|v| v.as_str() == action.verb) else { continue };
                assert_eq!(action.reason_if_not.is_none(), power_step(state, *verb) == PowerStep::Go);
            }
        }
    }

    #[test]
    fn busy_blocks_all() {
        for state in STATES {
            assert!(allowed_actions(VmPhase::Ready, state, true).iter().all(|a| a.reason_if_not.is_some()));
        }
    }

    #[test]
    fn macs() {
        assert!(check_mac("mac", "52:54:00:12:34:56").is_ok());
        for bad in [
            "",
            "52:54:00:12:34",
            "01:00:00:00:00:00",
            "52:54:00:12:34:5G",
            "52-54-00-12-34-56",
            "52:54:00:12:34:AB",
            "+1:54:00:12:34:56",
        ] {
            assert!(check_mac("mac", bad).is_err(), "{bad}");
        }
    }
}
