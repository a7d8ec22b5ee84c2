//! What the storage tests share: images to upload, backends behind a worker, launchers of the trial worker.
#![allow(dead_code)]

use bytes::Bytes;
use quantix_model::Fault;
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::pool::PoolSpec;
use quantix_storage::backend::*;
use quantix_storage::error::Result;
use quantix_storage::worker::{Limits, PoolLauncher, PoolWorker, ProcessLauncher, WorkerState, WorkerStatus};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use uuid::Uuid;

pub const MIB: u64 = 1 << 20;

pub fn volume_id() -> VolumeId {
    VolumeId(Uuid::now_v7())
}

pub fn image_id() -> ImageId {
    ImageId(Uuid::now_v7())
}

pub fn pool_id() -> PoolId {
    PoolId(Uuid::now_v7())
}

pub fn setup(root: &Path) -> PoolSetup {
    let path = root.to_str().unwrap().to_owned();
    PoolSetup { id: pool_id(), spec: PoolSpec::local(path), must_exist: false, may_make: true }
}

/// A folder that passes as a pool's; the system's temporary one is forbidden itself, its children are not.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("quantix-pool-test-").tempdir().unwrap()
}

pub fn run_program(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| {
        panic!("{program}: {e}; apt-get install qemu-utils xfsprogs util-linux coreutils")
    });
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A real qcow2 file with some data in it.
pub fn qcow2(virtual_bytes: u64) -> Vec<u8> {
    let dir = scratch();
    let (raw, qcow2) = (dir.path().join("x.raw"), dir.path().join("x.qcow2"));
    std::fs::write(&raw, raw_disk(virtual_bytes)).unwrap();
    let (raw, out) = (raw.to_str().unwrap(), qcow2.to_str().unwrap());
    run_program("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", raw, out]);
    std::fs::read(&qcow2).unwrap()
}

/// A raw disk with a boot sector and a pattern.
pub fn raw_disk(bytes: u64) -> Vec<u8> {
    let mut disk = vec![0; bytes as usize];
    for (n, byte) in disk.iter_mut().take(300_000).enumerate() {
        *byte = (n * 7 % 251) as u8;
    }
    disk[..4].copy_from_slice(&[0xeb, 0x63, 0x90, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

pub fn iso(bytes: u64) -> Vec<u8> {
    let mut disc = vec![0; bytes as usize];
    disc[32769..32774].copy_from_slice(b"CD001");
    disc
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

pub fn no_progress() -> impl FnMut(Progress) {
    |_| {}
}

pub fn upload(images: &dyn Images, id: ImageId, bytes: &[u8]) -> Result<ImageFacts> {
    let size = bytes.len() as u64;
    let mut at = images.upload_open(id, size)?;
    for piece in bytes[at as usize..].chunks(MIB as usize) {
        at = images.upload_write(id, at, piece)?;
    }
    images.upload_finish(id, size, Some(&sha256(bytes)), &mut no_progress())
}

pub fn quick() -> Limits {
    Limits {
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        ..Limits::default()
    }
}

/// The trial worker; other rooms' tests find it beside themselves, as the workspace builds it.
fn trial_program() -> std::path::PathBuf {
    option_env!("CARGO_BIN_EXE_pool-worker-on-trial").map_or_else(
        || std::env::current_exe().unwrap().parent().unwrap().with_file_name("pool-worker-on-trial"),
        std::path::PathBuf::from,
    )
}

/// Starts trial workers that die at a step.
pub fn trial(kill_at: Option<u64>) -> Arc<dyn PoolLauncher> {
    let args = kill_at.map(|n| n.to_string().into()).into_iter().collect();
    Arc::new(ProcessLauncher::new(trial_program(), args).unwrap())
}

pub async fn wait_for(worker: &PoolWorker, what: &str, seen: impl Fn(&WorkerStatus) -> bool) -> WorkerStatus {
    let mut watch = worker.watch();
    let got = tokio::time::timeout(Duration::from_secs(30), watch.wait_for(|s| seen(s))).await;
    match got {
        Ok(Ok(status)) => status.clone(),
        _ => panic!("{what} did not happen; now {:?}", worker.status()),
    }
}

pub async fn ready(worker: &PoolWorker) -> WorkerStatus {
    wait_for(worker, "a ready worker", |s| s.state == WorkerState::Ready).await
}

pub fn eventually(what: &str, mut seen: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !seen() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A backend at the far end of a worker, so that the suite runs over the protocol too.
pub struct Through {
    pub runtime: Runtime,
    pub worker: PoolWorker,
}

impl Through {
    pub fn start(setup: PoolSetup, launcher: Arc<dyn PoolLauncher>) -> Through {
        let runtime = Runtime::new().unwrap();
        let worker = runtime.block_on(async { PoolWorker::start(setup, launcher, quick()) });
        Through { runtime, worker }
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        self.runtime.block_on(self.worker.stop());
    }
}

impl Backend for Through {
    fn init(&mut self) -> Result<()> {
        self.runtime.block_on(ready(&self.worker));
        Ok(())
    }
    fn info(&self) -> Result<PoolInfo> {
        self.runtime.block_on(self.worker.info())
    }
    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        let (sender, receiver) = tokio::sync::watch::channel(Progress::default());
        let made = self.runtime.block_on(self.worker.volume_create(wish.clone(), Some(sender)));
        progress(*receiver.borrow());
        made
    }
    fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        self.runtime.block_on(self.worker.volume_delete(id))
    }
    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        self.runtime.block_on(self.worker.volume_list())
    }
    fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        self.runtime.block_on(self.worker.volume_attach(id))
    }
    fn destroy(&self, how: LettingGo) -> Result<()> {
        self.runtime.block_on(self.worker.destroy(how))
    }
    fn abilities(&self) -> Abilities<'_> {
        // What the far end cannot do it refuses.
        Abilities {
            files: Some(self),
            file_access: Some(self),
            images: Some(self),
            grow: Some(self),
            flatten: Some(self),
            snapshots: Some(self),
            exclusive: Some(self),
            refresh: Some(self),
            explore: None,
        }
    }
}

