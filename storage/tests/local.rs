//! What only a real folder can show: full disks, hostile links, crashes at every step, huge folders.

#![allow(clippy::unwrap_used)]

mod pools;

use pools::*;
use quantix_model::FaultCode;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::local::LocalPool;
use quantix_storage::worker::ProcessLauncher;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn open(setup: &PoolSetup) -> LocalPool {
    let mut pool = LocalPool::new(setup).unwrap();
    pool.init().unwrap();
    pool
}

#[test]
fn folders_that_cannot_be_a_pool_are_refused() {
    let dir = scratch();
    let refuse = |setup: &PoolSetup| {
        let fault = LocalPool::new(setup).unwrap().init().unwrap_err();
        assert_eq!(fault.code, FaultCode::PoolPathInvalid, "{fault}");
        assert!(!fault.remedy.is_empty());
        fault
    };
    let missing = refuse(&setup(&dir.path().join("no/such")));
    assert!(missing.message.contains("above"), "{missing}");
    fs::write(dir.path().join("file"), "x").unwrap();
    assert!(refuse(&setup(&dir.path().join("file"))).message.contains("not a folder"));
    symlink("/etc", dir.path().join("link")).unwrap();
    refuse(&setup(&dir.path().join("link")));
    let mine = setup(&dir.path().join("pool"));
    open(&mine);
    open(&mine);
    let other = PoolSetup { id: pool_id(), ..mine.clone() };
    assert!(refuse(&other).message.contains(&mine.id.to_string()));
    fs::write(dir.path().join("pool/.quantix-pool"), "{").unwrap();
    refuse(&mine);
    // A disk that is not mounted leaves an empty folder: never a new pool.
    fs::create_dir(dir.path().join("unmounted")).unwrap();
    let gone = PoolSetup { must_exist: true, ..setup(&dir.path().join("unmounted")) };
    assert!(refuse(&gone).message.contains("any more"));
    assert!(fs::read_dir(dir.path().join("unmounted")).unwrap().next().is_none());
}

#[test]
fn a_folder_replaced_under_us_is_noticed() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    pool.info().unwrap();
    fs::rename(&root, dir.path().join("moved")).unwrap();
    assert_eq!(code(pool.info()), FaultCode::PoolNotReady);
    fs::create_dir(&root).unwrap();
    assert_eq!(code(pool.info()), FaultCode::PoolNotReady);
    fs::remove_dir(&root).unwrap();
    fs::rename(dir.path().join("moved"), &root).unwrap();
    pool.info().unwrap();
}

#[test]
fn only_our_own_leftovers_are_swept() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let setup = setup(&root);
    drop(open(&setup));
    let ours = [
        format!("volumes/.{}.qcow2.tmp", volume_id()),
        format!("volumes/.{}.raw.tmp", volume_id()),
        ".quantix-probe".to_owned(),
    ];
    let theirs = [
        "volumes/.notes.tmp".to_owned(),
        "volumes/letter.raw.tmp".to_owned(),
        format!("images/.{}.part", image_id()),
        format!("volumes/{}.qcow2", volume_id()),
        "diary.txt".to_owned(),
    ];
    for name in ours.iter().chain(&theirs) {
        fs::write(root.join(name), "x").unwrap();
    }
    open(&setup);
    assert!(ours.iter().all(|name| !root.join(name).exists()));
    assert!(theirs.iter().all(|name| root.join(name).exists()));
}

#[test]
fn links_never_lead_out() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let secret = dir.path().join("secret");
    fs::write(&secret, iso(MIB)).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    symlink(dir.path().join("outside"), root.join("way-out")).unwrap();
    symlink("volumes", root.join("way-round")).unwrap();
    let files = pool.abilities().files.unwrap();
    for path in ["way-out", "way-out/.", "way-round", "/proc/self/root", "volumes/../../outside"] {
        let query = FileQuery { path: path.into(), limit: 10, ..FileQuery::default() };
        assert_eq!(code(files.list(&query)), FaultCode::PathOutsidePool, "{path}");
    }
    // Links under our own names: not followed, not overwritten through.
    let (volume, image) = (volume_id(), image_id());
    symlink(&secret, root.join(format!("volumes/.{volume}.raw.tmp"))).unwrap();
    symlink(&secret, root.join(format!("images/.{image}.part"))).unwrap();
    symlink(&secret, root.join(format!("images/{}.iso", image_id()))).unwrap();
    let wish = VolumeWish {
        id: volume,
        size_bytes: MIB,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    };
    assert!(pool.volume_create(&wish, &mut no_progress()).is_err());
    assert!(pool.abilities().images.unwrap().upload_open(image, 10).is_err());
    assert_eq!(fs::read(&secret).unwrap(), iso(MIB), "written through a link");
    let taken = volume_id();
    symlink(&secret, root.join(format!("volumes/{taken}.qcow2"))).unwrap();
    assert_eq!(code(pool.volume_attach(taken)), FaultCode::VolumeMissing);
}

