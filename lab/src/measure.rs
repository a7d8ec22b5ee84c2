//! Several runs, and what to quote of them: the median, with the extremes beside it.

use std::fmt;
use std::time::Duration;

/// Durations of equal runs.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Duration>);

impl Figures {
    /// Adds a run.
    pub fn add(&mut self, run: Duration) {
        self.0.push(run);
    }

    /// The middle run; zero when there was none.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |d: Option<&Duration>| d.map_or(0.0, Duration::as_secs_f64);
        write!(
            f,
            "median {:.3} s (min {:.3}, max {:.3}, {} runs)",
            self.median().as_secs_f64(),
            seconds(self.0.iter().min()),
            seconds(self.0.iter().max()),
            self.0.len()
        )
    }
}

/// What a process takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Its highest so far.
    pub resident_bytes_max: u64,
    /// User and system time since its start.
    pub cpu: Duration,
    /// Threads now.
    pub threads: u64,
    /// Open files now.
    pub files: u64,
    /// Handed to disks since its start.
    pub written_bytes: u64,
}

/// What a process takes now, from proc(5); zeros when it is gone.
pub fn usage(pid: u32) -> Usage {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // After the name in brackets: field 14 is user time, 15 system time, in hundredths of a second.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    Usage {
        written_bytes: written.and_then(|n| n.trim().parse().ok()).unwrap_or(0),
        resident_bytes: number("VmRSS:") * 1024,
        resident_bytes_max: number("VmHWM:") * 1024,
        cpu: Duration::from_millis((ticks(11) + ticks(12)) * 10),
        threads: number("Threads:"),
        files,
    }
}

/// `a` as so many times `b`.
pub fn ratio(a: Duration, b: Duration) -> String {
    if b.is_zero() { "no figure".into() } else { format!("{:.2}×", a.as_secs_f64() / b.as_secs_f64()) }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        let mut figures = Figures::default();
        for ms in [900, 100, 200] {
            figures.add(Duration::from_millis(ms));
        }
        assert_eq!(figures.median(), Duration::from_millis(200));
        assert_eq!(figures.to_string(), "median 0.200 s (min 0.100, max 0.900, 3 runs)");
        assert_eq!(ratio(Duration::from_secs(1), Duration::from_secs(2)), "0.50×");
    }
}
