//! Creating VMs: every wish is checked before anything is written, and one transaction writes all of it.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, host, pool, vm, volume};
use crate::tasks::NewTask;
use quantix_contract::quantix::vm::v1 as wire;
use quantix_model::fault::HostReason;
use quantix_model::host::HostPhase;
use quantix_model::id::{HostId, ImageId, PoolId, TaskId, VmId, VolumeId};
use quantix_model::image::ImageFormat;
use quantix_model::name::check_label;
use quantix_model::placement::{Candidate, Choice, Need, choose, fits};
use quantix_model::vm::{Cdrom, Disk, Firmware, Nic, NicKind, PowerState, VmPhase, VmSpec};
use quantix_model::volume::VolumePhase;
use quantix_model::{Fault, FaultCode};
use quantix_store::{VmRecord, VolumeRecord};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 1000;

/// A disk that is wished for.
#[derive(Clone, Debug)]
pub enum DiskWish {
    /// To be made.
    New(volume::Wish),
    /// A free volume.
    Attach(VolumeId),
}

/// A VM that is wished for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Unique label.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Where; `None` to have it chosen.
    pub host_id: Option<HostId>,
    /// Virtual processors.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_bytes: u64,
    /// Boots how.
    pub firmware: Firmware,
    /// In boot order.
    pub disks: Vec<DiskWish>,
    /// ISO in the drive.
    pub cdrom: Option<ImageId>,
    /// In slot order; a MAC is made where it is empty.
    pub nics: Vec<(NicKind, String)>,
    /// Power it on afterwards.
    pub start: bool,
}

/// What every host says to a wish, and the one that would be taken.
#[derive(Clone, Debug)]
pub struct Placements {
    /// All hosts by name.
    pub candidates: Vec<Candidate>,
    /// The choice among them.
    pub choice: Choice,
}

/// All hosts as placement sees them.
async fn candidates(app: &App) -> Result<Vec<Candidate>, Fault> {
    let promised = app.core.store.vm_memory_by_host().await?;
    let pools = app.core.store.pool_all().await?;
    let mut on_host: HashMap<HostId, Vec<_>> = HashMap::new();
    for pool in &pools {
        for status in pool::statuses(app, pool.id).await? {
            on_host.entry(status.host_id).or_default().push((pool.id, status.health()));
        }
    }
    let mut found = Vec::new();
    for host in app.core.store.host_all().await? {
        let live = app.live.get(host.id);
        let machine = host.discovery.as_ref().map(|d| &d.inventory);
        let total = live.as_ref().map(|l| l.vitals.memory_total_bytes).filter(|bytes| *bytes > 0);
        found.push(Candidate {
            host_id: host.id,
            host: host.name.clone(),
            phase: host::phase(app, &host),
            refusal: host::refuse_cloned(app, host.id, &host.name).err().map(|fault| fault.message),
            engine_fault: live.and_then(|l| l.engine.clone()).and_then(|e| e.fault).map(|f| f.message),
            threads: machine.map_or(0, |m| m.cpu.threads),
            memory_total_bytes: total.or(machine.map(|m| m.memory_total_bytes)).unwrap_or(0),
            memory_promised_bytes: promised.get(&host.id).copied().unwrap_or(0),
            pools: on_host.remove(&host.id).unwrap_or_default(),
        });
    }
    found.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(found)
}

/// What a wish needs of a host, as far as it can be told before it is checked.
async fn need(app: &App, wish: &Wish) -> Result<Need, Fault> {
    let mut pools = BTreeMap::new();
    for disk in &wish.disks {
        let id = match disk {
            DiskWish::New(new) => new.pool_id,
            DiskWish::Attach(id) => app.core.store.volume_get(*id).await?.pool_id,
        };
        pools.insert(id, app.core.store.pool_get(id).await?.name);
    }
    if let Some(image) = wish.cdrom {
        let id = app.core.store.image_get(image).await?.pool_id;
        pools.insert(id, app.core.store.pool_get(id).await?.name);
    }
    Ok(Need { vcpus: wish.vcpus, memory_bytes: wish.memory_bytes, pools: pools.into_iter().collect() })
}

/// Which hosts could take it, and why the others could not.
pub async fn placements(app: &App, wish: &Wish) -> Result<(Need, Placements), Fault> {
    let need = need(app, wish).await?;
    let candidates = candidates(app).await?;
    let choice = choose(&need, &candidates);
    Ok((need, Placements { candidates, choice }))
}

/// The same, as shown.
pub async fn list_placements(app: &App, wish: &Wish) -> Result<wire::ListPlacementsResponse, Fault> {
    let (need, Placements { candidates, choice }) = placements(app, wish).await?;
    let line = |host: &Candidate| {
        let reason_if_not = fits(&need, host).err().unwrap_or_default();
        wire::Placement {
            host_id: host.host_id.to_string(),
            host: host.host.clone(),
            fits: reason_if_not.is_empty(),
            reason_if_not,
            ..Default::default()
        }
    };
    Ok(wire::ListPlacementsResponse {
        placements: candidates.iter().map(line).collect(),
        chosen_host_id: choice.chosen.map(|id| id.to_string()).unwrap_or_default(),
        chosen_reason: choice.because,
        ..Default::default()
    })
}

