//! Uploads: bytes on their way from a browser through the vDC to a host, with flat memory.
//!
//! ```text
//!   PATCH from the browser ──at most 4 chunks──▶ PATCH to the host ──▶ its answer: all of it is safe
//!                                     meanwhile, every second: HEAD ──▶ so much is safe
//! ```
//! The offset is the host's: it is asked before the first byte, while bytes flow, and told at the end. One sender at a
//! time per upload; a newer one ends the older, which may hang on a cut line.

use crate::services::{App, lines};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use quantix_client::HostClient;
use quantix_client::host::BulkError;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::id::{ImageId, PoolId};
use quantix_model::image::ImagePhase;
use quantix_model::{Fault, FaultCode};
use quantix_store::{ImageRecord, StoreError, UploadRecord, UploadState};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// How often the host is asked how much is safe while bytes flow.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Chunks between browser and host that may wait in memory.
const CHUNKS_MAX: usize = 4;
/// How long a newer sender waits for the older to let go.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(15);
/// A sender that says nothing for this long is let go; it may come back and resume.
const SILENCE_DEADLINE: Duration = Duration::from_secs(60);

/// Uploads under way.
#[derive(Default)]
pub struct Uploads {
    lanes: Mutex<HashMap<ImageId, Arc<Lane>>>,
}

/// What is shared between the sender of an image and its task.
pub struct Lane {
    received: Mutex<u64>,
    /// Bytes became safe.
    pub moved: Notify,
    sender: Mutex<CancellationToken>,
    turn: tokio::sync::Mutex<()>,
}

