//! kill -9 of the worker at each step of each change: nothing half-made is left, and the same change then succeeds.

#![allow(clippy::unwrap_used)]

mod pools;

use pools::*;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::local::LocalPool;
use std::fs;
use std::path::Path;

fn open(setup: &PoolSetup) -> LocalPool {
    let mut pool = LocalPool::new(setup).unwrap();
    pool.init().unwrap();
    pool
}

/// Every file in the pool but the marker.
fn files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for folder in [".", "volumes", "images"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_file() && name != ".quantix-pool" {
                files.push(format!("{folder}/{name}"));
            }
        }
    }
    files.sort();
    files
}

/// Does `work` with workers that die at their first, second, third … step, until one survives; after each, `check` sees
/// the pool as the next worker finds it, and the same work again must succeed. Answers how many died.
fn die_everywhere(
    prepare: impl Fn(&LocalPool),
    work: impl Fn(&dyn Backend) -> bool,
    check: impl Fn(&LocalPool, &[String]),
) -> u64 {
    for step in 1..500 {
        let dir = scratch();
        let root = dir.path().join("pool");
        let setup = setup(&root);
        prepare(&open(&setup));
        let survived = work(&Through::start(setup.clone(), trial(Some(step))));
        let pool = open(&setup);
        eprintln!("step {step}: survived {survived}, left {:?}", files(&root));
        check(&pool, &files(&root));
        assert!(work(&pool), "the same again after a death at step {step}");
        if survived {
            return step - 1;
        }
    }
    panic!("no worker survived");
}

fn volume_deaths(format: VolumeFormat, image: Option<(ImageId, Vec<u8>)>) -> u64 {
    let id = volume_id();
    let source =
        image.as_ref().map_or(VolumeSource::Blank, |(id, _)| VolumeSource::Image { id: *id, linked: false });
    let wish = VolumeWish { id, size_bytes: 16 * MIB, format, allocation: Allocation::Thin, source };
    die_everywhere(
        |pool| {
            if let Some((id, bytes)) = &image {
                upload(pool.abilities().images.unwrap(), *id, bytes).unwrap();
            }
        },
        |pool| pool.volume_create(&wish, &mut no_progress()).is_ok(),
        |pool, files| {
            let left: Vec<_> = files.iter().filter(|f| f.starts_with("volumes/")).collect();
            let listed = pool.volume_list().unwrap();
            assert_eq!(left.len(), listed.len(), "{left:?}");
            for volume in listed {
                assert_eq!((volume.id, volume.size_bytes), (id, 16 * MIB), "half a volume is visible");
                whole(pool, id, &image);
            }
        },
    )
}

/// The visible volume is all there.
fn whole(pool: &LocalPool, id: VolumeId, image: &Option<(ImageId, Vec<u8>)>) {
    let Attachment::File { path, format } = pool.volume_attach(id).unwrap() else { panic!("a file") };
    if format == VolumeFormat::Qcow2 {
        run_program("qemu-img", &["check", "-q", "-f", "qcow2", &path]);
    }
    if let Some((image, _)) = image {
        let Attachment::File { path: source, format: from } =
            pool.abilities().images.unwrap().image_attach(*image).unwrap()
        else {
            panic!("a file")
        };
        run_program(
            "qemu-img",
            &["compare", "-q", "-f", from.as_str(), "-F", format.as_str(), &source, &path],
        );
    }
}

#[test]
fn while_making_an_empty_volume() {
    assert!(volume_deaths(VolumeFormat::Qcow2, None) >= 7);
    assert!(volume_deaths(VolumeFormat::Raw, None) >= 7);
}

#[test]
fn while_copying_an_image() {
    assert!(volume_deaths(VolumeFormat::Raw, Some((image_id(), raw_disk(6 * MIB)))) >= 9);
    assert!(volume_deaths(VolumeFormat::Qcow2, Some((image_id(), qcow2(6 * MIB)))) >= 9);
}

#[test]
fn while_converting_an_image() {
    assert!(volume_deaths(VolumeFormat::Qcow2, Some((image_id(), raw_disk(6 * MIB)))) >= 9);
}

