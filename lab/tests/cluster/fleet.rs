//! A fleet of simulated hosts with seeded trouble: whatever was lost, doubled or late, the vDC's view ends up right.
//!
//! Each scenario's outcome is a line of `target/artefacts/scenarios.txt`.

use quantix_client::{VdcClient, tls};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::session::v1 as session;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_control::clock::Clock;
use quantix_control::pki::Pki;
use quantix_control::seal::Seal;
use quantix_control::{Config, Vdc, VdcHandle, VdcOptions, serve};
use quantix_lab::fleet::Fleet;
use quantix_lab::fleet::plan::{Plan, Troubles};
use quantix_lab::fleet::seed::{Seeded, Size, seed};
use quantix_lab::rig::{PASSWORD, until};
use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const HOSTS: u32 = 50;
const VMS: u32 = 150;
const DEADLINE: Duration = Duration::from_secs(60);
/// Troubles have so long to do harm.
const HARM: Duration = Duration::from_secs(3);

struct Yard {
    dir: tempfile::TempDir,
    vdc: VdcHandle,
    client: VdcClient,
    seeded: Seeded,
}

async fn start_vdc(dir: &Path, listen: SocketAddr) -> VdcHandle {
    let config = Config { listen, host_offer_urls: Vec::new(), ..Config::new(dir.join("vdc")) };
    until("the vDC starts", DEADLINE, async || Vdc::start(VdcOptions::new(config.clone())).await.ok()).await
}

async fn client(vdc: &VdcHandle, password: &str) -> (VdcClient, VdcClient) {
    let config = tls::client(&vdc.ca_pem()).expect("the vDC's own CA");
    let client = VdcClient::new(&format!("https://{}", vdc.address()), tls::VDC_NAME, config).expect("a URL");
    let login =
        session::LoginRequest { user_name: "admin".into(), password: password.into(), ..Default::default() };
    let token = client.sessions().login(login).await.expect("the password works").into_owned().token;
    (client.clone(), client.with_token(&token))
}

