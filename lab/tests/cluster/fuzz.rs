//! A short run of the fuzzer over everything that answers strangers, and proof that all works afterwards. Longer runs:
//! `./x fuzz --seconds 600`. A finding prints seed and case; `./x fuzz --seed S --case N` repeats it.

use quantix_contract::quantix::join_token::v1::CreateJoinTokenRequest;
use quantix_contract::quantix::session::v1::LoginRequest;
use quantix_lab::cluster::Cluster;
use quantix_lab::fuzz::{self, Targets};
use quantix_lab::rig::PASSWORD;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Enough for every endpoint many times over; a slow machine sends fewer.
const CASES: u64 = 4000;
const TIME: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_strangers_send_is_answered_and_breaks_nothing() {
    let cluster = Cluster::apart().await;
    let wish = CreateJoinTokenRequest { uses: 1000, ..Default::default() };
    let join = cluster.ok(cluster.client.join_tokens().create_join_token(wish).await).into_owned().token;
    let targets = Arc::new(Targets::of(&cluster, &join).await);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
    let outcome = fuzz::run(Arc::clone(&targets), seed, 0, CASES, TIME).await;
    eprintln!("seed {seed}: {} cases, slowest {:?}", outcome.cases, outcome.slowest);
    eprintln!("by status {:?}\nby kind {:?}", outcome.statuses, outcome.kinds);
    for finding in &outcome.findings {
        eprintln!("seed {seed} case {}: {}\n    {}", finding.number, finding.case, finding.what);
    }
    assert!(outcome.findings.is_empty(), "{} findings with seed {seed}", outcome.findings.len());
    for path in targets.endpoints() {
        assert!(outcome.asked.contains_key(path), "{path} was never asked");
    }
    // As before: the vDC answers and takes a good password, the host answers and is added.
    let healthz = cluster.http("GET", "/healthz", &[], b"", 0).await;
    assert_eq!(healthz.status, 200, "{}", healthz.body);
    // All of it came from the address that signs in now, and wrong attempts are held against it for a while.
    cluster.travel(Duration::from_secs(3600));
    let login = LoginRequest { user_name: "admin".into(), password: PASSWORD.into(), ..Default::default() };
    cluster.ok(cluster.client.sessions().login(login).await);
    let token = cluster.host_token().await;
    let probed = cluster.probe(&cluster.host_url(), &token).await.expect("the host answers as before");
    cluster.ok(cluster.add_host(&probed, "host-1").await);
    cluster.host_ready().await;
}
