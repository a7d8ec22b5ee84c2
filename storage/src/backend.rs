//! What every pool backend can do, and the optional abilities next to it.
//!
//! A backend lives in a worker process of its own (`quantix-node pool-worker`), one per pool, and may block: the
//! daemon never calls these methods itself, it asks the worker over a socket with a deadline.

use crate::error::Result;
use crate::explore::Found;
use quantix_model::Fault;
use quantix_model::file::KeptFor;
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::pool::{Capabilities, Capacity, Fact, PoolSpec};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// This host may make what is needed once for all hosts (a volume group on a LUN): two that do it at once spoil it.
    #[serde(default)]
    pub may_make: bool,
}

/// A pool backend. Every method is idempotent by id. Long work and short work come from different threads, so that a
/// copy of an hour does not keep anybody from looking.
///
/// What not every backend can do stands in the small traits below; [`Capabilities`] tells people which are there.
pub trait Backend: Send + Sync {
    /// Makes the pool usable: folders, mounts, logins. Called at each start of the worker.
    fn init(&mut self) -> Result<()>;
    /// Lets go of the pool: unmounts, logs out. Its bytes stay. Nothing to let go of is a success.
    fn destroy(&self, how: LettingGo) -> Result<()>;
    /// Looks (statfs, write probe) and tells.
    fn info(&self) -> Result<PoolInfo>;
    /// Makes a volume; an equal one that is there already is a success.
    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo>;
    /// Removes a volume with its snapshots; `false` when it was not there. Refused while linked clones need it.
    fn volume_delete(&self, id: VolumeId) -> Result<bool>;
    /// All volumes of ours in the pool.
    fn volume_list(&self) -> Result<Vec<VolumeInfo>>;
    /// Makes the volume reachable on this host and says where a VM finds it. Called before each start of a VM.
    fn volume_attach(&self, id: VolumeId) -> Result<Attachment>;
    /// The optional abilities.
    fn abilities(&self) -> Abilities<'_>;
}

/// What a backend can do beyond volumes. What is `None` is refused with `POOL_CANNOT`.
#[derive(Clone, Copy, Default)]
pub struct Abilities<'a> {
    /// See the trait.
    pub files: Option<&'a dyn Files>,
    /// See the trait.
    pub file_access: Option<&'a dyn FileAccess>,
    /// See the trait.
    pub images: Option<&'a dyn Images>,
    /// See the trait.
    pub grow: Option<&'a dyn Grow>,
    /// See the trait.
    pub flatten: Option<&'a dyn Flatten>,
    /// See the trait.
    pub snapshots: Option<&'a dyn Snapshots>,
    /// See the trait.
    pub exclusive: Option<&'a dyn Exclusive>,
    /// See the trait.
    pub refresh: Option<&'a dyn Refresh>,
    /// See the trait.
    pub explore: Option<&'a dyn Explore>,
}

/// How a pool is let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LettingGo {
    /// In order; refused while something uses it.
    #[default]
    Orderly,
    /// Its server is dead and will not answer: do not wait for it.
    Forced,
}

/// Growing volumes that no VM of this host has open (a running VM's file or RBD image grows through QEMU).
pub trait Grow {
    /// Grows; the same or a smaller size than there is: the same is a success, a smaller one `VOLUME_CANNOT_SHRINK`.
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo>;
}

/// Making linked clones independent. What the clone holds does not change; killed in its middle it is still linked.
pub trait Flatten {
    /// Copies what the volume shares with another volume or an image, and forgets that. One that stands alone already
    /// is a success. Refused while anything has it open.
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo>;
}

/// Keeping what a volume was at a moment. Names are checked (`check_snapshot_name`) and unique in their volume.
pub trait Snapshots {
    /// Keeps the volume as it is now; one of that name that is there already is a success.
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo>;
    /// Oldest first.
    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>>;
    /// Throws away what was written since. The snapshot stays.
    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()>;
    /// Forgets it; `false` when it was not there. Refused while linked clones need it.
    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool>;
}