impl Yard {
    async fn new() -> Yard {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a folder can be made");
        let config = Config::new(dir.path().join("vdc"));
        let store = serve::open_store(&config).await.expect("a new store");
        let clock = Clock::system();
        let seal = Arc::new(Seal::open(&config.seal_key(), true).expect("a key"));
        let pki = Pki::open(&config.data_dir, &[], &clock, &seal).expect("a new CA");
        let size = Size { vms: VMS, rack_hosts: 10, beat_interval_ms: 300, ..Size::of(HOSTS, 3, 0) };
        let seeded = seed(&store, &pki, size, clock.now()).await.expect("the fleet is written");
        store.close().await;
        let vdc = start_vdc(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let first = vdc.first_password().expect("a new vDC has one").to_owned();
        let (_, client) = client(&vdc, &first).await;
        let change = session::ChangePasswordRequest {
            current_password: first,
            new_password: PASSWORD.into(),
            ..Default::default()
        };
        client.sessions().change_password(change).await.expect("the password is changed");
        Yard { dir, vdc, client, seeded }
    }

    fn fleet(&self, plan: &Plan) -> Fleet {
        let url = format!("https://{}", self.vdc.address());
        Fleet::start(&self.seeded, &url, plan, Duration::from_millis(300))
    }

    /// What is wrong with the vDC's view of the fleet, if anything is.
    async fn wrong(&self, fleet: &Fleet, silent: &dyn Fn(usize) -> bool) -> Option<String> {
        let broken = |err: connectrpc::ConnectError| Some(format!("a list failed: {err}"));
        let page_size = 500;
        let hosts = host::ListHostsRequest { page_size, ..Default::default() };
        let hosts = match self.client.hosts().list_hosts(hosts).await {
            Ok(answer) => answer.into_owned().hosts,
            Err(err) => return broken(err),
        };
        let hosts: HashMap<String, host::Host> = hosts.into_iter().map(|h| (h.id.clone(), h)).collect();
        let vms = vm::ListVmsRequest { page_size, ..Default::default() };
        let vms = match self.client.vms().list_vms(vms).await {
            Ok(answer) => answer.into_owned().vms,
            Err(err) => return broken(err),
        };
        let vms: HashMap<String, vm::Vm> = vms.into_iter().map(|v| (v.id.clone(), v)).collect();
        let pools = pool::ListPoolsRequest { page_size, ..Default::default() };
        let pools = match self.client.pools().list_pools(pools).await {
            Ok(answer) => answer.into_owned().pools,
            Err(err) => return broken(err),
        };
        let pools: HashMap<String, pool::Pool> = pools.into_iter().map(|p| (p.id.clone(), p)).collect();
        for (n, truth) in fleet.hosts.iter().enumerate() {
            let seen = &hosts[&truth.id.to_string()];
            let phase = if silent(n) {
                host::HostPhase::HOST_PHASE_DISCONNECTED
            } else {
                host::HostPhase::HOST_PHASE_READY
            };
            if seen.phase != phase {
                return Some(format!("{} is {:?}, not {phase:?}", seen.name, seen.phase));
            }
            for (id, runs) in truth.vms() {
                let seen = &vms[&id.to_string()];
                let power = match (silent(n), runs) {
                    (true, _) => vm::PowerState::POWER_STATE_UNKNOWN,
                    (false, true) => vm::PowerState::POWER_STATE_RUNNING,
                    (false, false) => vm::PowerState::POWER_STATE_OFF,
                };
                if seen.power_state != power {
                    return Some(format!("{} is {:?}, not {power:?}", seen.name, seen.power_state));
                }
            }
            let (id, failed) = truth.first_pool().expect("each host has pools");
            let seen = &pools[&id.to_string()];
            let health = match (silent(n), failed) {
                (true, _) => pool::PoolHealth::POOL_HEALTH_UNKNOWN,
                (false, true) => pool::PoolHealth::POOL_HEALTH_ERROR,
                (false, false) => pool::PoolHealth::POOL_HEALTH_HEALTHY,
            };
            let said = seen.host_statuses.iter().find(|s| s.host_id == truth.id.to_string());
            if said.is_none_or(|said| said.health != health) {
                return Some(format!("{} on {} is {said:?}, not {health:?}", seen.name, truth.name));
            }
        }
        None
    }

    /// Waits until the view is right, then ends everything and writes the outcome down.
    async fn settles(self, name: &str, seed: u64, fleet: Fleet, plan: &Plan) {
        let silent = plan.hosts_with(|t| t.silent);
        fleet.hosts.iter().for_each(|host| host.calm_down());
        let mut last = Some("nothing was read".to_owned());
        let right = tokio::time::timeout(DEADLINE, async {
            loop {
                last = self.wrong(&fleet, &|n| silent.contains(&n)).await;
                if last.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let right = right.await.is_ok();
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        let (answered, whole) = (count(&fleet.counts.answered), count(&fleet.counts.whole));
        let failed = count(&fleet.counts.failed);
        let outcome = match (&last, right) {
            (None, true) => {
                format!("right: {answered} beats answered, {whole} of them whole, {failed} failed")
            }
            (wrong, _) => format!("WRONG: {}", wrong.clone().unwrap_or_default()),
        };
        record(name, seed, &outcome);
        fleet.stop().await;
        self.vdc.stop().await;
        assert!(right, "{name}, seed {seed}: {outcome}");
    }
}

/// `scenario | seed | outcome`
fn record(name: &str, seed: u64, outcome: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/artefacts");
    std::fs::create_dir_all(&folder).expect("the build folder is ours");
    let file = std::fs::File::options().append(true).create(true).open(folder.join("scenarios.txt"));
    let line = format!("{name} | {seed} | {outcome}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the build folder is ours");
}

async fn scenario(name: &str, troubles: Troubles) {
    let yard = Yard::new().await;
    let plan = Plan::new(HOSTS, &troubles);
    let fleet = yard.fleet(&plan);
    tokio::time::sleep(HARM).await;
    yard.settles(name, troubles.seed, fleet, &plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_hosts() {
    scenario("silent hosts", Troubles { seed: 11, silent: 10, ..Troubles::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flapping_pools_and_restless_vms() {
    let troubles = Troubles { seed: 12, flapping: 20, restless: 20, ..Troubles::default() };
    scenario("flapping pools, restless VMs", troubles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_beats_and_answers() {
    let troubles = Troubles {
        seed: 13,
        lost_beats: 30,
        lost_answers: 30,
        flapping: 20,
        restless: 20,
        ..Troubles::default()
    };
    scenario("lost beats and answers", troubles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_and_late_beats() {
    let troubles =
        Troubles { seed: 14, doubled: 30, reordered: 30, flapping: 20, restless: 20, ..Troubles::default() };
    scenario("doubled and late beats", troubles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_starts_anew() {
    let mut yard = Yard::new().await;
    let troubles = Troubles { seed: 15, flapping: 20, restless: 20, ..Troubles::default() };
    let plan = Plan::new(HOSTS, &troubles);
    let fleet = yard.fleet(&plan);
    tokio::time::sleep(HARM).await;
    let address = yard.vdc.address();
    yard.vdc.stop().await;
    yard.vdc = start_vdc(yard.dir.path(), address).await;
    yard.client = client(&yard.vdc, PASSWORD).await.1;
    yard.settles("vDC started anew", troubles.seed, fleet, &plan).await;
}
