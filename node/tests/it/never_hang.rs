//! Every call about a pool, on a pool that stalls, fails, is full or slow: who only looks has an answer within a
//! second, also before anybody found the stall out; everybody else when the worker's patience ends. Another pool and
//! the beat go on as ever.

use crate::vdc::TestVdc;
use crate::volume::{grow, snapshot};
use crate::yard::{Machine, pool_id, pool_intent, until, volume_id, volume_request};
use quantix_client::HostClient;
use quantix_contract::quantix::file::v1 as file;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode};
use quantix_storage::fake::FakePool;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What is promised to whoever looks.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// What a worker may take here before it is given up.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What a slow pool takes for everything.
const SLOW: Duration = Duration::from_millis(300);

const LOOKS: &[&str] = &[
    "ListFiles",
    "GetFile",
    "MakeFolder",
    "MoveFile",
    "download",
    "ListVolumes",
    "ListSnapshots",
    "RetryPool",
];
const CHANGES: &[&str] = &[
    "CreateVolume",
    "GrowVolume",
    "FlattenVolume",
    "CreateSnapshot",
    "RevertSnapshot",
    "DeleteSnapshot",
    "DeleteVolume",
    "CopyFile",
    "DeleteFile",
    "OpenUpload",
    "FinishFile",
    "FinishUpload",
    "DeleteImage",
    "ApplyPool",
];

fn other_pool() -> PoolId {
    PoolId(Uuid::from_u128(0x901))
}

async fn call(line: &HostClient, name: &str) -> Result<(), Fault> {
    let pool_id = pool_id().to_string();
    let path = "a".to_owned();
    let upload = Uuid::from_u128(3).to_string();
    match name {
        "ListFiles" => {
            let ask = node::ListFilesRequest { pool_id, ..Default::default() };
            line.list_files(ask).await.map(drop)
        }
        "GetFile" => {
            line.get_file(file::GetFileRequest { pool_id, path, ..Default::default() }).await.map(drop)
        }
        "MakeFolder" => {
            line.make_folder(file::MakeFolderRequest { pool_id, path, ..Default::default() }).await.map(drop)
        }
        "MoveFile" => {
            let (from_path, to_path) = (path, "b".into());
            let ask = file::MoveFileRequest { pool_id, from_path, to_path, ..Default::default() };
            line.move_file(ask).await.map(drop)
        }
        "CopyFile" => {
            let (from_path, to_path) = (path, "b".into());
            let ask = file::CopyFileRequest { pool_id, from_path, to_path, ..Default::default() };
            line.copy_file(ask, |_| ()).await
        }
        "DeleteFile" => {
            line.delete_file(file::DeleteFileRequest { pool_id, path, ..Default::default() }, |_| ()).await
        }
        "download" => line.download(crate::yard::pool_id(), "a", &http::HeaderMap::new()).await.map(drop),
        "ListVolumes" => {
            line.list_volumes(node::ListVolumesRequest { pool_id, ..Default::default() }).await.map(drop)
        }
        "CreateVolume" => line.create_volume(volume_request()).await.map(drop),
        "GrowVolume" => line.grow_volume(grow(2 << 30)).await.map(drop),
        "FlattenVolume" => {
            let volume_id = volume_id().to_string();
            let ask = node::FlattenVolumeRequest { pool_id, volume_id, ..Default::default() };
            line.flatten_volume(ask, |_| ()).await
        }
        "ListSnapshots" => line.list_snapshots(snapshot("")).await.map(drop),
        "CreateSnapshot" => line.create_snapshot(snapshot("one")).await.map(drop),
        "RevertSnapshot" => line.revert_snapshot(snapshot("one")).await.map(drop),
        "DeleteSnapshot" => line.delete_snapshot(snapshot("one")).await.map(drop),
        "DeleteVolume" => {
            let volume_id = volume_id().to_string();
            line.delete_volume(node::DeleteVolumeRequest { pool_id, volume_id, ..Default::default() })
                .await
                .map(drop)
        }
        "OpenUpload" => {
            let ask =
                node::OpenUploadRequest { pool_id, image_id: upload, size_bytes: 9, ..Default::default() };
            line.open_upload(ask).await.map(drop)
        }
        "FinishFile" => line.finish_file(finish_file(upload)).await.map(drop),
        "FinishUpload" => {
            let ask =
                node::FinishUploadRequest { pool_id, image_id: upload, size_bytes: 9, ..Default::default() };
            line.finish_upload(ask).await.map(drop)
        }
        "DeleteImage" => line
            .delete_image(node::DeleteImageRequest { pool_id, image_id: upload, ..Default::default() })
            .await
            .map(drop),
        "ApplyPool" => line.apply_pool(pool_intent(1)).await.map(drop),
        "RetryPool" => {
            line.retry_pool(node::RetryPoolRequest { pool_id, ..Default::default() }).await.map(drop)
        }
        other => panic!("no such call: {other}"),
    }
}

