//! VMs of this host: who owns them, what is known of them, and how both stay true.
//!
//! ```text
//!   NodeService ──▶ Vms ──mailbox──▶ owner task of the VM ──▶ driver
//!                    │                     │ looks
//!   driver events ──▶ watcher ──▶ table ◀──┘ ──▶ beat
//!   every 10 s ─────▶   (list)
//! ```

pub mod disk;
mod owner;
pub mod queue;
pub mod table;

use crate::clock;
use crate::facts::Facts;
use crate::ledger::{Ledger, VmEntry};
use crate::pool::Pools;
pub use owner::{Intent, Outcome};
use owner::{Wish, Work};
use quantix_hypervisor::driver::{Driver, MachineEvent, MachineReport, RETURNED};
use quantix_model::host::Accelerator;
use quantix_model::id::{PoolId, VmId};
use quantix_model::{Fault, FaultCode, UnixMs};
use queue::Ask;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How often everything is listed, events or not.
const LIST_INTERVAL: Duration = Duration::from_secs(10);
/// How often a hypervisor that does not answer is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Events within this time are looked at together.
const EVENT_PAUSE: Duration = Duration::from_millis(30);
/// The driver has deadlines of its own; this one holds whatever the driver does.
const LOOK_DEADLINE: Duration = Duration::from_secs(45);

/// VMs of this host.
pub struct Vms {
    driver: Arc<dyn Driver>,
    ledger: Ledger,
    pools: Arc<Pools>,
    table: Table,
    facts: Arc<Facts>,
    owners: Mutex<HashMap<VmId, mpsc::Sender<Wish>>>,
    /// VMs that are off and whose volumes were let go of in this life of the daemon.
    settled: Mutex<BTreeSet<VmId>>,
    /// VMs whose volumes are being let go of.
    settling: Mutex<BTreeSet<VmId>>,
    /// Pools whose keys the hypervisor was given.
    keys: Mutex<BTreeSet<PoolId>>,
    changed: Arc<Notify>,
    /// The first listing has ended, well or badly.
    listed: watch::Sender<bool>,
}

impl Vms {
    /// The VMs of a driver. Nothing runs until [`Vms::watch`] does.
    pub fn new(
        driver: Arc<dyn Driver>,
        ledger: Ledger,
        pools: Arc<Pools>,
        facts: Arc<Facts>,
        changed: Arc<Notify>,
    ) -> Arc<Vms> {
        Arc::new(Vms {
            driver,
            ledger,
            pools,
            table: Table::default(),
            facts,
            owners: Mutex::default(),
            settled: Mutex::default(),
            settling: Mutex::default(),
            keys: Mutex::default(),
            changed,
            listed: watch::channel(false).0,
        })
    }

