//! The promises every backend keeps, as one suite. It runs on each backend directly and over the worker's protocol, on
//! the fake, on folders and on real servers. What a backend says it cannot do must be refused with `POOL_CANNOT`.
#![allow(dead_code)]

mod clones;
mod file_access;
mod files;
mod images;
mod snapshots;
mod volumes;

use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::pool::Capabilities;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// How a guest would open a disk: what `qemu-io` wants, and the format; `None` when there is nothing to open (the fake).
pub type Opener = Box<dyn Fn(&Attachment) -> Option<(String, VolumeFormat)>>;

/// A backend under test and what it said of itself.
pub struct Bench<'a> {
    pub pool: &'a dyn Backend,
    pub can: Capabilities,
    pub opener: Opener,
    /// Its first word is the kind of backend.
    pub label: &'a str,
}

type Case = fn(&Bench);

const CASES: &[(&str, Case)] = &[
    ("facts", facts),
    ("volumes", volumes::volumes),
    ("grow", volumes::grow),
    ("thick volumes", volumes::thick),
    ("uploads", images::uploads),
    ("refused images", images::refused),
    ("volumes from images", images::volumes_from_images),
    ("linked volumes from images", clones::from_images),
    ("full clones", clones::full),
    ("linked clones", clones::linked),
    ("flatten", clones::flatten),
    ("snapshots", snapshots::snapshots),
    ("clones of snapshots", snapshots::clones),
    ("files", files::files),
    ("file access", file_access::file_access),
    ("kept uploads", file_access::kept),
];

/// Runs every case and prints one line each; fails when one failed.
pub fn run(backend: impl Backend, label: &str) {
    run_with(backend, label, open_here);
}

/// The same where disks are opened in another way.
pub fn run_with(
    mut backend: impl Backend,
    label: &str,
    opener: impl Fn(&Attachment) -> Option<(String, VolumeFormat)> + 'static,
) {
    backend.init().unwrap_or_else(|fault| panic!("{label}: init: {fault}"));
    let can = backend.info().unwrap_or_else(|fault| panic!("{label}: info: {fault}")).capabilities;
    let bench = Bench { pool: &backend, can, opener: Box::new(opener), label };
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| case(&bench)));
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        eprintln!("suite | {label} | {name} | {word} | {} ms", began.elapsed().as_millis());
        if result.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{label}: {failed:?} failed");
}

/// Files and block devices of this machine.
pub fn open_here(attachment: &Attachment) -> Option<(String, VolumeFormat)> {
    match attachment {
        Attachment::File { path, .. } if path.starts_with("/fake/") => None,
        Attachment::File { path, format } => Some((path.clone(), *format)),
        Attachment::Block { path } => Some((path.clone(), VolumeFormat::Raw)),
        Attachment::Rbd { .. } => None,
    }
}

/// What a backend says must be what it is.
fn facts(bench: &Bench) {
    let (can, able) = (&bench.can, bench.pool.abilities());
    let agree = |said: bool, there: bool, what: &str| {
        assert!(!said || there, "says it can {what}, and has no such ability");
    };
    agree(can.files, able.files.is_some(), "list files");
    agree(can.images, able.images.is_some(), "keep images");
    agree(can.snapshots, able.snapshots.is_some(), "make snapshots");
    agree(can.grow, able.grow.is_some(), "grow volumes");
    agree(can.flatten, able.flatten.is_some(), "make linked clones independent");
    let kind = bench.label.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if let Some(facts) = quantix_storage::facts::ALL.iter().find(|facts| facts.kind == kind) {
        for (ability, may) in facts.abilities() {
            let says = quantix_storage::facts::says(can, ability);
            assert!(!says || may != "no", "says it can {ability}; the documents say it cannot");
            assert!(says || may != "yes", "says it cannot {ability}; the documents say it always can");
        }
    }
    assert!(!can.formats.is_empty(), "keeps volumes in no format");
    assert!(can.snapshots || !can.snapshots_running, "snapshots of running VMs only");
    let info = bench.pool.info().unwrap();
    assert!(info.capacity.total_bytes >= info.capacity.used_bytes && info.capacity.available_bytes > 0);
    assert!(!info.probe.is_empty());
}

impl Bench<'_> {
    /// The format volumes usually have here.
    pub fn format(&self) -> VolumeFormat {
        self.can.formats[0]
    }

    pub fn wish(&self, size_bytes: u64, source: VolumeSource) -> VolumeWish {
        let format = self.format();
        VolumeWish { id: volume_id(), size_bytes, format, allocation: Allocation::Thin, source }
    }

    pub fn make(&self, wish: &VolumeWish) -> VolumeInfo {
        self.pool
            .volume_create(wish, &mut no_progress())
            .unwrap_or_else(|fault| panic!("{wish:?}: {fault:?}"))
    }

    pub fn refused(&self, wish: &VolumeWish) -> FaultCode {
        code(self.pool.volume_create(wish, &mut no_progress()))
    }

    pub fn find(&self, wish: &VolumeWish) -> VolumeInfo {
        let all = self.pool.volume_list().unwrap();
        all.into_iter().find(|v| v.id == wish.id).expect("the volume is listed")
    }

    pub fn delete(&self, wish: &VolumeWish) {
        assert!(self.pool.volume_delete(wish.id).unwrap_or_else(|fault| panic!("{fault:?}")));
    }

    /// Opens the disk as a VM would, and lets go of it after.
    pub fn attached<T>(&self, wish: &VolumeWish, work: impl FnOnce(&str, VolumeFormat) -> T) -> Option<T> {
        let attachment = self.pool.volume_attach(wish.id).unwrap_or_else(|fault| panic!("{fault:?}"));
        let done = (self.opener)(&attachment).map(|(disk, format)| work(&disk, format));
        if let Some(exclusive) = self.pool.abilities().exclusive {
            exclusive.volume_detach(wish.id).unwrap();
        }
        done
    }

    /// Writes a MiB of `byte` at a MiB of the disk.
    pub fn write(&self, wish: &VolumeWish, at_mib: u64, byte: u8) {
        self.attached(wish, |disk, format| {
            let command = format!("write -P {byte} {at_mib}M 1M");
            run_program("qemu-io", &["-f", format.as_str(), "-c", &command, disk]);
        });
    }

    /// Checks that a MiB of the disk is all `byte`.
    pub fn expect(&self, wish: &VolumeWish, at_mib: u64, byte: u8) {
        self.attached(wish, |disk, format| {
            let command = format!("read -P {byte} {at_mib}M 1M");
            // qemu-io says so and ends with 0 all the same in old releases.
            let said = run_program("qemu-io", &["-r", "-f", format.as_str(), "-c", &command, disk]);
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(!said.contains("verification failed"), "{disk} at {at_mib} MiB is not {byte}: {said}");
        });
    }
}

/// Checks that something a backend cannot do is refused as such, where it can be asked at all.
pub fn cannot<T: std::fmt::Debug>(result: Option<quantix_storage::error::Result<T>>) {
    if let Some(result) = result {
        assert_eq!(code(result), FaultCode::PoolCannot);
    }
}
