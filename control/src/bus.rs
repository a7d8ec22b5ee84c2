//! Who changed: a broadcast of noun and id inside this process. Listeners read the view themselves, so that a
//! burst of changes of one object costs one read.
//!
//! Changes are counted: the count is the revision. The last ones are kept, so that a listener who was away for a moment
//! hears what it missed.
//!
//! Load, ages and free space move with every beat of every host. That is told apart, by host only: whoever shows it may
//! pick as much of it as they can take, and loses nothing else when there is more.

use quantix_model::id::{AlertId, EventId, HostId, ImageId, PoolId, TaskId, VmId, VolumeId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use uuid::Uuid;

/// Changes that a slow listener may fall behind before it must read everything again.
const BACKLOG_MAX: usize = 4096;

/// An answer is on its way for no longer.
const RECENT: Duration = Duration::from_secs(15);

/// What can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// A host.
    Host(HostId),
    /// A pool.
    Pool(PoolId),
    /// An image.
    Image(ImageId),
    /// A volume.
    Volume(VolumeId),
    /// A VM.
    Vm(VmId),
    /// A task.
    Task(TaskId),
    /// Something that happened.
    Event(EventId),
    /// Something somebody should look at.
    Alert(AlertId),
    /// A certificate of the vDC itself.
    Certificate(VdcCertificate),
}

/// The certificates of the vDC itself. They are no rows anywhere, so their ids are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VdcCertificate {
    /// By our own authority.
    Internal,
    /// The one that people brought.
    Uploaded,
}

impl VdcCertificate {
    /// Both.
    pub const ALL: [VdcCertificate; 2] = [VdcCertificate::Internal, VdcCertificate::Uploaded];

    fn id(self) -> Uuid {
        Uuid::from_u128(match self {
            VdcCertificate::Internal => 1,
            VdcCertificate::Uploaded => 2,
        })
    }
}

impl Thing {
    /// `host`, `pool`, `image`, `volume`, `vm`, `task`, `event`, `alert`, `certificate`: also a task's `object_kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Thing::Host(_) => "host",
            Thing::Pool(_) => "pool",
            Thing::Image(_) => "image",
            Thing::Volume(_) => "volume",
            Thing::Vm(_) => "vm",
            Thing::Task(_) => "task",
            Thing::Event(_) => "event",
            Thing::Alert(_) => "alert",
            Thing::Certificate(_) => "certificate",
        }
    }

    /// The bare id.
    pub fn id(self) -> Uuid {
        match self {
            Thing::Host(HostId(id))
            | Thing::Pool(PoolId(id))
            | Thing::Image(ImageId(id))
            | Thing::Volume(VolumeId(id))
            | Thing::Vm(VmId(id))
            | Thing::Task(TaskId(id))
            | Thing::Event(EventId(id))
            | Thing::Alert(AlertId(id)) => id,
            Thing::Certificate(which) => which.id(),
        }
    }

    /// From a task's `object_kind` and `object_id`.
    pub fn parse(kind: &str, id: &str) -> Option<Thing> {
        let id = Uuid::try_parse(id).ok()?;
        Some(match kind {
            "host" => Thing::Host(HostId(id)),
            "pool" => Thing::Pool(PoolId(id)),
            "image" => Thing::Image(ImageId(id)),
            "volume" => Thing::Volume(VolumeId(id)),
            "vm" => Thing::Vm(VmId(id)),
            "task" => Thing::Task(TaskId(id)),
            "event" => Thing::Event(EventId(id)),
            "alert" => Thing::Alert(AlertId(id)),
            "certificate" => Thing::Certificate(VdcCertificate::ALL.into_iter().find(|c| c.id() == id)?),
            _ => return None,
        })
    }
}

/// The last changes.
#[derive(Debug, Default)]
struct Log {
    /// Of the last one.
    revision: u64,
    kept: VecDeque<(Instant, Thing)>,
}

/// Somebody who listens from a revision on.
#[derive(Debug)]
pub struct Listener {
    /// What changed since the revision asked for; `None`: that is too long ago, or was never.
    pub missed: Option<BTreeSet<Thing>>,
    /// The last change before `changes` begin.
    pub revision: u64,
    /// What changes from now on, each with its revision.
    pub changes: broadcast::Receiver<(u64, Thing)>,
}

/// The bus. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct Bus {
    log: Arc<Mutex<Log>>,
    changes: broadcast::Sender<(u64, Thing)>,
    moves: broadcast::Sender<HostId>,
}

impl Default for Bus {
    fn default() -> Bus {
        let (changes, moves) = (broadcast::channel(BACKLOG_MAX).0, broadcast::channel(BACKLOG_MAX).0);
        Bus { log: Arc::default(), changes, moves }
    }
}

impl Bus {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something changed, came or went.
    pub fn changed(&self, thing: Thing) {
        let mut log = self.log();
        log.revision += 1;
        log.kept.push_back((Instant::now(), thing));
        if log.kept.len() > BACKLOG_MAX {
            log.kept.pop_front();
        }
        // Nobody listening is no error.
        let _ = self.changes.send((log.revision, thing));
    }

    /// Hears everything after the revision given.
    pub fn listen_from(&self, revision: u64) -> Listener {
        let log = self.log();
        let back = log.revision.checked_sub(revision).and_then(|n| usize::try_from(n).ok());
        let first = back.and_then(|n| log.kept.len().checked_sub(n));
        let missed = first.map(|first| log.kept.iter().skip(first).map(|(_, thing)| *thing).collect());
        Listener { missed, revision: log.revision, changes: self.changes.subscribe() }
    }

    /// What changed a moment ago.
    pub fn recent(&self) -> BTreeSet<Thing> {
        let log = self.log();
        log.kept.iter().rev().take_while(|(at, _)| at.elapsed() < RECENT).map(|(_, thing)| *thing).collect()
    }

    /// Says that figures of a host, its pools and its VMs moved, and nothing happened.
    pub fn moved(&self, host: HostId) {
        let _ = self.moves.send(host);
    }

    /// Hears everything from now on.
    pub fn listen(&self) -> broadcast::Receiver<(u64, Thing)> {
        self.changes.subscribe()
    }

    /// Hears from now on whose figures moved.
    pub fn listen_moves(&self) -> broadcast::Receiver<HostId> {
        self.moves.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn who_was_away_hears_what_changed_meanwhile_or_that_it_was_too_much() {
        let bus = Bus::default();
        let thing = |n: u128| Thing::Vm(VmId(Uuid::from_u128(n)));
        for n in [1, 2, 2, 3] {
            bus.changed(thing(n));
        }
        let missed = |from: u64| bus.listen_from(from).missed;
        assert_eq!(missed(4), Some(BTreeSet::new()));
        assert_eq!(missed(1), Some(BTreeSet::from([thing(2), thing(3)])));
        assert_eq!(missed(5), None, "a revision of another life");
        for n in 0..=BACKLOG_MAX {
            bus.changed(thing(n as u128));
        }
        assert_eq!(missed(4), None, "too long ago");
        let mut now = bus.listen_from(0);
        bus.changed(thing(9));
        assert_eq!(now.changes.try_recv(), Ok((now.revision + 1, thing(9))));
    }
}
