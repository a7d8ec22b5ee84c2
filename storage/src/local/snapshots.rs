//! Snapshots of volumes no VM has open. qcow2 keeps them inside its own file. A raw volume's are copies that share
//! extents, where the file system can:
//!
//! ```text
//!   volumes/<id>.raw               the volume
//!          /<id>.<name>.snap       as it was (0444);   .<id>.<name>.snap.tmp while being made
//! ```

use crate::backend::{SnapshotInfo, Snapshots};
use crate::error::{self, Result, io};
use crate::local::qcow2::{self, Snapshot};
use crate::local::root::{names, open_in, remove, rename_new};
use crate::local::volumes::{name, take_alone, temporary_name};
use crate::local::{LocalPool, locked};
use quantix_model::id::VolumeId;
use quantix_model::volume::{Allocation, VolumeFormat, check_snapshot_name};
use quantix_model::{Fault, FaultCode};
use rustix::fs::{Mode, OFlags, fchmod, fsync, ioctl_ficlone, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

fn file_name(id: VolumeId, snapshot: &str) -> String {
    format!("{id}.{snapshot}.snap")
}

/// Volume and snapshot of a file name, if it is one of ours to the letter.
pub(super) fn parse_name(text: &str) -> Option<(VolumeId, &str)> {
    let (id, rest) = text.split_once('.')?;
    let (id, snapshot) = (id.parse().ok()?, rest.strip_suffix(".snap")?);
    check_snapshot_name("name", snapshot).ok()?;
    (file_name(id, snapshot) == text).then_some((id, snapshot))
}

/// A raw volume's snapshot in the folder.
pub(super) struct SnapshotFile {
    pub(super) file: String,
    snapshot: String,
}

/// The snapshots of a raw volume, unsorted.
pub(super) fn files_of(dir: &OwnedFd, id: VolumeId) -> std::io::Result<Vec<SnapshotFile>> {
    let ours = |file: String| match parse_name(&file) {
        Some((of, snapshot)) if of == id => Some(SnapshotFile { snapshot: snapshot.to_owned(), file }),
        _ => None,
    };
    Ok(names(dir)?.into_iter().filter_map(ours).collect())
}

/// Opens a raw volume's snapshot.
pub(super) fn open_file(dir: &OwnedFd, id: VolumeId, snapshot: &str) -> Result<Option<File>> {
    match open_in(dir, &file_name(id, snapshot), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io("open the snapshot", &e.into())),
    }
}

fn info_of_file(file: &File, name: &str) -> Result<SnapshotInfo> {
    let meta = file.metadata().map_err(|e| io("look at the snapshot", &e))?;
    Ok(SnapshotInfo {
        name: name.to_owned(),
        // Never written after it was made.
        created_at_ms: meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000),
        size_bytes: meta.len(),
        clones: 0,
    })
}

fn info(snapshot: Snapshot, volume_bytes: u64) -> SnapshotInfo {
    let size_bytes = if snapshot.size_bytes > 0 { snapshot.size_bytes } else { volume_bytes };
    SnapshotInfo { name: snapshot.name, created_at_ms: snapshot.created_at_ms, size_bytes, clones: 0 }
}

impl LocalPool {
    /// The snapshots inside a qcow2 volume.
    pub(super) fn internal_snapshots(&self, id: VolumeId) -> Result<Vec<Snapshot>> {
        let failed = |e: Error| io("read the volume's snapshots", &e);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = open_in(self.volumes_dir()?, &name(id, VolumeFormat::Qcow2), flags, Mode::empty());
        let file = File::from(file.map_err(|e| failed(e.into()))?);
        let read = match qcow2::read(&file).map_err(failed)? {
            Ok(header) => qcow2::snapshots(&file, &header).map_err(failed)?,
            Err(why) => Err(why),
        };
        read.map_err(|why| {
            Fault::new(
                FaultCode::VolumeDamaged,
                format!("The file of the volume {id} is damaged."),
                "Restore it from a backup; `qemu-img check` on the host says more.",
            )
            .because(why)
        })
    }

