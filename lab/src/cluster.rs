//! A whole cluster in one process: the real vDC and the real node daemon over real TLS on loopback, with the
//! hypervisor and the pools in memory.
//!
//! Each daemon runs on a runtime of its own. [`Cluster::kill_vdc`] and [`Cluster::kill_node`] drop that runtime, so
//! that work ends wherever it stands, as under `kill -9`; what was written stays, what was in memory is gone.

mod answer;

pub use answer::Answer;

use crate::rig::{PASSWORD, until};
use quantix_client::host::ConsoleStream;
use quantix_client::{VdcClient, tls};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::image::v1 as image;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::session::v1 as session;
use quantix_contract::quantix::task::v1 as task;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_control::clock::Clock;
use quantix_control::{Config, Vdc, VdcHandle, VdcOptions};
use quantix_hypervisor::fake::FakeDriver;
use quantix_model::Fault;
use quantix_model::host::Accelerator;
use quantix_model::id::PoolId;
use quantix_node::log::Logs;
use quantix_node::{Node, NodeHandle, NodeOptions};
use quantix_storage::device::fake::FakeDisks;
use quantix_storage::fake::FakePool;
use quantix_storage::worker::{FakeLauncher, Limits};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Hosts of a cluster beat so often.
const BEAT_MS: u64 = 200;
/// Nothing in memory takes longer, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A daemon on a runtime of its own.
pub(crate) struct Daemon<T> {
    runtime: Option<Runtime>,
    /// Kept for what it offers; dropped with the runtime.
    pub(crate) handle: Option<T>,
}

