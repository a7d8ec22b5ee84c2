//! Memory, from /proc/meminfo.

use crate::tree;
use std::path::Path;

/// Memory of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `MemTotal`.
    pub total_bytes: u64,
    /// `MemAvailable`: what can be had without swapping.
    pub available_bytes: u64,
}

/// Reads /proc/meminfo; zeros when it is not there.
pub fn read(root: &Path) -> Memory {
    parse(&tree::text(root, "proc/meminfo"))
}

fn parse(text: &str) -> Memory {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: Option<u64> = rest.and_then(|r| r.trim().trim_end_matches("kB").trim().parse().ok());
        kib.map(|kib| kib.saturating_mul(1024))
    };
    let total_bytes = field("MemTotal").unwrap_or(0);
    // Kernels before 3.14 tell no MemAvailable.
    let available_bytes = field("MemAvailable").or_else(|| field("MemFree")).unwrap_or(0).min(total_bytes);
    Memory { total_bytes, available_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kib_become_bytes() {
        let got = parse("MemTotal:       24684084 kB\nMemFree: 1 kB\nMemAvailable:   23718124 kB\n");
        assert_eq!(got, Memory { total_bytes: 24684084 << 10, available_bytes: 23718124 << 10 });
    }

    #[test]
    fn odd_files_are_survived() {
        assert_eq!(parse(""), Memory::default());
        assert_eq!(parse("MemTotal: many kB\nMemFree: 5 kB"), Memory::default());
        assert_eq!(parse("MemTotal: 8 kB\nMemFree: 5 kB").available_bytes, 5 << 10);
    }
}