    fn internal(&self, id: VolumeId, snapshot: &str) -> Result<Option<Snapshot>> {
        Ok(self.internal_snapshots(id)?.into_iter().find(|s| s.name == snapshot))
    }

    /// What qemu-img wrote is made durable.
    fn sync_volume(&self, id: VolumeId, format: VolumeFormat) -> Result<()> {
        self.open_volume(id, format)?.sync_all().map_err(|e| io("sync volume", &e))
    }

    fn create_internal(&self, id: VolumeId, snapshot: &str) -> Result<SnapshotInfo> {
        let file = name(id, VolumeFormat::Qcow2);
        if self.internal(id, snapshot)?.is_none() {
            self.step("make snapshot: begun")?;
            self.qemu_snapshot(&self.volumes_dir()?, &file, "-c", snapshot)?;
            self.step("make snapshot: made")?;
            self.sync_volume(id, VolumeFormat::Qcow2)?;
            self.step("make snapshot: synced")?;
        }
        let made = self.internal(id, snapshot)?.ok_or_else(|| error::snapshot_missing(id, snapshot))?;
        let volume_bytes = self.volume_info(id)?.map_or(0, |v| v.size_bytes);
        Ok(info(made, volume_bytes))
    }

    fn create_file(&self, id: VolumeId, snapshot: &str) -> Result<SnapshotInfo> {
        let dir = self.volumes_dir()?;
        if let Some(there) = open_file(&dir, id, snapshot)? {
            return info_of_file(&there, snapshot);
        }
        if !self.reflink {
            return Err(cannot_raw());
        }
        let source = self.open_volume(id, VolumeFormat::Raw)?;
        take_alone(&source)?;
        let tmp = format!(".{}.tmp", file_name(id, snapshot));
        let made = self
            .share(&source, &dir, &tmp, 0o444, |dir| rename_new(dir, &tmp, dir, &file_name(id, snapshot)));
        if made.is_err() {
            // What cannot be removed now is swept at the next start.
            let _ = remove(&dir, &tmp);
        }
        info_of_file(&made?, snapshot)
    }

    /// A copy that shares extents, under a temporary name, then under its own.
    fn share(
        &self,
        source: &File,
        dir: &OwnedFd,
        tmp: &str,
        mode: u32,
        rename: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Result<File> {
        let failed = |e: Errno| io("share the volume's data", &e.into());
        self.step("snapshot file: begun")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let file = File::from(open_in(dir, tmp, flags, Mode::from_raw_mode(0o600)).map_err(failed)?);
        self.step("snapshot file: file made")?;
        ioctl_ficlone(&file, source).map_err(failed)?;
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed)?;
        self.step("snapshot file: filled")?;
        file.sync_all().map_err(|e| io("sync the snapshot", &e))?;
        self.step("snapshot file: synced")?;
        rename(dir).map_err(failed)?;
        self.step("snapshot file: renamed")?;
        fsync(dir).map_err(failed)?;
        Ok(file)
    }

    fn revert_internal(&self, id: VolumeId, snapshot: &str, size_bytes: u64) -> Result<()> {
        let found = self.internal(id, snapshot)?.ok_or_else(|| error::snapshot_missing(id, snapshot))?;
        let (dir, file) = (self.volumes_dir()?, name(id, VolumeFormat::Qcow2));
        self.step("revert: begun")?;
        // By QEMU's id: it takes a name for an id when there is such an id.
        self.qemu_snapshot(&dir, &file, "-a", &found.id)?;
        self.step("revert: reverted")?;
        if found.size_bytes > 0 && found.size_bytes < size_bytes {
            // A volume never becomes smaller; what was added since is there again, and empty.
            self.qemu_grow(&dir, (&file, VolumeFormat::Qcow2), size_bytes, Allocation::Thin)?;
            self.step("revert: grown again")?;
        }
        self.sync_volume(id, VolumeFormat::Qcow2)
    }

