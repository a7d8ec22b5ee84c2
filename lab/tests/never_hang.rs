//! Nothing hangs: every storage operation on a pool whose file system stalls, fails, is full or is slow.
//!
//! A real worker process serves a real local pool on a FUSE mount that misbehaves on demand. For each operation and
//! each way to misbehave, this measures how long the answer took, what a healthy pool beside it answered meanwhile, how
//! long recovery took, and that no process is left. The table is printed and kept as an artefact.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use quantix_lab::fault_fs::{FaultFs, Mood};
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::pool::PoolSpec;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_model::{Fault, FaultCode};
use quantix_storage::backend::{FileQuery, PoolSetup, VolumeWish};
use quantix_storage::worker::{Limits, PoolWorker, ProcessLauncher, WorkerState};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const MIB: u64 = 1 << 20;
/// A call that says nothing for so long is given up; shortened from the product's 5 to 120 s so that the table is done
/// within minutes. What is measured is how much later than this the answer comes.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers may be so much later than the patience: a busy machine, and no more.
const LATE_MAX: Duration = Duration::from_millis(1500);
/// What a healthy pool may take beside a sick one on a busy machine.
const NEIGHBOUR_MAX: Duration = Duration::from_secs(1);
/// From the cure to a pool that answers again.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// Things that are in the pool before it falls sick.
#[derive(Clone)]
struct Stock {
    thin: VolumeId,
    raw: VolumeId,
    image: ImageId,
    upload: ImageId,
    kept: ImageId,
}

const DISC_BYTES: usize = 64 << 10;

fn disc() -> Bytes {
    let mut disc = vec![0; DISC_BYTES];
    disc[32769..32774].copy_from_slice(b"CD001");
    disc.into()
}

fn wish(format: VolumeFormat, source: VolumeSource) -> VolumeWish {
    VolumeWish {
        id: VolumeId(Uuid::now_v7()),
        size_bytes: 4 * MIB,
        format,
        allocation: Allocation::Thin,
        source,
    }
}

impl Stock {
    async fn lay_in(worker: &PoolWorker) -> Stock {
        let (thin, raw) =
            (wish(VolumeFormat::Qcow2, VolumeSource::Blank), wish(VolumeFormat::Raw, VolumeSource::Blank));
        let ids = [(); 3].map(|()| ImageId(Uuid::now_v7()));
        let stock = Stock { thin: thin.id, raw: raw.id, image: ids[0], upload: ids[1], kept: ids[2] };
        worker.volume_create(thin, None).await.unwrap();
        worker.volume_create(raw, None).await.unwrap();
        worker.snapshot_create(stock.thin, "before".into()).await.unwrap();
        let bytes = disc();
        for id in [stock.image, stock.upload, stock.kept] {
            worker.upload_open(id, DISC_BYTES as u64).await.unwrap();
            worker.upload_write(id, 0, bytes.clone()).await.unwrap();
        }
        worker.upload_finish(stock.image, DISC_BYTES as u64, None, None).await.unwrap();
        worker.file_make_folder("notes".into()).await.unwrap();
        worker.upload_keep(stock.kept, "notes/kept".into(), DISC_BYTES as u64, None, None).await.unwrap();
        stock
    }
}

/// Every call a worker can be asked, in the words of its client.
const OPERATIONS: &[&str] = &[
    "info",
    "volume create qcow2",
    "volume create raw",
    "volume from image",
    "volume clone",
    "volume delete",
    "volume list",
    "volume attach",
    "volume grow",
    "snapshot create",
    "snapshot list",
    "snapshot revert",
    "snapshot delete",
    "file list",
    "file details",
    "file read",
    "make folder",
    "rename",
    "copy",
    "remove",
    "upload open",
    "upload write",
    "upload sync",
    "upload finish",
    "upload keep",
    "image attach",
    "image delete",
];

