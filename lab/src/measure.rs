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
