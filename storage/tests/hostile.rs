//! Files that guests, other hosts or people wrote into a pool to make QEMU or the worker open something else, and files
//! that are broken, in use, deep, sparse or no files at all.

#![allow(clippy::unwrap_used)]

mod pools;

use pools::*;
use quantix_host::program::{BlockingRunner, Output, Program};
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_model::{Fault, FaultCode};
use quantix_storage::backend::*;
use quantix_storage::local::LocalPool;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn open(setup: &PoolSetup) -> LocalPool {
    let mut pool = LocalPool::new(setup).unwrap();
    pool.init().unwrap();
    pool
}

/// Nothing may be run at all.
struct NoPrograms;

impl BlockingRunner for NoPrograms {
    fn run_blocking(
        &self,
        program: &Program,
        _: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Output, Fault> {
        panic!("{program:?} was to open a hostile file")
    }
}

fn open_without_programs(setup: &PoolSetup) -> LocalPool {
    let mut pool = LocalPool::with(setup, Arc::new(NoPrograms), Arc::new(|_| Ok(()))).unwrap();
    pool.init().unwrap();
    pool
}

fn wish(source: VolumeSource) -> VolumeWish {
    VolumeWish {
        id: volume_id(),
        size_bytes: 16 * MIB,
        format: VolumeFormat::Qcow2,
        allocation: Allocation::Thin,
        source,
    }
}

fn of(id: VolumeId, linked: bool) -> VolumeSource {
    VolumeSource::Volume { id, snapshot: String::new(), linked }
}

/// Makes a qcow2 file that says it reads `backing`, without looking whether it is there.
fn forge(folder: &Path, name: &str, backing: &str, format: Option<&str>) {
    let mut args = vec!["create", "-q", "-u", "-f", "qcow2", "-b", backing];
    args.extend(["-F", format.unwrap_or("raw"), name, "16M"]);
    let made = Command::new("qemu-img").current_dir(folder).args(&args).status().unwrap();
    assert!(made.success(), "{args:?}");
    if format.is_none() {
        // Takes the format out again, so that QEMU would guess it.
        let path = folder.join(name);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|w| w == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
        bytes[at..at + 4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        fs::write(&path, bytes).unwrap();
    }
}

/// Everything that would make a program or a VM open the volume.
fn all_refused(pool: &LocalPool, id: VolumeId, wanted: FaultCode, what: &str) {
    let able = pool.abilities();
    let (snapshots, grow) = (able.snapshots.unwrap(), able.grow.unwrap());
    let make = |source| pool.volume_create(&wish(source), &mut no_progress()).map(drop);
    let tries: [(&str, Result<(), Fault>); 6] = [
        ("attach", pool.volume_attach(id).map(drop)),
        ("grow", grow.volume_grow(id, 64 * MIB).map(drop)),
        ("snapshot", snapshots.snapshot_create(id, "one").map(drop)),
        ("revert", snapshots.snapshot_revert(id, "one")),
        ("copy", make(of(id, false))),
        ("link", make(of(id, true))),
    ];
    for (name, tried) in tries {
        let fault = tried.unwrap_err();
        assert_eq!(fault.code, wanted, "{what}: {name}: {fault}");
        assert!(!fault.remedy.is_empty());
    }
}

#[test]
fn a_volume_that_reads_elsewhere_is_opened_by_no_program() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let setup = setup(&root);
    drop(open(&setup));
    let (volumes, images) = (root.join("volumes"), root.join("images"));
    let (base, image) = (volume_id(), image_id());
    run_program(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", volumes.join(format!("{base}.qcow2")).to_str().unwrap(), "16M"],
    );
    forge(&images, &format!("{image}.qcow2"), "/etc/passwd", Some("raw"));
    fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink(dir.path().join("secret"), volumes.join(format!("{}.raw", volume_id()))).unwrap();
    let cases = [
        ("/etc/passwd".to_owned(), Some("raw")),
        ("../../secret".to_owned(), Some("raw")),
        ("../volumes/../../secret".to_owned(), Some("raw")),
        (format!("{}/volumes/{base}.qcow2", root.display()), Some("qcow2")),
        (format!("./{base}.qcow2"), Some("qcow2")),
        (format!("{base}.qcow2"), Some("raw")),
        (format!("{base}.qcow2"), None),
        (format!("../images/{image}.qcow2"), Some("qcow2")),
        (
            "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}}"
                .to_owned(),
            Some("raw"),
        ),
        ("nbd://192.0.2.1/x".to_owned(), Some("raw")),
        (format!("../images/{image}.iso"), Some("raw")),
    ];
    for (backing, format) in cases {
        let id = volume_id();
        forge(&volumes, &format!("{id}.qcow2"), &backing, format);
        let pool = open_without_programs(&setup);
        all_refused(&pool, id, FaultCode::ImageBackingFileRefused, &backing);
        assert!(pool.volume_list().unwrap().iter().any(|v| v.id == id), "it is still shown");
        assert!(pool.volume_delete(id).unwrap(), "it can be deleted");
    }
    let images = open_without_programs(&setup);
    let images = images.abilities().images.unwrap();
    assert_eq!(code(images.image_attach(image)), FaultCode::ImageBackingFileRefused);
    let fault = open_without_programs(&setup)
        .volume_create(&wish(VolumeSource::Image { id: image, linked: true }), &mut no_progress());
    assert_eq!(code(fault), FaultCode::ImageBackingFileRefused);
}

#[test]
fn data_files_circles_and_long_chains_are_refused() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let setup = setup(&root);
    let pool = open(&setup);
    let volumes = root.join("volumes");
    let data = volume_id();
    let path = volumes.join(format!("{data}.qcow2"));
    let option = format!("data_file={}", dir.path().join("data").display());
    run_program("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &option, path.to_str().unwrap(), "16M"]);
    all_refused(&open_without_programs(&setup), data, FaultCode::ImageBackingFileRefused, "data file");
    let (one, two) = (volume_id(), volume_id());
    forge(&volumes, &format!("{one}.qcow2"), &format!("{two}.qcow2"), Some("qcow2"));
    forge(&volumes, &format!("{two}.qcow2"), &format!("{one}.qcow2"), Some("qcow2"));
    assert_eq!(code(open_without_programs(&setup).volume_attach(one)), FaultCode::ImageBackingFileRefused);
    let orphan = volume_id();
    forge(&volumes, &format!("{orphan}.qcow2"), &format!("{}.qcow2", volume_id()), Some("qcow2"));
    all_refused(&open_without_programs(&setup), orphan, FaultCode::VolumeDamaged, "its base is gone");
    // Links of ours end somewhere, too.
    let mut last = wish(VolumeSource::Blank);
    pool.volume_create(&last, &mut no_progress()).unwrap();
    for depth in 2.. {
        let next = wish(of(last.id, true));
        match pool.volume_create(&next, &mut no_progress()) {
            Ok(_) => pool.volume_attach(next.id).map(drop).unwrap(),
            Err(fault) => {
                assert_eq!((fault.code, depth), (FaultCode::PoolCannot, 17), "{fault}");
                break;
            }
        }
        last = next;
    }
}

#[test]
fn a_damaged_volume_is_told_in_qemus_words() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let made = wish(VolumeSource::Blank);
    pool.volume_create(&made, &mut no_progress()).unwrap();
    let path = root.join(format!("volumes/{}.qcow2", made.id));
    let sound = fs::read(&path).unwrap();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut", sound[..70_000].to_vec()),
        ("rubbish", b"rubbish".repeat(1000)),
        ("zeros", vec![0; sound.len()]),
    ] {
        fs::write(&path, bytes).unwrap();
        all_refused(&pool, made.id, FaultCode::VolumeDamaged, what);
        let cause = pool.volume_attach(made.id).unwrap_err().cause;
        assert!(cause.contains("qemu-img") || what == "cut", "{what}: {cause}");
        assert!(pool.volume_list().is_ok());
    }
    fs::write(&path, &sound).unwrap();
    pool.volume_attach(made.id).unwrap();
    // Marked as corrupt by QEMU.
    let mut marked = sound;
    marked[79] |= 2;
    fs::write(&path, marked).unwrap();
    all_refused(&pool, made.id, FaultCode::VolumeDamaged, "marked");
    assert!(pool.volume_delete(made.id).unwrap());
}

