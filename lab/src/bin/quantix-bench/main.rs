//! Measures what the promises say, beside the bare tool where there is one. Prints figures; judges nothing.
//!
//! `quantix-bench [start] [memory] [vm] [upload] [stall] [rbd] [lvm] [weight] [login] [rights] [renew]`, all when none is named, or
//! `quantix-bench fleet …` by itself. `./x bench` builds and calls it.

mod fleet;
mod login;
mod renew;
mod rights;
mod shared;
mod stall;
mod weight;

use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1::VolumeFormat;
use quantix_lab::measure::{Figures, mib, ratio};
use quantix_lab::rig::{self, Rig, virsh};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const START_RUNS: usize = 7;
const VM_RUNS: usize = 5;
const UPLOAD_RUNS: usize = 5;
const UPLOAD_MIB: usize = 512;
/// Long enough for pages of the start to be given back.
const IDLE: Duration = Duration::from_secs(10);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    // As a daemon starts the workers of its pools.
    if wanted.first().is_some_and(|word| word == "pool-worker") {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket as standard input");
        quantix_storage::worker::main(socket);
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    match wanted.as_slice() {
        [word] if word == shared::INSIDE => runtime.block_on(shared::inside()),
        _ => runtime.block_on(measure(&wanted)),
    }
}

async fn measure(wanted: &[String]) {
    if wanted.first().is_some_and(|word| word == "fleet") {
        return fleet::fleet(&wanted[1..]).await;
    }
    let all =
        ["start", "memory", "vm", "upload", "stall", "rbd", "lvm", "weight", "login", "rights", "renew"];
    if let Some(unknown) = wanted.iter().find(|word| !all.contains(&word.as_str())) {
        eprintln!("{unknown}: no such measurement; there are {}", all.join(", "));
        std::process::exit(2);
    }
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let folder = rig::folder();
    if asked("start") {
        start(&folder.path().join("start"));
    }
    if asked("stall") {
        stall::stall().await;
    }
    if asked("rbd") {
        shared::rbd(&folder.path().join("ceph")).await;
    }
    if asked("lvm") {
        shared::lvm();
    }
    if asked("weight") {
        weight::weight(&folder.path().join("weight")).await;
    }
    if asked("login") {
        login::login(&folder.path().join("login")).await;
    }
    if asked("rights") {
        rights::rights(&folder.path().join("rights")).await;
    }
    if asked("renew") {
        renew::renew(&folder.path().join("renew")).await;
    }
    if !(asked("memory") || asked("vm") || asked("upload")) {
        return;
    }
    let rig = Rig::start(&folder.path().join("rig")).await;
    let pool_dir = folder.path().join("pool");
    let pool_id = rig.pool("bench", &pool_dir).await;
    if asked("memory") {
        memory(&rig).await;
    }
    if asked("vm") {
        vm_create(&rig, &pool_id).await;
    }
    if asked("upload") {
        upload(&rig, &pool_id, folder.path()).await;
    }
}

/// From exec to the line that says it serves, on a store that exists.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
fn start(dir: &Path) {
    let port = quantix_lab::process::free_port();
    drop(rig::spawn_vdc(dir, port, ""));
    let mut figures = Figures::default();
    for _ in 0..START_RUNS {
        let began = Instant::now();
        let vdc = rig::spawn_vdc(dir, port, "");
        figures.add(began.elapsed());
        drop(vdc);
    }
    println!("start   vDC exec to serving          {figures}");
}

#[allow(clippy::print_stdout, reason = "the figures are the output")]
async fn memory(rig: &Rig) {
    tokio::time::sleep(IDLE).await;
    println!("memory  vDC idle RSS                 {}", mib(rig.vdc().resident_bytes()));
    println!("memory  node daemon idle RSS         {}", mib(rig.node().resident_bytes()));
}

