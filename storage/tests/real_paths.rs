//! iSCSI pools whose target changes under them: LUNs that grow, copies of LUNs; and what a host
//! finds at a portal before there is a pool. Runs inside the lab VM as root.

#![allow(clippy::unwrap_used)]

mod lab;
mod pools;

use pools::*;
use quantix_model::FaultCode;
use quantix_model::pool::{Chap, IscsiSpec, PoolSpec};
use quantix_model::secret::Secret;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::error::Result;
use quantix_storage::explore::{Export, Found, Question, Target};
use quantix_storage::iscsi::IscsiPool;
use quantix_storage::nfs::NfsPool;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

const TARGET: &str = "iqn.2026-01.org.lab:t1";
const PATHS: &str = "iqn.2026-01.org.lab:paths";
const SECRET: &str = "lab-chap-secret-1";
const GIB: u64 = 1 << 30;

fn chap() -> Option<Chap> {
    Some(Chap { user: "u1".into(), password: Secret::new(SECRET) })
}

fn setup_of(target: &str, lun: u32, group: &str) -> PoolSetup {
    let spec = IscsiSpec {
        portal: if target == PATHS { "127.0.0.1:3270".into() } else { "127.0.0.1".into() },
        target: target.into(),
        lun,
        chap: chap(),
        mutual_chap: None,
        volume_group: group.into(),
        create_volume_group: true,
    };
    PoolSetup { id: pool_id(), spec: PoolSpec::Iscsi(spec), must_exist: false, may_make: true }
}

fn open(setup: &PoolSetup) -> Result<IscsiPool> {
    let mut pool = IscsiPool::new(setup)?;
    pool.init()?;
    Ok(pool)
}

fn fact(pool: &dyn Backend, name: &str) -> String {
    let facts = pool.info().unwrap().facts;
    facts.iter().find(|f| f.name == name).map(|f| f.value.clone()).unwrap_or_default()
}

/// The target's shell; each line is one command.
fn targetcli(lines: &[&str]) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        run_program("targetcli", &words);
    }
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What a question may leave on the host: nothing.
fn left() -> Vec<String> {
    let mut left = names("/sys/class/iscsi_session");
    left.extend(names("/etc/iscsi/nodes"));
    left.extend(names("/etc/iscsi/send_targets"));
    left.extend(names("/run/quantix/iscsi"));
    left
}

fn wish(size_bytes: u64) -> VolumeWish {
    VolumeWish {
        id: volume_id(),
        size_bytes,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    }
}

/// A LUN of the target `PATHS` on a loop device, whose size follows its file.
struct Disk {
    file: File,
    device: String,
}

impl Disk {
    fn new() -> Disk {
        let file = File::create("/srv/iscsi/paths.img").unwrap();
        file.set_len(GIB).unwrap();
        let device = run_program("losetup", &["--find", "--show", "/srv/iscsi/paths.img"]);
        let device = String::from_utf8(device).unwrap().trim().to_owned();
        let portals = format!("/iscsi/{PATHS}/tpg1/portals");
        let tpg = format!("/iscsi/{PATHS}/tpg1");
        targetcli(&[
            &format!("/backstores/block create name=paths dev={device}"),
            &format!("/iscsi create {PATHS}"),
            &format!("{portals} create 127.0.0.1 3270"),
            &format!("{portals} create 127.0.0.2 3270"),
            &format!("{tpg}/luns create /backstores/block/paths lun=0"),
            &format!(
                "{tpg} set attribute authentication=1 generate_node_acls=1 cache_dynamic_acls=1 demo_mode_write_protect=0"
            ),
            &format!("{tpg} set auth userid=u1 password={SECRET}"),
        ]);
        Disk { file, device }
    }

