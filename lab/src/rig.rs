//! The real thing, in processes: libvirt, vDC and node daemon, driven through the public API.
//!
//! ```text
//!   test or bench ──API──▶ quantix-vdc ◀──mTLS──▶ quantix-node ──▶ libvirtd (private) ──▶ QEMU (emulated)
//! ```
//! Each process dies with this one. The programs are found beside the running test (`target/<profile>/`).

use crate::process::{Process, free_port};
use crate::screen::Screen;
use quantix_client::{VdcClient, tls};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::image::v1 as image;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::session::v1 as session;
use quantix_contract::quantix::task::v1 as task;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::time;
use quantix_model::{Fault, UnixMs};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// The password the rig's admin chooses.
pub const PASSWORD: &str = "correct horse battery staple";
/// Longer than any step of the main job takes under emulation on a busy machine.
pub const STEP_DEADLINE: Duration = Duration::from_secs(120);

/// All processes, and a signed-in client.
pub struct Rig {
    dir: PathBuf,
    vdc_port: u16,
    /// Where hosts on other machines report to; empty when there are none.
    facing: String,
    node_port: u16,
    /// Signed in as admin; made anew by [`Rig::start_vdc`].
    pub client: VdcClient,
    token: String,
    node: Option<Process>,
    /// The present node daemon was started then: what was seen before says nothing of now.
    node_since: UnixMs,
    vdc: Option<Process>,
    libvirt: Option<Process>,
}

impl Rig {
    /// Starts everything in `dir`, signs in, and adds this machine as host `host-1`.
    pub async fn start(dir: &Path) -> Rig {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let libvirt = start_libvirt(&dir.join("lv"));
        let mut rig = Rig::vdc_only(dir, None).await;
        rig.libvirt = Some(libvirt);
        rig.start_node();
        rig.add_host().await;
        rig
    }

    /// Starts a vDC in `dir` and signs in. Its hosts are on other machines, which reach this one at `address`.
    pub async fn without_host(dir: &Path, address: &str) -> Rig {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Rig::vdc_only(dir, Some(address)).await
    }

    async fn vdc_only(dir: &Path, address: Option<&str>) -> Rig {
        let (vdc_port, node_port) = (free_port(), free_port());
        let facing = address.map(|address| format!("https://{address}:{vdc_port}")).unwrap_or_default();
        let vdc = spawn_vdc(dir, vdc_port, &facing);
        let password = vdc
            .said("First sign-in:")
            .and_then(|line| line.split_whitespace().last().map(str::to_owned))
            .expect("a new vDC prints its one-time password");
        let node_since = now();
        let (client, token) = sign_in(dir, vdc_port, &password, true).await;
        Rig {
            dir: dir.to_owned(),
            vdc_port,
            facing,
            node_port,
            client,
            token,
            node: None,
            node_since,
            vdc: Some(vdc),
            libvirt: None,
        }
    }

    /// Where everything lives.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The running vDC.
    pub fn vdc(&self) -> &Process {
        self.vdc.as_ref().expect("the vDC is started")
    }

    /// The running node daemon.
    pub fn node(&self) -> &Process {
        self.node.as_ref().expect("the node is started")
    }

    /// What libvirt clients connect to.
    pub fn libvirt_uri(&self) -> String {
        libvirt_uri(&self.dir)
    }

    /// `kill -9` of the vDC.
    pub fn kill_vdc(&mut self) {
        self.vdc.take().expect("the vDC is started").kill();
    }

    /// Starts the vDC again on what it left behind, and signs in again.
    pub async fn start_vdc(&mut self) {
        self.vdc = Some(spawn_vdc(&self.dir, self.vdc_port, &self.facing));
        (self.client, self.token) = sign_in(&self.dir, self.vdc_port, PASSWORD, false).await;
    }

    /// `kill -9` of the node daemon.
    pub fn kill_node(&mut self) {
        self.node.take().expect("the node is started").kill();
    }

