//! The traits of a file pool, each call passed to the local pool on the mount point while that is open.

use crate::backend::{
    Abilities, Attachment, Backend, FileAccess, FileDetails, FilePage, FileQuery, Files, Flatten, Grow,
    Images, LettingGo, PoolInfo, Progress, SnapshotInfo, Snapshots, VolumeInfo, VolumeWish,
};
use crate::error::{Result, cannot};
use crate::nfs::NfsPool;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFacts;

impl Backend for NfsPool {
    fn init(&mut self) -> Result<()> {
        let open = self.start()?;
        *self.open.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(open);
        Ok(())
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
        let open = self.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
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
            explore: Some(self),
        }
    }
}

impl Files for NfsPool {
    fn list(&self, query: &FileQuery) -> Result<FilePage> {
        self.with_files(|files| able(files.abilities().files)?.list(query))
    }
}

/// The trait was offered because the local pool has it.
fn able<T: ?Sized>(ability: Option<&T>) -> Result<&T> {
    ability.ok_or_else(|| cannot("do that"))
}

impl FileAccess for NfsPool {
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

impl Images for NfsPool {
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

impl Grow for NfsPool {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        self.with_files(|files| able(files.abilities().grow)?.volume_grow(id, size_bytes))
    }
}

impl Flatten for NfsPool {
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        self.with_files(|files| able(files.abilities().flatten)?.volume_flatten(id, progress))
    }
}

impl Snapshots for NfsPool {
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
