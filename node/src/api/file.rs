//! RPC about files of a pool: looking closer, changing, and keeping what was sent in. Bytes go out in `download`.

use super::pool::{self, PATH_BYTES_MAX};
use crate::clock;
use crate::daemon::Daemon;
use crate::pool::Pools;
use futures::{Stream, StreamExt as _};
use quantix_contract::quantix::file::v1 as file;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::time;
use quantix_model::Fault;
use quantix_model::id::{ImageId, PoolId};
use quantix_storage::backend::{FileDetails, Progress};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

/// What long work tells: progress any number of times; an error is the last thing said.
pub type Told = Pin<Box<dyn Stream<Item = Result<wire::Progress, Fault>> + Send>>;

/// A path beneath the pool root, as far as it can be judged here; the worker judges the rest.
pub fn path(field: &str, path: &str) -> Result<String, Fault> {
    if path.len() > PATH_BYTES_MAX {
        return Err(Fault::invalid(field, "The path is too long.", "Use 4096 bytes at most."));
    }
    if path.trim_matches('/').is_empty() {
        return Err(Fault::invalid(
            field,
            "The path is missing: the pool's own folder cannot be meant.",
            "Say which file or folder in the pool.",
        ));
    }
    Ok(path.to_owned())
}

pub async fn get(daemon: &Daemon, request: file::GetFileRequest) -> Result<file::FileDetails, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    details(daemon, pool, path("path", &request.path)?).await
}

pub async fn make_folder(
    daemon: &Daemon,
    request: file::MakeFolderRequest,
) -> Result<file::FileDetails, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let path = path("path", &request.path)?;
    let worker = daemon.pools.worker(pool)?;
    let made = async {
        worker.file_make_folder(path.clone()).await?;
        worker.file_details(path.clone()).await
    };
    let found = daemon.pools.prompt_change(pool, made).await?;
    Ok(report(daemon, path, found))
}

pub async fn rename(daemon: &Daemon, request: file::MoveFileRequest) -> Result<file::FileDetails, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let (from, to) = (path("from_path", &request.from_path)?, path("to_path", &request.to_path)?);
    let worker = daemon.pools.worker(pool)?;
    let moved = async {
        worker.file_rename(from, to.clone()).await?;
        worker.file_details(to.clone()).await
    };
    let found = daemon.pools.prompt_change(pool, moved).await?;
    Ok(report(daemon, to, found))
}

pub fn copy(daemon: &Daemon, request: file::CopyFileRequest) -> Result<Told, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let (from, to) = (path("from_path", &request.from_path)?, path("to_path", &request.to_path)?);
    let worker = daemon.pools.worker(pool)?;
    Ok(telling(Arc::clone(&daemon.pools), pool, move |tell| async move {
        worker.file_copy(from, to, Some(tell)).await
    }))
}

pub fn delete(daemon: &Daemon, request: file::DeleteFileRequest) -> Result<Told, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let path = path("path", &request.path)?;
    let worker = daemon.pools.worker(pool)?;
    Ok(telling(Arc::clone(&daemon.pools), pool, move |tell| async move {
        worker.file_remove(path, Some(tell)).await.map(drop)
    }))
}

pub async fn finish(daemon: &Daemon, request: wire::FinishFileRequest) -> Result<file::FileDetails, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    let id: ImageId = request.upload_id.parse()?;
    let path = path("path", &request.path)?;
    let sha256 = (!request.sha256.is_empty()).then_some(request.sha256);
    let worker = daemon.pools.worker(pool)?;
    let kept = worker.upload_keep(id, path.clone(), request.size_bytes, sha256, None).await;
    daemon.pools.noting(pool, kept)?;
    daemon.pools.look_again(pool);
    details(daemon, pool, path).await
}

async fn details(daemon: &Daemon, pool: PoolId, path: String) -> Result<file::FileDetails, Fault> {
    let worker = daemon.pools.worker(pool)?;
    let found = daemon.pools.promptly(pool, worker.file_details(path.clone())).await?;
    Ok(report(daemon, path, found))
}

fn report(daemon: &Daemon, path: String, found: FileDetails) -> file::FileDetails {
    file::FileDetails {
        file: pool::file(&found.entry).into(),
        path,
        virtual_size_bytes: found.virtual_size_bytes,
        backing_chain: found.backing_chain,
        snapshots: found.snapshots,
        host: daemon.name(),
        observed_at: time::to_proto(clock::now()).into(),
        ..Default::default()
    }
}

/// Long work with its progress. The work goes on when nobody listens any more: what was begun is ended.
pub(super) fn telling<F>(
    pools: Arc<Pools>,
    pool: PoolId,
    work: impl FnOnce(watch::Sender<Progress>) -> F + Send + 'static,
) -> Told
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let (tell, told) = watch::channel(Progress::default());
    let work = tokio::spawn(async move {
        let done = pools.noting(pool, work(tell).await);
        pools.look_again(pool);
        done
    });
    let end = async move { work.await.unwrap_or_else(|err| Err(Fault::internal(err))).err().map(Err) };
    let progress = WatchStream::from_changes(told).map(|progress| {
        Ok(wire::Progress {
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
            ..Default::default()
        })
    });
    // The progress ends when the work lets go of its sender, just before it ends itself.
    Box::pin(progress.chain(futures::stream::once(end).filter_map(std::future::ready)))
}
