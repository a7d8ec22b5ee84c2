//! The suite on what needs no server: a folder and the fake, each directly and over the worker's protocol.

#![allow(clippy::unwrap_used)]

mod pools;
mod suite;

use pools::*;
use quantix_storage::backend::Backend;
use quantix_storage::fake::{self, FakePool};
use quantix_storage::local::LocalPool;
use quantix_storage::worker::{FakeLauncher, ProcessLauncher};
use std::sync::Arc;

#[test]
fn local() {
    let dir = scratch();
    suite::run(LocalPool::new(&setup(&dir.path().join("pool"))).unwrap(), "local");
}

#[test]
fn local_over_a_worker_process() {
    let dir = scratch();
    suite::run(Through::start(setup(&dir.path().join("pool")), trial(None)), "local, worker process");
}

/// On XFS of its own, in a mount namespace of its own: copies share extents there, and raw volumes keep snapshots.
#[test]
fn local_where_extents_are_shared() {
    let dir = scratch();
    let (root, image) = (dir.path().join("pool"), dir.path().join("xfs.img"));
    std::fs::create_dir(&root).unwrap();
    std::fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    run_program("mkfs.xfs", &["-q", image.to_str().unwrap()]);
    let script = format!("mount -o loop {} {} && exec \"$0\"", image.display(), root.display());
    let worker = env!("CARGO_BIN_EXE_pool-worker-on-trial");
    let args = ["-m", "--propagation", "private", "/bin/sh", "-c", &script, worker];
    let launcher = ProcessLauncher::new("unshare", args.map(Into::into).to_vec()).unwrap();
    let pool = Through::start(setup(&root), Arc::new(launcher));
    pool.runtime.block_on(ready(&pool.worker));
    let can = pool.info().unwrap().capabilities;
    assert!(can.reflink && can.file_system == "xfs", "{can:?}");
    // The disks are in the worker's own view of the file system.
    let worker = pool.worker.status().worker_id;
    suite::run_with(pool, "local, XFS", move |attachment| {
        suite::open_here(attachment).map(|(path, format)| (format!("/proc/{worker}/root{path}"), format))
    });
}

#[test]
fn fake() {
    suite::run(FakePool::new().backend(Default::default()), "fake");
}

#[test]
fn fake_over_a_worker_thread() {
    suite::run(Through::start(fake::setup(pool_id()), FakeLauncher::new()), "fake, worker thread");
}

/// The matrix in the guide is what the backends say of themselves.
#[test]
fn the_guide_shows_the_facts() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/storage.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let renewed = quantix_storage::facts::renew(&text).expect("the page has its two markers");
    if std::env::var_os("QUANTIX_RENEW").is_some() {
        std::fs::write(&page, renewed).unwrap();
        return;
    }
    assert!(
        text == renewed,
        "docs/guides/storage.md is out of date; renew it:\n  \
         QUANTIX_RENEW=1 cargo nextest run --workspace -E 'test(the_guide_shows_the_facts)'"
    );
}
