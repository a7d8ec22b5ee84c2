//! A host inside a lab VM: the real daemon on a stock kernel, with libvirt, the NFS and iSCSI clients, and LVM.
//!
//! ```text
//!   vDC (this machine) ◀──10.0.2.2──▶ quantix-node (lab VM) ──▶ libvirtd ──▶ QEMU, emulated a second time
//!                      ──127.0.0.1:port──▶                 └──▶ 10.0.2.2:port ──▶ NFS server, target (a lab VM)
//! ```
//! Each lab VM is a machine of its own: its kernel, its mounts, its sessions. All have the same address, so what one
//! serves is reached at [`HOST_ADDRESS`] under a port of this machine, from wherever.

use crate::labvm::{HOST_ADDRESS, LabVm, SHARE};
use crate::process::free_port;
use crate::rig::{Rig, STEP_DEADLINE, program};
use quantix_client::HostClient;
use quantix_client::tls;
use quantix_contract::quantix::host::v1::HostPhase;
use quantix_control::pki;
use quantix_control::seal::{self, Seal};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the daemon listens in its VM.
const NODE_PORT: u16 = 9443;
const NODE: &str = "/usr/local/bin/quantix-node";
const UNIT: &str = "quantix-node";
const COPY_DEADLINE: Duration = Duration::from_secs(60);
/// Starting under emulation, beside other work.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// See the module.
pub struct LabHost {
    /// Its machine.
    pub vm: LabVm,
    name: String,
    port: u16,
    nfs_port: u16,
    iscsi_port: u16,
}

