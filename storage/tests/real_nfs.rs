//! NFS pools on a real kernel server and client. Runs inside the lab VM as root, one test at a time: they stop and
//! start its server. What a newcomer's machine has no server for is refused here with the very words it would meet.

#![allow(clippy::unwrap_used)]

#[path = "real_nfs/guest.rs"]
mod guest;
mod lab;
mod pools;
mod suite;

use guest::*;
use pools::*;
use quantix_model::FaultCode as C;
use quantix_model::pool::NfsVersion::{V3, V4, V41, V42};
use quantix_storage::backend::*;
use quantix_storage::nfs::NfsPool;
use quantix_storage::worker::{PoolWorker, WorkerState};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_suite_on_version_3() {
    let _server = server();
    let setup = nfs(V3, &folder());
    suite::run(Through::start(setup.clone(), trial(None)), "nfs 3");
    let_go(&setup);
}

#[test]
fn a_suite_on_version_4() {
    let _server = server();
    let setup = nfs(V4, &folder());
    suite::run(NfsPool::new(&setup).unwrap(), "nfs 4.0");
    let_go(&setup);
}

#[test]
fn a_suite_on_version_4_1() {
    let _server = server();
    let setup = nfs(V41, &folder());
    suite::run(Through::start(setup.clone(), trial(None)), "nfs 4.1");
    let_go(&setup);
}

#[test]
fn a_suite_on_version_4_2() {
    let _server = server();
    let setup = nfs(V42, &folder());
    suite::run(NfsPool::new(&setup).unwrap(), "nfs 4.2");
    let_go(&setup);
}

#[test]
fn bad_exports_and_servers_say_why() {
    let _server = server();
    let began = Instant::now();
    let (silent, _held) = silent_port();
    let (mute, _mute) = mute_port();
    let port = |n: u16| format!("port={n}");
    let cases = [
        (V3, "127.0.0.1", "/srv/nfs/absent", String::new(), C::PoolAccessDenied, "not exported at all"),
        (
            V41,
            "127.0.0.1",
            "/srv/nfs/absent",
            String::new(),
            C::PoolExportMissing,
            "not there, or not exported",
        ),
        (V3, "127.0.0.1", "/srv/nfs/secret", String::new(), C::PoolAccessDenied, "not exported to this host"),
        (V42, "127.0.0.1", "/srv/nfs/secret", String::new(), C::PoolExportMissing, "not exported to it"),
        (V3, "127.0.0.1", "/srv/nfs/ro", String::new(), C::PoolReadOnly, "read-only"),
        (V41, "127.0.0.1", "/srv/nfs/ro", String::new(), C::PoolReadOnly, "read-only"),
        (V3, "127.0.0.1", "/srv/nfs/squash", String::new(), C::PoolAccessDenied, "root may not write"),
        (V41, "127.0.0.1", "/srv/nfs/squash", String::new(), C::PoolAccessDenied, "root may not write"),
        (V41, "127.0.0.1", "/srv/nfs/rw", "ro".into(), C::PoolReadOnly, "option ro"),
        (V41, "no-such-server.invalid", "/x", String::new(), C::PoolServerUnreachable, "does not know"),
        (V41, "127.0.0.1", "/srv/nfs/rw", port(2050), C::PoolServerUnreachable, "port 2050"),
        (V41, "198.51.100.1", "/x", String::new(), C::PoolServerUnreachable, "no way"),
        (V41, "127.0.0.1", "/x", port(silent), C::PoolServerUnreachable, "does not answer"),
        (V41, "127.0.0.1", "/x", port(mute), C::PoolServerUnreachable, "does not answer"),
    ];
    run("ip", &["route", "replace", "unreachable", "198.51.100.0/24"]);
    for (version, server, export, options, code, word) in cases {
        let setup = nfs_with(version, server, export, &options, "");
        let began = Instant::now();
        let fault = NfsPool::new(&setup).unwrap().init().unwrap_err();
        let took = began.elapsed();
        eprintln!(
            "refused | {} {server}:{export} {options} | {} ms | {fault}",
            version.as_str(),
            took.as_millis()
        );
        assert_eq!(fault.code, code, "{fault:?}");
        assert!(fault.message.contains(word) && !fault.remedy.is_empty(), "{fault:?}");
        assert!(took < 20 * SECOND, "the daemon would have given up on its worker after {took:?}");
        let_go(&setup);
    }
    run("ip", &["route", "del", "unreachable", "198.51.100.0/24"]);
    eprintln!("all refusals: {:?}", began.elapsed());
}

