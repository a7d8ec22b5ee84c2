//! Disks in memory behind the programs that look at and change them, for tests of everything above.

use super::look::Node;
use quantix_host::program::{BlockingRunner, Output, Program};
use quantix_model::{Fault, FaultCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What stands on a device in memory: libblkid's name for it, and its UUID.
pub type Mark = (String, String);

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    /// As `lsblk` has it, with what is made of it.
    pub node: Node,
    /// (last part of a path, what stands there).
    pub marks: Vec<(String, Mark)>,
    /// Something is on it that nobody knows.
    pub unknown_data: bool,
    /// Whoever reads it waits so long.
    pub slow: Duration,
    /// Whoever reads it waits for ever.
    pub silent: bool,
    /// mkfs.xfs of it ends halfway, once.
    pub cut_mkfs: bool,
    /// Its file system was not made to its end.
    pub in_progress: bool,
}

impl FakeDisk {
    /// An empty one.
    pub fn new(path: &str, size: u64) -> FakeDisk {
        let kname = path.rsplit('/').next().unwrap_or_default().to_owned();
        let node = Node { path: path.into(), kname, kind: "disk".into(), size, ..Node::default() };
        FakeDisk { node: Node { tran: Some("sata".into()), ..node }, ..FakeDisk::default() }
    }

    /// With a GPT and partitions, and what stands on each.
    pub fn with_partitions(mut self, kinds: &[&str]) -> FakeDisk {
        self.mark(&self.node.kname.clone(), "gpt", "");
        for (n, kind) in kinds.iter().enumerate() {
            let part = partition(&self.node, n + 1);
            if !kind.is_empty() {
                self.mark(&part.kname.clone(), kind, &format!("uuid-{n}"));
            }
            self.node.children.push(part);
        }
        self
    }

    fn mark(&mut self, name: &str, kind: &str, uuid: &str) {
        self.marks.push((name.to_owned(), (kind.to_owned(), uuid.to_owned())));
    }

    fn has(&self, path: &str) -> bool {
        self.node.path == path || self.node.children.iter().any(|child| child.path == path)
    }
}

fn partition(disk: &Node, number: usize) -> Node {
    let between = if disk.kname.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    Node {
        path: format!("{}{between}{number}", disk.path),
        kname: format!("{}{between}{number}", disk.kname),
        kind: "part".into(),
        size: disk.size / 2,
        ..Node::default()
    }
}

/// Plays lsblk, wipefs, cmp, sfdisk, mkfs.xfs, xfs_db and udevadm on disks in memory. Clones are the same disks.
#[derive(Clone, Debug, Default)]
pub struct FakeDisks(Arc<Mutex<Vec<FakeDisk>>>);

