//! Volumes of VMs: reachable before a guest starts, let go of when it is off, and changed while it runs.
//!
//! ```text
//!   start ─▶ keys, volume_attach each ─▶ driver ─┬─ runs
//!                                                └─ refused ─▶ volume_detach each
//!   off, crashed, gone, daemon restarted ─▶ settle (owner's turn) ─▶ looks off? ─▶ volume_detach each
//!   apply while it runs ─▶ new disks in, old disks out ─▶ definition     any of it fails: all of it undone
//! ```
//! So a volume that only one host may hold is held no longer than its VM runs. Everything here happens in the owner's
//! turn, so nothing starts a VM in the middle of it.

use super::owner::Work;
use super::queue::Ask;
use super::{LIST_INTERVAL, Vms, deadline};
use crate::clock;
use crate::ledger::VmEntry;
use futures::future::BoxFuture;
use quantix_hypervisor::driver::{Machine, MachineDisk, MachineReport};
use quantix_model::id::{PoolId, VmId, VolumeId};
use quantix_model::pool::PoolSpec;
use quantix_model::pool::spec::secret_uuid;
use quantix_model::vm::{Disk, PowerState};
use quantix_model::{Fault, FaultCode};
use quantix_storage::worker::WorkerState;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The serial a guest sees: all that virtio-blk has room for.
pub fn serial(volume: VolumeId) -> String {
    volume.to_string().chars().take(20).collect()
}

/// Whether a guest may have the machine's disks open.
pub(super) fn may_run(report: &MachineReport) -> bool {
    report.power_state.is_active() || report.power_state == PowerState::Unknown
}

/// A VM that runs on a volume.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Which.
    pub vm: VmId,
    /// Its name.
    pub name: String,
}

impl Runs {
    /// Refuses what cannot be done meanwhile; `what` completes "to …".
    pub fn refuse(&self, what: &str) -> Fault {
        let Runs { name, .. } = self;
        Fault::new(
            FaultCode::VolumeInUse,
            format!("The VM {name} runs on this volume."),
            format!("Shut {name} down to {what}."),
        )
    }
}

