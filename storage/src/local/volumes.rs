//! Volumes of a local pool.
//!
//! Making one: temporary file, filled, synced, renamed, folder synced. A failure on the way removes the temporary file;
//! a crash leaves it to the next sweep.

use crate::backend::{Progress, VolumeInfo, VolumeWish};
use crate::error::{self, Result, io};
use crate::local::copy::{Syncer, copy};
use crate::local::root::{names, open_in, remove};
use crate::local::{LocalPool, locked};
use quantix_model::FaultCode;
use quantix_model::id::VolumeId;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource, check_size};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat, fsync, renameat_with, statat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

const FORMATS: [VolumeFormat; 2] = [VolumeFormat::Qcow2, VolumeFormat::Raw];

fn name(id: VolumeId, format: VolumeFormat) -> String {
    format!("{id}.{}", format.as_str())
}

fn temporary_name(id: VolumeId, format: VolumeFormat) -> String {
    format!(".{}.tmp", name(id, format))
}

/// Volume and format of a file name, if it is one of ours to the letter.
pub fn parse_name(text: &str) -> Option<(VolumeId, VolumeFormat)> {
    let (id, ending) = text.split_once('.')?;
    let id = id.parse().ok()?;
    let format = FORMATS.into_iter().find(|f| f.as_str() == ending)?;
    (name(id, format) == text).then_some((id, format))
}

/// Whether a file name is one of our temporary ones.
pub fn is_temporary(text: &str) -> bool {
    text.strip_prefix('.').and_then(|t| t.strip_suffix(".tmp")).and_then(parse_name).is_some()
}

fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

impl LocalPool {
    /// Format and file of a volume.
    pub(super) fn find_volume(&self, id: VolumeId) -> Result<Option<(VolumeFormat, Stat)>> {
        let dir = self.volumes_dir()?;
        for format in FORMATS {
            match statat(&dir, name(id, format), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_regular(&stat) => return Ok(Some((format, stat))),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(io("look for the volume", &e.into())),
            }
        }
        Ok(None)
    }

    fn volume_info(
        &self,
        dir: &OwnedFd,
        id: VolumeId,
        format: VolumeFormat,
        stat: &Stat,
    ) -> Result<VolumeInfo> {
        let size_bytes = match format {
            VolumeFormat::Raw => u64::try_from(stat.st_size).unwrap_or(0),
            VolumeFormat::Qcow2 => {
                let known = locked(&self.sizes).get(&id).copied();
                match known.filter(|(inode, _)| *inode == stat.st_ino) {
                    Some((_, size)) => size,
                    None => {
                        let size = self.qemu_info(dir, &name(id, format))?.virtual_size;
                        locked(&self.sizes).insert(id, (stat.st_ino, size));
                        size
                    }
                }
            }
        };
        Ok(VolumeInfo {
            id,
            size_bytes,
            allocated_bytes: allocated(stat),
            format,
            allocation: Allocation::Thin,
            parent: None,
            clones: 0,
        })
    }

    pub(super) fn list_volumes(&self) -> Result<Vec<VolumeInfo>> {
        let dir = self.volumes_dir()?;
        let mut volumes = Vec::new();
        for file in names(&dir).map_err(|e| io("list volumes", &e))? {
            let Some((id, format)) = parse_name(&file) else { continue };
            match statat(&dir, file.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_regular(&stat) => volumes.push(self.volume_info(&dir, id, format, &stat)?),
                // Deleted meanwhile, or not a file of ours.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(io("list volumes", &e.into())),
            }
        }
        volumes.sort_by_key(|v| v.id);
        Ok(volumes)
    }

    pub(super) fn delete_volume(&self, id: VolumeId) -> Result<bool> {
        let _busy = self.busy("volume", id.0)?;
        let dir = self.volumes_dir()?;
        let mut existed = false;
        for format in FORMATS {
            self.step("delete volume")?;
            existed |= remove(&dir, &name(id, format)).map_err(|e| io("delete volume", &e))?;
        }
        locked(&self.sizes).remove(&id);
        if existed {
            fsync(&dir).map_err(|e| io("delete volume", &e.into()))?;
        }
        Ok(existed)
    }

