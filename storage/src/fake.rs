//! A pool in memory, for tests of everything above storage. It keeps the same promises as the real ones (the same
//! suite runs on it), and can be told to stall, to fail or to be full.

mod abilities;

use crate::backend::{
    Abilities, Attachment, Backend, FileEntry, FileKind, FilePage, FileQuery, FileSort, Files, Images,
    LettingGo, PoolInfo, PoolSetup, Progress, SnapshotInfo, VolumeInfo, VolumeWish,
};
use crate::error::{self, Result};
use crate::local::sniff::{self, Content};
use quantix_model::Fault;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::pool::{Capabilities, Capacity};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource, check_size};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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
    volumes: BTreeMap<VolumeId, VolumeInfo>,
    images: BTreeMap<ImageId, (Vec<u8>, ImageFacts)>,
    uploads: BTreeMap<ImageId, Vec<u8>>,
    snapshots: BTreeMap<VolumeId, Vec<SnapshotInfo>>,
    /// Volumes that were attached and not let go of since.
    held: BTreeSet<VolumeId>,
    tree: abilities::Tree,
    reach: Reach,
    capabilities: Capabilities,
    let_go: Vec<LettingGo>,
    stalled: bool,
    killable: bool,
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
                snapshots: BTreeMap::new(),
                held: BTreeSet::new(),
                tree: BTreeMap::new(),
                reach: Reach::Files,
                capabilities: Capabilities {
                    files: true,
                    images: true,
                    grow: true,
                    grow_running: true,
                    snapshots: true,
                    formats: vec![VolumeFormat::Qcow2, VolumeFormat::Raw],
                    file_system: "memory".to_owned(),
                    ..Capabilities::default()
                },
                let_go: Vec::new(),
                stalled: false,
                killable: true,
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

    /// Puts a file there.
    pub fn put_file(&self, path: &str, bytes: Vec<u8>) {
        self.lock().tree.insert(path.to_owned(), Some(bytes));
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
        FakeBackend { pool: self, killed }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn used_bytes(&self) -> u64 {
        let volumes = self.volumes.values().map(|v| v.allocated_bytes);
        let bytes = self.images.values().map(|(b, _)| b).chain(self.uploads.values()).map(|b| b.len() as u64);
        volumes.chain(bytes).sum()
    }

    /// What people put directly into a folder; its path ends with a slash, but for the root's.
    fn below(&self, folder: &str) -> impl Iterator<Item = FileEntry> {
        let here = self.tree.iter().filter_map(move |(path, bytes)| {
            let name = path.strip_prefix(folder)?;
            (!name.contains('/')).then(|| abilities::entry(name, bytes.as_ref()))
        });
        here.collect::<Vec<_>>().into_iter()
    }

    /// What a copy of a volume takes, if it fits.
    fn copied(&self, id: VolumeId, snapshot: &str, size_bytes: u64) -> Result<u64> {
        let source = self.volumes.get(&id).ok_or_else(|| error::volume_missing(id))?;
        let known = self.snapshots.get(&id).is_some_and(|all| all.iter().any(|s| s.name == snapshot));
        if !snapshot.is_empty() && !known {
            return Err(abilities::no_snapshot(snapshot));
        }
        if size_bytes < source.size_bytes {
            return Err(Fault::invalid(
                "size_bytes",
                format!("The source has {} bytes; {size_bytes} are too few.", source.size_bytes),
                "Choose at least the size of the source.",
            ));
        }
        Ok(source.allocated_bytes)
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
}

impl FakeBackend {
    /// The shelf, after any stall; or the fault that was asked for.
    fn shelf(&self) -> Result<MutexGuard<'_, Shelf>> {
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

impl Backend for FakeBackend {
    fn init(&mut self) -> Result<()> {
        self.shelf().map(drop)
    }

    fn destroy(&self, how: LettingGo) -> Result<()> {
        self.shelf()?.let_go.push(how);
        Ok(())
    }

    fn info(&self) -> Result<PoolInfo> {
        let shelf = self.shelf()?;
        let used_bytes = shelf.used_bytes().min(shelf.total_bytes);
        Ok(PoolInfo {
            capacity: Capacity {
                total_bytes: shelf.total_bytes,
                used_bytes,
                available_bytes: shelf.total_bytes - used_bytes,
            },
            capabilities: shelf.capabilities.clone(),
            mount_path: MOUNT_PATH.to_owned(),
            volume_count: u32::try_from(shelf.volumes.len()).unwrap_or(u32::MAX),
            probe: "looked into memory".to_owned(),
            fault: None,
            facts: Vec::new(),
        })
    }

    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        check_size("size_bytes", wish.size_bytes)?;
        let mut shelf = self.shelf()?;
        if let Some(there) = shelf.volumes.get(&wish.id) {
            return error::same_volume(wish, there.clone());
        }
        let mut allocated_bytes = 0;
        let linked = matches!(
            wish.source,
            VolumeSource::Image { linked: true, .. } | VolumeSource::Volume { linked: true, .. }
        );
        if linked || wish.allocation == Allocation::Thick {
            return Err(error::cannot("link volumes or reserve space"));
        }
        if let VolumeSource::Volume { id, snapshot, .. } = &wish.source {
            allocated_bytes = shelf.copied(*id, snapshot, wish.size_bytes)?;
            progress(Progress { done_bytes: allocated_bytes, total_bytes: allocated_bytes });
        }
        if let Some(id) = wish.source.image() {
            let (bytes, facts) = shelf.images.get(&id).ok_or_else(|| error::image_not_there(id))?;
            error::check_image_fits(wish, facts.format, facts.virtual_size_bytes)?;
            allocated_bytes = bytes.len() as u64;
            progress(Progress { done_bytes: allocated_bytes, total_bytes: allocated_bytes });
        }
        shelf.room_for(allocated_bytes)?;
        let info = VolumeInfo {
            id: wish.id,
            size_bytes: wish.size_bytes,
            allocated_bytes,
            format: wish.format,
            allocation: wish.allocation,
            parent: None,
            clones: 0,
        };
        shelf.volumes.insert(wish.id, info.clone());
        Ok(info)
    }

    fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        let mut shelf = self.shelf()?;
        shelf.snapshots.remove(&id);
        shelf.held.remove(&id);
        Ok(shelf.volumes.remove(&id).is_some())
    }

    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        Ok(self.shelf()?.volumes.values().cloned().collect())
    }

    fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        let mut shelf = self.shelf()?;
        let format = shelf.volumes.get(&id).ok_or_else(|| error::volume_missing(id))?.format;
        shelf.held.insert(id);
        Ok(match &shelf.reach {
            Reach::Files => {
                let path = format!("{MOUNT_PATH}/volumes/{id}.{}", format.as_str());
                Attachment::File { path, format }
            }
            Reach::Blocks => Attachment::Block { path: format!("/dev/fake/{id}") },
            Reach::Rbd(Attachment::Rbd { monitors, pool, user, secret_uuid, .. }) => Attachment::Rbd {
                monitors: monitors.clone(),
                pool: pool.clone(),
                image: id.to_string(),
                user: user.clone(),
                secret_uuid: *secret_uuid,
            },
            Reach::Rbd(other) => other.clone(),
        })
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities {
            files: Some(self),
            file_access: Some(self),
            images: Some(self),
            grow: Some(self),
            snapshots: Some(self),
            exclusive: Some(self),
        }
    }
}

