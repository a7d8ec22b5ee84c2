//! One simulated host: the real heart of the node daemon, with a body that is numbers.

use crate::fleet::Counts;
use crate::fleet::plan::Trouble;
use crate::fleet::seed::{SeededHost, SeededVm, power, vm_name};
use async_trait::async_trait;
use quantix_client::VdcClient;
use quantix_client::tls::{Identity, mutual_client};
use quantix_contract::quantix::node::v1::{BeatRequest, BeatResponse, PoolIntent};
use quantix_hypervisor::driver::MachineReport;
use quantix_model::host::{Accelerator, Cpu, Engine, Inventory, Vitals};
use quantix_model::id::{HostId, PoolId};
use quantix_model::pool::{Capabilities, Capacity, PoolHealth, PoolReport};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_node::beat::{self, Body, State};
use quantix_node::clock;
use quantix_node::ledger::Enrolment;
use quantix_node::vm::table::VmFact;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Memory of each machine.
const MEMORY_BYTES: u64 = 256 << 30;
/// Size of each pool.
const POOL_BYTES: u64 = 8 << 40;

/// What all hosts of a fleet have in common.
#[derive(Debug)]
pub struct Shared {
    vdc_url: String,
    vdc_ca_pem: String,
    counts: Arc<Counts>,
    since: UnixMs,
}

impl Shared {
    /// Hosts of the vDC at `url`, with this CA.
    pub fn new(url: &str, ca_pem: &str, counts: Arc<Counts>) -> Shared {
        Shared { vdc_url: url.into(), vdc_ca_pem: ca_pem.into(), counts, since: clock::now() }
    }
}

/// A host.
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    key_pem: String,
    certificate_pem: String,
    machine: Arc<Inventory>,
    trouble: Trouble,
    /// It keeps its connection between two beats.
    keeps_line: bool,
    shared: Arc<Shared>,
    changed: Arc<Notify>,
    spoke: AtomicBool,
    calm: AtomicBool,
    now: Mutex<Now>,
}

/// What changes on it.
struct Now {
    pools: BTreeMap<PoolId, Pool>,
    vms: Vec<Vm>,
    dice: StdRng,
    /// A beat that will arrive late.
    late: Option<BeatRequest>,
}

struct Pool {
    generation: u64,
    failed: bool,
    since: UnixMs,
}

struct Vm {
    seed: SeededVm,
    runs: bool,
    since: UnixMs,
}

