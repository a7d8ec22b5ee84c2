//! One connection to libvirt that comes back by itself. A thread of its own (it may block, nobody waits for it)
//! opens the connection, looks after it, and opens it again when the daemon went away:
//!
//! ```text
//!            opened, events registered                 closed, or keep-alive unanswered
//!   Connecting ───────────────────▶ Up(link) ─────────────────────────────────▶ Down(cause)
//!        │ refused                      ▲                                            │
//!        └──────────▶ Down(cause)       └──────────── opened again ──────────────────┘
//! ```
//!
//! Callers never open anything: while it is down they are told so at once, with the last cause. When it is lost
//! and when it returns, every machine known is announced as changed, for nobody heard what happened meanwhile.

use super::confinement;
use super::ffi::{self, Listening};
use super::words;
use crate::driver::{LOST, MachineEvent, RETURNED, Result};
use crate::refusal;
use quantix_model::id::VmId;
use quantix_model::time::UnixMs;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, watch};
use virt::connect::Connect;
use virt::error::Error;

/// How often a link is looked at; a local question, no call.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// First and longest pause between attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// A daemon silent for so many intervals of so many seconds is gone, and blocked calls return.
const KEEP_ALIVE: (i32, u32) = (5, 3);
/// How long callers wait for the first connection of all: libvirt may be probing QEMU.
const FIRST_WAIT: Duration = Duration::from_secs(15);
/// Events a slow reader may miss before it is told to list again.
const EVENTS_MAX: usize = 1024;

/// An open connection with its events.
pub(super) struct Link {
    conn: Connect,
    listening: Mutex<Option<Listening>>,
    pub libvirt_version: String,
    pub qemu_version: String,
    /// Why libvirt's QEMU cannot use KVM, in its words; `None` when it can. It runs as a user of its own, which
    /// may lack what we have.
    pub kvm_refusal: Option<String>,
    /// Whom libvirt runs QEMU as; `None` when it does not say.
    pub qemu_user: Option<u32>,
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Arc<Link>),
    Down(String),
}

/// Keeps a link up until dropped.
pub(super) struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    uri: String,
    state: watch::Sender<State>,
    events: broadcast::Sender<MachineEvent>,
    known: Mutex<BTreeSet<VmId>>,
    ending: AtomicBool,
}

impl Connection {
    /// Starts to connect and returns at once.
    pub(super) fn start(uri: &str) -> Connection {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            uri: uri.to_owned(),
            state: watch::channel(State::Connecting).0,
            events,
            known: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let supervised = Arc::clone(&shared);
        let started =
            std::thread::Builder::new().name("libvirt-link".to_owned()).spawn(move || supervise(&supervised));
        if let Err(error) = started {
            shared.state.send_replace(State::Down(format!("no thread for libvirt: {error}")));
        }
        Connection { shared }
    }

    /// The link, or why there is none. Waits only for the first attempt of all.
    pub(super) async fn link(&self) -> Result<Arc<Link>> {
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        let state = match tokio::time::timeout(FIRST_WAIT, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => State::Connecting,
        };
        match state {
            State::Up(link) => Ok(link),
            State::Down(cause) => Err(refusal::unavailable(cause)),
            State::Connecting => Err(refusal::unavailable(format!(
                "no answer from {} in {} s",
                self.shared.uri,
                FIRST_WAIT.as_secs()
            ))),
        }
    }

    /// Hears of every machine that changes.
    pub(super) fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.shared.events.subscribe()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn conn(&self) -> &Connect {
        &self.conn
    }

    /// Whether the other side is there, as far as known here; asks nobody.
    pub(super) fn is_alive(&self) -> bool {
        self.conn.is_alive().unwrap_or(false)
    }

    fn open(uri: &str, listener: ffi::Listener) -> std::result::Result<Link, Error> {
        event_loop()?;
        let mut conn = Connect::open(Some(uri))?;
        let opened = (|| {
            conn.set_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)?;
            let libvirt_version = words::version(conn.get_lib_version()?);
            let qemu_version = words::version(conn.get_hyp_version()?);
            let kvm_refusal = conn
                .get_domain_capabilities(None, Some("x86_64"), Some("q35"), Some("kvm"), 0)
                .err()
                .map(|error| error.message().to_owned());
            let qemu_user = conn.get_capabilities().ok().and_then(|xml| confinement::qemu_user(&xml));
            Ok((ffi::listen(&conn, listener)?, libvirt_version, qemu_version, kvm_refusal, qemu_user))
        })();
        match opened {
            Ok((listening, libvirt_version, qemu_version, kvm_refusal, qemu_user)) => {
                let listening = Mutex::new(Some(listening));
                Ok(Link { conn, listening, libvirt_version, qemu_version, kvm_refusal, qemu_user })
            }
            Err(error) => {
                let _ = conn.close();
                Err(error)
            }
        }
    }
}