#[test]
fn while_deleting_a_volume() {
    let id = volume_id();
    let wish = VolumeWish {
        id,
        size_bytes: MIB,
        format: VolumeFormat::Qcow2,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    };
    let deaths = die_everywhere(
        |pool| {
            pool.volume_create(&wish, &mut no_progress()).unwrap();
        },
        |pool| pool.volume_delete(id).is_ok(),
        |pool, files| assert_eq!(pool.volume_list().unwrap().len(), files.len()),
    );
    assert!(deaths >= 4);
}

#[test]
fn while_receiving_an_image() {
    let (id, disc) = (image_id(), iso(3 * MIB));
    let deaths = die_everywhere(
        |_| {},
        |pool| upload(pool.abilities().images.unwrap(), id, &disc).is_ok(),
        |pool, files| match files {
            [] => {}
            // An upload stays, to be resumed: all of it was received in order.
            [part] if part.ends_with(".part") => {
                let there = pool.abilities().images.unwrap().upload_open(id, disc.len() as u64).unwrap();
                assert_eq!(there % MIB, 0);
            }
            [image] => {
                assert_eq!(*image, format!("images/{id}.iso"));
                let facts = pool.abilities().images.unwrap().upload_finish(
                    id,
                    disc.len() as u64,
                    Some(&sha256(&disc)),
                    &mut no_progress(),
                );
                assert_eq!(facts.unwrap().virtual_size_bytes, disc.len() as u64);
            }
            more => panic!("{more:?}"),
        },
    );
    assert!(deaths >= 11, "{deaths}");
}

#[test]
fn while_marking_a_new_pool() {
    for step in 1..5 {
        let dir = scratch();
        let setup = setup(&dir.path().join("pool"));
        let through = Through::start(setup.clone(), trial(Some(step)));
        eventually("a death", || {
            through.worker.status().state == quantix_storage::worker::WorkerState::Failed
        });
        drop(through);
        open(&setup).info().unwrap();
    }
}

fn blank(format: VolumeFormat) -> VolumeWish {
    VolumeWish {
        id: volume_id(),
        size_bytes: 16 * MIB,
        format,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    }
}

fn disk(pool: &LocalPool, id: VolumeId) -> (String, VolumeFormat) {
    match pool.volume_attach(id).unwrap() {
        Attachment::File { path, format } => (path, format),
        other => panic!("{other:?}"),
    }
}

fn write(pool: &LocalPool, id: VolumeId, byte: u8) {
    let (path, format) = disk(pool, id);
    run_program("qemu-io", &["-f", format.as_str(), "-c", &format!("write -P {byte} 1M 1M"), &path]);
}

/// The byte the disk holds where [`write`] writes.
fn byte(pool: &LocalPool, id: VolumeId) -> u8 {
    let (path, format) = disk(pool, id);
    let dir = scratch();
    let raw = dir.path().join("raw");
    run_program("qemu-img", &["convert", "-f", format.as_str(), "-O", "raw", &path, raw.to_str().unwrap()]);
    let bytes = fs::read(raw).unwrap();
    let place = &bytes[MIB as usize..2 * MIB as usize];
    assert!(place.iter().all(|b| *b == place[0]), "half of what was written");
    place[0]
}

#[test]
fn while_growing_a_volume() {
    for format in [VolumeFormat::Qcow2, VolumeFormat::Raw] {
        let wish = blank(format);
        let deaths = die_everywhere(
            |pool| {
                pool.volume_create(&wish, &mut no_progress()).unwrap();
                write(pool, wish.id, 5);
            },
            |pool| pool.abilities().grow.unwrap().volume_grow(wish.id, 32 * MIB).is_ok(),
            |pool, files| {
                assert_eq!(files.len(), 1, "{files:?}");
                let size = pool.volume_list().unwrap()[0].size_bytes;
                assert!([16 * MIB, 32 * MIB].contains(&size), "{size}");
                whole(pool, wish.id, &None);
                assert_eq!(byte(pool, wish.id), 5);
            },
        );
        assert!(deaths >= 6, "{deaths}");
    }
}

