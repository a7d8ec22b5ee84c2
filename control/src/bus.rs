//! Who changed: a broadcast of noun and id inside this process. Listeners read the view themselves, so that a
//! burst of changes of one object costs one read.
//!
//! Load, ages and free space move with every beat of every host. That is told apart, by host only: whoever shows it may
//! pick as much of it as they can take, and loses nothing else when there is more.

use quantix_model::id::{AlertId, EventId, HostId, ImageId, PoolId, TaskId, VmId, VolumeId};
use tokio::sync::broadcast;
use uuid::Uuid;

/// Changes that a slow listener may fall behind before it must read everything again.
const BACKLOG_MAX: usize = 4096;

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
}

impl Thing {
    /// `host`, `pool`, `image`, `volume`, `vm`, `task`, `event`, `alert`: also a task's `object_kind`.
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
            _ => return None,
        })
    }
}

/// The bus. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct Bus {
    changes: broadcast::Sender<Thing>,
    moves: broadcast::Sender<HostId>,
}

impl Default for Bus {
    fn default() -> Bus {
        Bus { changes: broadcast::channel(BACKLOG_MAX).0, moves: broadcast::channel(BACKLOG_MAX).0 }
    }
}

impl Bus {
    /// Says that something changed, came or went.
    pub fn changed(&self, thing: Thing) {
        // Nobody listening is no error.
        let _ = self.changes.send(thing);
    }

    /// Says that figures of a host, its pools and its VMs moved, and nothing happened.
    pub fn moved(&self, host: HostId) {
        let _ = self.moves.send(host);
    }

    /// Hears everything from now on.
    pub fn listen(&self) -> broadcast::Receiver<Thing> {
        self.changes.subscribe()
    }

    /// Hears from now on whose figures moved.
    pub fn listen_moves(&self) -> broadcast::Receiver<HostId> {
        self.moves.subscribe()
    }
}