#[test]
fn odd_files_are_listed_and_never_opened() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let place = root.join("a..b ü");
    fs::create_dir(&place).unwrap();
    run_program("mkfifo", &[place.join("pipe").to_str().unwrap()]);
    let _socket = UnixListener::bind(place.join("socket")).unwrap();
    symlink("/etc/passwd", place.join("link")).unwrap();
    fs::write(place.join("disc"), iso(MIB)).unwrap();
    fs::write(place.join("thin"), qcow2(MIB)).unwrap();
    fs::write(place.join("disk"), raw_disk(MIB)).unwrap();
    fs::write(place.join("sealed"), "a").unwrap();
    fs::set_permissions(place.join("sealed"), fs::Permissions::from_mode(0o600)).unwrap();
    let query = FileQuery { path: "a..b ü".into(), limit: 100, ..FileQuery::default() };
    let page = pool.abilities().files.unwrap().list(&query).unwrap();
    let seen: Vec<_> = page.entries.iter().map(|e| (e.name.as_str(), e.kind, e.format.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("disc", FileKind::Regular, "iso"),
            ("disk", FileKind::Regular, "raw"),
            ("link", FileKind::Symlink, ""),
            ("pipe", FileKind::Other, ""),
            ("sealed", FileKind::Regular, "text"),
            ("socket", FileKind::Other, ""),
            ("thin", FileKind::Regular, "qcow2"),
        ]
    );
    let sealed = &page.entries[4];
    assert_eq!((sealed.mode, sealed.size_bytes), (0o600, 1));
    assert!(!sealed.owner.is_empty() && sealed.modified_at_ms > 1_600_000_000_000);
}

#[test]
fn a_huge_folder_pages_quickly() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let place = root.join("many");
    fs::create_dir(&place).unwrap();
    for n in 0..100_000u32 {
        fs::File::create(place.join(format!("file-{n:06}"))).unwrap();
    }
    let files = pool.abilities().files.unwrap();
    let began = Instant::now();
    let query = FileQuery { path: "many".into(), offset: 50_000, limit: 100, ..FileQuery::default() };
    let page = files.list(&query).unwrap();
    eprintln!("page of 100 in 100,000 by name: {:?}", began.elapsed());
    assert_eq!((page.total, page.entries.len()), (100_000, 100));
    assert_eq!(page.entries[0].name, "file-050000");
    let began = Instant::now();
    let by_size = FileQuery { sort: FileSort::Size, descending: true, offset: 0, ..query.clone() };
    assert_eq!(files.list(&by_size).unwrap().entries[0].name, "file-099999");
    eprintln!("page of 100 in 100,000 by size: {:?}", began.elapsed());
    let filtered = FileQuery { filter: "FILE-0999".into(), offset: 0, ..query };
    assert_eq!(files.list(&filtered).unwrap().total, 100);
}

#[test]
fn finished_images_are_read_only_and_a_restart_resumes() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let setup = setup(&root);
    let (id, disc) = (image_id(), iso(5 * MIB));
    {
        let pool = open(&setup);
        let images = pool.abilities().images.unwrap();
        images.upload_open(id, disc.len() as u64).unwrap();
        images.upload_write(id, 0, &disc[..2_000_000]).unwrap();
    }
    let pool = open(&setup);
    let images = pool.abilities().images.unwrap();
    assert_eq!(images.upload_open(id, disc.len() as u64).unwrap(), 2_000_000);
    // The checksum of the first part went with the old worker; it is read again.
    upload(images, id, &disc).unwrap();
    let mode = fs::metadata(root.join(format!("images/{id}.iso"))).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
}

