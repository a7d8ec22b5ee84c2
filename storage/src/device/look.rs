//! Looking at disks: `lsblk` for all of them, then `wipefs` for each, several at a time.

use super::contents::{self, Found, Signature};
use super::refuse;
use super::{Disks, printable, unreadable, within};
use quantix_model::device::{BlockDevice, DeviceKind};
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For `lsblk`, which reads /sys and udev's memory.
const LSBLK: Duration = Duration::from_secs(4);
/// For reading a disk's ends: a sleeping one takes seconds to spin up.
const READ: Duration = Duration::from_secs(10);
/// Disks read at the same time.
const AT_ONCE: usize = 8;
/// Partitions whose contents are looked at, per disk (GPT has room for as many).
const PARTITIONS_MAX: usize = 128;
const COLUMNS: &str = "NAME,KNAME,PATH,TYPE,SIZE,RO,RM,ROTA,MODEL,SERIAL,WWN,TRAN,MOUNTPOINTS";
/// Whoever keeps something on a disk keeps something here.
const HEAD_BYTES: &str = "1048576";

#[derive(Deserialize)]
struct Tree {
    blockdevices: Vec<Node>,
}

/// A block device as `lsblk` has it, with what is made of it below.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// `/dev/sda`
    pub path: String,
    /// The kernel's name.
    pub kname: String,
    /// `disk`, `part`, `lvm`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// In bytes.
    pub size: u64,
    /// Read-only.
    pub ro: bool,
    /// Removable.
    #[serde(default)]
    pub rm: bool,
    /// Spinning.
    #[serde(default)]
    pub rota: bool,
    /// As the device tells.
    pub model: Option<String>,
    /// As the device tells.
    pub serial: Option<String>,
    /// World-wide name.
    pub wwn: Option<String>,
    /// Bus.
    pub tran: Option<String>,
    /// Where it is mounted; `[SWAP]`.
    #[serde(default)]
    pub mountpoints: Vec<Option<String>>,
    /// What is made of it.
    #[serde(default)]
    pub children: Vec<Node>,
}

