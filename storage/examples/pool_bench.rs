//! Measures a local pool in a worker process against qemu-img, rm and cp on the same disk; prints figures and ratios.
//!
//! `cargo run --release -p quantix-storage --example pool_bench -- <folder on the disk to measure>`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::pool::PoolSpec;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::{PoolSetup, VolumeWish};
use quantix_storage::worker::{Limits, PoolWorker, ProcessLauncher, WorkerState};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const ROUNDS: usize = 15;
const UPLOAD_BYTES: u64 = 1 << 30;

fn main() {
    let arg = std::env::args().nth(1).unwrap_or_else(|| "/var/tmp".to_owned());
    if arg == "pool-worker" {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        quantix_storage::worker::main(socket);
        return;
    }
    let folder = PathBuf::from(arg).join(format!("quantix-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(measure(&folder));
    std::fs::remove_dir_all(&folder).unwrap();
}

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn compare(what: &str, ours: Duration, theirs: Duration) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what}: {ours:.2?} against {theirs:.2?}, {ratio:.2}x, {:+.2?}", ours.saturating_sub(theirs));
}

async fn measure(folder: &Path) {
    let path = folder.join("pool").to_str().unwrap().to_owned();
    let setup = PoolSetup { id: PoolId(Uuid::now_v7()), spec: PoolSpec::local(path), must_exist: false };
    let launcher = Arc::new(ProcessLauncher::this_program().unwrap());
    let worker = PoolWorker::start(setup, launcher, Limits::default());
    worker.watch().wait_for(|s| s.state != WorkerState::Starting).await.unwrap();
    volumes(&worker, folder).await;
    upload(&worker, folder).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.status().worker_id)).unwrap();
    for line in status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")) {
        println!("worker {line}");
    }
    worker.stop().await;
}

async fn volumes(worker: &PoolWorker, folder: &Path) {
    let plain = folder.join("plain.qcow2");
    let plain = plain.to_str().unwrap();
    let (mut create, mut create_plain, mut delete, mut delete_plain) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let id = VolumeId(Uuid::now_v7());
        let wish = VolumeWish {
            id,
            size_bytes: 10 << 30,
            format: VolumeFormat::Qcow2,
            allocation: Allocation::Thin,
            source: VolumeSource::Blank,
        };
        let began = Instant::now();
        worker.volume_create(wish, None).await.unwrap();
        create.push(began.elapsed());
        let began = Instant::now();
        worker.volume_delete(id).await.unwrap();
        delete.push(began.elapsed());
        let began = Instant::now();
        run("qemu-img", &["create", "-q", "-f", "qcow2", plain, "10G"]);
        create_plain.push(began.elapsed());
        let began = Instant::now();
        run("rm", &[plain]);
        delete_plain.push(began.elapsed());
    }
    compare("create against qemu-img create", median(create), median(create_plain));
    compare("delete against rm", median(delete), median(delete_plain));
}

async fn upload(worker: &PoolWorker, folder: &Path) {
    let (source, copy) = (folder.join("source"), folder.join("copy"));
    let mut bytes = vec![0x5a; UPLOAD_BYTES as usize];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let bytes = Bytes::from(bytes);
    std::fs::write(&source, &bytes).unwrap();
    run("sync", &[]);
    let (source, copy) = (source.to_str().unwrap(), copy.to_str().unwrap());
    let began = Instant::now();
    run("cp", &["--reflink=never", "--sparse=never", source, copy]);
    let cached = began.elapsed();
    run("sync", &["-d", copy]);
    let plain = began.elapsed();
    std::fs::remove_file(copy).unwrap();
    run("sync", &[]);
    let id = ImageId(Uuid::now_v7());
    let began = Instant::now();
    worker.upload_open(id, UPLOAD_BYTES).await.unwrap();
    let mut at = 0;
    while at < UPLOAD_BYTES {
        let piece = bytes.slice(at as usize..(at as usize + (1 << 20)));
        at = worker.upload_write(id, at, piece).await.unwrap();
    }
    let streamed = began.elapsed();
    worker.upload_finish(id, UPLOAD_BYTES, None, None).await.unwrap();
    compare("upload of 1 GiB, streaming, against cp into the cache", streamed, cached);
    compare("upload of 1 GiB, checked and on disk, against cp and sync", began.elapsed(), plain);
}
