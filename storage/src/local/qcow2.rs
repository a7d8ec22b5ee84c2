//! The header and the snapshot table of qcow2 files (docs/interop/qcow2.txt of QEMU), read by ourselves: no program
//! may open such a file before we know which other files it would open. Everything here reads hostile input.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Nearly always enough; a file that puts its names further out is read again, up to [`HEAD_BYTES_MAX`].
const HEAD_BYTES: usize = 4096;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// QEMU takes no longer name.
const BACKING_NAME_BYTES_MAX: usize = 1023;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_EXTERNAL_DATA: u64 = 1 << 2;
/// Snapshots we are ready to read, and the bytes their table may take.
const SNAPSHOTS_MAX: u32 = 2000;
const SNAPSHOT_TABLE_BYTES_MAX: usize = 1 << 20;

/// What matters of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As the guest sees it.
    pub virtual_size_bytes: u64,
    /// The file it reads where it has no data itself.
    pub backing: Option<Backing>,
    /// Its data is in another file.
    pub external_data: bool,
    /// QEMU marked it as damaged.
    pub corrupt: bool,
    /// Snapshots inside.
    pub snapshot_count: u32,
    snapshots_offset: u64,
}

/// See [`Header::backing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// As the file says it.
    pub name: String,
    /// As the file says it; QEMU guesses when it is missing.
    pub format: Option<String>,
}

/// A snapshot inside a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// QEMU's own, unique in the file.
    pub id: String,
    /// What people gave it.
    pub name: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// As the guest saw it then; 0 when an old QEMU did not write it down.
    pub size_bytes: u64,
}

/// Why a file is no usable qcow2 file.
pub type Damage = &'static str;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn read_at(file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut got = 0;
    while got < bytes {
        match file.read_at(&mut buffer[got..], at.saturating_add(got as u64))? {
            0 => break,
            n => got += n,
        }
    }
    buffer.truncate(got);
    Ok(buffer)
}

/// Reads a header.
pub fn read(file: &File) -> io::Result<Result<Header, Damage>> {
    let length = file.metadata()?.len();
    match parse(&read_at(file, 0, HEAD_BYTES)?, length) {
        Parsed::Further => Ok(match parse(&read_at(file, 0, HEAD_BYTES_MAX)?, length) {
            Parsed::Good(header) => Ok(header),
            Parsed::Bad(damage) => Err(damage),
            Parsed::Further => Err("its header points out of itself"),
        }),
        Parsed::Good(header) => Ok(Ok(header)),
        Parsed::Bad(damage) => Ok(Err(damage)),
    }
}

/// Whether QEMU would look for no other file when it opens this one, however damaged it is.
pub fn names_no_file(file: &File) -> bool {
    let Ok(head) = read_at(file, 0, HEAD_BYTES) else { return false };
    let backing = u64_at(&head, 8).unwrap_or(0);
    let features = if u32_at(&head, 4) == Some(2) { 0 } else { u64_at(&head, 72).unwrap_or(0) };
    !head.starts_with(b"QFI\xfb") || (backing == 0 && features & INCOMPATIBLE_EXTERNAL_DATA == 0)
}

enum Parsed {
    Good(Header),
    Bad(Damage),
    /// More of the file is needed.
    Further,
}

fn parse(head: &[u8], length: u64) -> Parsed {
    if !head.starts_with(b"QFI\xfb") {
        return Parsed::Bad("it does not begin like a qcow2 file");
    }
    let fixed = || {
        Some((
            (u32_at(head, 4)?, u64_at(head, 8)?, u32_at(head, 16)?, u32_at(head, 20)?, u64_at(head, 24)?),
            (u32_at(head, 36)?, u64_at(head, 40)?, u64_at(head, 48)?, u32_at(head, 60)?, u64_at(head, 64)?),
        ))
    };
    let Some((
        (version, backing_at, backing_len, cluster_bits, size),
        (l1_len, l1_at, refs_at, count, table),
    )) = fixed()
    else {
        return Parsed::Bad("it is cut short");
    };
    let (features, extensions_at) = match version {
        2 => (0, 72),
        3 => match u64_at(head, 72).zip(u32_at(head, 100)) {
            Some((features, header_len)) => (features, header_len as usize),
            None => return Parsed::Bad("it is cut short"),
        },
        _ => return Parsed::Bad("its version is neither 2 nor 3"),
    };
    if !(9..=21).contains(&cluster_bits) {
        return Parsed::Bad("its cluster size is impossible");
    }
    if l1_at.saturating_add(u64::from(l1_len) * 8) > length || refs_at >= length {
        return Parsed::Bad("its tables lie behind its end");
    }
    let backing = match backing(head, backing_at, backing_len as usize, extensions_at) {
        Ok(backing) => backing,
        Err(parsed) => return parsed,
    };
    Parsed::Good(Header {
        virtual_size_bytes: size,
        backing,
        external_data: features & INCOMPATIBLE_EXTERNAL_DATA != 0,
        corrupt: features & INCOMPATIBLE_CORRUPT != 0,
        snapshot_count: count,
        snapshots_offset: table,
    })
}

