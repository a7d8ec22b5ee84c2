//! Opening and changing files people put into the pool. Every folder is opened beneath the root by the kernel, every
//! change is made in an open folder by its last name, and nothing is ever put over something that is there.

use crate::backend::{FileAccess, FileDetails, FileKind, Progress};
use crate::error::{self, Result, io};
use crate::local::copy::copy;
use crate::local::files::{entry, open_folder};
use crate::local::paths::{self, Place, split, split_new_folder, split_theirs};
use crate::local::root::{open_in, open_regular, remove, rename_new};
use crate::local::sniff::{self, Content, HEAD_BYTES};
use crate::local::{LocalPool, images, qcow2};
use quantix_model::file::KeptFor;
use quantix_model::id::ImageId;
use quantix_model::image::ImageFormat;
use quantix_model::{Fault, FaultCode};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fsync, mkdirat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;

/// Files of a backing chain that are named.
const CHAIN_MAX: usize = 16;
/// Bytes of one answer.
const READ_BYTES_MAX: usize = 1 << 20;

/// What stands at a place, not followed when it is a link.
fn look(folder: &OwnedFd, place: &Place<'_>) -> Result<Option<Stat>> {
    match statat(folder, place.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io("look at the file", &e.into())),
    }
}

/// Nothing may be there.
fn check_free(folder: &OwnedFd, place: &Place<'_>) -> Result<()> {
    look(folder, place)?.map_or(Ok(()), |_| Err(error::file_exists(place.path)))
}

/// Opens a plain file.
fn open_file(folder: &OwnedFd, place: &Place<'_>) -> Result<File> {
    let what = match open_regular(folder, place.name) {
        Ok(Some(file)) => return Ok(file),
        Ok(None) => look(folder, place)?.map(|stat| FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::LOOP) => Some(FileType::Symlink),
        Err(Errno::NOENT) => None,
        Err(e) => return Err(io("open the file", &e.into())),
    };
    Err(match what {
        None => error::file_not_found(place.path),
        Some(FileType::Directory) => error::not_regular(place.path, "a folder"),
        Some(FileType::Symlink) => error::not_regular(place.path, "a link"),
        Some(_) => error::not_regular(place.path, "a device, socket or pipe"),
    })
}

fn rename_fault(e: Errno, from: &Place<'_>, to: &Place<'_>) -> Fault {
    match e {
        Errno::NOENT | Errno::NOTDIR => error::file_not_found(from.path),
        Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR => error::file_exists(to.path),
        Errno::NAMETOOLONG => error::path_invalid(to.path),
        other => io("rename", &other.into()),
    }
}

fn sync_folder(folder: &OwnedFd) -> Result<()> {
    fsync(folder).map_err(|e| io("sync folder", &e.into()))
}

/// The start of a file.
fn head(file: &File) -> Vec<u8> {
    let mut head = vec![0; HEAD_BYTES];
    let got = file.read_at(&mut head, 0).unwrap_or(0);
    head.truncate(got);
    head
}

/// Names from a qcow2 file down to its base, as the files say them. Files outside the pool, or behind a link, are named
/// and not opened.
fn chain(folder: OwnedFd, file: File) -> Vec<String> {
    let (mut folder, mut file, mut chain) = (folder, file, Vec::new());
    while chain.len() < CHAIN_MAX {
        let Ok(Ok(qcow2::Header { backing: Some(backing), .. })) = qcow2::read(&file) else { break };
        chain.push(backing.name.clone());
        // `..` is not followed here, but for our own images.
        let (above, name) = backing.name.rsplit_once('/').unwrap_or((".", &backing.name));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(next) = open_in(&folder, above, flags, Mode::empty()) else { break };
        let Ok(Some(base)) = open_regular(&next, name) else { break };
        (folder, file) = (next, base);
    }
    chain
}

