//! The promises every backend keeps, as one suite. It runs on each backend directly and over the worker's protocol.

#![allow(clippy::unwrap_used)]

mod pools;

use pools::*;
use quantix_model::FaultCode;
use quantix_model::image::ImageFormat;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::fake::{self, FakePool};
use quantix_storage::local::LocalPool;
use quantix_storage::worker::FakeLauncher;

type Case = fn(&dyn Backend);

const CASES: &[(&str, Case)] = &[
    ("volumes", volumes),
    ("uploads", uploads),
    ("refused images", refused_images),
    ("volumes from images", volumes_from_images),
    ("files", files),
];

fn suite(mut backend: impl Backend) {
    backend.init().unwrap();
    for (name, case) in CASES {
        eprintln!("case: {name}");
        case(&backend);
    }
}

#[test]
fn local() {
    let dir = scratch();
    suite(LocalPool::new(&setup(&dir.path().join("pool"))).unwrap());
}

#[test]
fn local_over_a_worker_process() {
    let dir = scratch();
    suite(Through::start(setup(&dir.path().join("pool")), trial(None)));
}

#[test]
fn fake() {
    suite(FakePool::new().backend(Default::default()));
}

#[test]
fn fake_over_a_worker_thread() {
    suite(Through::start(fake::setup(pool_id()), FakeLauncher::new()));
}

fn wish(size_bytes: u64, format: VolumeFormat) -> VolumeWish {
    VolumeWish {
        id: volume_id(),
        size_bytes,
        format,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    }
}

fn volumes(pool: &dyn Backend) {
    let before = pool.info().unwrap().volume_count;
    for format in [VolumeFormat::Qcow2, VolumeFormat::Raw] {
        let wish = wish(64 * MIB, format);
        let made = pool.volume_create(&wish, &mut no_progress()).unwrap();
        assert_eq!((made.id, made.size_bytes, made.format), (wish.id, 64 * MIB, format));
        assert!(made.allocated_bytes < MIB, "an empty volume takes {} bytes", made.allocated_bytes);
        let again = pool.volume_create(&wish, &mut no_progress()).unwrap();
        assert_eq!(again.size_bytes, made.size_bytes);
        let other = VolumeWish { size_bytes: 32 * MIB, ..wish.clone() };
        assert_eq!(code(pool.volume_create(&other, &mut no_progress())), FaultCode::Conflict);
        assert!(pool.volume_list().unwrap().iter().any(|v| v.id == wish.id && v.size_bytes == 64 * MIB));
        let Attachment::File { path, format: attached } = pool.volume_attach(wish.id).unwrap() else {
            panic!("a file")
        };
        assert_eq!(attached, format);
        assert!(path.ends_with(&format!("volumes/{}.{}", wish.id, format.as_str())), "{path}");
        assert_eq!(pool.info().unwrap().volume_count, before + 1);
        assert!(pool.volume_delete(wish.id).unwrap());
        assert!(!pool.volume_delete(wish.id).unwrap());
        assert_eq!(code(pool.volume_attach(wish.id)), FaultCode::VolumeMissing);
        assert_eq!(pool.info().unwrap().volume_count, before);
    }
    for size in [0, 1000, MIB + 1, u64::MAX] {
        let odd = wish(size, VolumeFormat::Raw);
        assert_eq!(code(pool.volume_create(&odd, &mut no_progress())), FaultCode::InvalidArgument);
    }
    let info = pool.info().unwrap();
    assert!(info.capacity.total_bytes >= info.capacity.used_bytes && info.capacity.available_bytes > 0);
    assert!(!info.probe.is_empty() && info.mount_path.starts_with('/'));
}

