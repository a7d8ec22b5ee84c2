//! Receiving images, refusing what is none, and copying them into volumes.

use super::{Bench, cannot};
use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::image::ImageFormat;
use quantix_model::volume::{VolumeFormat, VolumeSource};
use quantix_storage::backend::*;

/// The ability; when the backend says it has none, checks that it is refused instead.
pub fn able<'a>(bench: &Bench<'a>) -> Option<&'a dyn Images> {
    let images = bench.pool.abilities().images;
    if bench.can.images {
        return images;
    }
    cannot(images.map(|images| images.upload_open(image_id(), MIB)));
    None
}

pub fn uploads(bench: &Bench) {
    let Some(images) = able(bench) else { return };
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
    if let Attachment::File { path, format } = images.image_attach(id).unwrap() {
        assert!(path.ends_with(&format!("images/{id}.iso")) && format == VolumeFormat::Raw);
    }
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

pub fn refused(bench: &Bench) {
    let Some(images) = able(bench) else { return };
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

pub fn volumes_from_images(bench: &Bench) {
    let Some(images) = able(bench) else { return };
    let (disk, thin, disc) = (image_id(), image_id(), image_id());
    upload(images, disk, &raw_disk(4 * MIB)).unwrap();
    let facts = upload(images, thin, &qcow2(4 * MIB)).unwrap();
    assert_eq!((facts.format, facts.virtual_size_bytes), (ImageFormat::Qcow2, 4 * MIB));
    upload(images, disc, &iso(MIB)).unwrap();
    let before = bench.pool.info().unwrap().volume_count;
    let from = |id, size_bytes, format| VolumeWish {
        format,
        ..bench.wish(size_bytes, VolumeSource::Image { id, linked: false })
    };
    for format in bench.can.formats.clone() {
        for image in [disk, thin] {
            for size in [4 * MIB, 16 * MIB] {
                let wish = from(image, size, format);
                let mut last = Progress::default();
                let made = bench.pool.volume_create(&wish, &mut |p| last = p).unwrap();
                assert_eq!((made.size_bytes, made.format), (size, format));
                assert!(last.done_bytes <= last.total_bytes);
                assert_eq!(bench.find(&wish).size_bytes, size);
                holds(bench, &wish, &raw_disk(4 * MIB));
                bench.delete(&wish);
            }
            let small = bench.pool.volume_create(&from(image, 2 * MIB, format), &mut no_progress());
            let small = small.unwrap_err();
            assert_eq!((small.code, small.field.as_str()), (FaultCode::InvalidArgument, "size_bytes"));
            assert!(small.message.contains("4194304") && small.message.contains("2097152"), "{small}");
        }
    }
    let format = bench.format();
    assert_eq!(bench.refused(&from(disc, 16 * MIB, format)), FaultCode::InvalidArgument);
    assert_eq!(bench.refused(&from(image_id(), 16 * MIB, format)), FaultCode::ImageNotReady);
    for id in [disk, thin, disc] {
        assert!(images.image_delete(id).unwrap());
    }
    assert_eq!(bench.pool.info().unwrap().volume_count, before, "a refused volume stayed");
}

/// The disk begins with these bytes, and is zero after them.
pub fn holds(bench: &Bench, wish: &VolumeWish, bytes: &[u8]) {
    bench.attached(wish, |disk, format| {
        let dir = scratch();
        let reference = dir.path().join("reference.raw");
        let mut bytes = bytes.to_vec();
        bytes.resize(wish.size_bytes as usize, 0);
        std::fs::write(&reference, bytes).unwrap();
        let reference = reference.to_str().unwrap();
        run_program("qemu-img", &["compare", "-f", "raw", "-F", format.as_str(), reference, disk]);
    });
}
