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
