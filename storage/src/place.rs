//! The folder a pool is mounted on. Found and made without ever touching what is mounted there, which may be dead.

use crate::error::{Result, io};
use crate::home;
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

/// Everybody may pass, only root changes; what counts is the mode of the export's own root.
const MODE: u32 = 0o755;

/// A mount point, by the open folder above it.
pub struct Place {
    /// Absolute, with no link in it: as the mount table shows it.
    pub path: String,
    /// Below our own folder.
    pub standard: bool,
    above: OwnedFd,
    name: String,
    field: &'static str,
}

impl Place {
    /// Where the pool's mount point is: `mount_path`, which stands in that field of the spec, or our own place when it
    /// is empty. With `make`, our own folders are made when they are missing; without, `None` when the folder above is
    /// not there.
    pub fn find(mount_path: &str, field: &'static str, id: PoolId, make: bool) -> Result<Option<Place>> {
        let standard = mount_path.is_empty();
        let (above, name) = if standard {
            (home::open(make), id.to_string())
        } else {
            let (above, name) = mount_path.rsplit_once('/').unwrap_or(("", mount_path));
            let above = if above.is_empty() { "/" } else { above };
            let open = if home::holds(mount_path) {
                home::open(make)
            } else {
                home::folder(CWD, above, ResolveFlags::NO_SYMLINKS)
            };
            (open, name.to_owned())
        };
        let above = match above {
            Ok(above) => above,
            Err(Errno::NOENT) if !make => return Ok(None),
            Err(err) => return Err(refused(mount_path, field, err)),
        };
        let real = std::fs::read_link(format!("/proc/self/fd/{}", above.as_raw_fd()));
        let real = real.map_err(|e| io("find the mount point", &e))?;
        let path = real.join(&name).to_string_lossy().into_owned();
        Ok(Some(Place { path, standard, above, name, field }))
    }

    /// Makes the folder when it is missing; refuses one that cannot be mounted on. Only when nothing is mounted there.
    pub fn make_ready(&self) -> Result<()> {
        let failed = |e: Errno| io("make the mount point", &e.into());
        match mkdirat(&self.above, &self.name, Mode::from_raw_mode(MODE)) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        let stat = statat(&self.above, &self.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let path = &self.path;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            FileType::Symlink => {
                return Err(invalid(
                    self.field,
                    format!("The mount point {path} is a link."),
                    "Remove the link, or give the folder it leads to.",
                ));
            }
            _ => {
                return Err(invalid(
                    self.field,
                    format!("{path} is not a folder."),
                    "Choose an empty folder.",
                ));
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(&self.above, &self.name, flags, Mode::empty()).map_err(failed)?;
        for entry in Dir::read_from(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(invalid(
                    self.field,
                    format!("The mount point {path} is not empty; mounting there would hide what it holds."),
                    "Move its files away, or choose an empty folder.",
                )
                .because(crate::device::printable(&format!("it holds {:?}", entry.file_name()))));
            }
        }
        Ok(())
    }

    /// Removes our own empty mount point; another's stays.
    pub fn remove(&self) -> Result<()> {
        if !self.standard {
            return Ok(());
        }
        match unlinkat(&self.above, &self.name, AtFlags::REMOVEDIR) {
            // Somebody put files into it, or mounted something again: theirs now.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::BUSY | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(io("remove the mount point", &e.into())),
        }
    }
}

fn refused(mount_path: &str, field: &'static str, err: Errno) -> Fault {
    let path = if mount_path.is_empty() { home::OUR_FOLDER } else { mount_path };
    let (message, remedy) = match err {
        Errno::LOOP | Errno::XDEV => {
            (format!("A link stands on the way to {path}."), "Give the folder's own path, without links.")
        }
        Errno::NOENT => (
            format!("The folder above {path} does not exist on the host."),
            "Make it on the host, or leave the mount point empty for our own.",
        ),
        Errno::NOTDIR => {
            (format!("What stands above {path} is not a folder."), "Choose a folder below folders.")
        }
        other => return io("find the mount point", &other.into()),
    };
    invalid(field, message, remedy).because(std::io::Error::from(err))
}

fn invalid(field: &str, message: String, remedy: &str) -> Fault {
    Fault { code: FaultCode::PoolPathInvalid, ..Fault::invalid(field, message, remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use uuid::Uuid;

    fn find(path: &Path) -> Result<Option<Place>> {
        let path = path.to_str().expect("a path of ours");
        Place::find(path, "spec.nfs.mount_path", PoolId(Uuid::nil()), true)
    }

    #[test]
    fn a_missing_folder_is_made_and_an_empty_one_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a real path");
        let place = find(&root.join("pool")).expect("a place").expect("found");
        assert_eq!((place.path.as_str(), place.standard), (root.join("pool").to_str().expect("text"), false));
        for _ in 0..2 {
            place.make_ready().expect("an empty folder");
        }
        place.remove().expect("nothing to do");
        assert!(root.join("pool").is_dir(), "a folder people chose stays");
    }

    #[test]
    fn links_files_and_full_folders_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a real path");
        std::fs::create_dir_all(root.join("full/inner")).expect("made");
        std::fs::write(root.join("file"), "x").expect("made");
        std::os::unix::fs::symlink(root.join("full"), root.join("link")).expect("made");
        for (path, word) in [
            ("link", "is a link"),
            ("link/inner", "link stands on the way"),
            ("file", "not a folder"),
            ("file/pool", "not a folder"),
            ("full", "not empty"),
            ("none/pool", "does not exist"),
        ] {
            let found = find(&root.join(path)).and_then(|place| place.expect("found").make_ready());
            let fault = found.expect_err(path);
            assert_eq!(
                (fault.code, fault.field.as_str()),
                (FaultCode::PoolPathInvalid, "spec.nfs.mount_path")
            );
            assert!(fault.message.contains(word), "{path}: {fault}");
        }
    }
}
