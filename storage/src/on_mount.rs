//! Pools that are a local pool on something this host mounts: an NFS export, a disk of its own. Each call is passed to
//! the local pool while that is open.

use crate::backend::{
    Abilities, Attachment, Backend, Explore, FileAccess, FileDetails, FilePage, FileQuery, Files, Flatten,
    Grow, Images, LettingGo, PoolInfo, Progress, SnapshotInfo, Snapshots, VolumeInfo, VolumeWish,
};
use crate::error::{Result, cannot};
use crate::local::LocalPool;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::{Fault, FaultCode};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::{Duration, Instant};

/// How long a letting go waits for calls under way.
const CALLS_END: Duration = Duration::from_secs(5);

/// A pool that is mounted.
pub struct Open {
    /// Where.
    pub path: String,
    /// Everything file-like.
    pub files: LocalPool,
}

/// Holds what is mounted, while it is.
#[derive(Default)]
pub struct Slot(RwLock<Option<Open>>);

impl Slot {
    fn read(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is mounted.
    pub fn path(&self) -> Option<String> {
        self.read().as_ref().map(|open| open.path.clone())
    }

    /// Puts in what was mounted.
    pub fn fill(&mut self, open: Open) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(open);
    }

    /// Lets go of every open file, does `work`, and keeps what it answers.
    pub fn while_closed(&self, work: impl FnOnce() -> (Option<Open>, Result<()>)) -> Result<()> {
        let end = Instant::now() + CALLS_END;
        let mut open = loop {
            match self.0.try_write() {
                Ok(open) => break open,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Fault::new(
                        FaultCode::PoolInUse,
                        "The pool is working on something.",
                        "Wait until its copies and uploads have ended.",
                    ));
                }
            }
        };
        *open = None;
        let (next, result) = work();
        *open = next;
        result
    }
}

/// What such a pool does before, beside and after its files.
pub trait OnMount: Send + Sync {
    /// Mounts or adopts, checks, and fills the slot.
    fn mount(&mut self) -> Result<()>;
    /// See [`Backend::destroy`].
    fn let_go(&self, how: LettingGo) -> Result<()>;
    /// See [`Backend::info`].
    fn look_closely(&self) -> Result<PoolInfo>;
    /// What is open.
    fn slot(&self) -> &Slot;
    /// Why nothing is.
    fn not_open(&self) -> Fault;
    /// What can be found out before there is a pool.
    fn explore(&self) -> Option<&dyn Explore> {
        None
    }
    /// A local pool's words, in this pool's terms.
    fn translate(&self, fault: Fault) -> Fault;

    /// Calls under way keep their place; a letting go waits for them.
    fn with_files<T>(&self, work: impl FnOnce(&LocalPool) -> Result<T>) -> Result<T>
    where
        Self: Sized,
    {
        let open = self.slot().read();
        let open = open.as_ref().ok_or_else(|| self.not_open())?;
        work(&open.files).map_err(|fault| self.translate(fault))
    }
}

impl<P: OnMount> Backend for P {
    fn init(&mut self) -> Result<()> {
        self.mount()
    }

    fn destroy(&self, how: LettingGo) -> Result<()> {
        self.let_go(how)
    }

    fn info(&self) -> Result<PoolInfo> {
        self.look_closely()
    }

    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        self.with_files(|files| files.volume_create(wish, progress))
    }

    fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        self.with_files(|files| files.volume_delete(id))
    }

    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        self.with_files(Backend::volume_list)
    }

    fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        self.with_files(|files| files.volume_attach(id))
    }

    /// What the local pool can. While that is closed all are claimed, so that a call is told why it is.
    fn abilities(&self) -> Abilities<'_> {
        let open = self.slot().read();
        let there = open.as_ref().map(|open| open.files.abilities());
        let able = |has: fn(&Abilities<'_>) -> bool| there.as_ref().is_none_or(has);
        Abilities {
            files: able(|a| a.files.is_some()).then_some(self),
            file_access: able(|a| a.file_access.is_some()).then_some(self),
            images: able(|a| a.images.is_some()).then_some(self),
            grow: able(|a| a.grow.is_some()).then_some(self),
            flatten: able(|a| a.flatten.is_some()).then_some(self),
            snapshots: able(|a| a.snapshots.is_some()).then_some(self),
            exclusive: None,
            refresh: None,
            explore: self.explore(),
        }
    }
}

impl<P: OnMount> Files for P {
    fn list(&self, query: &FileQuery) -> Result<FilePage> {
        self.with_files(|files| able(files.abilities().files)?.list(query))
    }
}

/// The trait was offered because the local pool has it.
fn able<T: ?Sized>(ability: Option<&T>) -> Result<&T> {
    ability.ok_or_else(|| cannot("do that"))
}

impl<P: OnMount> FileAccess for P {
    fn details(&self, path: &str) -> Result<FileDetails> {
        self.with_files(|files| able(files.abilities().file_access)?.details(path))
    }

    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>> {
        self.with_files(|files| able(files.abilities().file_access)?.read(path, offset, limit))
    }

    fn make_folder(&self, path: &str) -> Result<()> {
        self.with_files(|files| able(files.abilities().file_access)?.make_folder(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.with_files(|files| able(files.abilities().file_access)?.rename(from, to))
    }

    fn copy(&self, from: &str, to: &str, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        self.with_files(|files| able(files.abilities().file_access)?.copy(from, to, progress))
    }

    fn remove(&self, path: &str, progress: &mut dyn FnMut(Progress)) -> Result<bool> {
        self.with_files(|files| able(files.abilities().file_access)?.remove(path, progress))
    }

    fn upload_keep(
        &self,
        id: ImageId,
        path: &str,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        self.with_files(|files| {
            able(files.abilities().file_access)?.upload_keep(id, path, size_bytes, sha256, progress)
        })
    }
}

impl<P: OnMount> Images for P {
    fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64> {
        self.with_files(|files| able(files.abilities().images)?.upload_open(id, size_bytes))
    }

    fn upload_write(&self, id: ImageId, offset: u64, bytes: &[u8]) -> Result<u64> {
        self.with_files(|files| able(files.abilities().images)?.upload_write(id, offset, bytes))
    }

    fn upload_sync(&self, id: ImageId) -> Result<u64> {
        self.with_files(|files| able(files.abilities().images)?.upload_sync(id))
    }

    fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts> {
        self.with_files(|files| {
            able(files.abilities().images)?.upload_finish(id, size_bytes, sha256, progress)
        })
    }

    fn image_delete(&self, id: ImageId) -> Result<bool> {
        self.with_files(|files| able(files.abilities().images)?.image_delete(id))
    }

    fn image_attach(&self, id: ImageId) -> Result<Attachment> {
        self.with_files(|files| able(files.abilities().images)?.image_attach(id))
    }
}

impl<P: OnMount> Grow for P {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        self.with_files(|files| able(files.abilities().grow)?.volume_grow(id, size_bytes))
    }
}

impl<P: OnMount> Flatten for P {
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        self.with_files(|files| able(files.abilities().flatten)?.volume_flatten(id, progress))
    }
}

impl<P: OnMount> Snapshots for P {
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo> {
        self.with_files(|files| able(files.abilities().snapshots)?.snapshot_create(id, name))
    }

    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        self.with_files(|files| able(files.abilities().snapshots)?.snapshot_list(id))
    }

    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()> {
        self.with_files(|files| able(files.abilities().snapshots)?.snapshot_revert(id, name))
    }

    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool> {
        self.with_files(|files| able(files.abilities().snapshots)?.snapshot_delete(id, name))
    }
}
