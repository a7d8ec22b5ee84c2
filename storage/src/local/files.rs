//! Browsing the files of a pool. Links are shown and never followed; devices, sockets and pipes are never opened.
//!
//! A folder of a hundred thousand entries costs one pass over its names; only the page that is asked for is looked at
//! closely, unless the order needs every entry's size or time.

use crate::backend::{FileEntry, FileKind, FilePage, FileQuery, FileSort, Files};
use crate::error::{self, Result, io};
use crate::local::LocalPool;
use crate::local::root::open_regular;
use crate::local::sniff::{self, HEAD_BYTES};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, statat};
use rustix::io::Errno;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Entries of a folder we are ready to sort; more would take the worker's memory.
const ENTRIES_MAX: usize = 500_000;
/// Entries a page may have.
const PAGE_MAX: usize = 1000;

struct Found {
    name: CString,
    kind: FileKind,
    /// Only when the order needs it.
    key: i128,
}

fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::Directory => FileKind::Directory,
        FileType::RegularFile => FileKind::Regular,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn modified_at_ms(stat: &Stat) -> i64 {
    stat.st_mtime.saturating_mul(1000).saturating_add(stat.st_mtime_nsec as i64 / 1_000_000)
}

pub(super) fn open_folder(pool: &LocalPool, path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
    let target = if path.is_empty() { "." } else { path };
    if path.contains('\0') {
        return Err(error::file_not_found(path));
    }
    pool.root()?.open(target, flags, Mode::empty()).map_err(|e| match e {
        Errno::XDEV | Errno::LOOP => error::outside(path),
        Errno::NOENT | Errno::NAMETOOLONG => error::file_not_found(path),
        Errno::NOTDIR => {
            // The kernel says so too when the last part is a link that was to be a folder.
            let look = pool.root().map(|root| statat(root.fd(), path, AtFlags::SYMLINK_NOFOLLOW));
            match look {
                Ok(Ok(stat)) if FileType::from_raw_mode(stat.st_mode).is_symlink() => error::outside(path),
                _ => error::file_not_found(path),
            }
        }
        other => io("open folder", &other.into()),
    })
}

/// All entries that match, unsorted.
fn read(dir: &OwnedFd, query: &FileQuery) -> Result<Vec<Found>> {
    let failed = |e: Errno| io("list files", &e.into());
    let wanted = query.filter.to_lowercase();
    let mut found = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if !wanted.is_empty() && !name.to_string_lossy().to_lowercase().contains(&wanted) {
            continue;
        }
        let (mut file_type, mut key) = (entry.file_type(), 0);
        if query.sort != FileSort::Name || file_type == FileType::Unknown {
            match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    file_type = FileType::from_raw_mode(stat.st_mode);
                    key = match query.sort {
                        FileSort::Name => 0,
                        FileSort::Size => i128::from(stat.st_size),
                        FileSort::Modified => {
                            i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec as i64)
                        }
                    };
                }
                // Deleted meanwhile.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed(e)),
            }
        }
        found.push(Found { name: name.to_owned(), kind: kind(file_type), key });
        if found.len() > ENTRIES_MAX {
            return Err(quantix_model::Fault::new(
                quantix_model::FaultCode::TooLarge,
                format!("The folder has more than {ENTRIES_MAX} entries that match."),
                "Give a longer part of the name as filter.",
            ));
        }
    }
    Ok(found)
}

fn order(query: &FileQuery) -> impl Fn(&Found, &Found) -> Ordering + use<> {
    let descending = query.descending;
    move |a, b| {
        let folders = (a.kind != FileKind::Directory).cmp(&(b.kind != FileKind::Directory));
        let by = a.key.cmp(&b.key).then_with(|| a.name.cmp(&b.name));
        folders.then(if descending { by.reverse() } else { by })
    }
}

/// What a file is by its content; empty when nobody knows.
fn format(dir: &OwnedFd, name: &CString) -> String {
    let Ok(name) = name.to_str() else { return String::new() };
    let Ok(Some(file)) = open_regular(dir, name) else { return String::new() };
    let mut head = vec![0; HEAD_BYTES];
    let got = file.read_at(&mut head, 0).unwrap_or(0);
    head.truncate(got);
    sniff::content(&head).label().to_owned()
}

/// Names of users by number, from /etc/passwd.
fn users() -> HashMap<u32, String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        Some((number.parse().ok()?, name.to_owned()))
    };
    text.lines().filter_map(user).collect()
}

impl Files for LocalPool {
    fn list(&self, query: &FileQuery) -> Result<FilePage> {
        let dir = open_folder(self, &query.path)?;
        let mut found = read(&dir, query)?;
        let total = found.len();
        let limit = query.limit.clamp(1, PAGE_MAX);
        let end = query.offset.saturating_add(limit);
        let order = order(query);
        if end < total {
            found.select_nth_unstable_by(end, &order);
            found.truncate(end);
        }
        found.sort_unstable_by(&order);
        let users = users();
        let page = found.into_iter().skip(query.offset).filter_map(|found| {
            // One that was deleted meanwhile is left out.
            let stat = statat(&dir, &found.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(describe(&dir, &found.name, &stat, &users))
        });
        Ok(FilePage { entries: page.collect(), total })
    }
}

fn describe(dir: &OwnedFd, name: &CString, stat: &Stat, users: &HashMap<u32, String>) -> FileEntry {
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    FileEntry {
        name: name.to_string_lossy().into_owned(),
        kind,
        format: if kind == FileKind::Regular { format(dir, name) } else { String::new() },
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        mode: stat.st_mode & 0o7777,
        owner: users.get(&stat.st_uid).cloned().unwrap_or_else(|| stat.st_uid.to_string()),
        modified_at_ms: modified_at_ms(stat),
    }
}

/// One entry of an open folder; `None` when there is none of that name.
pub(super) fn entry(dir: &OwnedFd, name: &str) -> Result<Option<FileEntry>> {
    let Ok(c_name) = CString::new(name) else { return Ok(None) };
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(describe(dir, &c_name, &stat, &users()))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io("look at the file", &e.into())),
    }
}
