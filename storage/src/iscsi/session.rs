//! iSCSI sessions and their disks as the kernel shows them in `/sys`. Reading here never touches the target.
//!
//! ```text
//!   /sys/class/iscsi_session/session3 ─▶ …/host6/session3/target6:0:0/6:0:0:<LUN>/block/sda
//!                                                                     └ wwid, state
//! ```
//! A name such as `sda` is good for one look only: the next login may give it to another disk. What stays is the WWID.

use std::fs;
use std::path::{Path, PathBuf};

/// A session as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `session3`.
    pub name: String,
    /// Qualified name of its target.
    pub target: String,
    /// `address,port` as in the node record.
    pub portal: String,
    /// `LOGGED_IN`, `FAILED` or `FREE`.
    pub state: String,
    dir: PathBuf,
}

/// A LUN as one session shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// `sda`.
    pub name: String,
    /// As the kernel made it from the page of device identification: `naa.6001405…`.
    pub wwid: String,
    /// `running`, `blocked`, `transport-offline`, …
    pub state: String,
    /// What to open: the multipath device above it, when there is one.
    pub device: String,
    dir: PathBuf,
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The sessions with a target.
pub fn sessions(sys: &Path, target: &str) -> Vec<Session> {
    let class = sys.join("class/iscsi_session");
    let session = |name: String| {
        let attributes = class.join(&name);
        if read(attributes.join("targetname")) != target {
            return None;
        }
        let number = name.strip_prefix("session")?;
        let connection = sys.join(format!("class/iscsi_connection/connection{number}:0"));
        let address = read(connection.join("persistent_address"));
        let portal = format!("{address},{}", read(connection.join("persistent_port")));
        let dir = fs::canonicalize(attributes.join("device")).ok()?;
        Some(Session { state: read(attributes.join("state")), target: target.to_owned(), portal, name, dir })
    };
    names(&class).into_iter().filter_map(session).collect()
}

impl Session {
    /// Whether I/O goes through.
    pub fn is_up(&self) -> bool {
        self.state == "LOGGED_IN"
    }

    /// Its disks, of any LUN.
    pub fn disks(&self, sys: &Path) -> Vec<(u32, Disk)> {
        let targets = names(&self.dir).into_iter().filter(|name| name.starts_with("target"));
        let luns = targets.flat_map(|target| {
            let dir = self.dir.join(target);
            names(&dir).into_iter().map(move |lun| dir.join(lun)).collect::<Vec<_>>()
        });
        luns.filter_map(|dir| {
            let address = dir.file_name()?.to_str()?.to_owned();
            let number = address.splitn(4, ':').nth(3)?.parse().ok()?;
            let name = names(dir.join("block")).into_iter().next()?;
            let (wwid, state) = (read(dir.join("wwid")), read(dir.join("state")));
            let device = multipath(sys, &name).unwrap_or_else(|| name.clone());
            Some((number, Disk { device: format!("/dev/{device}"), name, wwid, state, dir }))
        })
        .collect()
    }

    /// Whether the kernel found the LUN, though its disk may not be ready yet.
    pub fn knows(&self, lun: u32) -> bool {
        let ends = format!(":{lun}");
        let targets = names(&self.dir).into_iter().filter(|name| name.starts_with("target"));
        targets.flat_map(|target| names(self.dir.join(target))).any(|name| name.ends_with(&ends))
    }

    /// The disk of a LUN, if the kernel has looked for it.
    pub fn disk(&self, sys: &Path, lun: u32) -> Option<Disk> {
        self.disks(sys).into_iter().find(|(number, _)| *number == lun).map(|(_, disk)| disk)
    }

    /// Lets the kernel look for every LUN. Waits for the target: call it only while the session is up.
    pub fn scan_all(&self, sys: &Path) -> std::io::Result<()> {
        let host = self.dir.parent().and_then(Path::file_name).unwrap_or_default();
        fs::write(sys.join("class/scsi_host").join(host).join("scan"), "- - -")
    }

    /// Lets the kernel look for a LUN. Waits for the target: call it only while the session is up.
    pub fn scan(&self, sys: &Path, lun: u32) -> std::io::Result<()> {
        let host = self.dir.parent().and_then(Path::file_name).unwrap_or_default();
        fs::write(sys.join("class/scsi_host").join(host).join("scan"), format!("0 0 {lun}"))
    }
}

impl Disk {
    /// Whether multipathd made it part of a device with other paths.
    pub fn is_joined(&self) -> bool {
        self.device != format!("/dev/{}", self.name)
    }