    fn grow(&self, bytes: u64) {
        self.file.set_len(bytes).unwrap();
        run_program("losetup", &["-c", &self.device]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for line in [format!("/iscsi delete {PATHS}"), "/backstores/block delete paths".to_owned()] {
            let _ = Command::new("targetcli").args(line.split(' ')).status();
        }
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

#[test]
fn a_lun_that_grew_is_taken_in() {
    lab::require();
    let disk = Disk::new();
    let setup = setup_of(PATHS, 0, "qxgrow");
    let pool = open(&setup).unwrap();
    let before = pool.info().unwrap().capacity.total_bytes;
    assert_eq!(code(pool.volume_create(&wish(3 * GIB / 2), &mut no_progress())), FaultCode::PoolFull);
    disk.grow(2 * GIB);
    let refresh = pool.abilities().refresh.unwrap();
    // Not our turn: the size is seen, and told.
    refresh.pool_refresh(false).unwrap();
    assert_eq!(pool.info().unwrap().capacity.total_bytes, before);
    assert!(fact(&pool, "size").contains(&(2 * GIB).to_string()), "{:?}", pool.info().unwrap().facts);
    refresh.pool_refresh(true).unwrap();
    let after = pool.info().unwrap().capacity.total_bytes;
    assert!(after > before + GIB - 16 * MIB, "{before} {after}");
    assert_eq!(fact(&pool, "size"), "");
    refresh.pool_refresh(true).unwrap();
    pool.volume_create(&wish(3 * GIB / 2), &mut no_progress()).unwrap();
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}

/// What the test before left on the LUNs is gone.
fn empty_luns() {
    for name in ["lun0", "lun1"] {
        let file = File::options().write(true).open(format!("/srv/iscsi/{name}.img")).unwrap();
        file.set_len(0).unwrap();
        file.set_len(GIB).unwrap();
    }
}

#[test]
fn a_copy_of_the_lun_is_not_the_pool() {
    lab::require();
    empty_luns();
    let real = setup_of(TARGET, 0, "qxcopy");
    let pool = open(&real).unwrap();
    let made = pool.volume_create(&wish(16 * MIB), &mut no_progress()).unwrap();
    pool.destroy(LettingGo::Orderly).unwrap();
    // As an array makes snapshots: the same bytes, another identity, the same UUIDs in LVM's eyes.
    run_program("cp", &["--sparse=always", "/srv/iscsi/lun0.img", "/srv/iscsi/lun1.img"]);
    let PoolSpec::Iscsi(spec) = real.spec.clone() else { panic!("iSCSI") };
    let copy =
        PoolSetup { spec: PoolSpec::Iscsi(IscsiSpec { lun: 1, ..spec }), must_exist: true, ..real.clone() };
    let fault = open(&copy).map(drop).unwrap_err();
    eprintln!("{fault}");
    assert_eq!(fault.code, FaultCode::PoolForeignData, "{fault:?}");
    assert!(fault.message.contains("copy") && fault.remedy.contains("vgchange"), "{fault:?}");
    // Beside its copy the real one works: LVM is shown one of the two.
    let pool = open(&PoolSetup { must_exist: true, ..real.clone() }).unwrap();
    let other = open(&PoolSetup { id: pool_id(), ..copy.clone() }).map(drop).unwrap_err();
    assert_eq!(other.code, FaultCode::PoolForeignData, "{other:?}");
    assert_eq!(pool.volume_list().unwrap()[0].id, made.id);
    assert!(pool.volume_delete(made.id).unwrap());
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}

fn ask(question: &Question) -> Result<Found> {
    let setup = question.setup()?;
    match &setup.spec {
        PoolSpec::Iscsi(_) => IscsiPool::new(&setup)?.abilities().explore.unwrap().explore(),
        _ => NfsPool::new(&setup)?.abilities().explore.unwrap().explore(),
    }
}

fn targets(target: &str, chap: Option<Chap>) -> Result<Vec<Target>> {
    let (portal, target) = ("127.0.0.1".to_owned(), target.to_owned());
    match ask(&Question::Targets { portal, chap, mutual_chap: None, target })? {
        Found::Targets(found) => Ok(found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_types_a_target() {
    lab::require();
    empty_luns();
    let found = targets("", None).unwrap();
    let of = |found: &[Target]| found.iter().find(|t| t.name == TARGET).expect("the target").clone();
    assert_eq!((of(&found).portals, of(&found).luns.len()), (vec!["127.0.0.1:3260".to_owned()], 0));
    assert_eq!(left(), Vec::<String>::new());
    let luns = of(&targets(TARGET, chap()).unwrap()).luns;
    eprintln!("{luns:?}");
    assert_eq!(luns.iter().map(|lun| lun.number).collect::<Vec<_>>(), [0, 1]);
    assert!(
        luns.iter()
            .all(|lun| lun.size_bytes >= GIB && lun.wwid.starts_with("naa.") && !lun.product.is_empty())
    );
    assert_eq!(left(), Vec::<String>::new());
    let wrong = Some(Chap { user: "u1".into(), password: Secret::new("not-the-secret") });
    assert_eq!(code(targets(TARGET, wrong)), FaultCode::PoolAuthFailed);
    assert_eq!(left(), Vec::<String>::new());
    // A session somebody else has stays, and is looked into.
    let pool = open(&setup_of(TARGET, 0, "qxseen")).unwrap();
    let luns = of(&targets(TARGET, chap()).unwrap()).luns;
    assert_eq!((luns.len(), luns[0].content.as_str()), (1, "LVM volume group qxseen"));
    assert!(pool.info().unwrap().fault.is_none());
    pool.destroy(LettingGo::Orderly).unwrap();
    // A portal that tells nobody without CHAP; the secret goes by a closed file and leaves none.
    targetcli(&["/iscsi set discovery_auth enable=1 userid=finder password=lab-chap-secret-3"]);
    assert_eq!(code(targets("", None)), FaultCode::PoolAuthFailed);
    let finder = |password: &str| Some(Chap { user: "finder".into(), password: Secret::new(password) });
    assert_eq!(code(targets("", finder("not-the-secret"))), FaultCode::PoolAuthFailed);
    let found = targets("", finder("lab-chap-secret-3")).unwrap();
    assert_eq!(of(&found).name, TARGET);
    targetcli(&["/iscsi set discovery_auth enable=0"]);
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
fn nobody_types_an_export() {
    lab::require();
    let server = "127.0.0.1".to_owned();
    let Found::Exports(found) = ask(&Question::Exports { server }).unwrap() else { panic!("exports") };
    let paths: Vec<&str> = found.exports.iter().map(|e| e.path.as_str()).collect();
    assert!(paths.contains(&"/srv/nfs/rw") && found.note.is_empty(), "{found:?}");
    let nobody = Question::Exports { server: "192.0.2.1".into() };
    assert_eq!(code(ask(&nobody)), FaultCode::PoolServerUnreachable);
    // A server that serves NFS 4 only has nobody to ask.
    run_program("systemctl", &["stop", "nfs-mountd"]);
    let Found::Exports(found) = ask(&Question::Exports { server: "127.0.0.1".into() }).unwrap() else {
        panic!("exports")
    };
    run_program("systemctl", &["start", "nfs-mountd"]);
    assert_eq!(found.exports, [Export { path: "/".into(), clients: String::new() }]);
    assert!(found.note.contains("NFS 4 only"), "{found:?}");
}

/// multipathd for as long as this lives.
struct Multipath;

impl Multipath {
    fn start() -> Multipath {
        run_program("systemctl", &["start", "multipathd"]);
        Multipath
    }
}

impl Drop for Multipath {
    fn drop(&mut self) {
        let _ = Command::new("systemctl").args(["stop", "multipathd", "multipathd.socket"]).status();
    }
}

/// Until the pool says what is wanted; what it says at the end otherwise.
fn told(pool: &IscsiPool, wanted: &str) -> String {
    let end = Instant::now() + Duration::from_secs(150);
    loop {
        let paths = fact(pool, "paths");
        if paths == wanted || Instant::now() > end {
            return paths;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_lost_path_is_told_of_and_costs_nothing() {
    lab::require();
    let _daemon = Multipath::start();
    let _disk = Disk::new();
    let setup = setup_of(PATHS, 0, "qxpaths");
    let pool = open(&setup).unwrap();
    assert_eq!(told(&pool, "2 of 2"), "2 of 2", "{:?}", pool.info().unwrap());
    let info = pool.info().unwrap();
    assert!(info.fault.is_none(), "{info:?}");
    assert!(fact(&pool, "device").starts_with("/dev/dm-"), "both are one device: {info:?}");
    let id = pool.volume_create(&wish(16 * MIB), &mut no_progress()).unwrap().id;
    let Attachment::Block { path } = pool.volume_attach(id).unwrap() else { panic!("a block device") };
    let write = |byte: u8| {
        let began = Instant::now();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&vec![byte; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
        began.elapsed()
    };
    eprintln!("paths | 2 of 2 | 1 MiB written and synced in {:.1?}", write(1));
    // The second portal goes dark: what comes from it is dropped, as by a cable that was pulled.
    let dark =
        ["add", "rule", "inet", "dark", "in", "ip", "daddr", "127.0.0.2", "tcp", "dport", "3270", "drop"];
    run_program("nft", &["add", "table", "inet", "dark"]);
    run_program("nft", &["add", "chain", "inet", "dark", "in", "{ type filter hook input priority 0; }"]);
    run_program("nft", &dark);
    let began = Instant::now();
    eprintln!("paths | one dark | 1 MiB written and synced in {:.1?}", write(2));
    let seen = told(&pool, "1 of 2");
    eprintln!("paths | one dark | told after {:.1?}: {:?}", began.elapsed(), pool.info().unwrap().fault);
    assert_eq!(seen, "1 of 2", "{:?}", pool.info().unwrap());
    assert_eq!(pool.info().unwrap().fault.unwrap().code, FaultCode::PoolServerUnreachable);
    write(3);
    run_program("nft", &["delete", "table", "inet", "dark"]);
    assert_eq!(told(&pool, "2 of 2"), "2 of 2", "{:?}", pool.info().unwrap());
    eprintln!("paths | both again | 1 MiB written and synced in {:.1?}", write(4));
    pool.volume_detach(id).unwrap();
    assert!(pool.volume_delete(id).unwrap());
    let began = Instant::now();
    pool.destroy(LettingGo::Orderly).unwrap();
    eprintln!("paths | let go of in {:.1?}", began.elapsed());
    assert_eq!(left(), Vec::<String>::new());
    let maps = names("/dev/mapper").into_iter().filter(|name| name != "control");
    assert_eq!(maps.collect::<Vec<_>>(), Vec::<String>::new());
}
