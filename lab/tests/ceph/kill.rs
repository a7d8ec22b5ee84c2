//! kill -9 of the worker: a volume is whole or not there, and the same change then succeeds.

use super::*;
use quantix_model::id::VolumeId;
use quantix_storage::worker::PoolWorker;
use rustix::process::{Pid, Signal, kill_process};

/// Dies at the first, second, third … step of `work`, until it survives; answers how many died.
fn die_everywhere(
    lab: &CephLab,
    setup: &PoolSetup,
    work: &dyn Fn(&dyn Backend) -> bool,
    check: &dyn Fn(&CephPool),
) -> u64 {
    for step in 1..30 {
        let survived = work(&Through::start(setup.clone(), trial(Some(step))));
        let pool = open(setup);
        check(&pool);
        if survived {
            return step - 1;
        }
    }
    panic!("no worker survived; {}", lab.rbd(&["ls", "-l", "killed"]));
}

pub fn everywhere(lab: &CephLab) {
    let setup = setup_of(lab.pool("killed"));
    let pool = open(&setup);
    let source = make(&pool, 16 * MIB, VolumeSource::Blank);
    write(&pool, &source, "write -P 7 0 4M");
    pool.abilities().snapshots.unwrap().snapshot_create(source.id, "then").unwrap();
    let of =
        |snapshot: &str, linked| VolumeSource::Volume { id: source.id, snapshot: snapshot.into(), linked };
    let thick = VolumeWish { allocation: Allocation::Thick, ..wish(8 * MIB, VolumeSource::Blank) };
    for (what, wish, least) in [
        ("blank", wish(8 * MIB, VolumeSource::Blank), 1),
        ("thick", thick, 2),
        ("linked", wish(32 * MIB, of("", true)), 5),
        ("linked to a snapshot", wish(16 * MIB, of("then", true)), 2),
        ("full", wish(32 * MIB, of("", false)), 3),
    ] {
        let whole = |pool: &CephPool| {
            for volume in pool.volume_list().unwrap().iter().filter(|v| v.id != source.id) {
                assert_eq!(
                    (volume.id, volume.size_bytes),
                    (wish.id, wish.size_bytes),
                    "half a volume is visible"
                );
                holds_seven(pool, wish.id, wish.source != VolumeSource::Blank);
            }
        };
        let create = |pool: &dyn Backend| pool.volume_create(&wish, &mut no_progress()).is_ok();
        let deaths = die_everywhere(lab, &setup, &create, &whole);
        eprintln!("ceph | killed while making | {what} | {deaths} deaths");
        assert!(deaths >= least, "{what}: only {deaths} steps");
        let linked = matches!(wish.source, VolumeSource::Volume { linked: true, .. });
        assert_eq!(pool.volume_list().unwrap().iter().any(|v| v.parent == Some(source.id)), linked);
        let delete = |pool: &dyn Backend| pool.volume_delete(wish.id).is_ok();
        die_everywhere(lab, &setup, &delete, &|_| {});
        assert!(!pool.volume_delete(wish.id).unwrap());
    }
    let gone = |pool: &dyn Backend| pool.volume_delete(source.id).is_ok();
    assert!(die_everywhere(lab, &setup, &gone, &|_| {}) >= 2);
    eventually("an empty pool", || lab.rbd(&["ls", "killed"]).is_empty());
}

fn holds_seven(pool: &CephPool, id: VolumeId, copied: bool) {
    let (disk, _) = opener(&pool.volume_attach(id).unwrap()).unwrap();
    let byte = if copied { 7 } else { 0 };
    let read = format!("read -P {byte} 0 4M");
    let said = run_program("qemu-io", &["-r", "-f", "raw", "-c", &read, &disk]);
    assert!(!String::from_utf8_lossy(&said).contains("verification failed"), "half a copy is visible");
}

/// The copying program dies with its worker; what it leaves is swept later, and hinders nobody.
pub fn in_a_copy(lab: &CephLab) {
    let setup = setup_of(lab.pool("copied"));
    let pool = open(&setup);
    let source = make(&pool, 1 << 30, VolumeSource::Blank);
    write(&pool, &source, "write -P 7 0 1G");
    let of = VolumeSource::Volume { id: source.id, snapshot: String::new(), linked: false };
    let wish = wish(1 << 30, of);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let killed = runtime.block_on(async {
        let worker = PoolWorker::start(setup.clone(), trial(None), quick());
        let id = ready(&worker).await.worker_id;
        let making = tokio::spawn({
            let (worker, wish) = (worker.clone(), wish.clone());
            async move { worker.volume_create(wish, None).await }
        });
        let seen = || lab.rbd(&["ls", "copied"]).contains("quantix-new");
        tokio::task::block_in_place(|| eventually("the copy begins", seen));
        kill_process(Pid::from_raw(id as i32).unwrap(), Signal::KILL).unwrap();
        assert!(making.await.unwrap().is_err(), "the copy was done too soon");
        worker.stop().await;
        id
    });
    let conf = format!("/proc/{killed}/fd/");
    eventually("no program of the dead worker", || programs_with(&conf) == 0);
    assert_eq!(pool.volume_list().unwrap().len(), 1, "half a copy is visible");
    assert_eq!(pool.volume_create(&wish, &mut no_progress()).unwrap().size_bytes, 1 << 30);
    holds_seven(&pool, wish.id, true);
}

/// Living processes with this text in their arguments.
pub fn programs_with(text: &str) -> usize {
    let of = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(of);
    all.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}
