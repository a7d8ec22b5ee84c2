//! A vDC under a whole fleet: beats, lists beside them, memory, writes, and a restart with all of it in the store.
//!
//! `fleet [--hosts N] [--pools P] [--vms-per-host V] [--rack-hosts R] [--store sqlite|postgresql] [--seconds S]
//! [--lists PER_SECOND]`. Prints one line of a table. Waits are measured at the host and at the client, in a process
//! that shares the machine with the vDC.

#[path = "../../../../store/tests/it/postgres.rs"]
mod postgres;

use prometheus_parse::Value;
use quantix_client::VdcClient;
use quantix_contract::quantix::list::v1::{Order, SortBy};
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::fleet::plan::{Plan, Troubles};
use quantix_lab::fleet::seed::Size;
use quantix_lab::fleet::vdc::FleetVdc;
use quantix_lab::fleet::{Counts, Fleet, LINES_MAX};
use quantix_lab::measure::{Usage, mib, usage};
use quantix_lab::rig;
use quantix_model::Fault;
use quantix_model::host::BEAT_INTERVAL;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is measured.
struct Wish {
    size: Size,
    postgresql: bool,
    seconds: u64,
    lists_per_second: u32,
}

/// The vDC's own count (docs/guides/metrics.md).
const STORE_WRITES: &str = "quantix_store_writes_total";
/// Hosts begin spread over more than an interval, so that handshakes and first beats do not come all at once.
const RAMP: Duration = Duration::from_secs(45);
/// Hosts that begin within a second, in a large fleet.
const BEGIN_PER_SECOND: u32 = 80;
/// After the last host began, until its first beats are over.
const SETTLE: Duration = Duration::from_secs(40);

fn wish(words: &[String]) -> Result<Wish, String> {
    let (mut hosts, mut pools, mut vms, mut rack, mut seconds, mut lists) = (2500, 8, 20, 32, 120, 100);
    let mut postgresql = false;
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} needs a value", pair[0])) };
        let number = || value.parse::<u32>().map_err(|_| format!("{name}: `{value}` is no number"));
        match name.as_str() {
            "--hosts" => hosts = number()?,
            "--pools" => pools = number()?,
            "--vms-per-host" => vms = number()?,
            "--rack-hosts" => rack = number()?,
            "--seconds" => seconds = number()?,
            "--lists" => lists = number()?,
            "--store" if value == "sqlite" => postgresql = false,
            "--store" if value == "postgresql" => postgresql = true,
            _ => return Err(format!("{name} {value} is not understood")),
        }
    }
    let size = Size { rack_hosts: rack.max(1), ..Size::of(hosts, pools, vms) };
    Ok(Wish { size, postgresql, seconds: seconds.max(1).into(), lists_per_second: lists })
}

/// Prints the line, or says what is wrong and ends.
pub async fn fleet(words: &[String]) {
    let wish = wish(words).unwrap_or_else(|why| {
        eprintln!("{why}");
        std::process::exit(2);
    });
    if let Err(fault) = measure(&wish).await {
        eprintln!("{fault}\n{}", fault.remedy);
        std::process::exit(1);
    }
}

#[allow(clippy::print_stdout, reason = "the figures are the output")]
async fn measure(wish: &Wish) -> Result<(), Fault> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (folder, size) = (rig::folder(), wish.size);
    let database = wish.postgresql.then(postgres::Postgres::start);
    let url = database.as_ref().map(postgres::Postgres::url);
    let begun = Instant::now();
    let mut vdc = FleetVdc::start(folder.path(), url, size).await?;
    println!("fleet   seeded and serving after      {:.1} s", begun.elapsed().as_secs_f64());
    let client = vdc.sign_in().await?;
    let ramp = RAMP.max(Duration::from_secs((size.hosts / BEGIN_PER_SECOND).into()));
    let hosts = Fleet::start(&vdc.seeded, &vdc.url(), &Plan::new(size.hosts, &Troubles::default()), ramp);
    tokio::time::sleep(ramp + SETTLE).await;
    println!("fleet   after the first beats         {}", state(&hosts.counts, &vdc));
    let seen = watch(wish, &vdc, &client, &hosts.counts).await?;
    // The store as it is now, without the load of the hosts.
    hosts.stop().await;
    vdc.kill();
    let restart = vdc.start_vdc()?;
    let lines = (size.hosts as usize).min(LINES_MAX);
    println!("{HEAD}");
    println!("{}", seen.line(wish, lines, restart));
    Ok(())
}

fn state(counts: &Counts, vdc: &FleetVdc) -> String {
    let now = usage(vdc.process().pid());
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    format!(
        "{} beats, {} of them whole, {} failed; vDC RSS {}, {:.1} s of processor, {} files",
        count(&counts.answered),
        count(&counts.whole),
        count(&counts.failed),
        mib(now.resident_bytes),
        now.cpu.as_secs_f64(),
        now.files
    )
}

const HEAD: &str = "fleet | store | hosts × pools × VMs | lines | beats/s offered, sustained, failed | beat p50, p99 | \
                    lists/s | list p50, p99 | vDC RSS, peak | vDC CPU | store writes | restart";