    /// What is known.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Waits until the first listing has ended, well or badly: before that nobody knows, and nobody was asked.
    pub async fn listed(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// The driver, for screens.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// Hands a wish to the VM's owner and waits for what comes of it.
    pub async fn ask(self: &Arc<Vms>, id: VmId, ask: Ask, intent: Option<Intent>) -> Result<Outcome, Fault> {
        self.ask_with(id, ask, intent, None).await
    }

    async fn ask_with(
        self: &Arc<Vms>,
        id: VmId,
        ask: Ask,
        intent: Option<Intent>,
        work: Option<Work>,
    ) -> Result<Outcome, Fault> {
        let (reply, answer) = oneshot::channel();
        {
            let mut owners = self.owners();
            let owner = owners.entry(id).or_insert_with(|| owner::start(Arc::clone(self), id));
            owner.try_send(Wish { ask, intent, work, reply }).map_err(|_| {
                Fault::new(FaultCode::Busy, "Too many requests wait for this VM.", "Try again in a moment.")
            })?;
        }
        let outcome = answer.await.map_err(|_| Fault::internal("the VM's owner is gone"))?;
        self.changed.notify_one();
        outcome
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<VmId, mpsc::Sender<Wish>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, BTreeSet<VmId>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settling(&self) -> MutexGuard<'_, BTreeSet<VmId>> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<PoolId>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an idle owner go, unless a wish came just now.
    fn retire(&self, id: VmId, mailbox: &mpsc::Receiver<Wish>) -> bool {
        let mut owners = self.owners();
        if !mailbox.is_empty() {
            return false;
        }
        owners.remove(&id);
        true
    }

    /// Lets all owners end what they are at, and take no more.
    pub fn stop(&self) {
        self.owners().clear();
    }

    /// Looks at one machine now, and notes it.
    async fn look(&self, id: VmId) -> Result<Option<MachineReport>, Fault> {
        let report = match deadline(self.driver.get(id)).await {
            Ok(report) => report,
            Err(fault) => {
                if fault.code == FaultCode::HypervisorUnavailable && self.table.unknown(fault.clone()) {
                    self.facts.doubt_engine();
                    self.changed.notify_one();
                }
                return Err(fault);
            }
        };
        self.saw(id, report.clone());
        Ok(report)
    }

    fn saw(&self, id: VmId, report: Option<MachineReport>) {
        if self.table.note(id, report, None, clock::now()) {
            self.changed.notify_one();
        }
    }

    /// How guests run here, as the engine said last.
    async fn accelerator(&self) -> Result<Accelerator, Fault> {
        let known = self.facts.engine().borrow().clone();
        let engine = match known.filter(|e| e.fault.is_none()) {
            Some(engine) => engine,
            None => deadline(async { Ok(self.driver.engine().await) }).await?,
        };
        match engine.fault {
            Some(fault) => Err(fault),
            None => Ok(engine.accelerator),
        }
    }

    /// Keeps the table true until told to stop.
    pub async fn watch(self: Arc<Vms>, stop: CancellationToken) {
        let mut events = self.driver.events();
        let mut unlisted = BTreeSet::new();
        let mut keys_lost = true;
        loop {
            let pause = match self.list().await {
                true => {
                    self.settle();
                    keys_lost = self.keep_keys(keys_lost).await;
                    unlisted = self.prune(unlisted).await;
                    LIST_INTERVAL
                }
                false => RETRY_INTERVAL,
            };
            let until = tokio::time::Instant::now() + pause;
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow(&mut events, until) => followed,
            };
            match followed {
                Followed::Time => {}
                Followed::Returned => keys_lost = true,
                Followed::Closed => events = self.driver.events(),
            }
        }
    }

    /// Gives the hypervisor the keys it needs; whether it still lacks some.
    async fn keep_keys(&self, lost: bool) -> bool {
        match self.refresh_keys(lost).await {
            Ok(()) => false,
            Err(fault) => {
                tracing::warn!(%fault, "the hypervisor was not given the keys of its pools");
                lost
            }
        }
    }

    /// Follows events until the time comes to list again.
    async fn follow(
        self: &Arc<Vms>,
        events: &mut broadcast::Receiver<MachineEvent>,
        until: tokio::time::Instant,
    ) -> Followed {
        loop {
            let event = match tokio::time::timeout_at(until, events.recv()).await {
                Err(_) => return Followed::Time,
                // What was missed may have been a return.
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => return Followed::Returned,
                Ok(Err(broadcast::error::RecvError::Closed)) => {
                    tokio::time::sleep_until(until).await;
                    return Followed::Closed;
                }
                Ok(Ok(event)) => event,
            };
            let mut returned = event.what == RETURNED;
            let mut seen: BTreeMap<VmId, UnixMs> = BTreeMap::from([(event.id, event.at)]);
            tokio::time::sleep(EVENT_PAUSE).await;
            while let Ok(more) = events.try_recv() {
                returned |= more.what == RETURNED;
                seen.insert(more.id, more.at);
            }
            for (id, at) in seen {
                match deadline(self.driver.get(id)).await {
                    Ok(report) => {
                        if self.table.note(id, report, Some(at), clock::now()) {
                            self.changed.notify_one();
                        }
                    }
                    Err(_) => return if returned { Followed::Returned } else { Followed::Time },
                }
            }
            if returned {
                return Followed::Returned;
            }
            self.settle();
        }
    }

    async fn list(&self) -> bool {
        let (begun, knew) = (clock::now(), self.table.is_known());
        let listed = deadline(self.driver.list()).await;
        let ok = listed.is_ok();
        let changed = match listed {
            Ok(list) => {
                if !knew {
                    tracing::info!("the hypervisor answers");
                }
                self.table.replace(list, begun, clock::now())
            }
            Err(fault) => {
                let changed = self.table.unknown(fault.clone());
                if changed {
                    tracing::warn!(%fault, "the hypervisor does not answer");
                }
                changed
            }
        };
        let first = !self.listed.send_replace(true);
        if !first && ok != knew {
            self.facts.doubt_engine();
        }
        if changed {
            self.changed.notify_one();
        }
        ok
    }

    /// Forgets what the ledger says of VMs that were missing in two lists running and have no owner at work: their
    /// definition was never made, or was taken away by somebody else. Answers those missing for the first time.
    async fn prune(self: &Arc<Vms>, unlisted: BTreeSet<VmId>) -> BTreeSet<VmId> {
        let book = self.ledger.book();
        let missing: BTreeSet<VmId> =
            book.vms.keys().filter(|id| self.table.exists(**id) == Some(false)).copied().collect();
        let gone: Vec<(VmId, VmEntry)> = missing
            .intersection(&unlisted)
            .filter_map(|id| book.vms.get(id).map(|entry| (*id, entry.clone())))
            .collect();
        if !gone.is_empty() {
            let vms = Arc::clone(self);
            let forget = self.ledger.update(move |book| {
                for (id, entry) in gone {
                    if !vms.owners().contains_key(&id) && book.vms.get(&id) == Some(&entry) {
                        tracing::info!(vm = %id, name = entry.name, "the VM is no longer defined here");
                        book.vms.remove(&id);
                    }
                }
                Ok(())
            });
            if let Err(fault) = forget.await {
                tracing::warn!(%fault, "the ledger could not be cleaned");
            }
        }
        missing
    }
}

/// Why events are followed no further.
enum Followed {
    /// It is time to list, or the hypervisor does not answer.
    Time,
    /// The hypervisor came back: it may have forgotten keys.
    Returned,
    /// The driver ended its events.
    Closed,
}

/// Holds a driver to an answer in time.
async fn deadline<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(LOOK_DEADLINE, work).await.unwrap_or_else(|_| {
        Err(Fault::new(
            FaultCode::HypervisorUnavailable,
            format!("The hypervisor did not answer within {} s.", LOOK_DEADLINE.as_secs()),
            "Look at libvirt on the host: `systemctl status libvirtd`.",
        ))
    })
}
