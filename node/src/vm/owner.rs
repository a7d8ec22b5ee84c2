//! The task that owns one VM: everything that changes it goes through here, one thing at a time.
//!
//! ```text
//!   ask ──mailbox──▶ owner: queue.admit ──▶ queue.take ──▶ look (driver.get) ──▶ decide ──▶ do ──▶ look ──▶ answer
//! ```
//! The caller may go away; what was begun is ended. An owner with nothing to do for a minute ends itself.

use super::Vms;
use super::disk::{may_run, serial};
use super::queue::{Ask, Defined, Facts, Queue, Verdict, decide};
use super::table::VmFact;
use crate::clock;
use crate::ledger::{VmEntry, bury};
use futures::future::BoxFuture;
use quantix_hypervisor::driver::{DiskSource, Machine, MachineDisk, MachineNic, MachineReport};
use quantix_model::id::{PoolId, VmId};
use quantix_model::pool::PoolSpec;
use quantix_model::vm::{Disk, PowerVerb, VmSpec};
use quantix_model::{Fault, FaultCode};
use quantix_storage::backend::Attachment;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Wishes that may lie in the mailbox before the owner looks at them.
const MAILBOX: usize = 16;
/// No change takes longer, or it has failed.
const OPERATION_DEADLINE: Duration = Duration::from_secs(120);
/// An owner ends after this long with nothing to do.
const IDLE_LIFE: Duration = Duration::from_secs(60);

/// A definition that should be.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Its name.
    pub name: String,
    /// What it should be.
    pub spec: VmSpec,
}

/// What came of a wish.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Something was there to be changed, or is there now.
    pub existed: bool,
    /// The machine afterwards.
    pub fact: Option<VmFact>,
}

/// What is done in an owner's turn; it is told what the hypervisor says of the VM then.
pub(super) type Work = Box<dyn FnOnce(Option<MachineReport>) -> BoxFuture<'static, ()> + Send>;

/// A wish with its answer's address.
pub(super) struct Wish {
    pub ask: Ask,
    pub intent: Option<Intent>,
    pub work: Option<Work>,
    pub reply: oneshot::Sender<Result<Outcome, Fault>>,
}

/// Starts an owner.
pub(super) fn start(vms: Arc<Vms>, id: VmId) -> mpsc::Sender<Wish> {
    let (sender, mailbox) = mpsc::channel(MAILBOX);
    tokio::spawn(run(vms, id, mailbox));
    sender
}

type Carrier = (Option<Intent>, Option<Work>, oneshot::Sender<Result<Outcome, Fault>>);

async fn run(vms: Arc<Vms>, id: VmId, mut mailbox: mpsc::Receiver<Wish>) {
    let mut queue: Queue<Carrier> = Queue::default();
    let mut running: Option<BoxFuture<'static, ()>> = None;
    loop {
        if running.is_none()
            && let Some((ask, (intent, work, reply))) = queue.take()
        {
            let vms = Arc::clone(&vms);
            running = Some(Box::pin(async move {
                let doing = perform(&vms, id, ask, intent, work);
                let outcome = tokio::time::timeout(OPERATION_DEADLINE, doing).await;
                let _ = reply.send(outcome.unwrap_or_else(|_| Err(too_slow())));
            }));
        }
        tokio::select! {
            biased;
            () = async { match running.as_mut() { Some(work) => work.await, None => std::future::pending().await } } => {
                running = None;
                queue.done();
            }
            wish = mailbox.recv() => {
                let Some(Wish { ask, intent, work, reply }) = wish else {
                    if let Some(work) = running {
                        work.await;
                    }
                    return;
                };
                if let Err(((_, _, reply), fault)) = queue.admit(ask, (intent, work, reply)) {
                    let _ = reply.send(Err(fault));
                }
            }
            () = tokio::time::sleep(IDLE_LIFE), if queue.is_idle() => {
                if vms.retire(id, &mailbox) {
                    return;
                }
            }
        }
    }
}

fn too_slow() -> Fault {
    Fault::new(
        FaultCode::DeadlineExceeded,
        format!("The host did not end that within {} s.", OPERATION_DEADLINE.as_secs()),
        "It may still happen: look at the VM's state before trying again.",
    )
}

