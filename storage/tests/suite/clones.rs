//! Copies of volumes and images, whole ones and linked ones.

use super::images::{able, holds};
use super::{Bench, cannot};
use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::id::VolumeId;
use quantix_model::volume::VolumeSource;
use quantix_storage::backend::*;

fn of(id: VolumeId, linked: bool) -> VolumeSource {
    VolumeSource::Volume { id, snapshot: String::new(), linked }
}

pub fn from_images(bench: &Bench) {
    let Some(images) = able(bench) else { return };
    let (disk, disc) = (image_id(), image_id());
    upload(images, disk, &raw_disk(4 * MIB)).unwrap();
    upload(images, disc, &iso(MIB)).unwrap();
    let wish = bench.wish(16 * MIB, VolumeSource::Image { id: disk, linked: true });
    if !bench.can.clones {
        cannot(Some(bench.pool.volume_create(&wish, &mut no_progress())));
    } else {
        let made = bench.make(&wish);
        assert_eq!((made.size_bytes, made.parent), (16 * MIB, None));
        assert_eq!(bench.make(&wish).id, wish.id);
        holds(bench, &wish, &raw_disk(4 * MIB));
        let fault = images.image_delete(disk).unwrap_err();
        assert_eq!(fault.code, FaultCode::ImageInUse, "{fault}");
        bench.write(&wish, 0, 9);
        bench.expect(&wish, 0, 9);
        let small = VolumeWish { id: volume_id(), size_bytes: 2 * MIB, ..wish.clone() };
        assert_eq!(bench.refused(&small), FaultCode::InvalidArgument);
        let never = bench.wish(16 * MIB, VolumeSource::Image { id: disc, linked: true });
        assert_eq!(bench.refused(&never), FaultCode::InvalidArgument);
        let missing = bench.wish(16 * MIB, VolumeSource::Image { id: image_id(), linked: true });
        assert_eq!(bench.refused(&missing), FaultCode::ImageNotReady);
        bench.delete(&wish);
    }
    assert!(images.image_delete(disk).unwrap() && images.image_delete(disc).unwrap());
}

pub fn full(bench: &Bench) {
    for format in bench.can.formats.clone() {
        let source = VolumeWish { format, ..bench.wish(16 * MIB, VolumeSource::Blank) };
        bench.make(&source);
        bench.write(&source, 3, 0x33);
        for size in [16 * MIB, 32 * MIB] {
            let clone = VolumeWish { format, ..bench.wish(size, of(source.id, false)) };
            let mut last = Progress::default();
            let made = bench.pool.volume_create(&clone, &mut |p| last = p).unwrap();
            assert_eq!((made.size_bytes, made.format, made.parent), (size, format, None));
            assert!(last.done_bytes <= last.total_bytes);
            assert_eq!(bench.make(&clone).id, clone.id);
            bench.write(&source, 4, 0x44);
            bench.expect(&clone, 3, 0x33);
            bench.expect(&clone, 4, 0);
            bench.write(&source, 4, 0);
            bench.delete(&clone);
        }
        let small = VolumeWish { format, ..bench.wish(8 * MIB, of(source.id, false)) };
        assert_eq!(bench.refused(&small), FaultCode::InvalidArgument);
        bench.delete(&source);
    }
    let missing = bench.wish(16 * MIB, of(volume_id(), false));
    assert_eq!(bench.refused(&missing), FaultCode::VolumeMissing);
    let myself = volume_id();
    let knot = VolumeWish { id: myself, ..bench.wish(16 * MIB, of(myself, false)) };
    assert!(bench.pool.volume_create(&knot, &mut no_progress()).is_err());
}