    /// Starts the node daemon again on what it left behind.
    pub fn start_node(&mut self) {
        self.node_since = now();
        self.node = Some(spawn_node(&self.dir, self.node_port));
    }

    /// Whether this was seen by the present node daemon, not by one that was killed.
    fn is_fresh(&self, observed_at: Option<UnixMs>) -> bool {
        observed_at.is_some_and(|at| at >= self.node_since)
    }

    /// `kill -9` of libvirt. Its guests go on.
    pub fn kill_libvirt(&mut self) {
        self.libvirt.take().expect("libvirt is started").kill();
    }

    /// Starts libvirt again.
    pub fn start_libvirt(&mut self) {
        self.libvirt = Some(start_libvirt(&self.dir.join("lv")));
    }

    async fn add_host(&self) {
        let state_dir = self.dir.join("node");
        let output = Command::new(program("quantix-node"))
            .arg("token")
            .arg("--state-dir")
            .arg(&state_dir)
            .output()
            .expect("quantix-node token runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = text
            .split_whitespace()
            .find(|word| word.starts_with("qxh1."))
            .unwrap_or_else(|| panic!("no token: {text} {}", String::from_utf8_lossy(&output.stderr)));
        self.register(&format!("https://127.0.0.1:{}", self.node_port), token, "host-1").await;
        self.host_ready().await;
    }

    /// Adds the host that made `token` and answers at `url`; answers its id.
    pub async fn register(&self, url: &str, token: &str, name: &str) -> String {
        let request = host::ProbeHostRequest { url: url.into(), token: token.into(), ..Default::default() };
        let mut phases = self.client.hosts().probe_host(request).await.expect("the probe starts");
        let mut probe_id = String::new();
        while let Some(phase) = phases.message().await.expect("phases come") {
            let phase = phase.to_owned_message();
            assert!(phase.fault.is_unset(), "{:?}", phase.fault);
            if !phase.probe_id.is_empty() {
                probe_id = phase.probe_id.clone();
            }
        }
        let request = host::AddHostRequest { probe_id, name: name.into(), ..Default::default() };
        self.ok(self.client.hosts().add_host(request).await.map(|answer| answer.into_owned())).id
    }

    /// Waits until the present node daemon beats and its libvirt answers.
    pub async fn host_ready(&self) -> host::Host {
        self.host_in("", host::HostPhase::HOST_PHASE_READY).await
    }

    /// Waits until a host is in `phase`; an empty name means any host.
    pub async fn host_in(&self, name: &str, phase: host::HostPhase) -> host::Host {
        until(&format!("host {name} is {phase:?}"), STEP_DEADLINE, async || {
            let hosts =
                self.client.hosts().list_hosts(host::ListHostsRequest::default()).await.ok()?.into_owned();
            let fresh = |h: &host::Host| self.is_fresh(h.observed_at.as_option().map(time::from_proto));
            hosts
                .hosts
                .into_iter()
                .find(|h| h.phase == phase && (name.is_empty() || h.name == name) && fresh(h))
        })
        .await
    }

    /// Makes a local pool on the host and waits until it is ready; answers its id.
    pub async fn pool(&self, name: &str, path: &Path) -> String {
        let local = pool::LocalPool { path: path.display().to_string(), ..Default::default() };
        self.pool_of(name, pool::PoolSpec { backend: Some(local.into()), ..Default::default() }).await
    }

    /// Makes a pool of any kind on the host and waits until it is ready; answers its id.
    pub async fn pool_of(&self, name: &str, spec: pool::PoolSpec) -> String {
        let host = self.host_ready().await;
        self.pool_on(name, spec, vec![host.id]).await
    }

    /// Makes a pool of any kind on these hosts and waits until it is ready on all; answers its id.
    pub async fn pool_on(&self, name: &str, spec: pool::PoolSpec, host_ids: Vec<String>) -> String {
        let request =
            pool::CreatePoolRequest { name: name.into(), spec: spec.into(), host_ids, ..Default::default() };
        let made = self.ok(self.client.pools().create_pool(request).await.map(|answer| answer.into_owned()));
        self.task_done(&made.task_id).await;
        let id = made.pool.as_option().expect("a pool comes back").id.clone();
        self.pool_ready(&id).await;
        id
    }

    /// Waits until the present node daemon reports the pool healthy.
    pub async fn pool_ready(&self, id: &str) {
        until("the pool is ready", STEP_DEADLINE, async || {
            let request = pool::GetPoolRequest { id: id.into(), ..Default::default() };
            let seen = self.client.pools().get_pool(request).await.ok()?.into_owned();
            let fresh = seen
                .host_statuses
                .iter()
                .all(|s| self.is_fresh(s.observed_at.as_option().map(time::from_proto)));
            (seen.phase == pool::PoolPhase::POOL_PHASE_READY && fresh).then_some(())
        })
        .await;
    }

    /// Declares an image of `size_bytes`; answers its id, upload path and task.
    pub async fn declare_image(
        &self,
        name: &str,
        pool_id: &str,
        size_bytes: u64,
    ) -> image::CreateImageResponse {
        let request = image::CreateImageRequest {
            name: name.into(),
            pool_id: pool_id.into(),
            size_bytes,
            ..Default::default()
        };
        self.ok(self.client.images().create_image(request).await.map(|answer| answer.into_owned()))
    }

    /// A `curl` that sends `file` as the whole upload. The session's token goes through a file, not argv.
    pub fn curl_upload(&self, upload_path: &str, file: &Path) -> Command {
        let headers = self.dir.join("curl-headers");
        let text = format!(
            "authorization: Bearer {}\ntus-resumable: 1.0.0\nupload-offset: 0\ncontent-type: application/offset+octet-stream\n",
            self.token
        );
        std::fs::write(&headers, text).expect("the header file is written");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--http1.1", "-X", "PATCH", "--max-time", "600"]);
        curl.arg("--cacert").arg(self.dir.join("vdc/pki/ca.pem"));
        curl.arg("-H").arg(format!("@{}", headers.display())).arg("-T").arg(file);
        curl.args(["--resolve", &format!("{}:{}:127.0.0.1", tls::VDC_NAME, self.vdc_port)]);
        curl.arg(format!("https://{}:{}{upload_path}", tls::VDC_NAME, self.vdc_port));
        curl
    }

    /// Sends `file` into a new image and waits until it is ready; answers its id.
    pub async fn upload(&self, name: &str, pool_id: &str, file: &Path) -> String {
        let size_bytes = std::fs::metadata(file).expect("the file is there").len();
        let made = self.declare_image(name, pool_id, size_bytes).await;
        let output = self.curl_upload(&made.upload_path, file).output().expect("curl runs");
        assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stdout));
        self.task_done(&made.task_id).await;
        made.image.as_option().expect("an image comes back").id.clone()
    }

    /// Deletes an image.
    pub async fn delete_image(&self, id: &str) {
        let request = image::DeleteImageRequest { id: id.into(), ..Default::default() };
        self.ok(self.client.images().delete_image(request).await.map(|answer| answer.into_owned()));
        until("the image is gone", STEP_DEADLINE, async || {
            let request = image::GetImageRequest { id: id.into(), ..Default::default() };
            self.client.images().get_image(request).await.is_err().then_some(())
        })
        .await;
    }

    /// Deletes a stopped VM with its volumes, and waits for the end of the task.
    pub async fn delete_vm(&self, id: &str) {
        let request = vm::DeleteVmRequest { id: id.into(), delete_volumes: true, ..Default::default() };
        let gone = self.ok(self.client.vms().delete_vm(request).await.map(|answer| answer.into_owned()));
        self.task_done(&gone.task_id).await;
    }

    /// Opens the screen of a running VM as a browser does.
    pub async fn screen(&self, id: &str) -> Screen {
        let request = vm::CreateConsoleTicketRequest { vm_id: id.into(), ..Default::default() };
        let answer = self.client.vms().create_console_ticket(request).await;
        let path = self.ok(answer.map(|answer| answer.into_owned())).websocket_path;
        let line = self.client.dial().connect(&[b"http/1.1"]).await.expect("the vDC answers");
        let url = format!("wss://127.0.0.1:{}{path}", self.vdc_port);
        let mut request = url.into_client_request().expect("a good path");
        let bearer = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        request.headers_mut().insert("authorization", bearer);
        request.headers_mut().insert("sec-websocket-protocol", "binary".parse().expect("ASCII"));
        let upgraded = tokio_tungstenite::client_async(request, line).await;
        Screen::open(upgraded.expect("the vDC upgrades").0).await
    }

    /// Waits for a task's end, whichever.
    pub async fn task_end(&self, id: &str) -> task::Task {
        until(&format!("task {id} ends"), STEP_DEADLINE, async || {
            let request = task::GetTaskRequest { id: id.into(), ..Default::default() };
            let seen = self.client.tasks().get_task(request).await.ok()?.into_owned();
            (!seen.ended_at.is_unset()).then_some(seen)
        })
        .await
    }

    /// Waits for a task's good end.
    pub async fn task_done(&self, id: &str) {
        let end = self.task_end(id).await;
        assert!(end.state == task::TaskState::TASK_STATE_DONE, "{}: {:?}", end.title, end.fault);
    }

    /// Creates a VM and waits for the end of its task; answers it.
    pub async fn vm(&self, request: vm::CreateVmRequest) -> vm::Vm {
        let made = self.ok(self.client.vms().create_vm(request).await.map(|answer| answer.into_owned()));
        self.task_done(&made.task_id).await;
        made.vm.as_option().expect("a VM comes back").clone()
    }

    /// Changes power and waits for the end of the task.
    pub async fn power(&self, id: &str, verb: vm::PowerVerb) {
        let request = vm::PowerVmRequest { id: id.into(), verb: verb.into(), ..Default::default() };
        let made = self.ok(self.client.vms().power_vm(request).await.map(|answer| answer.into_owned()));
        self.task_done(&made.task_id).await;
    }

    /// Waits until the present node daemon says the VM is in `state`.
    pub async fn powered(&self, id: &str, state: vm::PowerState) -> vm::Vm {
        until(&format!("VM {id} is {state:?}"), STEP_DEADLINE, async || {
            let request = vm::GetVmRequest { id: id.into(), ..Default::default() };
            let seen = self.client.vms().get_vm(request).await.ok()?.into_owned();
            let fresh = self.is_fresh(seen.observed_at.as_option().map(time::from_proto));
            (seen.power_state == state && fresh).then_some(seen)
        })
        .await
    }

    /// The answer, or a panic with the fault.
    pub fn ok<T>(&self, answer: Result<T, connectrpc::ConnectError>) -> T {
        answer.unwrap_or_else(|err| panic!("{}", self.client.fault(&err)))
    }

    /// The fault of a call that must fail.
    pub fn refused<T>(&self, answer: Result<T, connectrpc::ConnectError>) -> Fault {
        match answer {
            Ok(_) => panic!("this call must be refused"),
            Err(err) => self.client.fault(&err),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // In this order, so that nobody reports what is being taken away.
        drop((self.node.take(), self.vdc.take()));
        drop(self.libvirt.take());
    }
}