#[test]
fn what_a_program_has_open_is_in_use() {
    let dir = scratch();
    let pool = open(&setup(&dir.path().join("pool")));
    for format in [VolumeFormat::Qcow2, VolumeFormat::Raw] {
        let made = VolumeWish { format, ..wish(VolumeSource::Blank) };
        pool.volume_create(&made, &mut no_progress()).unwrap();
        let Attachment::File { path, .. } = pool.volume_attach(made.id).unwrap() else { panic!("a file") };
        let mut user = Command::new("qemu-io")
            .args(["-f", format.as_str(), &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its prompt says that it has the file.
        user.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
        let able = pool.abilities();
        assert_eq!(code(able.grow.unwrap().volume_grow(made.id, 64 * MIB)), FaultCode::VolumeInUse);
        assert_eq!(code(pool.volume_delete(made.id)), FaultCode::VolumeInUse);
        let copy = VolumeWish { format, ..wish(of(made.id, false)) };
        assert_eq!(code(pool.volume_create(&copy, &mut no_progress())), FaultCode::VolumeInUse);
        let link = wish(of(made.id, true));
        assert_eq!(code(pool.volume_create(&link, &mut no_progress())), FaultCode::VolumeInUse);
        if format == VolumeFormat::Qcow2 {
            let snapshots = able.snapshots.unwrap();
            assert_eq!(code(snapshots.snapshot_create(made.id, "one")), FaultCode::VolumeInUse);
        }
        user.stdin.take().unwrap().write_all(b"quit\n").unwrap();
        assert!(user.wait().unwrap().success());
        able.grow.unwrap().volume_grow(made.id, 64 * MIB).unwrap();
        assert!(pool.volume_delete(made.id).unwrap());
    }
}

#[test]
fn links_and_devices_are_never_opened() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let access = pool.abilities().file_access.unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    symlink(dir.path().join("secret"), root.join("link")).unwrap();
    symlink(dir.path().join("outside"), root.join("way")).unwrap();
    run_program("mkfifo", &[root.join("pipe").to_str().unwrap()]);
    let began = Instant::now();
    for odd in ["link", "pipe"] {
        assert_eq!(code(access.read(odd, 0, 10)), FaultCode::FileNotRegular, "{odd}");
        assert_eq!(code(access.copy(odd, "copy", &mut no_progress())), FaultCode::FileNotRegular, "{odd}");
        let details = access.details(odd).unwrap();
        assert!(details.entry.kind != FileKind::Regular && details.virtual_size_bytes == 0);
    }
    assert_eq!(code(access.read("way/x", 0, 10)), FaultCode::PathOutsidePool);
    assert_eq!(code(access.make_folder("way/x")), FaultCode::PathOutsidePool);
    assert!(began.elapsed() < Duration::from_secs(2), "waited for a pipe");
    // The links themselves can be moved and removed.
    access.rename("link", "link2").unwrap();
    for odd in ["link2", "way", "pipe"] {
        assert!(access.remove(odd, &mut no_progress()).unwrap());
    }
    assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"secret");
    assert!(dir.path().join("outside").exists());
}