impl LabHost {
    /// Starts a lab VM as the machine `name`, with the daemon in it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(name: &str) -> LabHost {
        let [port, nfs_port, iscsi_port] = [free_port(), free_port(), free_port()];
        let vm = LabVm::builder().reach_host().forward(port, NODE_PORT);
        let vm = vm.forward(nfs_port, 2049).forward(iscsi_port, 3260).start();
        let host = LabHost { vm, name: name.to_owned(), port, nfs_port, iscsi_port };
        host.become_somebody();
        host.place_node();
        host.start_node();
        host
    }

    /// All lab VMs are the same machine. To an NFS server a host is its name, to a target its initiator name.
    fn become_somebody(&self) {
        let vm = &self.vm;
        vm.ok(&["hostname", &self.name]);
        self.write("/etc/hosts", &format!("127.0.0.1 localhost {}\n", self.name));
        self.write("/etc/iscsi/initiatorname.iscsi", &format!("InitiatorName={}\n", self.initiator()));
        vm.ok(&["systemctl", "restart", "iscsid"]);
    }

    /// Writes a file in the VM.
    pub fn write(&self, path: &str, text: &str) {
        let written = self.vm.run_with(&["tee", path], &[], text.as_bytes(), COPY_DEADLINE);
        assert!(written.success(), "{path}: {written:?}");
    }

    /// Who it is to a target, and whose volumes are its in a volume group.
    pub fn initiator(&self) -> String {
        format!("iqn.2026-01.org.lab:{}", self.name)
    }

    /// Its name in the vDC.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port of [`HOST_ADDRESS`] under which all VMs find its NFS server.
    pub fn nfs_port(&self) -> u16 {
        self.nfs_port
    }

    /// Where all VMs find its iSCSI target.
    pub fn portal(&self) -> String {
        format!("{HOST_ADDRESS}:{}", self.iscsi_port)
    }

    fn place_node(&self) {
        // Without what only a debugger reads it is a tenth of the size.
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(self.vm.share().join("quantix-node")).arg(program("quantix-node"));
        assert!(strip.status().is_ok_and(|s| s.success()), "strip failed: apt-get install -y binutils");
        let placed = self
            .vm
            .run(&["install", "-D", "-m", "755", &format!("{SHARE}/quantix-node"), NODE], COPY_DEADLINE);
        assert!(placed.success(), "{placed:?}");
    }

    fn log(&self) -> PathBuf {
        self.vm.share().join("node.log")
    }

    /// Everything the daemon said since it was started last.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// Starts the daemon, as a unit of its own as on any host, and waits until it serves.
    pub fn start_node(&self) {
        let _ = std::fs::write(self.log(), "");
        let out = format!("StandardOutput=append:{SHARE}/node.log");
        let err = format!("StandardError=append:{SHARE}/node.log");
        let unit = format!("--unit={UNIT}");
        let listen = format!("0.0.0.0:{NODE_PORT}");
        let how = ["systemd-run", "--quiet", "--collect", &unit, "-p", &out, "-p", &err];
        let what = [NODE, "run", "--listen", &listen, "--accelerator", "tcg"];
        self.vm.ok(&[&how[..], &what].concat());
        let end = Instant::now() + START_DEADLINE;
        while !self.said().contains("Serving") {
            assert!(Instant::now() < end, "{} does not serve: {}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `kill -9` of the daemon and its workers.
    pub fn kill_node(&self) {
        self.vm.ok(&["systemctl", "kill", "--signal=KILL", UNIT]);
    }

    /// Makes it a host of the vDC; answers its id once it is ready.
    pub async fn join(&self, rig: &Rig) -> String {
        let text = self.vm.ok(&[NODE, "token"]);
        let token = text.split_whitespace().find(|word| word.starts_with("qxh1."));
        let token = token.unwrap_or_else(|| panic!("no token: {text}"));
        let url = format!("https://127.0.0.1:{}", self.port);
        rig.register(&url, token, &self.name).await;
        rig.host_in(&self.name, HostPhase::HOST_PHASE_READY).await.id
    }

    /// The vDC's own line to the daemon, for what the vDC would not ask.
    pub fn line(&self, rig: &Rig, id: &str) -> HostClient {
        let data = rig.dir().join("vdc");
        let seal = Seal::open(&data.join(seal::FILE), false).expect("the vDC has a key for secrets");
        let identity = pki::stored_identity(&data, &seal).expect("the vDC's identity");
        let ca_pem = std::fs::read_to_string(data.join("pki/ca.pem")).expect("the vDC has an authority");
        let tls = tls::mutual_client(&identity, &ca_pem).expect("our own CA is good");
        let url = format!("https://127.0.0.1:{}", self.port);
        HostClient::new(id.parse().expect("an id"), &self.name, &url, tls).expect("the URL is good")
    }

    /// `virsh` on its libvirt; answers what it printed.
    pub fn virsh(&self, args: &[&str]) -> String {
        self.vm.ok(&[&["virsh", "-q"], args].concat())
    }

    /// Writes of a guest to its first disk since it started, as QEMU counts them.
    pub fn guest_writes(&self, vm_id: &str) -> u64 {
        let text = self.vm.run(&["virsh", "-q", "domblkstat", vm_id, "vda"], STEP_DEADLINE).stdout;
        let count = text.lines().find_map(|line| line.split_once("wr_req")).map(|(_, n)| n.trim().parse());
        count.and_then(Result::ok).unwrap_or(0)
    }

    /// What a program in the VM wrote into a file; for bytes, which the agent would not carry well.
    pub fn bytes(&self, argv: &[&str], name: &str) -> Vec<u8> {
        let path = self.vm.share().join(name);
        let _ = std::fs::remove_file(&path);
        self.vm.ok(argv);
        std::fs::read(path).unwrap_or_default()
    }

    /// Processes of this VM that the kernel holds, by name; of those named `names` only.
    pub fn stuck(&self, names: &[&str]) -> Vec<String> {
        let all = self.vm.ok(&["ps", "-eo", "stat=,comm="]);
        let held = |line: &&str| line.starts_with('D') && names.iter().any(|name| line.contains(name));
        all.lines().filter(held).map(str::to_owned).collect()
    }
}
