//! What a whole node daemon costs beside others in one process: the reason why the simulated fleet does not run them.

use quantix_hypervisor::fake::FakeDriver;
use quantix_lab::measure::{self, mib};
use quantix_model::host::Accelerator;
use quantix_model::id::{PoolId, VmId};
use quantix_model::pool::PoolSpec;
use quantix_model::{Fault, UnixMs};
use quantix_node::ledger::{Ledger, PoolEntry};
use quantix_node::{Node, NodeHandle, NodeOptions};
use quantix_storage::device::fake::FakeDisks;
use quantix_storage::worker::{FakeLauncher, Limits};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const NODES: u64 = 200;
const POOLS: u64 = 8;
const VMS: u64 = 20;
/// Every pool and the list of VMs are looked at several times.
const REST: Duration = Duration::from_secs(30);

/// Starts real daemons on fakes that belong to no vDC, and prints what one costs at rest.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
pub async fn weight(folder: &Path) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let me = std::process::id();
    let before = measure::usage(me);
    let mut nodes = Vec::new();
    for host in 0..NODES {
        nodes.push(node(&folder.join(host.to_string()), host).await.expect("a node starts on fakes"));
    }
    tokio::time::sleep(REST).await;
    let (begun, rested) = (Instant::now(), measure::usage(me));
    tokio::time::sleep(REST).await;
    let after = measure::usage(me);
    let busy = (after.cpu - rested.cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / NODES as f64;
    println!("weight  a node daemon on fakes       {POOLS} pools, {VMS} VMs, {NODES} of them in one process");
    println!(
        "weight  memory each                  {}",
        mib((after.resident_bytes - before.resident_bytes) / NODES)
    );
    println!("weight  threads each                 {:.1}", each(after.threads, before.threads));
    println!("weight  files each                   {:.1}", each(after.files, before.files));
    println!(
        "weight  processor at rest            {:.2} % of one for each 100",
        busy * 100.0 * 100.0 / NODES as f64
    );
    for node in nodes {
        node.stop().await;
    }
}

async fn node(state_dir: &Path, host: u64) -> Result<NodeHandle, Fault> {
    let id = move |n: u64| Uuid::from_u128(u128::from(host) << 32 | u128::from(n));
    let ledger = Ledger::open(state_dir)?;
    let write = move |book: &mut quantix_node::ledger::Book| {
        for n in 0..POOLS {
            let spec = PoolSpec::local(format!("/data/{n}"));
            let (name, applied_at) = (format!("pool-{n}"), UnixMs(0));
            let entry = PoolEntry { generation: 1, name, spec, applied_at, was_healthy: false };
            book.pools.insert(PoolId(id(n)), entry);
        }
        Ok(())
    };
    ledger.update(write).await?;
    ledger.close().await;
    let driver = FakeDriver::new(Accelerator::Tcg);
    for n in 0..VMS {
        driver.add_foreign(VmId(id(100 + n)), &format!("vm-{n}"));
    }
    let options = NodeOptions {
        state_dir: state_dir.to_path_buf(),
        listen: ([127, 0, 0, 1], 0).into(),
        driver: Arc::new(driver),
        launcher: FakeLauncher::new(),
        pool_limits: Limits::default(),
        runner: Arc::new(FakeDisks::default()),
        machine_root: "/".into(),
        logs: Default::default(),
    };
    Node::start(options).await
}
