//! What `iscsiadm` and LVM mean when they refuse: their exit codes and words as faults with a remedy. Pure.
//!
//! Exit codes are those of open-iscsi's `iscsi_err.h`; LVM has one code for everything, so its words count.

use quantix_host::program::Output;
use quantix_model::{Fault, FaultCode};

/// `iscsiadm`: the session is there already.
pub const SESSION_EXISTS: i32 = 15;
/// `iscsiadm`: no record, or no session, of that name.
pub const NOTHING_FOUND: i32 = 21;

/// The words that say why, without what LVM and iscsiadm tell besides.
fn reason(output: &Output) -> String {
    let noise = |line: &str| {
        line.is_empty()
            || line.starts_with("WARNING: ")
            || line.ends_with("Could not log into all portals")
            || line.starts_with("Run `")
    };
    let mut lines: Vec<&str> = output.stderr.lines().map(str::trim).filter(|line| !noise(line)).collect();
    lines.dedup();
    if lines.is_empty() { output.complaint() } else { lines.join("; ") }
}

/// The fault for an `iscsiadm` that failed.
pub fn iscsiadm(step: &str, target: &str, portal: &str, output: &Output) -> Fault {
    use FaultCode as C;
    let said = reason(output);
    let (code, message, remedy) = match output.code {
        Some(24) => (
            C::PoolAuthFailed,
            format!("The target {target} refused our CHAP user or password."),
            "Compare both with the target's settings; a target that demands CHAP refuses hosts without, too.",
        ),
        // 4: no connection; 8: login timed out; 11: no answer; 18 to 20 are the daemon's.
        Some(4 | 8 | 11) => (
            C::PoolServerUnreachable,
            format!("The portal {portal} did not let us sign in to {target} in time."),
            "Check that the target is switched on, that it serves this name, and the network between.",
        ),
        Some(5 | 19) => (
            C::PoolAuthFailed,
            format!("Signing in to {target} at {portal} was ended for good, by the target or by us."),
            "With mutual CHAP, compare the target's own user and password; otherwise check that its access list \
             holds this host's initiator name.",
        ),
        Some(18 | 20) => (
            C::PoolMountFailed,
            "The host's iSCSI service does not answer.".to_owned(),
            "On the host: systemctl enable --now iscsid",
        ),
        Some(13) => (
            C::PoolMountFailed,
            "The host may not use iSCSI.".to_owned(),
            "Let the quantix-node service run as root.",
        ),
        _ => (
            C::PoolMountFailed,
            format!("iscsiadm could not do its work for {target}."),
            "Look at the details below and at `journalctl -u iscsid` on the host.",
        ),
    };
    Fault::new(code, message, remedy).because(said).in_phase(step)
}

/// Words of LVM, and what they mean.
const LVM_WORDS: &[(&str, FaultCode, &str, &str)] = &[
    (
        "insufficient free space",
        FaultCode::PoolFull,
        "The volume group is full.",
        "Delete volumes or snapshots, or grow the LUN and press Retry on the pool's page.",
    ),
    (
        "insufficient suitable",
        FaultCode::PoolFull,
        "The volume group is full.",
        "Delete volumes or snapshots, or grow the LUN and press Retry on the pool's page.",
    ),
    ("in use", FaultCode::VolumeInUse, "The volume is open on this host.", "Stop the VM that uses it."),
    (
        "thin_check: execvp failed",
        FaultCode::HostProgramMissing,
        "The program thin_check is not installed on the host.",
        "Install it on the host: apt-get install thin-provisioning-tools",
    ),
    (
        "Check of pool",
        FaultCode::VolumeDamaged,
        "The volume's metadata is damaged.",
        "Run `lvconvert --repair` on its thin pool, or restore it from a backup.",
    ),
    (
        "needs_check",
        FaultCode::VolumeDamaged,
        "The volume's metadata must be checked.",
        "Run `lvconvert --repair` on its thin pool, or restore it from a backup.",
    ),
    (
        "Read-only",
        FaultCode::PoolReadOnly,
        "The LUN is read-only.",
        "Let the target export it writable to this host.",
    ),
    (
        "write-protected",
        FaultCode::PoolReadOnly,
        "The LUN is read-only.",
        "Let the target export it writable to this host.",
    ),
    (
        "Can't get lock",
        FaultCode::Busy,
        "Another program holds LVM's lock.",
        "Try again when that program has ended.",
    ),
    (
        "already exists",
        FaultCode::Conflict,
        "Something of that name is in the volume group already.",
        "Look with `lvs -a` on the host.",
    ),
    (
        "ailed to find logical volume",
        FaultCode::VolumeMissing,
        "The volume is not in the volume group.",
        "It may have been removed by hand; restore it, or delete the volume.",
    ),
    (
        "not found in volume group",
        FaultCode::VolumeMissing,
        "The volume is not in the volume group.",
        "It may have been removed by hand; restore it, or delete the volume.",
    ),
    (
        "Cannot process volume group",
        FaultCode::PoolDeviceMissing,
        "The volume group is not on the LUN any more.",
        "Look with `pvs` on the host whether somebody removed or renamed it.",
    ),
];

