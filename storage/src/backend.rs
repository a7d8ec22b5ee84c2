//! What every pool backend can do, and the optional abilities next to it.
//!
//! A backend lives in a worker process of its own (`quantix-node pool-worker`), one per pool, and may block: the
//! daemon never calls these methods itself, it asks the worker over a socket with a deadline.

use crate::error::Result;
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::pool::{Capabilities, Capacity, PoolSpec};
use quantix_model::volume::VolumeFormat;
use serde::{Deserialize, Serialize};

/// Which pool a worker serves, and where it is. The first thing a worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSetup {
    /// Which; kept in the pool itself, so that two pools never share a place.
    pub id: PoolId,
    /// What it should be.
    pub spec: PoolSpec,
    /// It was healthy on this host before: a place without our marker is then a fault (a disk that is not mounted),
    /// never a reason to start anew.
    #[serde(default)]
    pub must_exist: bool,
}

/// A pool backend. Every method is idempotent by id. Long work and short work come from different threads, so that a
/// copy of an hour does not keep anybody from looking.
pub trait Backend: Send + Sync {
    /// Makes the pool usable: folders, mounts, logins. Called at each start of the worker.
    fn init(&mut self) -> Result<()>;
    /// Looks (statfs, write probe) and tells.
    fn info(&self) -> Result<PoolInfo>;
    /// Makes a volume; an equal one that is there already is a success.
    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo>;
    /// Removes a volume; `false` when it was not there.
    fn volume_delete(&self, id: VolumeId) -> Result<bool>;
    /// All volumes of ours in the pool.
    fn volume_list(&self) -> Result<Vec<VolumeInfo>>;
    /// Where a VM finds the volume.
    fn volume_attach(&self, id: VolumeId) -> Result<Attachment>;
    /// File browsing, where there are files.
    fn files(&self) -> Option<&dyn Files>;
    /// Image library, where images can be kept.
    fn images(&self) -> Option<&dyn Images>;
}

/// Browsing files beneath the pool root.
pub trait Files {
    /// One page of a folder, directories first.
    fn list(&self, query: &FileQuery) -> Result<FilePage>;
}

/// Keeping images, and receiving them piece by piece.
pub trait Images {
    /// Opens or reopens an upload; answers the bytes safely there.
    fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64>;
    /// Appends at `offset`, which must equal what is there; answers the new length.
    fn upload_write(&self, id: ImageId, offset: u64, bytes: &[u8]) -> Result<u64>;
    /// Makes what was written durable.
    fn upload_sync(&self, id: ImageId) -> Result<u64>;
    /// Checks size, checksum and content, then makes the image visible.
    fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts>;
    /// Removes an upload or an image; `false` when there was neither.
    fn image_delete(&self, id: ImageId) -> Result<bool>;
    /// Where a VM finds a finished image.
    fn image_attach(&self, id: ImageId) -> Result<Attachment>;
}

/// How far long work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// What a pool is like now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolInfo {
    /// Sizes.
    pub capacity: Capacity,
    /// Abilities.
    pub capabilities: Capabilities,
    /// Where it is on the host.
    pub mount_path: String,
    /// Volumes of ours.
    pub volume_count: u32,
    /// What was tried to find out.
    pub probe: String,
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeWish {
    /// Which.
    pub id: VolumeId,
    /// As the guest sees it.
    pub size_bytes: u64,
    /// Kept how.
    pub format: VolumeFormat,
    /// Starts as a copy of this finished image of the same pool.
    pub image_id: Option<ImageId>,
}

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Which.
    pub id: VolumeId,
    /// As the guest sees it.
    pub size_bytes: u64,
    /// Really taken.
    pub allocated_bytes: u64,
    /// Kept how.
    pub format: VolumeFormat,
}

/// Where QEMU finds a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Attachment {
    /// A file on this host.
    File {
        /// Absolute.
        path: String,
        /// qcow2, raw (also for ISOs).
        format: VolumeFormat,
    },
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileQuery {
    /// Relative to the pool root; empty is the root.
    pub path: String,
    /// Part of the name, any case.
    pub filter: String,
    /// By what.
    pub sort: FileSort,
    /// Largest or last first.
    pub descending: bool,
    /// Entries to pass over.
    pub offset: usize,
    /// Entries to give, 1 to 1000.
    pub limit: usize,
}

/// Order of a listing; directories always come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSort {
    /// By name.
    #[default]
    Name,
    /// By size.
    Size,
    /// By time of last change.
    Modified,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePage {
    /// Entries of this page.
    pub entries: Vec<FileEntry>,
    /// Entries that match in all.
    pub total: usize,
}

/// A file as seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// By content: `qcow2`, `iso`, `raw`, …; empty when unknown.
    pub format: String,
    /// Apparent size.
    pub size_bytes: u64,
    /// Really taken.
    pub allocated_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// User name, or number when it has none.
    pub owner: String,
    /// Last change of content, Unix milliseconds.
    pub modified_at_ms: i64,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A folder.
    Directory,
    /// A file.
    Regular,
    /// A link; never followed.
    Symlink,
    /// Device, socket, pipe; never opened.
    Other,
}