    pub(super) fn create_volume(
        &self,
        wish: &VolumeWish,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VolumeInfo> {
        check_size("size_bytes", wish.size_bytes)?;
        match &wish.source {
            VolumeSource::Blank | VolumeSource::Image { linked: false, .. } => {}
            VolumeSource::Image { .. } | VolumeSource::Volume { .. } => {
                return Err(error::cannot("clone"));
            }
        }
        if wish.allocation == Allocation::Thick {
            return Err(error::cannot("reserve space"));
        }
        let _busy = self.busy("volume", wish.id.0)?;
        let dir = self.volumes_dir()?;
        if let Some((format, stat)) = self.find_volume(wish.id)? {
            return error::same_volume(wish, self.volume_info(&dir, wish.id, format, &stat)?);
        }
        let tmp = temporary_name(wish.id, wish.format);
        let made = self.make_volume(wish, &dir, &tmp, progress);
        if made.is_err() {
            // What cannot be removed now is swept at the next start.
            let _ = remove(&dir, &tmp);
        }
        made
    }

    fn make_volume(
        &self,
        wish: &VolumeWish,
        dir: &OwnedFd,
        tmp: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VolumeInfo> {
        self.step("create volume: begun")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let fd = open_in(dir, tmp, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| io("create volume", &e.into()))?;
        let file = Arc::new(File::from(fd));
        self.step("create volume: file made")?;
        match wish.source.image() {
            Some(_) => self.fill_from_image(wish, dir, tmp, &file, progress)?,
            None if wish.format == VolumeFormat::Qcow2 => self.qemu_create(dir, tmp, wish.size_bytes)?,
            None => file.set_len(wish.size_bytes).map_err(|e| io("create volume", &e))?,
        }
        self.step("create volume: filled")?;
        file.sync_all().map_err(|e| io("sync volume", &e))?;
        self.step("create volume: synced")?;
        let failed = |e: Errno| io("rename volume", &Error::from(e));
        renameat_with(dir, tmp, dir, name(wish.id, wish.format), RenameFlags::NOREPLACE).map_err(failed)?;
        self.step("create volume: renamed")?;
        fsync(dir).map_err(failed)?;
        let meta = file.metadata().map_err(|e| io("look at the volume", &e))?;
        if wish.format == VolumeFormat::Qcow2 {
            locked(&self.sizes).insert(wish.id, (meta.ino(), wish.size_bytes));
        }
        let allocated_bytes = meta.blocks().saturating_mul(512);
        Ok(VolumeInfo {
            id: wish.id,
            size_bytes: wish.size_bytes,
            allocated_bytes,
            format: wish.format,
            allocation: wish.allocation,
            parent: None,
            clones: 0,
        })
    }

    fn fill_from_image(
        &self,
        wish: &VolumeWish,
        dir: &OwnedFd,
        tmp: &str,
        file: &Arc<File>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let Some(image_id) = wish.source.image() else { return Ok(()) };
        let image = self.find_image(image_id)?.ok_or_else(|| error::image_not_there(image_id))?;
        let virtual_bytes = self.image_virtual_size(&image)?;
        error::check_image_fits(wish, image.format, virtual_bytes)?;
        // An ISO was refused just above.
        let from = image.format.disk_format().unwrap_or(VolumeFormat::Raw);
        self.step("create volume: image found")?;
        if from == wish.format {
            let total_bytes = image.length;
            copy(&image.file, file, &mut |done_bytes| {
                progress(Progress { done_bytes, total_bytes });
                self.step("create volume: copying")
            })?;
        } else {
            let total_bytes = virtual_bytes;
            let (mut last, mut syncer) = (0, Syncer::default());
            self.qemu_convert(&image.file, from, dir, (tmp, wish.format), &mut || {
                let meta = file.metadata().map_err(|e| io("convert", &e))?;
                let done_bytes = meta.blocks().saturating_mul(512).min(total_bytes);
                if done_bytes != last {
                    let wrote = syncer.wrote(file, done_bytes.saturating_sub(last));
                    wrote.map_err(|e| io("convert", &e))?;
                    last = done_bytes;
                    progress(Progress { done_bytes, total_bytes });
                }
                self.step("create volume: converting")
            })?;
            syncer.finish().map_err(|e| io("convert", &e))?;
        }
        self.step("create volume: copied")?;
        match wish.format {
            VolumeFormat::Raw => file.set_len(wish.size_bytes).map_err(|e| io("grow volume", &e)),
            VolumeFormat::Qcow2 if wish.size_bytes > virtual_bytes => {
                self.qemu_grow(dir, tmp, wish.size_bytes).map_err(|fault| match fault.code {
                    FaultCode::PoolIoFailed => fault.in_phase("grow the copy of the image"),
                    _ => fault,
                })
            }
            VolumeFormat::Qcow2 => Ok(()),
        }
    }
}

fn is_regular(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert!(parse_name(&format!("{id}.qcow2")).is_some());
        assert!(is_temporary(&format!(".{id}.raw.tmp")));
        for other in ["x.qcow2", ".tmp", "notes.tmp", ".important.tmp"] {
            assert!(parse_name(other).is_none() && !is_temporary(other), "{other}");
        }
        let odd = [format!("{}.qcow2", id.to_uppercase()), format!("{id}.iso"), format!("{{{id}}}.raw")];
        assert!(odd.iter().all(|name| parse_name(name).is_none()));
        assert!(!is_temporary(&format!("{id}.raw.tmp")) && !is_temporary(&format!(".{id}.tmp")));
    }
}
