//! The machine as QEMU has it. A saved state fits only the very same machine, so there is one list of its parts.

use super::{STEP_DEADLINE, checked};
use crate::failure::{Context, Failure, Result};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

/// Free for tests to partition and format: `/dev/vdb` and `/dev/vdc`.
const SPARE_DISKS: [(&str, &str); 2] = [("spare1", "8G"), ("spare2", "2G")];
const KERNEL_LINE: &str =
    "root=/dev/vda rw console=ttyS0 quiet mitigations=off net.ifnames=0 systemd.show_status=0";

/// How the guest's only network card is connected. It never reaches further than this machine.
#[derive(Default)]
pub struct Net {
    /// Ports of this machine's loopback that lead into the guest.
    pub forwards: Vec<Forward>,
    /// The guest finds this machine's loopback at 10.0.2.2 (and, unavoidably, what this machine can reach).
    pub reaches_host: bool,
}

/// `HOST:GUEST`, both TCP ports.
pub struct Forward {
    host: u16,
    guest: u16,
}

impl FromStr for Forward {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (host, guest) = text.split_once(':').ok_or(())?;
        Ok(Self { host: host.parse().map_err(|_| ())?, guest: guest.parse().map_err(|_| ())? })
    }
}

/// Makes `dir/disk.qcow2` over the finished disk, and the spare disks.
pub fn overlay(made: &Path, dir: &Path) -> Result<()> {
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(made.join("disk.raw"));
    checked(create.arg(dir.join("disk.qcow2")), STEP_DEADLINE)?;
    spares(dir)
}

/// Makes the spare disks in `dir`, empty.
pub fn spares(dir: &Path) -> Result<()> {
    for (name, size) in SPARE_DISKS {
        let file = dir.join(format!("{name}.qcow2"));
        checked(
            Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(file).arg(size),
            STEP_DEADLINE,
        )?;
    }
    Ok(())
}

/// QEMU for the VM in `made`, whose own files are in `dir`.
pub fn command(made: &Path, dir: &Path, net: &Net) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-name", "quantix-labvm", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512"]);
    qemu.args([
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "2048",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
    ]);
    qemu.arg("-kernel").arg(made.join("vmlinuz")).arg("-initrd").arg(made.join("initrd"));
    qemu.args(["-append", KERNEL_LINE]);
    disk(&mut qemu, "root", &dir.join("disk.qcow2"));
    for (name, _) in SPARE_DISKS {
        disk(&mut qemu, name, &dir.join(format!("{name}.qcow2")));
    }
    let mut user = "user,id=net".to_owned();
    if !net.reaches_host {
        user += ",restrict=on";
    }
    for Forward { host, guest } in &net.forwards {
        user += &format!(",hostfwd=tcp:127.0.0.1:{host}-10.0.2.15:{guest}");
    }
    qemu.args(["-netdev", &user, "-device", "virtio-net-pci,netdev=net,mac=52:54:00:4c:41:42"]);
    qemu.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
    let share = option(&dir.join("share"));
    qemu.args(["-fsdev", &format!("local,id=share,path={share},security_model=none,multidevs=remap")]);
    qemu.args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]);
    let socket = |name: &str| format!("path={},server=on,wait=off", option(&dir.join(name)));
    qemu.args(["-chardev", &format!("socket,id=agent,{}", socket("agent.sock"))]);
    qemu.args(["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]);
    let log = option(&dir.join("console.log"));
    qemu.args(["-chardev", &format!("socket,id=console,{},logfile={log}", socket("console.sock"))]);
    qemu.args(["-serial", "chardev:console"]);
    qemu.args(["-chardev", &format!("socket,id=qmp,{}", socket("qmp.sock")), "-qmp", "chardev:qmp"]);
    qemu
}

/// Nothing here outlives its run, so nothing waits for the disk underneath.
fn disk(qemu: &mut Command, id: &str, file: &Path) {
    let file = option(file);
    qemu.args(["-drive", &format!("if=none,id={id},file={file},format=qcow2,cache=unsafe,discard=unmap")]);
    qemu.args(["-device", &format!("virtio-blk-pci,drive={id},serial={id}")]);
}

/// A path inside a QEMU option: a comma is written twice.
fn option(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// QEMU's own control line.
pub struct Qmp {
    write: UnixStream,
    read: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to `dir/qmp.sock`.
    pub fn connect(dir: &Path, deadline: Duration) -> Result<Self> {
        let write = UnixStream::connect(dir.join("qmp.sock")).doing("connecting to QEMU")?;
        write.set_read_timeout(Some(deadline)).doing("setting a deadline")?;
        let read = BufReader::new(write.try_clone().doing("connecting to QEMU")?);
        let mut qmp = Self { write, read };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and answers what it returns.
    pub fn execute(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let line = json!({"execute": name, "arguments": arguments}).to_string() + "\n";
        self.write.write_all(line.as_bytes()).doing("asking QEMU")?;
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line).doing(format!("waiting for QEMU's answer to {name}"))? == 0 {
                return Err(Failure::new(format!("QEMU went away during {name}")));
            }
            let mut answer: Value = serde_json::from_str(&line).doing("reading QEMU's answer")?;
            if let Some(error) = answer.get("error") {
                return Err(Failure::new(format!("QEMU refused {name}: {error}")));
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_commas_are_understood() {
        let forward: Forward = "8443:443".parse().ok().unwrap();
        assert_eq!((forward.host, forward.guest), (8443, 443));
        assert!("8443".parse::<Forward>().is_err() && "1:99999".parse::<Forward>().is_err());
        assert_eq!(option(Path::new("/a,b")), "/a,,b");
        let closed = command(Path::new("/m"), Path::new("/d"), &Net::default());
        assert!(closed.get_args().any(|word| word.to_string_lossy().contains("restrict=on")));
    }
}
