//! A hypervisor in memory, with the semantics of the real one: same faults, same events, same state table. It
//! stands in at the host boundary so that the real daemon can be tested where no QEMU can run; `conformance`
//! holds it and libvirt to the same behaviour.
//!
//! One mutex owns all machines; it is never held across an await. Trouble is injected by the test:
//!
//! ```text
//!   Trouble::None ──set_trouble──▶ Down     every call HYPERVISOR_UNAVAILABLE; machines keep their state
//!                                  Slow     every call waits, and misses its deadline if asked to wait so long
//!                                  Refuse   define and power HYPERVISOR_REFUSED with the words given
//! ```

mod disk;
mod screen;

use crate::driver::{Driver, LOST, Machine, MachineDisk, MachineEvent, MachineReport, RETURNED, Result};
use crate::refusal;
use async_trait::async_trait;
use quantix_model::host::{Accelerator, Engine};
use quantix_model::id::VmId;
use quantix_model::time::UnixMs;
use quantix_model::vm::{PowerState, PowerStep, PowerVerb, power_step};
use quantix_model::{Fault, Secret};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// What every call may take unless a test says otherwise, as for the real driver.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a fake guest needs to shut itself down.
const SHUT_DOWN: Duration = Duration::from_millis(30);
/// Events a slow reader may miss before it is told to list again.
const EVENTS_MAX: usize = 256;

/// What a test makes go wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// All is well.
    #[default]
    None,
    /// Nobody answers.
    Down,
    /// Every call waits so long first.
    Slow(Duration),
    /// `define` and `power` are refused with these words.
    Refuse(String),
}

/// A hypervisor in memory. Clones share the machines.
#[derive(Clone)]
pub struct FakeDriver {
    inner: Arc<Inner>,
}

struct Inner {
    accelerator: Accelerator,
    events: broadcast::Sender<MachineEvent>,
    state: Mutex<State>,
}

struct State {
    machines: BTreeMap<VmId, FakeMachine>,
    trouble: Trouble,
    deadline: Duration,
    acpi_ignored: bool,
    disks_held: bool,
    secrets: BTreeMap<Uuid, Secret>,
}

struct FakeMachine {
    definition: Machine,
    /// What the guest sees, with sizes in bytes; empty while it is not active.
    live: Vec<(MachineDisk, u64)>,
    ours: bool,
    power: PowerState,
    reason: &'static str,
    started: Option<Instant>,
    /// Ends the screens of this run when the machine stops.
    alive: watch::Sender<bool>,
}

impl FakeDriver {
    /// An empty hypervisor that says guests run so.
    pub fn new(accelerator: Accelerator) -> FakeDriver {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let state = State {
            machines: BTreeMap::new(),
            trouble: Trouble::None,
            deadline: DEADLINE,
            acpi_ignored: false,
            disks_held: false,
            secrets: BTreeMap::new(),
        };
        FakeDriver { inner: Arc::new(Inner { accelerator, events, state: Mutex::new(state) }) }
    }

    /// Makes something go wrong, or right again. Losing the hypervisor and finding it again is announced for
    /// every machine.
    pub fn set_trouble(&self, trouble: Trouble) {
        let (was_down, is_down, ids) = {
            let mut state = self.inner.lock();
            let is_down = trouble == Trouble::Down;
            let was = std::mem::replace(&mut state.trouble, trouble);
            if was == Trouble::Down && !is_down {
                // They were in its memory only.
                state.secrets.clear();
            }
            (was == Trouble::Down, is_down, state.machines.keys().copied().collect::<Vec<_>>())
        };
        let told = match (was_down, is_down) {
            (false, true) => LOST,
            (true, false) => RETURNED,
            (true, true) | (false, false) => return,
        };
        for id in ids {
            self.inner.tell(id, told);
        }
    }

    /// Sets what every call may take.
    pub fn set_deadline(&self, deadline: Duration) {
        self.inner.lock().deadline = deadline;
    }

    /// Makes guests deaf to the power button, as many are.
    pub fn set_acpi_ignored(&self, ignored: bool) {
        self.inner.lock().acpi_ignored = ignored;
    }

    /// Puts a machine there that Quantix did not make.
    pub fn add_foreign(&self, id: VmId, name: &str) {
        let definition = Machine {
            id,
            name: name.to_owned(),
            generation: 0,
            vcpus: 1,
            memory_bytes: 256 << 20,
            firmware: Default::default(),
            disks: vec![],
            cdrom: None,
            nics: vec![],
            accelerator: self.inner.accelerator,
        };
        self.inner.lock().machines.insert(id, FakeMachine::new(definition, false));
        self.inner.tell(id, "defined");
    }