    fn revert_file(&self, id: VolumeId, snapshot: &str, size_bytes: u64) -> Result<()> {
        let dir = self.volumes_dir()?;
        let source = open_file(&dir, id, snapshot)?.ok_or_else(|| error::snapshot_missing(id, snapshot))?;
        let before = self.open_volume(id, VolumeFormat::Raw)?;
        take_alone(&before)?;
        let (tmp, file) = (temporary_name(id, VolumeFormat::Raw), name(id, VolumeFormat::Raw));
        let made = self.share(&source, &dir, &tmp, 0o600, |dir| {
            let grown = open_in(dir, &tmp, OFlags::RDWR, Mode::empty())?;
            rustix::fs::ftruncate(&grown, size_bytes)?;
            fsync(&grown)?;
            renameat(dir, &tmp, dir, &file)
        });
        if made.is_err() {
            let _ = remove(&dir, &tmp);
        }
        made.map(drop)
    }
}

fn cannot_raw() -> Fault {
    Fault::new(
        FaultCode::PoolCannot,
        "A raw volume on this file system cannot keep snapshots.",
        "Use qcow2 for volumes that need snapshots, or a file system that shares extents (XFS, btrfs).",
    )
}

impl Snapshots for LocalPool {
    fn snapshot_create(&self, id: VolumeId, snapshot: &str) -> Result<SnapshotInfo> {
        check_snapshot_name("name", snapshot)?;
        let _busy = self.busy("volume", id.0)?;
        match self.writable(id)?.0 {
            VolumeFormat::Qcow2 => self.create_internal(id, snapshot),
            VolumeFormat::Raw => self.create_file(id, snapshot),
        }
    }

    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        let volume = self.volume_info(id)?.ok_or_else(|| error::volume_missing(id))?;
        if volume.format == VolumeFormat::Qcow2 {
            let snapshots = self.internal_snapshots(id)?;
            return Ok(snapshots.into_iter().map(|s| info(s, volume.size_bytes)).collect());
        }
        let dir = self.volumes_dir()?;
        let mut snapshots = Vec::new();
        for found in files_of(&dir, id).map_err(|e| io("list snapshots", &e))? {
            if let Some(file) = open_file(&dir, id, &found.snapshot)? {
                snapshots.push(info_of_file(&file, &found.snapshot)?);
            }
        }
        snapshots.sort_by(|a, b| (a.created_at_ms, &a.name).cmp(&(b.created_at_ms, &b.name)));
        Ok(snapshots)
    }

    fn snapshot_revert(&self, id: VolumeId, snapshot: &str) -> Result<()> {
        check_snapshot_name("name", snapshot)?;
        let _busy = self.busy("volume", id.0)?;
        let (format, _, facts) = self.writable(id)?;
        let done = match format {
            VolumeFormat::Qcow2 => self.revert_internal(id, snapshot, facts.size_bytes),
            VolumeFormat::Raw => self.revert_file(id, snapshot, facts.size_bytes),
        };
        locked(&self.known).remove(&id);
        done
    }

    fn snapshot_delete(&self, id: VolumeId, snapshot: &str) -> Result<bool> {
        check_snapshot_name("name", snapshot)?;
        let _busy = self.busy("volume", id.0)?;
        let Some((format, _)) = self.find_volume(id)? else { return Ok(false) };
        let dir = self.volumes_dir()?;
        if format == VolumeFormat::Raw {
            self.step("delete snapshot: begun")?;
            let existed = remove(&dir, &file_name(id, snapshot)).map_err(|e| io("delete snapshot", &e))?;
            self.step("delete snapshot: removed")?;
            fsync(&dir).map_err(|e| io("delete snapshot", &e.into()))?;
            return Ok(existed);
        }
        self.writable(id)?;
        if self.internal(id, snapshot)?.is_none() {
            return Ok(false);
        }
        self.step("delete snapshot: begun")?;
        // By name: here QEMU looks for nothing else.
        self.qemu_snapshot(&dir, &name(id, format), "-d", snapshot)?;
        self.step("delete snapshot: deleted")?;
        self.sync_volume(id, format)?;
        Ok(true)
    }
}
