//! A vDC's store with a whole fleet in it, as if every host had been added and every VM made through the API.
//!
//! Adding thousands of hosts one by one takes hours. The records here are those the API leaves behind, and each host
//! has a key of its own, certified by the vDC's own CA: the vDC cannot tell the difference, nor should it.

use quantix_contract::quantix::node::v1::PoolIntent;
use quantix_control::pki::Pki;
use quantix_control::services::pool;
use quantix_control::{VERSION, ids};
use quantix_model::id::{HostId, PoolId, VmId};
use quantix_model::pool::{NfsSpec, NfsVersion, PoolSpec};
use quantix_model::vm::{Disk, Firmware, Nic, NicKind, PowerState, VmPhase, VmSpec};
use quantix_model::volume::{Allocation, VolumeFormat, VolumePhase, VolumeSource};
use quantix_model::{Fault, UnixMs};
use quantix_store::{Bulk, HostRecord, PoolAssignmentRecord, PoolRecord, Store, VmRecord, VolumeRecord};
use rcgen::{KeyPair, PublicKeyData as _};
use std::collections::BTreeMap;

/// How large a fleet is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hosts.
    pub hosts: u32,
    /// VMs on all of them together.
    pub vms: u32,
    /// Pools each host has: up to two folders of its own, the others shared by its rack.
    pub pools_per_host: u32,
    /// Hosts of a rack.
    pub rack_hosts: u32,
    /// How often hosts beat; 0: the usual.
    pub beat_interval_ms: u64,
}

impl Size {
    /// Hosts with so much on each, in racks of 32.
    pub fn of(hosts: u32, pools_per_host: u32, vms_per_host: u32) -> Size {
        let vms = hosts.saturating_mul(vms_per_host);
        Size { hosts, vms, pools_per_host, rack_hosts: 32, beat_interval_ms: 0 }
    }

    /// Folders of its own that each host has as pools.
    fn own_pools(&self) -> u32 {
        self.pools_per_host.min(2)
    }
}

/// A host as it was added.
#[derive(Clone, Debug)]
pub struct SeededHost {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key_pem: String,
    /// That key, certified.
    pub certificate_pem: String,
    /// What it should have.
    pub pools: Vec<PoolIntent>,
    /// What is on it, by id.
    pub vms: Vec<SeededVm>,
}

/// A VM as it was made.
#[derive(Clone, Copy, Debug)]
pub struct SeededVm {
    /// Its id.
    pub id: VmId,
    /// Its number in the whole fleet; its name is made from it.
    pub number: u32,
    /// It runs, or is off.
    pub runs: bool,
}

/// What the simulator must know of what is in the store.
#[derive(Clone, Debug)]
pub struct Seeded {
    /// The vDC's authority.
    pub ca_pem: String,
    /// All hosts.
    pub hosts: Vec<SeededHost>,
}

/// A VM's name. Few begin alike, so that filters have something to find.
pub fn vm_name(number: u32) -> String {
    const ROLES: [&str; 8] = ["web", "db", "cache", "build", "mail", "proxy", "queue", "desk"];
    format!("{}-{number:06}", ROLES[number as usize % ROLES.len()])
}

/// The bytes of the pools that are shared.
const RACK_POOL_NAMES: [&str; 6] = ["vm", "images", "backup", "scratch", "archive", "media"];
/// Key pairs and certificates between two moments for others.
const AT_ONCE: u32 = 64;

/// Writes a fleet into an empty store.
pub async fn seed(store: &Store, pki: &Pki, size: Size, now: UnixMs) -> Result<Seeded, Fault> {
    let mut bulk = Bulk::default();
    let racks = rack_pools(&mut bulk, size, now);
    let mut hosts = Vec::new();
    for n in 0..size.hosts {
        if n % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        let mut host = add_host(&mut bulk, pki, size, n, now)?;
        let rack = racks.get(&(n / size.rack_hosts.max(1))).map(Vec::as_slice).unwrap_or_default();
        host.pools = give_pools(&mut bulk, &host, rack, size, now);
        add_vms(&mut bulk, &mut host, size, n, now)?;
        hosts.push(host);
    }
    store.bulk_insert(&bulk).await?;
    Ok(Seeded { ca_pem: pki.bundle().pem.clone(), hosts })
}

fn pool_record(name: String, spec: PoolSpec, now: UnixMs) -> PoolRecord {
    PoolRecord {
        id: ids::pool(),
        name,
        spec,
        generation: 1,
        deleting: false,
        prepared: false,
        created_at: now,
        changed_at: now,
    }
}

fn rack_pools(bulk: &mut Bulk, size: Size, now: UnixMs) -> BTreeMap<u32, Vec<PoolRecord>> {
    let shared = size.pools_per_host - size.own_pools();
    let racks = size.hosts.div_ceil(size.rack_hosts.max(1));
    let of_rack = |rack: u32| {
        let one = |n: u32| {
            let word = RACK_POOL_NAMES[n as usize % RACK_POOL_NAMES.len()];
            let spec = PoolSpec::Nfs(NfsSpec {
                server: format!("filer-{rack}.storage.internal"),
                export: format!("/export/{word}-{n}"),
                version: NfsVersion::V41,
                options: String::new(),
                mount_path: String::new(),
            });
            pool_record(format!("rack-{rack:03}-{word}-{n}"), spec, now)
        };
        (0..shared).map(one).collect::<Vec<_>>()
    };
    let racks: BTreeMap<u32, Vec<PoolRecord>> = (0..racks).map(|rack| (rack, of_rack(rack))).collect();
    bulk.pools.extend(racks.values().flatten().cloned());
    racks
}