    /// Takes a machine away behind the daemon's back, as another tool would.
    pub fn vanish(&self, id: VmId) {
        self.inner.lock().machines.remove(&id);
        self.inner.tell(id, "undefined");
    }

    /// The guest powers itself off.
    pub fn guest_powers_off(&self, id: VmId) {
        self.inner.stop(id, PowerState::Off, "shutdown", "stopped: shutdown");
    }

    /// QEMU dies.
    pub fn crash(&self, id: VmId) {
        self.inner.stop(id, PowerState::Crashed, "crashed", "stopped: crashed");
    }

    /// What was defined last, as it was given.
    pub fn definition(&self, id: VmId) -> Option<Machine> {
        self.inner.lock().machines.get(&id).map(|m| m.definition.clone())
    }

    async fn admit(&self, what: &str) -> Result<()> {
        let (trouble, deadline) = {
            let state = self.inner.lock();
            (state.trouble.clone(), state.deadline)
        };
        match trouble {
            Trouble::None | Trouble::Refuse(_) => Ok(()),
            Trouble::Down => Err(refusal::unavailable(
                "Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused",
            )),
            Trouble::Slow(delay) if delay < deadline => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Trouble::Slow(_) => {
                tokio::time::sleep(deadline).await;
                Err(refusal::too_slow(what, deadline))
            }
        }
    }

    async fn admit_change(&self, what: &str) -> Result<()> {
        self.admit(what).await?;
        match &self.inner.lock().trouble {
            Trouble::Refuse(words) => {
                Err(refusal::refused(what, words, "See the details below; the host's log may say more."))
            }
            Trouble::None | Trouble::Down | Trouble::Slow(_) => Ok(()),
        }
    }

    /// The guest heard the power button: some time later it is off.
    fn shut_down_later(&self, id: VmId) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            tokio::time::sleep(SHUT_DOWN).await;
            inner.stop(id, PowerState::Off, "shutdown", "stopped: shutdown");
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, id: VmId, what: &str) {
        let _ = self.events.send(MachineEvent { id, what: what.to_owned(), at: now() });
    }

    fn stop(&self, id: VmId, power: PowerState, reason: &'static str, what: &str) {
        let stopped = match self.lock().machines.get_mut(&id) {
            Some(machine) if machine.power.is_active() => {
                machine.set(power, reason);
                true
            }
            _ => false,
        };
        if stopped {
            self.tell(id, what);
        }
    }
}

impl FakeMachine {
    fn new(definition: Machine, ours: bool) -> FakeMachine {
        let (alive, _) = watch::channel(false);
        FakeMachine {
            definition,
            live: Vec::new(),
            ours,
            power: PowerState::Off,
            reason: "unknown",
            started: None,
            alive,
        }
    }

    fn set(&mut self, power: PowerState, reason: &'static str) {
        let was_active = self.power.is_active();
        self.power = power;
        self.reason = reason;
        if power.is_active() && !was_active {
            self.started = Some(Instant::now());
            self.live = self.definition.disks.iter().map(|disk| (disk.clone(), disk::SIZE_BYTES)).collect();
            self.alive = watch::channel(true).0;
        } else if !power.is_active() {
            self.started = None;
            self.live.clear();
            self.alive.send_replace(false);
        }
    }

    fn report(&self) -> MachineReport {
        let uptime = self.started.map(|at| at.elapsed());
        MachineReport {
            id: self.definition.id,
            name: self.definition.name.clone(),
            generation: self.ours.then_some(self.definition.generation),
            power_state: self.power,
            power_reason: self.reason.to_owned(),
            cpu_time_ns: uptime.map(|up| u64::try_from(up.as_nanos()).unwrap_or(u64::MAX)),
            memory_used_bytes: uptime.map(|_| self.definition.memory_bytes / 2),
            vcpus: self.definition.vcpus,
        }
    }
}

#[async_trait]
impl Driver for FakeDriver {
    async fn engine(&self) -> Engine {
        let fault: Option<Fault> = self.admit("tell its version").await.err();
        Engine {
            libvirt_version: if fault.is_none() { "9.0.0".to_owned() } else { String::new() },
            qemu_version: if fault.is_none() { "7.2.0".to_owned() } else { String::new() },
            kvm_device_present: self.inner.accelerator == Accelerator::Kvm,
            accelerator: self.inner.accelerator,
            accelerator_reason: "this hypervisor is simulated".to_owned(),
            fault,
            weakness: None,
        }
    }

