//! The real driver: libvirt and QEMU. No call blocks its caller and none waits for ever:
//!
//! ```text
//!   Driver method ─▶ Connection (link, or HYPERVISOR_UNAVAILABLE at once)
//!                 ─▶ Gate (thread + deadline; reads and changes have one each, so that a start that hangs on
//!                    storage leaves listing alone)
//!                 ─▶ a function below, on that thread, with the link
//! ```
//!
//! Errors become faults in `fault`; states and events become words in `words`; unsafe code is in `ffi` only.

mod confinement;
mod connection;
mod disk;
mod fault;
mod ffi;
mod gate;
mod words;

use crate::accelerator::{AcceleratorOptions, Prober};
use crate::driver::{Driver, Machine, MachineEvent, MachineReport, Result};
use crate::refusal;
use async_trait::async_trait;
use connection::{Connection, Link};
use gate::Gate;
use quantix_model::Fault;
use quantix_model::host::{Accelerator, AcceleratorChoice, Engine};
use quantix_model::id::VmId;
use quantix_model::vm::{PowerState, PowerStep, PowerVerb, power_step};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Reading takes milliseconds; a host that swaps may need seconds.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Defining writes a file; screens and pauses ask QEMU.
const CHANGE_DEADLINE: Duration = Duration::from_secs(30);
/// Starting opens all disks; stopping waits for QEMU to flush them.
const POWER_DEADLINE: Duration = Duration::from_secs(90);
/// Calls at once, those that hang included.
const READS_MAX: usize = 8;
const CHANGES_MAX: usize = 16;

/// How to reach libvirt, and how guests shall run.
#[derive(Clone, Debug)]
pub struct LibvirtOptions {
    /// For example `qemu:///system`.
    pub uri: String,
    /// Which accelerator, and how to prove it.
    pub accelerator: AcceleratorOptions,
}

/// libvirt and QEMU on this machine.
pub struct LibvirtDriver {
    connection: Connection,
    prober: Prober,
    reads: Gate,
    changes: Gate,
}

impl LibvirtDriver {
    /// Starts to connect and to prove the accelerator, and returns at once. Needs a running tokio runtime.
    pub fn start(options: LibvirtOptions) -> LibvirtDriver {
        LibvirtDriver {
            connection: Connection::start(&options.uri),
            prober: Prober::start(options.accelerator),
            reads: Gate::new(READS_MAX),
            changes: Gate::new(CHANGES_MAX),
        }
    }

    /// Calls to libvirt that missed their deadline and have still not returned.
    pub fn calls_abandoned(&self) -> usize {
        self.reads.abandoned() + self.changes.abandoned()
    }

    /// The accelerator's verdict, as it changes.
    pub fn prober(&self) -> &Prober {
        &self.prober
    }

    async fn call<T, F>(&self, gate: &Gate, what: &'static str, deadline: Duration, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T> + Send + 'static,
    {
        let link = self.connection.link().await?;
        gate.run(what, deadline, move || call(&Call { link, what })).await
    }
}

#[async_trait]
impl Driver for LibvirtDriver {
    async fn engine(&self) -> Engine {
        let link = self.connection.link().await;
        let verdict = self.prober.verdict();
        let mut engine = Engine {
            libvirt_version: String::new(),
            qemu_version: String::new(),
            kvm_device_present: self.prober.kvm_device_present(),
            accelerator: verdict.accelerator,
            accelerator_reason: verdict.reason,
            fault: None,
            weakness: None,
        };
        match link {
            Ok(link) => {
                engine.libvirt_version = link.libvirt_version.clone();
                engine.qemu_version = link.qemu_version.clone();
                if let (Accelerator::Kvm, Some(words)) = (engine.accelerator, &link.kvm_refusal) {
                    heed_kvm_refusal(&mut engine, self.prober.choice(), words);
                }
                // What cannot be looked at is not held against anybody.
                let look = |call: &Call| Ok(confinement::guests(Path::new("/"), &call.running()?));
                let guests = self.call(&self.reads, "list its VMs", READ_DEADLINE, look).await;
                engine.weakness = confinement::weakness(link.qemu_user, &guests.unwrap_or_default());
            }
            Err(fault) => engine.fault = Some(fault),
        }
        engine
    }

    async fn define(&self, machine: &Machine) -> Result<()> {
        let xml = crate::xml::domain_xml(machine)?;
        let (id, name) = (machine.id, machine.name.clone());
        self.call(&self.changes, "define the VM", CHANGE_DEADLINE, move |call| call.define(id, &name, &xml))
            .await
    }

    async fn undefine(&self, id: VmId) -> Result<bool> {
        self.call(&self.changes, "remove the VM's definition", CHANGE_DEADLINE, move |call| call.undefine(id))
            .await
    }

