//! Writes down what happened: one look at a thing, one event when its state says something new.
//!
//! What was told last of each thing is kept in memory, so that looking at what did not change costs no reading.

use crate::bus::Thing;
use crate::core::Core;
use crate::ids;
use crate::services::{App, alert, certificate, host, pool, pool_unknown, vm};
use quantix_contract::quantix::event::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::alert::HostFacts;
use quantix_model::event::{self, EventKind, Severity};
use quantix_model::id::{EventId, HostId, PoolId, TaskId, VmId};
use quantix_model::pool::capacity;
use quantix_model::vm::{PowerState, VmPhase};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::{AlertRecord, EventFilter, EventRecord, Page, PageRequest, StoreError, UserRecord};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Events that are kept.
const EVENTS_MAX: u64 = 100_000;

/// VMs looked at together at the start.
pub const VMS_AT_ONCE: u64 = 1000;

/// What was told last of each thing, under each noun.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<(Uuid, &'static str), EventKind>>);

impl Told {
    fn kinds(&self) -> MutexGuard<'_, HashMap<(Uuid, &'static str), EventKind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a VM that stands so is something to tell of.
    pub fn is_news_of_vm(&self, id: VmId, phase: VmPhase, power: PowerState) -> bool {
        event::of_vm(phase, power).is_some_and(|kind| self.last(id.0, kind.noun()) != Some(kind))
    }

    fn last(&self, thing: Uuid, noun: &'static str) -> Option<EventKind> {
        self.kinds().get(&(thing, noun)).copied()
    }
}

/// Reads what was told before this start. Answers what has changed since, or is gone. A VM of which nothing was ever told,
/// or nothing that is still kept, is from now on as its record says.
pub async fn remember(app: &App) -> Result<BTreeSet<Thing>, Fault> {
    let store = &app.core.store;
    let last = store.event_last_all().await?;
    let told = last.iter().filter_map(|(id, kind)| Some(((Uuid::try_parse(id).ok()?, kind.noun()), *kind)));
    let told: HashMap<_, _> = told.collect();
    let mut there: BTreeSet<Thing> = BTreeSet::new();
    there.extend(app.core.rosters.hosts().await?.iter().map(|host| Thing::Host(host.id)));
    there.extend(store.pool_all().await?.iter().map(|pool| Thing::Pool(pool.id)));
    let (mut changed, mut stands, mut after) = (BTreeSet::new(), HashMap::new(), None);
    loop {
        let some = store.vm_brief_some(after, VMS_AT_ONCE).await?;
        let Some(end) = some.last() else { break };
        after = Some(end.id);
        for vm in &some {
            let stands_at = event::of_vm(vm.phase, vm.power_state);
            match (told.get(&(vm.id.0, "vm")), stands_at) {
                (None, Some(kind)) => drop(stands.insert((vm.id.0, "vm"), kind)),
                (Some(last), Some(kind)) if *last != kind => drop(changed.insert(Thing::Vm(vm.id))),
                _ => {}
            }
            there.insert(Thing::Vm(vm.id));
        }
    }
    for ((id, noun), kind) in &told {
        let thing = Thing::parse(noun, &id.to_string()).filter(|thing| !there.contains(thing));
        let removed = [EventKind::HostRemoved, EventKind::PoolRemoved, EventKind::VmRemoved].contains(kind);
        changed.extend(
            thing.filter(|thing| !removed && matches!(thing, Thing::Host(_) | Thing::Pool(_) | Thing::Vm(_))),
        );
    }
    let mut kinds = app.told.kinds();
    kinds.extend(told);
    kinds.extend(stands);
    Ok(changed)
}

/// What is told of a thing.
struct Telling {
    kind: EventKind,
    name: String,
    host: String,
    user_name: String,
    message: String,
    fault: Option<Fault>,
}

impl Telling {
    fn new(kind: EventKind, name: &str, fault: Option<Fault>) -> Telling {
        let message = kind.sentence(name);
        Telling { kind, name: name.to_owned(), host: String::new(), user_name: String::new(), message, fault }
    }
}