#[test]
fn while_making_and_deleting_a_snapshot() {
    let wish = blank(VolumeFormat::Qcow2);
    let names = |pool: &LocalPool| {
        let all = pool.abilities().snapshots.unwrap().snapshot_list(wish.id).unwrap();
        all.into_iter().map(|s| s.name).collect::<Vec<_>>()
    };
    for delete in [false, true] {
        let deaths = die_everywhere(
            |pool| {
                pool.volume_create(&wish, &mut no_progress()).unwrap();
                write(pool, wish.id, 1);
                if delete {
                    pool.abilities().snapshots.unwrap().snapshot_create(wish.id, "one").unwrap();
                }
            },
            |pool| {
                let snapshots = pool.abilities().snapshots.unwrap();
                match delete {
                    false => snapshots.snapshot_create(wish.id, "one").is_ok(),
                    true => snapshots.snapshot_delete(wish.id, "one").is_ok(),
                }
            },
            |pool, files| {
                assert_eq!(files.len(), 1, "{files:?}");
                let names = names(pool);
                assert!(names.is_empty() || names == ["one"], "{names:?}");
                whole(pool, wish.id, &None);
                assert_eq!(byte(pool, wish.id), 1);
            },
        );
        assert!(deaths >= 5, "{deaths}");
    }
}

#[test]
fn while_going_back_to_a_snapshot() {
    let wish = blank(VolumeFormat::Qcow2);
    let deaths = die_everywhere(
        |pool| {
            pool.volume_create(&wish, &mut no_progress()).unwrap();
            write(pool, wish.id, 1);
            pool.abilities().snapshots.unwrap().snapshot_create(wish.id, "one").unwrap();
            write(pool, wish.id, 2);
            pool.abilities().grow.unwrap().volume_grow(wish.id, 32 * MIB).unwrap();
        },
        |pool| {
            let reverted = pool.abilities().snapshots.unwrap().snapshot_revert(wish.id, "one").is_ok();
            let grown = reverted
                && pool
                    .abilities()
                    .grow
                    .unwrap()
                    .volume_grow(wish.id, 32 * MIB)
                    .is_ok_and(|v| v.size_bytes == 32 * MIB);
            reverted && grown
        },
        |pool, files| {
            assert_eq!(files.len(), 1, "{files:?}");
            assert!([1, 2].contains(&byte(pool, wish.id)));
            assert_eq!(pool.abilities().snapshots.unwrap().snapshot_list(wish.id).unwrap().len(), 1);
            whole(pool, wish.id, &None);
        },
    );
    assert!(deaths >= 6, "{deaths}");
}

#[test]
fn while_making_a_linked_clone_independent() {
    let (source, mut copy) = (blank(VolumeFormat::Qcow2), blank(VolumeFormat::Qcow2));
    copy.source = VolumeSource::Volume { id: source.id, snapshot: String::new(), linked: true };
    let deaths = die_everywhere(
        |pool| {
            pool.volume_create(&source, &mut no_progress()).unwrap();
            write(pool, source.id, 3);
            pool.volume_create(&copy, &mut no_progress()).unwrap();
        },
        |pool| {
            let made = pool.abilities().flatten.unwrap().volume_flatten(copy.id, &mut no_progress());
            made.is_ok_and(|made| made.parent.is_none())
        },
        |pool, files| {
            assert_eq!(files.len(), 2, "{files:?}");
            assert_eq!(byte(pool, copy.id), 3);
            let listed = pool.volume_list().unwrap();
            let parent = listed.iter().find(|v| v.id == copy.id).unwrap().parent;
            assert!([None, Some(source.id)].contains(&parent));
        },
    );
    assert!(deaths >= 7, "{deaths}");
}

