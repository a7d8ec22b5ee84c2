//! The daemon's side: a handle that never hangs. The state behind it is owned by the task in `owner`.

use crate::backend::{
    Attachment, FileDetails, FilePage, FileQuery, LettingGo, PoolInfo, PoolSetup, Progress, SnapshotInfo,
    VolumeInfo, VolumeWish,
};
use crate::error::Result;
use crate::worker::frame::BODY_BYTES_MAX;
use crate::worker::launch::PoolLauncher;
use crate::worker::message::{Answer, Call};
use crate::worker::owner::{Command, Job, Owner};
use bytes::Bytes;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::time::UnixMs;
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How patient the daemon is with a worker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls that may wait per lane; more are refused as busy.
    pub waiting_max: usize,
    /// From start to the answer to the hello.
    pub start: Duration,
    /// Workers left in the kernel; when there are so many, no new one is started until one is gone.
    pub abandoned_max: u32,
    /// First pause before a new try; doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// See `backoff_min`.
    pub backoff_max: Duration,
    /// Shortens every call's patience to this; for tests.
    pub patience_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            waiting_max: 64,
            start: Duration::from_secs(10),
            abandoned_max: 3,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            patience_max: Duration::MAX,
        }
    }
}

/// Where a worker stands.
///
/// ```text
///   Starting ──▶ Ready ──▶ Stalled ──▶ Ready …
///       └──────────┴─────▶ Failed  ──▶ Ready …
/// ```
/// While Starting, calls wait; while Stalled or Failed they are refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// First start, not answered yet.
    Starting,
    /// Serves.
    Ready,
    /// Missed a deadline; new ones are tried.
    Stalled,
    /// Said why it cannot serve, or ended; new ones are tried.
    Failed,
}

/// A worker seen from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerStatus {
    /// Where it stands.
    pub state: WorkerState,
    /// In this state since then.
    pub since: UnixMs,
    /// Why it is not Ready.
    pub fault: Option<Fault>,
    /// Workers killed that the kernel has not let go.
    pub abandoned: u32,
    /// Worker's process id; 0 while there is none.
    pub worker_id: u32,
}

/// A handle to the worker of one pool; cheap to clone. When the last one is dropped, the worker ends.
#[derive(Clone)]
pub struct PoolWorker {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<WorkerStatus>,
    observer: Option<Observer>,
}

/// Hears of every call that has ended: its kind, how it ended, how long it took, the wait for its turn included.
pub type Observer = Arc<dyn Fn(&'static str, std::result::Result<(), FaultCode>, Duration) + Send + Sync>;

impl std::fmt::Debug for PoolWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolWorker").field("status", &*self.status.borrow()).finish()
    }
}

macro_rules! expect_answer {
    ($self:ident, $call:expr, $variant:ident) => {
        expect_answer!($self, $call, Bytes::new(), None, $variant)
    };
    ($self:ident, $call:expr, $body:expr, $progress:expr, $variant:ident) => {
        match $self.call($call, $body, $progress).await? {
            Answer::$variant(value) => Ok(value),
            other => Err(Fault::internal(format!("the pool worker answered {other:?}"))),
        }
    };
}

impl PoolWorker {
    /// Starts a worker and the task that owns it. Answers at once; look at [`PoolWorker::status`]. Needs a tokio runtime.
    pub fn start(setup: PoolSetup, launcher: Arc<dyn PoolLauncher>, limits: Limits) -> PoolWorker {
        let (commands, inbox) = mpsc::channel(2 * limits.waiting_max);
        let (status, watched) = watch::channel(WorkerStatus {
            state: WorkerState::Starting,
            since: crate::worker::owner::now(),
            fault: None,
            abandoned: 0,
            worker_id: 0,
        });
        tokio::spawn(Owner::new(setup, launcher, limits, inbox, status).run());
        PoolWorker { commands, status: watched, observer: None }
    }

    /// The same worker, whose calls through this handle and its clones are told to `observer`.
    #[must_use]
    pub fn observed(self, observer: Option<Observer>) -> PoolWorker {
        PoolWorker { observer, ..self }
    }

    /// How the worker is, now.
    pub fn status(&self) -> WorkerStatus {
        self.status.borrow().clone()
    }

    /// Tells of every change of [`PoolWorker::status`].
    pub fn watch(&self) -> watch::Receiver<WorkerStatus> {
        self.status.clone()
    }

