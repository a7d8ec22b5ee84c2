//! What this machine is and how it does: read in the background, so that telling it never waits.

use crate::vm::Vms;
use quantix_host::vitals::VitalsReader;
use quantix_hypervisor::driver::Driver;
use quantix_model::Fault;
use quantix_model::host::{Accelerator, Discovery, Engine, ExistingVm, Inventory, Vitals};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often hardware is looked at.
const INVENTORY_INTERVAL: Duration = Duration::from_secs(60);
/// How often the engine is asked for its versions while it answers.
const ENGINE_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is asked while it does not.
const ENGINE_RETRY: Duration = Duration::from_secs(3);
/// An engine that has not answered by then is reported as silent; it is still waited for.
const ENGINE_DEADLINE: Duration = Duration::from_secs(10);
/// Reading the hardware for the first time takes well under a second.
const HOSTNAME_DEADLINE: Duration = Duration::from_secs(5);
/// /proc answers in well under a millisecond; later than this it is not waited for.
const VITALS_DEADLINE: Duration = Duration::from_secs(1);

/// What is known of the machine.
pub struct Facts {
    root: PathBuf,
    inventory: watch::Sender<Option<Arc<Inventory>>>,
    engine: watch::Sender<Option<Engine>>,
    /// Somebody saw the engine fall silent, or answer again.
    doubt: Notify,
    reader: Arc<Mutex<VitalsReader>>,
    last_vitals: Mutex<Vitals>,
}

impl Facts {
    /// Knows nothing yet. `root` is `/` outside tests.
    pub fn new(root: PathBuf) -> Arc<Facts> {
        Arc::new(Facts {
            reader: Arc::new(Mutex::new(VitalsReader::new(&root))),
            root,
            inventory: watch::channel(None).0,
            engine: watch::channel(None).0,
            doubt: Notify::new(),
            last_vitals: Mutex::default(),
        })
    }

    /// The engine as it said last.
    pub fn engine(&self) -> watch::Receiver<Option<Engine>> {
        self.engine.subscribe()
    }

    /// Has the engine asked now instead of at its next turn.
    pub fn doubt_engine(&self) {
        self.doubt.notify_one();
    }

    /// Waits until the engine was asked once, and answered or failed to.
    pub async fn engine_asked(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.engine.subscribe().wait_for(Option::is_some).await;
    }

    /// The hardware as read last.
    pub fn inventory(&self) -> Option<Arc<Inventory>> {
        self.inventory.borrow().clone()
    }

    /// The machine's own name; waits a moment for the first reading.
    pub async fn hostname(&self) -> String {
        let mut inventory = self.inventory.subscribe();
        let first = tokio::time::timeout(HOSTNAME_DEADLINE, inventory.wait_for(Option::is_some)).await;
        match first {
            Ok(Ok(found)) => found.as_ref().map(|i| i.hostname.clone()).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Moving figures now, or the last ones when reading them takes too long.
    pub async fn vitals(&self) -> Vitals {
        let reader = Arc::clone(&self.reader);
        let read =
            tokio::task::spawn_blocking(move || reader.lock().unwrap_or_else(PoisonError::into_inner).read());
        let read = tokio::time::timeout(VITALS_DEADLINE, read).await;
        let mut last = self.last_vitals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Ok(vitals)) = read {
            *last = vitals;
        }
        last.clone()
    }

    /// Everything, for a vDC that considers this host. Waits for the first reading.
    pub async fn discovery(&self, vms: &Vms) -> Result<Discovery, Fault> {
        let (mut inventory, mut engine) = (self.inventory.subscribe(), self.engine.subscribe());
        let inventory = inventory.wait_for(Option::is_some).await.map_err(Fault::internal)?.clone();
        let engine = engine.wait_for(Option::is_some).await.map_err(Fault::internal)?.clone();
        let existing_vms = vms.table().all().into_iter().map(|fact| ExistingVm {
            id: fact.report.id.to_string(),
            name: fact.report.name,
            running: fact.report.power_state.is_active(),
        });
        Ok(Discovery {
            inventory: inventory.map(|i| Inventory::clone(&i)).unwrap_or_default(),
            engine: engine.unwrap_or_else(|| silent("it was not asked yet".into())),
            existing_vms: existing_vms.collect(),
        })
    }

    /// Keeps the inventory fresh until told to stop.
    pub async fn watch_inventory(self: Arc<Facts>, changed: Arc<Notify>, stop: CancellationToken) {
        loop {
            let root = self.root.clone();
            match tokio::task::spawn_blocking(move || quantix_host::inventory::read(&root)).await {
                Ok(found) => {
                    let differs = self.inventory.borrow().as_deref() != Some(&found);
                    if differs {
                        self.inventory.send_replace(Some(Arc::new(found)));
                        changed.notify_one();
                    }
                }
                Err(err) => tracing::warn!(%err, "the hardware could not be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INVENTORY_INTERVAL) => {}
            }
        }
    }

    /// Keeps the engine's facts fresh until told to stop.
    pub async fn watch_engine(
        self: Arc<Facts>,
        driver: Arc<dyn Driver>,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) {
        loop {
            let asked = driver.engine();
            tokio::pin!(asked);
            let engine = tokio::select! {
                () = stop.cancelled() => return,
                answer = tokio::time::timeout(ENGINE_DEADLINE, &mut asked) => answer,
            };
            let engine = match engine {
                Ok(engine) => engine,
                Err(_) => {
                    let last = self.engine.borrow().clone();
                    let cause = format!("it did not answer within {} s", ENGINE_DEADLINE.as_secs());
                    self.tell(
                        Engine { fault: silent(cause.clone()).fault, ..last.unwrap_or(silent(cause)) },
                        &changed,
                    );
                    tokio::select! {
                        () = stop.cancelled() => return,
                        engine = asked => engine,
                    }
                }
            };
            let pause = if engine.fault.is_none() { ENGINE_INTERVAL } else { ENGINE_RETRY };
            self.tell(engine, &changed);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.doubt.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn tell(&self, engine: Engine, changed: &Notify) {
        if self.engine.borrow().as_ref() != Some(&engine) {
            self.engine.send_replace(Some(engine));
            changed.notify_one();
        }
    }
}

fn silent(cause: String) -> Engine {
    Engine {
        libvirt_version: String::new(),
        qemu_version: String::new(),
        kvm_device_present: false,
        accelerator: Accelerator::Tcg,
        accelerator_reason: String::new(),
        fault: Some(
            Fault::new(
                quantix_model::FaultCode::HypervisorUnavailable,
                "The hypervisor does not answer on this host.",
                "Look at libvirt on the host: `systemctl status libvirtd`.",
            )
            .because(cause),
        ),
        weakness: None,
    }
}
