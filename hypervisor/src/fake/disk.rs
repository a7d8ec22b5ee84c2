//! Disks given to and taken from machines in memory, and their keys.

use super::{FakeDriver, State};
use crate::driver::{DiskReport, DiskSource, Disks, MachineDisk, Result, Secrets};
use crate::refusal;
use crate::xml::{disk_name, disk_xml};
use async_trait::async_trait;
use base64::Engine as _;
use quantix_model::Secret;
use quantix_model::id::VmId;
use std::time::Duration;
use uuid::Uuid;

/// What every disk has at first, as nobody looks at its bytes.
pub(super) const SIZE_BYTES: u64 = 64 << 20;
/// How long a guest that holds on is waited for.
const LET_GO: Duration = Duration::from_millis(30);

impl FakeDriver {
    /// Makes guests hold on to their disks, or let go again.
    pub fn set_disks_held(&self, held: bool) {
        self.inner.lock().disks_held = held;
    }

    /// What the guest sees now, with sizes in bytes.
    pub fn live_disks(&self, id: VmId) -> Vec<(MachineDisk, u64)> {
        self.inner.lock().machines.get(&id).map(|m| m.live.clone()).unwrap_or_default()
    }

    /// The key kept under a UUID.
    pub fn secret(&self, uuid: Uuid) -> Option<Secret> {
        self.inner.lock().secrets.get(&uuid).cloned()
    }
}

impl State {
    /// Refuses a start without the keys its disks need, as libvirt does.
    pub(super) fn keys_are_there(&self, id: VmId) -> Result<()> {
        let disks = self.machines.get(&id).map(|m| m.definition.disks.as_slice()).unwrap_or_default();
        disks.iter().try_for_each(|disk| self.key_is_there("start the VM", disk))
    }

    fn key_is_there(&self, what: &str, disk: &MachineDisk) -> Result<()> {
        match &disk.source {
            DiskSource::Rbd { secret_uuid, .. } if !self.secrets.contains_key(secret_uuid) => {
                let words = format!("Secret not found: no secret with matching uuid '{secret_uuid}'");
                Err(refusal::refused(what, words, "Set the key of the pool first."))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Disks for FakeDriver {
    async fn disk_list(&self, id: VmId) -> Result<Vec<DiskReport>> {
        self.admit("list the VM's disks").await?;
        let state = self.inner.lock();
        let machine = state.machines.get(&id).ok_or_else(|| refusal::missing(id))?;
        let report = |(slot, serial, size_bytes): (usize, &String, Option<u64>)| DiskReport {
            serial: serial.clone(),
            target: disk_name(slot),
            size_bytes,
        };
        Ok(if machine.power.is_active() {
            let live = machine.live.iter().enumerate();
            live.map(|(slot, (disk, size))| report((slot, &disk.serial, Some(*size)))).collect()
        } else {
            let disks = machine.definition.disks.iter().enumerate();
            disks.map(|(slot, disk)| report((slot, &disk.serial, None))).collect()
        })
    }

    async fn disk_attach(&self, id: VmId, disk: &MachineDisk) -> Result<()> {
        disk_xml("vda", disk)?;
        self.admit_change("attach the disk").await?;
        let mut state = self.inner.lock();
        state.key_is_there("attach the disk", disk)?;
        let machine = state.machines.get_mut(&id).ok_or_else(|| refusal::missing(id))?;
        if machine.power.is_active() && machine.live.iter().all(|(there, _)| there.serial != disk.serial) {
            machine.live.push((disk.clone(), SIZE_BYTES));
        }
        if machine.definition.disks.iter().all(|there| there.serial != disk.serial) {
            machine.definition.disks.push(disk.clone());
        }
        Ok(())
    }

    async fn disk_detach(&self, id: VmId, serial: &str) -> Result<()> {
        self.admit_change("detach the disk").await?;
        let held = {
            let mut state = self.inner.lock();
            let disks_held = state.disks_held;
            let machine = state.machines.get_mut(&id).ok_or_else(|| refusal::missing(id))?;
            let at = machine.live.iter().position(|(there, _)| there.serial == serial);
            match at.filter(|_| disks_held) {
                Some(slot) => Some(refusal::disk_held(&machine.definition.name, &disk_name(slot), LET_GO)),
                None => {
                    machine.live.retain(|(there, _)| there.serial != serial);
                    machine.definition.disks.retain(|there| there.serial != serial);
                    None
                }
            }
        };
        let Some(fault) = held else {
            self.inner.tell(id, "device removed: disk");
            return Ok(());
        };
        tokio::time::sleep(LET_GO).await;
        Err(fault)
    }

    async fn disk_grow(&self, id: VmId, serial: &str, size_bytes: u64) -> Result<()> {
        self.admit_change("grow the disk").await?;
        let mut state = self.inner.lock();
        let machine = state.machines.get_mut(&id).ok_or_else(|| refusal::missing(id))?;
        let name = machine.definition.name.clone();
        if !machine.power.is_active() {
            return Err(refusal::grow_inactive(&name, machine.power));
        }
        let found = machine.live.iter_mut().enumerate().find(|(_, (disk, _))| disk.serial == serial);
        let (slot, (_, size)) = found.ok_or_else(|| refusal::disk_missing(&name, serial))?;
        if size_bytes < *size {
            return Err(refusal::disk_shrinks(&disk_name(slot), *size, size_bytes));
        }
        *size = size_bytes;
        Ok(())
    }
}

#[async_trait]
impl Secrets for FakeDriver {
    async fn secret_set(&self, uuid: Uuid, usage: &str, key: &Secret) -> Result<()> {
        crate::xml::secret_xml(uuid, usage)?;
        let readable = base64::engine::general_purpose::STANDARD.decode(key.expose());
        readable.map_err(|_| refusal::bad_key())?;
        self.admit_change("keep the pool's key").await?;
        self.inner.lock().secrets.insert(uuid, key.clone());
        Ok(())
    }

    async fn secret_remove(&self, uuid: Uuid) -> Result<bool> {
        self.admit_change("forget the pool's key").await?;
        Ok(self.inner.lock().secrets.remove(&uuid).is_some())
    }
}
