//! Disks of machines that are there already, and the keys they need.
//!
//! ```text
//!   attach ─▶ target free in guest and definition ─▶ both at once
//!   detach ─▶ guest asked ─┬─ gone ────────────────▶ definition ─▶ done
//!                          └─ not yet ─▶ event, or half a second ─▶ look again … 20 s: refused, nothing changed
//! ```
//! libvirt answers a detach before the guest has let go; only the definition of the live machine tells the truth.

use super::{CHANGE_DEADLINE, Call, LibvirtDriver, POWER_DEADLINE, READ_DEADLINE, fault};
use crate::driver::{DiskReport, Disks, MachineDisk, MachineEvent, Result, Secrets};
use crate::refusal;
use crate::xml::{FoundDisk, disk_name, disk_xml, disks, secret_xml};
use async_trait::async_trait;
use base64::Engine as _;
use quantix_model::Secret;
use quantix_model::id::VmId;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use virt::domain::Domain;
use virt::sys;

/// A guest lets go within a second; Linux on native PCIe hot-plug blinks a lamp for five first.
const LET_GO: Duration = Duration::from_secs(20);
/// How often is looked when no event comes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the guest is asked again: one that was booting did not hear.
const ASK_EVERY: Duration = Duration::from_secs(6);

#[async_trait]
impl Disks for LibvirtDriver {
    async fn disk_list(&self, id: VmId) -> Result<Vec<DiskReport>> {
        self.call(&self.reads, "list the VM's disks", READ_DEADLINE, move |call| call.disk_list(id)).await
    }

    async fn disk_attach(&self, id: VmId, disk: &MachineDisk) -> Result<()> {
        let disk = disk.clone();
        let attach = move |call: &Call| call.disk_attach(id, &disk);
        self.call(&self.changes, "attach the disk", POWER_DEADLINE, attach).await
    }

    async fn disk_detach(&self, id: VmId, serial: &str) -> Result<()> {
        let mut events = crate::driver::Driver::events(self);
        let ends = Instant::now() + LET_GO;
        let mut ask_at = Instant::now();
        loop {
            let (serial, ask) = (serial.to_owned(), Instant::now() >= ask_at);
            let detach = move |call: &Call| call.disk_detach(id, &serial, ask);
            let left = self.call(&self.changes, "detach the disk", CHANGE_DEADLINE, detach).await?;
            let Some((name, target)) = left else { return Ok(()) };
            if ask {
                ask_at = Instant::now() + ASK_EVERY;
            }
            let refused = timeout(LOOK_EVERY, refused(&mut events, id)).await == Ok(true);
            if refused || Instant::now() >= ends {
                return Err(refusal::disk_held(&name, &target, LET_GO));
            }
        }
    }

    async fn disk_grow(&self, id: VmId, serial: &str, size_bytes: u64) -> Result<()> {
        let serial = serial.to_owned();
        let grow = move |call: &Call| call.disk_grow(id, &serial, size_bytes);
        self.call(&self.changes, "grow the disk", CHANGE_DEADLINE, grow).await
    }
}

#[async_trait]
impl Secrets for LibvirtDriver {
    async fn secret_set(&self, uuid: Uuid, usage: &str, key: &Secret) -> Result<()> {
        let xml = secret_xml(uuid, usage)?;
        let key = base64::engine::general_purpose::STANDARD.decode(key.expose());
        let key = key.map_err(|_| refusal::bad_key())?;
        let set = move |call: &Call| call.secret_set(uuid, &xml, &key);
        self.call(&self.changes, "keep the pool's key", CHANGE_DEADLINE, set).await
    }

    async fn secret_remove(&self, uuid: Uuid) -> Result<bool> {
        let remove = move |call: &Call| call.secret_remove(uuid);
        self.call(&self.changes, "forget the pool's key", CHANGE_DEADLINE, remove).await
    }
}