fn uploads(pool: &dyn Backend) {
    let images = pool.abilities().images.unwrap();
    let (id, disc) = (image_id(), iso(3 * MIB));
    let size = disc.len() as u64;
    assert_eq!(code(images.upload_write(id, 0, b"early")), FaultCode::FileNotFound);
    assert_eq!(images.upload_open(id, size).unwrap(), 0);
    assert_eq!(images.upload_write(id, 0, &disc[..1000]).unwrap(), 1000);
    assert_eq!(code(images.upload_write(id, 0, &disc[..1000])), FaultCode::UploadOffsetMismatch);
    assert_eq!(code(images.upload_write(id, 2000, &disc[..1000])), FaultCode::UploadOffsetMismatch);
    assert_eq!(images.upload_sync(id).unwrap(), 1000);
    assert_eq!(images.upload_open(id, size).unwrap(), 1000);
    let incomplete = images.upload_finish(id, size, None, &mut no_progress());
    assert_eq!(code(incomplete), FaultCode::UploadIncomplete);
    assert_eq!(code(images.image_attach(id)), FaultCode::ImageNotReady);
    let facts = upload(images, id, &disc).unwrap();
    assert_eq!((facts.format, facts.virtual_size_bytes), (ImageFormat::Iso, size));
    assert_eq!(facts.sha256, sha256(&disc));
    // An answer may get lost: the same again is a success, and open says that all is there.
    assert_eq!(images.upload_finish(id, size, None, &mut no_progress()).unwrap(), facts);
    assert_eq!(images.upload_open(id, size).unwrap(), size);
    assert_eq!(code(images.upload_open(id, size + 1)), FaultCode::Conflict);
    let Attachment::File { path, format } = images.image_attach(id).unwrap() else { panic!("a file") };
    assert!(path.ends_with(&format!("images/{id}.iso")) && format == VolumeFormat::Raw);
    assert!(images.image_delete(id).unwrap());
    assert!(!images.image_delete(id).unwrap());
    // An upload that is given up leaves nothing.
    let id = image_id();
    images.upload_open(id, size).unwrap();
    images.upload_write(id, 0, b"some").unwrap();
    assert!(images.image_delete(id).unwrap());
    assert_eq!(images.upload_open(id, size).unwrap(), 0);
    assert!(images.image_delete(id).unwrap());
}

fn refused_images(pool: &dyn Backend) {
    let images = pool.abilities().images.unwrap();
    let mut backed = qcow2(MIB);
    backed[8..16].copy_from_slice(&512u64.to_be_bytes());
    backed[16..20].copy_from_slice(&11u32.to_be_bytes());
    backed[512..523].copy_from_slice(b"/etc/passwd");
    let html = b"<!DOCTYPE html><html><body>404 not found</body></html>".repeat(30);
    let mut external = qcow2(MIB);
    external[79] |= 4;
    let cases: [(Vec<u8>, FaultCode, &str); 5] = [
        (html, FaultCode::ImageNotAnImage, "html"),
        (b"PK\x03\x04zipzipzipzip".repeat(100), FaultCode::ImageNotAnImage, "zip"),
        (vec![0; 100_000], FaultCode::ImageNotAnImage, "nothing in it"),
        (backed, FaultCode::ImageBackingFileRefused, "backing file"),
        (external, FaultCode::ImageBackingFileRefused, "external data file"),
    ];
    for (bytes, wanted, word) in cases {
        let id = image_id();
        let fault = upload(images, id, &bytes).unwrap_err();
        assert_eq!(fault.code, wanted, "{fault}");
        assert!(fault.message.contains(word) && !fault.remedy.is_empty(), "{fault}");
        assert!(!images.image_delete(id).unwrap(), "a refused upload stayed");
    }
    let (id, disc) = (image_id(), iso(MIB));
    images.upload_open(id, MIB).unwrap();
    images.upload_write(id, 0, &disc).unwrap();
    let wrong = images.upload_finish(id, MIB, Some(&"0".repeat(64)), &mut no_progress());
    assert_eq!(code(wrong), FaultCode::ImageChecksumMismatch);
    assert!(!images.image_delete(id).unwrap(), "a refused upload stayed");
}

