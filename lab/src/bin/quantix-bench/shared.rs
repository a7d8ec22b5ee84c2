//! Volumes of shared pools through a pool's worker, beside the bare program on the same storage: RBD on a cluster of our
//! own, LVM on a LUN inside a lab VM, where this program calls itself.

use quantix_lab::ceph::CephLab;
use quantix_lab::labvm::{CHAP_PASSWORD, CHAP_USER, LabVm, SHARE, TARGET};
use quantix_lab::measure::{Figures, ratio};
use quantix_model::Secret;
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::pool::{Chap, IscsiSpec, PoolSpec};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::{PoolSetup, VolumeWish};
use quantix_storage::worker::{Limits, PoolWorker, ProcessLauncher, WorkerState};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How this program is called inside the lab VM.
pub const INSIDE: &str = "lvm-inside";
const RUNS: usize = 7;
const SIZE_BYTES: u64 = 64 << 20;
const GROWN_BYTES: u64 = 128 << 20;
const GROUP: &str = "qxbench";
/// The whole measurement, under emulation.
const INSIDE_DEADLINE: Duration = Duration::from_secs(600);

async fn worker(spec: PoolSpec) -> PoolWorker {
    let setup = PoolSetup { id: PoolId(Uuid::now_v7()), spec, must_exist: false, may_make: true };
    let launcher = Arc::new(ProcessLauncher::this_program().expect("this program can be started again"));
    let worker = PoolWorker::start(setup, launcher, Limits::default());
    let mut status = worker.watch();
    let state = status.wait_for(|status| status.state != WorkerState::Starting).await;
    assert_eq!(state.expect("it says how it is").state, WorkerState::Ready);
    worker
}

fn wish(source: VolumeSource) -> VolumeWish {
    VolumeWish {
        id: VolumeId(Uuid::now_v7()),
        size_bytes: SIZE_BYTES,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thin,
        source,
    }
}

async fn timed<T>(figures: &mut Figures, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    figures.add(began.elapsed());
    done
}

#[allow(clippy::print_stdout, reason = "the figures are the output")]
fn compare(what: &str, ours: &Figures, bare: &Figures) {
    let more = ours.median().as_secs_f64() - bare.median().as_secs_f64();
    println!("{what:44} {ours}  bare {bare}  {}, {:+.1} ms", ratio(ours.median(), bare.median()), more * 1e3);
}

/// RBD: an OSD, a monitor and the client on this machine.
pub async fn rbd(dir: &Path) {
    let lab = CephLab::start(dir);
    let worker = worker(PoolSpec::Ceph(lab.pool("vms"))).await;
    let bare = async |args: &[&str]| {
        let mut command = lab.rbd_command();
        command.args(args);
        let done = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends");
        assert!(done.as_ref().is_ok_and(|output| output.status.success()), "{args:?}: {done:?}");
    };
    let base = wish(VolumeSource::Blank);
    worker.volume_create(base.clone(), None).await.expect("made");
    bare(&["create", "vms/bare-base", "--size", "64M"]).await;
    let mut times: [Figures; 8] = Default::default();
    for _ in 0..RUNS {
        let blank = wish(VolumeSource::Blank);
        timed(&mut times[0], worker.volume_create(blank.clone(), None)).await.expect("made");
        timed(&mut times[1], bare(&["create", "vms/bare", "--size", "64M"])).await;
        timed(&mut times[2], worker.volume_grow(blank.id, GROWN_BYTES)).await.expect("grown");
        timed(&mut times[3], bare(&["resize", "vms/bare", "--size", "128M", "--no-progress"])).await;
        timed(&mut times[4], worker.volume_delete(blank.id)).await.expect("deleted");
        timed(&mut times[5], bare(&["rm", "vms/bare", "--no-progress"])).await;
        let linked = wish(VolumeSource::Volume { id: base.id, snapshot: String::new(), linked: true });
        timed(&mut times[6], worker.volume_create(linked.clone(), None)).await.expect("cloned");
        // For the same result: a clone of the image as it is now, and no snapshot for people to see.
        let clone = async {
            bare(&["snap", "create", "--no-progress", "vms/bare-base@s"]).await;
            bare(&["clone", "--rbd-default-clone-format", "2", "vms/bare-base@s", "vms/bare-clone"]).await;
            bare(&["snap", "rm", "--no-progress", "vms/bare-base@s"]).await;
        };
        timed(&mut times[7], clone).await;
        worker.volume_delete(linked.id).await.expect("deleted");
        bare(&["rm", "vms/bare-clone", "--no-progress"]).await;
    }
    compare("rbd     create / rbd create", &times[0], &times[1]);
    compare("rbd     grow / rbd resize", &times[2], &times[3]);
    compare("rbd     delete / rbd rm", &times[4], &times[5]);
    compare("rbd     linked clone / snap, clone, snap rm", &times[6], &times[7]);
    worker.stop().await;
}