fn add_host(bulk: &mut Bulk, pki: &Pki, size: Size, n: u32, now: UnixMs) -> Result<SeededHost, Fault> {
    let (id, name) = (ids::host(), format!("host-{n:05}"));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Fault::internal)?;
    let spki = key.subject_public_key_info();
    let certificate = pki.sign_host_key(&spki, id)?;
    let mut key_sha256 = [0; 32];
    key_sha256.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki).as_ref());
    bulk.hosts.push(HostRecord {
        id,
        name: name.clone(),
        // Nobody listens there: the simulated hosts speak and are not spoken to.
        url: "https://127.0.0.1:9".into(),
        key_sha256,
        certificate_pem: certificate.pem.clone(),
        certificate_expires_at: certificate.expires_at,
        node_version: VERSION.to_owned(),
        discovery: None,
        fault: None,
        added_at: now,
        seen_at: Some(now),
        beat_interval_ms: size.beat_interval_ms,
    });
    let (pools, vms) = (Vec::new(), Vec::new());
    Ok(SeededHost { id, name, key_pem: key.serialize_pem(), certificate_pem: certificate.pem, pools, vms })
}

fn give_pools(
    bulk: &mut Bulk,
    host: &SeededHost,
    rack: &[PoolRecord],
    size: Size,
    now: UnixMs,
) -> Vec<PoolIntent> {
    let own =
        |n: u32| pool_record(format!("{}-local-{n}", host.name), PoolSpec::local(format!("/data/{n}")), now);
    let mut pools: Vec<PoolRecord> = (0..size.own_pools()).map(own).collect();
    bulk.pools.extend(pools.iter().cloned());
    pools.extend_from_slice(rack);
    bulk.assignments.extend(pools.iter().map(|pool| PoolAssignmentRecord {
        pool_id: pool.id,
        host_id: host.id,
        assigned_at: now,
        releasing: false,
    }));
    pools.sort_by_key(|pool| pool.id);
    pools.iter().map(|pool| pool::intent_of(pool, &pool.spec)).collect()
}

fn add_vms(bulk: &mut Bulk, host: &mut SeededHost, size: Size, n: u32, now: UnixMs) -> Result<(), Fault> {
    let pools: Vec<PoolId> = host.pools.iter().map(|p| p.pool_id.parse()).collect::<Result<_, _>>()?;
    if pools.is_empty() {
        return Ok(());
    }
    let upto = |n: u32| u64::from(size.vms) * u64::from(n) / u64::from(size.hosts.max(1));
    for number in upto(n)..upto(n + 1) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let vm = SeededVm { id: ids::vm(), number, runs: !number.is_multiple_of(5) };
        let pool_id = pools[number as usize % pools.len()];
        add_vm(bulk, host.id, pool_id, vm, now);
        host.vms.push(vm);
    }
    Ok(())
}

fn add_vm(bulk: &mut Bulk, host_id: HostId, pool_id: PoolId, vm: SeededVm, now: UnixMs) {
    let name = vm_name(vm.number);
    let volume_id = ids::volume();
    bulk.volumes.push(VolumeRecord {
        id: volume_id,
        name: format!("{name}-0"),
        pool_id,
        phase: VolumePhase::Ready,
        fault: None,
        format: VolumeFormat::Qcow2,
        size_bytes: u64::from(vm.number % 16 + 1) << 33,
        image_id: None,
        vm_id: Some(vm.id),
        created_at: now,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
        parent_id: None,
    });
    let [_, b, c, d] = vm.number.to_be_bytes();
    bulk.vms.push(VmRecord {
        id: vm.id,
        name,
        description: String::new(),
        host_id,
        spec: VmSpec {
            vcpus: vm.number % 8 + 1,
            memory_bytes: u64::from(vm.number % 32 + 1) << 29,
            firmware: Firmware::Bios,
            disks: vec![Disk { volume_id, pool_id }],
            cdrom: None,
            nics: vec![Nic { kind: NicKind::User, mac: format!("52:54:00:{b:02x}:{c:02x}:{d:02x}") }],
        },
        generation: 1,
        phase: VmPhase::Ready,
        fault: None,
        power_state: power(vm.runs),
        power_reason: String::new(),
        power_since: Some(now),
        observed_at: Some(now),
        // One after the other, so that their age sorts them.
        created_at: UnixMs(now.0.saturating_sub(i64::from(vm.number))),
    });
}

/// The power state of a VM that runs or does not.
pub fn power(runs: bool) -> PowerState {
    if runs { PowerState::Running } else { PowerState::Off }
}