impl Grow for Through {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        self.runtime.block_on(self.worker.volume_grow(id, size_bytes))
    }
}

impl Flatten for Through {
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        let (tell, mut told) = tokio::sync::watch::channel(Progress::default());
        let made = self.runtime.block_on(self.worker.volume_flatten(id, Some(tell)));
        progress(*told.borrow_and_update());
        made
    }
}

impl Snapshots for Through {
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo> {
        self.runtime.block_on(self.worker.snapshot_create(id, name.to_owned()))
    }
    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        self.runtime.block_on(self.worker.snapshot_list(id))
    }
    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()> {
        self.runtime.block_on(self.worker.snapshot_revert(id, name.to_owned()))
    }
    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool> {
        self.runtime.block_on(self.worker.snapshot_delete(id, name.to_owned()))
    }
}

impl Refresh for Through {
    fn pool_refresh(&self, take_in: bool) -> Result<()> {
        self.runtime.block_on(self.worker.refresh(take_in))
    }
}

impl Exclusive for Through {
    fn volume_detach(&self, id: VolumeId) -> Result<()> {
        self.runtime.block_on(self.worker.volume_detach(id))
    }
}

impl FileAccess for Through {
    fn details(&self, path: &str) -> Result<FileDetails> {
        self.runtime.block_on(self.worker.file_details(path.to_owned()))
    }
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>> {
        self.runtime.block_on(self.worker.file_read(path.to_owned(), offset, limit)).map(Vec::from)
    }
    fn make_folder(&self, path: &str) -> Result<()> {
        self.runtime.block_on(self.worker.file_make_folder(path.to_owned()))
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.runtime.block_on(self.worker.file_rename(from.to_owned(), to.to_owned()))
    }
    fn copy(&self, from: &str, to: &str, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let (sender, receiver) = tokio::sync::watch::channel(Progress::default());
        let done = self.worker.file_copy(from.to_owned(), to.to_owned(), Some(sender));
        let done = self.runtime.block_on(done);
        progress(*receiver.borrow());
        done
    }
    fn remove(&self, path: &str, _: &mut dyn FnMut(Progress)) -> Result<bool> {
        self.runtime.block_on(self.worker.file_remove(path.to_owned(), None))
    }
    fn upload_keep(
        &self,
        id: ImageId,
        path: &str,
        size_bytes: u64,
        sha256: Option<&str>,
        _: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let sha256 = sha256.map(str::to_owned);
        self.runtime.block_on(self.worker.upload_keep(id, path.to_owned(), size_bytes, sha256, None))
    }
}

impl Files for Through {
    fn list(&self, query: &FileQuery) -> Result<FilePage> {
        self.runtime.block_on(self.worker.file_list(query.clone()))
    }
}

impl Images for Through {
    fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64> {
        self.runtime.block_on(self.worker.upload_open(id, size_bytes))
    }
    fn upload_write(&self, id: ImageId, offset: u64, bytes: &[u8]) -> Result<u64> {
        self.runtime.block_on(self.worker.upload_write(id, offset, Bytes::copy_from_slice(bytes)))
    }
    fn upload_sync(&self, id: ImageId) -> Result<u64> {
        self.runtime.block_on(self.worker.upload_sync(id))
    }
    fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<&str>,
        _: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts> {
        self.runtime.block_on(self.worker.upload_finish(id, size_bytes, sha256.map(str::to_owned), None))
    }
    fn image_delete(&self, id: ImageId) -> Result<bool> {
        self.runtime.block_on(self.worker.image_delete(id))
    }
    fn image_attach(&self, id: ImageId) -> Result<Attachment> {
        self.runtime.block_on(self.worker.image_attach(id))
    }
}

pub fn code<T: std::fmt::Debug>(result: std::result::Result<T, Fault>) -> quantix_model::FaultCode {
    result.expect_err("a refusal").code
}
