//! Everything that answers strangers, asked what no client would ask: the public RPCs and routes of the vDC, as its own
//! table names them, and all that a host's daemon serves to whoever connects.
//!
//! ```text
//!   seed, number ─▶ case (shape, http2) ─▶ wire: TLS on loopback ─▶ judge ─▶ findings, each with seed and number
//! ```
//! What must hold, whatever is sent: nobody panics, an answer comes, it is never a 5xx, refusals carry a code and tell
//! nothing of what is inside; and afterwards everything works as before. Fuzzing by coverage would need a nightly
//! compiler; this knows the contract instead.

mod case;
mod http2;
mod judge;
mod shape;
mod wire;

pub use case::Case;
pub use wire::{Answer, Got, exchange};

use crate::cluster::Cluster;
use crate::measure::usage;
use case::Bombs;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use quantix_control::api::table::{Need, ROUTES, RPCS};
use rand::Rng as _;
use rand::rngs::StdRng;
use rustls::ClientConfig;
use shape::Words;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Cases under way at once.
const AT_ONCE: u64 = 8;
/// A bomb unpacks to so much.
const BOMB_MIB: usize = 256;
/// What both daemons and the fuzzer may take more than before, at any moment.
pub const GROWTH_BYTES_MAX: u64 = 400 << 20;
/// Findings kept; more of them say nothing new.
const FINDINGS_MAX: usize = 50;

/// What a host's daemon serves: all of it, for strangers must be refused where they are not served.
const OF_NODE: [(&str, &str); 12] = [
    ("GET", "/api/v1/registration/ping"),
    ("GET", "/api/v1/registration/token"),
    ("GET", "/api/v1/registration/discovery"),
    ("POST", "/api/v1/registration/complete"),
    ("HEAD", "/api/v1/uploads/a/b"),
    ("PATCH", "/api/v1/uploads/a/b"),
    ("GET", "/api/v1/pools/a/files"),
    ("GET", "/api/v1/console/a"),
    ("GET", "/metrics"),
    ("POST", "/quantix.node.v1.NodeService/Leave"),
    ("POST", "/quantix.node.v1.NodeService/DeleteVm"),
    ("GET", "/nothing"),
];

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The vDC.
    Vdc,
    /// A host's daemon.
    Node,
}

/// A route that is no RPC.
#[derive(Clone, Debug)]
pub struct Route {
    method: String,
    path: String,
    at: Target,
}

/// All that is asked, and with what.
pub struct Targets {
    vdc: SocketAddr,
    node: SocketAddr,
    tls: Arc<ClientConfig>,
    tls_http2: Arc<ClientConfig>,
    rpcs: Vec<(String, MessageDescriptor)>,
    routes: Vec<Route>,
    /// Of everything above.
    paths: Vec<String>,
    words: Words,
    /// A good registration token of the host.
    bearer: String,
    bombs: Bombs,
    /// What no answer may hold.
    secrets: Vec<String>,
}

impl Targets {
    /// Those of a cluster whose host is not registered yet. `join`: a good join token.
    ///
    /// # Panics
    /// When a public RPC is not in the contract.
    pub async fn of(cluster: &Cluster, join: &str) -> Targets {
        let pool = DescriptorPool::decode(quantix_contract::DESCRIPTOR_SET).expect("our own contract reads");
        let rpcs = RPCS.iter().filter(|(_, need, _)| *need == Need::Public);
        let rpcs: Vec<(String, MessageDescriptor)> =
            rpcs.map(|(path, ..)| ((*path).to_owned(), input_of(&pool, path))).collect();
        let bearer = cluster.host_token().await;
        let routes = routes();
        let paths = rpcs.iter().map(|(path, _)| path.clone()).chain(routes.iter().map(|r| r.path.clone()));
        let node = cluster.host_url();
        let secret = |token: &str| token.split('.').nth(1).unwrap_or(token).to_owned();
        let csr = rcgen::KeyPair::generate().ok().and_then(|key| {
            let params = rcgen::CertificateParams::new(vec!["fuzz".to_owned()]).ok()?;
            Some(params.serialize_request(&key).ok()?.der().to_vec())
        });
        let texts = [("secret", secret(join)), ("user_name", "admin".into()), ("name", "fuzz-1".into())];
        let words = Words {
            texts: texts.map(|(field, text)| (field.to_owned(), text)).to_vec(),
            bytes: csr.into_iter().collect(),
        };
        Targets {
            vdc: cluster.config.listen,
            node: node.trim_start_matches("https://").parse().expect("an address of loopback"),
            tls: wire::tls(b"http/1.1"),
            tls_http2: wire::tls(b"h2"),
            paths: paths.collect(),
            rpcs,
            routes,
            words,
            secrets: vec![
                secret(join),
                secret(&bearer),
                cluster.folder().display().to_string(),
                crate::rig::PASSWORD.into(),
            ],
            bearer,
            bombs: Bombs::new(BOMB_MIB),
        }
    }

