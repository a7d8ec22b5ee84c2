//! The watch stream: what changed, as views, one stream per client.
//!
//! ```text
//!   bus ──▶ set of changed things ──(every 100 ms)──▶ looked at? ─ yes ─▶ view each once ──▶ client
//!                                                         └─ no ─▶ its kind, once a second ──┘
//! ```
//! Load and ages move all the time, in a large fleet more than anybody could look at: each client is told of what it has on
//! its screen, and of that so much at a time as it can take.
//!
//! A burst of changes of one thing costs one view. A line that broke is resumed where it was, when that is not too long ago;
//! a client that falls behind is told to read its lists again. The stream ends with the vDC and with the session it was
//! opened under.

mod gaze;

use crate::api::assembly::ViewFn;
use crate::api::error::{reply, rpc};
use crate::api::{Assembly, Person, auth, reach, task};
use crate::bus::{Listener, Thing};
use crate::core::Core;
use crate::ids;
use crate::services::App;
use crate::services::session::Sessions;
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use gaze::Gaze;
use quantix_contract::quantix::watch::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::time::to_proto;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::HostId;
use quantix_model::right::Permission;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

/// Changes are gathered for so long before they are sent.
const GATHER: Duration = Duration::from_millis(100);
/// Silence longer than this would look like a broken line.
const TICK: Duration = Duration::from_secs(10);
/// Messages that may wait for a slow client.
const QUEUE_MAX: usize = 64;
/// A client that takes nothing for so long is let go.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Streams open at the same time, of all clients.
const STREAMS_MAX: usize = 256;
/// Things changed at once beyond which reading the lists again is cheaper.
const BURST_MAX: usize = 500;
/// Of a kind that is not looked at, a client is told so often at most.
const ELSEWHERE_EVERY: Duration = Duration::from_secs(1);
/// Gazes that may wait for a stream.
const GAZES_MAX: usize = 4;

/// Things whose figures moved that are told at once, when nothing happened.
const MOVED_AT_ONCE: usize = 20;
/// Such things that wait their turn; more are told with their next move.
const MOVED_MAX: usize = 4096;

/// Where open streams hear that their client looks elsewhere.
#[derive(Default)]
struct Eyes(Mutex<HashMap<(Uuid, String), mpsc::Sender<Gaze>>>);

impl Eyes {
    fn open(&self) -> MutexGuard<'_, HashMap<(Uuid, String), mpsc::Sender<Gaze>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Api {
    app: Arc<App>,
    core: Arc<Core>,
    sessions: Arc<Sessions>,
    views: Arc<HashMap<&'static str, ViewFn>>,
    places: Arc<Semaphore>,
    eyes: Arc<Eyes>,
}

/// Serves the stream; mounted after all nouns have added their views.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>, sessions: &Arc<Sessions>) {
    let views = Arc::new(assembly.views.clone());
    let places = Arc::new(Semaphore::new(STREAMS_MAX));
    let (app, core, sessions, eyes) = (app.clone(), app.core.clone(), sessions.clone(), Arc::default());
    assembly.service(Arc::new(Api { app, core, sessions, views, places, eyes }));
}

type Message = Result<wire::WatchResponse, ConnectError>;

/// One client's stream.
struct Watcher {
    app: Arc<App>,
    core: Arc<Core>,
    sessions: Arc<Sessions>,
    views: Arc<HashMap<&'static str, ViewFn>>,
    person: Person,
    out: mpsc::Sender<Message>,
    gaze: Gaze,
    /// Everything up to here was told …
    revision: u64,
    /// … and up to here, but for these kinds …
    reached: u64,
    elsewhere: BTreeSet<&'static str>,
    /// … which may be told from then on.
    elsewhere_at: Instant,
    said_at: Instant,
}

