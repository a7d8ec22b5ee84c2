//! The worker's side: reads calls, does them on a thread per lane, answers.

use crate::backend::{Backend, FileAccess, Images, PoolSetup, Progress, Snapshots};
use crate::ceph::CephPool;
use crate::disk::DiskPool;
use crate::error::{self, Result};
use crate::iscsi::IscsiPool;
use crate::local::LocalPool;
use crate::nfs::NfsPool;
use crate::worker::frame;
use crate::worker::message::{Answer, Call, Hello, Lane, Reply, Request, Said};
use bytes::Bytes;
use quantix_model::pool::PoolSpec;
use quantix_model::{Fault, FaultCode};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Progress is told this often at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Address space of a worker and of the programs it runs: a hostile image must not take the host's memory.
const ADDRESS_SPACE_BYTES_MAX: u64 = 4 << 30;

/// Opens the backend a setup asks for.
pub fn open(setup: &PoolSetup) -> Result<Box<dyn Backend>> {
    setup.spec.check()?;
    match &setup.spec {
        PoolSpec::Local { file_system_uuid, .. } if file_system_uuid.is_empty() => {
            Ok(Box::new(LocalPool::new(setup)?))
        }
        PoolSpec::Local { .. } => Ok(Box::new(DiskPool::new(setup)?)),
        PoolSpec::Nfs(_) => Ok(Box::new(NfsPool::new(setup)?)),
        PoolSpec::Iscsi(_) => Ok(Box::new(IscsiPool::new(setup)?)),
        PoolSpec::Ceph(_) => Ok(Box::new(CephPool::new(setup)?)),
    }
}

/// All of `quantix-node pool-worker`: serves the pool it is told of over `socket`, until that closes.
pub fn main(socket: OwnedFd) -> ExitCode {
    main_with(socket, open)
}

/// As [`main`], with a backend of the caller's choice.
pub fn main_with(socket: OwnedFd, open: impl FnOnce(&PoolSetup) -> Result<Box<dyn Backend>>) -> ExitCode {
    confine();
    match serve(UnixStream::from(socket), open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::warn!(%err, "pool worker ended");
            ExitCode::FAILURE
        }
    }
}

/// Gives up what a worker does not need. Each is a second lock on a door, so a refusal is logged and survived.
fn confine() {
    let tries = [
        // If the daemon is gone already, the socket is closed and the loop ends by itself.
        ("die with the daemon", rustix::process::set_parent_process_death_signal(Some(Signal::KILL))),
        ("no new privileges", rustix::thread::set_no_new_privs(true)),
        ("no core dumps", setrlimit(Resource::Core, limit(0))),
        ("bounded memory", setrlimit(Resource::As, limit(ADDRESS_SPACE_BYTES_MAX))),
    ];
    for (what, done) in tries {
        if let Err(err) = done {
            tracing::warn!(%err, "{what}");
        }
    }
}

fn limit(max: u64) -> Rlimit {
    Rlimit { current: Some(max), maximum: Some(max) }
}

/// Serves calls from `stream` until it closes.
pub fn serve(
    mut stream: UnixStream,
    open: impl FnOnce(&PoolSetup) -> Result<Box<dyn Backend>>,
) -> io::Result<()> {
    let mut body = Vec::new();
    let Some(hello) = frame::read::<Hello>(&mut stream, &mut body)? else { return Ok(()) };
    let mouth = Mouth(Mutex::new(stream.try_clone()?));
    let backend = match start(&hello, open) {
        Ok((backend, answer)) => {
            mouth.say(0, Said::Done(answer))?;
            if hello.let_go.is_some() || hello.explore {
                return Ok(());
            }
            backend
        }
        Err(fault) => return mouth.say(0, Said::Failed(Box::new(fault))),
    };
    let backend = backend.as_ref();
    std::thread::scope(|scope| {
        let side_lane = |name: &str| -> io::Result<mpsc::Sender<Request>> {
            let (lane, inbox) = mpsc::channel::<Request>();
            let mouth = &mouth;
            std::thread::Builder::new().name(name.into()).spawn_scoped(scope, move || {
                for request in inbox {
                    if answer(backend, mouth, &request, &[]).is_err() {
                        return;
                    }
                }
            })?;
            Ok(lane)
        };
        let (change, long, sync) =
            (side_lane("change-lane")?, side_lane("long-lane")?, side_lane("sync-lane")?);
        while let Some(request) = frame::read::<Request>(&mut stream, &mut body)? {
            match request.call.lane() {
                Lane::Short => answer(backend, &mouth, &request, &body)?,
                // A lane is gone only when the socket is; the next read sees it too.
                Lane::Change => drop(change.send(request)),
                Lane::Long => drop(long.send(request)),
                Lane::Sync => drop(sync.send(request)),
            }
        }
        Ok(())
    })
}