impl FakeBackend {
    fn entries(&self, path: &str) -> Result<Vec<FileEntry>> {
        let shelf = self.shelf()?;
        let entry = |name: String, kind: FileKind, format: &str, bytes: u64| FileEntry {
            name,
            kind,
            format: format.to_owned(),
            size_bytes: bytes,
            allocated_bytes: bytes,
            mode: if kind == FileKind::Directory { 0o755 } else { 0o600 },
            owner: "root".to_owned(),
            modified_at_ms: 0,
        };
        Ok(match path.trim_matches('/') {
            _ if path.starts_with('/') || path.split('/').any(|part| part == "..") => {
                return Err(error::outside(path));
            }
            "" => ["images", "volumes"]
                .map(|name| entry(name.to_owned(), FileKind::Directory, "", 0))
                .into_iter()
                .chain([entry(".quantix-pool".to_owned(), FileKind::Regular, "", 64)])
                .chain(shelf.below(""))
                .collect(),
            "volumes" => {
                let volumes = shelf.volumes.values();
                let file = |v: &VolumeInfo| {
                    let name = format!("{}.{}", v.id, v.format.as_str());
                    entry(name, FileKind::Regular, v.format.as_str(), v.allocated_bytes)
                };
                volumes.map(file).collect()
            }
            "images" => {
                let finished = shelf.images.iter().map(|(id, (bytes, facts))| {
                    let format = facts.format.as_str();
                    entry(format!("{id}.{format}"), FileKind::Regular, format, bytes.len() as u64)
                });
                let parts = shelf.uploads.iter();
                let parts =
                    parts.map(|(id, b)| entry(format!(".{id}.part"), FileKind::Regular, "", b.len() as u64));
                finished.chain(parts).collect()
            }
            folder if shelf.tree.get(folder).is_some_and(Option::is_none) => {
                shelf.below(&format!("{folder}/")).collect()
            }
            _ => return Err(error::file_not_found(path)),
        })
    }
}

