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
pub(crate) struct Line {
    pub(crate) device: String,
    pub(crate) mount: Mount,
}

/// Mounts that could hold a pool; of several on one folder, the last, which hides the others.
pub fn read(root: &Path) -> Vec<Mount> {
    let lines = lines(root).into_iter().map(|l| (l.mount.target.clone(), l.mount));
    let visible: BTreeMap<String, Mount> = lines.collect();
    visible.into_values().filter(|m| POOL_FILE_SYSTEMS.contains(&m.fs_type.as_str())).collect()
}

pub(crate) fn lines(root: &Path) -> Vec<Line> {
    tree::text(root, "proc/self/mountinfo").lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Line> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (device, _root, target) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (fs_type, source) = (right.next()?, right.next()?);
    let mount = Mount { source: unescape(source), target: unescape(target), fs_type: fs_type.to_owned() };
    Some(Line { device: device.to_owned(), mount })
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
    }

    proptest! {
        #[test]
        fn hostile_lines_never_panic(line in ".*") {
            let _ = parse(&line);
            let _ = unescape(&line);
        }
    }
}