#[test]
fn a_squashed_folder_everybody_may_write_is_degraded() {
    let _server = server();
    let inner = format!("/srv/nfs/squash/{}", pool_id());
    fs::create_dir(&inner).unwrap();
    run("chmod", &["0777", &inner]);
    for version in [V3, V41] {
        let setup = nfs(version, &inner);
        let mut pool = NfsPool::new(&setup).unwrap();
        pool.init().unwrap();
        let fault = pool.info().unwrap().fault.unwrap();
        assert!(fault.message.contains("65534") && fault.remedy.contains("no_root_squash"), "{fault}");
        pool.destroy(LettingGo::Orderly).unwrap();
        run(
            "rm",
            &[
                "-rf",
                &format!("{inner}/.quantix-pool"),
                &format!("{inner}/volumes"),
                &format!("{inner}/images"),
            ],
        );
    }
}

#[test]
fn mount_points_and_foreign_mounts() {
    let _server = server();
    let dir = tempfile::Builder::new().prefix("quantix-places-").tempdir_in("/mnt").unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(at("full/file")).unwrap();
    fs::create_dir(at("mounted")).unwrap();
    symlink(at("mounted"), at("link")).unwrap();
    let export = folder();
    let with = |path: &str| nfs_with(V41, "127.0.0.1", &export, "", path);
    let refused = |path: &str| NfsPool::new(&with(path)).unwrap().init().unwrap_err();
    for (name, word) in [("full", "not empty"), ("link", "is a link"), ("none/pool", "does not exist")] {
        let fault = refused(&at(name));
        assert!(fault.code == C::PoolPathInvalid && fault.message.contains(word), "{fault}");
    }
    let mounted = at("mounted");
    run("mount", &["-t", "tmpfs", "some-tmpfs", &mounted]);
    let fault = refused(&mounted);
    assert!(fault.code == C::PoolForeignMount && fault.message.contains("some-tmpfs (tmpfs)"), "{fault}");
    NfsPool::new(&with(&mounted)).unwrap().destroy(LettingGo::Forced).unwrap();
    assert!(mount_id(&mounted).is_some(), "a mount of somebody else went by our force");
    run("umount", &[&mounted]);
    let source = format!("127.0.0.1:{export}");
    for (options, code, word) in [
        ("vers=4.2", C::PoolForeignMount, "NFS 4.2 instead of NFS 4.1"),
        ("vers=4.1,ro", C::PoolReadOnly, "read-only on"),
    ] {
        run("mount.nfs", &[&source, &mounted, "-o", options]);
        let fault = refused(&mounted);
        assert!(fault.code == code && fault.message.contains(word), "{fault}");
        run("umount", &[&mounted]);
    }
    // What a person mounted is used, and stays theirs.
    run("mount.nfs", &[&source, &mounted, "-o", "vers=4.1"]);
    let before = mount_id(&mounted).unwrap();
    let setup = with(&mounted);
    let mut pool = NfsPool::new(&setup).unwrap();
    pool.init().unwrap();
    pool.info().unwrap();
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(mount_id(&mounted), Some(before));
    run("umount", &[&mounted]);
    // What we mount on a folder of theirs goes, and the folder stays.
    NfsPool::new(&setup).unwrap().init().unwrap();
    NfsPool::new(&setup).unwrap().destroy(LettingGo::Orderly).unwrap();
    assert!(mount_id(&mounted).is_none() && fs::exists(&mounted).unwrap());
}