/// One call to the vDC until the host says running, against `virsh define` and `virsh start` of the same definition.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
async fn vm_create(rig: &Rig, pool_id: &str) {
    let uri = rig.libvirt_uri();
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for run in 0..VM_RUNS {
        let name = format!("bench-{run}");
        let disk = vm::NewDisk {
            pool_id: pool_id.into(),
            size_bytes: 1 << 30,
            format: VolumeFormat::VOLUME_FORMAT_QCOW2.into(),
            ..Default::default()
        };
        let request = vm::CreateVmRequest {
            name: name.clone(),
            vcpus: 1,
            memory_bytes: 256 << 20,
            firmware: vm::Firmware::FIRMWARE_BIOS.into(),
            disks: vec![disk],
            start: true,
            ..Default::default()
        };
        let began = Instant::now();
        let made = rig.ok(rig.client.vms().create_vm(request).await.map(|answer| answer.into_owned()));
        let id = made.vm.as_option().expect("a VM comes back").id.clone();
        let running = until_running(rig, &id).await;
        ours.add(running.duration_since(began));
        rig.task_done(&made.task_id).await;
        let made = rig.powered(&id, vm::PowerState::POWER_STATE_RUNNING).await;
        rig.power(&made.id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await;
        rig.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;

        // The disk stays, so that the bare run starts the very same machine.
        let xml = virsh(&uri, &["dumpxml", "--inactive", &made.id]);
        virsh(&uri, &["undefine", "--nvram", &made.id]);
        let file = rig.dir().join("bench.xml");
        std::fs::write(&file, xml).expect("the definition is written");
        let began = Instant::now();
        virsh(&uri, &["define", &file.display().to_string()]);
        virsh(&uri, &["start", &name]);
        bare.add(began.elapsed());
        virsh(&uri, &["destroy", &name]);
        rig.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
        rig.delete_vm(&made.id).await;
    }
    println!("vm      create to running            {ours}");
    println!("vm      virsh define + start         {bare}");
    println!("vm      ratio of medians             {}", ratio(ours.median(), bare.median()));
}

/// When the API first says so. Asked often: what is measured is the product, not the pause between two questions.
async fn until_running(rig: &Rig, id: &str) -> Instant {
    let end = Instant::now() + rig::STEP_DEADLINE;
    loop {
        let request = vm::GetVmRequest { id: id.into(), ..Default::default() };
        let seen = rig.ok(rig.client.vms().get_vm(request).await.map(|answer| answer.into_owned()));
        if seen.power_state == vm::PowerState::POWER_STATE_RUNNING {
            return Instant::now();
        }
        assert!(Instant::now() < end, "the VM does not run: {:?}", seen.fault);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// `curl` through TLS, the vDC and the host into the pool, against `cp` and `sync` to the same disk.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
async fn upload(rig: &Rig, pool_id: &str, folder: &Path) {
    let source = folder.join("source.raw");
    let bytes = (UPLOAD_MIB as u64) << 20;
    random_disk(&source, UPLOAD_MIB);
    let (mut ours, mut whole, mut bare) = (Figures::default(), Figures::default(), Figures::default());
    let before = (rig.vdc().resident_bytes(), rig.node().resident_bytes());
    let mut peak = before;
    for run in 0..UPLOAD_RUNS {
        let made = rig.declare_image(&format!("bench-{run}"), pool_id, bytes).await;
        let mut curl = rig.curl_upload(&made.upload_path, &source);
        let began = Instant::now();
        let mut child = curl.spawn().expect("curl runs");
        let status = loop {
            if let Some(status) = child.try_wait().expect("curl is ours") {
                break status;
            }
            peak = (peak.0.max(rig.vdc().resident_bytes()), peak.1.max(rig.node().resident_bytes()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "curl: {status}");
        ours.add(began.elapsed());
        rig.task_done(&made.task_id).await;
        whole.add(began.elapsed());
        let id = made.image.as_option().expect("an image comes back").id.clone();
        rig.delete_image(&id).await;

        let copy = folder.join("copy.raw");
        let began = Instant::now();
        run_tool("cp", &["--reflink=never", &source.display().to_string(), &copy.display().to_string()]);
        run_tool("sync", &[&copy.display().to_string()]);
        bare.add(began.elapsed());
        std::fs::remove_file(&copy).expect("the copy is ours");
    }
    println!("upload  {UPLOAD_MIB} MiB received durably     {ours}");
    println!("upload  … until checked and ready    {whole}");
    println!("upload  cp + sync                    {bare}");
    println!("upload  speed against cp             {}", ratio(bare.median(), ours.median()));
    println!("upload  vDC RSS before, peak         {}, {}", mib(before.0), mib(peak.0));
    println!("upload  node RSS before, peak        {}, {}", mib(before.1), mib(peak.1));
}

/// A file no layer can compress, with a boot signature so that it counts as a disk.
fn random_disk(path: &Path, mib: usize) {
    let (from, to) = ("if=/dev/urandom".to_owned(), format!("of={}", path.display()));
    run_tool("dd", &[&from, &to, "bs=1M", &format!("count={mib}"), "status=none"]);
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().write(true).open(path).expect("the file is ours");
    file.write_all_at(&[0x55, 0xaa], 510).expect("the signature is written");
}

fn run_tool(name: &str, args: &[&str]) {
    let status = Command::new(name).args(args).status().unwrap_or_else(|err| panic!("{name}: {err}"));
    assert!(status.success(), "{name} {args:?}: {status}");
}