fn volumes_from_images(pool: &dyn Backend) {
    let images = pool.abilities().images.unwrap();
    let (disk, thin, disc) = (image_id(), image_id(), image_id());
    upload(images, disk, &raw_disk(4 * MIB)).unwrap();
    let facts = upload(images, thin, &qcow2(4 * MIB)).unwrap();
    assert_eq!((facts.format, facts.virtual_size_bytes), (ImageFormat::Qcow2, 4 * MIB));
    upload(images, disc, &iso(MIB)).unwrap();
    let from = |image, size_bytes, format| VolumeWish {
        id: volume_id(),
        size_bytes,
        format,
        allocation: Allocation::Thin,
        source: VolumeSource::Image { id: image, linked: false },
    };
    for (image, format) in [
        (disk, VolumeFormat::Raw),
        (thin, VolumeFormat::Qcow2),
        (disk, VolumeFormat::Qcow2),
        (thin, VolumeFormat::Raw),
    ] {
        for size in [4 * MIB, 16 * MIB] {
            let wish = from(image, size, format);
            let mut last = Progress::default();
            let made = pool.volume_create(&wish, &mut |p| last = p).unwrap();
            assert_eq!((made.size_bytes, made.format), (size, format));
            assert!(last.done_bytes <= last.total_bytes);
            let listed = pool.volume_list().unwrap();
            assert!(listed.iter().any(|v| v.id == wish.id && v.size_bytes == size));
            if let Attachment::File { path, .. } = pool.volume_attach(wish.id).unwrap()
                && !path.starts_with("/fake/")
            {
                let dir = scratch();
                let reference = dir.path().join("reference.raw");
                let mut bytes = raw_disk(4 * MIB);
                bytes.resize(size as usize, 0);
                std::fs::write(&reference, bytes).unwrap();
                let reference = reference.to_str().unwrap();
                run("qemu-img", &["compare", "-f", "raw", "-F", format.as_str(), reference, &path]);
            }
            assert!(pool.volume_delete(wish.id).unwrap());
        }
        let small = pool.volume_create(&from(image, 2 * MIB, format), &mut no_progress()).unwrap_err();
        assert_eq!((small.code, small.field.as_str()), (FaultCode::InvalidArgument, "size_bytes"));
        assert!(small.message.contains("4194304") && small.message.contains("2097152"), "{small}");
    }
    let never = from(disc, 16 * MIB, VolumeFormat::Raw);
    assert_eq!(code(pool.volume_create(&never, &mut no_progress())), FaultCode::InvalidArgument);
    let missing = from(image_id(), 16 * MIB, VolumeFormat::Raw);
    assert_eq!(code(pool.volume_create(&missing, &mut no_progress())), FaultCode::ImageNotReady);
    for id in [disk, thin, disc] {
        assert!(images.image_delete(id).unwrap());
    }
    assert_eq!(pool.info().unwrap().volume_count, 0, "a refused volume stayed");
}

fn files(pool: &dyn Backend) {
    let files = pool.abilities().files.unwrap();
    let list = |path: &str| files.list(&FileQuery { path: path.into(), limit: 100, ..FileQuery::default() });
    let root = list("").unwrap();
    let names: Vec<&str> = root.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["images", "volumes", ".quantix-pool"]);
    assert_eq!(root.entries[0].kind, FileKind::Directory);
    let mut ids: Vec<_> = (0..5).map(|_| volume_id()).collect();
    ids.sort();
    for id in &ids {
        let wish = VolumeWish {
            id: *id,
            size_bytes: MIB,
            format: VolumeFormat::Qcow2,
            allocation: Allocation::Thin,
            source: VolumeSource::Blank,
        };
        pool.volume_create(&wish, &mut no_progress()).unwrap();
    }
    let query = FileQuery { path: "volumes".into(), offset: 1, limit: 2, ..FileQuery::default() };
    let page = files.list(&query).unwrap();
    assert_eq!(page.total, 5);
    let expected: Vec<_> = ids[1..3].iter().map(|id| format!("{id}.qcow2")).collect();
    assert_eq!(page.entries.iter().map(|e| e.name.clone()).collect::<Vec<_>>(), expected);
    assert!(page.entries.iter().all(|e| e.format == "qcow2" && e.kind == FileKind::Regular));
    let backwards =
        files.list(&FileQuery { descending: true, offset: 0, limit: 1, ..query.clone() }).unwrap();
    assert_eq!(backwards.entries[0].name, format!("{}.qcow2", ids[4]));
    let filter = ids[3].to_string().to_uppercase();
    assert_eq!(files.list(&FileQuery { filter, offset: 0, ..query.clone() }).unwrap().total, 1);
    assert!(files.list(&FileQuery { offset: 99, ..query }).unwrap().entries.is_empty());
    for bad in ["..", "volumes/../..", "/", "/etc"] {
        assert_eq!(code(list(bad)), FaultCode::PathOutsidePool, "{bad}");
    }
    for bad in ["nothing", "volumes/nothing", ".quantix-pool"] {
        assert_eq!(code(list(bad)), FaultCode::FileNotFound, "{bad}");
    }
    for id in ids {
        assert!(pool.volume_delete(id).unwrap());
    }
}