/// The fault for an LVM command that failed.
pub fn lvm(step: &str, output: &Output) -> Fault {
    let said = reason(output);
    let known = LVM_WORDS.iter().find(|(words, ..)| output.stderr.contains(words));
    let (code, message, remedy) = known.map_or(
        (
            FaultCode::PoolIoFailed,
            "LVM could not do that.",
            "Look at the details below and at the host's kernel log.",
        ),
        |(_, code, message, remedy)| (*code, *message, *remedy),
    );
    Fault::new(code, message, remedy).because(said).in_phase(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i32, stderr: &str) -> Output {
        Output { code: Some(code), stderr: stderr.into(), ..Output::default() }
    }

    #[test]
    fn iscsiadm_texts() {
        let refused = "iscsiadm: Could not login to [iface: default, target: iqn.2026-01.org.lab:t1, portal: 127.0.0.1,3260].\n\
             iscsiadm: initiator reported error (24 - iSCSI login failed due to authorization failure)\n\
             iscsiadm: Could not log into all portals\n";
        let timed_out = "iscsiadm: initiator reported error (8 - connection timed out)\n";
        let closed = "iscsiadm: cannot make connection to 127.0.0.1: Connection refused\n\
             iscsiadm: cannot make connection to 127.0.0.1: Connection refused\n\
             iscsiadm: connection login retries (reopen_max) 5 exceeded\n\
             iscsiadm: Could not perform SendTargets discovery: iSCSI PDU timed out\n";
        for (exit, text, code, words) in [
            (24, refused, FaultCode::PoolAuthFailed, "authorization failure"),
            (8, timed_out, FaultCode::PoolServerUnreachable, "timed out"),
            (11, closed, FaultCode::PoolServerUnreachable, "Connection refused; iscsiadm: connection"),
            (19, "", FaultCode::PoolAuthFailed, "exit code 19"),
            (20, "iscsiadm: can not connect to iSCSI daemon (111)!\n", FaultCode::PoolMountFailed, "(111)"),
            (1, "iscsiadm: odd\n", FaultCode::PoolMountFailed, "odd"),
        ] {
            let fault = iscsiadm("sign in", "iqn.x:y", "192.0.2.1:3260", &output(exit, text));
            assert_eq!(fault.code, code);
            assert!(fault.cause.contains(words) && !fault.remedy.is_empty(), "{fault}");
            assert!(!fault.cause.contains("all portals"), "{fault}");
        }
    }

    #[test]
    fn lvm_texts() {
        for (text, code) in [
            (
                "  Volume group \"vg\" has insufficient free space (494 extents): 41984 required.\n",
                FaultCode::PoolFull,
            ),
            ("  Logical volume vg/a contains a filesystem in use.\n", FaultCode::VolumeInUse),
            ("  Logical volume vg/a in use.\n", FaultCode::VolumeInUse),
            ("  Failed to find logical volume \"vg/a\"\n", FaultCode::VolumeMissing),
            (
                "  Snapshot origin LV a not found in Volume group vg.\n  Logical volume a not found in volume group vg.\n",
                FaultCode::VolumeMissing,
            ),
            (
                "  Volume group \"vg\" not found\n  Cannot process volume group vg\n",
                FaultCode::PoolDeviceMissing,
            ),
            ("  /usr/sbin/thin_check: execvp failed: No such file\n", FaultCode::HostProgramMissing),
            ("  Error reading device /dev/sda at 0 length 4096.\n", FaultCode::PoolIoFailed),
        ] {
            let fault = lvm("list", &output(5, &format!("  WARNING: something else.\n{text}")));
            assert_eq!(fault.code, code, "{text}");
            assert!(!fault.cause.contains("WARNING"), "{fault}");
        }
    }
}