    async fn power(&self, id: VmId, verb: PowerVerb) -> Result<()> {
        let (what, deadline) = match verb {
            PowerVerb::Start => ("start the VM", POWER_DEADLINE),
            PowerVerb::ForceStop => ("stop the VM", POWER_DEADLINE),
            PowerVerb::ShutDown => ("press the VM's power button", CHANGE_DEADLINE),
            PowerVerb::Reboot => ("reboot the VM", CHANGE_DEADLINE),
            PowerVerb::Reset => ("reset the VM", CHANGE_DEADLINE),
            PowerVerb::Pause => ("pause the VM", CHANGE_DEADLINE),
            PowerVerb::Resume => ("resume the VM", CHANGE_DEADLINE),
        };
        self.call(&self.changes, what, deadline, move |call| call.power(id, verb)).await
    }

    async fn get(&self, id: VmId) -> Result<Option<MachineReport>> {
        self.call(&self.reads, "describe the VM", READ_DEADLINE, move |call| call.get(id)).await
    }

    async fn list(&self) -> Result<Vec<MachineReport>> {
        self.call(&self.reads, "list its VMs", READ_DEADLINE, |call| call.list()).await
    }

    async fn console(&self, id: VmId) -> Result<UnixStream> {
        self.call(&self.changes, "open the VM's screen", CHANGE_DEADLINE, move |call| call.console(id)).await
    }

    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.connection.events()
    }
}

/// One call on a thread that may block.
struct Call {
    link: Arc<Link>,
    what: &'static str,
}

impl Call {
    fn define(&self, id: VmId, name: &str, xml: &str) -> Result<()> {
        if let Some(there) = self.find(id)? {
            let name_here = self.name(&there)?;
            if name_here != name {
                return Err(refusal::renamed(id, &name_here, name));
            }
        }
        match Domain::define_xml(self.link.conn(), xml) {
            Ok(_) => Ok(()),
            Err(error) if fault::is_name_clash(&error) => Err(refusal::name_taken(name, error.message())),
            Err(error) => Err(self.fault(None, &error)),
        }
    }

    fn undefine(&self, id: VmId) -> Result<bool> {
        let Some(domain) = self.find(id)? else { return Ok(false) };
        let name = self.name(&domain)?;
        let (state, _) = self.state(&domain)?;
        // libvirt would make a running domain transient: it would vanish when it stops.
        if state.is_active() || state == PowerState::Unknown {
            return Err(refusal::undefine_active(&name, state));
        }
        let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        match domain.undefine_flags(flags) {
            Ok(()) => Ok(true),
            Err(error) if fault::is_missing(&error) => Ok(false),
            Err(error) => Err(self.fault(Some(&name), &error)),
        }
    }

    fn power(&self, id: VmId, verb: PowerVerb) -> Result<()> {
        let domain = self.find(id)?.ok_or_else(|| refusal::missing(id))?;
        let name = self.name(&domain)?;
        let (state, _) = self.state(&domain)?;
        match power_step(state, verb) {
            PowerStep::Already => return Ok(()),
            PowerStep::Refuse(why) => return Err(refusal::not_allowed(&name, verb, state, why)),
            PowerStep::Go => {}
        }
        let Err(error) = change(&domain, verb) else { return Ok(()) };
        // Somebody may have been faster, the guest included.
        if self.link.is_alive()
            && let Ok((state, _)) = self.state(&domain)
            && power_step(state, verb) == PowerStep::Already
        {
            return Ok(());
        }
        Err(self.fault(Some(&name), &error))
    }

    fn get(&self, id: VmId) -> Result<Option<MachineReport>> {
        let Some(domain) = self.find(id)? else { return Ok(None) };
        let stats = ffi::stats(self.link.conn(), Some(&domain)).map_err(|error| self.fault(None, &error))?;
        Ok(stats.into_iter().next().map(|stats| self.report(stats, generation(&domain))))
    }

    fn list(&self) -> Result<Vec<MachineReport>> {
        let all = ffi::stats(self.link.conn(), None).map_err(|error| self.fault(None, &error))?;
        let mut reports = Vec::with_capacity(all.len());
        for stats in all {
            // A machine that vanished since is left out.
            if let Some(domain) = self.find(VmId(stats.id))? {
                reports.push(self.report(stats, generation(&domain)));
            }
        }
        Ok(reports)
    }

    fn running(&self) -> Result<BTreeSet<VmId>> {
        let all = ffi::stats(self.link.conn(), None).map_err(|error| self.fault(None, &error))?;
        let active = |stats: &ffi::Stats| words::power(stats.state, stats.reason).0.is_active();
        Ok(all.iter().filter(|stats| active(stats)).map(|stats| VmId(stats.id)).collect())
    }

    fn console(&self, id: VmId) -> Result<UnixStream> {
        let domain = self.find(id)?.ok_or_else(|| refusal::missing(id))?;
        let (state, _) = self.state(&domain)?;
        let name = self.name(&domain)?;
        if !state.is_active() {
            return Err(refusal::no_screen(&name, state));
        }
        let stream = ffi::open_graphics(&domain).map_err(|error| self.fault(Some(&name), &error))?;
        stream
            .set_nonblocking(true)
            .map_err(|error| Fault::internal(format!("the screen's stream: {error}")))?;
        Ok(stream)
    }

