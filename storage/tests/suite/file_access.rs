//! Opening and changing files, by whatever names people give them.

use super::Bench;
use super::files::is_file_pool;
use super::images;
use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::volume::VolumeSource;
use quantix_storage::backend::*;

/// Names that are legal and that careless programs stumble over.
const ODD_NAMES: &[&str] = &[
    "a..b",
    " spaced out ",
    "quo'te\"s",
    "new\nline",
    "ünï-日本",
    "-rf",
    "--help",
    "$(id)",
    "a;b",
    "*",
    "\\",
];

/// The ability; when the backend says it has none, checks that it is refused instead.
fn able<'a>(bench: &Bench<'a>) -> Option<&'a dyn FileAccess> {
    let access = bench.pool.abilities().file_access;
    let refused = access.is_none_or(|a| a.make_folder("x").is_err_and(|f| f.code == FaultCode::PoolCannot));
    assert!(!refused || !is_file_pool(bench), "a pool of files must let people at them");
    access.filter(|_| !refused)
}

fn names(bench: &Bench, path: &str) -> Vec<String> {
    let query = FileQuery { path: path.into(), limit: 100, ..FileQuery::default() };
    let page = bench.pool.abilities().files.unwrap().list(&query).unwrap();
    page.entries.into_iter().map(|e| e.name).collect()
}

/// Puts a file there by an upload.
fn put(bench: &Bench, path: &str, bytes: &[u8]) -> quantix_storage::error::Result<()> {
    let (id, size) = (image_id(), bytes.len() as u64);
    let images = bench.pool.abilities().images.unwrap();
    images.upload_open(id, size)?;
    let mut at = 0;
    for piece in bytes.chunks(MIB as usize) {
        at = images.upload_write(id, at, piece)?;
    }
    let access = bench.pool.abilities().file_access.unwrap();
    let kept = access.upload_keep(id, path, size, Some(&sha256(bytes)), &mut no_progress());
    images.image_delete(id)?;
    kept
}

pub fn file_access(bench: &Bench) {
    let Some(access) = able(bench) else { return };
    access.make_folder("work").unwrap();
    access.make_folder("work").unwrap();
    odd_names(bench, access);
    changes(bench, access);
    escapes(bench, access);
    ours(bench, access);
    assert!(access.remove("work", &mut no_progress()).unwrap());
    assert!(!access.remove("work", &mut no_progress()).unwrap());
    // Left by the question whether there is an ability.
    access.remove("x", &mut no_progress()).unwrap();
}

fn odd_names(bench: &Bench, access: &dyn FileAccess) {
    for name in ODD_NAMES {
        let folder = format!("work/{name}");
        let (file, copy, moved) =
            (format!("{folder}/{name}"), format!("{folder}/{name}2"), format!("{folder}/x{name}"));
        access.make_folder(&folder).unwrap();
        put(bench, &file, b"hello").unwrap_or_else(|fault| panic!("{name:?}: {fault:?}"));
        access.copy(&file, &copy, &mut no_progress()).unwrap();
        access.rename(&copy, &moved).unwrap();
        assert_eq!(access.read(&moved, 0, 100).unwrap(), b"hello", "{name:?}");
        let details = access.details(&file).unwrap();
        assert_eq!((details.entry.name.as_str(), details.entry.size_bytes), (*name, 5));
        assert_eq!(names(bench, &folder).len(), 2, "{name:?}");
        assert!(access.remove(&folder, &mut no_progress()).unwrap());
    }
    assert!(names(bench, "work").is_empty());
}

fn changes(bench: &Bench, access: &dyn FileAccess) {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    put(bench, "work/one", &bytes).unwrap();
    assert_eq!(access.read("work/one", 1000, 10).unwrap(), &bytes[1000..1010]);
    assert_eq!(access.read("work/one", 2_999_990, 100).unwrap(), &bytes[2_999_990..]);
    assert!(access.read("work/one", 3_000_000, 100).unwrap().is_empty());
    assert!(access.read("work/one", u64::MAX - 5, 100).unwrap().is_empty());
    let mut last = Progress::default();
    access.copy("work/one", "work/two", &mut |p| last = p).unwrap();
    assert!(last.done_bytes <= last.total_bytes);
    assert_eq!(access.read("work/two", 0, 1 << 20).unwrap(), &bytes[..1 << 20]);
    // Never over something that is there.
    put(bench, "work/three", b"3").unwrap();
    access.make_folder("work/folder").unwrap();
    for there in ["work/three", "work/folder"] {
        assert_eq!(code(access.copy("work/one", there, &mut no_progress())), FaultCode::FileExists);
        assert_eq!(code(access.rename("work/one", there)), FaultCode::FileExists);
        assert_eq!(code(put(bench, there, b"4")), FaultCode::FileExists);
    }
    assert_eq!(access.read("work/three", 0, 10).unwrap(), b"3");
    assert_eq!(code(access.make_folder("work/three")), FaultCode::FileExists);
    // Folders are moved, not copied or read.
    access.rename("work/one", "work/folder/one").unwrap();
    assert_eq!(code(access.read("work/folder", 0, 10)), FaultCode::FileNotRegular);
    assert_eq!(code(access.copy("work/folder", "work/again", &mut no_progress())), FaultCode::FileNotRegular);
    access.rename("work/folder", "work/moved").unwrap();
    assert_eq!(names(bench, "work/moved"), ["one"]);
    assert!(access.rename("work/moved", "work/moved/inside").is_err());
    assert_eq!(code(access.make_folder("work/no/such")), FaultCode::FileNotFound);
    for missing in ["work/nothing", "work/three/below", "nothing/at/all"] {
        assert_eq!(code(access.read(missing, 0, 1)), FaultCode::FileNotFound, "{missing}");
        assert_eq!(code(access.details(missing)), FaultCode::FileNotFound, "{missing}");
        assert_eq!(code(access.rename(missing, "work/x")), FaultCode::FileNotFound, "{missing}");
        assert_eq!(code(access.copy(missing, "work/x", &mut no_progress())), FaultCode::FileNotFound);
        assert!(!access.remove(missing, &mut no_progress()).unwrap(), "{missing}");
    }
    assert_eq!(names(bench, "work"), ["moved", "three", "two"]);
}

