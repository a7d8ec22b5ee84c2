//! `kill -9` of vDC and node in every step of pool work and of the creation of a VM: afterwards each task has ended, there is
//! one of everything or nothing, and the host holds what it should.
//!
//! ```text
//!   acknowledged ─▶ host away ─▶ host at work ─▶ done on the host, not written by the vDC ─▶ done
//!                 (the task asks again and again)  (the vDC's database is held by somebody else)
//! ```
//! Each outcome is a line of `target/artefacts/kills.txt`: operation | step | killed | outcome.

use crate::bad_input::on_disk;
use crate::hold::Hold;
use crate::wish;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::task::v1 as task;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_hypervisor::driver::Driver as _;
use quantix_hypervisor::fake::Trouble;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::vm::PowerState;
use quantix_model::{Fault, FaultCode};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Vdc,
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Acknowledged,
    HostAway,
    AtWork,
    Unwritten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Create,
    Assign,
    Unassign,
    Delete,
}

const MOMENTS: [Moment; 4] = [Moment::Acknowledged, Moment::HostAway, Moment::AtWork, Moment::Unwritten];
const VICTIMS: [Victim; 2] = [Victim::Vdc, Victim::Node];

impl Moment {
    fn text(self) -> &'static str {
        match self {
            Moment::Acknowledged => "just acknowledged",
            Moment::HostAway => "host away, asked again",
            Moment::AtWork => "host at work",
            Moment::Unwritten => "done on the host, not written down",
        }
    }
}

impl Work {
    fn text(self) -> &'static str {
        match self {
            Work::Create => "create pool",
            Work::Assign => "assign pool",
            Work::Unassign => "unassign pool",
            Work::Delete => "delete pool",
        }
    }

    /// Whether the host has the pool afterwards.
    fn gives(self) -> bool {
        matches!(self, Work::Create | Work::Assign)
    }
}

/// `operation | step | killed | outcome`
fn record(operation: &str, step: &str, victim: Victim, outcome: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/artefacts");
    std::fs::create_dir_all(&folder).expect("the build folder is ours");
    let file = std::fs::File::options().append(true).create(true).open(folder.join("kills.txt"));
    let victim = if victim == Victim::Vdc { "vDC" } else { "node" };
    let line = format!("{operation} | {step} | {victim} | {outcome}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the build folder is ours");
}

/// The pools that stand in the host's ledger.
fn in_ledger(cluster: &Cluster) -> BTreeSet<String> {
    let bytes = std::fs::read(cluster.folder().join("node/ledger.json")).expect("the host has a ledger");
    let page: serde_json::Value = serde_json::from_slice(&bytes).expect("it is whole at any moment");
    page["pools"].as_object().map(|pools| pools.keys().cloned().collect()).unwrap_or_default()
}

fn pool_wish(name: &str, hosts: &[String]) -> pool::CreatePoolRequest {
    let nfs =
        pool::NfsPool { server: "10.0.0.9".into(), export: format!("/export/{name}"), ..Default::default() };
    pool::CreatePoolRequest {
        name: name.into(),
        spec: pool::PoolSpec { backend: Some(nfs.into()), ..Default::default() }.into(),
        host_ids: hosts.to_vec(),
        ..Default::default()
    }
}

async fn pool_now(cluster: &Cluster, id: &str) -> Option<pool::Pool> {
    let request = pool::GetPoolRequest { id: id.into(), ..Default::default() };
    Some(cluster.client.pools().get_pool(request).await.ok()?.into_owned())
}

/// One piece of pool work on one host.
struct Job {
    work: Work,
    host: String,
    name: String,
    /// Empty until the pool was asked for.
    id: String,
}

