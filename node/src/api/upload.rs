//! Images coming in: opened and finished by RPC, their bytes by HTTP, piece by piece into the pool's worker.
//!
//! ```text
//!   PATCH body ──frames──▶ piece (≤ 512 KiB) ──at most 4──▶ worker writes, answers
//!   HEAD ────────────────────────────────────────────────▶ worker syncs, answers
//! ```
//! A few pieces are in memory at a time and more is read only when the worker has written one: a slow disk slows the
//! sender. Before an answer everything is synced, so an offset that was told is safe.

use super::Shared;
use super::rest::{Refusal, Who};
use crate::daemon::Daemon;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use http::{HeaderMap, StatusCode};
use quantix_client::host::UPLOAD_OFFSET;
use quantix_contract::quantix::node::v1 as wire;
use quantix_model::id::{ImageId, PoolId};
use quantix_model::{Fault, FaultCode};
use quantix_storage::worker::PoolWorker;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What goes to the worker at once.
const PIECE_BYTES: usize = 512 << 10;
/// Pieces on their way to the worker at once.
const WRITES_MAX: usize = 4;
/// A sender that is silent for so long is given up; it may go on from the offset later. Longer than the vDC's own
/// patience, which ends an upload in good order.
const SILENCE_MAX: Duration = Duration::from_secs(75);

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
    let mut pieces = Pieces { offset: from, ..Pieces::default() };
    let mut writes = FuturesOrdered::new();
    let end = loop {
        tokio::select! {
            biased;
            Some(wrote) = writes.next() => {
                let _: u64 = wrote?;
            }
            frame = tokio::time::timeout(SILENCE_MAX, body.next()), if writes.len() < WRITES_MAX => match frame {
                Ok(Some(Ok(frame))) => pieces.add(frame),
                Ok(None) => break None,
                Ok(Some(Err(err))) => break Some(err.to_string()),
                Err(_) => break Some(format!("nothing came for {} s", SILENCE_MAX.as_secs())),
            },
        }
        while pieces.is_due(writes.is_empty()) && writes.len() < WRITES_MAX {
            writes.push_back(pieces.write(worker, image));
        }
    };
    // Also when nothing came at all: the offset is checked.
    while pieces.bytes > 0 || pieces.offset == from && writes.is_empty() {
        writes.push_back(pieces.write(worker, image));
    }
    while let Some(wrote) = writes.next().await {
        wrote?;
    }
    end.map_or(Ok(pieces.offset), |cause| Err(broken_off(cause)))
}

/// What came and is not yet on its way to the worker.
#[derive(Default)]
struct Pieces {
    /// Where the next write begins.
    offset: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    fn add(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Enough for a write, or something for a worker with nothing to do.
    fn is_due(&self, idle: bool) -> bool {
        self.bytes >= PIECE_BYTES || idle && self.bytes > 0
    }

    /// Writes as much as fits into one call.
    fn write(
        &mut self,
        worker: &PoolWorker,
        image: ImageId,
    ) -> impl Future<Output = Result<u64, Fault>> + use<> {
        let (offset, mut piece, mut room) = (self.offset, Vec::with_capacity(self.frames.len()), PIECE_BYTES);
        while let Some(mut frame) = self.frames.pop_front() {
            if frame.len() > room {
                let part = frame.split_to(room);
                self.frames.push_front(frame);
                frame = part;
            }
            room -= frame.len();
            piece.push(frame);
            if room == 0 {
                break;
            }
        }
        let length = PIECE_BYTES - room;
        self.bytes -= length;
        self.offset += length as u64;
        let worker = worker.clone();
        async move { worker.upload_write_pieces(image, offset, piece).await }
    }
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