impl LocalPool {
    fn details_of(&self, folder: OwnedFd, place: &Place<'_>, details: &mut FileDetails) -> Result<()> {
        let file = open_file(&folder, place)?;
        let length = file.metadata().map_err(|e| io("look at the file", &e))?.len();
        let head = head(&file);
        match sniff::content(&head) {
            Content::Image(ImageFormat::Iso | ImageFormat::Raw) => details.virtual_size_bytes = length,
            Content::Other(kind) => {
                // Formats QEMU knows that cannot name further files.
                let driver = match kind {
                    "vhd" => "vpc",
                    "vhdx" | "vdi" => kind,
                    _ => return Ok(()),
                };
                // A file that only begins like one is no error of the pool.
                details.virtual_size_bytes = self.qemu_foreign_size(&file, driver).unwrap_or(0);
            }
            Content::Image(ImageFormat::Qcow2) | Content::DependsOnFile(_) | Content::Encrypted => {
                if let Ok(header) = qcow2::read(&file).map_err(|e| io("read the file", &e))? {
                    details.virtual_size_bytes = header.virtual_size_bytes;
                    if let Ok(Ok(snapshots)) = qcow2::snapshots(&file, &header) {
                        details.snapshots = snapshots.into_iter().map(|s| s.name).collect();
                    }
                    details.backing_chain = chain(folder, file);
                }
            }
            Content::Unknown => {}
        }
        Ok(())
    }

    /// A copy under a temporary name, whole and on the disk.
    fn copy_aside(
        &self,
        source: &File,
        images: &OwnedFd,
        tmp: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let failed = |e: Error| io("copy", &e);
        self.step("copy file: begun")?;
        let meta = source.metadata().map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = open_in(images, tmp, flags, Mode::from_raw_mode(0o600)).map_err(|e| failed(e.into()))?;
        let target = Arc::new(File::from(fd));
        self.step("copy file: file made")?;
        copy(source, &target, &mut |done_bytes| {
            progress(Progress { done_bytes, total_bytes: meta.len() });
            self.step("copy file: copying")
        })?;
        // Whatever it was, we must be able to change and remove it.
        let mode = Mode::from_raw_mode(meta.permissions().mode() & 0o777 | 0o600);
        fchmod(&target, mode).map_err(|e| failed(e.into()))?;
        self.step("copy file: filled")?;
        target.sync_all().map_err(failed)?;
        self.step("copy file: synced")
    }

    /// Whether the file is what an upload that was kept before would have become.
    fn kept_before(
        &self,
        folder: &OwnedFd,
        place: &Place<'_>,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool> {
        let Ok(file) = open_file(folder, place) else { return Ok(false) };
        let length = file.metadata().map_err(|e| io("look at the file", &e))?.len();
        if length != size_bytes {
            return Ok(false);
        }
        let Some(wanted) = sha256 else { return Ok(true) };
        Ok(self.hash(&file, length, progress)?.eq_ignore_ascii_case(wanted))
    }
}

