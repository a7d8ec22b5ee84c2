//! What the pool in memory can do beyond volumes and images: growing, snapshots, being held by one host, and files.

use super::{FakeBackend, Shelf, sniff};
use crate::backend::{
    Exclusive, FileAccess, FileDetails, FileEntry, FileKind, Grow, Progress, SnapshotInfo, Snapshots,
    VolumeInfo,
};
use crate::error::{self, Result};
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::volume::{check_size, check_snapshot_name};
use quantix_model::{Fault, FaultCode};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Files and folders people made; folders have no bytes.
pub(super) type Tree = BTreeMap<String, Option<Vec<u8>>>;

impl Grow for FakeBackend {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        check_size("size_bytes", size_bytes)?;
        let mut shelf = self.shelf()?;
        let volume = shelf.volumes.get_mut(&id).ok_or_else(|| error::volume_missing(id))?;
        if size_bytes < volume.size_bytes {
            return Err(Fault::new(
                FaultCode::VolumeCannotShrink,
                format!("The volume has {} bytes already and cannot shrink.", volume.size_bytes),
                "Choose a larger size.",
            ));
        }
        volume.size_bytes = size_bytes;
        Ok(volume.clone())
    }
}

pub(super) fn no_snapshot(name: &str) -> Fault {
    Fault::new(
        FaultCode::SnapshotMissing,
        format!("The volume has no snapshot {name:?}."),
        "Look at the list of its snapshots again.",
    )
}

impl Snapshots for FakeBackend {
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo> {
        check_snapshot_name("name", name)?;
        let mut shelf = self.shelf()?;
        let size_bytes = shelf.volumes.get(&id).ok_or_else(|| error::volume_missing(id))?.size_bytes;
        let created_at_ms = now_ms();
        let all = shelf.snapshots.entry(id).or_default();
        if let Some(there) = all.iter().find(|s| s.name == name) {
            return Ok(there.clone());
        }
        let made = SnapshotInfo { name: name.to_owned(), created_at_ms, size_bytes, clones: 0 };
        all.push(made.clone());
        Ok(made)
    }

    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        let shelf = self.shelf()?;
        if !shelf.volumes.contains_key(&id) {
            return Err(error::volume_missing(id));
        }
        Ok(shelf.snapshots.get(&id).cloned().unwrap_or_default())
    }

    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()> {
        let mut shelf = self.shelf()?;
        let all = shelf.snapshots.get(&id);
        let snapshot = all.and_then(|all| all.iter().find(|s| s.name == name));
        let size_bytes = snapshot.ok_or_else(|| no_snapshot(name))?.size_bytes;
        let volume = shelf.volumes.get_mut(&id).ok_or_else(|| error::volume_missing(id))?;
        volume.size_bytes = size_bytes;
        Ok(())
    }

    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool> {
        let mut shelf = self.shelf()?;
        let Some(all) = shelf.snapshots.get_mut(&id) else { return Ok(false) };
        let before = all.len();
        all.retain(|s| s.name != name);
        Ok(all.len() < before)
    }
}

