//! Hosts: finding, probing, adding and removing them, and what is shown of them.
//!
//! Adding runs PING → TOKEN → DISCOVERY (nothing is changed) → CONFIRM. The probe is kept for 15 minutes, so that
//! what the administrator saw is what is added ([`super::host_enrol`]). The host's identity is its public key.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, certificate, life};
use futures::future::join_all;
use quantix_client::Registration;
use quantix_client::registration::{Completion, Contact};
use quantix_client::tls::CertificateFacts;
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::host::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::host::{BEAT_INTERVAL, Discovery, HostPhase};
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode};
use quantix_store::{HostBrief, HostRecord, Page, PageRequest, Roster};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a probe can be added.
const PROBE_LIFE: Duration = Duration::from_secs(15 * 60);
/// Probes kept at most; the oldest goes first.
const PROBES_MAX: usize = 64;
/// An offered host answers its ping by then.
const OFFER_DEADLINE: Duration = Duration::from_secs(1);

/// A host that was probed and may be added.
pub(super) struct Probe {
    made_at: Instant,
    pub(super) registration: Registration,
    pub(super) contact: Contact,
    pub(super) discovery: Discovery,
    /// What the host was told last: if it heard and its answer was lost, it takes nothing else.
    pub(super) told: Option<(HostRecord, Completion)>,
}

/// Probes, by the id they were handed out under.
#[derive(Default)]
pub struct Probes {
    probes: Mutex<HashMap<String, Probe>>,
}

impl Probes {
    fn keep(&self, probe: Probe) -> String {
        let id = ids::plain().to_string();
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.retain(|_, p| p.made_at.elapsed() < PROBE_LIFE);
        if probes.len() >= PROBES_MAX {
            let oldest = probes.iter().min_by_key(|(_, p)| p.made_at).map(|(id, _)| id.clone());
            oldest.and_then(|id| probes.remove(&id));
        }
        probes.insert(id.clone(), probe);
        id
    }

    pub(super) fn take(&self, id: &str) -> Result<Probe, Fault> {
        let found = self.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        found.filter(|p| p.made_at.elapsed() < PROBE_LIFE).ok_or_else(|| Fault {
            field: "probe_id".into(),
            ..Fault::new(
                FaultCode::InvalidRequest,
                "This look at the host is too old, or it was added already.",
                "Enter URL and token again.",
            )
        })
    }

    pub(super) fn put_back(&self, id: &str, probe: Probe) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), probe);
    }
}