pub fn linked(bench: &Bench) {
    let source = bench.wish(16 * MIB, VolumeSource::Blank);
    bench.make(&source);
    bench.write(&source, 3, 0x33);
    let clone = bench.wish(32 * MIB, of(source.id, true));
    if !bench.can.clones {
        cannot(Some(bench.pool.volume_create(&clone, &mut no_progress())));
        return bench.delete(&source);
    }
    let made = bench.make(&clone);
    assert_eq!((made.size_bytes, made.parent), (32 * MIB, Some(source.id)));
    assert_eq!(bench.make(&clone).id, clone.id);
    assert_eq!(bench.find(&clone).parent, Some(source.id));
    assert_eq!(bench.find(&source).clones, 1);
    bench.expect(&clone, 3, 0x33);
    bench.expect(&clone, 20, 0);
    bench.write(&clone, 3, 0x66);
    let second = bench.wish(16 * MIB, of(source.id, true));
    bench.make(&second);
    assert_eq!(bench.find(&source).clones, 2);
    bench.expect(&second, 3, 0x33);
    // What the clones read must not go away.
    let fault = bench.pool.volume_delete(source.id).unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeHasClones, "{fault}");
    assert!(fault.message.contains('2'), "{fault}");
    // Where a clone reads the source itself, nobody may write there.
    if let Err(fault) = bench.pool.volume_attach(source.id) {
        assert_eq!(fault.code, FaultCode::VolumeHasClones, "{fault}");
        if let Some(grow) = bench.pool.abilities().grow.filter(|_| bench.can.grow) {
            assert_eq!(code(grow.volume_grow(source.id, 64 * MIB)), FaultCode::VolumeHasClones);
        }
    } else if let Some(exclusive) = bench.pool.abilities().exclusive {
        exclusive.volume_detach(source.id).unwrap();
    }
    // A clone of a clone.
    let third = bench.wish(32 * MIB, of(clone.id, true));
    bench.make(&third);
    bench.expect(&third, 3, 0x66);
    assert_eq!(code(bench.pool.volume_delete(clone.id)), FaultCode::VolumeHasClones);
    // A whole copy of a clone needs nobody.
    let whole = bench.wish(32 * MIB, of(third.id, false));
    assert_eq!(bench.make(&whole).parent, None);
    bench.delete(&third);
    bench.delete(&clone);
    bench.delete(&second);
    assert_eq!(bench.find(&source).clones, 0);
    bench.write(&source, 3, 0x77);
    bench.delete(&source);
    bench.expect(&whole, 3, 0x66);
    bench.delete(&whole);
}

/// A linked clone that was made independent holds what it held, and what it was linked to can go.
pub fn flatten(bench: &Bench) {
    let able = bench.pool.abilities().flatten;
    if !bench.can.flatten {
        return cannot(able.map(|flatten| flatten.volume_flatten(volume_id(), &mut no_progress())));
    }
    let able = able.unwrap();
    assert_eq!(code(able.volume_flatten(volume_id(), &mut no_progress())), FaultCode::VolumeMissing);
    let source = bench.wish(16 * MIB, VolumeSource::Blank);
    bench.make(&source);
    bench.write(&source, 3, 0x33);
    let clone = bench.wish(32 * MIB, of(source.id, true));
    bench.make(&clone);
    bench.write(&clone, 4, 0x44);
    let above = bench.wish(32 * MIB, of(clone.id, true));
    bench.make(&above);
    // Whoever must stay says for whom, and what would help.
    let fault = bench.pool.volume_delete(source.id).unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeHasClones, "{fault}");
    assert!(fault.message.contains(&clone.id.to_string()) && fault.remedy.contains("flatten"), "{fault}");
    // The second time nothing is left to do, and to tell.
    for first in [true, false] {
        let mut last = Progress::default();
        let made =
            able.volume_flatten(clone.id, &mut |p| last = p).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!((made.size_bytes, made.format, made.parent), (32 * MIB, clone.format, None));
        assert!(last.done_bytes <= last.total_bytes && (!first || last.total_bytes > 0), "{last:?}");
    }
    assert_eq!((bench.find(&source).clones, bench.find(&clone).clones), (0, 1));
    bench.delete(&source);
    bench.expect(&above, 3, 0x33);
    bench.expect(&above, 4, 0x44);
    able.volume_flatten(above.id, &mut no_progress()).unwrap_or_else(|fault| panic!("{fault:?}"));
    bench.write(&clone, 3, 0x55);
    for (at, byte) in [(3, 0x33), (4, 0x44), (20, 0)] {
        bench.expect(&above, at, byte);
    }
    bench.delete(&clone);
    bench.expect(&above, 3, 0x33);
    bench.delete(&above);
    // One that stands alone stays as it is.
    let alone = bench.wish(16 * MIB, VolumeSource::Blank);
    bench.make(&alone);
    bench.write(&alone, 1, 0x11);
    assert_eq!(able.volume_flatten(alone.id, &mut no_progress()).unwrap().parent, None);
    bench.expect(&alone, 1, 0x11);
    bench.delete(&alone);
    flatten_from_image(bench, able);
}

fn flatten_from_image(bench: &Bench, able: &dyn Flatten) {
    if !bench.can.images {
        return;
    }
    let Some(images) = bench.pool.abilities().images else { return };
    let disk = image_id();
    upload(images, disk, &raw_disk(4 * MIB)).unwrap();
    let wish = bench.wish(16 * MIB, VolumeSource::Image { id: disk, linked: true });
    bench.make(&wish);
    let fault = images.image_delete(disk).unwrap_err();
    assert!(fault.message.contains(&wish.id.to_string()) && fault.remedy.contains("flatten"), "{fault}");
    able.volume_flatten(wish.id, &mut no_progress()).unwrap();
    assert!(images.image_delete(disk).unwrap());
    holds(bench, &wish, &raw_disk(4 * MIB));
    bench.delete(&wish);
}
