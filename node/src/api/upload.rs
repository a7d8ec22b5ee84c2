//! Images coming in: opened and finished by RPC, their bytes by HTTP, piece by piece into the pool's worker.
//!
//! ```text
//!   PATCH body ──frames──▶ piece (≤ 1 MiB) ──▶ worker writes, answers ──▶ next piece
//! ```
//! One piece is in memory at a time and the next is read only when the worker has written the last: a slow disk
//! slows the sender. Before the answer everything is synced, so an offset that was told is safe.

use super::Shared;
use super::rest::{Refusal, Who};
use crate::daemon::Daemon;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use quantix_client::host::UPLOAD_OFFSET;
use quantix_contract::quantix::node::v1 as wire;
use quantix_model::id::{ImageId, PoolId};
use quantix_model::{Fault, FaultCode};
use quantix_storage::worker::PoolWorker;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What goes to the worker at once.
const PIECE_BYTES: usize = 1 << 20;
/// A sender that is silent for so long is given up; it may go on from the offset later.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Uploads whose bytes are coming in right now.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<BTreeSet<(PoolId, ImageId)>>>);

/// The right to write to one upload.
struct Turn {
    running: Running,
    key: (PoolId, ImageId),
}

impl Running {
    fn enter(&self, key: (PoolId, ImageId)) -> Result<Turn, Fault> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.insert(key) {
            return Err(Fault::new(
                FaultCode::Busy,
                "Bytes of this upload are coming in already.",
                "Wait a moment, ask for the offset again, and go on from there.",
            ));
        }
        Ok(Turn { running: self.clone(), key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn offset_answer(status: StatusCode, offset: u64) -> Response {
    (status, [(UPLOAD_OFFSET, offset.to_string()), ("cache-control", "no-store".to_owned())]).into_response()
}

fn ids(path: (String, String)) -> Result<(PoolId, ImageId), Fault> {
    Ok((path.0.parse()?, path.1.parse()?))
}

pub async fn head(
    State(shared): State<Shared>,
    Who(caller): Who,
    Path(path): Path<(String, String)>,
) -> Result<Response, Refusal> {
    shared.daemon.gate(Some(&caller))?;
    let (pool, image) = ids(path)?;
    let worker = shared.daemon.pools.worker(pool)?;
    let offset = shared.daemon.pools.noting(pool, worker.upload_sync(image).await)?;
    Ok(offset_answer(StatusCode::OK, offset))
}

pub async fn patch(
    State(shared): State<Shared>,
    Who(caller): Who,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    shared.daemon.gate(Some(&caller))?;
    let (pool, image) = ids(path)?;
    let from = headers.get(UPLOAD_OFFSET).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let from = from.ok_or_else(|| {
        Fault::invalid("Upload-Offset", "The upload's offset is missing.", "Send where the bytes begin.")
    })?;
    let _turn = shared.uploads.enter((pool, image))?;
    let worker = shared.daemon.pools.worker(pool)?;
    let written = receive(&worker, image, from, body.into_data_stream()).await;
    // Whatever broke off, what came is kept and made durable.
    let synced = worker.upload_sync(image).await;
    shared.daemon.pools.noting(pool, written)?;
    let offset = shared.daemon.pools.noting(pool, synced)?;
    Ok(offset_answer(StatusCode::NO_CONTENT, offset))
}

async fn receive(
    worker: &PoolWorker,
    image: ImageId,
    from: u64,
    mut body: BodyDataStream,
) -> Result<u64, Fault> {
    let mut offset = from;
    let mut piece = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(SILENCE_MAX, body.next()).await {
            Ok(Some(Ok(frame))) => Some(frame),
            Ok(None) => None,
            Ok(Some(Err(err))) => {
                flush(worker, image, &mut offset, &mut piece).await?;
                return Err(broken_off(err.to_string()));
            }
            Err(_) => {
                flush(worker, image, &mut offset, &mut piece).await?;
                return Err(broken_off(format!("nothing came for {} s", SILENCE_MAX.as_secs())));
            }
        };
        let Some(mut frame) = frame else {
            // Also for an empty body: the offset is checked.
            return write(worker, image, offset, piece.freeze()).await;
        };
        while piece.len() + frame.len() >= PIECE_BYTES {
            piece.extend_from_slice(&frame.split_to(PIECE_BYTES - piece.len()));
            flush(worker, image, &mut offset, &mut piece).await?;
        }
        piece.extend_from_slice(&frame);
    }
}

async fn flush(
    worker: &PoolWorker,
    image: ImageId,
    offset: &mut u64,
    piece: &mut BytesMut,
) -> Result<(), Fault> {
    if !piece.is_empty() {
        *offset = write(worker, image, *offset, piece.split().freeze()).await?;
    }
    Ok(())
}

async fn write(worker: &PoolWorker, image: ImageId, offset: u64, piece: Bytes) -> Result<u64, Fault> {
    worker.upload_write(image, offset, piece).await
}

fn broken_off(cause: String) -> Fault {
    Fault::new(
        FaultCode::UploadIncomplete,
        "The upload broke off; what came is kept.",
        "Ask for the offset and go on from there.",
    )
    .because(cause)
}

pub async fn open(daemon: &Daemon, request: wire::OpenUploadRequest) -> Result<wire::UploadReport, Fault> {
    let (pool, image) = ids((request.pool_id, request.image_id))?;
    if request.size_bytes == 0 {
        return Err(Fault::invalid(
            "size_bytes",
            "An image cannot be empty.",
            "Say how many bytes will come.",
        ));
    }
    let worker = daemon.pools.worker(pool)?;
    let received_bytes = daemon.pools.noting(pool, worker.upload_open(image, request.size_bytes).await)?;
    Ok(wire::UploadReport { received_bytes, ..Default::default() })
}

pub async fn finish(daemon: &Daemon, request: wire::FinishUploadRequest) -> Result<wire::ImageReport, Fault> {
    let (pool, image) = ids((request.pool_id, request.image_id))?;
    let sha256 = (!request.sha256.is_empty()).then_some(request.sha256);
    let worker = daemon.pools.worker(pool)?;
    let finished = worker.upload_finish(image, request.size_bytes, sha256, None).await;
    let facts = daemon.pools.noting(pool, finished)?;
    daemon.pools.look_again(pool);
    Ok(wire::ImageReport::from(&facts))
}

pub async fn delete(
    daemon: &Daemon,
    request: wire::DeleteImageRequest,
) -> Result<wire::DeleteImageResponse, Fault> {
    let (pool, image) = ids((request.pool_id, request.image_id))?;
    let worker = daemon.pools.worker(pool)?;
    let existed = daemon.pools.noting(pool, worker.image_delete(image).await)?;
    daemon.pools.look_again(pool);
    Ok(wire::DeleteImageResponse { existed, ..Default::default() })
}