impl Vms {
    /// Does something with a volume while its VM, if one here has it, neither starts nor stops.
    /// `hint`: the VM that has it as far as the asker knows.
    pub async fn with_volume<T: Send + 'static>(
        self: &Arc<Vms>,
        volume: VolumeId,
        hint: Option<VmId>,
        work: impl FnOnce(Option<Runs>) -> BoxFuture<'static, Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let book = self.ledger.book();
        let has = |vm: &VmEntry| vm.disks.iter().any(|disk| disk.volume_id == volume);
        let user = book.vms.iter().find(|(_, vm)| has(vm)).map(|(id, vm)| (*id, vm.name.clone()));
        // The ledger of an older release does not know disks.
        let hinted = || hint.and_then(|id| Some((id, book.vms.get(&id)?.name.clone())));
        let Some((vm, name)) = user.or_else(hinted) else { return work(None).await };
        self.tend(vm, move |report| {
            let runs = report.is_some_and(|report| may_run(&report)).then_some(Runs { vm, name });
            work(runs)
        })
        .await
    }

    /// Does something in the turn of a VM's owner, with what the hypervisor says of the VM now.
    async fn tend<T: Send + 'static>(
        self: &Arc<Vms>,
        id: VmId,
        work: impl FnOnce(Option<MachineReport>) -> BoxFuture<'static, Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |report| {
            Box::pin(async move {
                // Nobody may listen any more.
                let _ = tell.send(work(report).await);
            })
        });
        self.ask_with(id, Ask::Tend, None, Some(work)).await?;
        told.await.map_err(|_| Fault::internal("the VM's owner is gone"))?
    }

    /// Makes volumes reachable and sets the keys they need: what comes before a start.
    pub(super) async fn take_hold(&self, id: VmId) -> Result<(), Fault> {
        let disks = self.ledger.book().vms.get(&id).map(|vm| vm.disks.clone()).unwrap_or_default();
        self.settled().remove(&id);
        self.blame(id, None);
        self.set_keys(&disks).await?;
        for disk in &disks {
            self.pools.volume_attach(disk.pool_id, disk.volume_id).await?;
        }
        Ok(())
    }

    /// Refuses to end a guest whose disk is on an NFS mount that does not answer. QEMU would not end before the server is
    /// back, and libvirt, which gives the disk's file back to its owner then, would wait for the server with it: it would
    /// answer nobody any more, whatever VM they ask for.
    pub(super) fn refuse_on_dead_mount(&self, id: VmId) -> Result<(), Fault> {
        let book = self.ledger.book();
        let pools = book.vms.get(&id).map(|vm| vm.pools.as_slice()).unwrap_or_default();
        let nfs =
            |pool: &&PoolId| book.pools.get(pool).is_some_and(|entry| matches!(entry.spec, PoolSpec::Nfs(_)));
        for pool in pools.iter().filter(nfs) {
            let status = self.pools.worker(*pool)?.status();
            if status.state == WorkerState::Stalled {
                let why = status.fault.map(|fault| fault.message).unwrap_or_default();
                return Err(Fault::new(
                    FaultCode::PoolStalled,
                    "The VM waits for its NFS server and cannot be ended before that answers.",
                    "Bring the NFS server back, then try again: what the guest wrote is not lost. If the server is gone \
                     for good, restart the host: nothing else ends what waits for it.",
                )
                .because(why));
            }
        }
        Ok(())
    }

    /// Lets go of a VM's volumes; what could not be let go of is tried again later.
    pub(super) async fn let_go(&self, id: VmId) {
        let disks = self.ledger.book().vms.get(&id).map(|vm| vm.disks.clone()).unwrap_or_default();
        let done = self.let_go_of(&disks).await;
        if done.is_ok() {
            self.settled().insert(id);
        }
        self.blame(id, done.err());
    }

    /// Has the vDC told why a VM that is off still holds its volumes, or that it no longer does.
    fn blame(&self, id: VmId, why: Option<Fault>) {
        let held = why.map(|why| Fault {
            message: format!(
                "The VM is off, but its host could not let go of its volumes yet: {}",
                why.message
            ),
            remedy: format!("{} It is tried again every {} s.", why.remedy, LIST_INTERVAL.as_secs()),
            ..why
        });
        if self.table.blame(id, held, clock::now()) {
            self.changed.notify_one();
        }
    }

    /// Lets go of volumes, of as many as can be; the first reason why not of all.
    pub(super) async fn let_go_of(&self, disks: &[Disk]) -> Result<(), Fault> {
        let mut all = Ok(());
        for disk in disks {
            let done = async { self.pools.worker(disk.pool_id)?.volume_detach(disk.volume_id).await }.await;
            if let Err(fault) = self.pools.noting(disk.pool_id, done) {
                tracing::info!(%fault, volume = %disk.volume_id, "a volume could not be let go of yet");
                all = all.and(Err(fault));
            }
        }
        all
    }

    /// Lets go of the volumes of VMs that are off and were not seen so before.
    pub(super) fn settle(self: &Arc<Vms>) {
        let book = self.ledger.book();
        for (id, vm) in book.vms.iter().filter(|(_, vm)| !vm.disks.is_empty()) {
            let off = match self.table.get(*id) {
                Some(fact) => !may_run(&fact.report),
                None => self.table.exists(*id) == Some(false),
            };
            if !off || !self.settling().insert(*id) {
                continue;
            }
            if self.settled().contains(id) {
                self.settling().remove(id);
                continue;
            }
            let (vms, id, name) = (Arc::clone(self), *id, vm.name.clone());
            tokio::spawn(async move {
                let tending = Arc::clone(&vms);
                let settled = vms.tend(id, move |report| {
                    Box::pin(async move {
                        match report.is_some_and(|report| may_run(&report)) {
                            true => tending.blame(id, None),
                            false => tending.let_go(id).await,
                        }
                        Ok(())
                    })
                });
                if let Err(fault) = settled.await {
                    tracing::info!(%fault, name, "nobody could ask whether its volumes may be let go of");
                    vms.blame(id, Some(fault));
                }
                vms.settling().remove(&id);
            });
        }
    }

    /// Sets the keys of the Ceph pools these disks are in.
    pub(super) async fn set_keys(&self, disks: &[Disk]) -> Result<(), Fault> {
        let pools: BTreeSet<PoolId> = disks.iter().map(|disk| disk.pool_id).collect();
        for pool in pools {
            self.set_key(pool).await?;
        }
        Ok(())
    }

    async fn set_key(&self, pool: PoolId) -> Result<(), Fault> {
        let book = self.ledger.book();
        let Some(PoolSpec::Ceph(ceph)) = book.pools.get(&pool).map(|entry| &entry.spec) else {
            return Ok(());
        };
        let uuid = secret_uuid(pool);
        self.driver.secret_set(uuid, &format!("Quantix pool {pool}"), &ceph.key).await?;
        self.keys().insert(pool);
        Ok(())
    }

    /// Sets the keys of all pools VMs use, after libvirt forgot them; forgets those of pools that are gone.
    pub(super) async fn refresh_keys(&self, all: bool) -> Result<(), Fault> {
        let book = self.ledger.book();
        if all {
            for vm in book.vms.values() {
                self.set_keys(&vm.disks).await?;
            }
        }
        let gone: Vec<PoolId> =
            self.keys().iter().filter(|pool| !book.pools.contains_key(pool)).copied().collect();
        for pool in gone {
            self.driver.secret_remove(secret_uuid(pool)).await?;
            self.keys().remove(&pool);
        }
        Ok(())
    }

    /// Makes a running guest's disks those of `machine`. Answers how to undo it.
    pub(super) async fn change_disks(&self, machine: &Machine, disks: &[Disk]) -> Result<Undo, Fault> {
        let mut undo = Undo { id: machine.id, attached: Vec::new(), detached: Vec::new() };
        let there = deadline(self.driver.disk_list(machine.id)).await?;
        let missing = |disk: &&MachineDisk| there.iter().all(|found| found.serial != disk.serial);
        let surplus = there.iter().filter(|found| {
            !found.serial.is_empty() && machine.disks.iter().all(|disk| disk.serial != found.serial)
        });
        let new: Vec<&MachineDisk> = machine.disks.iter().filter(missing).collect();
        if !new.is_empty() {
            self.set_keys(disks).await?;
        }
        for disk in new {
            if let Err(fault) = self.driver.disk_attach(machine.id, disk).await {
                return Err(self.undo(undo, fault).await);
            }
            undo.attached.push(disk.serial.clone());
        }
        for found in surplus {
            if let Err(fault) = self.driver.disk_detach(machine.id, &found.serial).await {
                return Err(self.undo(undo, fault).await);
            }
            undo.detached.push(found.serial.clone());
        }
        Ok(undo)
    }

    /// Takes a change of disks back. Answers why it had to be, and whether that went well.
    pub(super) async fn undo(&self, undo: Undo, mut why: Fault) -> Fault {
        let mut failed = Vec::new();
        for serial in &undo.attached {
            if let Err(fault) = self.driver.disk_detach(undo.id, serial).await {
                failed.push(format!("disk {serial} stays: {}", fault.message));
            }
        }
        for serial in &undo.detached {
            if let Err(fault) = self.give_back(undo.id, serial).await {
                failed.push(format!("disk {serial} is gone: {}", fault.message));
            }
        }
        if !failed.is_empty() {
            let before = if why.cause.is_empty() { String::new() } else { format!("{}; ", why.cause) };
            why.cause = format!("{before}not everything could be undone: {}", failed.join("; "));
        }
        why
    }

    /// Attaches a disk again that the VM had by the ledger.
    async fn give_back(&self, id: VmId, wanted: &str) -> Result<(), Fault> {
        let book = self.ledger.book();
        let disks = book.vms.get(&id).map(|vm| vm.disks.as_slice()).unwrap_or_default();
        let disk = disks
            .iter()
            .find(|disk| serial(disk.volume_id) == wanted)
            .ok_or_else(|| Fault::internal("the ledger does not know the disk that was taken away"))?;
        let source = super::owner::place(self.pools.volume_attach(disk.pool_id, disk.volume_id).await?);
        self.driver.disk_attach(id, &MachineDisk { source, serial: wanted.to_owned() }).await
    }
}

/// What was done to a running guest.
#[derive(Debug)]
pub(super) struct Undo {
    id: VmId,
    attached: Vec<String>,
    detached: Vec<String>,
}