    fn either(&self, dice: &mut StdRng) -> Target {
        if dice.random_bool(0.7) { Target::Vdc } else { Target::Node }
    }

    /// So many cases go once through every endpoint.
    fn sweep(&self) -> u64 {
        (self.rpcs.len() + self.routes.len()) as u64
    }

    /// Every endpoint that must have been asked.
    pub fn endpoints(&self) -> &[String] {
        &self.paths
    }
}

fn input_of(pool: &DescriptorPool, path: &str) -> MessageDescriptor {
    let (service, method) =
        path.trim_start_matches('/').split_once('/').expect("a row names service and method");
    let service =
        pool.get_service_by_name(service).unwrap_or_else(|| panic!("{path} is not in the contract"));
    let method = service.methods().find(|m| m.name() == method);
    method.unwrap_or_else(|| panic!("{path} is not in the contract")).input()
}

fn routes() -> Vec<Route> {
    let mut all = Vec::new();
    for (methods, path, need, _) in ROUTES {
        let path = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        // The others must refuse a stranger before they read anything: asked less often.
        if *need == Need::Public || methods.len() > 1 {
            let route =
                |m: &http::Method| Route { method: m.to_string(), path: path.clone(), at: Target::Vdc };
            all.extend(methods.iter().map(route));
        }
    }
    all.extend(OF_NODE.map(|(m, p)| Route { method: m.into(), path: p.into(), at: Target::Node }));
    all
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// With the seed it says which case it was.
    pub number: u64,
    /// How the case was made, and for what.
    pub case: String,
    /// What is wrong.
    pub what: String,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cases sent.
    pub cases: u64,
    /// Answers by status; 0: none.
    pub statuses: BTreeMap<u16, u64>,
    /// Cases by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Whole cases by path.
    pub asked: BTreeMap<String, u64>,
    /// What must not be.
    pub findings: Vec<Finding>,
    /// Longest wait for an answer to a whole request.
    pub slowest: Duration,
    /// Memory at its highest, above what it was before.
    pub growth_bytes: u64,
}

impl Outcome {
    fn add(&mut self, case: &Case, got: &Got, took: Duration, wrong: Option<String>) {
        self.cases += 1;
        let status = if let Got::Answer(answer) = got { answer.status } else { 0 };
        *self.statuses.entry(status).or_default() += 1;
        *self.kinds.entry(case.kind).or_default() += 1;
        if case.is_whole {
            *self.asked.entry(case.about.split('?').next().unwrap_or_default().to_owned()).or_default() += 1;
            self.slowest = self.slowest.max(took);
        }
        if let Some(what) = wrong
            && self.findings.len() < FINDINGS_MAX
        {
            let case_text = format!("{} {:?} {}", case.kind, case.at, case.about);
            self.findings.push(Finding { number: case.number, case: case_text, what });
        }
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics of any thread since this was called first.
pub fn panics() -> u64 {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(info);
        }));
    });
    PANICS.load(Ordering::Relaxed)
}

/// Sends cases from `first` on until the time is over, but those that go through every endpoint whatever the time; `count`
/// at most.
pub async fn run(targets: Arc<Targets>, seed: u64, first: u64, count: u64, time: Duration) -> Outcome {
    let panics_before = panics();
    let before = usage(std::process::id()).resident_bytes;
    let (next, end) = (Arc::new(AtomicU64::new(first)), Instant::now() + time);
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE.min(count) {
        let (targets, next, outcome) = (Arc::clone(&targets), Arc::clone(&next), Arc::clone(&outcome));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let is_late = Instant::now() >= end && number >= targets.sweep();
                if is_late || number - first >= count {
                    return;
                }
                let case = Case::make(&targets, seed, number);
                let begun = Instant::now();
                let got = wire::exchange(&targets, &case).await;
                let wrong = judge::judge(&targets, &case, &got);
                let now = usage(std::process::id()).resident_bytes;
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.growth_bytes = outcome.growth_bytes.max(now.saturating_sub(before));
                outcome.add(&case, &got, begun.elapsed(), wrong);
            }
        });
    }
    while workers.join_next().await.is_some() {}
    let mut outcome = std::mem::take(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner));
    let panicked = panics() - panics_before;
    if panicked > 0 {
        let what = format!("{panicked} panics; their words stand above");
        outcome.findings.push(Finding { number: first, case: "all".into(), what });
    }
    if outcome.growth_bytes > GROWTH_BYTES_MAX {
        let what = format!("{} MiB more memory than before", outcome.growth_bytes >> 20);
        outcome.findings.push(Finding { number: first, case: "all".into(), what });
    }
    outcome
}