fn backing(head: &[u8], at: u64, len: usize, extensions_at: usize) -> Result<Option<Backing>, Parsed> {
    if at == 0 {
        return Ok(None);
    }
    let start = usize::try_from(at).unwrap_or(usize::MAX);
    if len == 0 || len > BACKING_NAME_BYTES_MAX {
        return Err(Parsed::Bad("the name of its backing file is impossible"));
    }
    let name = head.get(start..start.saturating_add(len)).ok_or(Parsed::Further)?;
    let (mut next, mut format) = (extensions_at, None);
    while next < start {
        let (Some(kind), Some(len)) = (u32_at(head, next), u32_at(head, next.saturating_add(4))) else {
            return Err(Parsed::Further);
        };
        let data = next.saturating_add(8);
        match kind {
            0 => break,
            EXTENSION_BACKING_FORMAT => {
                let bytes = head.get(data..data.saturating_add(len as usize)).ok_or(Parsed::Further)?;
                format = Some(String::from_utf8_lossy(bytes).into_owned());
            }
            _ => {}
        }
        next = data.saturating_add((len as usize).next_multiple_of(8));
    }
    Ok(Some(Backing { name: String::from_utf8_lossy(name).into_owned(), format }))
}

/// Reads the snapshot table, in the order of making.
pub fn snapshots(file: &File, header: &Header) -> io::Result<Result<Vec<Snapshot>, Damage>> {
    if header.snapshot_count == 0 {
        return Ok(Ok(Vec::new()));
    }
    if header.snapshot_count > SNAPSHOTS_MAX {
        return Ok(Err("it says it has more snapshots than anybody makes"));
    }
    let table = read_at(file, header.snapshots_offset, SNAPSHOT_TABLE_BYTES_MAX)?;
    let mut at = 0;
    let read = (0..header.snapshot_count).map(|_| snapshot(&table, &mut at)).collect::<Option<Vec<_>>>();
    Ok(read.ok_or("its snapshot table is cut short"))
}

fn snapshot(table: &[u8], at: &mut usize) -> Option<Snapshot> {
    let entry = table.get(*at..)?;
    let half = |at: usize| Some(usize::from(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?)));
    let (id_len, name_len) = (half(12)?, half(14)?);
    let (seconds, nanos) = (u32_at(entry, 16)?, u32_at(entry, 20)?);
    let extra_len = u32_at(entry, 36)? as usize;
    let size_bytes = if extra_len >= 16 { u64_at(entry, 48)? } else { 0 };
    let id_at = extra_len.checked_add(40)?;
    let name_at = id_at.checked_add(id_len)?;
    let end = name_at.checked_add(name_len)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let read = Snapshot {
        id: text(entry.get(id_at..name_at)?),
        name: text(entry.get(name_at..end)?),
        created_at_ms: i64::from(seconds) * 1000 + i64::from(nanos / 1_000_000),
        size_bytes,
    };
    *at = at.checked_add(end.checked_next_multiple_of(8)?)?;
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn qemu_img(dir: &std::path::Path, args: &[&str]) {
        let done = std::process::Command::new("qemu-img").args(args).current_dir(dir).status();
        assert!(done.expect("qemu-img: apt-get install qemu-utils").success(), "{args:?}");
    }

    #[test]
    fn what_qemu_writes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        qemu_img(dir.path(), &["create", "-q", "-f", "qcow2", "base.qcow2", "16M"]);
        let top = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", "top.qcow2", "32M"];
        qemu_img(dir.path(), &top);
        for name in ["one", "two-2"] {
            qemu_img(dir.path(), &["snapshot", "-q", "-c", name, "top.qcow2"]);
        }
        let open = |name: &str| File::open(dir.path().join(name)).unwrap();
        let base = read(&open("base.qcow2")).unwrap().unwrap();
        assert_eq!((base.virtual_size_bytes, base.backing, base.snapshot_count), (16 << 20, None, 0));
        let top = read(&open("top.qcow2")).unwrap().unwrap();
        let backing = Backing { name: "base.qcow2".into(), format: Some("qcow2".into()) };
        assert_eq!((top.virtual_size_bytes, top.backing.as_ref()), (32 << 20, Some(&backing)));
        let snapshots = snapshots(&open("top.qcow2"), &top).unwrap().unwrap();
        let seen: Vec<_> = snapshots.iter().map(|s| (s.name.as_str(), s.size_bytes)).collect();
        assert_eq!(seen, [("one", 32 << 20), ("two-2", 32 << 20)]);
        assert!(snapshots[0].id != snapshots[1].id && snapshots[0].created_at_ms > 1_600_000_000_000);
        // Cut anywhere before its tables end, it is damaged, never misread.
        let whole = std::fs::read(dir.path().join("base.qcow2")).unwrap();
        for end in [0, 3, 50, 110, 5000, 70_000, whole.len() - 8] {
            assert!(read(&file(&whole[..end])).unwrap().is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut head in prop::collection::vec(any::<u8>(), 0..700), version in 2u8..4) {
            if head.len() > 24 {
                head[..8].copy_from_slice(&[b'Q', b'F', b'I', 0xfb, 0, 0, 0, version]);
                head[20..24].copy_from_slice(&[0, 0, 0, 16]);
            }
            let file = file(&head);
            if let Ok(header) = read(&file).unwrap() {
                let _ = snapshots(&file, &header).unwrap();
            }
            let _ = snapshot(&head, &mut 0);
        }
    }
}