/// What was seen while everything ran.
struct Seen {
    time: Duration,
    beats: Vec<Duration>,
    failed: u64,
    lists: Vec<Duration>,
    lists_failed: usize,
    before: Usage,
    after: Usage,
    /// Statements that changed rows.
    store_writes: f64,
}

/// How many statements of the vDC have changed rows.
async fn store_writes(vdc: &FleetVdc) -> Result<f64, Fault> {
    let scrape = vdc.scrape().await?;
    match scrape.samples.iter().find(|sample| sample.metric == STORE_WRITES).map(|sample| &sample.value) {
        Some(Value::Counter(count)) => Ok(*count),
        other => Err(Fault::internal(format!("{STORE_WRITES} is {other:?}"))),
    }
}

impl Seen {
    fn line(&self, wish: &Wish, lines: usize, restart: Duration) -> String {
        let seconds = self.time.as_secs_f64();
        let size = &wish.size;
        let store = if wish.postgresql { "postgresql" } else { "sqlite" };
        let offered = f64::from(size.hosts) / BEAT_INTERVAL.as_secs_f64();
        let vms_per_host = size.vms / size.hosts.max(1);
        let (before, after) = (&self.before, &self.after);
        let cpu = (after.cpu - before.cpu).as_secs_f64() / seconds * 100.0;
        let written = after.written_bytes.saturating_sub(before.written_bytes) as f64 / seconds;
        let writes = self.store_writes / seconds;
        format!(
            "fleet | {store} | {} × {} × {vms_per_host} | {lines} | {offered:.0}, {:.0}, {} | {} | {:.0} ({} failed) | {} | \
             {}, {} | {cpu:.0} % of one | {writes:.1}/s, {:.1} KiB/s | {} ms",
            size.hosts,
            size.pools_per_host,
            self.beats.len() as f64 / seconds,
            self.failed,
            parts(&self.beats),
            self.lists.len() as f64 / seconds,
            self.lists_failed,
            parts(&self.lists),
            mib(after.resident_bytes),
            mib(after.resident_bytes_max),
            written / 1024.0,
            restart.as_millis(),
        )
    }
}

fn parts(waits: &[Duration]) -> String {
    let mut sorted = waits.to_vec();
    sorted.sort();
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or_default();
    format!("{:.1}, {:.1} ms", at(50).as_secs_f64() * 1e3, at(99).as_secs_f64() * 1e3)
}

async fn watch(wish: &Wish, vdc: &FleetVdc, client: &VdcClient, counts: &Counts) -> Result<Seen, Fault> {
    let (pid, writes_before) = (vdc.process().pid(), store_writes(vdc).await?);
    let failed_before = counts.failed.load(Ordering::Relaxed);
    drop(counts.take_waits());
    let (begun, before) = (Instant::now(), usage(pid));
    let (lists, lists_failed) = ask(wish, client, begun + Duration::from_secs(wish.seconds)).await;
    let (time, beats, after) = (begun.elapsed(), counts.take_waits(), usage(pid));
    let failed = counts.failed.load(Ordering::Relaxed) - failed_before;
    let store_writes = store_writes(vdc).await? - writes_before;
    Ok(Seen { time, beats, failed, lists, lists_failed, before, after, store_writes })
}

/// Asks for pages of VMs at a steady pace, whether those before were answered or not.
async fn ask(wish: &Wish, client: &VdcClient, until: Instant) -> (Vec<Duration>, usize) {
    let waits = Arc::new(Mutex::new((Vec::new(), 0)));
    let pause = Duration::from_secs(1) / wish.lists_per_second.max(1);
    let mut tick = tokio::time::interval(pause);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut asked = tokio::task::JoinSet::new();
    let mut n: u32 = 0;
    while Instant::now() < until {
        let due = tick.tick().await.into_std();
        if wish.lists_per_second == 0 {
            continue;
        }
        let (client, waits, request) = (client.clone(), Arc::clone(&waits), page(n, wish.size.vms));
        n = n.wrapping_add(1);
        asked.spawn(async move {
            let answer = client.vms().list_vms(request).await;
            let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(_) => waits.0.push(due.elapsed()),
                Err(_) => waits.1 += 1,
            }
        });
        while asked.try_join_next().is_some() {}
    }
    while asked.join_next().await.is_some() {}
    std::mem::take(&mut *waits.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What people ask for: all, a role, part of a number, something that is not there; in every order.
fn page(n: u32, vms: u32) -> vm::ListVmsRequest {
    let filter = match n % 5 {
        0 => String::new(),
        1 => "web".into(),
        2 => format!("-{:04}", n.wrapping_mul(7919) % vms.max(1) / 100),
        3 => format!("{:03}", n.wrapping_mul(104_729) % 1000),
        _ => format!("nobody-{n}"),
    };
    let by = [SortBy::SORT_BY_NAME, SortBy::SORT_BY_CREATED, SortBy::SORT_BY_VCPUS, SortBy::SORT_BY_MEMORY];
    let order =
        Order { by: by[n as usize / 5 % by.len()].into(), descending: n / 20 % 2 == 1, ..Default::default() };
    vm::ListVmsRequest { filter, page_size: 100, order: order.into(), ..Default::default() }
}