/// One page of hosts.
pub async fn list(app: &App, request: &PageRequest) -> Result<Page<wire::Host>, Fault> {
    let page = app.core.store.host_page(request).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for host in &page.rows {
        rows.push(view(app, host).await?);
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// A host as shown.
pub async fn get(app: &App, id: HostId) -> Result<wire::Host, Fault> {
    let host = app.core.store.host_get(id).await?;
    view(app, &host).await
}

/// A host as shown.
pub async fn view(app: &App, host: &HostRecord) -> Result<wire::Host, Fault> {
    // What is on it is at hand: a page of a hundred hosts asks the store once.
    let known = app.core.rosters.get(host.id).await?;
    Ok(shown(app, host, &known.roster))
}

/// How often a host beats.
pub fn interval(host: &HostRecord) -> Duration {
    interval_of(host.beat_interval_ms)
}

/// How often a host with this setting beats.
pub fn interval_of(beat_interval_ms: u64) -> Duration {
    if beat_interval_ms == 0 { BEAT_INTERVAL } else { Duration::from_millis(beat_interval_ms) }
}

/// The phase of a host.
pub fn phase(app: &App, host: &HostRecord) -> HostPhase {
    let phase = app.live.phase(host.id, interval(host), host.seen_at.is_some(), app.core.clock.now());
    doubted(app, host.id, phase)
}

/// The same, of one that was read briefly.
pub fn phase_of(app: &App, host: &HostBrief) -> HostPhase {
    let interval = interval_of(host.beat_interval_ms);
    doubted(app, host.id, app.live.phase(host.id, interval, host.seen_at.is_some(), app.core.clock.now()))
}

/// A host under whose identity two machines speak is not ready, whatever they say.
fn doubted(app: &App, id: HostId, phase: HostPhase) -> HostPhase {
    match phase {
        HostPhase::Ready if app.lives.cloned(id).is_some() => HostPhase::Degraded,
        phase => phase,
    }
}

/// Refuses to ask anything of a host under whose identity two machines speak.
pub fn refuse_cloned(app: &App, id: HostId, name: &str) -> Result<(), Fault> {
    app.lives.cloned(id).map_or(Ok(()), |addresses| Err(life::fault(name, &addresses)))
}

/// Why a host is not Ready.
pub fn why_not_ready(app: &App, host: &HostRecord, phase: HostPhase) -> Option<Fault> {
    let live = app.live.get(host.id);
    match phase {
        HostPhase::Ready | HostPhase::Pending => None,
        HostPhase::Degraded => {
            let cloned = refuse_cloned(app, host.id, &host.name).err();
            cloned.or_else(|| {
                live.and_then(|l| l.engine.clone()).and_then(|e| e.fault).map(|f| f.on_host(&host.name))
            })
        }
        HostPhase::Disconnected => {
            let since = live.map(|l| l.beat_at).or(host.seen_at);
            let silent = since.map_or(0, |at| at.age(app.core.clock.now()).as_secs());
            let fault = Fault::new(
                FaultCode::HostDisconnected,
                format!("{} has been silent for {silent} s: its state is unknown.", host.name),
                "Check the host's power and network, and the quantix-node service on it.",
            );
            Some(fault.on_host(&host.name))
        }
    }
}

/// The fault of a call that a host did not answer: says how long nothing was heard of it.
pub fn no_answer(app: &App, host: &HostRecord, fault: Fault) -> Fault {
    if !matches!(fault.code, FaultCode::HostUnreachable | FaultCode::DeadlineExceeded) {
        return fault;
    }
    if let HostPhase::Disconnected = phase(app, host)
        && let Some(silent) = why_not_ready(app, host, HostPhase::Disconnected)
    {
        return silent.because(fault.cause);
    }
    let heard = app.live.get(host.id).map(|live| live.beat_at).or(host.seen_at);
    let Some(age) = heard.map(|at| at.age(app.core.clock.now()).as_secs()) else { return fault };
    let cause = format!("{}; its last report came {age} s ago", fault.cause);
    fault.because(cause)
}

fn shown(app: &App, host: &HostRecord, on_it: &Roster) -> wire::Host {
    let phase = phase(app, host);
    let live = app.live.get(host.id);
    let known = matches!(phase, HostPhase::Ready | HostPhase::Degraded);
    let (vms, pools) = (on_it.vms.len(), on_it.pools.len());
    let certificate = certificate::of_host(app, host.id, host.certificate_expires_at);
    let mut inventory = host.discovery.as_ref().map(wire::Discovery::from);
    if let (Some(inventory), Some(engine)) = (&mut inventory, live.as_ref().and_then(|l| l.engine.as_ref())) {
        inventory.engine = wire::Engine::from(engine).into();
    }
    wire::Host {
        id: host.id.to_string(),
        name: host.name.clone(),
        url: host.url.clone(),
        phase: twin::write(phase),
        fault: why_not_ready(app, host, phase).as_ref().map(Into::into).into(),
        inventory: inventory.into(),
        vitals: live.as_ref().filter(|_| known).map(|l| wire::Vitals::from(&l.vitals)).into(),
        observed_at: live.as_ref().map(|l| l.beat_at).or(host.seen_at).map(time::to_proto).into(),
        added_at: time::to_proto(host.added_at).into(),
        vm_count: u32::try_from(vms).unwrap_or(u32::MAX),
        running_vm_count: super::vm::ran(app, on_it),
        allowed_actions: vec![remove_action(vms, pools)],
        node_version: host.node_version.clone(),
        clock_skew_ms: live.as_ref().map_or(0, |l| l.clock_skew_ms),
        beat_interval_ms: u64::try_from(interval(host).as_millis()).unwrap_or(u64::MAX),
        certificate_expires_at: time::to_proto(certificate.0).into(),
        certificate_fault: certificate.1.as_ref().map(Into::into).into(),
        ..Default::default()
    }
}

fn remove_action(vms: usize, pools: usize) -> AllowedAction {
    let reason = match (vms, pools) {
        (0, 0) => String::new(),
        (vms, 0) => format!("{vms} VMs are on it: delete them first."),
        (0, pools) => format!("{pools} pools are on it: unassign them first."),
        (vms, pools) => format!("{vms} VMs and {pools} pools are on it: remove those first."),
    };
    AllowedAction {
        verb: "remove".into(),
        allowed: reason.is_empty(),
        reason_if_not: reason,
        ..Default::default()
    }
}

/// Hosts that answer a ping and are not registered yet: on this machine, and where the settings say.
pub async fn offers(app: &App) -> Result<Vec<wire::HostOffer>, Fault> {
    let mut urls = app.core.config.host_offer_urls.clone();
    urls.sort();
    urls.dedup();
    let asked = urls.iter().map(|url| async move {
        let registration = Registration::offer(url).ok()?.by(&app.core.clock);
        let contact = tokio::time::timeout(OFFER_DEADLINE, registration.ping()).await.ok()?.ok()?;
        Some((registration.url().to_string(), contact))
    });
    let mut offers = Vec::new();
    for (url, contact) in join_all(asked).await.into_iter().flatten() {
        let Ok(facts) = CertificateFacts::read(&contact.certificate_der) else { continue };
        if app.core.store.host_find_by_key(&facts.key_fingerprint.0).await?.is_none() {
            let version = contact.ping.version;
            offers.push(wire::HostOffer { url, version, ..Default::default() });
        }
    }
    Ok(offers)
}

fn told(phase: wire::Phase, state: wire::PhaseState, since: Instant) -> wire::ProbeHostResponse {
    wire::ProbeHostResponse {
        phase: phase.into(),
        state: state.into(),
        elapsed_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..Default::default()
    }
}

/// Runs PING, TOKEN and DISCOVERY, telling of each. Ends early when nobody listens any more.
pub async fn probe(
    app: std::sync::Arc<App>,
    url: String,
    token: String,
    tell: mpsc::Sender<wire::ProbeHostResponse>,
) {
    use wire::Phase::{PHASE_DISCOVERY, PHASE_PING, PHASE_TOKEN};
    use wire::PhaseState::{PHASE_STATE_DONE, PHASE_STATE_RUNNING};
    let start = Instant::now();
    let registration = match Registration::new(&url, &token) {
        Ok(registration) => registration.by(&app.core.clock),
        Err(fault) => return fail(&tell, start, &fault).await,
    };
    let _ = tell.send(told(PHASE_PING, PHASE_STATE_RUNNING, start)).await;
    let (contact, known) = match ping(&app, &registration).await {
        Ok(found) => found,
        Err(fault) => return fail(&tell, start, &fault).await,
    };
    let mut done = told(PHASE_PING, PHASE_STATE_DONE, start);
    done.host_version = contact.ping.version.clone();
    done.clock_skew_ms = contact.clock_skew_ms;
    let _ = tell.send(done).await;

    let start = Instant::now();
    let _ = tell.send(told(PHASE_TOKEN, PHASE_STATE_RUNNING, start)).await;
    if let Err(fault) = registration.token().await {
        return fail(&tell, start, &fault).await;
    }
    let _ = tell.send(told(PHASE_TOKEN, PHASE_STATE_DONE, start)).await;

    let start = Instant::now();
    let _ = tell.send(told(PHASE_DISCOVERY, PHASE_STATE_RUNNING, start)).await;
    let discovery = match registration.discovery().await {
        Ok(discovery) => discovery,
        Err(fault) => return fail(&tell, start, &fault).await,
    };
    let mut done = told(PHASE_DISCOVERY, PHASE_STATE_DONE, start);
    done.discovery = wire::Discovery::from(&discovery).into();
    done.host_version = contact.ping.version.clone();
    done.clock_skew_ms = contact.clock_skew_ms;
    if let Some(known) = known {
        (done.known_host_id, done.known_host_name) = (known.id.to_string(), known.name);
    }
    let made_at = Instant::now();
    done.probe_id = app.probes.keep(Probe { made_at, registration, contact, discovery, told: None });
    let _ = tell.send(done).await;
}

async fn ping(app: &App, registration: &Registration) -> Result<(Contact, Option<HostRecord>), Fault> {
    let contact = registration.ping().await?;
    let facts = CertificateFacts::read(&contact.certificate_der)?;
    let known = app.core.store.host_find_by_key(&facts.key_fingerprint.0).await;
    Ok((contact, known.map_err(|err| Fault::from(err).in_phase("PING"))?))
}

async fn fail(tell: &mpsc::Sender<wire::ProbeHostResponse>, start: Instant, fault: &Fault) {
    let phase = match fault.phase.as_str() {
        "TOKEN" => wire::Phase::PHASE_TOKEN,
        "DISCOVERY" => wire::Phase::PHASE_DISCOVERY,
        _ => wire::Phase::PHASE_PING,
    };
    let mut failed = told(phase, wire::PhaseState::PHASE_STATE_FAILED, start);
    failed.fault = quantix_contract::quantix::fault::v1::FaultDetail::from(fault).into();
    let _ = tell.send(failed).await;
}

/// Removes a host, and tells it so when it can be reached. Its VMs go on running.
pub async fn remove(app: &App, id: HostId, force: bool) -> Result<(), Fault> {
    let host = app.core.store.host_get(id).await?;
    if !force {
        refuse_in_use(app, &host).await?;
    }
    let line = app.lines.to(app, &host).ok();
    app.core.store.host_delete(id, force).await?;
    app.live.remove(id);
    app.lives.remove(id);
    app.lines.remove(id);
    app.core.bus.changed(Thing::Host(id));
    if let Some(line) = line
        && let Err(fault) = line.leave(Default::default()).await
    {
        tracing::info!(host = host.name, %fault, "the removed host could not be told");
    }
    Ok(())
}

async fn refuse_in_use(app: &App, host: &HostRecord) -> Result<(), Fault> {
    let vms = app.core.store.vm_of_host(host.id).await?;
    let pools = app.core.store.pool_of_host(host.id).await?;
    if vms.is_empty() && pools.is_empty() {
        return Ok(());
    }
    let names = |kind: &str, names: Vec<&str>| match names.len() {
        0 => None,
        n if n > 5 => Some(format!("{kind} {} and {} more", names[..5].join(", "), n - 5)),
        _ => Some(format!("{kind} {}", names.join(", "))),
    };
    let on_it: Vec<String> = [
        names("VM", vms.iter().map(|vm| vm.name.as_str()).collect()),
        names("pool", pools.iter().map(|(pool, _)| pool.name.as_str()).collect()),
    ]
    .into_iter()
    .flatten()
    .collect();
    Err(Fault::new(
        FaultCode::HostInUse,
        format!("{} still has {}.", host.name, on_it.join(" and ")),
        "Delete those VMs and unassign those pools first, or remove the host by force: its VMs then go on running unknown to the vDC.",
    )
    .on_host(&host.name))
}