/// A folder for one test, removed with it. QEMU runs as another user and must be able to reach the pools inside.
///
/// # Panics
/// When there is no room for one.
pub fn folder() -> tempfile::TempDir {
    let open = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("quantix-lab-").permissions(open).tempdir().expect("a folder can be made")
}

/// What libvirt clients connect to for a libvirt kept in `dir`.
pub fn libvirt_uri(dir: &Path) -> String {
    format!("qemu+unix:///system?socket={}", dir.join("lv/run/libvirt-sock").display())
}

/// Starts a libvirt of our own; its guests end with it.
pub fn start_libvirt(dir: &Path) -> Process {
    let workshop = std::env::var_os("QUANTIX_X").expect("QUANTIX_X is not set: run this through `./x test`");
    let mut command = Command::new(workshop);
    command.arg("libvirt").arg("--dir").arg(dir).arg("--stop-guests");
    // QEMU's capabilities take seconds to probe and do not change between tests.
    command.arg("--cache").arg(target().join("libvirt-cache"));
    let process = Process::start("libvirt", command);
    process.wait_for("READY", STEP_DEADLINE);
    process
}

/// The `target` folder, where what is slow to make is kept between runs.
pub fn target() -> PathBuf {
    let here = std::env::current_exe().expect("the running program has a path");
    let found = here.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    found.expect("tests run from a cargo target folder").to_owned()
}

