//! Figures of vDC and host, scraped as Prometheus does, parsed, and held against what was done.

use crate::wish;
use prometheus_parse::{Sample, Scrape, Value};
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_control::metrics::TABLE as VDC;
use quantix_control::services::scraper;
use quantix_lab::cluster::{Answer, Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;
use quantix_node::metrics::TABLE as NODE;
use quantix_store::Store;
use std::collections::BTreeSet;

/// Statements of the store, and of them those that change rows.
const STATEMENTS: &str = "quantix_store_query_duration_seconds";
const WRITES: &str = "quantix_store_writes_total";

/// A scrape whose every line was understood.
fn parse(answer: &Answer) -> Scrape {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let plain = answer.body.lines().filter(|line| !line.starts_with('#')).count();
    let lines = answer.body.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).unwrap();
    assert!(plain >= scrape.samples.len() && !scrape.samples.is_empty());
    scrape
}

/// Adds up the samples of this name with these labels.
fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&Sample| {
        sample.metric == name && labels.iter().all(|(key, value)| sample.labels.get(key) == Some(value))
    };
    let number = |sample: &Sample| match &sample.value {
        Value::Counter(n) | Value::Gauge(n) | Value::Untyped(n) => *n,
        Value::Histogram(counts) => counts.last().map_or(0.0, |all| all.count),
        Value::Summary(_) => panic!("there are no summaries"),
    };
    scrape.samples.iter().filter(fits).map(number).sum()
}

/// Every family that is told stands in the table, with its kind; `rare` ones need not be told each time.
fn check_table(text: &str, table: &BTreeSet<(String, String)>, rare: &[&str]) {
    let told: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert!(told.is_subset(table), "not in the guide: {:?}", told.difference(table));
    let missing: Vec<_> =
        table.difference(&told).filter(|(name, _)| !rare.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "in the guide and not told: {missing:?}");
}

async fn scrape(cluster: &Cluster, path: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    cluster.http_as(&bearer, "GET", path, &[], b"", 0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_what_was_done() {
    let mut cluster = Cluster::start().await;
    let host = cluster.host_ready().await;
    let of_host = format!("/api/v1/hosts/{}/metrics", host.id);
    let early = scrape(&cluster, "/metrics", "qxm_nothing").await;
    assert!(early.status == 401 && early.body.contains("quantix-vdc metrics-token"), "{}", early.body);

    // As the command does it: beside the running vDC.
    let beside = Store::open_file(&cluster.config.data_dir.join("vdc.sqlite")).await.unwrap();
    let old = scraper::make_token(&beside).await.unwrap();
    let token = scraper::make_token(&beside).await.unwrap();
    beside.close().await;
    for path in ["/metrics", of_host.as_str()] {
        assert_eq!(scrape(&cluster, path, &old).await.status, 401, "a new token ends the one before");
        assert_eq!(cluster.http("GET", path, &[], b"", 0).await.status, 401, "a session is no scraper");
    }
    let rpc = scrape(&cluster, "/api/v1/openapi.json", &token).await;
    assert_eq!(rpc.status, 401, "the token opens nothing else");

    let pool_id = cluster.pool("main").await;
    let made = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) }).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    cluster.vm(wish("web-2", &pool_id)).await;
    let twice = Cluster::pool_wish("main", "/data/other", &host.id);
    let refused = cluster.refused(cluster.client.pools().create_pool(twice).await);
    assert_eq!(refused.code, FaultCode::NameTaken);

    let seen = until("the vDC counts both VMs", DEADLINE, async || {
        let seen = parse(&scrape(&cluster, "/metrics", &token).await);
        let both = value(&seen, "quantix_vms", &[("power_state", "off")]) == 1.0;
        both.then_some(seen)
    })
    .await;
    assert_eq!(value(&seen, "quantix_hosts", &[("phase", "ready")]), 1.0);
    assert_eq!(value(&seen, "quantix_hosts", &[]), 1.0);
    assert_eq!(value(&seen, "quantix_pools", &[("phase", "ready")]), 1.0);
    assert_eq!(value(&seen, "quantix_vms", &[("power_state", "running")]), 1.0);
    assert_eq!(value(&seen, "quantix_tasks", &[("state", "done")]), 3.0);
    let create = [("call", "pool.v1.PoolService/CreatePool")];
    assert_eq!(value(&seen, "quantix_requests_total", &create), 2.0);
    assert_eq!(value(&seen, "quantix_requests_total", &[create[0], ("status", "200")]), 1.0);
    assert_eq!(value(&seen, "quantix_request_duration_seconds", &create), 2.0);
    assert!(value(&seen, "quantix_beats_total", &[("outcome", "taken")]) >= 2.0);
    assert_eq!(value(&seen, "quantix_beats_total", &[("outcome", "refused")]), 0.0);
    assert!((5.0..value(&seen, STATEMENTS, &[]) - 15.0).contains(&value(&seen, WRITES, &[])));
    assert!(value(&seen, "process_resident_memory_bytes", &[]) > 1e6);
    assert!(!seen.samples.iter().any(|sample| sample.labels.values().any(|v| v.contains(&made.id))));
    let table = VDC.iter().map(|f| (f.name.to_owned(), f.kind.to_owned())).collect();
    check_table(&scrape(&cluster, "/metrics", &token).await.body, &table, &[]);

    let answer = scrape(&cluster, &of_host, &token).await;
    let told = parse(&answer);
    let this_pool = [("pool", pool_id.as_str()), ("name", "main")];
    assert_eq!(value(&told, "quantix_node_pool_healthy", &this_pool), 1.0);
    assert_eq!(value(&told, "quantix_node_pool_workers_abandoned", &this_pool), 0.0);
    let shown = cluster.pool_in(&pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
    let total = shown.capacity.as_option().unwrap().total_bytes;
    assert_eq!(value(&told, "quantix_node_pool_total_bytes", &this_pool), total as f64);
    let creates = [("call", "volume_create"), ("result", "ok")];
    assert_eq!(value(&told, "quantix_node_pool_calls_total", &creates), 2.0);
    assert_eq!(value(&told, "quantix_node_vm_calls_total", &[("call", "define"), ("result", "ok")]), 2.0);
    assert_eq!(value(&told, "quantix_node_vm_calls_total", &[("call", "start")]), 1.0);
    assert_eq!(value(&told, "quantix_node_vm_running", &[]), 1.0);
    assert_eq!(value(&told, "quantix_node_vm_running", &[("name", "web-1")]), 1.0);
    let sent = value(&told, "quantix_node_beats_total", &[("outcome", "sent")]);
    assert!(sent >= 2.0 && value(&told, "quantix_node_beat_duration_seconds", &[]) >= sent);
    let table = NODE.iter().map(|f| (f.name.to_owned(), f.kind.to_owned())).collect();
    check_table(&answer.body, &table, &[]);

    cluster.kill_node();
    let silent = scrape(&cluster, &of_host, &token).await;
    assert_eq!(silent.status, 503, "{}", silent.body);
    assert!(silent.body.contains("host-1"), "{}", silent.body);
}