impl Exclusive for FakeBackend {
    fn volume_detach(&self, id: VolumeId) -> Result<()> {
        self.shelf()?.held.remove(&id);
        Ok(())
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A path as the tree keeps it.
fn clean(path: &str) -> Result<String> {
    let path = path.trim_end_matches('/');
    let odd = |part: &str| matches!(part, "" | "." | "..") || part.len() > 255 || part.contains('\0');
    if path.split('/').any(odd) { Err(error::outside(path)) } else { Ok(path.to_owned()) }
}

fn is_ours(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    matches!(first, "images" | "volumes" | ".quantix-pool")
}

fn exists(path: &str) -> Fault {
    Fault::new(
        FaultCode::FileExists,
        format!("There is something at {path:?} already."),
        "Choose another name, or remove it first.",
    )
}

fn in_use(path: &str) -> Fault {
    Fault::new(
        FaultCode::FileInUse,
        format!("{path:?} belongs to a volume or image."),
        "Delete the volume or image instead.",
    )
}

/// The entry of a file or folder people made.
pub(super) fn entry(name: &str, bytes: Option<&Vec<u8>>) -> FileEntry {
    let size_bytes = bytes.map_or(0, |b| b.len() as u64);
    FileEntry {
        name: name.to_owned(),
        kind: if bytes.is_some() { FileKind::Regular } else { FileKind::Directory },
        format: String::new(),
        size_bytes,
        allocated_bytes: size_bytes,
        mode: if bytes.is_some() { 0o600 } else { 0o755 },
        owner: "root".to_owned(),
        modified_at_ms: 0,
    }
}

impl Shelf {
    /// Whether something new may be at this path.
    fn vacant(&self, path: &str) -> Result<()> {
        if is_ours(path) {
            return Err(in_use(path));
        }
        if self.tree.contains_key(path) {
            return Err(exists(path));
        }
        match path.rsplit_once('/') {
            None => Ok(()),
            Some((parent, _)) if self.tree.get(parent).is_some_and(Option::is_none) => Ok(()),
            Some((parent, _)) => Err(error::file_not_found(parent)),
        }
    }

    fn file(&self, path: &str) -> Result<&Vec<u8>> {
        match self.tree.get(path) {
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => {
                Err(Fault::new(FaultCode::FileNotRegular, format!("{path:?} is a folder."), "Choose a file."))
            }
            None => Err(error::file_not_found(path)),
        }
    }
}

impl FileAccess for FakeBackend {
    fn details(&self, path: &str) -> Result<FileDetails> {
        let path = clean(path)?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let found = self.entries(folder)?.into_iter().find(|e| e.name == name);
        Ok(FileDetails {
            entry: found.ok_or_else(|| error::file_not_found(&path))?,
            virtual_size_bytes: 0,
            backing_chain: Vec::new(),
            snapshots: Vec::new(),
        })
    }

    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>> {
        let path = clean(path)?;
        let shelf = self.shelf()?;
        let bytes = shelf.file(&path)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[from..from.saturating_add(limit).min(bytes.len())].to_vec())
    }

    fn make_folder(&self, path: &str) -> Result<()> {
        let path = clean(path)?;
        let mut shelf = self.shelf()?;
        if shelf.tree.get(&path).is_some_and(Option::is_none) {
            return Ok(());
        }
        shelf.vacant(&path)?;
        shelf.tree.insert(path, None);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (clean(from)?, clean(to)?);
        if is_ours(&from) {
            return Err(in_use(&from));
        }
        let mut shelf = self.shelf()?;
        if !shelf.tree.contains_key(&from) {
            return Err(error::file_not_found(&from));
        }
        shelf.vacant(&to)?;
        let below = format!("{from}/");
        if to.starts_with(&below) {
            return Err(exists(&to));
        }
        let tree = std::mem::take(&mut shelf.tree);
        let moved = |path: String| match path.strip_prefix(&below) {
            Some(rest) => format!("{to}/{rest}"),
            None if path == from => to.clone(),
            None => path,
        };
        shelf.tree = tree.into_iter().map(|(path, bytes)| (moved(path), bytes)).collect();
        Ok(())
    }

    fn copy(&self, from: &str, to: &str, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let (from, to) = (clean(from)?, clean(to)?);
        let mut shelf = self.shelf()?;
        let bytes = shelf.file(&from)?.clone();
        shelf.vacant(&to)?;
        let length = bytes.len() as u64;
        shelf.room_for(length)?;
        progress(Progress { done_bytes: length, total_bytes: length });
        shelf.tree.insert(to, Some(bytes));
        Ok(())
    }

    fn remove(&self, path: &str, progress: &mut dyn FnMut(Progress)) -> Result<bool> {
        let path = clean(path)?;
        if is_ours(&path) {
            return Err(in_use(&path));
        }
        let mut shelf = self.shelf()?;
        let below = format!("{path}/");
        let before = shelf.tree.len();
        shelf.tree.retain(|name, _| *name != path && !name.starts_with(&below));
        let gone = (before - shelf.tree.len()) as u64;
        progress(Progress { done_bytes: gone, total_bytes: gone });
        Ok(gone > 0)
    }

    fn upload_keep(
        &self,
        id: ImageId,
        path: &str,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let path = clean(path)?;
        let mut shelf = self.shelf()?;
        let sum = |bytes: &[u8]| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
            sniff::hex(digest.as_ref())
        };
        let Some(bytes) = shelf.uploads.get(&id) else {
            // An answer may have got lost.
            let kept = shelf.tree.get(&path).and_then(Option::as_ref);
            let same = |b: &&Vec<u8>| b.len() as u64 == size_bytes && sha256.is_none_or(|s| s == sum(b));
            return kept.filter(same).map(drop).ok_or_else(|| error::upload_not_there(id));
        };
        let length = bytes.len() as u64;
        if length != size_bytes {
            return Err(error::incomplete(length, size_bytes));
        }
        let checked = error::same_checksum(sha256, &sum(bytes));
        if checked.is_err() {
            shelf.uploads.remove(&id);
        }
        checked?;
        shelf.vacant(&path)?;
        progress(Progress { done_bytes: length, total_bytes: length });
        let bytes = shelf.uploads.remove(&id);
        shelf.tree.insert(path, bytes);
        Ok(())
    }
}