async fn operate(name: &str, worker: &PoolWorker, stock: &Stock) -> Result<(), Fault> {
    let size = DISC_BYTES as u64;
    let note = || "notes/kept".to_owned();
    let fresh = || format!("notes/{}", Uuid::now_v7());
    match name {
        "info" => worker.info().await.map(drop),
        "volume create qcow2" => create(worker, wish(VolumeFormat::Qcow2, VolumeSource::Blank)).await,
        "volume create raw" => create(worker, wish(VolumeFormat::Raw, VolumeSource::Blank)).await,
        "volume from image" => {
            // An ISO is no disk: it is refused once it was looked at.
            create(worker, wish(VolumeFormat::Raw, VolumeSource::Image { id: stock.image, linked: false }))
                .await
        }
        "volume clone" => {
            let source = VolumeSource::Volume { id: stock.raw, snapshot: String::new(), linked: false };
            create(worker, wish(VolumeFormat::Raw, source)).await
        }
        "volume delete" => worker.volume_delete(stock.raw).await.map(drop),
        "volume list" => worker.volume_list().await.map(drop),
        "volume attach" => worker.volume_attach(stock.thin).await.map(drop),
        "volume grow" => worker.volume_grow(stock.thin, 8 * MIB).await.map(drop),
        "snapshot create" => worker.snapshot_create(stock.thin, "again".into()).await.map(drop),
        "snapshot list" => worker.snapshot_list(stock.thin).await.map(drop),
        "snapshot revert" => worker.snapshot_revert(stock.thin, "before".into()).await,
        "snapshot delete" => worker.snapshot_delete(stock.thin, "before".into()).await.map(drop),
        "file list" => worker.file_list(FileQuery { limit: 10, ..FileQuery::default() }).await.map(drop),
        "file details" => worker.file_details(note()).await.map(drop),
        "file read" => worker.file_read(note(), 0, 4096).await.map(drop),
        "make folder" => worker.file_make_folder(fresh()).await,
        "rename" => worker.file_rename(note(), fresh()).await,
        "copy" => worker.file_copy(note(), fresh(), None).await,
        "remove" => worker.file_remove(note(), None).await.map(drop),
        "upload open" => worker.upload_open(ImageId(Uuid::now_v7()), size).await.map(drop),
        "upload write" => {
            worker.upload_write(stock.upload, size, Bytes::from_static(b"more")).await.map(drop)
        }
        "upload sync" => worker.upload_sync(stock.upload).await.map(drop),
        "upload finish" => worker.upload_finish(stock.upload, size, None, None).await.map(drop),
        "upload keep" => worker.upload_keep(stock.upload, fresh(), size, None, None).await,
        "image attach" => worker.image_attach(stock.image).await.map(drop),
        "image delete" => worker.image_delete(stock.image).await.map(drop),
        other => panic!("{other} is no operation"),
    }
}

async fn create(worker: &PoolWorker, wish: VolumeWish) -> Result<(), Fault> {
    worker.volume_create(wish, None).await.map(drop)
}

/// A pool on a file system that can be made sick.
struct Ward {
    fs: FaultFs,
    worker: PoolWorker,
    folder: tempfile::TempDir,
}

fn limits() -> Limits {
    Limits {
        patience_max: PATIENCE,
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_millis(200),
        ..Limits::default()
    }
}

fn worker_on(root: &Path) -> PoolWorker {
    let spec = PoolSpec::local(root.to_str().unwrap());
    let setup = PoolSetup { id: PoolId(Uuid::now_v7()), spec, must_exist: false, may_make: true };
    let launcher = ProcessLauncher::new(program("quantix-node"), vec!["pool-worker".into()]).unwrap();
    PoolWorker::start(setup, Arc::new(launcher), limits())
}

fn program(name: &str) -> PathBuf {
    quantix_lab::rig::program(name)
}