/// One page, newest first.
pub async fn list(
    app: &App,
    request: &PageRequest,
    filter: &EventFilter,
) -> Result<Page<wire::Event>, Fault> {
    let page = app.core.store.event_page(request, filter).await?;
    let rows = page.rows.iter().map(view).collect();
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// An event as shown.
pub async fn get(app: &App, id: EventId) -> Result<wire::Event, Fault> {
    Ok(view(&app.core.store.event_get(id).await?))
}

fn view(event: &EventRecord) -> wire::Event {
    wire::Event {
        id: event.id.to_string(),
        at: time::to_proto(event.at).into(),
        kind: event.kind.as_str().to_owned(),
        severity: twin::write(event.severity),
        object_kind: event.object_kind.clone(),
        object_id: event.object_id.clone(),
        object_name: event.object_name.clone(),
        host: event.host.clone(),
        user_name: event.user_name.clone(),
        message: event.message.clone(),
        fault: event.fault.as_ref().map(Into::into).into(),
        ..Default::default()
    }
}

/// Looks at a thing that changed, writes what that means, and settles its alerts. False: hosts are waited for, and it
/// must be looked at again even if none of them ever speaks.
pub async fn look(app: &App, thing: Thing) -> Result<bool, Fault> {
    match thing {
        Thing::Host(id) => look_host(app, id).await?,
        Thing::Pool(id) => return look_pool(app, id).await,
        Thing::Vm(id) => look_vm(app, id).await?,
        Thing::Task(id) => look_task(app, id).await?,
        Thing::Certificate(which) => certificate::judge(app, which).await?,
        Thing::Image(_) | Thing::Volume(_) | Thing::Event(_) | Thing::Alert(_) => {}
    }
    Ok(true)
}

async fn look_host(app: &App, id: HostId) -> Result<(), Fault> {
    let thing = Thing::Host(id);
    let Some(host) = there(app.core.store.host_get(id).await)? else {
        return gone(app, thing, EventKind::HostRemoved).await;
    };
    let phase = host::phase(app, &host);
    let fault = host::why_not_ready(app, &host, phase);
    if let Some(kind) = event::of_host(phase) {
        let telling = Telling { host: host.name.clone(), ..Telling::new(kind, &host.name, fault.clone()) };
        tell_once(app, thing, telling).await?;
    }
    let (certificate_expires_at, certificate_fault) =
        certificate::of_host(app, id, host.certificate_expires_at);
    let facts = HostFacts {
        name: &host.name,
        phase,
        fault,
        unknown_pools: pool_unknown::fault(app, id).await?,
        weakness: app.live.get(id).and_then(|live| live.engine.as_ref()?.weakness.clone()),
        clock_skew_ms: app.live.get(id).map_or(0, |live| live.clock_skew_ms),
        certificate_expires_at,
        certificate_fault,
    };
    match quantix_model::alert::of_host(&facts, app.core.clock.now()) {
        Some(found) => alert::settle(app, thing, &host.name, found).await,
        None => Ok(()),
    }
}

async fn look_pool(app: &App, id: PoolId) -> Result<bool, Fault> {
    let thing = Thing::Pool(id);
    let Some(record) = there(app.core.store.pool_get(id).await)? else {
        gone(app, thing, EventKind::PoolRemoved).await?;
        return Ok(true);
    };
    let statuses = pool::statuses(app, id).await?;
    let (phase, fault) = pool::phase_of(app, &record, &statuses);
    if let Some(kind) = event::of_pool(phase) {
        let host = fault.as_ref().map(|f| f.host.clone()).unwrap_or_default();
        tell_once(app, thing, Telling { host, ..Telling::new(kind, &record.name, fault.clone()) }).await?;
    }
    let space = capacity(record.spec.is_shared(), &statuses).map(|(bytes, _)| bytes);
    let raised = alert::raised(app, thing, quantix_model::alert::AlertRule::PoolFull).await?;
    match quantix_model::alert::of_pool(&record.name, phase, fault, space, raised) {
        Some(found) => alert::settle(app, thing, &record.name, found).await?,
        None => return Ok(false),
    }
    Ok(true)
}

async fn look_vm(app: &App, id: VmId) -> Result<(), Fault> {
    let thing = Thing::Vm(id);
    let Some(record) = there(app.core.store.vm_get(id).await)? else {
        return gone(app, thing, EventKind::VmRemoved).await;
    };
    let Some(known) = there(app.core.rosters.get(record.host_id).await)? else { return Ok(()) };
    let host = &known.roster.host;
    let power = vm::power_of(app, host, record.id, record.observed_at);
    if let Some(kind) = event::of_vm(record.phase, power.state) {
        let telling =
            Telling { host: host.name.clone(), ..Telling::new(kind, &record.name, record.fault.clone()) };
        tell_once(app, thing, telling).await?;
    }
    let found = quantix_model::alert::of_vm(&record.name, record.phase, record.fault);
    alert::settle(app, thing, &record.name, found).await
}

/// The end of a task is an event of what it worked on.
async fn look_task(app: &App, id: TaskId) -> Result<(), Fault> {
    let Some(task) = there(app.core.store.task_get(id).await)? else { return Ok(()) };
    let Some(kind) = event::of_task(task.state) else { return Ok(()) };
    let event_id = id_of_end(id, task.ended_at.unwrap_or(task.created_at));
    match app.core.store.event_get(event_id).await {
        Ok(_) => return Ok(()),
        Err(StoreError::NotFound { .. }) => {}
        Err(err) => return Err(err.into()),
    }
    let telling = Telling {
        name: task.object_name,
        host: task.host,
        user_name: task.user_name,
        message: kind.sentence(&task.title),
        ..Telling::new(kind, "", task.fault)
    };
    let record = record(app, event_id, (task.object_kind, task.object_id), telling, kind.severity());
    write(app, vec![record]).await
}

/// A task ends once, so its end has one id: the time of the end (RFC 9562, 5.7), then the task's own bits.
fn id_of_end(id: TaskId, ended_at: UnixMs) -> EventId {
    let mut bytes = *id.0.as_bytes();
    bytes[..6].copy_from_slice(&ended_at.0.to_be_bytes()[2..]);
    EventId(Uuid::from_bytes(bytes))
}

/// A record, or `None` when there is none.
fn there<T>(found: Result<T, StoreError>) -> Result<Option<T>, Fault> {
    match found.map_err(Fault::from) {
        Err(fault) if fault.code == FaultCode::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// What is gone needs nobody any more; that it went is told once, if anything was ever told of it.
async fn gone(app: &App, thing: Thing, kind: EventKind) -> Result<(), Fault> {
    let object_id = thing.id().to_string();
    let Some(last) = app.core.store.event_last(&object_id, kind.noun()).await? else { return Ok(()) };
    alert::forget(app, thing).await?;
    tell_once(app, thing, Telling::new(kind, &last.object_name, None)).await
}

/// Writes an event unless the last one of the same noun said the same.
async fn tell_once(app: &App, thing: Thing, telling: Telling) -> Result<(), Fault> {
    let (object_id, kind) = (thing.id().to_string(), telling.kind);
    if app.told.last(thing.id(), kind.noun()) == Some(kind) {
        return Ok(());
    }
    let record = record(app, ids::event(), (thing.kind().to_owned(), object_id), telling, kind.severity());
    write(app, vec![record]).await?;
    app.told.kinds().insert((thing.id(), kind.noun()), kind);
    Ok(())
}

/// Writes that an alert came, went or found somebody.
pub async fn of_alert(app: &App, kind: EventKind, alert: &AlertRecord, user_name: &str) -> Result<(), Fault> {
    let severity = if kind == EventKind::AlertRaised { alert.severity } else { Severity::Info };
    let telling = Telling {
        name: alert.object_name.clone(),
        user_name: user_name.to_owned(),
        message: kind.sentence(&alert.message),
        ..Telling::new(kind, "", alert.fault.clone())
    };
    let object = (alert.object_kind.clone(), alert.object_id.clone());
    let record = record(app, ids::event(), object, telling, severity);
    write(app, vec![record]).await
}

/// Writes, once it can be written, that nothing could be.
pub async fn store_failed(app: &App, lasted: Duration, fault: Fault) -> Result<(), Fault> {
    let kind = EventKind::StoreFailed;
    let message = kind.sentence(&format!("{} s", lasted.as_secs().max(1)));
    let telling = Telling { message, ..Telling::new(kind, "vDC", Some(fault)) };
    let object = ("vdc".to_owned(), String::new());
    let record = record(app, ids::event(), object, telling, kind.severity());
    write(app, vec![record]).await
}

/// Writes that a passkey may have been copied.
pub async fn passkey_cloned(core: &Core, user: &UserRecord, fault: &Fault) -> Result<(), Fault> {
    of_user(core, EventKind::PasskeyCloned, user, Some(fault.clone())).await
}

/// Writes that somebody was turned off because their directory has them no more.
pub async fn user_gone(core: &Core, user: &UserRecord) -> Result<(), Fault> {
    of_user(core, EventKind::UserGone, user, None).await
}

async fn of_user(core: &Core, kind: EventKind, user: &UserRecord, fault: Option<Fault>) -> Result<(), Fault> {
    let event = EventRecord {
        id: ids::event(),
        at: core.clock.now(),
        kind,
        severity: kind.severity(),
        object_kind: "user".to_owned(),
        object_id: user.id.to_string(),
        object_name: user.name.clone(),
        host: String::new(),
        user_name: user.name.clone(),
        message: kind.sentence(&user.name),
        fault,
    };
    core.store.event_insert(std::slice::from_ref(&event)).await?;
    core.bus.changed(Thing::Event(event.id));
    Ok(())
}

fn record(
    app: &App,
    id: EventId,
    (object_kind, object_id): (String, String),
    telling: Telling,
    severity: Severity,
) -> EventRecord {
    EventRecord {
        id,
        at: app.core.clock.now(),
        kind: telling.kind,
        severity,
        object_kind,
        object_id,
        object_name: telling.name,
        host: telling.host,
        user_name: telling.user_name,
        message: telling.message,
        fault: telling.fault,
    }
}

async fn write(app: &App, events: Vec<EventRecord>) -> Result<(), Fault> {
    app.core.store.event_insert(&events).await?;
    for event in &events {
        app.core.bus.changed(Thing::Event(event.id));
    }
    Ok(())
}

/// Forgets what is older than the newest [`EVENTS_MAX`].
pub async fn prune(app: &App) -> Result<u64, Fault> {
    Ok(app.core.store.event_prune(EVENTS_MAX).await?)
}