    fn find(&self, id: VmId) -> Result<Option<Domain>> {
        match Domain::lookup_by_uuid(self.link.conn(), id.0) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if fault::is_missing(&error) => Ok(None),
            Err(error) => Err(self.fault(None, &error)),
        }
    }

    fn name(&self, domain: &Domain) -> Result<String> {
        domain.get_name().map_err(|error| self.fault(None, &error))
    }

    fn state(&self, domain: &Domain) -> Result<(PowerState, &'static str)> {
        let (state, reason) = domain.get_state().map_err(|error| self.fault(None, &error))?;
        Ok(words::power(state.into(), reason.into()))
    }

    fn report(&self, stats: ffi::Stats, generation: Option<u64>) -> MachineReport {
        let (power_state, power_reason) = words::power(stats.state, stats.reason);
        let active = power_state.is_active();
        MachineReport {
            id: VmId(stats.id),
            name: stats.name,
            generation,
            power_state,
            power_reason: power_reason.to_owned(),
            cpu_time_ns: stats.cpu_time_ns.filter(|_| active),
            memory_used_bytes: stats.rss_kib.filter(|_| active).map(|kib| kib.saturating_mul(1024)),
            vcpus: stats.vcpus.and_then(|vcpus| u32::try_from(vcpus).ok()).unwrap_or(0),
        }
    }

    /// A dead connection explains every error; otherwise libvirt refused.
    fn fault(&self, log: Option<&str>, error: &Error) -> Fault {
        if self.link.is_alive() {
            fault::refused(self.what, log, error)
        } else {
            refusal::unavailable(error.message())
        }
    }
}

/// KVM works, but not for libvirt's QEMU. Where the administrator left the choice to us, guests are emulated.
fn heed_kvm_refusal(engine: &mut Engine, choice: AcceleratorChoice, words: &str) {
    let reason = &engine.accelerator_reason;
    match choice {
        AcceleratorChoice::Auto => {
            engine.accelerator_reason =
                format!("{reason}, but libvirt's QEMU may not use it ({words}): using software emulation");
            engine.accelerator = Accelerator::Tcg;
        }
        AcceleratorChoice::Kvm | AcceleratorChoice::Tcg => {
            engine.accelerator_reason = format!("{reason}; libvirt says: {words}");
        }
    }
}

fn change(domain: &Domain, verb: PowerVerb) -> std::result::Result<(), Error> {
    match verb {
        PowerVerb::Start => domain.create().map(drop),
        PowerVerb::ShutDown => domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN).map(drop),
        // First so that QEMU can flush its disks; if it does not end by that, without.
        PowerVerb::ForceStop => match domain.destroy_flags(sys::VIR_DOMAIN_DESTROY_GRACEFUL) {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(error = error.message(), "QEMU did not end gracefully: killing it");
                domain.destroy()
            }
        },
        PowerVerb::Reboot => domain.reboot(sys::VIR_DOMAIN_REBOOT_ACPI_POWER_BTN),
        PowerVerb::Reset => domain.reset().map(drop),
        PowerVerb::Pause => domain.suspend().map(drop),
        PowerVerb::Resume => match domain.get_state()?.0 {
            sys::VIR_DOMAIN_PMSUSPENDED => domain.pm_wakeup(0).map(drop),
            _ => domain.resume().map(drop),
        },
    }
}

/// The generation in the persistent definition; `None` when Quantix did not make it.
fn generation(domain: &Domain) -> Option<u64> {
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).ok()?;
    let xml = domain
        .get_metadata(kind, Some(crate::xml::METADATA_NAMESPACE), sys::VIR_DOMAIN_AFFECT_CONFIG)
        .ok()?;
    crate::xml::metadata_generation(&xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_that_libvirt_may_not_use_is_left_alone_unless_forced() {
        let words = "the accel 'kvm' is not supported by '/usr/bin/qemu-system-x86_64' on this host";
        let proved = Engine {
            libvirt_version: "9.0.0".into(),
            qemu_version: "7.2.22".into(),
            kvm_device_present: true,
            accelerator: Accelerator::Kvm,
            accelerator_reason: "a guest kernel printed its first line under KVM in 0.8 s".into(),
            fault: None,
            weakness: None,
        };
        for (choice, expected) in
            [(AcceleratorChoice::Auto, Accelerator::Tcg), (AcceleratorChoice::Kvm, Accelerator::Kvm)]
        {
            let mut engine = proved.clone();
            heed_kvm_refusal(&mut engine, choice, words);
            assert_eq!(engine.accelerator, expected);
            assert!(engine.accelerator_reason.contains(words), "{}", engine.accelerator_reason);
            assert!(engine.accelerator_reason.contains(&proved.accelerator_reason));
        }
    }
}