fn escapes(bench: &Bench, access: &dyn FileAccess) {
    for bad in ["..", "../x", "work/../../x", "/etc/passwd", "work/../.."] {
        assert_eq!(code(access.read(bad, 0, 1)), FaultCode::PathOutsidePool, "{bad}");
        assert_eq!(code(access.details(bad)), FaultCode::PathOutsidePool, "{bad}");
        assert_eq!(code(access.make_folder(bad)), FaultCode::PathOutsidePool, "{bad}");
        assert_eq!(code(access.remove(bad, &mut no_progress())), FaultCode::PathOutsidePool, "{bad}");
        assert_eq!(code(access.rename("work/three", bad)), FaultCode::PathOutsidePool, "{bad}");
        assert_eq!(code(access.rename(bad, "work/x")), FaultCode::PathOutsidePool, "{bad}");
        let copied = access.copy("work/three", bad, &mut no_progress());
        assert_eq!(code(copied), FaultCode::PathOutsidePool, "{bad}");
        assert_eq!(code(put(bench, bad, b"x")), FaultCode::PathOutsidePool, "{bad}");
    }
    for bad in ["", "work/\0", "work/.", "work//three"] {
        assert!(access.make_folder(bad).is_err(), "{bad:?}");
        assert!(access.remove(bad, &mut no_progress()).is_err(), "{bad:?}");
    }
    let long = format!("work/{}", "x".repeat(300));
    assert!(access.make_folder(&long).is_err());
}

/// What volumes and images need goes by id.
fn ours(bench: &Bench, access: &dyn FileAccess) {
    let wish = bench.wish(4 * MIB, VolumeSource::Blank);
    bench.make(&wish);
    let file = format!("volumes/{}.{}", wish.id, wish.format.as_str());
    let free = format!("volumes/{}.raw", volume_id());
    for path in ["volumes", "images", ".quantix-pool", file.as_str()] {
        let removed = access.remove(path, &mut no_progress());
        assert_eq!(code(removed), FaultCode::FileInUse, "{path}");
        assert_eq!(code(access.rename(path, "work/x")), FaultCode::FileInUse, "{path}");
    }
    assert_eq!(code(access.make_folder(&free)), FaultCode::FileInUse);
    access.make_folder("volumes").unwrap();
    assert_eq!(code(access.copy("work/three", &free, &mut no_progress())), FaultCode::FileInUse);
    assert_eq!(code(access.rename("work/three", &free)), FaultCode::FileInUse);
    assert_eq!(code(put(bench, &free, b"x")), FaultCode::FileInUse);
    assert!(access.details(&file).unwrap().entry.size_bytes < 100 * MIB);
    bench.delete(&wish);
}

pub fn kept(bench: &Bench) {
    let (Some(access), Some(images)) = (able(bench), images::able(bench)) else { return };
    let keep =
        |id, path: &str, size, sum: Option<&str>| access.upload_keep(id, path, size, sum, &mut no_progress());
    assert_eq!(code(keep(image_id(), "kept", 5, None)), FaultCode::FileNotFound);
    let id = image_id();
    images.upload_open(id, 5).unwrap();
    images.upload_write(id, 0, b"hel").unwrap();
    assert_eq!(code(keep(id, "kept", 5, None)), FaultCode::UploadIncomplete);
    images.upload_write(id, 3, b"lo").unwrap();
    assert_eq!(code(keep(id, "no/such/folder", 5, None)), FaultCode::FileNotFound);
    let sum = sha256(b"hello");
    keep(id, "kept", 5, Some(&sum)).unwrap();
    // An answer may get lost: the same again is a success.
    keep(id, "kept", 5, Some(&sum)).unwrap();
    assert_eq!(access.read("kept", 0, 10).unwrap(), b"hello");
    assert!(!images.image_delete(id).unwrap(), "the upload is still there");
    let id = image_id();
    images.upload_open(id, 5).unwrap();
    images.upload_write(id, 0, b"other").unwrap();
    assert_eq!(code(keep(id, "kept", 5, None)), FaultCode::FileExists);
    assert_eq!(code(keep(id, "kept2", 5, Some(&sum))), FaultCode::ImageChecksumMismatch);
    assert!(!images.image_delete(id).unwrap(), "a refused upload stayed");
    assert!(access.remove("kept", &mut no_progress()).unwrap());
    access.remove("x", &mut no_progress()).unwrap();
}