impl Drop for Link {
    /// `Connect` does not close itself. On the runtime's threads this happens only to a link that is lost or
    /// being given up, where closing asks nobody.
    fn drop(&mut self) {
        let listening = self.listening.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut listening) = listening.take() {
            listening.stop(&self.conn);
        }
        let _ = self.conn.close();
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, BTreeSet<VmId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, id: VmId, what: String) {
        if what.starts_with("undefined") {
            self.known().remove(&id);
        } else {
            self.known().insert(id);
        }
        self.tell(id, what);
    }

    fn tell(&self, id: VmId, what: String) {
        let _ = self.events.send(MachineEvent { id, what, at: now() });
    }

    fn tell_all(&self, what: &str) {
        let known: Vec<VmId> = self.known().iter().copied().collect();
        for id in known {
            self.tell(id, what.to_owned());
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

fn supervise(shared: &Arc<Shared>) {
    let mut pause = RETRY.0;
    let mut was_lost = false;
    while !shared.is_ending() {
        let listener = Arc::downgrade(shared);
        let opened = Link::open(
            &shared.uri,
            Box::new(move |id, what| {
                if let Some(shared) = listener.upgrade() {
                    shared.hear(id, what);
                }
            }),
        );
        match opened {
            Ok(link) => {
                pause = RETRY.0;
                look_after(shared, Arc::new(link), was_lost);
                was_lost = true;
            }
            Err(error) => {
                if !matches!(*shared.state.borrow(), State::Down(_)) {
                    tracing::warn!(uri = shared.uri, error = error.message(), "libvirt does not answer");
                }
                shared.state.send_replace(State::Down(error.message().to_owned()));
                std::thread::sleep(pause);
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

/// Publishes a link and returns when it is lost.
fn look_after(shared: &Shared, link: Arc<Link>, was_lost: bool) {
    match ffi::stats(link.conn(), None) {
        Ok(all) => shared.known().extend(all.iter().map(|stats| VmId(stats.id))),
        Err(error) => tracing::warn!(error = error.message(), "libvirt did not list its VMs"),
    }
    tracing::info!(
        uri = shared.uri,
        libvirt = link.libvirt_version,
        qemu = link.qemu_version,
        "libvirt answers"
    );
    shared.state.send_replace(State::Up(Arc::clone(&link)));
    if was_lost {
        shared.tell_all(RETURNED);
        // What vanished meanwhile was announced once; from now on only what is there counts.
        if let Ok(all) = ffi::stats(link.conn(), None) {
            *shared.known() = all.iter().map(|stats| VmId(stats.id)).collect();
        }
    }
    while link.is_alive() && !shared.is_ending() {
        std::thread::sleep(LOOK_EVERY);
    }
    if !shared.is_ending() {
        tracing::warn!(uri = shared.uri, "libvirt has gone away");
        shared.state.send_replace(State::Down("the connection to libvirt was closed".to_owned()));
        shared.tell_all(LOST);
    } else {
        shared.state.send_replace(State::Down("the daemon is stopping".to_owned()));
    }
}

/// libvirt's own event loop, once per process, on a thread that never ends. Must be registered before the first
/// connection is opened, or that connection has no events and no keep-alive.
fn event_loop() -> std::result::Result<(), Error> {
    static ONCE: Once = Once::new();
    static FAILED: Mutex<Option<Error>> = Mutex::new(None);
    ONCE.call_once(|| {
        // Errors are returned and logged by us; libvirt would print each on standard error as well.
        virt::error::clear_error_callback();
        let outcome = virt::event::event_register_default_impl().map(|()| {
            std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(|| {
                loop {
                    if let Err(error) = virt::event::event_run_default_impl() {
                        tracing::error!(error = error.message(), "libvirt's event loop failed");
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            })
        });
        if let Err(error) = outcome {
            *FAILED.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    match &*FAILED.lock().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some(error) => Err(error.clone()),
    }
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