async fn place(app: &App, wish: &Wish) -> Result<HostId, Fault> {
    let (need, Placements { candidates, choice }) = placements(app, wish).await?;
    let Some(wanted) = wish.host_id else {
        return choice.chosen.ok_or_else(|| {
            let remedy = match candidates.is_empty() {
                true => "Add a host.",
                false => "Do what one of the reasons below asks for.",
            };
            Fault::new(FaultCode::NoHostFits, "No host can take this VM.", remedy)
                .with_reasons(choice.refused)
        });
    };
    let host = app.core.store.host_get(wanted).await?;
    let candidate = candidates.iter().find(|c| c.host_id == wanted);
    let candidate = candidate.ok_or_else(|| Fault::not_found("host", wanted))?;
    let Err(reason) = fits(&need, candidate) else { return Ok(wanted) };
    let missing = need.pools.iter().find(|(id, _)| !candidate.pools.iter().any(|(on, _)| on == id));
    let (code, remedy) = match missing {
        Some((_, pool)) if matches!(candidate.phase, HostPhase::Ready | HostPhase::Degraded) => (
            FaultCode::PoolNotAssigned,
            format!("Choose a host that has pool {pool}, or put the disk on a pool of {}.", host.name),
        ),
        _ => (FaultCode::NoHostFits, "Choose another host, or leave the choice to the vDC.".to_owned()),
    };
    let reasons =
        vec![HostReason { host_id: wanted.to_string(), host: host.name.clone(), reason: reason.clone() }];
    let message = format!("{} cannot take this VM: {reason}", host.name);
    let fault = Fault::new(code, message, remedy).on_host(host.name).with_reasons(reasons);
    Err(Fault { field: "host_id".into(), ..fault })
}

/// Everything a wish comes to, checked and not yet written.
struct Plan {
    disks: Vec<Disk>,
    new: Vec<VolumeRecord>,
    attach: Vec<VolumeId>,
    cdrom: Option<Cdrom>,
}

async fn plan_disks(app: &App, wish: &Wish, vm_id: VmId) -> Result<Plan, Fault> {
    let mut plan = Plan { disks: Vec::new(), new: Vec::new(), attach: Vec::new(), cdrom: None };
    let mut taken = HashSet::new();
    for (number, disk) in wish.disks.iter().enumerate() {
        match disk {
            DiskWish::New(new) => {
                let settled = volume::check(app, "disks.", new).await?;
                let name = free_name(app, &wish.name, number, &settled).await?;
                let record = VolumeRecord { vm_id: Some(vm_id), ..volume::record(app, &name, &settled) };
                plan.disks.push(Disk { volume_id: record.id, pool_id: record.pool_id });
                plan.new.push(record);
            }
            DiskWish::Attach(id) => {
                let record = free_volume(app, *id).await?;
                if !taken.insert(*id) {
                    return Err(Fault::invalid(
                        "disks.volume_id",
                        format!("Volume {} is in the list twice.", record.name),
                        "Name each volume once.",
                    ));
                }
                plan.disks.push(Disk { volume_id: *id, pool_id: record.pool_id });
                plan.attach.push(*id);
            }
        }
    }
    if let Some(id) = wish.cdrom {
        let (image, facts) = volume::ready_image(app, "cdrom_image_id", id).await?;
        if facts.format != ImageFormat::Iso {
            return Err(Fault::invalid(
                "cdrom_image_id",
                format!("{} is no ISO: it does not fit into a CD drive.", image.name),
                "Let a disk start as a copy of it instead.",
            ));
        }
        plan.cdrom = Some(Cdrom { image_id: id, pool_id: image.pool_id });
    }
    Ok(plan)
}

/// A name for a new disk that no other volume of its pool has.
async fn free_name(app: &App, vm: &str, number: usize, wish: &volume::Settled) -> Result<String, Fault> {
    let there: HashSet<String> = app
        .core
        .store
        .volume_of_pool(wish.pool_id)
        .await?
        .into_iter()
        .map(|v| v.name.to_lowercase())
        .collect();
    let plain = format!("{vm}-disk-{number}");
    let numbered = (2..).map(|n| format!("{plain}-{n}"));
    let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !there.contains(name));
    Ok(free.unwrap_or(plain))
}