/// Runs [`inside`] in a lab VM and prints what it printed.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
pub fn lvm() {
    let vm = LabVm::start();
    let own = std::env::current_exe().expect("this program has a path");
    let strip = Command::new("strip").arg("-o").arg(vm.share().join("bench")).arg(own).status();
    assert!(strip.is_ok_and(|status| status.success()), "strip failed: apt-get install -y binutils");
    let place = ["install", "-m", "755", &format!("{SHARE}/bench"), "/usr/local/bin/bench"];
    vm.ok(&place);
    let done = vm.run(&["/usr/local/bin/bench", INSIDE], INSIDE_DEADLINE);
    assert!(done.success(), "{done:?}");
    print!("{}", done.stdout);
}

/// LVM on the first LUN of the lab VM's own target, beside `lvcreate` and its like on the same volume group.
pub async fn inside() {
    let chap = Chap { user: CHAP_USER.into(), password: Secret::new(CHAP_PASSWORD) };
    let spec = IscsiSpec {
        portal: "127.0.0.1".into(),
        target: TARGET.into(),
        lun: 0,
        chap: Some(chap),
        mutual_chap: None,
        volume_group: GROUP.into(),
        create_volume_group: true,
    };
    let worker = worker(PoolSpec::Iscsi(spec)).await;
    let bare = async |program: &'static str, args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let run = move || Command::new(program).args(args).output();
        let done = tokio::task::spawn_blocking(run).await.expect("it ends");
        assert!(done.as_ref().is_ok_and(|output| output.status.success()), "{program}: {done:?}");
    };
    let mut times: [Figures; 8] = Default::default();
    for _ in 0..RUNS {
        let blank = wish(VolumeSource::Blank);
        timed(&mut times[0], worker.volume_create(blank.clone(), None)).await.expect("made");
        let thin =
            ["--type", "thin", "-L", "64M", "-V", "64M", "--thinpool", "barepool", "-n", "bare", GROUP];
        timed(&mut times[1], bare("lvcreate", &thin)).await;
        timed(&mut times[2], worker.snapshot_create(blank.id, "s".into())).await.expect("kept");
        // For the same result: a thin pool that can never be full.
        let (pool, disk) = (format!("{GROUP}/barepool"), format!("{GROUP}/bare"));
        let snapshot = async {
            bare("lvextend", &["-L", "128M", &pool]).await;
            bare("lvcreate", &["-s", "-n", "bare-s", &disk]).await;
        };
        timed(&mut times[3], snapshot).await;
        worker.snapshot_delete(blank.id, "s".into()).await.expect("let go of");
        bare("lvremove", &["--yes", &format!("{GROUP}/bare-s")]).await;
        timed(&mut times[4], worker.volume_grow(blank.id, GROWN_BYTES)).await.expect("grown");
        let grow = async {
            bare("lvextend", &["-L", "192M", &pool]).await;
            bare("lvextend", &["-L", "128M", &disk]).await;
        };
        timed(&mut times[5], grow).await;
        timed(&mut times[6], worker.volume_delete(blank.id)).await.expect("deleted");
        timed(&mut times[7], bare("lvremove", &["--yes", &pool])).await;
    }
    compare("lvm     create / lvcreate (thin)", &times[0], &times[1]);
    compare("lvm     snapshot / lvextend, lvcreate -s", &times[2], &times[3]);
    compare("lvm     grow / lvextend twice", &times[4], &times[5]);
    compare("lvm     delete / lvremove", &times[6], &times[7]);
    worker.stop().await;
}
