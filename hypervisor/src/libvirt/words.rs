//! libvirt's numbers in words, and its states as ours. The words are libvirt's own, as `virsh` prints them.

use quantix_model::vm::PowerState;
use virt::sys;

/// Our state for libvirt's, and why it is so.
pub(super) fn power(state: i64, reason: i64) -> (PowerState, &'static str) {
    let state = u32::try_from(state).unwrap_or(sys::VIR_DOMAIN_NOSTATE);
    let reason = u32::try_from(reason).unwrap_or(0);
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => (PowerState::Running, running(reason)),
        sys::VIR_DOMAIN_PAUSED => (PowerState::Paused, paused(reason)),
        sys::VIR_DOMAIN_PMSUSPENDED => (PowerState::Paused, "suspended by the guest"),
        sys::VIR_DOMAIN_SHUTDOWN => (
            PowerState::ShuttingDown,
            if reason == sys::VIR_DOMAIN_SHUTDOWN_USER { "user" } else { "unknown" },
        ),
        sys::VIR_DOMAIN_SHUTOFF if reason == sys::VIR_DOMAIN_SHUTOFF_CRASHED => {
            (PowerState::Crashed, "crashed")
        }
        sys::VIR_DOMAIN_SHUTOFF => (PowerState::Off, off(reason)),
        sys::VIR_DOMAIN_CRASHED => (
            PowerState::Crashed,
            if reason == sys::VIR_DOMAIN_CRASHED_PANICKED { "panicked" } else { "crashed" },
        ),
        _ => (PowerState::Unknown, "no state"),
    }
}

fn running(reason: u32) -> &'static str {
    match reason {
        sys::VIR_DOMAIN_RUNNING_BOOTED => "booted",
        sys::VIR_DOMAIN_RUNNING_MIGRATED => "migrated",
        sys::VIR_DOMAIN_RUNNING_RESTORED => "restored",
        sys::VIR_DOMAIN_RUNNING_FROM_SNAPSHOT => "from snapshot",
        sys::VIR_DOMAIN_RUNNING_UNPAUSED => "unpaused",
        sys::VIR_DOMAIN_RUNNING_MIGRATION_CANCELED => "migration canceled",
        sys::VIR_DOMAIN_RUNNING_SAVE_CANCELED => "save canceled",
        sys::VIR_DOMAIN_RUNNING_WAKEUP => "woken up",
        sys::VIR_DOMAIN_RUNNING_CRASHED => "crashed",
        sys::VIR_DOMAIN_RUNNING_POSTCOPY => "post-copy",
        sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED => "post-copy failed",
        _ => "unknown",
    }
}

fn paused(reason: u32) -> &'static str {
    match reason {
        sys::VIR_DOMAIN_PAUSED_USER => "user",
        sys::VIR_DOMAIN_PAUSED_MIGRATION => "migrating",
        sys::VIR_DOMAIN_PAUSED_SAVE => "saving",
        sys::VIR_DOMAIN_PAUSED_DUMP => "dumping",
        sys::VIR_DOMAIN_PAUSED_IOERROR => "I/O error",
        sys::VIR_DOMAIN_PAUSED_WATCHDOG => "watchdog",
        sys::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT => "from snapshot",
        sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN => "shutting down",
        sys::VIR_DOMAIN_PAUSED_SNAPSHOT => "creating snapshot",
        sys::VIR_DOMAIN_PAUSED_CRASHED => "crashed",
        sys::VIR_DOMAIN_PAUSED_STARTING_UP => "starting up",
        sys::VIR_DOMAIN_PAUSED_POSTCOPY => "post-copy",
        sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED => "post-copy failed",
        sys::VIR_DOMAIN_PAUSED_API_ERROR => "API error",
        _ => "unknown",
    }
}

fn off(reason: u32) -> &'static str {
    match reason {
        sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => "shutdown",
        sys::VIR_DOMAIN_SHUTOFF_DESTROYED => "destroyed",
        sys::VIR_DOMAIN_SHUTOFF_MIGRATED => "migrated",
        sys::VIR_DOMAIN_SHUTOFF_SAVED => "saved",
        sys::VIR_DOMAIN_SHUTOFF_FAILED => "failed",
        sys::VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT => "from snapshot",
        sys::VIR_DOMAIN_SHUTOFF_DAEMON => "daemon",
        _ => "unknown",
    }
}

