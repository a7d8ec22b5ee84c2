//! Volumes of a local pool: their names, finding, listing, growing and deleting them. Making them is in `make`.
//!
//! A volume that others read (linked clones) is never written again: attaching, growing, reverting, deleting are refused.

use crate::backend::{Attachment, Grow, VolumeInfo};
use crate::error::{self, Result, io};
use crate::local::chain::{Base, Facts, Refusal};
use crate::local::root::{open_in, remove};
use crate::local::{LocalPool, locked, snapshots};
use quantix_model::id::VolumeId;
use quantix_model::volume::{Allocation, VolumeFormat, check_size};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, fcntl_lock, fsync, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;

pub(super) const FORMATS: [VolumeFormat; 2] = [VolumeFormat::Qcow2, VolumeFormat::Raw];

pub(super) fn name(id: VolumeId, format: VolumeFormat) -> String {
    format!("{id}.{}", format.as_str())
}

pub(super) fn temporary_name(id: VolumeId, format: VolumeFormat) -> String {
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
    let inner = text.strip_prefix('.').and_then(|t| t.strip_suffix(".tmp"));
    inner.is_some_and(|inner| parse_name(inner).is_some() || snapshots::parse_name(inner).is_some())
}

pub(super) fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}

fn info(id: VolumeId, format: VolumeFormat, stat: &Stat, facts: &Facts, clones: u32) -> VolumeInfo {
    let allocated_bytes = allocated(stat);
    VolumeInfo {
        id,
        size_bytes: facts.size_bytes,
        allocated_bytes,
        format,
        // As it is: all its space is there, reserved or written.
        allocation: if facts.size_bytes > 0 && allocated_bytes >= facts.size_bytes {
            Allocation::Thick
        } else {
            Allocation::Thin
        },
        parent: match facts.base {
            Some(Base::Volume(parent)) => Some(parent),
            Some(Base::Image(_)) | None => None,
        },
        clones,
    }
}

/// Takes a file for ourselves, while it is open. QEMU locks what it has open (on bytes of the file), so this fails then;
/// and QEMU fails while we hold it.
pub(super) fn take_alone(file: &File) -> Result<()> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(error::volume_in_use("another program holds a lock on it")),
        Err(e) => Err(io("lock the volume", &e.into())),
    }
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

    /// The volume as it is now.
    pub(super) fn volume_info(&self, id: VolumeId) -> Result<Option<VolumeInfo>> {
        let dir = self.volumes_dir()?;
        let Some((format, stat)) = self.find_volume(id)? else { return Ok(None) };
        let facts = self.facts(&dir, id, format, &stat)?;
        Ok(Some(info(id, format, &stat, &facts, self.clones(Base::Volume(id))?)))
    }

    pub(super) fn open_volume(&self, id: VolumeId, format: VolumeFormat) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        let file = open_in(self.volumes_dir()?, &name(id, format), flags, Mode::empty());
        file.map(File::from).map_err(|e| io("open the volume", &e.into()))
    }

    /// A volume that may be written: there, sound, not being changed, and read by nobody else.
    pub(super) fn writable(&self, id: VolumeId) -> Result<(VolumeFormat, Stat, Facts)> {
        let (format, stat) = self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))?;
        self.check_chain(id)?;
        self.check_unread(id)?;
        let facts = self.facts(&self.volumes_dir()?, id, format, &stat)?;
        Ok((format, stat, facts))
    }

    pub(super) fn list_volumes(&self) -> Result<Vec<VolumeInfo>> {
        let all = self.all_facts()?;
        let mut readers: HashMap<Base, u32> = HashMap::new();
        for base in all.iter().filter_map(|(.., facts)| facts.base) {
            *readers.entry(base).or_default() += 1;
        }
        let clones = |id: VolumeId| readers.get(&Base::Volume(id)).copied().unwrap_or(0);
        let mut volumes: Vec<_> = all
            .iter()
            .map(|(id, format, stat, facts)| info(*id, *format, stat, facts, clones(*id)))
            .collect();
        volumes.sort_by_key(|v| v.id);
        Ok(volumes)
    }

    pub(super) fn attach_volume(&self, id: VolumeId) -> Result<Attachment> {
        if locked(&self.busy).contains(&id.0) {
            return Err(error::busy("volume", id));
        }
        let (format, ..) = self.writable(id)?;
        Ok(Attachment::File { path: format!("{}/volumes/{}", self.path, name(id, format)), format })
    }

    pub(super) fn delete_volume(&self, id: VolumeId) -> Result<bool> {
        let _busy = self.busy("volume", id.0)?;
        self.check_unread(id)?;
        let dir = self.volumes_dir()?;
        if let Some((format, _)) = self.find_volume(id)? {
            take_alone(&self.open_volume(id, format)?)?;
        }
        let mut existed = false;
        let failed = |e: std::io::Error| io("delete volume", &e);
        // Before the volume: what is left by a crash between the two belongs to something.
        for snapshot in snapshots::files_of(&dir, id).map_err(failed)? {
            self.step("delete volume: snapshot")?;
            remove(&dir, &snapshot.file).map_err(failed)?;
        }
        for format in FORMATS {
            self.step("delete volume")?;
            existed |= remove(&dir, &name(id, format)).map_err(failed)?;
        }
        locked(&self.known).remove(&id);
        if existed {
            fsync(&dir).map_err(|e| failed(e.into()))?;
        }
        Ok(existed)
    }
}