impl Lane {
    /// Bytes safe on the host, as it said last.
    pub fn received(&self) -> u64 {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the host's word.
    pub fn note(&self, received: u64) {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = received;
        self.moved.notify_waiters();
    }

    /// Ends the present sender and makes a token for a new one.
    fn succeed(&self) -> CancellationToken {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.cancel();
        *sender = CancellationToken::new();
        sender.clone()
    }
}

impl Uploads {
    /// The lane of an image, made when it is not there.
    pub fn lane(&self, id: ImageId, received: u64) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(id).or_insert_with(|| {
            Arc::new(Lane {
                received: Mutex::new(received),
                moved: Notify::new(),
                sender: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(lane)
    }

    /// Bytes safe on the host, when the upload is under way.
    pub fn received(&self, id: ImageId) -> Option<u64> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(&id).map(|lane| lane.received())
    }

    /// Ends the upload of an image.
    pub fn stop(&self, id: ImageId) {
        let lane = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(lane) = lane {
            lane.succeed().cancel();
            lane.moved.notify_waiters();
        }
    }
}

/// Where an upload stands, as tus wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Safe on the host.
    pub offset: u64,
    /// In all.
    pub length: u64,
}

/// Something whose bytes are sent in: an image or a plain file.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which; hosts keep the bytes of both under one kind of id.
    pub id: ImageId,
    /// Where to.
    pub pool_id: PoolId,
    /// For sentences.
    pub name: String,
    /// In all.
    pub size_bytes: u64,
    /// As kept in the store: for show only.
    pub received_bytes: u64,
    /// Bytes are still awaited; otherwise all came.
    awaited: bool,
    is_image: bool,
}

impl From<&ImageRecord> for Target {
    fn from(image: &ImageRecord) -> Target {
        Target {
            id: image.id,
            pool_id: image.pool_id,
            name: image.name.clone(),
            size_bytes: image.size_bytes,
            received_bytes: image.received_bytes,
            awaited: image.phase == ImagePhase::Uploading,
            is_image: true,
        }
    }
}

impl From<&UploadRecord> for Target {
    fn from(upload: &UploadRecord) -> Target {
        Target {
            id: upload.id,
            pool_id: upload.pool_id,
            name: upload.path.clone(),
            size_bytes: upload.size_bytes,
            received_bytes: upload.received_bytes,
            awaited: upload.state == UploadState::Receiving,
            is_image: false,
        }
    }
}

/// What the bytes of `id` are for. An upload that ended badly answers why: that is what the sender wants to know.
pub async fn target(app: &App, id: ImageId) -> Result<Target, Fault> {
    let ended = |name: &str, fault: Option<Fault>| {
        fault.unwrap_or_else(|| {
            Fault::new(FaultCode::NotFound, format!("The upload of {name} has ended."), "Start a new upload.")
        })
    };
    match app.core.store.image_get(id).await {
        Ok(image) => match image.phase {
            ImagePhase::Uploading | ImagePhase::Verifying | ImagePhase::Ready => Ok(Target::from(&image)),
            ImagePhase::Error | ImagePhase::Deleting => Err(ended(&image.name, image.fault)),
        },
        Err(StoreError::NotFound { .. }) => {
            let upload = app.core.store.upload_get(id).await?;
            match upload.state {
                UploadState::Receiving | UploadState::Finishing | UploadState::Done => {
                    Ok(Target::from(&upload))
                }
                UploadState::Failed => Err(ended(&upload.path, upload.fault)),
            }
        }
        Err(other) => Err(other.into()),
    }
}

/// On which pool an upload is, and whether it is an image's; also when it has ended.
pub async fn place(app: &App, id: ImageId) -> Result<(PoolId, bool), Fault> {
    match app.core.store.image_get(id).await {
        Ok(image) => Ok((image.pool_id, true)),
        Err(StoreError::NotFound { .. }) => Ok((app.core.store.upload_get(id).await?.pool_id, false)),
        Err(other) => Err(other.into()),
    }
}

/// Bytes the host has, opening the upload there when it is not open.
pub async fn host_offset(line: &HostClient, target: &Target) -> Result<u64, Fault> {
    let wish = node::OpenUploadRequest {
        pool_id: target.pool_id.to_string(),
        image_id: target.id.to_string(),
        size_bytes: target.size_bytes,
        ..Default::default()
    };
    Ok(line.open_upload(wish).await?.received_bytes)
}

/// The same, asked by a person.
async fn host_offset_soon(app: &App, target: &Target) -> Result<(HostClient, u64), Fault> {
    let line = lines::to_pool(app, target.pool_id).await?;
    let asked = host_offset(&line, target);
    let offset = lines::soon(app, target.pool_id, line.name(), "the length of an upload", asked).await?;
    Ok((line, offset))
}

/// Keeps how far an upload is. Only for show after a restart: the host's figure is the truth.
async fn keep(app: &App, target: &Target, received: u64) {
    let kept = match target.is_image {
        true => {
            let note = |image: &mut ImageRecord| {
                image.received_bytes = received;
                Ok::<(), StoreError>(())
            };
            app.core.store.image_update(target.id, note).await.map(drop)
        }
        false => {
            let note = |upload: &mut UploadRecord| {
                upload.received_bytes = received;
                Ok::<(), StoreError>(())
            };
            app.core.store.upload_update(target.id, note).await.map(drop)
        }
    };
    if let Err(err) = kept {
        tracing::debug!(%err, "how far an upload is was not kept");
    }
}

/// How many bytes are safe.
pub async fn offset(app: &App, id: ImageId) -> Result<Offset, Fault> {
    let target = target(app, id).await?;
    let length = target.size_bytes;
    if !target.awaited {
        return Ok(Offset { offset: length, length });
    }
    let (_, offset) = host_offset_soon(app, &target).await?;
    app.uploads.lane(id, offset).note(offset);
    Ok(Offset { offset, length })
}

/// Takes bytes from `offset` on; answers how many are safe. Ends well, with what came, when the sender's line breaks.
pub async fn write<S, E>(app: &App, id: ImageId, from: u64, bytes: S) -> Result<Offset, Fault>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::fmt::Display,
{
    let target = target(app, id).await?;
    let length = target.size_bytes;
    let lane = app.uploads.lane(id, target.received_bytes);
    let stop = lane.succeed();
    let turn = tokio::time::timeout(TAKEOVER_DEADLINE, lane.turn.lock()).await;
    let _turn = turn.map_err(|_| busy(&target))?;
    if !target.awaited {
        return if from == length {
            Ok(Offset { offset: length, length })
        } else {
            Err(mismatch(from, length))
        };
    }
    let (line, offset) = host_offset_soon(app, &target).await?;
    lane.note(offset);
    if offset != from {
        return Err(mismatch(from, offset));
    }
    let mut sending = Sending { line: line.clone(), target: &target, offset, sent: 0, bytes, stop };
    let done = tokio::select! {
        done = sending.all() => done,
        never = follow(&line, &target, &lane) => match never {},
    };
    lane.note(sending.offset);
    let done = done.map(|()| Offset { offset: sending.offset, length });
    keep(app, &target, sending.offset).await;
    done
}

fn busy(target: &Target) -> Fault {
    Fault::new(
        FaultCode::Busy,
        format!("Another sender is still at work on {}.", target.name),
        "Try again in a few seconds.",
    )
}

fn mismatch(asked: u64, there: u64) -> Fault {
    Fault::new(
        FaultCode::UploadOffsetMismatch,
        "The bytes do not go on where the host's bytes end.",
        "Ask for the offset (HEAD) and go on from there.",
    )
    .because(format!("{there} bytes are there, the new ones begin at {asked}"))
}

/// Asks the host again and again how much is safe, for those who watch.
async fn follow(line: &HostClient, target: &Target, lane: &Lane) -> Infallible {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        // Without an answer the figure stays as old as it is; whether the line is broken, the sender finds out.
        if let Ok(safe) = line.upload_offset(target.pool_id, target.id).await
            && safe < target.size_bytes
        {
            // That all is safe is said by the answer to the bytes themselves.
            lane.note(safe);
        }
    }
}

