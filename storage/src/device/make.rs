//! Making a disk a pool's: wiped, a GPT with one partition, XFS on it. See the module above for how it can be cut.

use super::contents::{self, Found};
use super::look::Node;
use super::refuse;
use super::{Disks, Rest, Wish, printable, within};
use quantix_host::program::Output;
use quantix_model::id::PoolId;
use quantix_model::pool::spec::file_system_uuid;
use quantix_model::{Fault, FaultCode};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// For what only writes a few blocks.
const WRITE: Duration = Duration::from_secs(30);
/// mkfs.xfs tells a flash disk that all its blocks are free, which takes some disks minutes.
const MAKE: Duration = Duration::from_secs(15 * 60);
/// For udev to hear of the new partition.
const SETTLE: Duration = Duration::from_secs(10);
/// For the kernel to show it.
const APPEAR: Duration = Duration::from_secs(10);
/// Type of the partition: Linux file system data.
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

/// The partition's name, which a GPT cuts at 36 characters: Quantix, and whose.
pub fn partition_name(pool: PoolId) -> String {
    format!("qx-{}", pool.0.simple())
}

/// What `sfdisk` reads.
fn script(pool: PoolId) -> String {
    let part = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("quantix-pool-partition:{pool}").as_bytes());
    format!("label: gpt\ntype={LINUX}, uuid={part}, name=\"{}\"\n", partition_name(pool))
}

impl Disks {
    /// Makes a disk ready for a pool. `begin` is called before anything on it is changed, and must keep a note that
    /// outlives this process. A disk that carries the pool's file system already is a success.
    pub fn initialise(&self, wish: &Wish, begin: &dyn Fn() -> Result<(), Fault>) -> Result<(), Fault> {
        let disk = self.find(&wish.device)?;
        let found = self.read(&disk).map_err(|fault| not_told(&wish.device, fault))?;
        self.step("device: looked")?;
        if let Some(part) = ours(&disk, &found, wish.pool)
            && self.is_whole(part)?
        {
            return Ok(());
        }
        check(&disk, &found, wish)?;
        begin()?;
        self.step("device: begun")?;
        self.change(&disk, wish.pool).map_err(|fault| half_made(&wish.device, fault))
    }

    fn change(&self, disk: &Node, pool: PoolId) -> Result<(), Fault> {
        for part in disk.partitions() {
            self.wipe(&part.path)?;
        }
        self.step("device: partitions wiped")?;
        self.wipe(&disk.path)?;
        self.step("device: wiped")?;
        let args = ["--quiet", "--lock", "--wipe", "always", "--wipe-partitions", "always", "--", &disk.path];
        let script = script(pool);
        let rest = Rest { stdin: script.as_bytes(), deadline: WRITE };
        self.must("make the partition", "sfdisk", &args, rest)?;
        self.step("device: partitioned")?;
        let part = self.partition(&disk.path)?;
        self.settle()?;
        self.step("device: partition there")?;
        let uuid = file_system_uuid(pool);
        let meta = format!("uuid={uuid},reflink=1");
        let args = ["-f", "-q", "-L", "quantix", "-m", &meta, &part.path];
        self.must("make the file system", "mkfs.xfs", &args, within(MAKE))?;
        self.step("device: file system made")?;
        self.settle()?;
        let disk = self.find(&disk.path)?;
        let found = self.read(&disk)?;
        match ours(&disk, &found, pool) {
            Some(part) if self.is_whole(part)? => Ok(()),
            _ => Err(Fault::new(
                FaultCode::PoolIoFailed,
                format!("The new file system cannot be found on {}.", disk.path),
                "Look at the host's kernel log: the disk may be broken.",
            )
            .because(contents::lines(&disk, &found).join("; "))),
        }
    }

    /// The whole disk with this very path.
    fn find(&self, path: &str) -> Result<Node, Fault> {
        self.tree()?.into_iter().find(|disk| disk.path == path).ok_or_else(|| Fault {
            field: "device".into(),
            ..Fault::new(
                FaultCode::PoolDeviceMissing,
                format!("The host has no disk {}.", printable(path)),
                "Look at the host's disks again: names may change when a disk is taken out or at a boot.",
            )
        })
    }

    fn wipe(&self, path: &str) -> Result<(), Fault> {
        self.must("wipe the disk", "wipefs", &["--all", "--quiet", "--lock", "--", path], within(WRITE))
            .map(drop)
    }

