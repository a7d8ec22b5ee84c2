//! Making a volume: temporary file, filled, synced, renamed, folder synced. A failure on the way removes the temporary
//! file; a crash leaves it to the next sweep.
//!
//! ```text
//!   blank ─────────────────────────────┐
//!   image, volume, raw snapshot ─ same format, one file: shared extents, or a copy without holes
//!   volume, snapshot ──────────── else: qemu-img convert (reads the whole chain)
//!   linked ────────────────────── a qcow2 file that reads the image or volume
//! ```

use crate::backend::{Progress, VolumeInfo, VolumeWish};
use crate::error::{self, Result, io};
use crate::local::chain::{Base, DEPTH_MAX};
use crate::local::copy::{Syncer, copy};
use crate::local::qemu::Source;
use crate::local::root::{open_in, remove, rename_new};
use crate::local::volumes::{self, info_of_new, name, take_alone, temporary_name};
use crate::local::{LocalPool, images, locked, snapshots};
use quantix_model::FaultCode;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource, check_size};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fsync};
use rustix::io::Errno;
use std::fs::File;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// What a whole copy reads.
struct Origin {
    from: From,
    format: VolumeFormat,
    virtual_bytes: u64,
}

enum From {
    /// All there is, in this file: its bytes can be copied as they are.
    File(File),
    /// A file in our volume folder that only QEMU can read: it reads others, or holds snapshots. The snapshot's id and
    /// name when the copy is of one.
    Volume(String, Option<(String, String)>),
}