#[test]
fn the_next_worker_adopts_and_letting_go_waits_for_users() {
    let _server = server();
    let setup = nfs_with(V41, "localhost", &folder(), "", "");
    let path = standard(&setup);
    let mut first = NfsPool::new(&setup).unwrap();
    first.init().unwrap();
    let facts = first.info().unwrap().facts;
    assert!(facts.iter().any(|f| f.name == "protocol" && f.value == "NFS 4.1"), "{facts:?}");
    let options = mount_options(&path);
    for option in ["hard", "nosuid", "nodev", "noexec", "noatime", "lookupcache=pos", "vers=4.1"] {
        assert!(options.iter().any(|o| o == option), "{option} is not in {options:?}");
    }
    let mounted = mount_id(&path).unwrap();
    drop(first);
    let mut next = NfsPool::new(&setup).unwrap();
    next.init().unwrap();
    assert_eq!(mount_id(&path), Some(mounted), "mounted twice");
    let held = fs::File::create(format!("{path}/held")).unwrap();
    let fault = next.destroy(LettingGo::Orderly).unwrap_err();
    assert!(fault.code == C::PoolInUse && fault.message.contains(&std::process::id().to_string()), "{fault}");
    next.info().unwrap();
    drop(held);
    // Unmounted by somebody else: it comes back by itself.
    run("umount", &["-l", &path]);
    next.info().unwrap();
    assert!(mount_id(&path).is_some());
    next.destroy(LettingGo::Orderly).unwrap();
    assert!(mount_id(&path).is_none() && !fs::exists(&path).unwrap());
    assert_eq!(code(next.volume_list()), C::PoolNotReady);
    next.destroy(LettingGo::Orderly).unwrap();
}

#[test]
fn a_stale_handle_is_mounted_again() {
    let _server = server();
    for version in [V3, V42] {
        let export = folder();
        let setup = nfs(version, &export);
        let mut pool = NfsPool::new(&setup).unwrap();
        pool.init().unwrap();
        fs::rename(&export, format!("{export}.old")).unwrap();
        fs::remove_dir_all(format!("{export}.old")).unwrap();
        fs::create_dir(&export).unwrap();
        let began = Instant::now();
        // Attributes may be remembered for a moment.
        let mark = format!("{export}/.quantix-pool");
        eventually("the stale handle is seen and mended", || {
            pool.info().is_ok() && fs::exists(&mark).unwrap()
        });
        assert!(mount_id(&standard(&setup)).is_some());
        eprintln!("stale handle mended in {:?} (NFS {})", began.elapsed(), version.as_str());
        pool.destroy(LettingGo::Orderly).unwrap();
    }
}

/// The server goes and comes back; the pool beside it never notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_stops_and_comes_back() {
    let server = server();
    for version in [V3, V41, V42] {
        let (setup, dir) = (nfs(version, &folder()), scratch());
        let beside = pools::setup(&dir.path().join("pool"));
        let limits = quantix_storage::worker::Limits { patience_max: 3 * SECOND, ..quick() };
        let sick = PoolWorker::start(setup.clone(), trial(None), limits);
        let well = PoolWorker::start(beside, trial(None), quick());
        ready(&sick).await;
        ready(&well).await;
        sick.info().await.unwrap();
        let path = standard(&setup);
        server.stop();
        // A guest's disk: what it writes now waits, and is not lost.
        let writer = std::thread::spawn(move || {
            let file = fs::File::create(format!("{path}/disk"))?;
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 65536], 0)?;
            file.sync_all()
        });
        let began = Instant::now();
        let fault = sick.info().await.unwrap_err();
        assert_eq!(fault.code, C::PoolStalled, "{fault}");
        let first = began.elapsed();
        let status = wait_for(&sick, "a stall", |s| s.state != WorkerState::Ready).await;
        let (mut worst, mut worst_beside, mut causes) = (Duration::ZERO, Duration::ZERO, Vec::new());
        let mut abandoned = status.abandoned;
        let end = Instant::now() + 5 * SECOND;
        while Instant::now() < end {
            let began = Instant::now();
            let fault = sick.volume_list().await.unwrap_err();
            worst = worst.max(began.elapsed());
            if causes.last() != Some(&fault.code) {
                causes.push(fault.code);
            }
            let began = Instant::now();
            well.info().await.unwrap();
            worst_beside = worst_beside.max(began.elapsed());
            abandoned = abandoned.max(sick.status().abandoned);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(worst < SECOND && worst_beside < 2 * SECOND, "{worst:?} {worst_beside:?}");
        assert!(
            causes
                .iter()
                .all(|c| matches!(c, C::PoolStalled | C::PoolServerUnreachable | C::PoolProtocolUnsupported))
        );
        assert!(!writer.is_finished(), "a hard mount waits");
        server.start();
        let began = Instant::now();
        wait_long(&sick, "the pool is back", |s| s.state == WorkerState::Ready && s.abandoned == 0).await;
        let back = began.elapsed();
        sick.info().await.unwrap();
        writer.join().unwrap().unwrap();
        let volume = VolumeWish { id: volume_id(), ..blank() };
        sick.volume_create(volume.clone(), None).await.unwrap();
        eprintln!(
            "stopped | NFS {} | stall seen in {first:?}, worst refusal {worst:?}, the pool beside {worst_beside:?}, \
             abandoned {abandoned}, told {causes:?}, back {back:?} after the server",
            version.as_str()
        );
        sick.destroy(LettingGo::Orderly).await.unwrap();
        sick.stop().await;
        well.stop().await;
        eventually("nobody is left in the kernel", || stuck().is_empty());
    }
}