impl Files for FakeBackend {
    fn list(&self, query: &FileQuery) -> Result<FilePage> {
        let wanted = query.filter.to_lowercase();
        let mut entries = self.entries(&query.path)?;
        entries.retain(|e| e.name.to_lowercase().contains(&wanted));
        entries.sort_by(|a, b| {
            let by = match query.sort {
                FileSort::Name => a.name.cmp(&b.name),
                FileSort::Size => a.size_bytes.cmp(&b.size_bytes).then_with(|| a.name.cmp(&b.name)),
                FileSort::Modified => {
                    a.modified_at_ms.cmp(&b.modified_at_ms).then_with(|| a.name.cmp(&b.name))
                }
            };
            let folders = (a.kind != FileKind::Directory).cmp(&(b.kind != FileKind::Directory));
            folders.then(if query.descending { by.reverse() } else { by })
        });
        let total = entries.len();
        let page = entries.into_iter().skip(query.offset).take(query.limit.clamp(1, 1000));
        Ok(FilePage { entries: page.collect(), total })
    }
}

impl Images for FakeBackend {
    fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64> {
        let mut shelf = self.shelf()?;
        if let Some((bytes, _)) = shelf.images.get(&id) {
            return error::same_length(id, size_bytes, bytes.len() as u64);
        }
        let there = shelf.uploads.get(&id).map_or(0, |b| b.len() as u64);
        shelf.room_for(size_bytes.saturating_sub(there))?;
        let upload = shelf.uploads.entry(id).or_default();
        if there > size_bytes {
            upload.clear();
        }
        Ok(upload.len() as u64)
    }

    fn upload_write(&self, id: ImageId, offset: u64, bytes: &[u8]) -> Result<u64> {
        let mut shelf = self.shelf()?;
        shelf.room_for(bytes.len() as u64)?;
        let upload = shelf.uploads.get_mut(&id).ok_or_else(|| error::upload_not_there(id))?;
        if offset != upload.len() as u64 {
            return Err(error::offset(id, offset, upload.len() as u64));
        }
        upload.extend_from_slice(bytes);
        Ok(upload.len() as u64)
    }

    fn upload_sync(&self, id: ImageId) -> Result<u64> {
        let shelf = self.shelf()?;
        shelf.uploads.get(&id).map(|b| b.len() as u64).ok_or_else(|| error::upload_not_there(id))
    }

    fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts> {
        let mut shelf = self.shelf()?;
        if let Some((bytes, facts)) = shelf.images.get(&id) {
            error::same_length(id, size_bytes, bytes.len() as u64)?;
            return error::same_checksum(sha256, &facts.sha256).map(|()| facts.clone());
        }
        let bytes = shelf.uploads.get(&id).ok_or_else(|| error::upload_not_there(id))?;
        let length = bytes.len() as u64;
        if length != size_bytes {
            return Err(error::incomplete(length, size_bytes));
        }
        progress(Progress { done_bytes: length, total_bytes: length });
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let found = sniff::hex(digest.as_ref());
        let checked = error::same_checksum(sha256, &found).and_then(|()| match sniff::content(bytes) {
            Content::Image(format) => Ok(format),
            other => Err(other.refusal()),
        });
        // What can never become an image is not kept.
        let bytes = shelf.uploads.remove(&id).unwrap_or_default();
        let format = checked?;
        let virtual_size_bytes = match format.disk_format() {
            Some(VolumeFormat::Qcow2) => sniff::qcow2_virtual_size(&bytes)?,
            Some(VolumeFormat::Raw) | None => length,
        };
        let facts = ImageFacts { format, virtual_size_bytes, sha256: found };
        shelf.images.insert(id, (bytes, facts.clone()));
        Ok(facts)
    }

    fn image_delete(&self, id: ImageId) -> Result<bool> {
        let mut shelf = self.shelf()?;
        let (image, upload) = (shelf.images.remove(&id), shelf.uploads.remove(&id));
        Ok(image.is_some() || upload.is_some())
    }

    fn image_attach(&self, id: ImageId) -> Result<Attachment> {
        let shelf = self.shelf()?;
        let (_, facts) = shelf.images.get(&id).ok_or_else(|| error::image_not_there(id))?;
        Ok(Attachment::File {
            path: format!("{MOUNT_PATH}/images/{id}.{}", facts.format.as_str()),
            format: facts.format.disk_format().unwrap_or(VolumeFormat::Raw),
        })
    }
}

impl std::fmt::Debug for FakePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakePool").field("used_bytes", &self.lock().used_bytes()).finish_non_exhaustive()
    }
}

/// A setup for tests: a local pool by name only.
pub fn setup(id: quantix_model::id::PoolId) -> PoolSetup {
    let spec = quantix_model::pool::PoolSpec::local("/var/lib/quantix/pools/fake");
    PoolSetup { id, spec, must_exist: false }
}