impl Job {
    /// Has the pool there, if the work needs one.
    async fn prepared(cluster: &Cluster, work: Work, name: String) -> Job {
        let host = cluster.host_ready().await.id;
        let mut job = Job { work, host, name, id: String::new() };
        let hosts = match work {
            Work::Create => return job,
            Work::Assign => Vec::new(),
            Work::Unassign | Work::Delete => vec![job.host.clone()],
        };
        let made = cluster.client.pools().create_pool(pool_wish(&job.name, &hosts)).await;
        let made = cluster.ok(made).into_owned();
        cluster.task_done(&made.task_id).await;
        job.id = made.pool.as_option().expect("a pool comes back").id.clone();
        if !hosts.is_empty() {
            cluster.pool_in(&job.id, pool::PoolPhase::POOL_PHASE_READY).await;
        }
        job
    }

    /// Asks for the work; answers its task, or why not.
    async fn ask(&mut self, cluster: &Cluster) -> Result<String, Fault> {
        let (pools, id, host_id) = (cluster.client.pools(), self.id.clone(), self.host.clone());
        let fault = |err: connectrpc::ConnectError| cluster.client.fault(&err);
        let task = match self.work {
            Work::Create => {
                let wish = pool_wish(&self.name, std::slice::from_ref(&self.host));
                let made = pools.create_pool(wish).await.map_err(&fault)?.into_owned();
                self.id = made.pool.as_option().expect("a pool comes back").id.clone();
                made.task_id
            }
            Work::Assign => {
                let wish = pool::AssignPoolRequest { pool_id: id, host_id, ..Default::default() };
                pools.assign_pool(wish).await.map_err(&fault)?.into_owned().task_id
            }
            Work::Unassign => {
                let wish = pool::UnassignPoolRequest { pool_id: id, host_id, ..Default::default() };
                pools.unassign_pool(wish).await.map_err(&fault)?.into_owned().task_id
            }
            Work::Delete => {
                let wish = pool::DeletePoolRequest { id, ..Default::default() };
                pools.delete_pool(wish).await.map_err(fault)?.into_owned().task_id
            }
        };
        Ok(task)
    }

    /// Brings the work to `moment` and kills; everything is up again afterwards. Answers the task.
    async fn cut_at(&mut self, cluster: &mut Cluster, moment: Moment, victim: Victim) -> String {
        // The host hears of a new pool only once its id is known, so that it can be held.
        let late = self.work == Work::Create && matches!(moment, Moment::AtWork | Moment::Unwritten);
        let away = moment == Moment::HostAway || late;
        let held = matches!(moment, Moment::AtWork | Moment::Unwritten);
        if away {
            cluster.kill_node();
        }
        if held && !late {
            cluster.shelf(&self.id).stall(true);
        }
        let task = self.ask(cluster).await.expect("it is taken");
        if late {
            cluster.shelf(&self.id).stall(true);
            cluster.start_node().await;
        }
        let mut hold = None;
        if moment != Moment::Acknowledged {
            let step = if self.work.gives() { "Preparing" } else { "Letting go" };
            cluster.task_at(&task, step).await;
        }
        if held {
            self.at_work(cluster).await;
        }
        if moment == Moment::Unwritten {
            hold = Some(Hold::of(cluster).await);
            cluster.shelf(&self.id).stall(false);
            self.done_on_host(cluster).await;
        }
        let node_is_down = moment == Moment::HostAway || victim == Victim::Node;
        match victim {
            Victim::Vdc => cluster.kill_vdc(),
            Victim::Node => cluster.kill_node(),
        }
        if let Some(hold) = hold {
            hold.end().await;
        }
        cluster.shelf(&self.id).stall(false);
        if victim == Victim::Vdc {
            cluster.start_vdc().await;
        }
        if node_is_down {
            cluster.start_node().await;
        }
        task
    }

    /// The host has taken the work up, and its worker does not get on.
    async fn at_work(&self, cluster: &Cluster) {
        if self.work.gives() {
            let has = async || in_ledger(cluster).contains(&self.id).then_some(());
            until("the host has taken it up", DEADLINE, has).await;
        }
    }