async fn perform(
    vms: &Vms,
    id: VmId,
    ask: Ask,
    intent: Option<Intent>,
    work: Option<Work>,
) -> Result<Outcome, Fault> {
    let report = vms.look(id).await?;
    let facts = Facts {
        defined: report.as_ref().map(|r| Defined { generation: r.generation, state: r.power_state }),
        deleted: vms.ledger.book().deleted_vms.get(&id).map(|t| t.generation),
    };
    let verdict = decide(ask, facts);
    match (&verdict, ask) {
        (Verdict::Go, Ask::Apply { .. } | Ask::Power { .. } | Ask::Delete { .. }) => {
            tracing::info!(vm = %id, ?ask, "VM is asked for");
        }
        _ => tracing::debug!(vm = %id, ?ask, ?verdict, "VM is asked for"),
    }
    match (verdict, ask) {
        (Verdict::Refuse(fault), _) => return Err(*fault),
        (Verdict::Already, Ask::Delete { generation }) => {
            bury_vm(vms, id, generation).await?;
            return Ok(Outcome { existed: false, fact: None });
        }
        (Verdict::Already, _) => {}
        (Verdict::Go, Ask::Apply { generation }) => {
            let intent = intent.ok_or_else(|| Fault::internal("an Apply came without an intent"))?;
            apply(vms, id, generation, intent, report.as_ref()).await?;
        }
        (Verdict::Go, Ask::Power { verb: PowerVerb::Start, .. }) => start_vm(vms, id).await?,
        (Verdict::Go, Ask::Power { verb: PowerVerb::ForceStop, .. }) => {
            vms.refuse_on_dead_mount(id)?;
            vms.driver.power(id, PowerVerb::ForceStop).await?;
        }
        (Verdict::Go, Ask::Power { verb, .. }) => vms.driver.power(id, verb).await?,
        (Verdict::Go, Ask::Tend) => {
            let existed = report.is_some();
            if let Some(work) = work {
                work(report).await;
            }
            return Ok(Outcome { existed, fact: None });
        }
        (Verdict::Go, Ask::Delete { generation }) => {
            vms.let_go(id).await;
            let existed = vms.driver.undefine(id).await?;
            bury_vm(vms, id, generation).await?;
            vms.saw(id, None);
            return Ok(Outcome { existed, fact: None });
        }
    }
    let after: Option<MachineReport> = vms.look(id).await?;
    let existed = after.is_some();
    Ok(Outcome { existed, fact: vms.table.get(id).filter(|_| existed) })
}

/// Starts a VM whose volumes are held from before its start on; they are let go of when it does not run after all.
async fn start_vm(vms: &Vms, id: VmId) -> Result<(), Fault> {
    let start = async {
        vms.take_hold(id).await?;
        define_anew(vms, id).await?;
        vms.driver.power(id, PowerVerb::Start).await
    };
    let started = start.await;
    if started.is_err() && matches!(vms.look(id).await, Ok(report) if !report.as_ref().is_some_and(may_run)) {
        vms.let_go(id).await;
    }
    started
}

/// Monitors and user of a Ceph pool stand in the definitions of its VMs, and may have been changed since.
async fn define_anew(vms: &Vms, id: VmId) -> Result<(), Fault> {
    let book = vms.ledger.book();
    let Some(entry) = book.vms.get(&id) else { return Ok(()) };
    let is_ceph =
        |pool: &PoolId| book.pools.get(pool).is_some_and(|entry| matches!(entry.spec, PoolSpec::Ceph(_)));
    let Some(spec) = entry.spec.clone().filter(|_| entry.pools.iter().any(is_ceph)) else { return Ok(()) };
    let intent = Intent { name: entry.name.clone(), spec };
    let machine = resolve(vms, id, entry.generation, &intent).await?;
    vms.driver.define(&machine).await
}

