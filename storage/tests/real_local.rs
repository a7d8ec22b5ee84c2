//! The suite on XFS with reflink, ext4 and btrfs, inside the lab VM: this machine may have other file systems.
//!
//! **How tests of this kind are written and run.** A file `real_<what>.rs` beside this one, with `mod lab;` and
//! [`lab::require`] first in each test. It may do anything to its machine: `lab/src/labvm.rs` says what it finds
//! there (servers, targets, spare disks), and all is as new at the next start. Tests run one after the other, each as
//! a process of its own, so what one leaves mounted or logged in the next one meets. By hand, with its output shown:
//!
//! ```text
//! ./x lab real_local            all tests of this file (cargo xtask lab real_local does the same)
//! ./x lab real_local xfs        those with `xfs` in their name
//! ./x test lab                  all files, with a table at the end
//! ```
//! The tier `unit` leaves them out (`.config/nextest.toml`).

#![allow(clippy::unwrap_used)]

mod lab;
mod pools;
mod suite;

use pools::*;
use quantix_model::FaultCode;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::local::LocalPool;

const SIZE: u64 = 1024 * MIB;

fn on(file_system: &str, mkfs: &[&str], reflink: bool) {
    lab::require();
    let place = lab::LoopFs::make(mkfs, SIZE);
    let direct = setup(&place.path().join("direct"));
    let mut pool = LocalPool::new(&direct).unwrap();
    pool.init().unwrap();
    let can = pool.info().unwrap().capabilities;
    assert_eq!((can.file_system.as_str(), can.reflink), (file_system, reflink));
    suite::run(pool, file_system);
    let through = Through::start(setup(&place.path().join("worker")), trial(None));
    suite::run(through, &format!("{file_system}, worker process"));
}

#[test]
fn xfs_with_reflink() {
    on("xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"], true);
}

#[test]
fn ext4() {
    on("ext4", &["mkfs.ext4", "-q"], false);
}

#[test]
fn btrfs() {
    on("btrfs", &["mkfs.btrfs", "-q"], true);
}

/// A quota of the folder's project: its own size is what the pool shows, and an end of it is told as a full pool.
#[test]
fn a_quota_is_a_full_pool() {
    lab::require();
    let place = lab::LoopFs::make_with(&["mkfs.xfs", "-q"], SIZE, "prjquota");
    let (root, mount) = (place.path().join("pool"), place.path().to_str().unwrap().to_owned());
    std::fs::create_dir(&root).unwrap();
    let project = format!("project -s -p {} 42", root.display());
    run_program("xfs_quota", &["-x", "-c", &project, &mount]);
    run_program("xfs_quota", &["-x", "-c", "limit -p bhard=64m 42", &mount]);
    let mut pool = LocalPool::new(&setup(&root)).unwrap();
    pool.init().unwrap();
    assert_eq!(pool.info().unwrap().capacity.total_bytes, 64 * MIB);
    let wish = VolumeWish {
        id: volume_id(),
        size_bytes: 128 * MIB,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thick,
        source: VolumeSource::Blank,
    };
    let fault = pool.volume_create(&wish, &mut no_progress()).unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolFull, "{fault:?}");
    assert!(pool.volume_list().unwrap().is_empty());
    let image = image_id();
    let images = pool.abilities().images.unwrap();
    let mut got = images.upload_open(image, 60 * MIB);
    let piece = vec![1; MIB as usize];
    let small = VolumeWish { id: volume_id(), size_bytes: 32 * MIB, ..wish };
    pool.volume_create(&small, &mut no_progress()).unwrap();
    while let Ok(at) = got {
        got = images.upload_write(image, at, &piece);
    }
    assert_eq!(got.unwrap_err().code, FaultCode::PoolFull);
    assert!(images.image_delete(image).unwrap() && pool.volume_delete(small.id).unwrap());
    pool.info().unwrap();
}