    async fn define(&self, machine: &Machine) -> Result<()> {
        // The same checks as for libvirt: what cannot be written down cannot be defined.
        crate::xml::domain_xml(machine)?;
        self.admit_change("define the VM").await?;
        let updated = {
            let mut state = self.inner.lock();
            if let Some(there) = state.machines.get(&machine.id)
                && there.definition.name != machine.name
            {
                return Err(refusal::renamed(machine.id, &there.definition.name, &machine.name));
            }
            if let Some((owner, _)) =
                state.machines.iter().find(|(id, m)| **id != machine.id && m.definition.name == machine.name)
            {
                let words = format!("domain '{}' already exists with uuid {owner}", machine.name);
                return Err(refusal::name_taken(&machine.name, &words));
            }
            match state.machines.get_mut(&machine.id) {
                Some(there) => {
                    there.definition = machine.clone();
                    there.ours = true;
                    true
                }
                None => {
                    state.machines.insert(machine.id, FakeMachine::new(machine.clone(), true));
                    false
                }
            }
        };
        self.inner.tell(machine.id, if updated { "defined: updated" } else { "defined" });
        Ok(())
    }

    async fn undefine(&self, id: VmId) -> Result<bool> {
        self.admit("remove the VM's definition").await?;
        {
            let mut state = self.inner.lock();
            match state.machines.get(&id) {
                None => return Ok(false),
                Some(m) if m.power.is_active() => {
                    return Err(refusal::undefine_active(&m.definition.name, m.power));
                }
                Some(_) => state.machines.remove(&id),
            };
        }
        self.inner.tell(id, "undefined");
        Ok(true)
    }

    async fn power(&self, id: VmId, verb: PowerVerb) -> Result<()> {
        self.admit_change("change the VM's power").await?;
        let (told, shuts_down) = {
            let mut state = self.inner.lock();
            let acpi_ignored = state.acpi_ignored;
            if verb == PowerVerb::Start {
                state.keys_are_there(id)?;
            }
            let machine = state.machines.get_mut(&id).ok_or_else(|| refusal::missing(id))?;
            match power_step(machine.power, verb) {
                PowerStep::Already => return Ok(()),
                PowerStep::Refuse(why) => {
                    return Err(refusal::not_allowed(&machine.definition.name, verb, machine.power, why));
                }
                PowerStep::Go => {}
            }
            match verb {
                PowerVerb::Start => {
                    machine.set(PowerState::Running, "booted");
                    ("started", false)
                }
                PowerVerb::ShutDown if acpi_ignored => return Ok(()),
                PowerVerb::ShutDown => {
                    machine.set(PowerState::ShuttingDown, "user");
                    ("shutdown: guest", true)
                }
                PowerVerb::ForceStop => {
                    machine.set(PowerState::Off, "destroyed");
                    ("stopped: destroyed", false)
                }
                PowerVerb::Reboot | PowerVerb::Reset => ("reboot", false),
                PowerVerb::Pause => {
                    machine.set(PowerState::Paused, "user");
                    ("suspended", false)
                }
                PowerVerb::Resume => {
                    machine.set(PowerState::Running, "unpaused");
                    ("resumed", false)
                }
            }
        };
        self.inner.tell(id, told);
        if shuts_down {
            self.shut_down_later(id);
        }
        Ok(())
    }

    async fn get(&self, id: VmId) -> Result<Option<MachineReport>> {
        self.admit("describe the VM").await?;
        Ok(self.inner.lock().machines.get(&id).map(FakeMachine::report))
    }

    async fn list(&self) -> Result<Vec<MachineReport>> {
        self.admit("list its VMs").await?;
        Ok(self.inner.lock().machines.values().map(FakeMachine::report).collect())
    }

    async fn console(&self, id: VmId) -> Result<UnixStream> {
        self.admit("open the VM's screen").await?;
        let (name, alive) = {
            let state = self.inner.lock();
            let machine = state.machines.get(&id).ok_or_else(|| refusal::missing(id))?;
            if !machine.power.is_active() {
                return Err(refusal::no_screen(&machine.definition.name, machine.power));
            }
            (machine.definition.name.clone(), machine.alive.subscribe())
        };
        screen::open(name, alive).map_err(|error| Fault::internal(format!("fake screen: {error}")))
    }

    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.inner.events.subscribe()
    }
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
