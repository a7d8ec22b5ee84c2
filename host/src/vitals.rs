//! Moving figures of the machine. CPU use is a ratio between two readings, so the reader keeps the last one.

use crate::{memory, tree};
use quantix_model::host::Vitals;
use std::path::PathBuf;

/// Reads vitals again and again.
#[derive(Debug)]
pub struct VitalsReader {
    root: PathBuf,
    last: CpuTicks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTicks {
    busy: u64,
    total: u64,
}

impl VitalsReader {
    /// A reader of the machine beneath `root`, which is `/` outside tests.
    pub fn new(root: impl Into<PathBuf>) -> VitalsReader {
        let root = root.into();
        let last = ticks(&tree::text(&root, "proc/stat"));
        VitalsReader { root, last }
    }

    /// Figures now; CPU use since the reading before (or since `new`). Takes well under a millisecond.
    pub fn read(&mut self) -> Vitals {
        let now = ticks(&tree::text(&self.root, "proc/stat"));
        let busy = now.busy.saturating_sub(self.last.busy);
        let total = now.total.saturating_sub(self.last.total);
        self.last = now;
        let memory = memory::read(&self.root);
        let first = |path: &str| {
            let line = tree::line(&self.root, path);
            let number: Option<f64> = line.split(' ').next().and_then(|n| n.parse().ok());
            number.filter(|n| n.is_finite() && *n >= 0.0).unwrap_or(0.0)
        };
        Vitals {
            cpu_used_ratio: if total == 0 { 0.0 } else { (busy as f64 / total as f64).clamp(0.0, 1.0) },
            memory_total_bytes: memory.total_bytes,
            memory_used_bytes: memory.total_bytes - memory.available_bytes,
            load_1m: first("proc/loadavg"),
            uptime_seconds: first("proc/uptime") as u64,
        }
    }
}

/// The `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal (guest time is in user already).
fn ticks(stat: &str) -> CpuTicks {
    let line = stat.lines().find_map(|l| l.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().take(8).map(|f| f.parse().unwrap_or(0)).collect();
    let total = fields.iter().fold(0u64, |sum, f| sum.saturating_add(*f));
    let idle = fields.iter().skip(3).take(2).fold(0u64, |sum, f| sum.saturating_add(*f));
    CpuTicks { busy: total - idle, total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn record(root: &Path, stat: &str) {
        std::fs::create_dir_all(root.join("proc")).unwrap();
        std::fs::write(root.join("proc/stat"), stat).unwrap();
        std::fs::write(root.join("proc/meminfo"), "MemTotal: 100 kB\nMemAvailable: 25 kB\n").unwrap();
        std::fs::write(root.join("proc/loadavg"), "0.52 0.41 0.30 1/100 4242\n").unwrap();
        std::fs::write(root.join("proc/uptime"), "1234.56 2000.00\n").unwrap();
    }

    #[test]
    fn cpu_is_a_ratio_between_readings() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n");
        let mut reader = VitalsReader::new(dir.path());
        assert_eq!(reader.read().cpu_used_ratio, 0.0);
        record(dir.path(), "cpu  175 0 100 725 100 0 0 0 0 0\n");
        let got = reader.read();
        assert_eq!(got.cpu_used_ratio, 0.75);
        assert_eq!((got.memory_total_bytes, got.memory_used_bytes), (100 << 10, 75 << 10));
        assert_eq!((got.load_1m, got.uptime_seconds), (0.52, 1234));
        record(dir.path(), "cpu  1 0 0 0 0 0 0 0\n");
        assert_eq!(reader.read().cpu_used_ratio, 0.0, "a counter that went back counts as nothing");
    }

    #[test]
    fn nothing_to_read_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(VitalsReader::new(dir.path()).read(), Vitals::default());
    }

    #[test]
    fn this_machine_is_alive() {
        let got = VitalsReader::new("/").read();
        assert!(got.memory_total_bytes > got.memory_used_bytes && got.uptime_seconds > 0);
        assert!((0.0..=1.0).contains(&got.cpu_used_ratio));
    }
}