    /// Tries a new worker now instead of after the back-off.
    pub fn retry(&self) {
        // A full queue has enough to do; the back-off brings the next try anyway.
        let _ = self.commands.try_send(Command::Retry);
    }

    /// Ends the worker. Calls under way are refused. Answers when the worker is gone, or abandoned after 2 s.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            // An owner that is gone has stopped.
            let _ = ended.await;
        }
    }

    /// Looks (statfs, write probe) and tells.
    pub async fn info(&self) -> Result<PoolInfo> {
        expect_answer!(self, Call::Info, Info)
    }

    /// Looks for what changed outside: a disk that became larger, paths that were missing.
    pub async fn refresh(&self, take_in: bool) -> Result<()> {
        self.done(Call::Refresh { take_in }, None).await
    }

    /// Makes a volume. `progress` moves while an image is copied.
    pub async fn volume_create(
        &self,
        wish: VolumeWish,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<VolumeInfo> {
        expect_answer!(self, Call::VolumeCreate { wish }, Bytes::new(), progress, Volume)
    }

    /// Removes a volume; `false` when it was not there.
    pub async fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        expect_answer!(self, Call::VolumeDelete { id }, Existed)
    }

    /// All volumes of ours in the pool.
    pub async fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        expect_answer!(self, Call::VolumeList, Volumes)
    }

    /// Where a VM finds the volume.
    pub async fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        expect_answer!(self, Call::VolumeAttach { id }, Attachment)
    }

    /// Lets go of the pool; its bytes stay. Stop the worker after it.
    pub async fn destroy(&self, how: LettingGo) -> Result<()> {
        self.done(Call::Destroy { how }, None).await
    }

    /// The VM that had the volume is off.
    pub async fn volume_detach(&self, id: VolumeId) -> Result<()> {
        self.done(Call::VolumeDetach { id }, None).await
    }

    /// Grows a volume no VM of this host has open.
    pub async fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        expect_answer!(self, Call::VolumeGrow { id, size_bytes }, Volume)
    }

    /// Makes a linked clone independent; no VM has it open.
    pub async fn volume_flatten(
        &self,
        id: VolumeId,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<VolumeInfo> {
        expect_answer!(self, Call::VolumeFlatten { id }, Bytes::new(), progress, Volume)
    }

    /// Keeps a volume as it is now.
    pub async fn snapshot_create(&self, id: VolumeId, name: String) -> Result<SnapshotInfo> {
        expect_answer!(self, Call::SnapshotCreate { id, name }, Snapshot)
    }

    /// A volume's snapshots, oldest first.
    pub async fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        expect_answer!(self, Call::SnapshotList { id }, Snapshots)
    }

    /// Throws away what was written since a snapshot.
    pub async fn snapshot_revert(&self, id: VolumeId, name: String) -> Result<()> {
        self.done(Call::SnapshotRevert { id, name }, None).await
    }

    /// Forgets a snapshot; `false` when it was not there.
    pub async fn snapshot_delete(&self, id: VolumeId, name: String) -> Result<bool> {
        expect_answer!(self, Call::SnapshotDelete { id, name }, Existed)
    }

    /// Looks at one file closely.
    pub async fn file_details(&self, path: String) -> Result<FileDetails> {
        expect_answer!(self, Call::FileDetails { path }, File)
    }

    /// Up to `limit` bytes (1 MiB at most) of a file; fewer only at its end.
    pub async fn file_read(&self, path: String, offset: u64, limit: usize) -> Result<Bytes> {
        expect_answer!(self, Call::FileRead { path, offset, limit }, Bytes)
    }

    /// Makes a folder.
    pub async fn file_make_folder(&self, path: String) -> Result<()> {
        self.done(Call::FileMakeFolder { path }, None).await
    }

    /// Renames or moves within the pool.
    pub async fn file_rename(&self, from: String, to: String) -> Result<()> {
        self.done(Call::FileRename { from, to }, None).await
    }

    /// Copies a file within the pool.
    pub async fn file_copy(
        &self,
        from: String,
        to: String,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<()> {
        self.done(Call::FileCopy { from, to }, progress).await
    }

    /// Removes a file or a folder with all in it; `false` when it was not there.
    pub async fn file_remove(&self, path: String, progress: Option<watch::Sender<Progress>>) -> Result<bool> {
        expect_answer!(self, Call::FileRemove { path }, Bytes::new(), progress, Existed)
    }

    /// Makes a finished upload a file of that path.
    pub async fn upload_keep(
        &self,
        id: ImageId,
        path: String,
        size_bytes: u64,
        sha256: Option<String>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<()> {
        self.done(Call::UploadKeep { id, path, size_bytes, sha256 }, progress).await
    }

    async fn done(&self, call: Call, progress: Option<watch::Sender<Progress>>) -> Result<()> {
        match self.call(call, Bytes::new(), progress).await? {
            Answer::Done => Ok(()),
            other => Err(Fault::internal(format!("the pool worker answered {other:?}"))),
        }
    }

    /// One page of a folder.
    pub async fn file_list(&self, query: FileQuery) -> Result<FilePage> {
        expect_answer!(self, Call::FileList { query }, Files)
    }

    /// Opens or reopens an upload; answers the bytes safely there.
    pub async fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64> {
        expect_answer!(self, Call::UploadOpen { id, size_bytes }, Length)
    }

    /// Appends up to 1 MiB at `offset`; answers the new length.
    pub async fn upload_write(&self, id: ImageId, offset: u64, bytes: Bytes) -> Result<u64> {
        self.upload_write_pieces(id, offset, vec![bytes]).await
    }

    /// As [`PoolWorker::upload_write`], with bytes that came in several pieces. A few of these may be under way at
    /// once: they are done in the order in which they were first polled, and none is done after one that failed.
    pub async fn upload_write_pieces(&self, id: ImageId, offset: u64, pieces: Vec<Bytes>) -> Result<u64> {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if length > BODY_BYTES_MAX {
            return Err(Fault::new(
                FaultCode::TooLarge,
                format!("A piece of {length} bytes is too large."),
                format!("Send at most {BODY_BYTES_MAX} bytes at a time."),
            ));
        }
        match self.call_with(Call::UploadWrite { id, offset }, pieces, None).await? {
            Answer::Length(length) => Ok(length),
            other => Err(Fault::internal(format!("the pool worker answered {other:?}"))),
        }
    }

    /// Makes what was written durable.
    pub async fn upload_sync(&self, id: ImageId) -> Result<u64> {
        expect_answer!(self, Call::UploadSync { id }, Length)
    }

    /// Checks size, checksum (64 lower-case hex digits) and content, then makes the image visible.
    pub async fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<String>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<ImageFacts> {
        let call = Call::UploadFinish { id, size_bytes, sha256 };
        expect_answer!(self, call, Bytes::new(), progress, Image)
    }

    /// Removes an upload or an image; `false` when there was neither.
    pub async fn image_delete(&self, id: ImageId) -> Result<bool> {
        expect_answer!(self, Call::ImageDelete { id }, Existed)
    }

    /// Where a VM finds a finished image.
    pub async fn image_attach(&self, id: ImageId) -> Result<Attachment> {
        expect_answer!(self, Call::ImageAttach { id }, Attachment)
    }

    async fn call(
        &self,
        call: Call,
        body: Bytes,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Answer> {
        self.call_with(call, if body.is_empty() { Vec::new() } else { vec![body] }, progress).await
    }

    async fn call_with(
        &self,
        call: Call,
        body: Vec<Bytes>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Answer> {
        let (kind, began) = (call.kind(), std::time::Instant::now());
        let done = self.ask(call, body, progress).await;
        if let Some(observer) = &self.observer {
            observer(kind, done.as_ref().map(drop).map_err(|fault| fault.code), began.elapsed());
        }
        done
    }

    async fn ask(
        &self,
        call: Call,
        body: Vec<Bytes>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        let job = Job { call, body, progress, answer };
        self.commands.try_send(Command::Call(job)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => queue_full(),
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Refuses a call when too many wait.
pub(crate) fn queue_full() -> Fault {
    Fault::new(
        FaultCode::Busy,
        "Too many requests wait for this pool.",
        "Wait a moment; if it stays so, look at the disk behind the pool.",
    )
}

/// Refuses a call when the pool was taken away.
pub(crate) fn stopped() -> Fault {
    Fault::new(
        FaultCode::PoolNotReady,
        "The pool is no longer served on this host.",
        "Assign the pool to this host again.",
    )
}
