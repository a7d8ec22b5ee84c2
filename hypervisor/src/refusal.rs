//! The refusals every driver speaks with one tongue, so that the fake and libvirt cannot drift apart.

use quantix_model::Fault;
use quantix_model::fault::FaultCode;
use quantix_model::id::VmId;
use quantix_model::vm::{PowerState, PowerVerb};
use std::time::Duration;

/// Another machine has the name.
pub fn name_taken(name: &str, owner: &str) -> Fault {
    Fault::new(
        FaultCode::NameTaken,
        format!("A VM named {name:?} exists on this host already."),
        "Choose another name, or remove the other VM from the host first.",
    )
    .because(owner)
}

/// The machine is known here under another name.
pub fn renamed(id: VmId, name_here: &str, name_asked: &str) -> Fault {
    Fault::new(
        FaultCode::Conflict,
        format!("The VM {id} is defined on this host as {name_here:?}, not as {name_asked:?}."),
        "Keep its name, or undefine it before it is defined anew.",
    )
}

/// No machine of that id.
pub fn missing(id: VmId) -> Fault {
    Fault::new(
        FaultCode::VmMissingOnHost,
        format!("This host has no VM {id}."),
        "It may have been removed with another tool; delete it here, or create it again from its disks.",
    )
}

/// Its state forbids the verb.
pub fn not_allowed(name: &str, verb: PowerVerb, state: PowerState, why: &str) -> Fault {
    Fault::new(
        FaultCode::VmActionNotAllowed,
        format!("The VM {name:?} is {}: {} is not possible now.", state.as_str(), verb_words(verb)),
        why,
    )
}

/// It still runs.
pub fn undefine_active(name: &str, state: PowerState) -> Fault {
    Fault::new(
        FaultCode::VmActionNotAllowed,
        format!("The VM {name:?} is {}: its definition cannot be removed now.", state.as_str()),
        "Stop it first.",
    )
}

/// No screen, because nothing runs.
pub fn no_screen(name: &str, state: PowerState) -> Fault {
    Fault::new(
        FaultCode::ConsoleNotRunning,
        format!("The VM {name:?} is {}: there is no screen.", state.as_str()),
        "Start it, then open the console.",
    )
}

/// The guest was asked to let go of a disk and did not.
pub fn disk_held(name: &str, target: &str, waited: Duration) -> Fault {
    Fault::new(
        FaultCode::VolumeInUse,
        format!(
            "The guest of the VM {name:?} did not let go of its disk {target} in {} s.",
            waited.as_secs()
        ),
        "Unmount the disk inside the guest and try again, or shut the VM down first. A guest whose system has not \
         started yet cannot let go.",
    )
}

/// The machine has no disk of that serial.
pub fn disk_missing(name: &str, serial: &str) -> Fault {
    Fault::new(
        FaultCode::VolumeMissing,
        format!("The VM {name:?} has no disk {serial:?} now."),
        "Attach it first; look at the VM's disks.",
    )
}

/// Disks only grow.
pub fn disk_shrinks(target: &str, size_bytes: u64, asked_bytes: u64) -> Fault {
    Fault::new(
        FaultCode::VolumeCannotShrink,
        format!("The disk {target} has {size_bytes} bytes and cannot shrink to {asked_bytes}."),
        "Choose a larger size.",
    )
}

/// Nothing runs that could see the new size.
pub fn grow_inactive(name: &str, state: PowerState) -> Fault {
    Fault::new(
        FaultCode::VmActionNotAllowed,
        format!("The VM {name:?} is {}: no guest has the disk open.", state.as_str()),
        "Grow the volume itself.",
    )
}

/// A key that is no base64. Never says what it was.
pub fn bad_key() -> Fault {
    Fault::invalid(
        "spec.ceph.key",
        "The CephX key is not one.",
        "Copy it as `ceph auth get-key client.NAME` prints it.",
    )
}

/// Nobody answers at libvirt's socket, or not to us.
pub fn unavailable(cause: impl std::fmt::Display) -> Fault {
    let cause = cause.to_string();
    let locked_out = ["Permission denied", "authentication", "access denied"];
    let remedy = if locked_out.iter().any(|sign| cause.contains(sign)) {
        "Let the daemon's user talk to libvirt: run the daemon as root, or add its user to the group libvirt."
    } else {
        "Start libvirtd on the host (systemctl start libvirtd); VMs that run are not touched by this, and the \
         daemon finds libvirt again by itself."
    };
    Fault::new(FaultCode::HypervisorUnavailable, "libvirt does not answer on this host.", remedy)
        .because(cause)
}

/// The hypervisor said no, in its own words.
pub fn refused(what: &str, cause: impl std::fmt::Display, remedy: impl Into<String>) -> Fault {
    Fault::new(FaultCode::HypervisorRefused, format!("The hypervisor could not {what}."), remedy)
        .because(cause)
}

/// No answer in time.
pub fn too_slow(what: &str, deadline: Duration) -> Fault {
    Fault::new(
        FaultCode::DeadlineExceeded,
        format!("libvirt had {} s to {what} and did not answer.", deadline.as_secs_f64()),
        "It may still happen: look at the VM's state before trying again. If it stays so, the storage of that VM \
         may hang; see the pool's state and libvirt's log.",
    )
}

fn verb_words(verb: PowerVerb) -> &'static str {
    match verb {
        PowerVerb::Start => "starting",
        PowerVerb::ShutDown => "shutting down",
        PowerVerb::ForceStop => "forcing it off",
        PowerVerb::Reboot => "rebooting",
        PowerVerb::Reset => "resetting",
        PowerVerb::Pause => "pausing",
        PowerVerb::Resume => "resuming",
    }
}