    /// Maker and model.
    pub fn product(&self) -> String {
        let words = [read(self.dir.join("vendor")), read(self.dir.join("model"))].join(" ");
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Lets the kernel read the size again. Waits for the target.
    pub fn rescan(&self) -> std::io::Result<()> {
        fs::write(self.dir.join("rescan"), "1")
    }

    /// Lets the kernel forget the disk; other LUNs of the session stay.
    pub fn forget(&self) -> std::io::Result<()> {
        fs::write(self.dir.join("delete"), "1")
    }

    /// Whether I/O goes through.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

/// The multipath device above a disk.
pub fn multipath(sys: &Path, disk: &str) -> Option<String> {
    let holders = names(sys.join("block").join(disk).join("holders"));
    let mapped = |name: &String| read(sys.join("block").join(name).join("dm/uuid")).starts_with("mpath-");
    holders.into_iter().find(mapped)
}

/// Size of a disk in sectors of 512 bytes, as the kernel knows it.
pub fn sectors(sys: &Path, disk: &str) -> u64 {
    read(sys.join("block").join(disk).join("size")).parse().unwrap_or(0)
}

/// What multipathd calls one of its devices.
pub fn map_name(sys: &Path, map: &str) -> String {
    read(sys.join("block").join(map).join("dm/name"))
}

/// Whether multipathd takes our disks: without it, one path is used, and a second would only confuse LVM.
pub fn multipath_runs(run: &Path) -> bool {
    let pid = read(run.join("multipathd.pid"));
    !pid.is_empty() && Path::new("/proc").join(pid).exists()
}

/// Disks and partitions of the host that no iSCSI session brought: LVM may look at them without waiting for anybody.
pub fn host_disks(sys: &Path) -> Vec<String> {
    let class = sys.join("class/block");
    let ours = |name: &String| {
        let path = fs::canonicalize(class.join(name)).unwrap_or_default();
        let remote = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("session"));
        let odd = ["loop", "ram", "zram", "nbd", "rbd", "sr", "dm-", "fd"];
        let size: u64 = read(class.join(name).join("size")).parse().unwrap_or(0);
        !remote && size > 0 && !odd.iter().any(|start| name.starts_with(start))
    };
    names(&class).into_iter().filter(ours).map(|name| format!("/dev/{name}")).collect()
}

/// Active device-mapper devices of a volume group, by its LVM UUID: what is above comes before what it needs.
pub fn mapped(sys: &Path, group_uuid: &str) -> Vec<String> {
    let start = format!("LVM-{}", group_uuid.replace('-', ""));
    let ours = |name: &String| read(sys.join("block").join(name).join("dm/uuid")).starts_with(&start);
    let mut found: Vec<String> = names(sys.join("block")).into_iter().filter(ours).collect();
    found.sort_by_key(|name| std::cmp::Reverse(name.trim_start_matches("dm-").parse::<u32>().unwrap_or(0)));
    found.into_iter().map(|name| read(sys.join("block").join(name).join("dm/name"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file")).expect("a folder");
        fs::write(path, format!("{text}\n")).expect("a file");
    }

    #[test]
    fn a_lun_is_found_with_its_identity() {
        let tree = tempfile::tempdir().expect("a folder");
        let sys = tree.path();
        let device = "devices/platform/host6/session3";
        put(sys, &format!("{device}/target6:0:0/6:0:0:1/wwid"), "naa.600140572d3e8a04");
        put(sys, &format!("{device}/target6:0:0/6:0:0:1/state"), "running");
        put(sys, &format!("{device}/target6:0:0/6:0:0:1/block/sdb/size"), "2048");
        put(sys, &format!("{device}/target6:0:0/6:0:0:0/wwid"), "naa.6001405b1b1");
        put(sys, &format!("{device}/iscsi_session/session3/targetname"), "iqn.2026-01.org.lab:t1");
        put(sys, &format!("{device}/iscsi_session/session3/state"), "LOGGED_IN");
        fs::create_dir_all(sys.join("class/iscsi_session")).expect("a folder");
        let class = sys.join("class/iscsi_session/session3");
        symlink(sys.join(device).join("iscsi_session/session3"), &class).expect("a link");
        symlink(sys.join(device), sys.join(device).join("iscsi_session/session3/device")).expect("a link");
        put(sys, "class/iscsi_connection/connection3:0/persistent_address", "127.0.0.1");
        put(sys, "class/iscsi_connection/connection3:0/persistent_port", "3260");

        assert!(sessions(sys, "iqn.2026-01.org.lab:other").is_empty());
        let found = sessions(sys, "iqn.2026-01.org.lab:t1");
        assert_eq!((found.len(), found[0].portal.as_str()), (1, "127.0.0.1,3260"));
        assert!(found[0].is_up());
        let disk = found[0].disk(sys, 1).expect("the LUN");
        assert_eq!((disk.device.as_str(), disk.wwid.as_str()), ("/dev/sdb", "naa.600140572d3e8a04"));
        assert!(disk.is_running());
        assert_eq!(found[0].disk(sys, 0), None, "a LUN without a disk");

        put(sys, "block/dm-4/dm/uuid", "mpath-3600140572d3e8a04");
        fs::create_dir_all(sys.join("block/sdb/holders/dm-4")).expect("a folder");
        assert_eq!(found[0].disk(sys, 1).expect("the LUN").device, "/dev/dm-4");
    }
}