fn finish_file(upload_id: String) -> node::FinishFileRequest {
    let pool_id = pool_id().to_string();
    node::FinishFileRequest { pool_id, upload_id, path: "kept".into(), size_bytes: 9, ..Default::default() }
}

fn trouble(pool: &FakePool, kind: &str) {
    let errno = |errno: rustix::io::Errno| {
        Some(quantix_storage::error::io("read", &std::io::Error::from_raw_os_error(errno.raw_os_error())))
    };
    match kind {
        "stall" => pool.stall(true),
        "EIO" => pool.fail(errno(rustix::io::Errno::IO)),
        "ESTALE" => pool.fail(errno(rustix::io::Errno::STALE)),
        "ENOSPC" => pool.fail(errno(rustix::io::Errno::NOSPC)),
        "slow" => pool.slow(SLOW),
        other => panic!("no such trouble: {other}"),
    }
}

async fn heal(line: &HostClient, pool: &FakePool) {
    pool.stall(false);
    pool.fail(None);
    pool.slow(Duration::ZERO);
    until("the pool is well again", async || {
        call(line, "RetryPool").await.ok()?;
        call(line, "ListFiles").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_in_trouble_holds_nobody_up() {
    let mut machine = Machine::new();
    machine.patience = PATIENCE;
    let vdc = TestVdc::start().await;
    let other = node::PoolIntent { pool_id: other_pool().to_string(), ..pool_intent(1) };
    vdc.want_pools(vec![pool_intent(1), other.clone()]);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    line.apply_pool(other).await.unwrap();
    line.create_volume(volume_request()).await.unwrap();
    let pool = machine.launcher.pool(pool_id());
    pool.put_file("a", vec![1; 100]);
    let mut worst: Vec<(String, Duration, Duration)> = Vec::new();
    eprintln!("| trouble | call | answer | in ms | other pool, worst ms |");
    eprintln!("|---|---|---|---|---|");
    for kind in ["stall", "EIO", "ESTALE", "ENOSPC", "slow"] {
        for name in LOOKS.iter().chain(CHANGES) {
            trouble(&pool, kind);
            let beats = vdc.beats().len();
            let watch = tokio::spawn(watch_other(line.clone()));
            let began = Instant::now();
            let answer = call(&line, name).await;
            let took = began.elapsed();
            let beside = watch.await.unwrap();
            let word = answer.as_ref().map_or_else(|fault| fault.code.as_str(), |()| "done");
            eprintln!("| {kind} | {name} | {word} | {} | {} |", took.as_millis(), beside.as_millis());
            let most = if LOOKS.contains(name) { LOOK_MAX } else { PATIENCE + LOOK_MAX };
            assert!(took <= most, "{name} on {kind} took {took:?}");
            assert!(beside <= LOOK_MAX, "another pool was held up by {name} on {kind}: {beside:?}");
            if kind == "stall" {
                let fault = answer.err();
                let told = fault
                    .as_ref()
                    .is_some_and(|f| matches!(f.code, FaultCode::PoolStalled | FaultCode::DeadlineExceeded));
                assert!(told || matches!(*name, "RetryPool" | "ApplyPool"), "{name}: {fault:?}");
            }
            until("the beat goes on", async || (vdc.beats().len() > beats).then_some(())).await;
            worst.push((kind.to_owned(), took, beside));
            heal(&line, &pool).await;
        }
    }
    for kind in ["stall", "EIO", "ESTALE", "ENOSPC", "slow"] {
        let of = |pick: fn(&(String, Duration, Duration)) -> Duration| {
            worst.iter().filter(|row| row.0 == kind).map(pick).max().unwrap_or_default().as_millis()
        };
        eprintln!("worst | {kind} | {} ms | other pool {} ms", of(|row| row.1), of(|row| row.2));
    }
    daemon.stop().await;
}

/// Asks another pool for a while; the longest it took.
async fn watch_other(line: HostClient) -> Duration {
    let mut worst = Duration::ZERO;
    for _ in 0..5 {
        let began = Instant::now();
        let ask = node::ListFilesRequest { pool_id: other_pool().to_string(), ..Default::default() };
        line.list_files(ask).await.expect("another pool answers");
        worst = worst.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    worst
}