impl LocalPool {
    pub(super) fn create_volume(
        &self,
        wish: &VolumeWish,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VolumeInfo> {
        check_size("size_bytes", wish.size_bytes)?;
        self.check_possible(wish)?;
        let _busy = self.busy("volume", wish.id.0)?;
        // Nobody may start to write what is being copied.
        let _source = wish.source.volume().map(|id| self.busy("volume", id.0)).transpose()?;
        if let Some(there) = self.volume_info(wish.id)? {
            return error::same_volume(wish, there);
        }
        let dir = self.volumes_dir()?;
        let tmp = temporary_name(wish.id, wish.format);
        let made = self.make_volume(wish, &dir, &tmp, progress);
        if made.is_err() {
            // What cannot be removed now is swept at the next start.
            let _ = remove(&dir, &tmp);
        }
        made
    }

    /// Refuses what can be known to be impossible before anything is touched.
    fn check_possible(&self, wish: &VolumeWish) -> Result<()> {
        if wish.allocation == Allocation::Thick && !self.thick {
            return Err(error::cannot("reserve space (its file system has no fallocate)"));
        }
        let linked = match &wish.source {
            VolumeSource::Blank => false,
            VolumeSource::Image { linked, .. } => *linked,
            VolumeSource::Volume { linked, snapshot, .. } => {
                if *linked && !snapshot.is_empty() {
                    return Err(error::cannot("link a volume to a snapshot; make a whole clone of it"));
                }
                *linked
            }
        };
        if linked && wish.format != VolumeFormat::Qcow2 {
            return Err(error::cannot("link a raw volume to another; only qcow2 can"));
        }
        if linked && wish.allocation == Allocation::Thick {
            return Err(error::cannot("reserve the space of a linked clone"));
        }
        Ok(())
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
        match &wish.source {
            VolumeSource::Blank => match wish.format {
                VolumeFormat::Qcow2 => self.qemu_create(dir, tmp, wish.size_bytes, wish.allocation)?,
                VolumeFormat::Raw => file.set_len(wish.size_bytes).map_err(|e| io("create volume", &e))?,
            },
            VolumeSource::Image { id, linked: true } => self.link_image(wish, *id, dir, tmp)?,
            VolumeSource::Volume { id, linked: true, .. } => self.link_volume(wish, *id, dir, tmp)?,
            VolumeSource::Image { id, linked: false } => {
                let origin = self.image_origin(wish, *id)?;
                self.fill(wish, origin, dir, tmp, &file, progress)?;
            }
            VolumeSource::Volume { id, snapshot, linked: false } => {
                let origin = self.volume_origin(*id, snapshot)?;
                error::check_source_fits(wish, *id, origin.virtual_bytes)?;
                self.fill(wish, origin, dir, tmp, &file, progress)?;
            }
        }
        if wish.allocation == Allocation::Thick && wish.format == VolumeFormat::Raw {
            fallocate(&file, FallocateFlags::empty(), 0, wish.size_bytes)
                .map_err(|e| io("reserve space", &e.into()))?;
        }
        self.step("create volume: filled")?;
        file.sync_all().map_err(|e| io("sync volume", &e))?;
        self.step("create volume: synced")?;
        let failed = |e: Errno| io("rename volume", &Error::from(e));
        rename_new(dir, tmp, dir, &name(wish.id, wish.format)).map_err(failed)?;
        self.step("create volume: renamed")?;
        fsync(dir).map_err(failed)?;
        locked(&self.known).remove(&wish.id);
        info_of_new(self, dir, wish.id, wish.format)
    }

    /// A copy-on-write file over an image, which is never written (0444) and stays while this one does.
    fn link_image(&self, wish: &VolumeWish, id: ImageId, dir: &OwnedFd, tmp: &str) -> Result<()> {
        let image = self.find_image(id)?.ok_or_else(|| error::image_not_there(id))?;
        error::check_image_fits(wish, image.format, self.image_virtual_size(&image)?)?;
        self.check_stands_alone(&image)?;
        // An ISO was refused just above.
        let format = image.format.disk_format().unwrap_or(VolumeFormat::Raw);
        let base = format!("../images/{}", images::name(id, image.format));
        self.step("create volume: image found")?;
        self.qemu_link(dir, tmp, (&base, format), wish.size_bytes)
    }

    fn link_volume(&self, wish: &VolumeWish, id: VolumeId, dir: &OwnedFd, tmp: &str) -> Result<()> {
        let (format, stat) = self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))?;
        if self.check_chain(id)? >= DEPTH_MAX {
            return Err(error::cannot(&format!(
                "link more than {DEPTH_MAX} volumes in a row; make a whole clone this time"
            )));
        }
        error::check_source_fits(wish, id, self.facts(dir, id, format, &stat)?.size_bytes)?;
        // A VM that writes it now would change what the clone reads. QEMU's readers are fine, and only other clones'.
        if self.clones(Base::Volume(id))? == 0 {
            take_alone(&self.open_volume(id, format)?)?;
        }
        self.step("create volume: source found")?;
        self.qemu_link(dir, tmp, (&name(id, format), format), wish.size_bytes)
    }

    fn image_origin(&self, wish: &VolumeWish, id: ImageId) -> Result<Origin> {
        let image = self.find_image(id)?.ok_or_else(|| error::image_not_there(id))?;
        let virtual_bytes = self.image_virtual_size(&image)?;
        error::check_image_fits(wish, image.format, virtual_bytes)?;
        self.check_stands_alone(&image)?;
        self.step("create volume: image found")?;
        // An ISO was refused just above.
        let format = image.format.disk_format().unwrap_or(VolumeFormat::Raw);
        Ok(Origin { from: From::File(image.file), format, virtual_bytes })
    }

    fn volume_origin(&self, id: VolumeId, snapshot: &str) -> Result<Origin> {
        let (format, stat) = self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))?;
        self.check_chain(id)?;
        let facts = self.facts(&self.volumes_dir()?, id, format, &stat)?;
        let mut virtual_bytes = facts.size_bytes;
        let from = match format {
            VolumeFormat::Raw if snapshot.is_empty() => From::File(self.quiet_file(id, format)?),
            VolumeFormat::Raw => {
                let file = snapshots::open_file(&self.volumes_dir()?, id, snapshot)?
                    .ok_or_else(|| error::snapshot_missing(id, snapshot))?;
                virtual_bytes = file.metadata().map_err(|e| io("look at the snapshot", &e))?.len();
                From::File(file)
            }
            VolumeFormat::Qcow2 if !snapshot.is_empty() => {
                let found = self.internal_snapshots(id)?.into_iter().find(|s| s.name == snapshot);
                let found = found.ok_or_else(|| error::snapshot_missing(id, snapshot))?;
                if found.size_bytes > 0 {
                    virtual_bytes = found.size_bytes;
                }
                From::Volume(name(id, format), Some((found.id, found.name)))
            }
            VolumeFormat::Qcow2 if facts.base.is_none() && facts.snapshot_count == 0 => {
                From::File(self.quiet_file(id, format)?)
            }
            VolumeFormat::Qcow2 => From::Volume(name(id, format), None),
        };
        self.step("create volume: source found")?;
        Ok(Origin { from, format, virtual_bytes })
    }

    /// The file of a volume that nobody writes while we hold it open.
    fn quiet_file(&self, id: VolumeId, format: VolumeFormat) -> Result<File> {
        let file = self.open_volume(id, format)?;
        if self.clones(Base::Volume(id))? == 0 {
            take_alone(&file)?;
        }
        Ok(file)
    }

    fn fill(
        &self,
        wish: &VolumeWish,
        origin: Origin,
        dir: &OwnedFd,
        tmp: &str,
        file: &Arc<File>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        // Bytes copied as they are bring no reserved space with them.
        let as_it_is = wish.format == VolumeFormat::Raw || wish.allocation == Allocation::Thin;
        let source = match &origin.from {
            From::File(source) if origin.format == wish.format && as_it_is => {
                let total_bytes = source.metadata().map_err(|e| io("copy", &e))?.len();
                copy(source, file, &mut |done_bytes| {
                    progress(Progress { done_bytes, total_bytes });
                    self.step("create volume: copying")
                })?;
                None
            }
            From::File(source) => Some(Source::File(source)),
            From::Volume(name, snapshot) => Some(Source::Named(name, snapshot.as_ref())),
        };
        if let Some(source) = source {
            self.convert(wish, (source, origin.format), origin.virtual_bytes, dir, tmp, file, progress)?;
        }
        self.step("create volume: copied")?;
        match wish.format {
            VolumeFormat::Raw => file.set_len(wish.size_bytes).map_err(|e| io("grow volume", &e)),
            VolumeFormat::Qcow2 if wish.size_bytes > origin.virtual_bytes => {
                let grown = self.qemu_grow(dir, (tmp, wish.format), wish.size_bytes, wish.allocation);
                grown.map_err(|fault| match fault.code {
                    FaultCode::PoolIoFailed => fault.in_phase("grow the copy"),
                    _ => fault,
                })
            }
            VolumeFormat::Qcow2 => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn convert(
        &self,
        wish: &VolumeWish,
        from: (Source<'_>, VolumeFormat),
        total_bytes: u64,
        dir: &OwnedFd,
        tmp: &str,
        file: &Arc<File>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let (mut last, mut syncer) = (0, Syncer::default());
        self.qemu_convert(from, dir, (tmp, wish.format, wish.allocation), &mut || {
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
        progress(Progress { done_bytes: total_bytes, total_bytes });
        Ok(())
    }
}

/// Whether a name in the volume folder is one this module or its neighbours give.
pub(super) fn is_ours(text: &str) -> bool {
    volumes::parse_name(text).is_some()
        || snapshots::parse_name(text).is_some()
        || volumes::is_temporary(text)
}
