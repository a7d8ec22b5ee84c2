//! The worker's side: reads calls, does them on two lanes, answers.

use crate::backend::{Backend, Files, Images, PoolSetup, Progress};
use crate::error::{self, Result};
use crate::local::LocalPool;
use crate::worker::frame;
use crate::worker::message::{Answer, Call, Hello, Lane, Reply, Request, Said};
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
        PoolSpec::Local { .. } => Ok(Box::new(LocalPool::new(setup)?)),
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
            backend
        }
        Err(fault) => return mouth.say(0, Said::Failed(Box::new(fault))),
    };
    let backend = backend.as_ref();
    std::thread::scope(|scope| {
        let (long, inbox) = mpsc::channel::<Request>();
        let long_mouth = &mouth;
        std::thread::Builder::new().name("long-lane".into()).spawn_scoped(scope, move || {
            for request in inbox {
                if answer(backend, long_mouth, &request, &[]).is_err() {
                    return;
                }
            }
        })?;
        while let Some(request) = frame::read::<Request>(&mut stream, &mut body)? {
            match request.call.lane() {
                Lane::Short => answer(backend, &mouth, &request, &body)?,
                // The long lane is gone only when the socket is; the next read sees it too.
                Lane::Long => drop(long.send(request)),
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
    backend.init()?;
    let info = backend.info()?;
    Ok((backend, Answer::Info(info)))
}

/// The way back; lanes take turns.
struct Mouth(Mutex<UnixStream>);

impl Mouth {
    fn say(&self, number: u64, said: Said) -> io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&mut *stream, &Reply { number, said }, &[])
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

fn files(backend: &dyn Backend) -> Result<&dyn Files> {
    backend.files().ok_or_else(|| error::cannot("keep files"))
}

fn images(backend: &dyn Backend) -> Result<&dyn Images> {
    backend.images().ok_or_else(|| error::cannot("keep images"))
}

fn carry_out(
    backend: &dyn Backend,
    call: &Call,
    body: &[u8],
    progress: &mut dyn FnMut(Progress),
) -> Result<Answer> {
    Ok(match call {
        Call::Info => Answer::Info(backend.info()?),
        Call::VolumeCreate { wish } => Answer::Volume(backend.volume_create(wish, progress)?),
        Call::VolumeDelete { id } => Answer::Existed(backend.volume_delete(*id)?),
        Call::VolumeList => Answer::Volumes(backend.volume_list()?),
        Call::VolumeAttach { id } => Answer::Attachment(backend.volume_attach(*id)?),
        Call::FileList { query } => Answer::Files(files(backend)?.list(query)?),
        Call::UploadOpen { id, size_bytes } => {
            Answer::Length(images(backend)?.upload_open(*id, *size_bytes)?)
        }
        Call::UploadWrite { id, offset } => {
            Answer::Length(images(backend)?.upload_write(*id, *offset, body)?)
        }
        Call::UploadSync { id } => Answer::Length(images(backend)?.upload_sync(*id)?),
        Call::UploadFinish { id, size_bytes, sha256 } => {
            let images = images(backend)?;
            Answer::Image(images.upload_finish(*id, *size_bytes, sha256.as_deref(), progress)?)
        }
        Call::ImageDelete { id } => Answer::Existed(images(backend)?.image_delete(*id)?),
        Call::ImageAttach { id } => Answer::Attachment(images(backend)?.image_attach(*id)?),
    })
}