    async fn done_on_host(&self, cluster: &Cluster) {
        until("the host has done it", DEADLINE, async || {
            if !self.work.gives() {
                return (!in_ledger(cluster).contains(&self.id)).then_some(());
            }
            let seen = pool_now(cluster, &self.id).await?;
            let healthy = |s: &pool::PoolHostStatus| s.health == pool::PoolHealth::POOL_HEALTH_HEALTHY;
            seen.host_statuses.iter().any(healthy).then_some(())
        })
        .await;
    }

    /// One of everything, or nothing; and the same once more is no second one.
    async fn settled(&mut self, cluster: &Cluster) {
        let host = cluster.host_ready().await.id;
        if self.work.gives() {
            cluster.pool_in(&self.id, pool::PoolPhase::POOL_PHASE_READY).await;
        } else {
            let how = cluster.shelf(&self.id).let_go();
            assert!(!how.is_empty(), "{}: unmounted, not only forgotten", self.name);
        }
        let (id, given) = (self.id.clone(), self.work.gives());
        let right = async || (in_ledger(cluster).contains(&id) == given).then_some(());
        until("the host holds what it should", DEADLINE, right).await;
        let list = cluster.client.pools().list_pools(pool::ListPoolsRequest::default()).await;
        let list = cluster.ok(list).into_owned().pools;
        let named: Vec<&pool::Pool> = list.iter().filter(|p| p.name == self.name).collect();
        assert_eq!(named.len(), usize::from(self.work != Work::Delete), "{named:?}");
        let on: Vec<&str> = named.iter().flat_map(|p| &p.host_statuses).map(|s| s.host_id.as_str()).collect();
        assert_eq!(on, if given { vec![host.as_str()] } else { vec![] });
        let again = self.ask(cluster).await.expect_err("it is done already");
        let code = match self.work {
            Work::Create => FaultCode::PoolInUse,
            Work::Assign => FaultCode::Conflict,
            Work::Unassign => FaultCode::PoolNotAssigned,
            Work::Delete => FaultCode::NotFound,
        };
        assert_eq!(again.code, code, "{again}");
    }
}

async fn pool_work_is_cut(work: Work) {
    let mut cluster = Cluster::start().await;
    let mut all = Vec::new();
    for (n, moment) in MOMENTS.into_iter().enumerate() {
        for victim in VICTIMS {
            let mut job = Job::prepared(&cluster, work, format!("p{n}-{victim:?}").to_lowercase()).await;
            let task_id = job.cut_at(&mut cluster, moment, victim).await;
            cluster.task_done(&task_id).await;
            job.settled(&cluster).await;
            all.push(job.id);
            let outcome = if work.gives() { "done once: the host has it" } else { "done: the host let go" };
            record(work.text(), moment.text(), victim, outcome);
        }
    }
    nothing_hangs(&cluster).await;
    let expected: BTreeSet<String> = if work.gives() { all.into_iter().collect() } else { BTreeSet::new() };
    assert_eq!(in_ledger(&cluster), expected);
}