impl wire::WatchService for Api {
    async fn watch(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::WatchRequest>,
    ) -> ServiceResult<ServiceStream<wire::WatchResponse>> {
        let person = auth::person(&context)?.clone();
        let asked = request.to_owned_message();
        let gaze = Gaze::try_from(asked.gaze.as_option()).map_err(|fault| rpc(&fault))?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{STREAMS_MAX} pages watch the vDC already.");
            rpc(&Fault::new(FaultCode::Busy, text, "Close pages that are not needed, then try again."))
        })?;
        // Listening begins before `hello`, so that nothing between the two is missed.
        let (mut listener, moves) = (self.core.bus.listen_from(asked.revision), self.core.bus.listen_moves());
        listener.missed = listener.missed.filter(|_| asked.epoch == self.core.epoch);
        let (out, stream) = mpsc::channel(QUEUE_MAX);
        let watcher = Watcher {
            app: self.app.clone(),
            core: self.core.clone(),
            sessions: self.sessions.clone(),
            views: self.views.clone(),
            person: person.clone(),
            out,
            gaze,
            revision: listener.missed.as_ref().map_or(listener.revision, |_| asked.revision),
            reached: listener.revision,
            elsewhere: BTreeSet::new(),
            elsewhere_at: Instant::now(),
            said_at: Instant::now(),
        };
        let (looks, gazes) = mpsc::channel(GAZES_MAX);
        let key = (person.by.id(), ids::plain().to_string());
        self.eyes.open().insert(key.clone(), looks);
        let (eyes, stop, counted) = (self.eyes.clone(), self.core.stop.clone(), self.core.metrics.watching());
        self.core.spawn(async move {
            let (_place, _counted) = (place, counted);
            tokio::select! {
                () = stop.cancelled() => {}
                () = watcher.run(&key.1, listener, moves, gazes) => {}
            }
            eyes.open().remove(&key);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn look(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::LookRequest>,
    ) -> ServiceResult<wire::LookResponse> {
        let person = auth::person(&context)?.by.id();
        let asked = request.to_owned_message();
        reply(async { self.turn(person, asked).await }.await)
    }
}

impl Api {
    async fn turn(&self, session: Uuid, asked: wire::LookRequest) -> Result<wire::LookResponse, Fault> {
        let gaze = Gaze::try_from(asked.gaze.as_option())?;
        let gone = || Fault::not_found("watch", &asked.watch_id);
        let eye = self.eyes.open().get(&(session, asked.watch_id.clone())).cloned().ok_or_else(gone)?;
        match tokio::time::timeout(STALL_MAX, eye.send(gaze)).await {
            Ok(Ok(())) => Ok(wire::LookResponse::default()),
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }
}

impl Watcher {
    async fn run(
        mut self,
        id: &str,
        listener: Listener,
        mut moves: broadcast::Receiver<HostId>,
        mut gazes: mpsc::Receiver<Gaze>,
    ) {
        let mut changes = listener.changes;
        let hello = wire::Hello {
            epoch: self.core.epoch.clone(),
            now: to_proto(self.core.clock.now()).into(),
            watch_id: id.to_owned(),
            resumed: listener.missed.is_some(),
            ..Default::default()
        };
        if !self.send(Event::from(hello)).await || !self.tell_all(listener.missed.unwrap_or_default()).await {
            return;
        }
        let mut checked_at = Instant::now();
        let mut moved = BTreeSet::new();
        let mut turn = tokio::time::interval(GATHER);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                change = changes.recv() => self.pass_on(change, &mut changes).await,
                Some(gaze) = gazes.recv() => self.look(gaze).await,
                () = tokio::time::sleep_until(self.said_at + TICK) => self.tick().await,
                () = tokio::time::sleep_until(self.elsewhere_at), if !self.elsewhere.is_empty() => {
                    self.tell_elsewhere().await
                }
                host = moves.recv() => self.gather_moved(host, &mut moved).await,
                _ = turn.tick(), if !moved.is_empty() => self.tell_moved(&mut moved).await,
                () = self.out.closed() => false,
            };
            if !told {
                return;
            }
            if checked_at.elapsed() >= TICK {
                checked_at = Instant::now();
                // Rights may have changed, too.
                let Some(person) = self.sessions.lasts(&self.person).await else {
                    let fault = auth::not_signed_in();
                    let _ = self.out.try_send(Err(rpc(&fault)));
                    return;
                };
                self.person = person;
            }
        }
    }

    /// Gathers what follows a first change, then tells of each thing once. False: the client is gone.
    async fn pass_on(
        &mut self,
        first: Result<(u64, Thing), RecvError>,
        changes: &mut broadcast::Receiver<(u64, Thing)>,
    ) -> bool {
        let mut gathered = BTreeSet::new();
        let mut lost = false;
        let mut next = first;
        let until = Instant::now() + GATHER;
        loop {
            match next {
                Ok((revision, thing)) => {
                    gathered.insert(thing);
                    self.reached = revision;
                }
                Err(RecvError::Lagged(_)) => lost = true,
                Err(RecvError::Closed) => return false,
            }
            next = match tokio::time::timeout_at(until, changes.recv()).await {
                Ok(next) => next,
                Err(_) => break,
            };
        }
        if lost {
            self.elsewhere.clear();
            return self.send(Event::from(wire::Resync::default())).await;
        }
        self.tell_all(gathered).await
    }

    /// Tells of what is looked at, and notes the kinds of what is not.
    async fn tell_all(&mut self, gathered: BTreeSet<Thing>) -> bool {
        let (seen, other): (Vec<Thing>, Vec<Thing>) =
            gathered.into_iter().partition(|thing| self.gaze.sees(*thing));
        self.elsewhere.extend(other.into_iter().map(Thing::kind));
        if seen.len() > BURST_MAX {
            self.elsewhere.clear();
            return self.send(Event::from(wire::Resync::default())).await;
        }
        let last = seen.last().copied();
        for thing in seen {
            // Only with the last of them everything was told.
            if Some(thing) == last && self.elsewhere.is_empty() {
                self.revision = self.reached;
            }
            if !self.tell(thing).await {
                return false;
            }
        }
        true
    }

    async fn tell_elsewhere(&mut self) -> bool {
        while let Some(kind) = self.elsewhere.pop_first() {
            if self.elsewhere.is_empty() {
                self.revision = self.reached;
            }
            if !self.send(Event::from(wire::Elsewhere { kind: kind.to_owned(), ..Default::default() })).await
            {
                return false;
            }
        }
        self.elsewhere_at = Instant::now() + ELSEWHERE_EVERY;
        true
    }

    /// The client looks at something else. What it asked for itself may have changed on the way to it, so that of things
    /// new to it the last changes are told once more.
    async fn look(&mut self, gaze: Gaze) -> bool {
        let recent = self.core.bus.recent();
        let fresh: Vec<Thing> = gaze.beyond(&self.gaze).filter(|thing| recent.contains(thing)).collect();
        self.gaze = gaze;
        for thing in fresh {
            if !self.tell(thing).await {
                return false;
            }
        }
        true
    }

    async fn tick(&mut self) -> bool {
        let now = to_proto(self.core.clock.now());
        self.send(Event::from(wire::Tick { now: now.into(), ..Default::default() })).await
    }

    /// Notes whose figures moved, of what is looked at. What is missed moves again.
    async fn gather_moved(&self, host: Result<HostId, RecvError>, moved: &mut BTreeSet<Thing>) -> bool {
        let host = match host {
            Ok(host) => host,
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        };
        if let Ok(known) = self.core.rosters.get(host).await
            && moved.len() < MOVED_MAX
        {
            let pools = known.roster.pools.iter().map(|(pool, _)| Thing::Pool(pool.id));
            let vms = known.roster.vms.iter().map(|vm| Thing::Vm(vm.id));
            let all = std::iter::once(Thing::Host(host)).chain(pools).chain(vms);
            moved.extend(all.filter(|thing| self.gaze.sees(*thing)));
        }
        true
    }

    async fn tell_moved(&mut self, moved: &mut BTreeSet<Thing>) -> bool {
        for _ in 0..MOVED_AT_ONCE {
            let Some(thing) = moved.pop_first() else { break };
            if !self.tell(thing).await {
                return false;
            }
        }
        true
    }

    async fn tell(&mut self, thing: Thing) -> bool {
        let Some(view) = self.views.get(thing.kind()).cloned() else { return true };
        match self.may_see(thing).await {
            Ok(true) => {}
            Ok(false) => return true,
            Err(fault) => {
                tracing::warn!(%fault, ?thing, "whether a watcher may see it is not known");
                return true;
            }
        }
        let event = match view(thing).await {
            Ok(Some(mut event)) => {
                reach::limit_event(&self.person.rights, &mut event);
                event
            }
            Ok(None) => {
                let (kind, id) = (thing.kind().to_owned(), thing.id().to_string());
                Event::from(wire::Removed { kind, id, ..Default::default() })
            }
            Err(fault) => {
                // The client would show something old without knowing: let it ask again.
                tracing::warn!(%fault, ?thing, "a view could not be loaded for a watcher");
                Event::from(wire::Resync::default())
            }
        };
        self.send(event).await
    }

    /// What is gone was seen by those who see everything, or was named in a grant.
    async fn may_see(&self, thing: Thing) -> Result<bool, Fault> {
        let rights = &self.person.rights;
        if rights.everywhere().has(Permission::SystemView) {
            return Ok(true);
        }
        match thing {
            Thing::Task(id) => match self.core.tasks.get(id).await {
                Ok(task) => task::may_see(&self.app, &self.person, &task).await,
                Err(_) => Ok(false),
            },
            Thing::Event(_) | Thing::Alert(_) => Ok(false),
            thing => auth::may(&self.app, rights, task::seen_with(Some(thing)), thing).await,
        }
    }

    async fn send(&mut self, event: Event) -> bool {
        if matches!(event, Event::Resync(_)) {
            self.revision = self.reached;
        }
        self.said_at = Instant::now();
        let message =
            wire::WatchResponse { revision: self.revision, event: Some(event), ..Default::default() };
        matches!(tokio::time::timeout(STALL_MAX, self.out.send(Ok(message))).await, Ok(Ok(())))
    }
}
