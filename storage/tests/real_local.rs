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
