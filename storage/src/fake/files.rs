//! Files in memory: those of volumes and images as they would be named, and what people put there.

use super::{FakeBackend, Shelf};
use crate::backend::{
    FileAccess, FileDetails, FileEntry, FileKind, FilePage, FileQuery, FileSort, Files, Progress,
};
use crate::error::{self, Result};
use crate::local::paths::{self, Place, split, split_new_folder, split_theirs};
use crate::local::sniff;
use quantix_model::Fault;
use quantix_model::file::KeptFor;
use quantix_model::id::ImageId;

/// What somebody put there.
#[derive(Clone)]
pub(super) enum Node {
    Folder,
    File(Vec<u8>),
}

impl Node {
    /// Bytes it takes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Node::Folder => 0,
            Node::File(bytes) => bytes.len() as u64,
        }
    }
}

fn entry(name: &str, kind: FileKind, format: &str, bytes: u64) -> FileEntry {
    FileEntry {
        name: name.to_owned(),
        kind,
        format: format.to_owned(),
        size_bytes: bytes,
        allocated_bytes: bytes,
        mode: if kind == FileKind::Directory { 0o755 } else { 0o600 },
        owner: "root".to_owned(),
        modified_at_ms: 0,
        kept_for: None,
    }
}

fn node_entry(name: &str, node: &Node) -> FileEntry {
    match node {
        Node::Folder => entry(name, FileKind::Directory, "", 0),
        Node::File(bytes) => {
            entry(name, FileKind::Regular, sniff::content(bytes).label(), bytes.len() as u64)
        }
    }
}

