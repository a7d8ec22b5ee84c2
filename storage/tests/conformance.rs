//! The suite on what needs no server: a folder and the fake, each directly and over the worker's protocol.

#![allow(clippy::unwrap_used)]

mod pools;
mod suite;

use pools::*;
use quantix_storage::fake::{self, FakePool};
use quantix_storage::local::LocalPool;
use quantix_storage::worker::FakeLauncher;

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

#[test]
fn fake() {
    suite::run(FakePool::new().backend(Default::default()), "fake");
}

#[test]
fn fake_over_a_worker_thread() {
    suite::run(Through::start(fake::setup(pool_id()), FakeLauncher::new()), "fake, worker thread");
}
