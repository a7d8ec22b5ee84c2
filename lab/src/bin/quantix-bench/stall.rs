//! What others notice of one pool that hangs: the real vDC and the real node daemon, one healthy pool and one whose
//! file system never answers, healthy and hanging by turns, so that both meet the same machine.

use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::cluster::Cluster;
use quantix_lab::measure::{Figures, ratio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const CALLS: usize = 600;
/// Somebody keeps asking for the pool in question, in both states.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// What one round saw.
struct Round {
    median: Duration,
    p99: Duration,
    /// Between two beats of the host, on average.
    beat: Duration,
}

/// Prints p50, p99 and the time between beats, healthy and hanging.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
pub async fn stall() {
    let cluster = Cluster::start().await;
    let (good, bad) = (cluster.pool("good").await, cluster.pool("bad").await);
    let shelf = cluster.shelf(&bad);
    let mut seen: [[Figures; 3]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for hangs in [false, true] {
            shelf.stall(hangs);
            let phase =
                if hangs { pool::PoolPhase::POOL_PHASE_ERROR } else { pool::PoolPhase::POOL_PHASE_READY };
            cluster.pool_in(&bad, phase).await;
            let round = round(&cluster, &good, &bad).await;
            let [median, p99, beat] = &mut seen[usize::from(hangs)];
            median.add(round.median);
            p99.add(round.p99);
            beat.add(round.beat);
        }
    }
    shelf.stall(false);
    for (at, what) in
        ["median of others' calls", "p99 of others' calls", "between two beats"].iter().enumerate()
    {
        let (healthy, hanging) = (&seen[0][at], &seen[1][at]);
        println!("stall   {what:<24} healthy  {:.2?}", healthy.median());
        println!("stall   {what:<24} hanging  {:.2?}", hanging.median());
        println!("stall   {what:<24} ratio    {}", ratio(hanging.median(), healthy.median()));
    }
}

async fn round(cluster: &Cluster, good: &str, bad: &str) -> Round {
    let over = AtomicBool::new(false);
    let nag = async {
        while !over.load(Ordering::Relaxed) {
            let request = pool::ListFilesRequest { pool_id: bad.into(), ..Default::default() };
            // Its answer or its refusal: either is fine here.
            let _ = cluster.client.pools().list_files(request).await;
            tokio::time::sleep(ASKED_EVERY).await;
        }
    };
    let work = async {
        let seen = ask(cluster, good).await;
        over.store(true, Ordering::Relaxed);
        seen
    };
    tokio::join!(nag, work).1
}

async fn ask(cluster: &Cluster, good: &str) -> Round {
    let (mut waits, mut beats) = (Vec::with_capacity(CALLS), Vec::new());
    let whole = Instant::now();
    for _ in 0..CALLS {
        let begin = Instant::now();
        let files = pool::ListFilesRequest { pool_id: good.into(), ..Default::default() };
        cluster.ok(cluster.client.pools().list_files(files).await);
        cluster.ok(cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await);
        let hosts = cluster.ok(cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await);
        waits.push(begin.elapsed());
        let seen_at = hosts.into_owned().hosts.into_iter().next().map(|h| h.observed_at.as_option().cloned());
        beats.push(seen_at);
    }
    let whole = whole.elapsed();
    beats.dedup();
    waits.sort();
    let beat_count = u32::try_from(beats.len().saturating_sub(1)).unwrap_or(u32::MAX).max(1);
    Round { median: waits[CALLS / 2], p99: waits[CALLS * 99 / 100], beat: whole / beat_count }
}