impl Grow for LocalPool {
    /// A volume whose space is all there has it all there afterwards, too.
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        check_size("size_bytes", size_bytes)?;
        let _busy = self.busy("volume", id.0)?;
        let (format, stat, facts) = self.writable(id)?;
        let before = info(id, format, &stat, &facts, 0);
        if size_bytes < before.size_bytes {
            return Err(error::cannot_shrink(id, before.size_bytes, size_bytes));
        }
        if size_bytes > before.size_bytes {
            let dir = self.volumes_dir()?;
            // qemu-img only looks whether somebody minds, and users of raw files need not.
            take_alone(&self.open_volume(id, format)?)?;
            self.step("grow volume: begun")?;
            self.qemu_grow(&dir, (&name(id, format), format), size_bytes, before.allocation)?;
            self.step("grow volume: grown")?;
            self.open_volume(id, format)?.sync_all().map_err(|e| io("sync volume", &e))?;
            self.step("grow volume: synced")?;
        }
        self.volume_info(id)?.ok_or_else(|| error::volume_missing(id))
    }
}

/// Whether QEMU must not open a volume made by itself just now; then we made a mistake.
pub(super) fn sound(facts: &Facts) -> Result<()> {
    match &facts.refusal {
        None => Ok(()),
        Some(Refusal::Damaged(why)) => Err(quantix_model::Fault::internal(why)),
        Some(Refusal::Reads(what)) => Err(quantix_model::Fault::internal(what)),
    }
}

/// Info of a volume just made, from its open file.
pub(super) fn info_of_new(
    pool: &LocalPool,
    dir: &OwnedFd,
    id: VolumeId,
    format: VolumeFormat,
) -> Result<VolumeInfo> {
    let failed = |e: Errno| io("look at the volume", &e.into());
    let stat = statat(dir, name(id, format), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let facts = pool.facts(dir, id, format, &stat)?;
    sound(&facts)?;
    Ok(info(id, format, &stat, &facts, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert!(parse_name(&format!("{id}.qcow2")).is_some());
        assert!(is_temporary(&format!(".{id}.raw.tmp")) && is_temporary(&format!(".{id}.one.snap.tmp")));
        for other in ["x.qcow2", ".tmp", "notes.tmp", ".important.tmp"] {
            assert!(parse_name(other).is_none() && !is_temporary(other), "{other}");
        }
        let odd = [format!("{}.qcow2", id.to_uppercase()), format!("{id}.iso"), format!("{{{id}}}.raw")];
        assert!(odd.iter().all(|name| parse_name(name).is_none()));
        assert!(!is_temporary(&format!("{id}.raw.tmp")) && !is_temporary(&format!(".{id}.tmp")));
    }
}