/// A pool on a small memory file system of its own, in a mount namespace of its own.
fn small_pool(root: &Path, size: &str) -> Through {
    fs::create_dir(root).unwrap();
    let script = format!("mount -t tmpfs -o size={size} tmpfs {} && exec \"$0\"", root.display());
    let worker = env!("CARGO_BIN_EXE_pool-worker-on-trial");
    let args = ["-m", "--propagation", "private", "/bin/sh", "-c", &script, worker];
    let launcher = ProcessLauncher::new("unshare", args.map(Into::into).to_vec()).unwrap();
    let through = Through::start(setup(root), Arc::new(launcher));
    through.runtime.block_on(ready(&through.worker));
    through
}

#[test]
fn a_full_pool_says_so_and_keeps_nothing() {
    let dir = scratch();
    let pool = small_pool(&dir.path().join("pool"), "6m");
    let list = |path: &str| {
        let query = FileQuery { path: path.into(), limit: 100, ..FileQuery::default() };
        pool.list(&query).unwrap().entries.into_iter().map(|e| e.name).collect::<Vec<_>>()
    };
    assert_eq!(pool.info().unwrap().capabilities.file_system, "tmpfs");
    // Refused before the first byte: it can never fit.
    assert_eq!(code(pool.upload_open(image_id(), 7 * MIB)), FaultCode::PoolFull);
    assert!(list("images").is_empty());
    // A disk image that fits once, but not twice.
    let image = image_id();
    let disk: Vec<u8> = raw_disk(4 * MIB).iter().map(|b| b | 1).collect();
    let mut disk = disk;
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    upload(&pool, image, &disk).unwrap();
    for format in [VolumeFormat::Raw, VolumeFormat::Qcow2] {
        let wish = VolumeWish {
            id: volume_id(),
            size_bytes: 4 * MIB,
            format,
            allocation: Allocation::Thin,
            source: VolumeSource::Image { id: image, linked: false },
        };
        let fault = pool.volume_create(&wish, &mut no_progress()).unwrap_err();
        assert_eq!(fault.code, FaultCode::PoolFull, "{fault}");
        assert!(list("volumes").is_empty(), "half a volume stayed");
    }
    // Full in the middle of an upload: what was acknowledged stays, half a piece does not.
    let (first, second) = (image_id(), image_id());
    for id in [first, second] {
        assert_eq!(pool.upload_open(id, MIB + MIB / 2).unwrap(), 0);
    }
    let piece = vec![1; MIB as usize];
    assert_eq!(pool.upload_write(first, 0, &piece).unwrap(), MIB);
    assert_eq!(code(pool.upload_write(second, 0, &piece)), FaultCode::PoolFull);
    assert_eq!(pool.upload_sync(second).unwrap(), 0);
    // A full pool can still be looked at and emptied.
    pool.info().unwrap();
    for id in [first, second, image] {
        assert!(pool.image_delete(id).unwrap());
    }
    let wish = VolumeWish {
        id: volume_id(),
        size_bytes: 64 * MIB,
        format: VolumeFormat::Qcow2,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    };
    pool.volume_create(&wish, &mut no_progress()).unwrap();
}

#[test]
fn a_pool_too_full_for_metadata_refuses_a_volume() {
    let dir = scratch();
    let pool = small_pool(&dir.path().join("pool"), "1m");
    let filler = image_id();
    pool.upload_open(filler, MIB - 64 * 1024).unwrap();
    pool.upload_write(filler, 0, &vec![1; (MIB - 64 * 1024) as usize]).unwrap();
    let wish = VolumeWish {
        id: volume_id(),
        size_bytes: 64 * MIB,
        format: VolumeFormat::Qcow2,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    };
    assert_eq!(code(pool.volume_create(&wish, &mut no_progress())), FaultCode::PoolFull);
    assert_eq!(pool.info().unwrap().volume_count, 0);
    let query = FileQuery { path: "volumes".into(), limit: 10, ..FileQuery::default() };
    assert_eq!(pool.list(&query).unwrap().total, 0);
}