/// Gives a running guest its disks, writes down which pools the VM uses, then defines it; what was done is undone when
/// any of it fails. Volumes the VM does not need now are let go of, however it went.
async fn apply(
    vms: &Vms,
    id: VmId,
    generation: u64,
    intent: Intent,
    report: Option<&MachineReport>,
) -> Result<(), Fault> {
    let old = vms.ledger.book().vms.get(&id).map(|vm| vm.disks.clone()).unwrap_or_default();
    let new = intent.spec.disks.clone();
    vms.settled().remove(&id);
    let done = carry_out(vms, id, generation, intent, report).await;
    let keeps = if done.is_ok() { &new } else { &old };
    let mut idle: Vec<Disk> = old.iter().chain(&new).filter(|disk| !keeps.contains(disk)).cloned().collect();
    if !report.is_some_and(may_run) {
        idle.extend(keeps.iter().cloned());
    }
    // A VM that is off is settled again later, should this fail: it then says so itself.
    let _ = vms.let_go_of(&idle).await;
    done
}

async fn carry_out(
    vms: &Vms,
    id: VmId,
    generation: u64,
    intent: Intent,
    report: Option<&MachineReport>,
) -> Result<(), Fault> {
    let machine = resolve(vms, id, generation, &intent).await?;
    let undo = match report.is_some_and(|report| report.power_state.is_active()) {
        true => Some(vms.change_disks(&machine, &intent.spec.disks).await?),
        false => None,
    };
    let pools = pools_of(&intent.spec);
    let (disks, spec) = (intent.spec.disks.clone(), Some(intent.spec));
    let entry = VmEntry { name: intent.name, generation, pools, disks, spec };
    let defined = define(vms, &machine, entry).await;
    match (defined, undo) {
        (Err(fault), Some(undo)) => Err(vms.undo(undo, fault).await),
        (defined, _) => defined,
    }
}

/// Writes an entry down, then defines the machine; the entry before comes back when that fails.
async fn define(vms: &Vms, machine: &Machine, entry: VmEntry) -> Result<(), Fault> {
    let id = machine.id;
    let before = vms
        .ledger
        .update(move |book| {
            if let Some(pool) = entry.pools.iter().find(|p| !book.pools.contains_key(p)) {
                return Err(crate::pool::not_assigned(*pool));
            }
            Ok(book.vms.insert(id, entry))
        })
        .await?;
    let Err(fault) = vms.driver.define(machine).await else { return Ok(()) };
    vms.ledger
        .update(move |book| {
            match before {
                Some(entry) => book.vms.insert(id, entry),
                None => book.vms.remove(&id),
            };
            Ok(())
        })
        .await?;
    Err(fault)
}

async fn bury_vm(vms: &Vms, id: VmId, generation: u64) -> Result<(), Fault> {
    vms.ledger
        .update(move |book| {
            book.vms.remove(&id);
            bury(&mut book.deleted_vms, id, generation, clock::now());
            Ok(())
        })
        .await
}

fn pools_of(spec: &VmSpec) -> Vec<PoolId> {
    let mut pools: Vec<PoolId> =
        spec.disks.iter().map(|d| d.pool_id).chain(spec.cdrom.iter().map(|c| c.pool_id)).collect();
    pools.sort_unstable();
    pools.dedup();
    pools
}

async fn resolve(vms: &Vms, id: VmId, generation: u64, intent: &Intent) -> Result<Machine, Fault> {
    let spec = &intent.spec;
    let mut disks = Vec::with_capacity(spec.disks.len());
    for disk in &spec.disks {
        let source = place(vms.pools.volume_attach(disk.pool_id, disk.volume_id).await?);
        disks.push(MachineDisk { source, serial: serial(disk.volume_id) });
    }
    let cdrom = match &spec.cdrom {
        Some(cdrom) => Some(place(vms.pools.image_attach(cdrom.pool_id, cdrom.image_id).await?)),
        None => None,
    };
    let nics = spec.nics.iter().map(|nic| MachineNic { kind: nic.kind, mac: nic.mac.clone() }).collect();
    Ok(Machine {
        id,
        name: intent.name.clone(),
        generation,
        vcpus: spec.vcpus,
        memory_bytes: spec.memory_bytes,
        firmware: spec.firmware,
        disks,
        cdrom,
        nics,
        accelerator: vms.accelerator().await?,
    })
}

pub(super) fn place(attachment: Attachment) -> DiskSource {
    match attachment {
        Attachment::File { path, format } => DiskSource::File { path, format },
        Attachment::Block { path } => DiskSource::Block { path },
        Attachment::Rbd { monitors, pool, image, user, secret_uuid } => {
            DiskSource::Rbd { monitors, pool, image, user, secret_uuid }
        }
    }
}