impl Node {
    /// Last part of its path.
    pub fn name_in_path(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Its partitions.
    pub fn partitions(&self) -> Vec<&Node> {
        self.children.iter().filter(|child| child.kind == "part").collect()
    }

    /// Everything below it.
    pub fn below(&self) -> Vec<&Node> {
        let mut all: Vec<&Node> = self.children.iter().collect();
        let mut at = 0;
        while at < all.len() {
            all.extend(all[at].children.iter());
            at += 1;
        }
        all
    }

    /// Where it is mounted.
    pub fn mounts(&self) -> impl Iterator<Item = &str> {
        self.mountpoints.iter().flatten().map(String::as_str).filter(|place| !place.is_empty())
    }
}

/// Reads `lsblk --json`.
pub fn parse(text: &str) -> serde_json::Result<Vec<Node>> {
    serde_json::from_str::<Tree>(text).map(|tree| tree.blockdevices)
}

impl Disks {
    /// All disks, also those that do not answer. Takes as long as the slowest one, 15 s at most.
    pub fn list(&self) -> Result<Vec<BlockDevice>, Fault> {
        let disks: Vec<Node> = self.tree()?.into_iter().filter(refuse::is_shown).collect();
        let queue = Mutex::new(disks.iter().enumerate());
        let seen = Mutex::new(Vec::with_capacity(disks.len()));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            let work = || {
                while let Some((at, disk)) = next() {
                    let device = self.see(disk);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push((at, device));
                }
            };
            for _ in 1..AT_ONCE.min(disks.len()) {
                // Without more threads this one does it all.
                let thread = std::thread::Builder::new().name("disk-look".into()).stack_size(256 << 10);
                let _ = thread.spawn_scoped(scope, work);
            }
            work();
        });
        let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        seen.sort_by_key(|(at, _)| *at);
        Ok(seen.into_iter().map(|(_, device)| device).collect())
    }

    /// Every block device, whole ones on top.
    pub(super) fn tree(&self) -> Result<Vec<Node>, Fault> {
        let step = "list the disks";
        let args = ["--json", "--bytes", "--output", COLUMNS];
        let output = self.run(step, "lsblk", &args, within(LSBLK)).map_err(|fault| match fault.code {
            FaultCode::DeadlineExceeded => Fault {
                message: "The host could not list its disks in time.".into(),
                remedy: "One of them may hang: look at the host's kernel log, then look again.".into(),
                ..fault.clone().because(fault.message)
            },
            _ => fault,
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.cut {
            return Err(unreadable(step, "lsblk", "its answer is longer than 1 MiB"));
        }
        parse(&text).map_err(|err| {
            let said = if output.stderr.trim().is_empty() { err.to_string() } else { output.complaint() };
            unreadable(step, "lsblk", said)
        })
    }

    /// One disk as people see it.
    fn see(&self, disk: &Node) -> BlockDevice {
        let mut device = plain(disk);
        if self.is_silent(&disk.path) {
            device.refused_because = silent("it was left alone, because it did not answer a moment ago");
            return device;
        }
        match self.read(disk) {
            Ok(found) => {
                device.contents = contents::lines(disk, &found);
                device.fingerprint = contents::fingerprint(disk, &found);
            }
            Err(fault) if device.refused_because.is_empty() => {
                device.refused_because = silent(&fault.message);
            }
            Err(_) => {}
        }
        device
    }

    /// What is on a disk and its partitions.
    pub(super) fn read(&self, disk: &Node) -> Result<Found, Fault> {
        let end = Instant::now() + READ;
        let left = || within(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(100)));
        let step = "look at the disk";
        let asked = (|| {
            let mut args = vec!["--no-act", "--json", "--", disk.path.as_str()];
            args.extend(disk.partitions().iter().take(PARTITIONS_MAX).map(|part| part.path.as_str()));
            let output = self.run(step, "wipefs", &args, left())?;
            if !output.succeeded() || output.cut {
                return Err(unreadable(step, "wipefs", output.complaint()));
            }
            let signatures: Vec<Signature> = contents::parse(&String::from_utf8_lossy(&output.stdout))
                .map_err(|err| unreadable(step, "wipefs", err))?;
            let mut unknown_data = false;
            if signatures.is_empty() && disk.children.is_empty() {
                let args = ["--silent", "--bytes", HEAD_BYTES, disk.path.as_str(), "/dev/zero"];
                let output = self.run(step, "cmp", &args, left())?;
                unknown_data = match output.code {
                    Some(0) => false,
                    Some(1) => true,
                    _ => return Err(unreadable(step, "cmp", output.complaint())),
                };
            }
            Ok(Found { signatures, unknown_data })
        })();
        match &asked {
            Ok(_) => drop(self.silent().remove(&disk.path)),
            Err(fault) if fault.code == FaultCode::DeadlineExceeded => {
                self.silent().insert(disk.path.clone(), Instant::now());
            }
            Err(_) => {}
        }
        asked
    }
}

fn silent(why: &str) -> String {
    format!("What is on it cannot be told: {why}")
}

fn plain(disk: &Node) -> BlockDevice {
    let text = |field: &Option<String>| printable(field.as_deref().unwrap_or_default());
    let transport = text(&disk.tran);
    BlockDevice {
        path: disk.path.clone(),
        size_bytes: disk.size,
        model: text(&disk.model),
        serial: text(&disk.serial),
        wwn: text(&disk.wwn),
        kind: match (transport.as_str(), disk.rota) {
            ("nvme", _) => DeviceKind::Nvme,
            (_, true) => DeviceKind::Hdd,
            (_, false) => DeviceKind::Ssd,
        },
        transport,
        read_only: disk.ro,
        removable: disk.rm,
        contents: Vec::new(),
        refused_because: refuse::reason(disk).unwrap_or_default(),
        fingerprint: String::new(),
    }
}
