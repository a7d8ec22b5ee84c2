//! Making, finding, growing and deleting volumes.

use super::{Bench, cannot};
use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::volume::{Allocation, VolumeSource};
use quantix_storage::backend::*;

pub fn volumes(bench: &Bench) {
    let pool = bench.pool;
    let before = pool.info().unwrap().volume_count;
    for format in bench.can.formats.clone() {
        let wish = VolumeWish { format, ..bench.wish(64 * MIB, VolumeSource::Blank) };
        let made = bench.make(&wish);
        assert_eq!((made.id, made.size_bytes, made.format), (wish.id, 64 * MIB, format));
        assert_eq!(bench.make(&wish).size_bytes, made.size_bytes);
        let other = VolumeWish { size_bytes: 32 * MIB, ..wish.clone() };
        assert_eq!(bench.refused(&other), FaultCode::Conflict);
        let listed = bench.find(&wish);
        assert_eq!((listed.size_bytes, listed.format, listed.clones), (64 * MIB, format, 0));
        assert_eq!(listed.parent, None);
        if let Attachment::File { path, format: attached } = pool.volume_attach(wish.id).unwrap() {
            assert!(path.ends_with(&format!("volumes/{}.{}", wish.id, format.as_str())), "{path}");
            assert_eq!(attached, format);
            assert!(made.allocated_bytes < MIB, "an empty volume takes {} bytes", made.allocated_bytes);
        }
        bench.write(&wish, 63, 0x5a);
        bench.expect(&wish, 63, 0x5a);
        bench.expect(&wish, 0, 0);
        assert_eq!(pool.info().unwrap().volume_count, before + 1);
        bench.delete(&wish);
        assert!(!pool.volume_delete(wish.id).unwrap());
        assert_eq!(code(pool.volume_attach(wish.id)), FaultCode::VolumeMissing);
        assert_eq!(pool.info().unwrap().volume_count, before);
    }
    for size in [0, 1000, MIB + 1, u64::MAX] {
        assert_eq!(bench.refused(&bench.wish(size, VolumeSource::Blank)), FaultCode::InvalidArgument);
    }
}

pub fn grow(bench: &Bench) {
    let able = bench.pool.abilities().grow;
    if !bench.can.grow {
        return cannot(able.map(|grow| grow.volume_grow(volume_id(), 64 * MIB)));
    }
    let grow = able.unwrap();
    assert_eq!(code(grow.volume_grow(volume_id(), 64 * MIB)), FaultCode::VolumeMissing);
    for format in bench.can.formats.clone() {
        let wish = VolumeWish { format, ..bench.wish(16 * MIB, VolumeSource::Blank) };
        bench.make(&wish);
        bench.write(&wish, 15, 7);
        assert_eq!(grow.volume_grow(wish.id, 32 * MIB).unwrap().size_bytes, 32 * MIB);
        assert_eq!(grow.volume_grow(wish.id, 32 * MIB).unwrap().size_bytes, 32 * MIB);
        assert_eq!(bench.find(&wish).size_bytes, 32 * MIB);
        assert_eq!(code(grow.volume_grow(wish.id, 16 * MIB)), FaultCode::VolumeCannotShrink);
        assert_eq!(code(grow.volume_grow(wish.id, 32 * MIB + 1)), FaultCode::InvalidArgument);
        bench.expect(&wish, 15, 7);
        bench.expect(&wish, 31, 0);
        bench.delete(&wish);
    }
}

pub fn thick(bench: &Bench) {
    for format in bench.can.formats.clone() {
        let blank = bench.wish(16 * MIB, VolumeSource::Blank);
        let wish = VolumeWish { format, allocation: Allocation::Thick, ..blank };
        if !bench.can.thick {
            cannot(Some(bench.pool.volume_create(&wish, &mut no_progress())));
            continue;
        }
        let made = bench.make(&wish);
        assert!(made.allocated_bytes >= 16 * MIB, "only {} bytes are reserved", made.allocated_bytes);
        assert_eq!(made.allocation, Allocation::Thick);
        assert_eq!(bench.find(&wish).allocation, Allocation::Thick);
        bench.expect(&wish, 5, 0);
        if let Some(grow) = bench.pool.abilities().grow.filter(|_| bench.can.grow) {
            let grown = grow.volume_grow(wish.id, 32 * MIB).unwrap();
            assert!(grown.allocated_bytes >= 32 * MIB, "{} bytes after growing", grown.allocated_bytes);
            assert_eq!(bench.find(&wish).allocation, Allocation::Thick);
        }
        bench.delete(&wish);
    }
}