async fn free_volume(app: &App, id: VolumeId) -> Result<VolumeRecord, Fault> {
    let volume = app.core.store.volume_get(id).await?;
    let on_field = |fault: Fault| Fault { field: "disks.volume_id".into(), ..fault };
    if let Some(user) = volume.vm_id {
        let vm = app.core.store.vm_get(user).await?;
        return Err(on_field(Fault::new(
            FaultCode::VolumeInUse,
            format!("VM {} has volume {}.", vm.name, volume.name),
            format!("Delete VM {} (its disks stay), or choose another volume.", vm.name),
        )));
    }
    if volume.phase != VolumePhase::Ready {
        return Err(on_field(Fault::new(
            FaultCode::VolumeMissing,
            format!("Volume {} is not ready.", volume.name),
            "Choose another volume.",
        )));
    }
    volume::usable_pool(app, "disks.volume_id", volume.pool_id).await?;
    Ok(volume)
}

/// MACs for all cards: those given, checked to be nobody else's, and new ones.
async fn nics(app: &App, wish: &Wish) -> Result<Vec<Nic>, Fault> {
    let mut nics: Vec<Nic> = Vec::new();
    for (kind, wanted) in &wish.nics {
        let mac = loop {
            let mac = if wanted.is_empty() { new_mac() } else { wanted.to_lowercase() };
            let here = nics.iter().any(|nic| nic.mac == mac).then(|| wish.name.clone());
            let owner = match here {
                None => app.core.store.vm_find_by_part(&mac).await?.map(|vm| vm.name),
                here => here,
            };
            match owner {
                None => break mac,
                Some(_) if wanted.is_empty() => {}
                Some(vm) => {
                    return Err(Fault::invalid(
                        "nics.mac",
                        format!("{mac} is the address of a card of VM {vm}."),
                        "Leave it empty to get a new one.",
                    ));
                }
            }
        };
        nics.push(Nic { kind: *kind, mac });
    }
    Ok(nics)
}

/// QEMU's own prefix and three random bytes.
fn new_mac() -> String {
    let [a, b, c] = ids::secret::<3>();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// Writes the intent for a new VM with its disks; its task makes them on the host.
pub async fn create(app: &App, user: &str, wish: &Wish) -> Result<(wire::Vm, TaskId), Fault> {
    check_label("name", &wish.name)?;
    if wish.description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(Fault::invalid(
            "description",
            "The description is too long.",
            "Use 1000 characters at most.",
        ));
    }
    // The rules first: they cost nothing, and their answer does not depend on any host.
    let rough = VmSpec {
        vcpus: wish.vcpus,
        memory_bytes: wish.memory_bytes,
        firmware: wish.firmware,
        disks: Vec::new(),
        cdrom: None,
        nics: nics(app, wish).await?,
    };
    rough.check()?;
    let id = ids::vm();
    let plan = plan_disks(app, wish, id).await?;
    let spec = VmSpec { disks: plan.disks, cdrom: plan.cdrom, ..rough };
    spec.check()?;
    refuse_taken(app, &wish.name).await?;
    let host_id = place(app, wish).await?;
    let host = app.core.store.host_get(host_id).await?;
    let vm = VmRecord {
        id,
        name: wish.name.clone(),
        description: wish.description.clone(),
        host_id,
        spec,
        generation: 1,
        phase: VmPhase::Creating,
        fault: None,
        power_state: PowerState::Unknown,
        power_reason: String::new(),
        power_since: None,
        observed_at: None,
        created_at: app.core.clock.now(),
    };
    let made: Vec<VolumeId> = plan.new.iter().map(|v| v.id).collect();
    let task = app.core.tasks.draft(NewTask {
        kind: "vm.create",
        title: format!("Create VM {}", vm.name),
        object: Thing::Vm(id),
        object_name: vm.name.clone(),
        host: host.name,
        user_name: user.to_owned(),
        input: serde_json::json!({ "start": wish.start, "new_volumes": made }),
    });
    app.core.store.vm_insert(&vm, &plan.new, &plan.attach, &task).await?;
    for disk in &vm.spec.disks {
        app.core.bus.changed(Thing::Volume(disk.volume_id));
        app.core.bus.changed(Thing::Pool(disk.pool_id));
    }
    vm::submitted(app, &vm, task).await
}

/// Says early that a name is taken; the store has the last word.
async fn refuse_taken(app: &App, name: &str) -> Result<(), Fault> {
    match app.core.store.vm_find_by_name(name).await? {
        None => Ok(()),
        Some(_) => Err(Fault {
            field: "name".into(),
            ..Fault::new(
                FaultCode::NameTaken,
                format!("There is a VM named {name} already."),
                "Choose another name.",
            )
        }),
    }
}

/// The pools a VM is on, once each.
pub fn pools_of(spec: &VmSpec) -> Vec<PoolId> {
    let mut pools: Vec<PoolId> =
        spec.disks.iter().map(|d| d.pool_id).chain(spec.cdrom.iter().map(|c| c.pool_id)).collect();
    pools.sort();
    pools.dedup();
    pools
}
