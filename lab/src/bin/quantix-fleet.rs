//! A vDC with a whole fleet, for a person to look at. `./x fleet` builds and calls it.

use clap::Parser;
use quantix_lab::fleet::Fleet;
use quantix_lab::fleet::plan::{Plan, Troubles};
use quantix_lab::fleet::seed::Size;
use quantix_lab::fleet::vdc::FleetVdc;
use quantix_lab::rig;
use quantix_model::Fault;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two lines that say how it goes.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Simulated hosts over real mutual TLS against a real vDC, until Ctrl-C.
#[derive(Parser)]
struct Wish {
    /// Hosts.
    #[arg(long, default_value_t = 250)]
    hosts: u32,
    /// VMs on all of them together.
    #[arg(long, default_value_t = 4000)]
    vms: u32,
    /// Pools of each host: up to two of its own, the others shared by its rack.
    #[arg(long, default_value_t = 8)]
    pools: u32,
    /// Hosts of a rack.
    #[arg(long, default_value_t = 32)]
    rack_hosts: u32,
    /// Hosts begin spread over so many seconds.
    #[arg(long, default_value_t = 20)]
    ramp_seconds: u64,
    /// Decides which hosts have trouble, and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hosts that beat once and then say nothing.
    #[arg(long, default_value_t = 0)]
    silent: u32,
    /// Hosts one of whose pools fails and recovers by turns.
    #[arg(long, default_value_t = 0)]
    flapping: u32,
    /// Hosts some of whose beats never arrive.
    #[arg(long, default_value_t = 0)]
    lost_beats: u32,
    /// Hosts some of whose answers never arrive.
    #[arg(long, default_value_t = 0)]
    lost_answers: u32,
    /// Hosts some of whose beats arrive twice.
    #[arg(long, default_value_t = 0)]
    doubled: u32,
    /// Hosts some of whose beats arrive again after later ones.
    #[arg(long, default_value_t = 0)]
    reordered: u32,
    /// Hosts one of whose VMs somebody else switches all the time.
    #[arg(long, default_value_t = 0)]
    restless: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Wish::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}\n{}", fault.remedy);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "this is what was asked for")]
async fn run(wish: Wish) -> Result<(), Fault> {
    let size =
        Size { vms: wish.vms, rack_hosts: wish.rack_hosts.max(1), ..Size::of(wish.hosts, wish.pools, 0) };
    let troubles = Troubles {
        seed: wish.seed,
        silent: wish.silent,
        flapping: wish.flapping,
        lost_beats: wish.lost_beats,
        lost_answers: wish.lost_answers,
        doubled: wish.doubled,
        reordered: wish.reordered,
        restless: wish.restless,
    };
    let folder = rig::folder();
    println!("seeding {} hosts and {} VMs", size.hosts, size.vms);
    let vdc = FleetVdc::start(folder.path(), None, size).await?;
    drop(vdc.sign_in().await?);
    let plan = Plan::new(size.hosts, &troubles);
    let fleet = Fleet::start(&vdc.seeded, &vdc.url(), &plan, Duration::from_secs(wish.ramp_seconds));
    println!("Web app   {}", vdc.dev_url());
    println!("API       {}", vdc.url());
    println!("Sign in   admin, password: {}", rig::PASSWORD);
    println!("Ctrl-C ends everything; nothing is kept.");
    let mut tick = tokio::time::interval(SAY_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let (answered, failed) = (&fleet.counts.answered, &fleet.counts.failed);
                drop(fleet.counts.take_waits());
                println!("{} beats answered, {} failed", answered.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    fleet.stop().await;
    Ok(())
}