#[test]
fn a_deep_and_wide_folder_is_removed() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let access = pool.abilities().file_access.unwrap();
    fs::write(dir.path().join("outside"), "x").unwrap();
    // Deeper than a path may be long, and than files may be open.
    run_program(
        "sh",
        &[
            "-c",
            "cd \"$0\" && mkdir tree && cd tree && for i in $(seq 1 2000); do mkdir -p d && echo x >f && cd -P d; done",
            root.to_str().unwrap(),
        ],
    );
    let wide = root.join("tree/wide");
    for n in 0..1000 {
        fs::create_dir_all(wide.join(format!("{n}/x"))).unwrap();
        fs::write(wide.join(format!("{n}.txt")), "x").unwrap();
    }
    symlink(dir.path(), root.join("tree/up")).unwrap();
    let mut last = 0;
    assert!(access.remove("tree", &mut |p| last = p.done_bytes).unwrap());
    assert!(!root.join("tree").exists() && dir.path().join("outside").exists());
    assert!(last >= 2000 + 2000 + 3000, "{last} entries told");
}

#[test]
fn a_copy_keeps_its_holes() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let file = fs::File::create(root.join("sparse")).unwrap();
    file.set_len(5 << 30).unwrap();
    file.write_all_at(b"in the middle", 3 << 30).unwrap();
    let access = pool.abilities().file_access.unwrap();
    let began = Instant::now();
    access.copy("sparse", "copy", &mut no_progress()).unwrap();
    let meta = fs::metadata(root.join("copy")).unwrap();
    assert_eq!(meta.len(), 5 << 30);
    assert!(meta.blocks() * 512 < MIB, "{} bytes taken", meta.blocks() * 512);
    assert_eq!(access.read("copy", 3 << 30, 13).unwrap(), b"in the middle");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_sparse_upload_of_5_gb_stays_sparse_and_resumes() {
    const PIECE: u64 = 8 << 20;
    let dir = scratch();
    let root = dir.path().join("pool");
    let (id, size) = (image_id(), 5 << 30);
    let setup = setup(&root);
    let pool = open(&setup);
    let images = pool.abilities().images.unwrap();
    assert_eq!(images.upload_open(id, size).unwrap(), 0);
    let zeroes = vec![0; PIECE as usize];
    let mut first = zeroes.clone();
    first[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut at = images.upload_write(id, 0, &first).unwrap();
    while at < size / 2 {
        at = images.upload_write(id, at, &zeroes).unwrap();
    }
    images.upload_sync(id).unwrap();
    // The worker dies; the next one goes on where this one was, in the middle of a hole.
    drop(pool);
    let pool = open(&setup);
    let images = pool.abilities().images.unwrap();
    assert_eq!(images.upload_open(id, size).unwrap(), at);
    // Pieces of odd sizes, and data at the very end.
    at = images.upload_write(id, at, &zeroes[..1000]).unwrap();
    while at + PIECE < size {
        at = images.upload_write(id, at, &zeroes).unwrap();
    }
    let mut last = vec![0; (size - at) as usize];
    last.last_mut().map(|byte| *byte = 7).unwrap();
    assert_eq!(images.upload_write(id, at, &last).unwrap(), size);
    let facts = images.upload_finish(id, size, None, &mut no_progress()).unwrap();
    assert_eq!(facts.virtual_size_bytes, size);
    let file = fs::File::open(root.join(format!("images/{id}.raw"))).unwrap();
    let meta = file.metadata().unwrap();
    assert!(meta.len() == size && meta.blocks() * 512 < MIB, "{} bytes taken", meta.blocks() * 512);
    let mut end = [0; 2];
    file.read_exact_at(&mut end, size - 2).unwrap();
    assert_eq!(end, [0, 7]);
}

#[test]
fn details_look_and_do_not_follow() {
    let dir = scratch();
    let root = dir.path().join("pool");
    let pool = open(&setup(&root));
    let access = pool.abilities().file_access.unwrap();
    forge(&root, "top", "middle", Some("qcow2"));
    forge(&root, "middle", "/etc/passwd", Some("raw"));
    let details = access.details("top").unwrap();
    assert_eq!(details.virtual_size_bytes, 16 * MIB);
    assert_eq!(details.backing_chain, ["middle", "/etc/passwd"]);
    forge(&root, "round", "circle", Some("qcow2"));
    forge(&root, "circle", "round", Some("qcow2"));
    assert_eq!(access.details("round").unwrap().backing_chain.len(), 16);
    run_program("qemu-img", &["create", "-q", "-f", "qcow2", root.join("kept").to_str().unwrap(), "16M"]);
    run_program("qemu-img", &["snapshot", "-c", "then", root.join("kept").to_str().unwrap()]);
    assert_eq!(access.details("kept").unwrap().snapshots, ["then"]);
    run_program("qemu-img", &["create", "-q", "-f", "vhdx", root.join("foreign").to_str().unwrap(), "16M"]);
    assert_eq!(access.details("foreign").unwrap().virtual_size_bytes, 16 * MIB);
    // A descriptor may name any file of the host: it is not given to QEMU.
    fs::write(root.join("vmdk"), "# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n").unwrap();
    assert_eq!(access.details("vmdk").unwrap().virtual_size_bytes, 0);
}

/// Images are never written, and go only when nobody reads them.
#[test]
fn an_image_stays_while_volumes_read_it() {
    let dir = scratch();
    let setup = setup(&dir.path().join("pool"));
    let pool = open(&setup);
    let images = pool.abilities().images.unwrap();
    let image: ImageId = image_id();
    upload(images, image, &qcow2(4 * MIB)).unwrap();
    let linked: Vec<_> = (0..3).map(|_| wish(VolumeSource::Image { id: image, linked: true })).collect();
    for wish in &linked {
        pool.volume_create(wish, &mut no_progress()).unwrap();
    }
    let fault = open(&setup).abilities().images.unwrap().image_delete(image).unwrap_err();
    assert!(fault.code == FaultCode::ImageInUse && fault.message.contains('3'), "{fault}");
    for wish in &linked {
        assert!(pool.volume_delete(wish.id).unwrap());
    }
    assert!(images.image_delete(image).unwrap());
}