/// Through workers only: whoever touches a dead mount waits, and must be somebody who can be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_servers_mount_is_let_go_of_by_force() {
    let server = server();
    for version in [V3, V41] {
        let setup = nfs(version, &folder());
        let limits = || quantix_storage::worker::Limits { patience_max: 15 * SECOND, ..quick() };
        let worker = PoolWorker::start(setup.clone(), trial(None), limits());
        ready(&worker).await;
        let path = standard(&setup);
        let mut user = writer(&format!("{path}/disk"));
        eventually("somebody writes", || fs::metadata(format!("{path}/disk")).is_ok_and(|m| m.len() > 0));
        server.stop();
        let began = Instant::now();
        let fault = worker.info().await.unwrap_err();
        assert_eq!(fault.code, C::PoolStalled, "{fault}");
        let stall = began.elapsed();
        let began = Instant::now();
        let fault = worker.destroy(LettingGo::Orderly).await.unwrap_err();
        let orderly = began.elapsed();
        assert!(matches!(fault.code, C::PoolInUse | C::PoolStalled), "{fault}");
        assert!(!fault.remedy.is_empty() && orderly < 20 * SECOND, "{orderly:?}: {fault}");
        assert!(mount_id(&path).is_some(), "an orderly end takes nothing away from its users");
        let began = Instant::now();
        worker.destroy(LettingGo::Forced).await.unwrap();
        let forced = began.elapsed();
        worker.stop().await;
        // The longest that a start under way may wait for its server comes first.
        assert!(forced < 40 * SECOND, "{forced:?}");
        assert!(mount_id(&path).is_none() && !fs::exists(&path).unwrap(), "still mounted");
        server.start();
        let began = Instant::now();
        ended(&mut user);
        eventually("nobody is left in the kernel", || stuck().is_empty());
        eprintln!(
            "let go by force | NFS {} | stall told after {stall:.1?}, orderly refused ({}) after {orderly:.1?}, forced after \
             {forced:.1?}, its user ended {:.1?} after the server came back",
            version.as_str(),
            fault.code,
            began.elapsed()
        );
        let next = PoolWorker::start(setup.clone(), trial(None), quick());
        wait_long(&next, "a new mount", |s| s.state == WorkerState::Ready).await;
        next.volume_create(VolumeWish { id: volume_id(), ..blank() }, None).await.unwrap();
        next.destroy(LettingGo::Orderly).await.unwrap();
        next.stop().await;
        assert!(mount_id(&path).is_none());
    }
}

#[test]
fn a_version_the_server_has_not() {
    let server = server();
    server.stop();
    server.start_with(&["-N", "4.2"]);
    let fault = NfsPool::new(&nfs(V42, &folder())).unwrap().init().unwrap_err();
    server.stop();
    server.start_with(&["-V", "4.2"]);
    assert_eq!(fault.code, C::PoolProtocolUnsupported, "{fault}");
    assert!(fault.message.contains("4.2") && fault.remedy.contains("rpcinfo"), "{fault}");
}
