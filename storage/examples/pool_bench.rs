//! Measures a local pool in a worker process against qemu-img, rm, ls and cp on the same disk; prints figures and ratios.
//!
//! `cargo run --release -p quantix-storage --example pool_bench -- <folder on the disk to measure>`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use futures::StreamExt;
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::pool::PoolSpec;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::{FileQuery, PoolSetup, VolumeWish};
use quantix_storage::worker::{Limits, PoolWorker, ProcessLauncher, WorkerState};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const ROUNDS: usize = 15;
const UPLOAD_BYTES: u64 = 1 << 30;
const PIECE_BYTES: usize = 1 << 20;
const PIECES_UNDER_WAY: usize = 4;

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
    let setup = PoolSetup {
        id: PoolId(Uuid::now_v7()),
        spec: PoolSpec::local(path),
        must_exist: false,
        may_make: true,
    };
    let launcher = Arc::new(ProcessLauncher::this_program().unwrap());
    let worker = PoolWorker::start(setup, launcher, Limits::default());
    worker.watch().wait_for(|s| s.state != WorkerState::Starting).await.unwrap();
    volumes(&worker, folder).await;
    changes(&worker, folder).await;
    listing(&worker, folder).await;
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

fn wish(source: VolumeSource) -> VolumeWish {
    VolumeWish {
        id: VolumeId(Uuid::now_v7()),
        size_bytes: 10 << 30,
        format: VolumeFormat::Qcow2,
        allocation: Allocation::Thin,
        source,
    }
}

/// Whole clones, linked clones and growth, side by side with the bare program on equal files.
async fn changes(worker: &PoolWorker, folder: &Path) {
    let base = wish(VolumeSource::Blank);
    worker.volume_create(base.clone(), None).await.unwrap();
    let path = folder.join(format!("pool/volumes/{}.qcow2", base.id));
    let path = path.to_str().unwrap();
    run("qemu-io", &["-f", "qcow2", "-c", "write -q -P 90 0 64M", path]);
    let plain = folder.join("plain.qcow2");
    let plain = plain.to_str().unwrap();
    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let source = |linked| VolumeSource::Volume { id: base.id, snapshot: String::new(), linked };
        let (whole, linked) = (wish(source(false)), wish(source(true)));
        let began = Instant::now();
        worker.volume_create(whole.clone(), None).await.unwrap();
        times[0].push(began.elapsed());
        let began = Instant::now();
        run("qemu-img", &["convert", "-q", "-f", "qcow2", "-O", "qcow2", path, plain]);
        run("sync", &[plain]);
        times[1].push(began.elapsed());
        let began = Instant::now();
        worker.volume_grow(whole.id, 20 << 30).await.unwrap();
        times[2].push(began.elapsed());
        let began = Instant::now();
        run("qemu-img", &["resize", "-q", "-f", "qcow2", plain, "20G"]);
        times[3].push(began.elapsed());
        std::fs::remove_file(plain).unwrap();
        let began = Instant::now();
        worker.volume_create(linked.clone(), None).await.unwrap();
        times[4].push(began.elapsed());
        let began = Instant::now();
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, plain, "10G"]);
        times[5].push(began.elapsed());
        std::fs::remove_file(plain).unwrap();
        worker.volume_delete(linked.id).await.unwrap();
        worker.volume_delete(whole.id).await.unwrap();
    }
    let [whole, whole_plain, grow, grow_plain, linked, linked_plain] = times;
    compare(
        "whole clone (64 MiB used) against qemu-img convert and sync",
        median(whole),
        median(whole_plain),
    );
    compare("grow against qemu-img resize", median(grow), median(grow_plain));
    compare("linked clone against qemu-img create -b", median(linked), median(linked_plain));
    worker.volume_delete(base.id).await.unwrap();
}

/// A hundred thousand files: the first page, and all pages against `ls -la`.
async fn listing(worker: &PoolWorker, folder: &Path) {
    let many = folder.join("pool/many");
    std::fs::create_dir(&many).unwrap();
    for n in 0..100_000 {
        std::fs::File::create(many.join(format!("file-{n:06}"))).unwrap();
    }
    let query = |offset, limit| FileQuery { path: "many".into(), offset, limit, ..FileQuery::default() };
    let (mut first, mut all, mut ls) = (vec![], vec![], vec![]);
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(worker.file_list(query(0, 100)).await.unwrap().total, 100_000);
        first.push(began.elapsed());
        let began = Instant::now();
        for page in 0..100 {
            assert_eq!(worker.file_list(query(page * 1000, 1000)).await.unwrap().entries.len(), 1000);
        }
        all.push(began.elapsed());
        let began = Instant::now();
        let listed = Command::new("ls").arg("-la").arg(&many).output().unwrap();
        assert!(listed.stdout.len() > 1_000_000);
        ls.push(began.elapsed());
    }
    println!("first page of 100 in 100,000 files by name: {:.2?}", median(first));
    compare("all 100,000 files in pages of 1,000 against ls -la", median(all), median(ls));
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
    // As the daemon does it: a few pieces are under way at a time.
    let pieces = (0..UPLOAD_BYTES).step_by(PIECE_BYTES).map(|at| {
        let piece = bytes.slice(at as usize..at as usize + PIECE_BYTES);
        async move { worker.upload_write(id, at, piece).await.unwrap() }
    });
    let mut answers = futures::stream::iter(pieces).buffered(PIECES_UNDER_WAY);
    while answers.next().await.is_some() {}
    let streamed = began.elapsed();
    worker.upload_finish(id, UPLOAD_BYTES, None, None).await.unwrap();
    compare("upload of 1 GiB, streaming, against cp into the cache", streamed, cached);
    compare("upload of 1 GiB, checked and on disk, against cp and sync", began.elapsed(), plain);
}