/// Why feeding the host came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fed {
    /// The sender is done, or its line broke.
    End,
    /// A newer sender came, or the image goes away.
    Stopped,
    /// The sender gives more than it said.
    TooMuch,
}

struct Sending<'a, S> {
    line: HostClient,
    target: &'a Target,
    /// Safe on the host.
    offset: u64,
    /// Given to the host since.
    sent: u64,
    bytes: S,
    stop: CancellationToken,
}

impl<S, E> Sending<'_, S>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::fmt::Display,
{
    /// Sends what comes until it ends, and takes the host's word for it.
    async fn all(&mut self) -> Result<(), Fault> {
        let (pool, id, offset) = (self.target.pool_id, self.target.id, self.offset);
        let (feed, chunks) = mpsc::channel(CHUNKS_MAX);
        let line = self.line.clone();
        let call = line.upload_bytes(pool, id, offset, ReceiverStream::new(chunks));
        tokio::pin!(call);
        let (fed, told) = tokio::select! {
            fed = self.feed(feed) => (fed, call.await),
            // It closed before the end; its answer says why.
            told = &mut call => (Fed::End, told),
        };
        let told = told?;
        self.offset = told;
        if told != offset + self.sent {
            return Err(mismatch(offset + self.sent, told));
        }
        match fed {
            Fed::End => Ok(()),
            Fed::Stopped => Err(busy(self.target)),
            Fed::TooMuch => Err(Fault::new(
                FaultCode::TooLarge,
                format!("More bytes came than the {} that were declared.", self.target.size_bytes),
                "The file changed meanwhile: upload it again.",
            )),
        }
    }

    /// The next chunk; `None` when the sender is done, its line broke, or it must stop.
    async fn next(&mut self) -> Option<Bytes> {
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(SILENCE_DEADLINE, self.bytes.next()) => chunk.ok().flatten(),
            () = self.stop.cancelled() => None,
        };
        match chunk {
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(err)) => {
                tracing::debug!(%err, "the sender's line broke");
                None
            }
            None => None,
        }
    }

    async fn feed(&mut self, feed: mpsc::Sender<Result<Bytes, BulkError>>) -> Fed {
        loop {
            let Some(chunk) = self.next().await else {
                return if self.stop.is_cancelled() { Fed::Stopped } else { Fed::End };
            };
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if self.offset + self.sent + length > self.target.size_bytes {
                return Fed::TooMuch;
            }
            if feed.send(Ok(chunk)).await.is_err() {
                // The host closed; its answer says why.
                return Fed::End;
            }
            self.sent += length;
        }
    }
}
