//! A file system that can be made to misbehave: a FUSE mount that passes everything through to a folder, until told to
//! stall, to be slow, or to answer with an error.
//!
//! ```text
//!   worker process ──system call──▶ kernel ──/dev/fuse──▶ server thread ──fault? ──no──▶ passthrough ──▶ folder
//!                                                              └─ wait, pause, or answer with an errno
//! ```
//! To its callers a stalled one is like a dead NFS server: a request that was taken is never answered, and whoever waits
//! for it cannot even be killed. The process that owns this must never touch the mount point itself while it stalls.

use fuse_backend_rs::abi::fuse_abi::{InHeader, Opcode};
use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::passthrough::{CachePolicy, Config, PassthroughFs};
use fuse_backend_rs::transport::{FuseChannel, FuseSession};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests served at once.
const THREADS: usize = 4;

/// How the file system misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It does not.
    #[default]
    Well,
    /// Nothing is answered.
    Stalled,
    /// Each request takes so much longer.
    Slow(Duration),
    /// Every request fails with this errno.
    Broken(i32),
    /// What takes space fails with ENOSPC; the rest works.
    Full,
}

#[derive(Default)]
struct Dial {
    mood: Mutex<Mood>,
    turned: Condvar,
}

impl Dial {
    /// Waits out a stall or a pause; answers the errno to fail with, if any.
    fn pass(&self, opcode: u32) -> Option<i32> {
        let mood = self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        let mood = self.turned.wait_while(mood, |mood| *mood == Mood::Stalled);
        let mood = *mood.unwrap_or_else(PoisonError::into_inner);
        match mood {
            Mood::Well | Mood::Stalled => None,
            Mood::Slow(pause) => {
                std::thread::sleep(pause);
                None
            }
            Mood::Broken(errno) => Some(errno),
            Mood::Full => takes_space(opcode).then_some(rustix::io::Errno::NOSPC.raw_os_error()),
        }
    }
}

fn takes_space(opcode: u32) -> bool {
    [Opcode::Create, Opcode::Write, Opcode::Mkdir, Opcode::Mknod, Opcode::Symlink, Opcode::Fallocate]
        .into_iter()
        .any(|op| op as u32 == opcode)
}

/// What no server may refuse: the handshake, and messages nobody waits for.
fn is_housekeeping(opcode: u32) -> bool {
    [Opcode::Init, Opcode::Destroy, Opcode::Forget, Opcode::BatchForget, Opcode::Interrupt]
        .into_iter()
        .any(|op| op as u32 == opcode)
}

/// See the module. Unmounted when dropped.
pub struct FaultFs {
    mount_point: PathBuf,
    dial: Arc<Dial>,
    session: FuseSession,
    threads: Vec<JoinHandle<()>>,
}

impl FaultFs {
    /// Mounts `folder` on `mount_point`. Needs root and /dev/fuse.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(folder: &Path, mount_point: &Path) -> FaultFs {
        let config = Config {
            root_dir: folder.display().to_string(),
            // Nothing is remembered, so that every system call is felt.
            entry_timeout: Duration::ZERO,
            attr_timeout: Duration::ZERO,
            cache_policy: CachePolicy::Never,
            ..Config::default()
        };
        let files = PassthroughFs::<()>::new(config).expect("the folder can be passed through");
        files.import().expect("the folder is there");
        let server = Arc::new(Server::new(files));
        let mut session = FuseSession::new(mount_point, "quantix-lab", "", false).expect("a mount point");
        session.mount().expect("FUSE mounts: this needs root and /dev/fuse");
        let dial = Arc::<Dial>::default();
        let serve = |_| {
            let channel = session.new_channel().expect("a channel to the kernel");
            let (server, dial) = (Arc::clone(&server), Arc::clone(&dial));
            std::thread::spawn(move || pump(channel, &server, &dial))
        };
        let threads = (0..THREADS).map(serve).collect();
        FaultFs { mount_point: mount_point.to_owned(), dial, session, threads }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// From now on it behaves like this.
    pub fn turn(&self, mood: Mood) {
        *self.dial.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
        self.dial.turned.notify_all();
    }
}

fn pump(mut channel: FuseChannel, server: &Server<PassthroughFs>, dial: &Dial) {
    while let Ok(Some((reader, mut writer))) = channel.get_request() {
        let Ok(head) = reader.clone().read_obj::<InHeader>() else { return };
        let errno = if is_housekeeping(head.opcode) { None } else { dial.pass(head.opcode) };
        match errno {
            // An answer the kernel no longer wants is no error of ours.
            Some(errno) => drop(writer.write_all(&refusal(head.unique, errno))),
            None => drop(server.handle_message(reader, writer.into(), None, None)),
        }
    }
}

/// `fuse_out_header` with nothing behind it.
fn refusal(unique: u64, errno: i32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&16_u32.to_ne_bytes());
    out[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    out[8..].copy_from_slice(&unique.to_ne_bytes());
    out
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        self.turn(Mood::Well);
        // Woken first, so that no thread reads what the unmount still sends.
        let _ = self.session.wake();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = self.session.umount();
    }
}
