//! The watch stream: what changed, as views, one stream per client.
//!
//! ```text
//!   bus ──▶ set of changed things ──(every 100 ms)──▶ view each once ──▶ client
//! ```
//! Load and ages move all the time, in a large fleet more than anybody could look at: of these each client is told so many
//! at a time as it can take, the others wait their turn.
//!
//! A burst of changes of one thing costs one view. A client that falls behind is told to read its lists again.
//! The stream ends with the vDC and with the session it was opened under.

use crate::api::assembly::ViewFn;
use crate::api::error::rpc;
use crate::api::{Assembly, Person, auth};
use crate::bus::Thing;
use crate::core::Core;
use crate::services::session::Sessions;
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use quantix_contract::quantix::watch::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::time::to_proto;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::HostId;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

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

/// Things whose figures moved that are told at once, when nothing happened.
const MOVED_AT_ONCE: usize = 20;
/// Such things that wait their turn; more are told with their next move.
const MOVED_MAX: usize = 4096;

struct Api {
    core: Arc<Core>,
    sessions: Arc<Sessions>,
    views: Arc<HashMap<&'static str, ViewFn>>,
    places: Arc<Semaphore>,
}

/// Serves the stream; mounted after all nouns have added their views.
pub fn mount(assembly: &mut Assembly, core: &Arc<Core>, sessions: &Arc<Sessions>) {
    let views = Arc::new(assembly.views.clone());
    let places = Arc::new(Semaphore::new(STREAMS_MAX));
    assembly.service(Arc::new(Api { core: core.clone(), sessions: sessions.clone(), views, places }));
}

type Message = Result<wire::WatchResponse, ConnectError>;

/// One client's stream.
struct Watcher {
    core: Arc<Core>,
    sessions: Arc<Sessions>,
    views: Arc<HashMap<&'static str, ViewFn>>,
    person: Person,
    out: mpsc::Sender<Message>,
    revision: u64,
    said_at: Instant,
}

impl wire::WatchService for Api {
    async fn watch(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::WatchRequest>,
    ) -> ServiceResult<ServiceStream<wire::WatchResponse>> {
        let person = auth::person(&context)?.clone();
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{STREAMS_MAX} pages watch the vDC already.");
            rpc(&Fault::new(FaultCode::Busy, text, "Close pages that are not needed, then try again."))
        })?;
        let (out, stream) = mpsc::channel(QUEUE_MAX);
        let watcher = Watcher {
            core: self.core.clone(),
            sessions: self.sessions.clone(),
            views: self.views.clone(),
            person,
            out,
            revision: 0,
            said_at: Instant::now(),
        };
        // Listening begins before `hello`, so that nothing between the two is missed.
        let (changes, moves) = (self.core.bus.listen(), self.core.bus.listen_moves());
        let stop = self.core.stop.clone();
        let counted = self.core.metrics.watching();
        self.core.spawn(async move {
            let (_place, _counted) = (place, counted);
            tokio::select! {
                () = stop.cancelled() => {}
                () = watcher.run(changes, moves) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Watcher {
    async fn run(mut self, mut changes: broadcast::Receiver<Thing>, mut moves: broadcast::Receiver<HostId>) {
        let hello = wire::Hello {
            epoch: self.core.epoch.clone(),
            now: to_proto(self.core.clock.now()).into(),
            ..Default::default()
        };
        if !self.send(Event::from(hello)).await {
            return;
        }
        let mut checked_at = Instant::now();
        let mut moved = BTreeSet::new();
        let mut turn = tokio::time::interval(GATHER);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                change = changes.recv() => self.pass_on(change, &mut changes).await,
                () = tokio::time::sleep_until(self.said_at + TICK) => {
                    let now = to_proto(self.core.clock.now());
                    self.send(Event::from(wire::Tick { now: now.into(), ..Default::default() })).await
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
                if !self.sessions.lasts(self.person.session_id).await {
                    let fault = auth::not_signed_in();
                    let _ = self.out.try_send(Err(rpc(&fault)));
                    return;
                }
            }
        }
    }

    /// Gathers what follows a first change, then tells of each thing once. False: the client is gone.
    async fn pass_on(
        &mut self,
        first: Result<Thing, RecvError>,
        changes: &mut broadcast::Receiver<Thing>,
    ) -> bool {
        let mut gathered = BTreeSet::new();
        let mut lost = false;
        let mut next = first;
        let until = Instant::now() + GATHER;
        loop {
            match next {
                Ok(thing) => {
                    gathered.insert(thing);
                }
                Err(RecvError::Lagged(_)) => lost = true,
                Err(RecvError::Closed) => return false,
            }
            next = match tokio::time::timeout_at(until, changes.recv()).await {
                Ok(next) => next,
                Err(_) => break,
            };
        }
        if lost || gathered.len() > BURST_MAX {
            return self.send(Event::from(wire::Resync::default())).await;
        }
        for thing in gathered {
            if !self.tell(thing).await {
                return false;
            }
        }
        true
    }

    /// Notes whose figures moved. What is missed moves again.
    async fn gather_moved(&self, host: Result<HostId, RecvError>, moved: &mut BTreeSet<Thing>) -> bool {
        let host = match host {
            Ok(host) => host,
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        };
        if let Ok(known) = self.core.rosters.get(host).await
            && moved.len() < MOVED_MAX
        {
            moved.insert(Thing::Host(host));
            moved.extend(known.roster.pools.iter().map(|(pool, _)| Thing::Pool(pool.id)));
            moved.extend(known.roster.vms.iter().map(|vm| Thing::Vm(vm.id)));
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
        let event = match view(thing).await {
            Ok(Some(event)) => event,
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

    async fn send(&mut self, event: Event) -> bool {
        self.revision += 1;
        self.said_at = Instant::now();
        let message =
            wire::WatchResponse { revision: self.revision, event: Some(event), ..Default::default() };
        matches!(tokio::time::timeout(STALL_MAX, self.out.send(Ok(message))).await, Ok(Ok(())))
    }
}
