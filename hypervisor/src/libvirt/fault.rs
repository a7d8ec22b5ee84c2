//! libvirt's errors as faults: its own words kept as the cause, and for what happens often, what to do about it.

use crate::refusal;
use quantix_model::Fault;
use quantix_model::fault::FaultCode;
use virt::error::{Error, ErrorNumber};

/// What is missing in an error message, and the remedy for it. First match wins.
const REMEDIES: [(&[&str], &str); 11] = [
    (
        &["No more available PCI slots", "no more available PCI"],
        "All places for disks given to a running VM are taken: shut the VM down and start it again, then try anew.",
    ),
    (
        &["Secret not found", "no secret with matching", "error connecting: Operation not permitted"],
        "The key of this VM's Ceph pool is not known to libvirt, or is wrong: look at the pool's state.",
    ),
    (
        &["No space left on device"],
        "Free space on the pool of this VM's disks, or on the host's system disk, and try again.",
    ),
    (
        &["Failed to get \"write\" lock", "Failed to get shared \"write\" lock", "Is another process using"],
        "Another program has the disk or ISO open: stop the VM or copy that uses it, then try again.",
    ),
    (
        &["Permission denied"],
        "QEMU runs as its own user and may not open that file: let this user pass through every folder on the \
         way (chmod o+x), and look for AppArmor or SELinux denials in the host's log.",
    ),
    (
        &["No such file or directory", "Cannot access storage file", "No such device or address"],
        "A disk or ISO of this VM is not there: check that its pool is mounted and healthy on this host, or eject \
         the ISO.",
    ),
    (
        &["O_DIRECT"],
        "The file system of this pool cannot do direct I/O: move the disk to a pool on ext4, XFS, btrfs or NFS.",
    ),
    (
        &["Cannot allocate memory", "cannot set up guest memory"],
        "The host has not enough free memory for this VM: give it less, or stop another VM.",
    ),
    (
        &["Unable to find any firmware", "unable to find any master var store", "OVMF"],
        "Install the UEFI firmware on the host (apt-get install ovmf), or use BIOS.",
    ),
    (
        &["nsupported machine type", "does not support machine type", "machine type '"],
        "Install the x86 system emulator on the host (apt-get install qemu-system-x86), or update it.",
    ),
    (
        &["backing file", "Image is not in", "Unknown driver", "invalid QCOW", "not in qcow2 format"],
        "The disk image is damaged or not of the format it was created with: restore it from a copy.",
    ),
];

const KVM_SIGNS: [&str; 4] =
    ["Could not access KVM", "failed to initialize kvm", "virt type 'kvm'", "/dev/kvm"];

/// The fault for an error of a call on a live connection. `what` completes "The hypervisor could not …".
pub(super) fn refused(what: &str, log: Option<&str>, error: &Error) -> Fault {
    let words = error.message();
    if is(error, &[ErrorNumber::OperationTimeout]) || words.contains("cannot acquire state change lock") {
        return Fault::new(
            FaultCode::Busy,
            format!("The hypervisor could not {what}: it is at work on this VM already."),
            "Wait until that is done and try again; if it stays so, the VM's storage may hang.",
        )
        .because(words);
    }
    if KVM_SIGNS.iter().any(|sign| words.contains(sign)) {
        return Fault::new(
            FaultCode::AcceleratorUnavailable,
            format!("The hypervisor could not {what}: KVM does not work on this host."),
            "Turn on virtualization in the machine's firmware and load the kvm module, or set this host's \
             accelerator to auto or tcg (software emulation, slow).",
        )
        .because(words);
    }
    refusal::refused(what, words, remedy(words, log))
}

fn remedy(words: &str, log: Option<&str>) -> String {
    let known = REMEDIES.iter().find(|(signs, _)| signs.iter().any(|sign| words.contains(sign)));
    match (known, log) {
        (Some((_, remedy)), _) => (*remedy).to_owned(),
        (None, Some(name)) => {
            format!("See the details below and /var/log/libvirt/qemu/{name}.log on the host.")
        }
        (None, None) => "See the details below and libvirt's log on the host.".to_owned(),
    }
}

/// Whether libvirt says there is no such domain.
pub(super) fn is_missing(error: &Error) -> bool {
    is(error, &[ErrorNumber::NoDomain])
}

/// Whether QEMU was asked to take that device away already and waits for the guest.
pub(super) fn is_leaving(error: &Error) -> bool {
    error.message().contains("already in the process of unplug")
}

/// Whether libvirt says there is no such secret.
pub(super) fn is_no_secret(error: &Error) -> bool {
    is(error, &[ErrorNumber::NoSecret])
}

/// Whether a definition was refused because its name belongs to another domain.
pub(super) fn is_name_clash(error: &Error) -> bool {
    let clash = is(error, &[ErrorNumber::OperationFailed, ErrorNumber::DomExist]);
    clash && error.message().contains("already exists with uuid")
}

fn is(error: &Error, numbers: &[ErrorNumber]) -> bool {
    numbers.contains(&error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_refusals_have_a_remedy_of_their_own() {
        // Messages as libvirt 9.0 and QEMU 7.2 wrote them.
        for (words, expected) in [
            ("Could not open '/p/x.qcow2': Permission denied", "QEMU runs as its own user"),
            ("Cannot access storage file '/p/x.qcow2': No such file or directory", "not there"),
            ("internal error: process exited: Failed to get \"write\" lock", "Another program"),
            ("unable to write: No space left on device", "Free space"),
            ("operation failed: Unable to find any firmware to satisfy 'efi'", "ovmf"),
            ("something new", "/var/log/libvirt/qemu/web.log"),
        ] {
            let remedy = remedy(words, Some("web"));
            assert!(remedy.contains(expected), "{words}: {remedy}");
        }
    }
}
