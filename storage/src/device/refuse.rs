//! Why a disk cannot become a pool, whatever one says.

use super::look::Node;
use super::printable;

/// An XFS with room for anything.
pub const BYTES_MIN: u64 = 1 << 30;
/// Users that are named.
const NAMED_MAX: usize = 3;
/// Buses behind which there is a server, not a disk.
const NETWORKS: &[&str] = &["iscsi", "fc", "fcoe", "fc_transport", "tcp", "rdma", "loop"];
/// Kernel names of disks that are none of this machine's.
const NOT_LOCAL: &[&str] = &["nbd", "rbd", "drbd", "zd", "zram", "ram", "fd", "mtdblock", "loop", "sr"];
/// Where the system itself is mounted.
const SYSTEM: &[&str] = &["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/home", "/var/lib/quantix"];

/// Whether it is a disk people would look for; loops and RAM disks are not shown.
pub fn is_shown(disk: &Node) -> bool {
    disk.kind == "disk" && disk.size > 0 && !is_one_of(disk, &["zram", "ram", "fd", "mtdblock", "loop", "sr"])
}

fn is_one_of(disk: &Node, stems: &[&str]) -> bool {
    let stem = disk.kname.trim_end_matches(|c: char| c.is_ascii_digit());
    stems.contains(&stem)
}

/// The reason; `None` when it can be used.
pub fn reason(disk: &Node) -> Option<String> {
    let below = disk.below();
    let all = || std::iter::once(disk).chain(below.iter().copied());
    let mounts: Vec<(&str, &Node)> = all().flat_map(|n| n.mounts().map(move |m| (m, n))).collect();
    let transport = disk.tran.as_deref().unwrap_or_default();
    if disk.kind != "disk" {
        return Some(format!("It is of the kind {}, not a disk.", printable(&disk.kind)));
    }
    if is_one_of(disk, NOT_LOCAL) {
        return Some("It is no disk of this machine: the kernel makes it of something else.".to_owned());
    }
    if NETWORKS.contains(&transport) {
        return Some(format!("It is a LUN reached over {transport}, not a local disk."));
    }
    if let Some(path) = below.iter().find(|node| node.kind == "mpath") {
        return Some(format!("It is one path to a LUN ({}), not a local disk.", printable(&path.path)));
    }
    if disk.ro {
        return Some("It is read-only.".to_owned());
    }
    if let Some((place, _)) = mounts.iter().find(|(place, _)| SYSTEM.contains(place)) {
        return Some(format!("The system runs from it: it holds {place}."));
    }
    if let Some((_, node)) = mounts.iter().find(|(place, _)| *place == "[SWAP]") {
        return Some(format!("The system swaps to it ({}).", printable(&node.path)));
    }
    if !mounts.is_empty() {
        let named = mounts
            .iter()
            .take(NAMED_MAX)
            .map(|(place, node)| format!("{} on {}", printable(node.name_in_path()), printable(place)));
        return Some(format!("It is mounted: {}.", named.collect::<Vec<_>>().join(", ")));
    }
    if let Some(holder) = below.iter().find(|node| node.kind != "part") {
        let who = match holder.kind.as_str() {
            "lvm" => "LVM".to_owned(),
            "crypt" => "An open encryption".to_owned(),
            kind if kind.starts_with("raid") || kind == "md" => "A RAID".to_owned(),
            kind => format!("The kernel ({})", printable(kind)),
        };
        return Some(format!("{who} holds it: {}.", printable(&holder.path)));
    }
    (disk.size < BYTES_MIN).then(|| "It is smaller than 1 GiB.".to_owned())
}
