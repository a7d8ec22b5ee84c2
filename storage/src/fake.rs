//! A pool in memory, for tests of everything above storage. It keeps the same promises as the real ones (the same
//! suite runs on it), and can be told to stall, to fail or to be full.

mod files;
mod images;
mod volumes;

use crate::backend::{Attachment, LettingGo, PoolSetup};
use crate::error::{self, Result};
use crate::explore::Found;
use files::Node;
use quantix_model::Fault;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::pool::Capabilities;
use quantix_model::volume::VolumeFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use volumes::Volume;

/// How VMs reach the volumes of a pool in memory.
#[derive(Clone, Debug, Default)]
pub enum Reach {
    /// As files.
    #[default]
    Files,
    /// As block devices.
    Blocks,
    /// Over the network: the attachment of every volume, but for its name.
    Rbd(Attachment),
}

/// What a pool in memory holds and how it misbehaves. Lives on when its workers die.
pub struct FakePool {
    shelf: Mutex<Shelf>,
    changed: Condvar,
}

struct Shelf {
    total_bytes: u64,
    volumes: BTreeMap<VolumeId, Volume>,
    images: BTreeMap<ImageId, (Vec<u8>, ImageFacts)>,
    uploads: BTreeMap<ImageId, Vec<u8>>,
    /// What people put there, by path.
    nodes: BTreeMap<String, Node>,
    /// Volumes that were attached and not let go of since.
    held: BTreeSet<VolumeId>,
    reach: Reach,
    capabilities: Capabilities,
    found: Option<Found>,
    let_go: Vec<LettingGo>,
    /// Somebody with leave was here; see [`crate::backend::PoolSetup::may_make`].
    made: bool,
    stalled: bool,
    killable: bool,
    slow: Duration,
    fault: Option<Fault>,
}

impl FakePool {
    /// An empty pool of 1 TiB that behaves.
    pub fn new() -> Arc<FakePool> {
        Arc::new(FakePool {
            shelf: Mutex::new(Shelf {
                total_bytes: 1 << 40,
                volumes: BTreeMap::new(),
                images: BTreeMap::new(),
                uploads: BTreeMap::new(),
                nodes: BTreeMap::new(),
                held: BTreeSet::new(),
                reach: Reach::Files,
                capabilities: Capabilities {
                    files: true,
                    images: true,
                    snapshots: true,
                    clones: true,
                    flatten: true,
                    grow: true,
                    grow_running: true,
                    thick: true,
                    formats: vec![VolumeFormat::Qcow2, VolumeFormat::Raw],
                    file_system: "memory".to_owned(),
                    ..Capabilities::default()
                },
                let_go: Vec::new(),
                found: None,
                made: false,
                stalled: false,
                killable: true,
                slow: Duration::ZERO,
                fault: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// From now on nothing answers (or does again), as when a server is dead.
    pub fn stall(&self, stalled: bool) {
        self.lock().stalled = stalled;
        self.wake();
    }

    /// Whether a stalled worker goes when killed, or waits in the kernel like one on a dead server.
    pub fn killable(&self, killable: bool) {
        self.lock().killable = killable;
        self.wake();
    }

    /// From now on every call takes so long, as on a disk that is worn out.
    pub fn slow(&self, by: Duration) {
        self.lock().slow = by;
    }

    /// From now on every call fails like this (or works again).
    pub fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Says how VMs reach its volumes.
    pub fn reach(&self, reach: Reach) {
        self.lock().reach = reach;
    }

    /// Changes what it says it can do.
    pub fn can(&self, change: impl FnOnce(&mut Capabilities)) {
        change(&mut self.lock().capabilities);
    }

    /// Volumes that are attached.
    pub fn held(&self) -> Vec<VolumeId> {
        self.lock().held.iter().copied().collect()
    }

    /// How often and in which way it was let go of.
    pub fn let_go(&self) -> Vec<LettingGo> {
        self.lock().let_go.clone()
    }

    /// What it answers when it is asked what pools could be made of.
    pub fn find(&self, found: Found) {
        self.lock().found = Some(found);
    }

    /// Puts a file there.
    pub fn put_file(&self, path: &str, bytes: Vec<u8>) {
        self.lock().nodes.insert(path.to_owned(), Node::File(bytes));
    }

    /// Sets the size of the pool.
    pub fn resize(&self, total_bytes: u64) {
        self.lock().total_bytes = total_bytes;
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// The pool as a worker sees it. `killed` ends its stalls.
    pub fn backend(self: Arc<FakePool>, killed: Arc<AtomicBool>) -> FakeBackend {
        FakeBackend { pool: self, killed, leave: true }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn used_bytes(&self) -> u64 {
        let volumes = self.volumes.values().map(|v| v.info.allocated_bytes);
        let bytes = self.images.values().map(|(b, _)| b).chain(self.uploads.values()).map(|b| b.len() as u64);
        let files = self.nodes.values().map(Node::len);
        volumes.chain(bytes).chain(files).sum()
    }

    fn room_for(&self, bytes: u64) -> Result<()> {
        let left = self.total_bytes.saturating_sub(self.used_bytes());
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        if bytes > left { Err(error::io("reserve", &full)) } else { Ok(()) }
    }
}

/// See [`FakePool`].
pub struct FakeBackend {
    pool: Arc<FakePool>,
    killed: Arc<AtomicBool>,
    leave: bool,
}

impl FakeBackend {
    /// Says whether it may make the pool when nobody did.
    pub fn with_leave(self, leave: bool) -> FakeBackend {
        FakeBackend { leave, ..self }
    }

    /// The shelf, after any stall; or the fault that was asked for.
    fn shelf(&self) -> Result<MutexGuard<'_, Shelf>> {
        let slow = self.pool.lock().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let mut shelf = self.pool.lock();
        while shelf.stalled && !(shelf.killable && self.killed.load(Ordering::SeqCst)) {
            shelf = self.pool.changed.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
        if self.killed.load(Ordering::SeqCst) {
            return Err(Fault::internal("killed"));
        }
        shelf.fault.clone().map_or(Ok(shelf), Err)
    }
}

/// Where fakes say their files are; nothing is there.
const MOUNT_PATH: &str = "/fake/pool";

impl std::fmt::Debug for FakePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakePool").field("used_bytes", &self.lock().used_bytes()).finish_non_exhaustive()
    }
}

/// A setup for tests: a local pool by name only.
pub fn setup(id: quantix_model::id::PoolId) -> PoolSetup {
    let spec = quantix_model::pool::PoolSpec::local("/var/lib/quantix/pools/fake");
    PoolSetup { id, spec, must_exist: false, may_make: true }
}