/// Waits for the guest to answer; whether it said no.
async fn refused(events: &mut broadcast::Receiver<MachineEvent>, id: VmId) -> bool {
    loop {
        match events.recv().await {
            Ok(event) if event.id == id && event.what.starts_with("device removal failed") => return true,
            Ok(event) if event.id == id && event.what.starts_with("device removed") => return false,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Call {
    fn machine(&self, id: VmId) -> Result<(Domain, String, bool)> {
        let domain = self.find(id)?.ok_or_else(|| refusal::missing(id))?;
        let name = self.name(&domain)?;
        let (state, _) = self.state(&domain)?;
        Ok((domain, name, state.is_active()))
    }

    /// Disks of the running machine, or of its definition.
    fn found(&self, domain: &Domain, flags: u32) -> Result<Vec<FoundDisk>> {
        let xml = domain.get_xml_desc(flags).map_err(|error| self.fault(None, &error))?;
        Ok(disks(&xml))
    }

    fn disk_list(&self, id: VmId) -> Result<Vec<DiskReport>> {
        let (domain, _, active) = self.machine(id)?;
        let flags = if active { 0 } else { sys::VIR_DOMAIN_XML_INACTIVE };
        let report = |disk: FoundDisk| {
            let size = || domain.get_block_info(&disk.target, 0).ok().map(|info| info.capacity);
            DiskReport {
                size_bytes: if active { size() } else { None },
                serial: disk.serial,
                target: disk.target,
            }
        };
        Ok(self.found(&domain, flags)?.into_iter().map(report).collect())
    }

    fn disk_attach(&self, id: VmId, disk: &MachineDisk) -> Result<()> {
        let (domain, name, active) = self.machine(id)?;
        let config = self.found(&domain, sys::VIR_DOMAIN_XML_INACTIVE)?;
        let live = if active { self.found(&domain, 0)? } else { Vec::new() };
        let has = |disks: &[FoundDisk]| disks.iter().any(|d| d.serial == disk.serial);
        let mut flags = 0;
        if active && !has(&live) {
            flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
        }
        if !has(&config) {
            flags |= sys::VIR_DOMAIN_AFFECT_CONFIG;
        }
        if flags == 0 {
            return Ok(());
        }
        let taken = |target: &String| live.iter().chain(&config).any(|d| d.target == *target);
        let target = (0..).map(disk_name).find(|target| !taken(target)).expect("names do not run out");
        let xml = disk_xml(&target, disk)?;
        domain.attach_device_flags(&xml, flags).map(drop).map_err(|error| self.fault(Some(&name), &error))
    }

    /// One step of taking a disk away: `None` when it is gone, else the machine's name and the disk's.
    fn disk_detach(&self, id: VmId, serial: &str, ask: bool) -> Result<Option<(String, String)>> {
        let (domain, name, active) = self.machine(id)?;
        let of = |disks: Vec<FoundDisk>| disks.into_iter().find(|d| d.serial == serial);
        if active && let Some(disk) = of(self.found(&domain, 0)?) {
            if ask {
                match domain.detach_device_flags(&disk.element, sys::VIR_DOMAIN_AFFECT_LIVE) {
                    Ok(_) => {}
                    Err(error) if fault::is_leaving(&error) => {}
                    Err(error) => return Err(self.fault(Some(&name), &error)),
                }
            }
            if of(self.found(&domain, 0)?).is_some() {
                return Ok(Some((name, disk.target)));
            }
        }
        if let Some(disk) = of(self.found(&domain, sys::VIR_DOMAIN_XML_INACTIVE)?) {
            domain
                .detach_device_flags(&disk.element, sys::VIR_DOMAIN_AFFECT_CONFIG)
                .map_err(|error| self.fault(Some(&name), &error))?;
        }
        Ok(None)
    }

    fn disk_grow(&self, id: VmId, serial: &str, size_bytes: u64) -> Result<()> {
        let (domain, name, active) = self.machine(id)?;
        if !active {
            return Err(refusal::grow_inactive(&name, self.state(&domain)?.0));
        }
        let disk = self.found(&domain, 0)?.into_iter().find(|disk| disk.serial == serial);
        let target = disk.ok_or_else(|| refusal::disk_missing(&name, serial))?.target;
        let failed = |error| self.fault(Some(&name), &error);
        let there = domain.get_block_info(&target, 0).map_err(failed)?.capacity;
        if size_bytes < there {
            return Err(refusal::disk_shrinks(&target, there, size_bytes));
        }
        if size_bytes == there {
            return Ok(());
        }
        domain.block_resize(&target, size_bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES).map(drop).map_err(failed)
    }

    fn secret_set(&self, uuid: Uuid, xml: &str, key: &[u8]) -> Result<()> {
        let define = || virt::secret::Secret::define_xml(self.link.conn(), xml, 0);
        let secret = match define() {
            Ok(secret) => secret,
            // One of the same UUID that was made in another way.
            Err(error) => match virt::secret::Secret::lookup_by_uuid(self.link.conn(), uuid) {
                Ok(old) => {
                    old.undefine().map_err(|error| self.fault(None, &error))?;
                    define().map_err(|error| self.fault(None, &error))?
                }
                Err(_) => return Err(self.fault(None, &error)),
            },
        };
        secret.set_value(key, 0).map_err(|error| self.fault(None, &error))
    }

    fn secret_remove(&self, uuid: Uuid) -> Result<bool> {
        match virt::secret::Secret::lookup_by_uuid(self.link.conn(), uuid) {
            Ok(secret) => secret.undefine().map(|()| true).map_err(|error| self.fault(None, &error)),
            Err(error) if fault::is_no_secret(&error) => Ok(false),
            Err(error) => Err(self.fault(None, &error)),
        }
    }
}
