//! Block devices, from /sys/block.

use crate::{mount, tree};
use quantix_model::host::Disk;
use std::collections::BTreeSet;
use std::path::Path;

/// Kernel names of devices that are no disks to keep anything on.
const NOT_DISKS: &[&str] = &["loop", "ram", "zram", "fd", "sr"];

/// Whole block devices that have a size.
pub fn read(root: &Path) -> Vec<Disk> {
    let mounted: BTreeSet<String> = mount::lines(root).into_iter().map(|l| l.device).collect();
    let swaps = tree::text(root, "proc/swaps");
    let swaps: BTreeSet<&str> =
        swaps.lines().filter_map(|l| l.split_whitespace().next()?.strip_prefix("/dev/")).collect();
    let names = tree::names(root, "sys/block");
    names.iter().filter_map(|name| disk(root, name, &mounted, &swaps)).collect()
}

fn disk(root: &Path, name: &str, mounted: &BTreeSet<String>, swaps: &BTreeSet<&str>) -> Option<Disk> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let at = |file: &str| format!("sys/block/{name}/{file}");
    let size_bytes = tree::number(root, &at("size"))?.checked_mul(512)?;
    if NOT_DISKS.contains(&stem) || size_bytes == 0 {
        return None;
    }
    let partitioned = tree::names(root, &at(""))
        .iter()
        .any(|n| n.starts_with(name) && tree::number(root, &at(&format!("{n}/partition"))).is_some());
    let in_use = partitioned
        || !tree::names(root, &at("holders")).is_empty()
        || mounted.contains(&tree::line(root, &at("dev")))
        || swaps.contains(name);
    let first_of = |files: &[&str]| {
        files.iter().map(|f| tree::line(root, &at(f))).find(|text| !text.is_empty()).unwrap_or_default()
    };
    Some(Disk {
        name: name.to_owned(),
        model: first_of(&["device/model", "dm/name", "md/level"]),
        serial: first_of(&["serial", "device/serial", "device/wwid", "wwid", "dm/uuid", "md/uuid"]),
        size_bytes,
        rotational: tree::number(root, &at("queue/rotational")) == Some(1),
        in_use,
    })
}