#[test]
fn while_copying_and_linking_a_volume() {
    // Raw: copied as it is; qcow2 with a snapshot: converted; linked: a file that reads it.
    for (format, snapshot, linked) in [
        (VolumeFormat::Raw, false, false),
        (VolumeFormat::Qcow2, true, false),
        (VolumeFormat::Qcow2, false, true),
    ] {
        let (source, mut copy) = (blank(format), blank(format));
        copy.source = VolumeSource::Volume { id: source.id, snapshot: String::new(), linked };
        let deaths = die_everywhere(
            |pool| {
                pool.volume_create(&source, &mut no_progress()).unwrap();
                write(pool, source.id, 3);
                if snapshot {
                    pool.abilities().snapshots.unwrap().snapshot_create(source.id, "one").unwrap();
                }
            },
            |pool| pool.volume_create(&copy, &mut no_progress()).is_ok(),
            |pool, files| {
                let listed = pool.volume_list().unwrap();
                assert_eq!(files.len(), listed.len(), "{files:?}");
                assert!(listed.iter().any(|v| v.id == source.id));
                if listed.iter().any(|v| v.id == copy.id) {
                    assert_eq!(byte(pool, copy.id), 3);
                } else {
                    assert_eq!(byte(pool, source.id), 3);
                }
            },
        );
        assert!(deaths >= 8, "{deaths}");
    }
}

fn put(pool: &dyn Backend, path: &str, bytes: &[u8]) {
    let (id, size) = (image_id(), bytes.len() as u64);
    let images = pool.abilities().images.unwrap();
    images.upload_open(id, size).unwrap();
    images.upload_write(id, 0, bytes).unwrap();
    pool.abilities().file_access.unwrap().upload_keep(id, path, size, None, &mut no_progress()).unwrap();
}

fn holds(pool: &dyn Backend, path: &str) {
    assert_eq!(pool.abilities().file_access.unwrap().read(path, 0, 100).unwrap(), b"hello", "{path}");
}

#[test]
fn while_copying_a_file() {
    let deaths = die_everywhere(
        |pool| put(pool, "one", b"hello"),
        |pool| match pool.abilities().file_access.unwrap().copy("one", "two", &mut no_progress()) {
            // Copied already, and the answer was lost.
            Err(fault) => fault.code == quantix_model::FaultCode::FileExists,
            Ok(()) => true,
        },
        |pool, files| {
            assert!(files == ["./one"] || files == ["./one", "./two"], "{files:?}");
            files.iter().for_each(|file| holds(pool, &file[2..]));
        },
    );
    assert!(deaths >= 8, "{deaths}");
}

#[test]
fn while_moving_a_file() {
    let deaths = die_everywhere(
        |pool| put(pool, "one", b"hello"),
        |pool| {
            let access = pool.abilities().file_access.unwrap();
            access.rename("one", "two").is_ok() || access.read("two", 0, 1).is_ok()
        },
        |pool, files| {
            assert!(files == ["./one"] || files == ["./two"], "{files:?}");
            holds(pool, &files[0][2..]);
        },
    );
    assert!(deaths >= 5, "{deaths}");
}

#[test]
fn while_removing_a_folder() {
    let deaths = die_everywhere(
        |pool| {
            let access = pool.abilities().file_access.unwrap();
            for folder in ["tree", "tree/a", "tree/a/b", "tree/empty"] {
                access.make_folder(folder).unwrap();
            }
            for file in ["tree/1", "tree/a/2", "tree/a/b/3", "keep"] {
                put(pool, file, b"hello");
            }
        },
        |pool| pool.abilities().file_access.unwrap().remove("tree", &mut no_progress()).is_ok(),
        |pool, files| {
            assert_eq!(files, ["./keep"]);
            holds(pool, "keep");
        },
    );
    assert!(deaths >= 10, "{deaths}");
}

#[test]
fn while_keeping_an_upload() {
    let id = image_id();
    let sum = sha256(b"hello");
    let deaths = die_everywhere(
        |pool| {
            let images = pool.abilities().images.unwrap();
            images.upload_open(id, 5).unwrap();
            images.upload_write(id, 0, b"hello").unwrap();
        },
        |pool| {
            let access = pool.abilities().file_access.unwrap();
            access.upload_keep(id, "kept", 5, Some(&sum), &mut no_progress()).is_ok()
        },
        |pool, files| match files {
            [part] if *part == format!("images/.{id}.part") => {}
            [kept] if kept == "./kept" => holds(pool, "kept"),
            more => panic!("{more:?}"),
        },
    );
    assert!(deaths >= 6, "{deaths}");
}
