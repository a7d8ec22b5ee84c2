//! Every figure a host tells. `docs/guides/metrics.md` lists the same: a test compares them.

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
    figure("process_cpu_seconds_total", "counter", "", "Processor time of the daemon, in seconds."),
    figure("process_max_fds", "gauge", "", "Files the daemon may have open."),
    figure("process_open_fds", "gauge", "", "Files the daemon has open."),
    figure("process_resident_memory_bytes", "gauge", "", "Memory of the daemon that is in RAM."),
    figure("process_start_time_seconds", "gauge", "", "Start of the daemon, in seconds since 1970."),
    figure("process_threads", "gauge", "", "Threads of the daemon."),
    figure("process_virtual_memory_bytes", "gauge", "", "Address space of the daemon."),
    figure(
        "quantix_node_beat_duration_seconds",
        "histogram",
        "",
        "Time from sending a beat to the vDC's answer.",
    ),
    figure("quantix_node_beats_total", "counter", "outcome", "Beats: sent (and answered) or failed."),
    figure("quantix_node_build_info", "gauge", "version", "Always 1; the label says which release this is."),
    figure("quantix_node_cpu_used_ratio", "gauge", "", "Share of the host's processors in use, 0 to 1."),
    figure("quantix_node_load1", "gauge", "", "Load average over one minute."),
    figure("quantix_node_memory_total_bytes", "gauge", "", "Memory of the host."),
    figure("quantix_node_memory_used_bytes", "gauge", "", "Memory of the host in use."),
    figure(
        "quantix_node_pool_available_bytes",
        "gauge",
        "pool, name",
        "Bytes that can still be written; absent while not known.",
    ),
    figure(
        "quantix_node_pool_call_duration_seconds",
        "histogram",
        "call",
        "Time of a call to a pool's worker, its wait included.",
    ),
    figure(
        "quantix_node_pool_calls_total",
        "counter",
        "call, result",
        "Calls to pools' workers by result: ok or the fault's code.",
    ),
    figure("quantix_node_pool_healthy", "gauge", "pool, name", "1 while the pool is healthy, else 0."),
    figure(
        "quantix_node_pool_total_bytes",
        "gauge",
        "pool, name",
        "Size of the pool; absent while not known.",
    ),
    figure(
        "quantix_node_pool_used_bytes",
        "gauge",
        "pool, name",
        "Bytes used in the pool; absent while not known.",
    ),
    figure(
        "quantix_node_pool_workers_abandoned",
        "gauge",
        "pool, name",
        "Workers killed that the kernel has not let go.",
    ),
    figure("quantix_node_vm_call_duration_seconds", "histogram", "call", "Time of a call to the hypervisor."),
    figure(
        "quantix_node_vm_calls_total",
        "counter",
        "call, result",
        "Calls to the hypervisor by result: ok or the fault's code.",
    ),
    figure(
        "quantix_node_vm_cpu_seconds_total",
        "counter",
        "vm, name",
        "Processor time of a running VM since its start.",
    ),
    figure(
        "quantix_node_vm_memory_used_bytes",
        "gauge",
        "vm, name",
        "Memory of a running VM that is in RAM.",
    ),
    figure(
        "quantix_node_vm_running",
        "gauge",
        "vm, name",
        "1 while the VM runs, is paused or shuts down, else 0.",
    ),
    figure(
        "quantix_node_vms_known",
        "gauge",
        "",
        "1 while the hypervisor answers; figures of VMs are absent while it does not.",
    ),
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
        let part = guide.split("\n## ").find(|part| part.starts_with("Figures of a host")).unwrap();
        let rows: Vec<&str> = part.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |f: &Figure| format!("| `{}` | {} | {} | {} |", f.name, f.kind, f.labels, f.help);
        assert_eq!(rows, TABLE.iter().map(row).collect::<Vec<_>>());
    }
}