/// `virsh` on the libvirt at `uri`; answers what it printed.
///
/// # Panics
/// When it fails, with its own words.
pub fn virsh(uri: &str, args: &[&str]) -> String {
    let output = Command::new("virsh").args(["-q", "-c", uri]).args(args).output().expect("virsh runs");
    assert!(output.status.success(), "virsh {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program of ours, beside the running test or bench.
pub fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("the running program has a path");
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not built: run this through `./x test`"))
}

/// Starts the vDC on `dir/vdc` and waits until it serves. Hosts elsewhere report to `facing`, if that is not empty.
pub fn spawn_vdc(dir: &Path, port: u16, facing: &str) -> Process {
    let mut command = Command::new(program("quantix-vdc"));
    command
        .arg("run")
        .arg("--data-dir")
        .arg(dir.join("vdc"))
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"));
    if !facing.is_empty() {
        command.arg("--host-facing-url").arg(facing);
    }
    let process = Process::start("quantix-vdc", command);
    process.wait_for("Serving", STEP_DEADLINE);
    process
}

/// Starts the node daemon on `dir/node` and waits until it serves.
pub fn spawn_node(dir: &Path, port: u16) -> Process {
    let mut command = Command::new(program("quantix-node"));
    command
        .arg("run")
        .arg("--state-dir")
        .arg(dir.join("node"))
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"));
    command.arg("--libvirt-uri").arg(libvirt_uri(dir)).args(["--accelerator", "tcg"]);
    let process = Process::start("quantix-node", command);
    process.wait_for("Serving", STEP_DEADLINE);
    process
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    UnixMs(i64::try_from(since.as_millis()).expect("a time of today"))
}

async fn sign_in(dir: &Path, port: u16, password: &str, first: bool) -> (VdcClient, String) {
    let ca_pem = std::fs::read_to_string(dir.join("vdc/pki/ca.pem")).expect("the vDC made a CA");
    let config = tls::client(&ca_pem).expect("our own CA is good");
    let client =
        VdcClient::new(&format!("https://127.0.0.1:{port}"), tls::VDC_NAME, config).expect("the URL is good");
    let request =
        session::LoginRequest { user_name: "admin".into(), password: password.into(), ..Default::default() };
    let answer = client.sessions().login(request).await;
    let token = answer.unwrap_or_else(|err| panic!("{}", client.fault(&err))).into_owned().token;
    let client = client.with_token(&token);
    if first {
        let request = session::ChangePasswordRequest {
            current_password: password.into(),
            new_password: PASSWORD.into(),
            ..Default::default()
        };
        let answer = client.sessions().change_password(request).await;
        answer.unwrap_or_else(|err| panic!("{}", client.fault(&err)));
    }
    (client, token)
}

/// Asks until there is an answer.
///
/// # Panics
/// When the deadline passes, naming what was waited for.
pub async fn until<T>(what: &str, deadline: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {} s", deadline.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