impl FakeDisks {
    /// These.
    pub fn new(disks: Vec<FakeDisk>) -> FakeDisks {
        FakeDisks(Arc::new(Mutex::new(disks)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FakeDisk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in.
    pub fn add(&self, disk: FakeDisk) {
        self.lock().push(disk);
    }

    /// Changes the one with this path, if it is there.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut FakeDisk)) {
        if let Some(disk) = self.lock().iter_mut().find(|disk| disk.node.path == path) {
            change(disk);
        }
    }

    /// The one with this path.
    pub fn disk(&self, path: &str) -> Option<FakeDisk> {
        self.lock().iter().find(|disk| disk.node.path == path).cloned()
    }

    fn wipefs(&self, program: &Program) -> Result<Output, Fault> {
        let paths: Vec<&String> = program.args.iter().filter(|arg| arg.starts_with("/dev/")).collect();
        let slow = self.lock().iter().filter(|d| paths.iter().any(|p| d.has(p))).map(|d| d.slow).max();
        std::thread::sleep(slow.unwrap_or_default());
        let mut found: Vec<Value> = Vec::new();
        let mut disks = self.lock();
        for path in paths {
            let Some(disk) = disks.iter_mut().find(|disk| disk.has(path)) else {
                return Ok(failed("probing initialization failed: No such file or directory"));
            };
            if disk.silent {
                return Err(late(program));
            }
            let name = path.rsplit('/').next().unwrap_or_default();
            if program.args.iter().any(|arg| arg == "--all") {
                if disk.node.mounts().next().is_some() {
                    return Ok(failed("probing initialization failed: Device or resource busy"));
                }
                disk.marks.retain(|(on, _)| on != name);
                if disk.node.path == *path {
                    disk.node.children.clear();
                    disk.unknown_data = true;
                }
                continue;
            }
            for (on, (kind, uuid)) in disk.marks.iter().filter(|(on, _)| on == name) {
                found.push(json!({"device": on, "offset": "0x0", "type": kind, "uuid": uuid, "label": null}));
            }
        }
        Ok(said(json!({ "signatures": found }).to_string()))
    }

    fn with(
        &self,
        program: &Program,
        work: impl FnOnce(&mut FakeDisk, &str) -> Result<Output, Fault>,
    ) -> Result<Output, Fault> {
        let path = program.args.iter().rev().find(|arg| arg.starts_with("/dev/") && *arg != "/dev/zero");
        let path = path.cloned().unwrap_or_default();
        match self.lock().iter_mut().find(|disk| disk.has(&path)) {
            Some(disk) if disk.silent => Err(late(program)),
            Some(disk) => work(disk, &path),
            None => Ok(failed(&format!("{path}: No such file or directory"))),
        }
    }

    fn mkfs(&self, program: &Program) -> Result<Output, Fault> {
        let meta = program.args.iter().find_map(|arg| arg.strip_prefix("uuid=")).unwrap_or_default();
        let uuid = meta.split(',').next().unwrap_or_default().to_owned();
        self.with(program, |disk, path| {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            disk.marks.retain(|(on, _)| *on != name);
            disk.mark(&name, "xfs", &uuid);
            disk.in_progress = std::mem::take(&mut disk.cut_mkfs);
            if disk.in_progress {
                return Ok(Output { signal: Some(9), ..Output::default() });
            }
            Ok(said(String::new()))
        })
    }
}

fn said(text: String) -> Output {
    Output { code: Some(0), stdout: text.into_bytes(), ..Output::default() }
}

fn failed(text: &str) -> Output {
    Output { code: Some(1), stderr: text.to_owned(), ..Output::default() }
}

fn late(program: &Program) -> Fault {
    let message =
        format!("{} did not end within {} s and was killed.", program.name, program.deadline.as_secs());
    Fault::new(FaultCode::DeadlineExceeded, message, "Look at the host's disks.")
}

fn listed(node: &Node) -> Value {
    json!({
        "name": node.kname, "kname": node.kname, "path": node.path, "type": node.kind, "size": node.size,
        "ro": node.ro, "rm": node.rm, "rota": node.rota, "model": node.model, "serial": node.serial,
        "wwn": node.wwn, "tran": node.tran, "mountpoints": node.mountpoints,
        "children": node.children.iter().map(listed).collect::<Vec<_>>(),
    })
}

impl BlockingRunner for FakeDisks {
    fn run_blocking(
        &self,
        program: &Program,
        tick: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Output, Fault> {
        tick()?;
        let mut program = program.clone();
        if program.name == "setpriv" {
            program.name = program.args.get(2).cloned().unwrap_or_default();
            program.args.drain(..3.min(program.args.len()));
        }
        match program.name.as_str() {
            "lsblk" => {
                let disks: Vec<Value> = self.lock().iter().map(|disk| listed(&disk.node)).collect();
                Ok(said(json!({ "blockdevices": disks }).to_string()))
            }
            "wipefs" => self.wipefs(&program),
            "cmp" => self.with(&program, |disk, _| {
                Ok(Output { code: Some(i32::from(disk.unknown_data)), ..Output::default() })
            }),
            "sfdisk" => self.with(&program, |disk, _| {
                disk.marks.clear();
                disk.node.children.clear();
                disk.mark(&disk.node.kname.clone(), "gpt", "");
                disk.node.children = vec![partition(&disk.node, 1)];
                Ok(said(String::new()))
            }),
            "mkfs.xfs" => self.mkfs(&program),
            "xfs_db" => self
                .with(&program, |disk, _| Ok(said(format!("inprogress = {}\n", u8::from(disk.in_progress))))),
            "udevadm" => Ok(said(String::new())),
            name => Err(quantix_host::program::missing(name)),
        }
    }
}
