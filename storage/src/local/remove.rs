//! Removing a folder with all that is in it: without recursion, in bounded memory, never through a link, and never into
//! another file system that is mounted there.
//!
//! Folders are entered one by one and emptied from the bottom. Where the way down becomes too long for the files a process
//! may have open, the rest of it is moved up to the top and found there again.

use crate::error::{Result, io};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, openat2, renameat, seek, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// Folders open at a time.
const DEPTH_MAX: usize = 64;
/// Names of folders kept per level.
const NAMES_MAX: usize = 256;

struct Level {
    name: CString,
    fd: OwnedFd,
    /// Folders found here that are not empty.
    folders: Vec<CString>,
}

fn enter(dir: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(dir, name, flags, Mode::empty(), resolve)
}

/// Removes one entry that is no folder with something in it; `false` when it is one.
fn remove_entry(dir: &OwnedFd, name: &CStr, file_type: FileType) -> rustix::io::Result<bool> {
    if file_type != FileType::Directory {
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::ISDIR) => {}
            Err(e) => return Err(e),
        }
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Empties the folder `name` in `dir` and removes it. `removed` is told of every entry, and may end the work.
pub fn tree(dir: &OwnedFd, name: &str, removed: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let failed = |e: Errno| io("remove files", &e.into());
    let top = CString::new(name).map_err(|e| io("remove files", &e.into()))?;
    let fd = enter(dir, &top).map_err(failed)?;
    let mut levels = vec![Level { name: top, fd, folders: Vec::new() }];
    let mut moved = 0u64;
    while let Some(level) = levels.last_mut() {
        if level.folders.is_empty() {
            level.folders = sweep(&level.fd, removed)?;
        }
        let Some(folder) = level.folders.pop() else {
            // Empty now. When somebody put something in meanwhile, it is swept once more.
            let Some(done) = levels.pop() else { break };
            let above = levels.last().map_or(dir, |level| &level.fd);
            match unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => removed()?,
                Err(Errno::NOTEMPTY | Errno::EXIST) => levels.push(done),
                Err(e) => return Err(failed(e)),
            }
            continue;
        };
        let fd = match enter(&level.fd, &folder) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(failed(e)),
        };
        if levels.len() < DEPTH_MAX {
            levels.push(Level { name: folder, fd, folders: Vec::new() });
            continue;
        }
        moved += 1;
        if let (Some(first), Some(last)) = (levels.first(), levels.last()) {
            let up = format!(".quantix-removing-{}-{moved}", std::process::id());
            renameat(&last.fd, &folder, &first.fd, up.as_str()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes what can be removed at once; answers folders that are not empty, as many as are kept.
fn sweep(dir: &OwnedFd, removed: &mut dyn FnMut() -> Result<()>) -> Result<Vec<CString>> {
    let failed = |e: Errno| io("remove files", &e.into());
    let mut folders = Vec::new();
    // Entries that go away while a folder is read may hide others: it is read until nothing went away.
    loop {
        seek(dir, SeekFrom::Start(0)).map_err(failed)?;
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(dir, &mut buffer);
        let mut went = false;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if remove_entry(dir, name, entry.file_type()).map_err(failed)? {
                went = true;
                removed()?;
            } else {
                folders.push(name.to_owned());
                if folders.len() >= NAMES_MAX {
                    return Ok(folders);
                }
            }
        }
        if !went || !folders.is_empty() {
            return Ok(folders);
        }
    }
}