impl Shelf {
    fn ours(&self, folder: &str) -> Vec<FileEntry> {
        match folder {
            "" => {
                let folders = ["images", "volumes"].map(|name| entry(name, FileKind::Directory, "", 0));
                folders.into_iter().chain([entry(".quantix-pool", FileKind::Regular, "", 64)]).collect()
            }
            "volumes" => {
                let volumes = self.volumes.values().map(|v| &v.info);
                let file = |v: &crate::backend::VolumeInfo| {
                    let (name, format) = (format!("{}.{}", v.id, v.format.as_str()), v.format.as_str());
                    entry(&name, FileKind::Regular, format, v.allocated_bytes)
                };
                volumes.map(file).collect()
            }
            "images" => {
                let finished = self.images.iter().map(|(id, (bytes, facts))| {
                    let format = facts.format.as_str();
                    entry(&format!("{id}.{format}"), FileKind::Regular, format, bytes.len() as u64)
                });
                let part = |(id, bytes): (&ImageId, &Vec<u8>)| {
                    entry(&format!(".{id}.part"), FileKind::Regular, "", bytes.len() as u64)
                };
                finished.chain(self.uploads.iter().map(part)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn is_folder(&self, path: &str) -> bool {
        matches!(path, "" | "volumes" | "images") || matches!(self.nodes.get(path), Some(Node::Folder))
    }

    fn entries(&self, folder: &str) -> Result<Vec<FileEntry>> {
        if !self.is_folder(folder) {
            return Err(error::file_not_found(folder));
        }
        let mut entries = self.ours(folder);
        for (path, node) in &self.nodes {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            if above == folder {
                entries.push(node_entry(name, node));
            }
        }
        for entry in &mut entries {
            entry.kept_for = paths::kept_in(folder, &entry.name);
        }
        Ok(entries)
    }

    fn find(&self, place: &Place<'_>) -> Result<FileEntry> {
        let there = self.entries(place.folder).map_err(|_| error::file_not_found(place.path))?;
        there.into_iter().find(|e| e.name == place.name).ok_or_else(|| error::file_not_found(place.path))
    }

    /// A new thing may stand here.
    fn check_free(&self, place: &Place<'_>) -> Result<()> {
        if !self.is_folder(place.folder) {
            return Err(error::file_not_found(place.path));
        }
        if self.find(place).is_ok() { Err(error::file_exists(place.path)) } else { Ok(()) }
    }

    fn bytes(&self, place: &Place<'_>) -> Result<&[u8]> {
        match self.nodes.get(place.path) {
            Some(Node::File(bytes)) => return Ok(bytes),
            Some(Node::Folder) => return Err(error::not_regular(place.path, "a folder")),
            None => {}
        }
        let id = place.name.split_once('.').and_then(|(id, _)| id.parse().ok());
        if let Some((bytes, _)) = id.filter(|_| place.folder == "images").and_then(|id| self.images.get(&id))
        {
            return Ok(bytes);
        }
        match self.find(place)?.kind {
            FileKind::Directory => Err(error::not_regular(place.path, "a folder")),
            _ => Ok(&[]),
        }
    }

    fn below(&self, path: &str) -> Vec<String> {
        let below = |p: &&String| p.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        self.nodes.keys().filter(below).cloned().collect()
    }
}

impl Files for FakeBackend {
    fn list(&self, query: &FileQuery) -> Result<FilePage> {
        let path = query.path.as_str();
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(error::outside(path));
        }
        let wanted = query.filter.to_lowercase();
        let mut entries = self.shelf()?.entries(path)?;
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

impl FileAccess for FakeBackend {
    fn details(&self, path: &str) -> Result<FileDetails> {
        let entry = self.shelf()?.find(&split(path)?)?;
        let virtual_size_bytes = if entry.format.is_empty() { 0 } else { entry.size_bytes };
        Ok(FileDetails { entry, virtual_size_bytes, backing_chain: Vec::new(), snapshots: Vec::new() })
    }

    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>> {
        let shelf = self.shelf()?;
        let bytes = shelf.bytes(&split(path)?)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[start..start.saturating_add(limit).min(bytes.len())].to_vec())
    }

    fn make_folder(&self, path: &str) -> Result<()> {
        let (place, mut shelf) = (split_new_folder(path)?, self.shelf()?);
        if shelf.is_folder(path) {
            return Ok(());
        }
        shelf.check_free(&place)?;
        shelf.nodes.insert(path.to_owned(), Node::Folder);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to, mut shelf) = (split_theirs(from)?, split_theirs(to)?, self.shelf()?);
        shelf.find(&from)?;
        if to.path.strip_prefix(from.path).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Fault::invalid("to", "A folder cannot move into itself.", "Choose another folder."));
        }
        shelf.check_free(&to)?;
        for path in shelf.below(from.path) {
            let moved = format!("{}{}", to.path, &path[from.path.len()..]);
            if let Some(node) = shelf.nodes.remove(&path) {
                shelf.nodes.insert(moved, node);
            }
        }
        Ok(())
    }

    fn copy(&self, from: &str, to: &str, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let (from, to, mut shelf) = (split(from)?, split_theirs(to)?, self.shelf()?);
        if paths::kept_for(&from) == Some(KeptFor::Volume) {
            return Err(error::file_in_use(from.path));
        }
        let bytes = shelf.bytes(&from)?.to_vec();
        shelf.check_free(&to)?;
        shelf.room_for(bytes.len() as u64)?;
        progress(Progress { done_bytes: bytes.len() as u64, total_bytes: bytes.len() as u64 });
        shelf.nodes.insert(to.path.to_owned(), Node::File(bytes));
        Ok(())
    }

    fn remove(&self, path: &str, progress: &mut dyn FnMut(Progress)) -> Result<bool> {
        split_theirs(path)?;
        let mut shelf = self.shelf()?;
        let below = shelf.below(path);
        for (n, path) in below.iter().enumerate() {
            shelf.nodes.remove(path);
            progress(Progress { done_bytes: n as u64 + 1, total_bytes: 0 });
        }
        Ok(!below.is_empty())
    }

    fn upload_keep(
        &self,
        id: ImageId,
        path: &str,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let (place, mut shelf) = (split_theirs(path)?, self.shelf()?);
        if !shelf.is_folder(place.folder) {
            return Err(error::file_not_found(path));
        }
        let sum =
            |bytes: &[u8]| sniff::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
        let Some(bytes) = shelf.uploads.get(&id) else {
            // Kept before, and the answer was lost.
            return match shelf.nodes.get(path) {
                Some(Node::File(there)) if there.len() as u64 == size_bytes => {
                    error::same_checksum(sha256, &sum(there))
                }
                _ => Err(error::upload_not_there(id)),
            };
        };
        let length = bytes.len() as u64;
        if length != size_bytes {
            return Err(error::incomplete(length, size_bytes));
        }
        shelf.check_free(&place)?;
        progress(Progress { done_bytes: length, total_bytes: length });
        let bytes = shelf.uploads.remove(&id).unwrap_or_default();
        error::same_checksum(sha256, &sum(&bytes))?;
        shelf.nodes.insert(path.to_owned(), Node::File(bytes));
        Ok(())
    }
}
