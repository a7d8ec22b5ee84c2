//! A worker that was launched and answered the hello: its process, a reader and a writer on its socket, and one who
//! listens to what it says beside that. The owner holds it; dropping it kills the worker.

use crate::backend::{LettingGo, PoolSetup};
use crate::worker::frame;
use crate::worker::launch::{Launched, PoolLauncher, WorkerProcess};
use crate::worker::message::{Answer, Hello, Lane, Reply, Said};
use crate::worker::words::{self, LastWords};
use bytes::Bytes;
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode};
use rustix::net::sockopt::set_socket_send_buffer_size;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Pieces of uploads that may be on their way at once.
pub(super) const STREAM_WINDOW: usize = 4;
/// Frames that may lie before the writer: each lane's, and the hello.
const FRAMES_MAX: usize = Lane::ALL.len() + STREAM_WINDOW;
/// What the kernel keeps of a worker's socket: enough for a piece, so that its sender is not woken for every page.
const SOCKET_BYTES: usize = 1 << 20;
/// A worker that closed its socket is gone within this; how it ended is not waited for any longer.
const END_GRACE: Duration = Duration::from_millis(200);
/// How often a worker that is ending is looked after.
pub(super) const GONE_INTERVAL: Duration = Duration::from_millis(5);

/// A frame on its way to the worker: its head, then its body in pieces.
pub(super) type Frame = (Vec<u8>, Vec<Bytes>);

/// What a worker is launched for.
#[derive(Clone, Copy)]
pub(super) enum Task {
    Serve,
    LetGo(LettingGo),
    Explore,
}

/// Why there is no worker now.
pub(super) enum Down {
    /// It missed a deadline while doing this.
    Stalled { what: String, silent: Duration, process: Option<Box<dyn WorkerProcess>> },
    /// It said why, or ended.
    Failed(Fault),
    /// Nobody wants it any more.
    Stopped(Option<oneshot::Sender<()>>),
}

/// See the module.
pub(super) struct Link {
    pub(super) process: Box<dyn WorkerProcess>,
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) replies: mpsc::Receiver<Reply>,
    last_words: LastWords,
    /// Reader and writer; they end with the link.
    pub(super) tasks: JoinSet<()>,
}

impl Link {
    /// Launches a worker, says hello, waits for its answer.
    pub(super) async fn open(
        setup: PoolSetup,
        launcher: Arc<dyn PoolLauncher>,
        patience: Duration,
        task: Task,
    ) -> Result<(Link, Answer), Down> {
        let end = Instant::now() + patience;
        let stalled =
            |process| Down::Stalled { what: "starting the pool".to_owned(), silent: patience, process };
        let to_launch = setup.clone();
        let launch = tokio::task::spawn_blocking(move || launcher.launch(&to_launch));
        let launched = match tokio::time::timeout_at(end, launch).await {
            Ok(Ok(launched)) => launched.map_err(Down::Failed)?,
            Ok(Err(panic)) => return Err(Down::Failed(Fault::internal(panic))),
            Err(_) => return Err(stalled(None)),
        };
        let mut link = attach(setup.id, launched).map_err(|e| Down::Failed(Fault::internal(e)))?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (let_go, explore) = match task {
            Task::Serve => (None, false),
            Task::LetGo(how) => (Some(how), false),
            Task::Explore => (None, true),
        };
        let hello = Hello { version, setup, let_go, explore };
        let head = frame::encode(&hello, 0).map_err(Down::Failed)?;
        link.frames.try_send((head, Vec::new())).map_err(|_| Down::Failed(ended()))?;
        match tokio::time::timeout_at(end, link.replies.recv()).await {
            Ok(Some(Reply { number: 0, said: Said::Done(answer) })) => Ok((link, answer)),
            Ok(Some(Reply { number: 0, said: Said::Failed(fault) })) => Err(Down::Failed(*fault)),
            Ok(Some(other)) => {
                Err(Down::Failed(Fault::internal(format!("the pool worker began with {other:?}"))))
            }
            Ok(None) => Err(Down::Failed(link.why_ended().await)),
            Err(_) => Err(stalled(Some(link.process))),
        }
    }

    /// Why a worker ended that closed its socket.
    pub(super) async fn why_ended(&mut self) -> Fault {
        let end = Instant::now() + END_GRACE;
        while !self.process.is_gone() && Instant::now() < end {
            tokio::time::sleep(GONE_INTERVAL).await;
        }
        // What it wrote last may still be on its way to the one who listens.
        tokio::time::sleep(GONE_INTERVAL).await;
        ended().because(self.last_words.after(&self.process.ended_how()))
    }
}

/// A worker that ended without a word about it.
pub(super) fn ended() -> Fault {
    Fault::new(
        FaultCode::PoolNotReady,
        "The pool's worker process ended unexpectedly.",
        "It is started again by itself; try again in a moment.",
    )
}

/// Puts a reader and a writer on the socket, so that neither can hold up the owner.
fn attach(pool: PoolId, launched: Launched) -> std::io::Result<Link> {
    let Launched { stream, process, stderr } = launched;
    let last_words = LastWords::default();
    if let Some(stderr) = stderr {
        // Not one of the link's tasks: a worker that is abandoned, or on its way out, still has something to say.
        let follow = words::follow(pool, stderr, last_words.clone());
        tokio::spawn(async move {
            if let Err(err) = follow.await {
                tracing::warn!(%pool, %err, "what the pool's worker writes is not heard any more");
            }
        });
    }
    stream.set_nonblocking(true)?;
    // A kernel that gives less still works.
    if let Err(err) = set_socket_send_buffer_size(&stream, SOCKET_BYTES) {
        tracing::debug!(%err, "the worker's socket keeps its size");
    }
    let (mut source, mut sink) = UnixStream::from_std(stream)?.into_split();
    let (frames, mut outbox) = mpsc::channel::<Frame>(FRAMES_MAX);
    let (heard, replies) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some((head, body)) = outbox.recv().await {
            if frame::write_pieces(&mut sink, &head, &body).await.is_err() {
                // The reader sees the end too and tells the owner.
                return;
            }
        }
    });
    tasks.spawn(async move {
        while let Ok(Some((mut reply, body))) = frame::read_async::<Reply>(&mut source).await {
            if let Said::Done(Answer::Bytes(bytes)) = &mut reply.said {
                *bytes = body;
            }
            if heard.send(reply).await.is_err() {
                return;
            }
        }
    });
    Ok(Link { process, frames, replies, last_words, tasks })
}