fn start(
    hello: &Hello,
    open: impl FnOnce(&PoolSetup) -> Result<Box<dyn Backend>>,
) -> Result<(Box<dyn Backend>, Answer)> {
    if hello.version != env!("CARGO_PKG_VERSION") {
        return Err(Fault::new(
            FaultCode::VersionUnsupported,
            format!("The daemon is {}, its pool worker {}.", hello.version, env!("CARGO_PKG_VERSION")),
            "Restart the quantix-node service.",
        ));
    }
    let mut backend = open(&hello.setup)?;
    if hello.explore {
        let found = able(backend.abilities().explore, "be looked for")?.explore()?;
        return Ok((backend, Answer::Found(found)));
    }
    if let Some(how) = hello.let_go {
        backend.destroy(how)?;
        return Ok((backend, Answer::Done));
    }
    backend.init()?;
    let info = backend.info()?;
    Ok((backend, Answer::Info(info)))
}

/// The way back; lanes take turns.
struct Mouth(Mutex<UnixStream>);

impl Mouth {
    fn say(&self, number: u64, said: Said) -> io::Result<()> {
        let body = match &said {
            Said::Done(Answer::Bytes(bytes)) => bytes.clone(),
            _ => Bytes::new(),
        };
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&mut *stream, &Reply { number, said }, &body)
    }
}

fn answer(backend: &dyn Backend, mouth: &Mouth, request: &Request, body: &[u8]) -> io::Result<()> {
    let mut last: Option<Instant> = None;
    let mut broken = None;
    let mut progress = |progress: Progress| {
        if last.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) && broken.is_none() {
            last = Some(Instant::now());
            broken = mouth.say(request.number, Said::Progress(progress)).err();
        }
    };
    let said = match carry_out(backend, &request.call, body, &mut progress) {
        Ok(answer) => Said::Done(answer),
        Err(fault) => Said::Failed(Box::new(fault)),
    };
    broken.map_or_else(|| mouth.say(request.number, said), Err)
}

fn able<'a, T: ?Sized>(ability: Option<&'a T>, what: &str) -> Result<&'a T> {
    ability.ok_or_else(|| error::cannot(what))
}

