//! Keeping what a volume was, and going back to it.

use super::{Bench, cannot};
use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::volume::VolumeSource;
use quantix_storage::backend::*;

fn able<'a>(bench: &Bench<'a>) -> Option<&'a dyn Snapshots> {
    let snapshots = bench.pool.abilities().snapshots;
    if bench.can.snapshots {
        return snapshots;
    }
    cannot(snapshots.map(|s| s.snapshot_create(volume_id(), "one")));
    None
}

fn names(snapshots: &dyn Snapshots, wish: &VolumeWish) -> Vec<String> {
    snapshots.snapshot_list(wish.id).unwrap().into_iter().map(|s| s.name).collect()
}

pub fn snapshots(bench: &Bench) {
    let Some(snapshots) = able(bench) else { return };
    for format in bench.can.formats.clone() {
        let wish = VolumeWish { format, ..bench.wish(16 * MIB, VolumeSource::Blank) };
        bench.make(&wish);
        bench.write(&wish, 2, 1);
        let first = match snapshots.snapshot_create(wish.id, "one") {
            Ok(first) => first,
            // A backend may keep snapshots in its usual format only.
            Err(fault) if format != bench.format() => {
                assert_eq!(fault.code, FaultCode::PoolCannot, "{fault}");
                bench.delete(&wish);
                continue;
            }
            Err(fault) => panic!("{fault:?}"),
        };
        assert_eq!((first.name.as_str(), first.size_bytes, first.clones), ("one", 16 * MIB, 0));
        assert!(first.created_at_ms > 1_600_000_000_000, "{first:?}");
        bench.write(&wish, 2, 2);
        assert_eq!(snapshots.snapshot_create(wish.id, "one").unwrap(), first, "made anew");
        snapshots.snapshot_create(wish.id, "before-2026").unwrap();
        assert_eq!(names(snapshots, &wish), ["one", "before-2026"]);
        bench.write(&wish, 2, 3);
        snapshots.snapshot_revert(wish.id, "before-2026").unwrap();
        bench.expect(&wish, 2, 2);
        snapshots.snapshot_revert(wish.id, "one").unwrap();
        snapshots.snapshot_revert(wish.id, "one").unwrap();
        bench.expect(&wish, 2, 1);
        assert_eq!(names(snapshots, &wish), ["one", "before-2026"], "reverting loses no snapshot");
        assert_eq!(code(snapshots.snapshot_revert(wish.id, "two")), FaultCode::SnapshotMissing);
        assert!(snapshots.snapshot_delete(wish.id, "one").unwrap());
        assert!(!snapshots.snapshot_delete(wish.id, "one").unwrap());
        assert_eq!(names(snapshots, &wish), ["before-2026"]);
        for bad in ["", "a b", "../x", "-l", "Ä"] {
            assert_eq!(code(snapshots.snapshot_create(wish.id, bad)), FaultCode::InvalidArgument, "{bad}");
        }
        // With what it was, and still in the list as one volume.
        let all = bench.pool.volume_list().unwrap();
        assert_eq!(all.iter().filter(|v| v.id == wish.id).count(), 1);
        bench.delete(&wish);
        assert_eq!(code(snapshots.snapshot_list(wish.id)), FaultCode::VolumeMissing);
        assert_eq!(code(snapshots.snapshot_create(wish.id, "one")), FaultCode::VolumeMissing);
        bench.make(&wish);
        assert!(names(snapshots, &wish).is_empty(), "snapshots outlived their volume");
        bench.delete(&wish);
    }
}

pub fn clones(bench: &Bench) {
    let Some(snapshots) = able(bench) else { return };
    let source = bench.wish(16 * MIB, VolumeSource::Blank);
    bench.make(&source);
    bench.write(&source, 2, 1);
    snapshots.snapshot_create(source.id, "then").unwrap();
    bench.write(&source, 2, 2);
    let of = |snapshot: &str, linked: bool| {
        let snapshot = snapshot.to_owned();
        bench.wish(16 * MIB, VolumeSource::Volume { id: source.id, snapshot, linked })
    };
    let full = of("then", false);
    assert_eq!(bench.make(&full).parent, None);
    bench.expect(&full, 2, 1);
    assert!(names(snapshots, &full).is_empty(), "a clone brings no snapshots");
    bench.delete(&full);
    let now = of("", false);
    bench.make(&now);
    bench.expect(&now, 2, 2);
    bench.delete(&now);
    assert_eq!(bench.refused(&of("never", false)), FaultCode::SnapshotMissing);
    let linked = of("then", true);
    match bench.pool.volume_create(&linked, &mut no_progress()) {
        Ok(made) => {
            assert!(bench.can.clones);
            assert_eq!(made.parent, Some(source.id));
            bench.expect(&linked, 2, 1);
            assert_eq!(code(snapshots.snapshot_delete(source.id, "then")), FaultCode::VolumeHasClones);
            assert_eq!(code(bench.pool.volume_delete(source.id)), FaultCode::VolumeHasClones);
            bench.write(&source, 2, 3);
            bench.expect(&linked, 2, 1);
            bench.delete(&linked);
        }
        // A snapshot inside the volume's own file cannot be linked to.
        Err(fault) => assert_eq!(fault.code, FaultCode::PoolCannot, "{fault}"),
    }
    assert!(snapshots.snapshot_delete(source.id, "then").unwrap());
    bench.delete(&source);
}
