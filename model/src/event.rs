//! What happened, as people look it up later: one line per change of state that means something.
//!
//! An event of a state is written when it differs from the last one of that object, so that a flapping report or a
//! restart of the vDC adds nothing that was said before.

use crate::host::HostPhase;
use crate::pool::PoolPhase;
use crate::task::TaskState;
use crate::vm::{PowerState, VmPhase};
use serde::{Deserialize, Serialize};

/// How much an event or an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it soon.
    Warning,
    /// Something does not work.
    Error,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $severity:ident, $text:literal;)*) => {
        /// What kind of thing happened. Words are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {$(
            $(#[$doc])*
            #[serde(rename = $word)]
            $name,
        )*}

        impl EventKind {
            /// Every kind there is.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)*];

            /// The word, e.g. `host.disconnected`.
            pub fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => $word,)* }
            }

            /// How much it matters.
            pub fn severity(self) -> Severity {
                match self { $(EventKind::$name => Severity::$severity,)* }
            }

            /// The sentence, with the object's name in place of `{}`.
            pub fn sentence(self, name: &str) -> String {
                match self { $(EventKind::$name => $text,)* }.replace("{}", name)
            }
        }
    };
}

kinds! {
    /// Beats arrive and everything on it works.
    HostReady = "host.ready", Info, "Host {} is ready.";
    /// Beats arrive, something on it does not work.
    HostDegraded = "host.degraded", Warning, "Host {} is degraded.";
    /// Three beats missed.
    HostDisconnected = "host.disconnected", Error, "Host {} is silent: its state is unknown.";
    /// Taken out.
    HostRemoved = "host.removed", Info, "Host {} was removed.";
    /// Every assigned host has it.
    PoolReady = "pool.ready", Info, "Pool {} is ready on all its hosts.";
    /// Some hosts have it.
    PoolDegraded = "pool.degraded", Warning, "Pool {} does not work on all its hosts.";
    /// No host has it.
    PoolError = "pool.error", Error, "Pool {} works on none of its hosts.";
    /// Deleted.
    PoolRemoved = "pool.removed", Info, "Pool {} was deleted.";
    /// CPUs run.
    VmStarted = "vm.started", Info, "VM {} runs.";
    /// Off.
    VmStopped = "vm.stopped", Info, "VM {} is off.";
    /// CPUs stopped, memory kept.
    VmPaused = "vm.paused", Info, "VM {} is paused.";
    /// QEMU ended by itself.
    VmCrashed = "vm.crashed", Error, "VM {} crashed: QEMU ended by itself.";
    /// Its host no longer has it.
    VmLost = "vm.lost", Error, "VM {} is lost: its host no longer has it.";
    /// Deleted.
    VmRemoved = "vm.removed", Info, "VM {} was deleted.";
    /// Its counter went back, as that of a copy does.
    PasskeyCloned = "user.passkey_cloned", Warning, "A passkey of {} may have been copied: its counter went back.";
    /// Not found there any more.
    UserGone = "user.gone", Warning, "{} is gone from the directory they came from, and is turned off here.";
    /// The vDC could not write down anything for a while.
    StoreFailed = "store.failed", Error, "The vDC could not write to its database for {}. It can again.";
    /// Ended well.
    TaskDone = "task.done", Info, "{}: done.";
    /// Ended with a fault.
    TaskFailed = "task.failed", Error, "{}: failed.";
    /// Somebody ended it.
    TaskCancelled = "task.cancelled", Warning, "{}: cancelled.";
    /// A rule found something.
    AlertRaised = "alert.raised", Warning, "{}";
    /// What a rule had found is over.
    AlertCleared = "alert.cleared", Info, "Over: {}";
    /// Somebody looks after it.
    AlertAcknowledged = "alert.acknowledged", Info, "Acknowledged: {}";
}

impl EventKind {
    /// The part of the word before the dot: events of one noun's state follow each other.
    pub fn noun(self) -> &'static str {
        self.as_str().split_once('.').map_or("", |(noun, _)| noun)
    }
}

/// What a host's phase says; nothing while it has not been heard.
pub fn of_host(phase: HostPhase) -> Option<EventKind> {
    match phase {
        HostPhase::Pending => None,
        HostPhase::Ready => Some(EventKind::HostReady),
        HostPhase::Degraded => Some(EventKind::HostDegraded),
        HostPhase::Disconnected => Some(EventKind::HostDisconnected),
    }
}

/// What a pool's phase says; nothing while hosts are waited for.
pub fn of_pool(phase: PoolPhase) -> Option<EventKind> {
    match phase {
        PoolPhase::Pending | PoolPhase::Deleting => None,
        PoolPhase::Ready => Some(EventKind::PoolReady),
        PoolPhase::Degraded => Some(EventKind::PoolDegraded),
        PoolPhase::Error => Some(EventKind::PoolError),
    }
}

/// What a VM's state says; nothing while it comes or goes, or while nobody knows.
pub fn of_vm(phase: VmPhase, power: PowerState) -> Option<EventKind> {
    match (phase, power) {
        (VmPhase::Lost, _) => Some(EventKind::VmLost),
        (VmPhase::Creating | VmPhase::Deleting, _) => None,
        (_, PowerState::Running) => Some(EventKind::VmStarted),
        (_, PowerState::Off) => Some(EventKind::VmStopped),
        (_, PowerState::Paused) => Some(EventKind::VmPaused),
        (_, PowerState::Crashed) => Some(EventKind::VmCrashed),
        (_, PowerState::Unknown | PowerState::ShuttingDown) => None,
    }
}

/// What the end of a task says.
pub fn of_task(state: TaskState) -> Option<EventKind> {
    match state {
        TaskState::Queued | TaskState::Running => None,
        TaskState::Done => Some(EventKind::TaskDone),
        TaskState::Failed => Some(EventKind::TaskFailed),
        TaskState::Cancelled => Some(EventKind::TaskCancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_read_back() {
        for (n, kind) in EventKind::ALL.iter().enumerate() {
            let word = serde_json::to_string(kind).unwrap();
            assert_eq!(word, format!("{:?}", kind.as_str()));
            assert_eq!(serde_json::from_str::<EventKind>(&word).unwrap(), *kind);
            assert!(EventKind::ALL[n + 1..].iter().all(|other| other.as_str() != kind.as_str()));
            assert!(!kind.noun().is_empty());
            assert!(kind.sentence("web-1").contains("web-1"));
        }
    }

    #[test]
    fn what_nobody_knows_is_no_event() {
        assert_eq!(of_host(HostPhase::Pending), None);
        assert_eq!(of_pool(PoolPhase::Pending), None);
        assert_eq!(of_vm(VmPhase::Ready, PowerState::Unknown), None);
        assert_eq!(of_vm(VmPhase::Lost, PowerState::Unknown), Some(EventKind::VmLost));
        assert_eq!(of_task(TaskState::Running), None);
    }
}