    /// The new partition, once the kernel shows it.
    fn partition(&self, path: &str) -> Result<Node, Fault> {
        let end = Instant::now() + APPEAR;
        loop {
            let disk = self.find(path)?;
            if let [part] = disk.partitions()[..] {
                return Ok(part.clone());
            }
            if Instant::now() >= end {
                return Err(Fault::new(
                    FaultCode::PoolIoFailed,
                    format!("The kernel does not show the new partition of {path}."),
                    "Look at the host's kernel log; a restart of the host shows it for sure.",
                )
                .in_phase("wait for the partition"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Lets udev see what was made. Without udev there is nobody to wait for.
    fn settle(&self) -> Result<(), Fault> {
        match self.run("wait for udev", "udevadm", &["settle", "--timeout=8"], within(SETTLE)) {
            Ok(output) if !output.succeeded() => {
                tracing::info!(said = output.complaint(), "udev did not settle");
                Ok(())
            }
            Err(fault) if fault.code != FaultCode::HostProgramMissing => Err(fault),
            _ => Ok(()),
        }
    }

    /// Whether a file system was made to its end: mkfs.xfs clears the mark last, and the kernel mounts none that has it.
    fn is_whole(&self, part: &Node) -> Result<bool, Fault> {
        if part.mounts().next().is_some() {
            return Ok(true);
        }
        let args = ["-r", "-c", "sb 0", "-c", "print inprogress", part.path.as_str()];
        let output = self.run("look at the file system", "xfs_db", &args, within(WRITE))?;
        Ok(output.succeeded() && String::from_utf8_lossy(&output.stdout).trim() == "inprogress = 0")
    }

    fn must(&self, step: &'static str, name: &str, args: &[&str], rest: Rest<'_>) -> Result<Output, Fault> {
        let output = self.run(step, name, args, rest)?;
        if output.succeeded() {
            return Ok(output);
        }
        let said = printable(&output.complaint());
        // The kernel lets nobody have a disk alone that somebody has (open(2), O_EXCL on a block device).
        if said.contains("busy") || said.contains("in use") {
            return Err(Fault::new(
                FaultCode::DeviceInUse,
                "Somebody on the host uses the disk.",
                "Find out who: `lsblk`, `fuser -v`, other mount namespaces. Then look at the disks again.",
            )
            .because(said)
            .in_phase(step));
        }
        Err(Fault::new(
            FaultCode::PoolIoFailed,
            format!("{name} could not do its work on the disk."),
            "Look at the host's kernel log: the disk may be broken.",
        )
        .because(said)
        .in_phase(step))
    }
}

/// The partition that carries the pool's file system.
fn ours<'a>(disk: &'a Node, found: &Found, pool: PoolId) -> Option<&'a Node> {
    let uuid = file_system_uuid(pool).to_string();
    let is_ours = |part: &&Node| {
        found.signatures.iter().any(|s| {
            s.device == part.name_in_path() && s.kind == "xfs" && s.uuid.as_deref() == Some(uuid.as_str())
        })
    };
    disk.partitions().into_iter().find(is_ours)
}

/// Refuses what must not be touched, what is not as it was shown, and what nobody said may go.
fn check(disk: &Node, found: &Found, wish: &Wish) -> Result<(), Fault> {
    let path = &disk.path;
    if let Some(reason) = refuse::reason(disk) {
        return Err(Fault::new(
            FaultCode::DeviceInUse,
            format!("{path} cannot become a pool. {reason}"),
            "Choose another disk, or free this one on the host first (unmount, swapoff, vgchange -an, mdadm --stop).",
        ));
    }
    let now = contents::fingerprint(disk, found);
    let lines = contents::lines(disk, found);
    let known = wish.fingerprint == now || (wish.begun && contents::same_disk(&wish.fingerprint, &now));
    if !known {
        let there = if lines.is_empty() { "nothing is on it now".to_owned() } else { lines.join("; ") };
        return Err(Fault::new(
            FaultCode::DeviceChanged,
            format!("{path} is not as it was when it was chosen."),
            "Look at the host's disks again, then decide anew.",
        )
        .because(there));
    }
    if !lines.is_empty() && !wish.erase && !wish.begun {
        return Err(Fault {
            field: "erase".into(),
            ..Fault::new(
                FaultCode::PoolForeignData,
                format!("{path} is not empty, and nobody said that it may be erased."),
                "Allow what is on it to be destroyed, or choose another disk.",
            )
        }
        .because(lines.join("; ")));
    }
    Ok(())
}

fn not_told(path: &str, fault: Fault) -> Fault {
    let message = format!("What is on {path} cannot be told, so it is not touched. {}", fault.message);
    let code = if fault.code == FaultCode::DeadlineExceeded { FaultCode::PoolIoFailed } else { fault.code };
    Fault { code, message, ..fault }
}

/// Says what state the disk is in.
fn half_made(path: &str, fault: Fault) -> Fault {
    let code = match fault.code {
        // A second try would only wait as long again.
        FaultCode::DeadlineExceeded => FaultCode::PoolIoFailed,
        code => code,
    };
    let message = format!("{} What was on {path} may be gone, and no pool is on it.", fault.message);
    Fault { code, message, ..fault }
}