impl Host {
    /// A host as it was added.
    pub fn new(seed: &SeededHost, trouble: Trouble, keeps_line: bool, shared: Arc<Shared>) -> Host {
        let since = shared.since;
        let pool = |intent: &PoolIntent| {
            let pool = Pool { generation: intent.generation, failed: false, since };
            Some((intent.pool_id.parse().ok()?, pool))
        };
        let now = Now {
            pools: seed.pools.iter().filter_map(pool).collect(),
            vms: seed.vms.iter().map(|vm| Vm { seed: *vm, runs: vm.runs, since }).collect(),
            dice: StdRng::seed_from_u64(trouble.seed),
            late: None,
        };
        Host {
            id: seed.id,
            name: seed.name.clone(),
            key_pem: seed.key_pem.clone(),
            certificate_pem: seed.certificate_pem.clone(),
            machine: Arc::new(machine(&seed.name)),
            trouble,
            keeps_line,
            shared,
            changed: Arc::new(Notify::new()),
            spoke: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            now: Mutex::new(now),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Beats, and lets go wrong what should, until told to stop.
    pub async fn live(self: Arc<Host>, stop: CancellationToken) {
        let turns = async {
            tokio::join!(
                every(self.trouble.flapping, || self.is_calm(), || self.turn_pool()),
                every(self.trouble.restless, || self.is_calm(), || self.turn_vm(0)),
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = beat::run(Arc::clone(&self), stop.clone()) => {}
            () = turns => {}
        }
    }

    /// Its first pool fails, or recovers.
    pub fn turn_pool(&self) {
        if let Some(pool) = self.now().pools.values_mut().next() {
            pool.failed = !pool.failed;
            pool.since = clock::now();
        }
        self.changed.notify_one();
    }

    /// Its first pool, and whether it fails now.
    pub fn first_pool(&self) -> Option<(PoolId, bool)> {
        self.now().pools.iter().next().map(|(id, pool)| (*id, pool.failed))
    }

    /// Somebody switches a VM, behind the vDC's back.
    pub fn turn_vm(&self, n: usize) {
        if let Some(vm) = self.now().vms.get_mut(n) {
            vm.runs = !vm.runs;
            vm.since = clock::now();
        }
        self.changed.notify_one();
    }

    /// Ids of its VMs, and whether each runs.
    pub fn vms(&self) -> Vec<(quantix_model::id::VmId, bool)> {
        self.now().vms.iter().map(|vm| (vm.seed.id, vm.runs)).collect()
    }

    /// A machine loses a VM: somebody undefined it.
    pub fn lose_vm(&self, n: usize) {
        let mut now = self.now();
        if n < now.vms.len() {
            now.vms.remove(n);
        }
        drop(now);
        self.changed.notify_one();
    }

    /// Nothing goes wrong any more, but for silence.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn roll(&self, share: f64) -> bool {
        share > 0.0 && !self.is_calm() && self.now().dice.random_bool(share)
    }

    async fn deliver(&self, line: &VdcClient, beat: BeatRequest) -> Result<BeatResponse, Fault> {
        if self.keeps_line {
            return line.beat(beat).await;
        }
        // Dropped with its connection.
        let enrolment = self.enrolment().ok_or_else(|| Fault::internal("it belongs to a vDC"))?;
        self.line(&enrolment)?.beat(beat).await
    }
}

async fn every(pause: Option<Duration>, is_calm: impl Fn() -> bool, act: impl Fn()) {
    let Some(pause) = pause else { return };
    loop {
        tokio::time::sleep(pause).await;
        if !is_calm() {
            act();
        }
    }
}

fn lost() -> Fault {
    Fault::new(FaultCode::HostUnreachable, "The vDC could not be reached.", "This is a simulated loss.")
}

fn machine(hostname: &str) -> Inventory {
    Inventory {
        hostname: hostname.to_owned(),
        machine_id: format!("{hostname}-simulated"),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        kernel: "6.1.0-simulated".into(),
        cpu: Cpu {
            model: "Simulated CPU".into(),
            vendor: "GenuineIntel".into(),
            sockets: 2,
            cores: 32,
            threads: 64,
            numa_nodes: 2,
            virtualization: "vmx".into(),
        },
        memory_total_bytes: MEMORY_BYTES,
        ..Inventory::default()
    }
}

fn engine() -> Engine {
    Engine {
        libvirt_version: "9.0.0".into(),
        qemu_version: "7.2.0".into(),
        kvm_device_present: true,
        accelerator: Accelerator::Kvm,
        accelerator_reason: "simulated".into(),
        fault: None,
        weakness: None,
    }
}

impl Pool {
    fn report(&self, id: PoolId, now: UnixMs) -> PoolReport {
        // Each fills slowly, at its own place.
        let place = u64::from(id.0.as_bytes()[15]) << 32;
        let used_bytes = POOL_BYTES / 4 + place + u64::try_from(now.0 % 100_000).unwrap_or(0) * 4096;
        let fault = Fault::new(
            FaultCode::PoolIoFailed,
            "The pool answers with errors.",
            "Look at the storage behind it.",
        );
        PoolReport {
            generation: self.generation,
            health: if self.failed { PoolHealth::Error } else { PoolHealth::Healthy },
            fault: self.failed.then(|| fault.because("stat: Input/output error")),
            probe: "statfs, write".into(),
            since: self.since,
            observed_at: UnixMs(now.0 - i64::from(id.0.as_bytes()[14]) * 20),
            capacity: (!self.failed).then_some(Capacity {
                total_bytes: POOL_BYTES,
                used_bytes,
                available_bytes: POOL_BYTES - used_bytes,
            }),
            mount_path: format!("/var/lib/quantix/pools/{id}"),
            volume_count: 40,
            capabilities: Capabilities { files: true, images: true, grow: true, ..Capabilities::default() },
            facts: Vec::new(),
        }
    }
}

impl Vm {
    fn fact(&self, now: UnixMs) -> VmFact {
        let load =
            f64::from((self.seed.number ^ u32::try_from(now.0 >> 14 & 0xffff).unwrap_or(0)) % 100) / 100.0;
        let report = MachineReport {
            id: self.seed.id,
            name: vm_name(self.seed.number),
            generation: Some(1),
            power_state: power(self.runs),
            power_reason: if self.runs { "booted" } else { "shutdown" }.into(),
            cpu_time_ns: None,
            memory_used_bytes: self.runs.then_some(1 << 30),
            vcpus: 2,
        };
        VmFact {
            report,
            since: self.since,
            observed_at: now,
            cpu_used_ratio: self.runs.then_some(load),
            fault: None,
        }
    }
}

#[async_trait]
impl Body for Host {
    fn enrolment(&self) -> Option<Enrolment> {
        Some(Enrolment {
            host_id: self.id,
            host_name: self.name.clone(),
            vdc_url: self.shared.vdc_url.clone(),
            vdc_ca_pem: self.shared.vdc_ca_pem.clone(),
            certificate_pem: self.certificate_pem.clone(),
            confirmed: true,
            trusted_at: UnixMs(0),
        })
    }

    fn line(&self, enrolment: &Enrolment) -> Result<VdcClient, Fault> {
        let identity = Identity::from_pem(&self.certificate_pem, &self.key_pem)?;
        VdcClient::for_host(&enrolment.vdc_url, mutual_client(&identity, &enrolment.vdc_ca_pem)?)
    }

    fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    async fn first_look(&self) {}

    async fn state(&self) -> State {
        let (at, now) = (clock::now(), self.now());
        let running = now.vms.iter().filter(|vm| vm.runs).count() as u64;
        State {
            vitals: Vitals {
                cpu_used_ratio: 0.3,
                memory_total_bytes: MEMORY_BYTES,
                memory_used_bytes: running << 30,
                load_1m: 4.0,
                uptime_seconds: at.age(at).as_secs(),
            },
            inventory: Some(Arc::clone(&self.machine)),
            engine: Some(engine()),
            pools: now.pools.iter().map(|(id, pool)| (*id, pool.report(*id, at))).collect(),
            vms: now.vms.iter().map(|vm| vm.fact(at)).collect(),
            vms_known: true,
        }
    }

    async fn send(&self, line: &VdcClient, beat: BeatRequest) -> Result<BeatResponse, Fault> {
        let counts = &self.shared.counts;
        if self.trouble.silent && self.spoke.load(Ordering::Relaxed) || self.roll(self.trouble.lost_beats) {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            return Err(lost());
        }
        let whole = beat.figures.is_unset();
        let late =
            if self.roll(self.trouble.reordered) { self.now().late.replace(beat.clone()) } else { None };
        if self.roll(self.trouble.doubled) {
            let _ = self.deliver(line, beat.clone()).await;
        }
        let begun = Instant::now();
        let answer = self.deliver(line, beat).await;
        if let Some(late) = late {
            let _ = self.deliver(line, late).await;
        }
        match answer {
            Ok(answer) => {
                self.spoke.store(true, Ordering::Relaxed);
                counts.answered(whole, begun.elapsed());
                if self.roll(self.trouble.lost_answers) { Err(lost()) } else { Ok(answer) }
            }
            Err(fault) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                Err(fault)
            }
        }
    }

    async fn confirm(&self, _enrolment: &Enrolment) -> Result<(), Fault> {
        Ok(())
    }

    async fn converge(&self, answer: &BeatResponse, sent_at: UnixMs) {
        let mut now = self.now();
        let mut changed = false;
        for intent in &answer.pools {
            let Ok(id) = intent.pool_id.parse::<PoolId>() else { continue };
            let new = || Pool { generation: 0, failed: false, since: sent_at };
            let pool = now.pools.entry(id).or_insert_with(new);
            changed |= pool.generation < intent.generation;
            pool.generation = pool.generation.max(intent.generation);
        }
        for over in &answer.released {
            let Ok(id) = over.pool_id.parse::<PoolId>() else { continue };
            if now.pools.get(&id).is_some_and(|pool| pool.generation <= over.generation) {
                changed |= now.pools.remove(&id).is_some();
            }
        }
        drop(now);
        if changed {
            self.changed.notify_one();
        }
    }
}