/// Volumes that must not be open on two hosts at once, and need to be told when a VM has let go.
pub trait Exclusive {
    /// The VM that had the volume on this host is off; not held is a success.
    fn volume_detach(&self, id: VolumeId) -> Result<()>;
}

/// Looking for what changed outside: what a person means by "try again" for a pool that works.
pub trait Refresh {
    /// Signs in on paths that were missing, looks for a disk's new size, and takes that in when it is our turn: one host
    /// does. Nothing new is a success.
    fn pool_refresh(&self, take_in: bool) -> Result<()>;
}

/// Finding what a pool could be made of. Asked of a backend that was not initialised, whose spec is a question.
pub trait Explore {
    /// Looks, and leaves nothing behind.
    fn explore(&self) -> Result<Found>;
}

/// Browsing files beneath the pool root. Paths are relative to it.
pub trait Files {
    /// One page of a folder, directories first.
    fn list(&self, query: &FileQuery) -> Result<FilePage>;
}

/// Opening and changing files beneath the pool root. What a volume or image of ours needs is refused: those go by id.
pub trait FileAccess {
    /// Looks at one file closely.
    fn details(&self, path: &str) -> Result<FileDetails>;
    /// Up to `limit` bytes from `offset`; fewer only at the end of the file. Regular files only.
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>>;
    /// Makes a folder; one that is there already is a success. Its parent must be there.
    fn make_folder(&self, path: &str) -> Result<()>;
    /// Renames or moves within the pool; never over something that is there.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Copies a file, holes kept, shared extents where the file system can; never over something that is there.
    fn copy(&self, from: &str, to: &str, progress: &mut dyn FnMut(Progress)) -> Result<()>;
    /// Removes a file, or a folder with all that is in it; `false` when it was not there. Progress in entries.
    fn remove(&self, path: &str, progress: &mut dyn FnMut(Progress)) -> Result<bool>;
    /// Makes a finished upload (see [`Images`]) a file of that path; never over something that is there.
    fn upload_keep(
        &self,
        id: ImageId,
        path: &str,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()>;
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
    /// Removes an upload or an image; `false` when there was neither. Refused while linked volumes need it.
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
    /// Usable, but something is wrong (a path is missing, the server squashes root): the pool is Degraded.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// What else was found, for people.
    #[serde(default)]
    pub facts: Vec<Fact>,
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
    /// When space is taken.
    pub allocation: Allocation,
    /// What it starts with.
    pub source: VolumeSource,
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
    /// When space is taken.
    #[serde(default)]
    pub allocation: Allocation,
    /// The volume it needs (a linked clone).
    #[serde(default)]
    pub parent: Option<VolumeId>,
    /// Volumes that need this one or a snapshot of it.
    #[serde(default)]
    pub clones: u32,
}

/// A volume as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Unique in its volume.
    pub name: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// As the guest saw it then.
    pub size_bytes: u64,
    /// Linked clones that need it.
    pub clones: u32,
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
    /// A block device on this host, raw.
    Block {
        /// Absolute.
        path: String,
    },
    /// An RBD image, raw, which QEMU reaches by itself. libvirt holds the key under `secret_uuid`.
    Rbd {
        /// `host`, `host:port` or `[v6]:port`.
        monitors: Vec<String>,
        /// Ceph pool.
        pool: String,
        /// Image in it.
        image: String,
        /// CephX user without `client.`.
        user: String,
        /// See [`quantix_model::pool::spec::secret_uuid`].
        secret_uuid: Uuid,
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
    /// Set when it is ours: changing it is refused.
    pub kept_for: Option<KeptFor>,
}

/// A file looked at closely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDetails {
    /// As in a listing.
    pub entry: FileEntry,
    /// As the guest sees it; 0 when it is no disk image.
    pub virtual_size_bytes: u64,
    /// From the image to its base, as the images name them.
    pub backing_chain: Vec<String>,
    /// Internal snapshots of a qcow2 file.
    pub snapshots: Vec<String>,
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