impl<T: Send + 'static> Daemon<T> {
    /// Starts one, trying again while the one before it lets go of its port and files.
    /// What its threads write down goes to `traces`.
    async fn start<F>(traces: Dispatch, start: impl Fn() -> F) -> Daemon<T>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            // For the thread's whole life: there is nothing to give back.
            .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&traces)))
            .build();
        let runtime = runtime.expect("threads can be started");
        let handle = until("the daemon starts", DEADLINE, async || {
            match runtime.spawn(start()).await.expect("starting does not panic") {
                Ok(handle) => Some(handle),
                Err(fault) => {
                    eprintln!("not yet: {fault}");
                    None
                }
            }
        })
        .await;
        Daemon { runtime: Some(runtime), handle: Some(handle) }
    }

    pub(crate) fn kill(&mut self) {
        drop(self.handle.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<T> Drop for Daemon<T> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One vDC, one host, a signed-in client.
pub struct Cluster {
    dir: tempfile::TempDir,
    /// What the vDC is started with; changed while it is down, it tells the next start.
    pub config: Config,
    vdc: Daemon<VdcHandle>,
    node: Daemon<NodeHandle>,
    /// A machine whose disk is a copy of the host's.
    copy: Option<Daemon<NodeHandle>>,
    vdc_address: SocketAddr,
    node_address: SocketAddr,
    ca_pem: String,
    token: String,
    /// The vDC's clock, to be moved ahead.
    pub clock: Clock,
    /// The host's hypervisor.
    pub driver: FakeDriver,
    /// The host's pools.
    pub launcher: Arc<FakeLauncher>,
    /// The host's disks.
    pub disks: FakeDisks,
    /// Signed in as admin.
    pub client: VdcClient,
}

impl Cluster {
    /// A vDC and a node daemon that do not know each other yet.
    pub async fn apart() -> Cluster {
        Cluster::apart_on(None).await
    }

    /// The same, with the vDC's rows in this PostgreSQL.
    pub async fn apart_on(database_url: Option<String>) -> Cluster {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a folder can be made");
        let (driver, launcher) = (FakeDriver::new(Accelerator::Tcg), FakeLauncher::new());
        let disks = FakeDisks::default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let clock = Clock::system();
        let mut config = Config {
            listen: loopback,
            host_offer_urls: Vec::new(),
            beat_interval_ms: BEAT_MS,
            database_url,
            // As cheap as is taken: tests sign in over and over.
            password_hash_mib: 19,
            password_hash_passes: 2,
            ..Config::new(dir.path().join("vdc"))
        };
        let vdc = start_vdc(&config, &clock).await;
        let node = start_node(dir.path(), loopback, &driver, &launcher, &disks).await;
        let handle = vdc.handle.as_ref().expect("just started");
        let (vdc_address, ca_pem) = (handle.address(), handle.ca_pem());
        let first = handle.first_password().expect("a new vDC has a one-time password").to_owned();
        let node_address = node.handle.as_ref().expect("just started").address();
        let (client, token) = sign_in(vdc_address, &ca_pem, &clock, &first).await;
        config.listen = vdc_address;
        Cluster {
            dir,
            config,
            vdc,
            node,
            copy: None,
            vdc_address,
            node_address,
            ca_pem,
            token,
            clock,
            driver,
            launcher,
            disks,
            client,
        }
    }

    /// A vDC with one host, `host-1`, that beats.
    pub async fn start() -> Cluster {
        Cluster::start_on(None).await
    }

    /// The same, with the vDC's rows in this PostgreSQL.
    pub async fn start_on(database_url: Option<String>) -> Cluster {
        let cluster = Cluster::apart_on(database_url).await;
        let token = cluster.host_token().await;
        let probed = cluster.probe(&cluster.host_url(), &token).await.expect("the probe goes well");
        cluster.ok(cluster.add_host(&probed, "host-1").await);
        cluster.host_ready().await;
        cluster
    }

    /// `kill -9` of the vDC.
    pub fn kill_vdc(&mut self) {
        self.vdc.kill();
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the vDC on what it left behind.
    pub async fn start_vdc(&mut self) {
        self.vdc = start_vdc(&self.config, &self.clock).await;
        self.client = client(self.vdc_address, &self.ca_pem, &self.clock).with_token(&self.token);
    }

    /// `kill -9` of the node daemon. Guests go on.
    pub fn kill_node(&mut self) {
        self.node.kill();
    }

    /// Starts the node daemon on what it left behind.
    pub async fn start_node(&mut self) {
        self.node =
            start_node(self.dir.path(), self.node_address, &self.driver, &self.launcher, &self.disks).await;
    }

    /// Copies the host's disk while it runs, and starts a daemon on the copy: a second machine with the same identity.
    pub async fn copy_node(&mut self) {
        let copy = self.dir.path().join("copy");
        std::fs::create_dir_all(copy.join("node")).expect("a folder can be made");
        for file in ["host.key", "host.pem", "ledger.json"] {
            let (from, to) = (self.dir.path().join("node").join(file), copy.join("node").join(file));
            std::fs::copy(from, to).expect("the host keeps its identity here");
        }
        let (driver, launcher) = (FakeDriver::new(Accelerator::Tcg), FakeLauncher::new());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        self.copy = Some(start_node(&copy, listen, &driver, &launcher, &FakeDisks::default()).await);
    }

    /// Ends the copy.
    pub fn kill_copy(&mut self) {
        self.copy.iter_mut().for_each(Daemon::kill);
    }

    /// What the host proves itself with: its chain and its key, as PEM.
    pub fn host_identity(&self) -> (String, String) {
        let read = |file: &str| std::fs::read_to_string(self.dir.path().join("node").join(file));
        let ledger = read("ledger.json").expect("the host has a ledger");
        let ledger: serde_json::Value = serde_json::from_str(&ledger).expect("it is whole");
        let chain = ledger["registration"]["certificate_pem"].as_str().expect("it is registered").to_owned();
        (chain, read("host.key").expect("the host has a key"))
    }

    /// Whom the host trusts, as its ledger has it.
    pub fn host_trust(&self) -> String {
        let ledger = std::fs::read(self.dir.path().join("node/ledger.json")).expect("the host has a ledger");
        let ledger: serde_json::Value = serde_json::from_slice(&ledger).expect("it is whole");
        ledger["registration"]["vdc_ca_pem"].as_str().expect("it is registered").to_owned()
    }

    /// A line to the vDC of whoever has this chain and key.
    pub fn line_as(&self, chain_pem: &str, key_pem: &str) -> VdcClient {
        let identity = tls::Identity::from_pem(chain_pem, key_pem).expect("PEM");
        let tls = tls::mutual_client(&identity, &self.ca_pem).expect("the vDC's own CA");
        let tls = tls::client_by(tls, &self.clock);
        VdcClient::new(&format!("https://{}", self.vdc_address), tls::VDC_NAME, tls).expect("a URL")
    }

    /// What the vDC keeps, for whoever sets it back while it is down.
    pub fn vdc_dir(&self) -> PathBuf {
        self.dir.path().join("vdc")
    }

    /// Signs in anew: sessions end, and authorities change, when the clock is moved far ahead.
    pub async fn sign_in(&mut self) {
        self.ca_pem = self.vdc().ca_pem();
        let client = client(self.vdc_address, &self.ca_pem, &self.clock);
        // After a jump the vDC's own certificate may have to be renewed first.
        let signed_in = until("signed in", DEADLINE, async || login(&client, PASSWORD).await.ok());
        self.token = signed_in.await;
        self.client = client.with_token(&self.token);
    }

    /// The running vDC.
    pub fn vdc(&self) -> &VdcHandle {
        self.vdc.handle.as_ref().expect("the vDC is started")
    }

    /// Lets time pass for the vDC and for all hosts: they share this process's machine.
    pub fn travel(&self, by: Duration) {
        self.clock.advance(by);
        quantix_node::clock::machine().advance(by);
    }

    /// Whether the node daemon was taken up by a vDC.
    pub fn is_registered(&self) -> bool {
        self.node.handle.as_ref().is_some_and(NodeHandle::is_registered)
    }

    /// Where the host listens.
    pub fn host_url(&self) -> String {
        format!("https://{}", self.node_address)
    }

    /// A new registration token of the host.
    pub async fn host_token(&self) -> String {
        let handle = self.node.handle.as_ref().expect("the node is started");
        handle.token().await.expect("a token is made")
    }

    /// PING, TOKEN, DISCOVERY; answers the probe's id, or what failed.
    pub async fn probe(&self, url: &str, token: &str) -> Result<String, Fault> {
        let request = host::ProbeHostRequest { url: url.into(), token: token.into(), ..Default::default() };
        let mut phases = self.ok(self.client.hosts().probe_host(request).await);
        let mut last = String::new();
        while let Some(phase) = self.ok(phases.message().await) {
            let phase = phase.to_owned_message();
            if let Some(fault) = phase.fault.as_option() {
                return Err(fault.into());
            }
            last = phase.probe_id;
        }
        Ok(last)
    }

    /// CONFIRM.
    pub async fn add_host(&self, probe: &str, name: &str) -> Result<host::Host, connectrpc::ConnectError> {
        let request =
            host::AddHostRequest { probe_id: probe.into(), name: name.into(), ..Default::default() };
        self.client.hosts().add_host(request).await.map(|answer| answer.into_owned())
    }

    /// The host, once it is in `phase`.
    pub async fn host_in(&self, phase: host::HostPhase) -> host::Host {
        until(&format!("the host is {phase:?}"), DEADLINE, async || {
            let hosts = self.client.hosts().list_hosts(host::ListHostsRequest::default()).await.ok()?;
            hosts.into_owned().hosts.into_iter().find(|h| h.phase == phase)
        })
        .await
    }

    /// The host, once it beats.
    pub async fn host_ready(&self) -> host::Host {
        self.host_in(host::HostPhase::HOST_PHASE_READY).await
    }

    /// The wish for a local pool on a host.
    pub fn pool_wish(name: &str, path: &str, host_id: &str) -> pool::CreatePoolRequest {
        let local = pool::LocalPool { path: path.into(), ..Default::default() };
        pool::CreatePoolRequest {
            name: name.into(),
            spec: pool::PoolSpec { backend: Some(local.into()), ..Default::default() }.into(),
            host_ids: vec![host_id.into()],
            ..Default::default()
        }
    }

    /// Makes a pool and waits until it is ready; answers its id.
    pub async fn pool(&self, name: &str) -> String {
        let host = self.host_ready().await;
        let wish = Cluster::pool_wish(name, &format!("/data/{name}"), &host.id);
        let made = self.ok(self.client.pools().create_pool(wish).await).into_owned();
        self.task_done(&made.task_id).await;
        let id = made.pool.as_option().expect("a pool comes back").id.clone();
        self.pool_in(&id, pool::PoolPhase::POOL_PHASE_READY).await;
        id
    }

    /// A pool, once it is in `phase`.
    pub async fn pool_in(&self, id: &str, phase: pool::PoolPhase) -> pool::Pool {
        until(&format!("pool {id} is {phase:?}"), DEADLINE, async || {
            let request = pool::GetPoolRequest { id: id.into(), ..Default::default() };
            let seen = self.client.pools().get_pool(request).await.ok()?.into_owned();
            (seen.phase == phase).then_some(seen)
        })
        .await
    }

    /// A pool as it stands on the host.
    pub fn shelf(&self, id: &str) -> Arc<FakePool> {
        self.launcher.pool(id.parse::<PoolId>().expect("a pool id"))
    }

    /// Declares an image.
    pub async fn declare(&self, name: &str, pool_id: &str, bytes: &[u8]) -> image::CreateImageResponse {
        let request = image::CreateImageRequest {
            name: name.into(),
            pool_id: pool_id.into(),
            size_bytes: bytes.len() as u64,
            ..Default::default()
        };
        self.ok(self.client.images().create_image(request).await).into_owned()
    }

    /// Uploads an image whole and waits until it is ready; answers its id.
    pub async fn image(&self, name: &str, pool_id: &str, bytes: &[u8]) -> String {
        let made = self.declare(name, pool_id, bytes).await;
        let answer = self.patch(&made.upload_path, 0, bytes).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
        self.task_done(&made.task_id).await;
        made.image.as_option().expect("an image comes back").id.clone()
    }

    /// An image as it is.
    pub async fn image_now(&self, id: &str) -> image::Image {
        let request = image::GetImageRequest { id: id.into(), ..Default::default() };
        self.ok(self.client.images().get_image(request).await).into_owned()
    }

    /// Sends bytes of an upload.
    pub async fn patch(&self, path: &str, offset: u64, bytes: &[u8]) -> Answer {
        self.http("PATCH", path, &[("upload-offset", &offset.to_string())], bytes, bytes.len()).await
    }

    /// How many bytes of an upload are safe.
    pub async fn offset(&self, path: &str) -> Option<u64> {
        self.http("HEAD", path, &[], b"", 0).await.header("upload-offset")?.parse().ok()
    }

    /// One plain HTTP request that announces `announced` bytes of body; the line is cut when fewer are given.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        announced: usize,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.http_as(&bearer, method, path, headers, body, announced).await
    }

    /// The same with another `Authorization`.
    pub async fn http_as(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        announced: usize,
    ) -> Answer {
        let mut line = self.client.dial().connect(&[b"http/1.1"]).await.expect("the vDC answers");
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {authorization}\r\ntus-resumable: 1.0.0\r\n\
             connection: close\r\ncontent-length: {announced}\r\n\
             content-type: application/offset+octet-stream\r\n",
            self.vdc_address
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        line.write_all(head.as_bytes()).await.expect("the vDC takes the head");
        let _ = line.write_all(body).await;
        let _ = line.flush().await;
        if body.len() < announced {
            // What was sent is on its way; then the line is simply gone.
            tokio::time::sleep(Duration::from_millis(300)).await;
            return Answer::default();
        }
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, line.read_to_end(&mut answer)).await.expect("an answer comes");
        Answer::read(&answer)
    }

    /// Opens a WebSocket as a browser does.
    pub async fn websocket(&self, path: &str) -> ConsoleStream {
        let line = self.client.dial().connect(&[b"http/1.1"]).await.expect("the vDC answers");
        let mut request =
            format!("wss://{}{path}", self.vdc_address).into_client_request().expect("a good path");
        let headers = request.headers_mut();
        let bearer = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        headers.insert("authorization", bearer);
        headers.insert("sec-websocket-protocol", "binary".parse().expect("ASCII"));
        tokio_tungstenite::client_async(request, line).await.expect("the vDC upgrades").0
    }

    /// Creates a VM and waits for the good end of its task; answers it as it is then.
    pub async fn vm(&self, request: vm::CreateVmRequest) -> vm::Vm {
        let made = self.ok(self.client.vms().create_vm(request).await).into_owned();
        self.task_done(&made.task_id).await;
        let id = made.vm.as_option().expect("a VM comes back").id.clone();
        let request = vm::GetVmRequest { id, ..Default::default() };
        self.ok(self.client.vms().get_vm(request).await).into_owned()
    }

    /// A VM, once it is in this power state.
    pub async fn powered(&self, id: &str, state: vm::PowerState) -> vm::Vm {
        until(&format!("VM {id} is {state:?}"), DEADLINE, async || {
            let request = vm::GetVmRequest { id: id.into(), ..Default::default() };
            let seen = self.client.vms().get_vm(request).await.ok()?.into_owned();
            (seen.power_state == state).then_some(seen)
        })
        .await
    }

    /// Asks for a change of power.
    pub async fn power(&self, id: &str, verb: vm::PowerVerb) -> Result<vm::VmTask, connectrpc::ConnectError> {
        let request = vm::PowerVmRequest { id: id.into(), verb: verb.into(), ..Default::default() };
        self.client.vms().power_vm(request).await.map(|answer| answer.into_owned())
    }

    /// A task, once it ended.
    pub async fn task_end(&self, id: &str) -> task::Task {
        until(&format!("task {id} ends"), DEADLINE, async || {
            let request = task::GetTaskRequest { id: id.into(), ..Default::default() };
            let seen = self.client.tasks().get_task(request).await.ok()?.into_owned();
            seen.ended_at.is_set().then_some(seen)
        })
        .await
    }

    /// A task, once it says that it is at this step.
    pub async fn task_at(&self, id: &str, step: &str) -> task::Task {
        until(&format!("task {id} is at {step:?}"), DEADLINE, async || {
            let request = task::GetTaskRequest { id: id.into(), ..Default::default() };
            let seen = self.client.tasks().get_task(request).await.ok()?.into_owned();
            assert!(seen.ended_at.is_unset(), "it ended before: {:?}", seen.fault);
            seen.step.starts_with(step).then_some(seen)
        })
        .await
    }

    /// Waits for a task's good end.
    pub async fn task_done(&self, id: &str) {
        let end = self.task_end(id).await;
        assert!(end.state == task::TaskState::TASK_STATE_DONE, "{}: {:?}", end.title, end.fault);
    }

    /// Waits for a task's bad end; answers why.
    pub async fn task_failed(&self, id: &str) -> Fault {
        let end = self.task_end(id).await;
        assert!(end.state == task::TaskState::TASK_STATE_FAILED, "{} is {:?}", end.title, end.state);
        end.fault.as_option().expect("a failed task says why").into()
    }

    /// The answer, or a panic with the fault.
    pub fn ok<T>(&self, answer: Result<T, connectrpc::ConnectError>) -> T {
        answer.unwrap_or_else(|err| panic!("{}", self.client.fault(&err)))
    }

    /// The fault of a call that must be refused, which must explain itself.
    pub fn refused<T>(&self, answer: Result<T, connectrpc::ConnectError>) -> Fault {
        match answer {
            Ok(_) => panic!("this call must be refused"),
            Err(err) => {
                let fault = self.client.fault(&err);
                assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
                fault
            }
        }
    }
}

async fn start_vdc(config: &Config, clock: &Clock) -> Daemon<VdcHandle> {
    let (config, clock) = (config.clone(), clock.clone());
    Daemon::start(Dispatch::none(), move || {
        Vdc::start(VdcOptions { config: config.clone(), clock: clock.clone() })
    })
    .await
}

pub(crate) async fn start_node(
    dir: &Path,
    listen: SocketAddr,
    driver: &FakeDriver,
    launcher: &Arc<FakeLauncher>,
    disks: &FakeDisks,
) -> Daemon<NodeHandle> {
    let state_dir = dir.join("node");
    let logs = Logs::new();
    let traces = Dispatch::new(tracing_subscriber::registry().with(LevelFilter::INFO).with(logs.layer()));
    Daemon::start(traces, move || {
        Node::start(NodeOptions {
            state_dir: state_dir.clone(),
            listen,
            driver: Arc::new(driver.clone()),
            launcher: launcher.clone(),
            pool_limits: Limits { backoff_min: Duration::from_millis(50), ..Limits::default() },
            runner: Arc::new(disks.clone()),
            machine_root: "/".into(),
            logs: logs.clone(),
        })
    })
    .await
}

fn client(address: SocketAddr, ca_pem: &str, clock: &Clock) -> VdcClient {
    let tls = tls::client_by(tls::client(ca_pem).expect("the vDC's own CA"), clock);
    VdcClient::new(&format!("https://{address}"), tls::VDC_NAME, tls).expect("a URL")
}

async fn login(client: &VdcClient, password: &str) -> Result<String, connectrpc::ConnectError> {
    let login =
        session::LoginRequest { user_name: "admin".into(), password: password.into(), ..Default::default() };
    Ok(client.sessions().login(login).await?.into_owned().token)
}

async fn sign_in(address: SocketAddr, ca_pem: &str, clock: &Clock, first: &str) -> (VdcClient, String) {
    let client = client(address, ca_pem, clock);
    let token = login(&client, first).await.expect("the password works");
    let client = client.with_token(&token);
    let change = session::ChangePasswordRequest {
        current_password: first.into(),
        new_password: PASSWORD.into(),
        ..Default::default()
    };
    client.sessions().change_password(change).await.expect("the password is changed");
    (client, token)
}
