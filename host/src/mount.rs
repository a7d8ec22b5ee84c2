//! Mounted file systems, from /proc/self/mountinfo (proc(5)). Nothing mounted is touched.

use crate::tree;
use quantix_model::host::Mount;
use std::collections::BTreeMap;
use std::path::Path;

/// File systems that can hold a pool.
const POOL_FILE_SYSTEMS: &[&str] = &[
    "bcachefs",
    "btrfs",
    "ceph",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fuse.glusterfs",
    "jfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "overlay",
    "xfs",
    "zfs",
];

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number of the mount; unique while it is mounted.
    pub id: u64,
    /// Number of the mount it lies upon.
    pub parent_id: u64,
    /// `major:minor`, as in `st_dev`.
    pub device: String,
    /// Which folder of the file system is mounted; `/` but for bind mounts.
    pub root: String,
    /// Source, place and file system.
    pub mount: Mount,
    /// Options of this mount (`rw`, `noexec`), then those of the file system (`vers=4.1`), in the kernel's order.
    pub options: Vec<String>,
}

impl Line {
    /// What stands behind `name=` among the options.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether an option that stands alone is there.
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| option == name)
    }
}

/// Mounts that could hold a pool; of several on one folder, the last, which hides the others.
pub fn read(root: &Path) -> Vec<Mount> {
    let lines = lines(root).into_iter().map(|l| (l.mount.target.clone(), l.mount));
    let visible: BTreeMap<String, Mount> = lines.collect();
    visible.into_values().filter(|m| POOL_FILE_SYSTEMS.contains(&m.fs_type.as_str())).collect()
}

/// Every mount in the kernel's order; of several on one folder, the last hides the others.
pub fn lines(root: &Path) -> Vec<Line> {
    tree::text(root, "proc/self/mountinfo").lines().filter_map(parse).collect()
}

/// One line as the kernel writes it; `None` when it is none.
pub fn parse(line: &str) -> Option<Line> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let (id, parent_id) = (left.next()?.parse().ok()?, left.next()?.parse().ok()?);
    let (device, root, target) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (fs_type, source) = (right.next()?, right.next()?);
    let options = [left.next().unwrap_or_default(), right.next().unwrap_or_default()];
    let options = options.iter().flat_map(|list| list.split(',')).filter(|o| !o.is_empty());
    Some(Line {
        id,
        parent_id,
        device: device.to_owned(),
        root: unescape(root),
        options: options.map(unescape).collect(),
        mount: Mount { source: unescape(source), target: unescape(target), fs_type: fs_type.to_owned() },
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn optional_fields_and_escapes() {
        let line =
            r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let got = parse(line).unwrap();
        assert_eq!(got.device, "98:0");
        assert_eq!((got.mount.target.as_str(), got.mount.fs_type.as_str()), ("/mnt 2", "ext3"));
        assert_eq!((got.id, got.parent_id, got.root.as_str()), (36, 35, "/mnt1"));
        assert_eq!(got.options, ["rw", "noatime", "rw", "errors=continue"]);
        assert_eq!((got.option("errors"), got.has_option("noatime")), (Some("continue"), true));
    }

    proptest! {
        #[test]
        fn hostile_lines_never_panic(line in ".*") {
            let _ = parse(&line);
            let _ = unescape(&line);
        }
    }
}
