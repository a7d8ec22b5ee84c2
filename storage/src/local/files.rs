//! Browsing the files of a pool. Links are shown and never followed; devices, sockets and pipes are never opened.
//!
//! A folder of a hundred thousand entries costs one pass over its names; only the page that is asked for is looked at
//! closely, unless the order needs every entry's size or time.

use crate::backend::{FileEntry, FileKind, FilePage, FileQuery, FileSort, Files};
use crate::error::{self, Result, io};
use crate::local::paths::{self, Place};
use crate::local::root::open_regular;
use crate::local::sniff::{self, HEAD_BYTES};
use crate::local::{LocalPool, locked};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries of a folder we are ready to sort; more would take the worker's memory.
const ENTRIES_MAX: usize = 500_000;
/// Bytes their names may take.
const NAMES_BYTES_MAX: usize = 16 << 20;
/// Entries a page may have.
const PAGE_MAX: usize = 1000;

/// A listing of more entries is not kept for the next page.
const KEPT_MAX: usize = 200_000;
/// A folder changed this recently may change again without looking newer.
const QUIET: Duration = Duration::from_secs(1);

/// The names of a folder, one after the other with a NUL each, and their order.
pub(super) struct Listing {
    names: Vec<u8>,
    found: Vec<Found>,
    /// So many at the front are in order, and all before those behind them.
    ordered: usize,
}

#[derive(Clone, Copy)]
struct Found {
    start: u32,
    /// With the NUL.
    len: u16,
    kind: FileKind,
    /// Only when the order needs it.
    key: i64,
}

/// What a kept listing is of. While the folder looks the same, its names are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whose {
    device: u64,
    inode: u64,
    changed_ns: i64,
    filter: String,
    descending: bool,
}

impl Whose {
    /// `None` when a listing of this must not be kept.
    fn of(dir: &OwnedFd, query: &FileQuery) -> Option<Whose> {
        let stat = fstat(dir).ok()?;
        let changed_ns = stat.st_mtime.checked_mul(1_000_000_000)?.checked_add(stat.st_mtime_nsec as i64)?;
        let changed = UNIX_EPOCH + Duration::from_nanos(u64::try_from(changed_ns).ok()?);
        let quiet = SystemTime::now().duration_since(changed).is_ok_and(|age| age > QUIET);
        (quiet && query.sort == FileSort::Name).then(|| Whose {
            device: stat.st_dev,
            inode: stat.st_ino,
            changed_ns,
            filter: query.filter.clone(),
            descending: query.descending,
        })
    }
}

impl Listing {
    fn name(&self, found: &Found) -> &[u8] {
        let start = found.start as usize;
        &self.names[start..start + usize::from(found.len)]
    }

    /// Puts what stands before `end` in order.
    fn order(&mut self, query: &FileQuery, end: usize) {
        let end = end.min(self.found.len());
        if end <= self.ordered {
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        let order = |a: &Found, b: &Found| {
            let folders = (a.kind != FileKind::Directory).cmp(&(b.kind != FileKind::Directory));
            let by = a.key.cmp(&b.key).then_with(|| self.name(a).cmp(self.name(b)));
            folders.then(if query.descending { by.reverse() } else { by })
        };
        if self.ordered == 0 && end < found.len() {
            found.select_nth_unstable_by(end, order);
            found[..end].sort_unstable_by(order);
        } else {
            // Whoever asks for a second page will ask for a third.
            found.sort_unstable_by(order);
            self.ordered = found.len();
        }
        self.ordered = self.ordered.max(end);
        self.found = found;
    }
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
fn read(dir: &OwnedFd, query: &FileQuery) -> Result<Listing> {
    let failed = |e: Errno| io("list files", &e.into());
    let wanted = query.filter.to_lowercase();
    let mut listing = Listing { names: Vec::new(), found: Vec::new(), ordered: 0 };
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
                        FileSort::Size => stat.st_size,
                        FileSort::Modified => stat
                            .st_mtime
                            .saturating_mul(1_000_000_000)
                            .saturating_add(stat.st_mtime_nsec as i64),
                    };
                }
                // Deleted meanwhile.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed(e)),
            }
        }
        let bytes = name.to_bytes_with_nul();
        let start = u32::try_from(listing.names.len()).unwrap_or(u32::MAX);
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        listing.names.extend_from_slice(bytes);
        listing.found.push(Found { start, len, kind: kind(file_type), key });
        if listing.found.len() > ENTRIES_MAX || listing.names.len() > NAMES_BYTES_MAX {
            return Err(quantix_model::Fault::new(
                quantix_model::FaultCode::TooLarge,
                format!(
                    "More entries match than can be put in order: more than {}.",
                    listing.found.len() - 1
                ),
                "Give a longer part of the name as filter.",
            ));
        }
    }
    Ok(listing)
}

/// What a file is by its content; empty when nobody knows.
fn format(dir: &OwnedFd, name: &CStr) -> String {
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
        // Before the names are read: what changes after this look makes the folder look different.
        let whose = Whose::of(&dir, query);
        let kept = locked(&self.listing).take().filter(|(kept, _)| whose.as_ref() == Some(kept));
        let mut listing = kept.map_or_else(|| read(&dir, query), |(_, listing)| Ok(listing))?;
        let limit = query.limit.clamp(1, PAGE_MAX);
        let end = query.offset.saturating_add(limit).min(listing.found.len());
        listing.order(query, end);
        let users = users();
        let wanted = listing.found.get(query.offset.min(end)..end).unwrap_or_default();
        let page = wanted.iter().filter_map(|found| {
            let name = CStr::from_bytes_with_nul(listing.name(found)).ok()?;
            // One that was deleted meanwhile is left out.
            let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(describe(&dir, &query.path, name, &stat, &users))
        });
        let page = FilePage { entries: page.collect(), total: listing.found.len() };
        if let Some(whose) = whose.filter(|_| listing.found.len() <= KEPT_MAX) {
            *locked(&self.listing) = Some((whose, listing));
        }
        Ok(page)
    }
}

fn describe(
    dir: &OwnedFd,
    folder: &str,
    name: &CStr,
    stat: &Stat,
    users: &HashMap<u32, String>,
) -> FileEntry {
    let text = name.to_string_lossy();
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    FileEntry {
        kept_for: paths::kept_in(folder, &text),
        name: text.into_owned(),
        kind,
        format: if kind == FileKind::Regular && stat.st_size > 0 { format(dir, name) } else { String::new() },
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        mode: stat.st_mode & 0o7777,
        owner: users.get(&stat.st_uid).cloned().unwrap_or_else(|| stat.st_uid.to_string()),
        modified_at_ms: modified_at_ms(stat),
    }
}

/// One entry of its open folder; `None` when there is none of that name.
pub(super) fn entry(dir: &OwnedFd, place: &Place<'_>) -> Result<Option<FileEntry>> {
    let Ok(name) = CString::new(place.name) else { return Ok(None) };
    match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(describe(dir, place.folder, &name, &stat, &users()))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io("look at the file", &e.into())),
    }
}
