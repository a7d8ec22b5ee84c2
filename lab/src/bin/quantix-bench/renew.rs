//! What a host's renewal costs the vDC, and how renewals of ten thousand hosts fall over the day.
//!
//! The cost is measured: real certificates over real mutual TLS, a new connection each, as after a renewal. When each of
//! the hosts renews is computed by the daemon's own function; nothing is waited for.

use quantix_client::VdcClient;
use quantix_client::tls::{CertificateFacts, Fingerprint, Identity, mutual_client};
use quantix_contract::quantix::node::v1::RenewCertificateRequest;
use quantix_control::services::pace::{self, Pace};
use quantix_control::{Config, serve};
use quantix_lab::fleet::seed::{SeededHost, Size};
use quantix_lab::fleet::vdc::FleetVdc;
use quantix_lab::measure::{Figures, usage};
use quantix_model::id::HostId;
use quantix_model::{Fault, UnixMs};
use quantix_node::renewal;
use quantix_store::HostRecord;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Hosts whose renewals are measured, one after the other as the vDC lets them through.
const MEASURED: u32 = 150;
/// Hosts that are computed.
const HOSTS: u32 = 10_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Hosts notice that it is time when a beat is answered.
const BEAT_MS: i64 = 30_000;

/// Prints cost and peaks.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
pub async fn renew(dir: &Path) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut vdc = FleetVdc::start(dir, None, Size::of(MEASURED, 1, 0)).await.expect("a vDC starts");
    vdc.kill();
    age(dir, &vdc.seeded.hosts).await;
    vdc.start_vdc().expect("a vDC starts");
    let pid = vdc.process().pid();
    let (before, mut waits) = (usage(pid).cpu, Figures::default());
    for host in &vdc.seeded.hosts {
        let begun = Instant::now();
        renew_once(host, &vdc).await;
        waits.add(begun.elapsed());
        tokio::time::sleep(pace::EVERY).await;
    }
    let cost = (usage(pid).cpu - before) / MEASURED;
    println!("renew   handshake and renewal        {waits}");
    println!("renew   processor time of the vDC    {:.2} ms each", cost.as_secs_f64() * 1e3);
    let mut dice = StdRng::seed_from_u64(1);
    let hosts: Vec<HostId> = (0..HOSTS).map(|_| quantix_control::ids::host()).collect();
    let at_once: Vec<i64> = hosts.iter().map(|_| 0).collect();
    let over_weeks: Vec<i64> = hosts.iter().map(|_| dice.random_range(0..60 * DAY_MS)).collect();
    let plain = |enrolled: &[i64]| -> Vec<i64> {
        hosts.iter().zip(enrolled).map(|(host, from)| renewal::due(&facts(*from), None, *host).0).collect()
    };
    print("all enrolled in one moment", &plain(&at_once), cost);
    print("enrolled over two months", &plain(&over_weeks), cost);
    let told = UnixMs(5 * DAY_MS);
    let rotated = hosts.iter().map(|host| renewal::due(&facts(0), Some(told), *host).0).collect::<Vec<_>>();
    print("a new authority signs", &rotated, cost);
    let back = 71 * DAY_MS;
    let planned = hosts.iter().zip(plain(&over_weeks));
    let missed: Vec<HostId> =
        planned.filter(|(_, at)| (back - DAY_MS..back).contains(at)).map(|(host, _)| *host).collect();
    print_noticed("the vDC was away for a day", &late(&missed, back), cost);
    print_noticed("all are late", &late(&hosts, back), cost);
}

/// When hosts that missed their moments are let through: they ask with the first beat that is answered, and those who
/// are too many ask again.
fn late(hosts: &[HostId], back: i64) -> Vec<i64> {
    let (pace, mut dice) = (Pace::default(), StdRng::seed_from_u64(3));
    // Each with the phase of its beats.
    let first = hosts.iter().map(|host| (back + dice.random_range(0..BEAT_MS), *host));
    let mut asks: BTreeSet<(i64, HostId)> = first.collect();
    let mut through = Vec::new();
    while let Some((at, host)) = asks.pop_first() {
        if pace.take(UnixMs(at)).is_ok() {
            through.push(at);
        } else {
            let again = renewal::again(host, UnixMs(at)).0;
            asks.insert((at + (again - at + BEAT_MS - 1) / BEAT_MS * BEAT_MS, host));
        }
    }
    through
}

/// Who has a new certificate is given the same again: on record all are two months old.
async fn age(dir: &Path, hosts: &[SeededHost]) {
    let store = serve::open_store(&Config::new(dir.join("vdc"))).await.expect("the store opens");
    for host in hosts {
        let change = |record: &mut HostRecord| {
            record.certificate_expires_at.0 -= 60 * DAY_MS;
            Ok::<(), Fault>(())
        };
        store.host_update(host.id, change).await.expect("the store takes it");
    }
    store.close().await;
}

async fn renew_once(host: &SeededHost, vdc: &FleetVdc) {
    let identity =
        Identity::from_pem(&host.certificate_pem, &host.key_pem).expect("a seeded host's identity");
    let public_key_der = CertificateFacts::read(identity.leaf_der()).expect("it reads").spki_der;
    let tls = mutual_client(&identity, &vdc.seeded.ca_pem).expect("our own authority is good");
    let line = VdcClient::for_host(&vdc.url(), tls).expect("the address is good");
    let request = RenewCertificateRequest { public_key_der, ..Default::default() };
    let answer = line.renew_certificate(request).await;
    assert!(answer.is_ok_and(|a| a.certificate_pem.contains("CERTIFICATE")), "it is renewed");
}

fn facts(from: i64) -> CertificateFacts {
    CertificateFacts {
        key_fingerprint: Fingerprint([0; 32]),
        spki_der: Vec::new(),
        dns_names: Vec::new(),
        not_before: UnixMs(from),
        not_after: UnixMs(from + 90 * DAY_MS),
    }
}

fn print(what: &str, at: &[i64], cost: Duration) {
    let mut dice = StdRng::seed_from_u64(2);
    // Each host looks at its own beats.
    let noticed: Vec<i64> = at.iter().map(|at| at + dice.random_range(0..BEAT_MS)).collect();
    print_noticed(what, &noticed, cost);
}

/// The busiest minute and ten seconds.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
fn print_noticed(what: &str, noticed: &[i64], cost: Duration) {
    let days = |ms: i64| ms as f64 / DAY_MS as f64;
    let span = noticed.iter().max().copied().unwrap_or(0) - noticed.iter().min().copied().unwrap_or(0);
    let share = |window_ms: i64| {
        let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
        for at in noticed {
            *counts.entry(at / window_ms).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        (most, (cost * most).as_secs_f64() / (window_ms as f64 / 1e3) * 100.0)
    };
    let ((minute, minute_share), (ten, ten_share)) = (share(60_000), share(10_000));
    println!(
        "renew   {what:<28} {} hosts within {:.2} days; busiest minute {minute}, {minute_share:.2} % of one \
         processor; busiest 10 s {ten}, {ten_share:.2} %",
        noticed.len(),
        days(span)
    );
}