/// A lifecycle event in words: `started`, `stopped: destroyed`. Details that say nothing new are left out.
pub(super) fn event(event: i32, detail: i32) -> String {
    let detail = u32::try_from(detail).unwrap_or(u32::MAX);
    let (what, how) = match u32::try_from(event).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_EVENT_DEFINED => {
            ("defined", pick(&["", "updated", "renamed", "from snapshot"], detail))
        }
        sys::VIR_DOMAIN_EVENT_UNDEFINED => ("undefined", pick(&["", "renamed"], detail)),
        sys::VIR_DOMAIN_EVENT_STARTED => {
            ("started", pick(&["", "migrated", "restored", "from snapshot", "woken up", "recreated"], detail))
        }
        sys::VIR_DOMAIN_EVENT_SUSPENDED => (
            "suspended",
            pick(
                &[
                    "",
                    "migrated",
                    "I/O error",
                    "watchdog",
                    "restored",
                    "from snapshot",
                    "API error",
                    "post-copy",
                    "post-copy failed",
                    "guest shutdown",
                ],
                detail,
            ),
        ),
        sys::VIR_DOMAIN_EVENT_RESUMED => {
            ("resumed", pick(&["", "migrated", "from snapshot", "post-copy", "post-copy failed"], detail))
        }
        sys::VIR_DOMAIN_EVENT_STOPPED => (
            "stopped",
            pick(
                &[
                    "shutdown",
                    "destroyed",
                    "crashed",
                    "migrated",
                    "saved",
                    "failed",
                    "from snapshot",
                    "recreated",
                ],
                detail,
            ),
        ),
        sys::VIR_DOMAIN_EVENT_SHUTDOWN => ("shutdown", pick(&["", "guest", "host"], detail)),
        sys::VIR_DOMAIN_EVENT_PMSUSPENDED => ("suspended by the guest", pick(&["memory", "disk"], detail)),
        sys::VIR_DOMAIN_EVENT_CRASHED => ("crashed", pick(&["panicked", "crash loaded"], detail)),
        _ => ("changed", ""),
    };
    if how.is_empty() { what.to_owned() } else { format!("{what}: {how}") }
}

fn pick(words: &[&'static str], at: u32) -> &'static str {
    usize::try_from(at).ok().and_then(|at| words.get(at)).copied().unwrap_or("")
}

/// `9.0.0` for 9000000, as libvirt packs versions.
pub(super) fn version(packed: u32) -> String {
    format!("{}.{}.{}", packed / 1_000_000, packed / 1_000 % 1_000, packed % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        for (state, reason, expected) in [
            (1, 1, (PowerState::Running, "booted")),
            (2, 0, (PowerState::Running, "unknown")),
            (3, 1, (PowerState::Paused, "user")),
            (3, 5, (PowerState::Paused, "I/O error")),
            (4, 1, (PowerState::ShuttingDown, "user")),
            (5, 0, (PowerState::Off, "unknown")),
            (5, 2, (PowerState::Off, "destroyed")),
            (5, 3, (PowerState::Crashed, "crashed")),
            (6, 1, (PowerState::Crashed, "panicked")),
            (7, 0, (PowerState::Paused, "suspended by the guest")),
            (0, 0, (PowerState::Unknown, "no state")),
            (-1, -1, (PowerState::Unknown, "no state")),
            (99, 99, (PowerState::Unknown, "no state")),
        ] {
            assert_eq!(power(state, reason), expected, "{state} {reason}");
        }
    }

    #[test]
    fn events() {
        for (what, detail, expected) in [
            (0, 0, "defined"),
            (0, 1, "defined: updated"),
            (2, 0, "started"),
            (5, 1, "stopped: destroyed"),
            (5, 99, "stopped"),
            (6, 1, "shutdown: guest"),
            (-1, -1, "changed"),
        ] {
            assert_eq!(event(what, detail), expected);
        }
    }

    #[test]
    fn versions() {
        assert_eq!(version(9_000_000), "9.0.0");
        assert_eq!(version(7_002_022), "7.2.22");
    }
}
