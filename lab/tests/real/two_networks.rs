//! vDC and host on two networks, as programs: registration across them, then the link is cut and restored.
//!
//! ```text
//!   this test ──10.213.2.1/2──▶ [ netns v: quantix-vdc ] ──10.213.1.1/2──▶ [ netns h: quantix-node ]
//! ```
//! What was seen stands in `target/artefacts/two-networks.txt`.

use quantix_client::{VdcClient, tls};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::session::v1 as session;
use quantix_lab::process::Process;
use quantix_lab::rig::{self, PASSWORD, STEP_DEADLINE, program, start_libvirt, until};
use quantix_model::{Fault, FaultCode};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BEAT_MS: u64 = 1000;
const VDC: &str = "https://10.213.2.2:8443";
const HOST: &str = "https://10.213.1.2:9443";

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two network namespaces and the lines between them; they go with it.
struct Networks {
    vdc: String,
    host: String,
}

impl Networks {
    fn new() -> Networks {
        let me = std::process::id();
        let both = Networks { vdc: format!("qxv{me}"), host: format!("qxh{me}") };
        let (v, h) = (&both.vdc, &both.host);
        ip(&format!("netns add {v}"));
        ip(&format!("netns add {h}"));
        for name in [v, h] {
            ip(&format!("-n {name} link set lo up"));
        }
        ip(&format!("-n {v} link add to-host type veth peer name to-vdc netns {h}"));
        ip(&format!("-n {v} address add 10.213.1.1/24 dev to-host"));
        ip(&format!("-n {h} address add 10.213.1.2/24 dev to-vdc"));
        ip(&format!("link add {v} type veth peer name to-test netns {v}"));
        ip(&format!("-n {v} address add 10.213.2.2/24 dev to-test"));
        ip(&format!("-n {v} link set to-test up"));
        ip(&format!("address add 10.213.2.1/24 dev {v}"));
        ip(&format!("link set {v} up"));
        both
    }

    /// The line between vDC and host.
    fn link(&self, state: &str) {
        ip(&format!("-n {} link set to-host {state}", self.vdc));
        ip(&format!("-n {} link set to-vdc {state}", self.host));
    }