fn carry_out(
    backend: &dyn Backend,
    call: &Call,
    body: &[u8],
    progress: &mut dyn FnMut(Progress),
) -> Result<Answer> {
    let can = backend.abilities();
    Ok(match call {
        Call::Info => Answer::Info(backend.info()?),
        // Most pools see what changed by themselves.
        Call::Refresh { take_in } => {
            can.refresh.map_or(Ok(()), |r| r.pool_refresh(*take_in)).map(|()| Answer::Done)?
        }
        Call::Destroy { how } => backend.destroy(*how).map(|()| Answer::Done)?,
        Call::VolumeCreate { wish } => Answer::Volume(backend.volume_create(wish, progress)?),
        Call::VolumeDelete { id } => Answer::Existed(backend.volume_delete(*id)?),
        Call::VolumeList => Answer::Volumes(backend.volume_list()?),
        Call::VolumeAttach { id } => Answer::Attachment(backend.volume_attach(*id)?),
        // A backend whose volumes may be open anywhere has nothing to let go of.
        Call::VolumeDetach { id } => {
            can.exclusive.map_or(Ok(()), |e| e.volume_detach(*id)).map(|()| Answer::Done)?
        }
        Call::VolumeGrow { id, size_bytes } => {
            Answer::Volume(able(can.grow, "grow volumes")?.volume_grow(*id, *size_bytes)?)
        }
        Call::VolumeFlatten { id } => Answer::Volume(
            able(can.flatten, "make linked clones independent")?.volume_flatten(*id, progress)?,
        ),
        Call::SnapshotCreate { .. }
        | Call::SnapshotList { .. }
        | Call::SnapshotRevert { .. }
        | Call::SnapshotDelete { .. } => snapshots(able(can.snapshots, "make snapshots")?, call)?,
        Call::FileList { query } => Answer::Files(able(can.files, "keep files")?.list(query)?),
        Call::FileDetails { .. }
        | Call::FileRead { .. }
        | Call::FileMakeFolder { .. }
        | Call::FileRename { .. }
        | Call::FileCopy { .. }
        | Call::FileRemove { .. }
        | Call::UploadKeep { .. } => files(able(can.file_access, "open or change files")?, call, progress)?,
        Call::UploadOpen { .. }
        | Call::UploadWrite { .. }
        | Call::UploadSync { .. }
        | Call::UploadFinish { .. }
        | Call::ImageDelete { .. }
        | Call::ImageAttach { .. } => images(able(can.images, "keep images")?, call, body, progress)?,
    })
}

fn snapshots(snapshots: &dyn Snapshots, call: &Call) -> Result<Answer> {
    Ok(match call {
        Call::SnapshotCreate { id, name } => Answer::Snapshot(snapshots.snapshot_create(*id, name)?),
        Call::SnapshotList { id } => Answer::Snapshots(snapshots.snapshot_list(*id)?),
        Call::SnapshotRevert { id, name } => snapshots.snapshot_revert(*id, name).map(|()| Answer::Done)?,
        Call::SnapshotDelete { id, name } => Answer::Existed(snapshots.snapshot_delete(*id, name)?),
        other => return Err(misrouted(other)),
    })
}

fn files(files: &dyn FileAccess, call: &Call, progress: &mut dyn FnMut(Progress)) -> Result<Answer> {
    Ok(match call {
        Call::FileDetails { path } => Answer::File(files.details(path)?),
        Call::FileRead { path, offset, limit } => {
            Answer::Bytes(files.read(path, *offset, (*limit).min(frame::BODY_BYTES_MAX))?.into())
        }
        Call::FileMakeFolder { path } => files.make_folder(path).map(|()| Answer::Done)?,
        Call::FileRename { from, to } => files.rename(from, to).map(|()| Answer::Done)?,
        Call::FileCopy { from, to } => files.copy(from, to, progress).map(|()| Answer::Done)?,
        Call::FileRemove { path } => Answer::Existed(files.remove(path, progress)?),
        Call::UploadKeep { id, path, size_bytes, sha256 } => {
            files.upload_keep(*id, path, *size_bytes, sha256.as_deref(), progress).map(|()| Answer::Done)?
        }
        other => return Err(misrouted(other)),
    })
}

fn images(
    images: &dyn Images,
    call: &Call,
    body: &[u8],
    progress: &mut dyn FnMut(Progress),
) -> Result<Answer> {
    Ok(match call {
        Call::UploadOpen { id, size_bytes } => Answer::Length(images.upload_open(*id, *size_bytes)?),
        Call::UploadWrite { id, offset } => Answer::Length(images.upload_write(*id, *offset, body)?),
        Call::UploadSync { id } => Answer::Length(images.upload_sync(*id)?),
        Call::UploadFinish { id, size_bytes, sha256 } => {
            Answer::Image(images.upload_finish(*id, *size_bytes, sha256.as_deref(), progress)?)
        }
        Call::ImageDelete { id } => Answer::Existed(images.image_delete(*id)?),
        Call::ImageAttach { id } => Answer::Attachment(images.image_attach(*id)?),
        other => return Err(misrouted(other)),
    })
}

fn misrouted(call: &Call) -> Fault {
    Fault::internal(format!("the worker sent {call:?} to the wrong ability"))
}
