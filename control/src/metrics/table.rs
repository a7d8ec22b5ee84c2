//! Every figure the vDC tells. `docs/guides/metrics.md` lists the same: a test compares them.

/// One family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name, with its unit.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Labels, with a comma and a space between; empty for none.
    pub labels: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn figure(name: &'static str, kind: &'static str, labels: &'static str, help: &'static str) -> Figure {
    Figure { name, kind, labels, help }
}

/// By name.
pub const TABLE: &[Figure] = &[
    figure("process_cpu_seconds_total", "counter", "", "Processor time of the process, in seconds."),
    figure("process_max_fds", "gauge", "", "Files the process may have open."),
    figure("process_open_fds", "gauge", "", "Files the process has open."),
    figure("process_resident_memory_bytes", "gauge", "", "Memory of the process that is in RAM."),
    figure("process_start_time_seconds", "gauge", "", "Start of the process, in seconds since 1970."),
    figure("process_threads", "gauge", "", "Threads of the process."),
    figure("process_virtual_memory_bytes", "gauge", "", "Address space of the process."),
    figure(
        "quantix_beats_total",
        "counter",
        "outcome",
        "Beats of hosts: taken, late (a later one had come) or refused.",
    ),
    figure("quantix_build_info", "gauge", "version", "Always 1; the label says which release this is."),
    figure("quantix_hosts", "gauge", "phase", "Hosts by phase: pending, ready, degraded or disconnected."),
    figure("quantix_pools", "gauge", "phase", "Pools by phase: pending, ready, degraded, error or deleting."),
    figure("quantix_request_duration_seconds", "histogram", "call", "Time until the head of the answer."),
    figure("quantix_requests_total", "counter", "call, status", "Requests by call and HTTP status."),
    figure("quantix_store_query_duration_seconds", "histogram", "", "Time of a statement in the database."),
    figure(
        "quantix_store_query_failures_total",
        "counter",
        "",
        "Statements the database refused or did not answer.",
    ),
    figure("quantix_store_writes_total", "counter", "", "Statements that insert, update or delete rows."),
    figure(
        "quantix_tasks",
        "gauge",
        "state",
        "Tasks that are kept, by state: queued, running, done, failed or cancelled.",
    ),
    figure("quantix_vms", "gauge", "power_state", "VMs by power state; unknown while their host is silent."),
    figure("quantix_watch_streams", "gauge", "", "Pages and tools that watch for changes."),
];

/// What a figure says; empty for one that is not in the table, which a test finds.
pub(super) fn help(name: &str) -> &'static str {
    TABLE.iter().find(|figure| figure.name == name).map_or("", |figure| figure.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_lists_the_same() {
        let guide = include_str!("../../../docs/guides/metrics.md");
        let part = guide.split("\n## ").find(|part| part.starts_with("Figures of the vDC")).unwrap();
        let rows: Vec<&str> = part.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |f: &Figure| format!("| `{}` | {} | {} | {} |", f.name, f.kind, f.labels, f.help);
        assert_eq!(rows, TABLE.iter().map(row).collect::<Vec<_>>());
    }
}