/// From the cure until the pool answers, with no process left behind.
async fn recovered(worker: &PoolWorker, what: &str) -> Duration {
    let began = Instant::now();
    loop {
        // What was asked just before the cure may still be refused with it.
        let answer = worker.info().await;
        if answer.is_ok() && worker.status().abandoned == 0 {
            return began.elapsed();
        }
        assert!(began.elapsed() < RECOVERY_MAX, "{what} did not recover: {answer:?} {:?}", worker.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ready(worker: &PoolWorker, within: Duration) -> Duration {
    let began = Instant::now();
    let mut watch = worker.watch();
    let seen =
        tokio::time::timeout(within, watch.wait_for(|s| s.state == WorkerState::Ready && s.abandoned == 0));
    let seen = seen.await.is_ok();
    assert!(seen, "no ready worker within {within:?}: {:?}", worker.status());
    began.elapsed()
}

impl Ward {
    async fn open() -> Ward {
        let folder = tempfile::Builder::new().prefix("quantix-ward-").tempdir().unwrap();
        let (behind, mount) = (folder.path().join("behind"), folder.path().join("mount"));
        std::fs::create_dir(&behind).unwrap();
        std::fs::create_dir(&mount).unwrap();
        let fs = FaultFs::mount(&behind, &mount);
        let worker = worker_on(&mount.join("pool"));
        ready(&worker, RECOVERY_MAX).await;
        Ward { fs, worker, folder }
    }

    async fn close(self) {
        self.worker.stop().await;
        drop(self.fs);
        self.folder.close().unwrap();
    }
}

/// One line of the table.
struct Finding {
    operation: &'static str,
    mood: Mood,
    answer: Duration,
    said: String,
    neighbour: Duration,
    recovery: Duration,
}

const ERRNO_IO: i32 = 5;
const ERRNO_STALE: i32 = 116;

fn moods() -> [Mood; 5] {
    let slow = Mood::Slow(Duration::from_millis(20));
    [Mood::Stalled, Mood::Broken(ERRNO_IO), Mood::Broken(ERRNO_STALE), Mood::Full, slow]
}

fn word(mood: Mood) -> &'static str {
    match mood {
        Mood::Well => "well",
        Mood::Stalled => "stall",
        Mood::Broken(ERRNO_STALE) => "ESTALE",
        Mood::Broken(_) => "EIO",
        Mood::Full => "ENOSPC",
        Mood::Slow(_) => "slow",
    }
}

async fn examine(operation: &'static str, mood: Mood, ward: &Ward, neighbour: &PoolWorker) -> Finding {
    let stock = Stock::lay_in(&ward.worker).await;
    ward.fs.turn(mood);
    let began = Instant::now();
    let asked = operate(operation, &ward.worker, &stock);
    let beside = async {
        let mut worst = Duration::ZERO;
        for _ in 0..5 {
            let began = Instant::now();
            neighbour.info().await.unwrap();
            worst = worst.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        worst
    };
    let (answer, neighbour) = tokio::join!(
        async {
            let answer = tokio::time::timeout(PATIENCE + 20 * LATE_MAX, asked).await;
            (answer.unwrap_or_else(|_| panic!("{operation} hangs, {}", word(mood))), began.elapsed())
        },
        beside
    );
    ward.fs.turn(Mood::Well);
    let recovery = recovered(&ward.worker, &format!("{operation}, {}", word(mood))).await;
    let said = match &answer.0 {
        Ok(()) => "done".to_owned(),
        Err(fault) => {
            assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
            assert!(fault.code != FaultCode::Internal, "{operation}, {}: {fault:?}", word(mood));
            fault.code.to_string()
        }
    };
    let left = ward.worker.file_remove("notes".into(), None).await;
    left.unwrap_or_else(|fault| panic!("{operation}, {}: clearing up: {fault}", word(mood)));
    Finding { operation, mood, answer: answer.1, said, neighbour, recovery }
}

fn table(findings: &[Finding]) -> String {
    let mut text = String::from(
        "operation            mood    answer ms  said                    neighbour ms  recovery ms\n",
    );
    for f in findings {
        let (answer, neighbour, recovery) =
            (f.answer.as_millis(), f.neighbour.as_millis(), f.recovery.as_millis());
        let (operation, mood, said) = (f.operation, word(f.mood), &f.said);
        writeln!(text, "{operation:<20} {mood:<7} {answer:>9}  {said:<22} {neighbour:>13} {recovery:>12}")
            .unwrap();
    }
    let worst =
        |take: fn(&Finding) -> Duration| findings.iter().map(take).max().unwrap_or_default().as_millis();
    writeln!(
        text,
        "worst: answer {} ms (patience {} ms), neighbour {} ms, recovery {} ms; stuck processes after recovery: 0",
        worst(|f| f.answer),
        PATIENCE.as_millis(),
        worst(|f| f.neighbour),
        worst(|f| f.recovery),
    )
    .unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_whatever_its_file_system_does() {
    let beside = tempfile::Builder::new().prefix("quantix-ward-").tempdir().unwrap();
    let neighbour = worker_on(&beside.path().join("pool"));
    ready(&neighbour, RECOVERY_MAX).await;
    let mut findings = Vec::new();
    for mood in moods() {
        let ward = Ward::open().await;
        for operation in OPERATIONS {
            findings.push(examine(operation, mood, &ward, &neighbour).await);
        }
        ward.close().await;
    }
    neighbour.stop().await;
    let text = table(&findings);
    println!("{text}");
    let artefacts = quantix_lab::rig::target().join("artefacts");
    std::fs::create_dir_all(&artefacts).unwrap();
    std::fs::write(artefacts.join("never-hang.txt"), &text).unwrap();
    for f in &findings {
        let (what, late) = (format!("{}, {}", f.operation, word(f.mood)), PATIENCE + LATE_MAX);
        assert!(f.mood != Mood::Stalled || f.answer <= late, "{what} answered after {:?}", f.answer);
        assert!(f.mood != Mood::Stalled || f.said == "POOL_STALLED", "{what} said {}", f.said);
        assert!(f.neighbour <= NEIGHBOUR_MAX, "{what}: the pool beside it took {:?}", f.neighbour);
        let failed_well = f.said != "done" || !matches!(f.mood, Mood::Broken(_));
        assert!(failed_well, "{what} said done");
    }
}