async fn nothing_hangs(cluster: &Cluster) {
    let request = task::ListTasksRequest { page_size: 500, ..Default::default() };
    let tasks = cluster.ok(cluster.client.tasks().list_tasks(request).await).into_owned().tasks;
    let open: Vec<&str> = tasks.iter().filter(|t| t.ended_at.is_unset()).map(|t| t.title.as_str()).collect();
    assert!(!tasks.is_empty() && open.is_empty(), "{open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_in_every_step_of_making_a_pool() {
    pool_work_is_cut(Work::Create).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_in_every_step_of_assigning_a_pool() {
    pool_work_is_cut(Work::Assign).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_in_every_step_of_unassigning_a_pool() {
    pool_work_is_cut(Work::Unassign).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_in_every_step_of_deleting_a_pool() {
    pool_work_is_cut(Work::Delete).await;
}

/// The steps of making a VM, as its task names them.
const VM_STEPS: [&str; 3] = ["Making disk", "Defining the VM", "Starting the VM"];
/// The hypervisor takes so long while it is held.
const HELD: Duration = Duration::from_millis(700);

/// Brings the creation of a VM to `step` and kills; everything is up again afterwards.
async fn cut_vm(
    cluster: &mut Cluster,
    pool_id: &str,
    made: &vm::VmTask,
    (step, moment): (&str, Moment),
    victim: Victim,
) {
    let id = made.vm.as_option().expect("a VM comes back").id.clone();
    let files = 1 + count(cluster).await;
    let mut hold = None;
    if moment != Moment::Acknowledged {
        cluster.task_at(&made.task_id, step).await;
    }
    if moment == Moment::Unwritten {
        hold = Some(Hold::of(cluster).await);
        let uuid = id.parse().expect("an id");
        cluster.shelf(pool_id).stall(false);
        until("the host has done it", DEADLINE, async || match step {
            "Making disk" => (on_disk(cluster, pool_id, "volumes").await.len() == files).then_some(()),
            "Defining the VM" => cluster.driver.definition(uuid).map(drop),
            _ => {
                let seen = cluster.driver.get(uuid).await.ok()??;
                (seen.power_state == PowerState::Running).then_some(())
            }
        })
        .await;
    }
    match victim {
        Victim::Vdc => cluster.kill_vdc(),
        Victim::Node => cluster.kill_node(),
    }
    if let Some(hold) = hold {
        hold.end().await;
    }
    cluster.shelf(pool_id).stall(false);
    cluster.driver.set_trouble(Trouble::None);
    match victim {
        Victim::Vdc => cluster.start_vdc().await,
        Victim::Node => cluster.start_node().await,
    }
}

async fn count(cluster: &Cluster) -> usize {
    cluster.driver.list().await.expect("it is in memory").len()
}

async fn vm_making_is_cut(steps: &[(&'static str, Moment)]) {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let mut there = 0;
    for (n, at) in steps.iter().enumerate() {
        for victim in VICTIMS {
            let name = format!("vm-{n}-{victim:?}").to_lowercase();
            cluster.pool_in(&pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
            match *at {
                (_, Moment::Acknowledged) => {}
                ("Making disk", _) => cluster.shelf(&pool_id).stall(true),
                _ => cluster.driver.set_trouble(Trouble::Slow(HELD)),
            }
            let request = vm::CreateVmRequest { start: true, ..wish(&name, &pool_id) };
            let made = cluster.ok(cluster.client.vms().create_vm(request).await).into_owned();
            cut_vm(&mut cluster, &pool_id, &made, *at, victim).await;
            let end = cluster.task_end(&made.task_id).await;
            let outcome = if end.state == task::TaskState::TASK_STATE_DONE {
                there += 1;
                let id = &made.vm.as_option().expect("a VM comes back").id;
                cluster.host_ready().await;
                cluster.powered(id, vm::PowerState::POWER_STATE_RUNNING).await;
                "done once: it runs".to_owned()
            } else {
                let fault = Fault::from(end.fault.as_option().expect("a task that failed says why"));
                assert!(!fault.remedy.is_empty(), "{fault:?}");
                format!("undone with {}: nothing is left", fault.code)
            };
            until("one of everything or nothing", DEADLINE, async || {
                let files = on_disk(&cluster, &pool_id, "volumes").await.len();
                ((files, count(&cluster).await) == (there, there)).then_some(())
            })
            .await;
            let vms = cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await;
            assert_eq!(cluster.ok(vms).into_owned().total, there as u64);
            let step = if at.1 == Moment::Acknowledged { "" } else { at.0 };
            let step = [step, at.1.text()].join(": ");
            record("create VM", step.trim_start_matches(": "), victim, &outcome);
        }
    }
    nothing_hangs(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_in_every_step_of_making_a_vm() {
    let mut steps = vec![("", Moment::Acknowledged)];
    steps.extend(VM_STEPS.map(|step| (step, Moment::AtWork)));
    vm_making_is_cut(&steps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_die_when_a_step_of_making_a_vm_is_done_and_not_written_down() {
    vm_making_is_cut(&VM_STEPS.map(|step| (step, Moment::Unwritten))).await;
}
