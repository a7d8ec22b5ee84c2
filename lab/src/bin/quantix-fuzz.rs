//! `quantix-fuzz [--seconds N] [--seed S] [--case N]`: the fuzzer for as long as wanted, or one of its cases alone.
//! Ends with failure when something was found. `./x fuzz` calls it.

use clap::Parser;
use quantix_contract::quantix::join_token::v1::CreateJoinTokenRequest;
use quantix_lab::cluster::Cluster;
use quantix_lab::fuzz::{self, Targets};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sends what no client would send to everything that answers strangers.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// As a finding names it; by the clock when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// This case alone, as a finding names it.
    #[arg(long)]
    case: Option<u64>,
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "the findings are the output")]
async fn main() -> ExitCode {
    let wish = Arguments::parse();
    let seed =
        wish.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs()));
    let (first, count) = wish.case.map_or((0, u64::MAX), |case| (case, 1));
    let cluster = Cluster::apart().await;
    let token = CreateJoinTokenRequest { uses: 1000, ..Default::default() };
    let join = cluster.ok(cluster.client.join_tokens().create_join_token(token).await).into_owned().token;
    let targets = Arc::new(Targets::of(&cluster, &join).await);
    if count == 1 {
        let case = fuzz::Case::make(&targets, seed, first);
        println!("{} {:?} {}", case.kind, case.at, case.about);
        println!("{:.4000}", String::from_utf8_lossy(&case.bytes));
        println!("{:?}", fuzz::exchange(&targets, &case).await);
    }
    let outcome = fuzz::run(targets, seed, first, count, Duration::from_secs(wish.seconds)).await;
    println!("fuzz    seed {seed}: {} cases, slowest {:?}", outcome.cases, outcome.slowest);
    println!("fuzz    memory at most {} MiB above the beginning", outcome.growth_bytes >> 20);
    println!("fuzz    by status {:?}", outcome.statuses);
    println!("fuzz    by kind {:?}", outcome.kinds);
    for finding in &outcome.findings {
        println!(
            "FOUND   --seed {seed} --case {}: {}\n        {}",
            finding.number, finding.case, finding.what
        );
    }
    if outcome.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
