//! What is on a disk, from `wipefs --json`: lines for people, and a hash that changes when any of it does.

use super::look::Node;
use super::printable;
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

/// Lines of one disk at most.
const LINES_MAX: usize = 64;

#[derive(Deserialize)]
struct Answer {
    signatures: Vec<Signature>,
}

/// Something known that stands on a device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Signature {
    /// Last part of the device's path.
    #[serde(default)]
    pub device: String,
    /// Where, in hex.
    #[serde(default)]
    pub offset: String,
    /// libblkid's name for it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of the file system, group or array.
    pub uuid: Option<String>,
    /// Given by people.
    pub label: Option<String>,
}

/// What was found on a disk and its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Everything known.
    pub signatures: Vec<Signature>,
    /// Nothing known, and yet its first MiB is not empty.
    pub unknown_data: bool,
}

/// Reads `wipefs --json`; nothing at all (older releases) is nothing found.
pub fn parse(text: &str) -> Result<Vec<Signature>, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str::<Answer>(text).map(|answer| answer.signatures)
}

/// libblkid's names, as people say them.
fn words(signature: &Signature) -> String {
    let kind = match signature.kind.as_str() {
        "LVM2_member" => "LVM physical volume".to_owned(),
        "LVM1_member" => "LVM 1 physical volume".to_owned(),
        "linux_raid_member" => "member of a Linux RAID".to_owned(),
        "swap" => "swap space".to_owned(),
        "crypto_LUKS" => "LUKS encryption".to_owned(),
        "zfs_member" => "member of a ZFS pool".to_owned(),
        "ceph_bluestore" => "Ceph OSD".to_owned(),
        "bcache" => "bcache device".to_owned(),
        "mpath_member" => "multipath member".to_owned(),
        "BitLocker" => "BitLocker encryption".to_owned(),
        kind if kind.ends_with("_raid_member") => {
            format!("member of a RAID ({})", printable(kind.trim_end_matches("_raid_member")))
        }
        "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "ntfs" | "vfat" | "exfat" | "f2fs" | "jfs"
        | "reiserfs" | "bcachefs" | "iso9660" | "udf" | "squashfs" | "ocfs2" | "gfs2" | "hfsplus"
        | "apfs" | "minix" | "erofs" => format!("{} file system", signature.kind),
        kind => format!("signature {}", printable(kind)),
    };
    let set = |text: &Option<String>| text.as_deref().map(printable).filter(|text| !text.is_empty());
    let label = set(&signature.label).map(|label| format!(" \"{label}\"")).unwrap_or_default();
    let uuid = set(&signature.uuid).map(|uuid| format!(", UUID {uuid}")).unwrap_or_default();
    format!("{kind}{label}{uuid}")
}

/// Which partition table a signature is.
fn table(kind: &str) -> Option<&'static str> {
    match kind {
        "gpt" => Some("GPT"),
        "dos" => Some("MBR"),
        "mac" => Some("Apple"),
        "sun" => Some("Sun"),
        "bsd" => Some("BSD"),
        "dasd" => Some("DASD"),
        "sgi" => Some("SGI"),
        _ => None,
    }
}

fn count(partitions: usize) -> String {
    match partitions {
        0 => "without partitions".to_owned(),
        1 => "with 1 partition".to_owned(),
        n => format!("with {n} partitions"),
    }
}

/// As people read sizes.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = (bytes.max(1).ilog2() / 10).min(5);
    let whole = 1_u64 << (10 * power);
    let tenths = bytes % whole * 10 / whole;
    let unit = units[power as usize];
    if tenths == 0 {
        format!("{} {unit}", bytes / whole)
    } else {
        format!("{}.{tenths} {unit}", bytes / whole)
    }
}

/// One line per thing on the disk; none when there is nothing.
pub fn lines(disk: &Node, found: &Found) -> Vec<String> {
    let of = |node: &Node| {
        let name = node.name_in_path().to_owned();
        found.signatures.iter().filter(move |s| s.device == name)
    };
    let partitions = disk.partitions();
    let mut lines = Vec::new();
    let mut tables: Vec<&str> = of(disk).filter_map(|s| table(&s.kind)).collect();
    tables.dedup();
    let on_disk: Vec<String> =
        of(disk).filter(|s| table(&s.kind).is_none() && s.kind != "PMBR").map(words).collect();
    match tables.first() {
        Some(table) => lines.push(format!("{table} partition table {}", count(partitions.len()))),
        None if !partitions.is_empty() => {
            lines.push(format!("partition table {}", count(partitions.len())));
        }
        None => lines.extend(of(disk).any(|s| s.kind == "PMBR").then(|| "part of a GPT".to_owned())),
    }
    lines.extend(on_disk);
    for partition in &partitions {
        let mut on: Vec<String> = of(partition).map(words).collect();
        on.dedup();
        let on = if on.is_empty() { "nothing known".to_owned() } else { on.join("; ") };
        lines.push(format!("{}, {}: {on}", partition.name_in_path(), size(partition.size)));
    }
    if found.unknown_data && lines.is_empty() {
        lines.push("data of a kind nobody knows".to_owned());
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX + 1;
        lines.truncate(LINES_MAX - 1);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn hash(parts: &[String]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        // Lengths, so that no two lists run together.
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    digest(&SHA256, &bytes).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `<identity>.<contents>`: which disk it is, and what was on it.
pub fn fingerprint(disk: &Node, found: &Found) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let identity =
        [disk.path.clone(), disk.size.to_string(), text(&disk.model), text(&disk.serial), text(&disk.wwn)];
    let mut contents: Vec<String> =
        disk.partitions().iter().map(|part| format!("{} {}", part.path, part.size)).collect();
    contents.extend(found.signatures.iter().map(|s| format!("{s:?}")));
    contents.push(found.unknown_data.to_string());
    format!("{}.{}", hash(&identity), hash(&contents))
}

/// Whether two fingerprints are of one disk, whatever is on it.
pub fn same_disk(a: &str, b: &str) -> bool {
    match (a.split_once('.'), b.split_once('.')) {
        (Some((a, _)), Some((b, _))) => !a.is_empty() && a == b,
        _ => false,
    }
}