impl FileAccess for LocalPool {
    fn details(&self, path: &str) -> Result<FileDetails> {
        let place = split(path)?;
        let folder = open_folder(self, place.folder)?;
        let found = entry(&folder, &place)?.ok_or_else(|| error::file_not_found(path))?;
        let mut details = FileDetails {
            entry: found,
            virtual_size_bytes: 0,
            backing_chain: Vec::new(),
            snapshots: Vec::new(),
        };
        if details.entry.kind == FileKind::Regular {
            self.details_of(folder, &place, &mut details)?;
        }
        Ok(details)
    }

    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>> {
        let place = split(path)?;
        let file = open_file(&open_folder(self, place.folder)?, &place)?;
        let length = file.metadata().map_err(|e| io("look at the file", &e))?.len();
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; limit.min(READ_BYTES_MAX).min(left)];
        let mut got = 0;
        while got < bytes.len() {
            match file.read_at(&mut bytes[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) => return Err(io("read the file", &e)),
            }
        }
        bytes.truncate(got);
        Ok(bytes)
    }

    fn make_folder(&self, path: &str) -> Result<()> {
        let place = split_new_folder(path)?;
        let folder = open_folder(self, place.folder)?;
        self.step("make folder")?;
        match mkdirat(&folder, place.name, Mode::from_raw_mode(0o755)) {
            Ok(()) => sync_folder(&folder),
            Err(Errno::EXIST) => match look(&folder, &place)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(()),
                _ => Err(error::file_exists(path)),
            },
            Err(e) => Err(io("make folder", &e.into())),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (split_theirs(from)?, split_theirs(to)?);
        let from_folder = open_folder(self, from.folder)?;
        look(&from_folder, &from)?.ok_or_else(|| error::file_not_found(from.path))?;
        if to.path.strip_prefix(from.path).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Fault::invalid(
                "to",
                format!("{:?} lies in what is to be moved.", to.path),
                "Move it to a folder outside of itself.",
            ));
        }
        let to_folder = open_folder(self, to.folder)?;
        self.step("rename: begun")?;
        rename_new(&from_folder, from.name, &to_folder, to.name).map_err(|e| rename_fault(e, &from, &to))?;
        self.step("rename: renamed")?;
        sync_folder(&to_folder)?;
        sync_folder(&from_folder)
    }

    fn copy(&self, from: &str, to: &str, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let (from, to) = (split(from)?, split_theirs(to)?);
        if paths::kept_for(&from) == Some(KeptFor::Volume) {
            return Err(error::file_in_use(from.path));
        }
        let source = open_file(&open_folder(self, from.folder)?, &from)?;
        let folder = open_folder(self, to.folder)?;
        check_free(&folder, &to)?;
        let (images, tmp) = (self.images_dir()?, paths::temporary_name());
        let copied = self.copy_aside(&source, &images, &tmp, progress).and_then(|()| {
            rename_new(&images, &tmp, &folder, to.name).map_err(|e| rename_fault(e, &from, &to))
        });
        if copied.is_err() {
            // What cannot be removed now is swept at the next start.
            let _ = remove(&images, &tmp);
            return copied;
        }
        self.step("copy file: renamed")?;
        sync_folder(&folder)
    }

    fn remove(&self, path: &str, progress: &mut dyn FnMut(Progress)) -> Result<bool> {
        let place = split_theirs(path)?;
        let folder = match open_folder(self, place.folder) {
            Err(fault) if fault.code == FaultCode::FileNotFound => return Ok(false),
            other => other?,
        };
        let Some(stat) = look(&folder, &place)? else { return Ok(false) };
        self.step("remove: begun")?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            let mut done_bytes = 0;
            crate::local::remove::tree(&folder, place.name, &mut || {
                done_bytes += 1;
                progress(Progress { done_bytes, total_bytes: 0 });
                self.step("remove: entry")
            })?;
        } else {
            remove(&folder, place.name).map_err(|e| io("remove the file", &e))?;
        }
        self.step("remove: removed")?;
        sync_folder(&folder)?;
        Ok(true)
    }

    fn upload_keep(
        &self,
        id: ImageId,
        path: &str,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let place = split_theirs(path)?;
        let _busy = self.busy("image", id.0)?;
        let folder = open_folder(self, place.folder)?;
        let Some(upload) = self.take_complete(id, size_bytes)? else {
            return match self.kept_before(&folder, &place, size_bytes, sha256, progress)? {
                true => Ok(()),
                false => Err(error::upload_not_there(id)),
            };
        };
        check_free(&folder, &place)?;
        self.step("keep upload: begun")?;
        let (file, sum) = self.sum(upload, progress)?;
        let (images, part) = (self.images_dir()?, images::part_name(id));
        if let Err(verdict) = error::same_checksum(sha256, &sum) {
            remove(&images, &part).map_err(|e| io("remove upload", &e))?;
            return Err(verdict);
        }
        let failed = |e: Error| io("keep upload", &e);
        fchmod(&file, Mode::from_raw_mode(0o644)).map_err(|e| failed(e.into()))?;
        file.sync_all().map_err(failed)?;
        self.step("keep upload: synced")?;
        let kept = Place { path: &part, folder: "images", name: &part };
        rename_new(&images, &part, &folder, place.name).map_err(|e| rename_fault(e, &kept, &place))?;
        self.step("keep upload: renamed")?;
        sync_folder(&folder)?;
        sync_folder(&images)
    }
}
