//! Processors, from /proc/cpuinfo and /sys/devices/system.

use crate::tree;
use quantix_model::host::Cpu;
use std::collections::BTreeSet;
use std::path::Path;

/// Reads the processors that are online.
pub fn read(root: &Path) -> Cpu {
    let numa = tree::names(root, "sys/devices/system/node");
    let numa = numa.iter().filter(|n| n.strip_prefix("node").is_some_and(is_number)).count();
    let mut cpu = parse(&tree::text(root, "proc/cpuinfo"));
    cpu.numa_nodes = u32::try_from(numa).unwrap_or(u32::MAX).max(1);
    cpu
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn parse(cpuinfo: &str) -> Cpu {
    let mut cpu = Cpu::default();
    let mut cores = BTreeSet::new();
    let mut sockets = BTreeSet::new();
    for block in cpuinfo.split("\n\n") {
        let field = |name: &str| {
            let mut pairs = block.lines().filter_map(|line| line.split_once(':'));
            pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
        };
        let Some(processor) = field("processor") else { continue };
        cpu.threads += 1;
        if cpu.model.is_empty() {
            cpu.model = field("model name").unwrap_or_default().to_owned();
            cpu.vendor = field("vendor_id").unwrap_or_default().to_owned();
            let flags = field("flags").unwrap_or_default();
            let has = |flag: &str| flags.split(' ').any(|f| f == flag);
            cpu.virtualization = ["vmx", "svm"].into_iter().find(|f| has(f)).unwrap_or_default().to_owned();
        }
        let socket = field("physical id").unwrap_or("0");
        sockets.insert(socket);
        // A machine that tells no cores has one per thread.
        cores.insert((socket, field("core id").unwrap_or(processor)));
    }
    cpu.sockets = u32::try_from(sockets.len()).unwrap_or(u32::MAX).max(1);
    cpu.cores = u32::try_from(cores.len()).unwrap_or(u32::MAX).max(1);
    cpu.threads = cpu.threads.max(1);
    cpu
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(n: u32, socket: u32, core: u32) -> String {
        format!(
            "processor\t: {n}\nvendor_id\t: GenuineIntel\nmodel name\t: Example 3 GHz\nphysical id\t: {socket}\n\
             core id\t\t: {core}\nflags\t\t: fpu vmx sse\n"
        )
    }

    #[test]
    fn threads_cores_and_sockets_are_told_apart() {
        let blocks: Vec<_> = (0..8).map(|n| thread(n, n / 4, n % 2)).collect();
        let got = parse(&blocks.join("\n"));
        assert_eq!((got.sockets, got.cores, got.threads), (2, 4, 8));
        assert_eq!(got.virtualization, "vmx");
        assert_eq!((got.model.as_str(), got.vendor.as_str()), ("Example 3 GHz", "GenuineIntel"));
    }

    #[test]
    fn an_empty_file_is_one_of_each() {
        let got = parse("");
        assert_eq!((got.sockets, got.cores, got.threads), (1, 1, 1));
    }
}
