//! The pool's root, and opening things beneath it by the kernel's own rules (openat2(2)).

use crate::error::{Result, io};
use crate::home;
use crate::local::path_invalid;
use quantix_model::pool::check_path;
use quantix_model::{Fault, FaultCode};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, fstat, linkat, openat, openat2,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

/// Tries when the kernel says that somebody renamed folders meanwhile.
const RENAME_RACES_MAX: usize = 8;

/// An open pool root.
pub struct Root {
    path: String,
    fd: OwnedFd,
}

/// Opens beneath `dir`: no `..` out of it, no links, no other escape.
pub fn open_in(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    for _ in 0..RENAME_RACES_MAX {
        match openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Removes a file; one that is not there is fine and answers `false`.
pub fn remove(dir: impl AsFd, name: &str) -> std::io::Result<bool> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Renames to a name nobody has yet.
///
/// Some file systems (NFS) cannot be asked for that in one step (rename(2): `EINVAL`): a file is then linked and
/// unlinked, which keeps the promise; a folder is looked for first.
pub fn rename_new(from_dir: impl AsFd, from: &str, to_dir: impl AsFd, to: &str) -> rustix::io::Result<()> {
    let (from_dir, to_dir) = (from_dir.as_fd(), to_dir.as_fd());
    match renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    let stat = statat(from_dir, from, AtFlags::SYMLINK_NOFOLLOW)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        linkat(from_dir, from, to_dir, to, AtFlags::empty())?;
        return unlinkat(from_dir, from, AtFlags::empty());
    }
    match statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => renameat(from_dir, from, to_dir, to),
        Ok(_) => Err(Errno::EXIST),
        Err(e) => Err(e),
    }
}

/// Opens a regular file for reading, and nothing else: what it is, is known before it is opened, because opening a
/// device or a pipe already does something. `None` when it is no regular file.
pub fn open_regular(dir: impl AsFd, path: &str) -> rustix::io::Result<Option<File>> {
    let handle = open_in(dir, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
    if !FileType::from_raw_mode(fstat(&handle)?.st_mode).is_file() {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = openat(CWD, format!("/proc/self/fd/{}", handle.as_raw_fd()), flags, Mode::empty())?;
    Ok(Some(File::from(opened)))
}

/// Names in a folder, but `.` and `..`; those that are no UTF-8 are not ours and left out.
pub fn names(dir: impl AsFd) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

impl Root {
    /// Opens the folder. `make`: makes it when only its last part is missing, or it stands in our own folder.
    pub fn open_or_make(path: &str, make: bool) -> Result<Root> {
        if make {
            if home::holds(path) {
                home::open(true).map_err(|e| refused(path, e.into()))?;
            }
            match DirBuilder::new().mode(0o755).create(path) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    return Err(path_invalid(
                        format!("The folder above {path} does not exist on the host."),
                        "Make it on the host, or choose a folder in one that exists.",
                    )
                    .because(e));
                }
                Err(e) => return Err(refused(path, e)),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
            .map_err(|e| refused(path, e.into()))?;
        // A link on the way may lead to a folder of the system.
        let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let real = real.map_err(|e| io("open the pool's folder", &e))?;
        check_path("spec.local.path", &real.to_string_lossy())
            .map_err(|fault| fault.because(format!("{path} is {}", real.display())))?;
        Ok(Root { path: path.to_owned(), fd })
    }

    /// The open folder.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens beneath the root.
    pub fn open(&self, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        open_in(&self.fd, path, flags, mode)
    }

    /// Opens one of our folders.
    pub fn folder(&self, name: &str) -> Result<OwnedFd> {
        self.open(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|e| io("open the pool's folders", &e.into()))
    }

    /// Fails when the folder at the pool's path is not the one we opened, e.g. unmounted or removed under us.
    pub fn check_still_there(&self, marker: &str) -> Result<()> {
        let ours = fstat(&self.fd).map_err(|e| io("look at the pool's folder", &e.into()))?;
        let marked = statat(&self.fd, marker, AtFlags::SYMLINK_NOFOLLOW);
        let same = rustix::fs::stat(self.path.as_str())
            .is_ok_and(|now| now.st_dev == ours.st_dev && now.st_ino == ours.st_ino);
        if same && marked.is_ok() {
            return Ok(());
        }
        Err(Fault::new(
            FaultCode::PoolNotReady,
            format!("The folder {} was replaced, unmounted or removed.", self.path),
            "Put it back (mount the disk that holds it); the pool then comes back by itself.",
        ))
    }
}

fn refused(path: &str, err: std::io::Error) -> Fault {
    match err.kind() {
        ErrorKind::NotFound => path_invalid(
            format!("The folder {path} does not exist on the host."),
            "Mount the disk that holds it, or make the folder.",
        ),
        ErrorKind::NotADirectory => {
            path_invalid(format!("{path} is not a folder on the host."), "Choose a folder.")
        }
        ErrorKind::PermissionDenied => path_invalid(
            format!("The host may not use the folder {path}."),
            "Give the user of the quantix-node service the right to write there.",
        ),
        _ => return io("open the pool's folder", &err),
    }
    .because(err)
}