    fn inside(&self, network: &str, name: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", network]).arg(program(name));
        command
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in [&self.vdc, &self.host] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

async fn sign_in(dir: &Path, vdc: &Process) -> VdcClient {
    let ca_pem = std::fs::read_to_string(dir.join("vdc/pki/ca.pem")).expect("the vDC made a CA");
    let client = VdcClient::new(VDC, tls::VDC_NAME, tls::client(&ca_pem).unwrap()).unwrap();
    let said = vdc.said("First sign-in:").expect("a new vDC prints its one-time password");
    let password = said.split_whitespace().last().unwrap().to_owned();
    let request =
        session::LoginRequest { user_name: "admin".into(), password: password.clone(), ..Default::default() };
    let token = client.sessions().login(request).await.expect("signs in").into_owned().token;
    let client = client.with_token(&token);
    let request = session::ChangePasswordRequest {
        current_password: password,
        new_password: PASSWORD.into(),
        ..Default::default()
    };
    client.sessions().change_password(request).await.expect("changes it");
    client
}

async fn probe(client: &VdcClient, token: &str) -> Result<String, Fault> {
    let request = host::ProbeHostRequest { url: HOST.into(), token: token.into(), ..Default::default() };
    let mut phases = client.hosts().probe_host(request).await.expect("the probe starts");
    let mut id = String::new();
    while let Some(phase) = phases.message().await.expect("phases come") {
        let phase = phase.to_owned_message();
        if let Some(fault) = phase.fault.as_option() {
            return Err(fault.into());
        }
        id = phase.probe_id;
    }
    Ok(id)
}

async fn host_in(client: &VdcClient, phase: host::HostPhase) -> host::Host {
    until(&format!("the host is {phase:?}"), STEP_DEADLINE, async || {
        let hosts = client.hosts().list_hosts(host::ListHostsRequest::default()).await.ok()?;
        hosts.into_owned().hosts.into_iter().find(|host| host.phase == phase)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_and_restored() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = rig::folder();
    let networks = Networks::new();
    let libvirt = start_libvirt(&dir.path().join("lv"));
    let mut command = networks.inside(&networks.vdc, "quantix-vdc");
    command.arg("run").arg("--data-dir").arg(dir.path().join("vdc")).args(["--listen", "0.0.0.0:8443"]);
    command.args([
        "--host-facing-url",
        "https://10.213.1.1:8443",
        "--beat-interval-ms",
        &BEAT_MS.to_string(),
    ]);
    let vdc = Process::start("quantix-vdc", command);
    vdc.wait_for("Serving", STEP_DEADLINE);
    let mut command = networks.inside(&networks.host, "quantix-node");
    command.arg("run").arg("--state-dir").arg(dir.path().join("node")).args(["--listen", "0.0.0.0:9443"]);
    command.arg("--libvirt-uri").arg(rig::libvirt_uri(dir.path())).args(["--accelerator", "tcg"]);
    let node = Process::start("quantix-node", command);
    node.wait_for("Serving", STEP_DEADLINE);
    let client = sign_in(dir.path(), &vdc).await;
    let token = token_of(dir.path());

    let mut seen = Vec::new();
    let fault = probe(&client, &token).await.expect_err("there is no line yet");
    assert_eq!(fault.code, FaultCode::NetworkUnreachable, "{fault}");
    assert!(fault.message.contains("There is no route to 10.213.1.2"), "{fault}");
    seen.push(format!("no line, Add host: {fault} | {}", fault.remedy));

    networks.link("up");
    let probed = probe(&client, &token).await.expect("the line is there");
    let request = host::AddHostRequest { probe_id: probed, name: "far".into(), ..Default::default() };
    let added = client.hosts().add_host(request).await.expect("is added").into_owned();
    host_in(&client, host::HostPhase::HOST_PHASE_READY).await;
    seen.push("line up, added: READY".into());

    networks.link("down");
    let cut = Instant::now();
    let silent = host_in(&client, host::HostPhase::HOST_PHASE_DISCONNECTED).await;
    let noticed = cut.elapsed();
    assert!(noticed >= Duration::from_millis(2 * BEAT_MS), "{noticed:?}");
    let why = Fault::from(silent.fault.as_option().expect("it says why"));
    seen.push(format!("link cut: DISCONNECTED after {:.1} s: {why} | {}", noticed.as_secs_f64(), why.remedy));
    let asked = Instant::now();
    let devices = host::ListDevicesRequest { host_id: added.id.clone(), ..Default::default() };
    let refused = client.hosts().list_devices(devices).await.expect_err("nobody can say");
    let refused = client.fault(&refused);
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    let codes = [FaultCode::HostDisconnected, FaultCode::HostUnreachable];
    assert!(codes.contains(&refused.code), "{refused}");
    seen.push(format!("link cut, its disks asked for: {refused} | {}", refused.remedy));

    networks.link("up");
    let restored = Instant::now();
    let back = host_in(&client, host::HostPhase::HOST_PHASE_READY).await;
    assert_eq!(back.id, added.id);
    seen.push(format!(
        "link restored: READY after {:.1} s, nobody did anything",
        restored.elapsed().as_secs_f64()
    ));

    keep(&(seen.join("\n") + "\n"));
    drop((node, vdc, libvirt));
}

fn keep(text: &str) {
    let folder = rig::target().join("artefacts");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("two-networks.txt"), text).unwrap();
}

fn token_of(dir: &Path) -> String {
    let mut command = Command::new(program("quantix-node"));
    let output = command.args(["token", "--state-dir"]).arg(dir.join("node")).output();
    let text = String::from_utf8_lossy(&output.expect("quantix-node token runs").stdout).into_owned();
    text.split_whitespace().find(|word| word.starts_with("qxh1.")).expect("a token").to_owned()
}
