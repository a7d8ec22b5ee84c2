//! Disks in memory: what is told of them, what is refused, and what a run that is cut at any step leaves behind.

#![allow(clippy::unwrap_used)]

use quantix_host::fake::ScriptedRunner;
use quantix_host::program::Output;
use quantix_model::device::{BlockDevice, DeviceKind};
use quantix_model::id::PoolId;
use quantix_model::pool::spec::file_system_uuid;
use quantix_model::{Fault, FaultCode};
use quantix_storage::device::fake::{FakeDisk, FakeDisks};
use quantix_storage::device::{Disks, Wish};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use uuid::Uuid;

const GIB: u64 = 1 << 30;
const SDB: &str = "/dev/sdb";

fn pool() -> PoolId {
    PoolId(Uuid::from_u128(7))
}

fn disks(fake: &FakeDisks) -> Disks {
    Disks::new(Arc::new(fake.clone()))
}

fn one(fake: &FakeDisks) -> BlockDevice {
    disks(fake).list().unwrap().into_iter().find(|disk| disk.path == SDB).unwrap()
}

fn wish(fake: &FakeDisks, erase: bool) -> Wish {
    Wish { pool: pool(), device: SDB.into(), fingerprint: one(fake).fingerprint, erase, begun: false }
}

fn make(fake: &FakeDisks, wish: &Wish) -> Result<(), Fault> {
    disks(fake).initialise(wish, &|| Ok(()))
}

fn is_ours(fake: &FakeDisks) -> bool {
    let disk = fake.disk(SDB).unwrap();
    let uuid = file_system_uuid(pool()).to_string();
    disk.marks.contains(&("sdb1".into(), ("xfs".into(), uuid))) && !disk.in_progress
}

fn busy_disk() -> FakeDisk {
    FakeDisk::new(SDB, 8 * GIB).with_partitions(&["ext4", "LVM2_member", "swap", ""])
}

#[test]
fn contents_are_told_in_lines() {
    let fake = FakeDisks::new(vec![busy_disk()]);
    let told = one(&fake).contents;
    assert_eq!(
        told,
        [
            "GPT partition table with 4 partitions",
            "sdb1, 4 GiB: ext4 file system, UUID uuid-0",
            "sdb2, 4 GiB: LVM physical volume, UUID uuid-1",
            "sdb3, 4 GiB: swap space, UUID uuid-2",
            "sdb4, 4 GiB: nothing known",
        ]
    );
    let mut unknown = FakeDisk::new(SDB, GIB);
    unknown.unknown_data = true;
    assert_eq!(one(&FakeDisks::new(vec![unknown])).contents, ["data of a kind nobody knows"]);
    let empty = one(&FakeDisks::new(vec![FakeDisk::new(SDB, GIB)]));
    assert_eq!((empty.contents.len(), empty.refused_because.as_str()), (0, ""));
    assert_eq!(empty.kind, DeviceKind::Ssd);
}

#[test]
fn what_must_not_be_touched_is_refused_whatever_is_said() {
    type Change = fn(&mut FakeDisk);
    let cases: &[(&str, Change)] = &[
        ("mounted: sdb1 on /data", |d| d.node.children[0].mountpoints = vec![Some("/data".into())]),
        ("holds /", |d| d.node.children[0].mountpoints = vec![Some("/".into())]),
        ("swaps to it", |d| d.node.children[2].mountpoints = vec![Some("[SWAP]".into())]),
        ("read-only", |d| d.node.ro = true),
        ("smaller than 1 GiB", |d| d.node.size = GIB - 1),
        ("LUN reached over iscsi", |d| d.node.tran = Some("iscsi".into())),
        ("no disk of this machine", |d| d.node.kname = "nbd0".into()),
        ("LVM holds it", |d| {
            let held = quantix_storage_node("lvm", "/dev/mapper/vg-lv");
            d.node.children[1].children = vec![held];
        }),
        ("A RAID holds it", |d| d.node.children = vec![quantix_storage_node("raid1", "/dev/md0")]),
        ("one path to a LUN", |d| {
            d.node.children = vec![quantix_storage_node("mpath", "/dev/mapper/mpatha")]
        }),
    ];
    for (word, change) in cases {
        let fake = FakeDisks::new(vec![busy_disk()]);
        fake.change(SDB, change);
        let before = fake.disk(SDB).unwrap().marks;
        let seen = one(&fake);
        assert!(seen.refused_because.contains(word), "{word}: {}", seen.refused_because);
        let fault = make(&fake, &Wish { begun: true, ..wish(&fake, true) }).unwrap_err();
        assert_eq!(fault.code, FaultCode::DeviceInUse, "{word}: {fault}");
        assert!(fault.message.contains(word) && !fault.remedy.is_empty(), "{fault}");
        assert_eq!(fake.disk(SDB).unwrap().marks, before, "{word}: something was changed");
    }
}

fn quantix_storage_node(kind: &str, path: &str) -> quantix_storage::device::Node {
    quantix_storage::device::Node { kind: kind.into(), path: path.into(), ..Default::default() }
}

#[test]
fn something_on_it_needs_a_word() {
    let fake = FakeDisks::new(vec![busy_disk()]);
    let fault = make(&fake, &wish(&fake, false)).unwrap_err();
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolForeignData, "erase"));
    assert!(fault.cause.contains("ext4"), "{fault}");
    make(&fake, &wish(&fake, true)).unwrap();
    assert!(is_ours(&fake));
    make(&fake, &wish(&fake, false)).expect("it is the pool's already");
    let other = Wish { pool: PoolId(Uuid::from_u128(8)), ..wish(&fake, false) };
    assert_eq!(
        make(&fake, &other).unwrap_err().code,
        FaultCode::PoolForeignData,
        "another pool's file system"
    );
}

#[test]
fn a_disk_that_changed_since_is_refused() {
    let fake = FakeDisks::new(vec![FakeDisk::new(SDB, 2 * GIB)]);
    let seen = wish(&fake, true);
    fake.change(SDB, |disk| *disk = busy_disk());
    assert_eq!(make(&fake, &seen).unwrap_err().code, FaultCode::DeviceChanged);
    let begun = Wish { begun: true, ..seen };
    assert_eq!(
        make(&fake, &begun).unwrap_err().code,
        FaultCode::DeviceChanged,
        "another disk, of another size"
    );
    fake.change(SDB, |disk| disk.node.path = "/dev/sdz".into());
    assert_eq!(make(&fake, &begun).unwrap_err().code, FaultCode::PoolDeviceMissing);
}

#[test]
fn a_run_cut_at_any_step_is_ended_by_the_same_call() {
    let mut survived = false;
    for cut in 1..20 {
        let fake = FakeDisks::new(vec![busy_disk()]);
        let wish = wish(&fake, true);
        let (count, noted) = (Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
        let dying = Disks::with(
            Arc::new(fake.clone()),
            Arc::new(move |step| {
                let now = count.fetch_add(1, Ordering::SeqCst) + 1;
                if now == cut { Err(Fault::internal(format!("killed at {step}"))) } else { Ok(()) }
            }),
        );
        let begin = || {
            noted.store(true, Ordering::SeqCst);
            Ok(())
        };
        survived = dying.initialise(&wish, &begin).is_ok();
        let again = Wish { begun: noted.load(Ordering::SeqCst), ..wish };
        make(&fake, &again).unwrap_or_else(|fault| panic!("after a death at step {cut}: {fault}"));
        assert!(is_ours(&fake), "step {cut}");
        if survived {
            assert!(cut > 7, "only {cut} steps");
            break;
        }
    }
    assert!(survived);
}

#[test]
fn a_file_system_that_was_half_made_is_made_anew() {
    let fake = FakeDisks::new(vec![FakeDisk::new(SDB, 2 * GIB)]);
    fake.change(SDB, |disk| disk.cut_mkfs = true);
    let wish = wish(&fake, false);
    let fault = make(&fake, &wish).unwrap_err();
    assert!(fault.message.contains("no pool is on it"), "{fault}");
    assert!(!is_ours(&fake));
    make(&fake, &Wish { begun: true, ..wish }).unwrap();
    assert!(is_ours(&fake));
}

#[test]
fn a_silent_disk_holds_up_nobody_and_is_left_alone() {
    let mut silent = FakeDisk::new("/dev/sdc", GIB);
    silent.silent = true;
    let fake = FakeDisks::new(vec![FakeDisk::new(SDB, GIB), silent]);
    let disks = disks(&fake);
    for _ in 0..2 {
        let seen = disks.list().unwrap();
        assert_eq!(seen[0].refused_because, "");
        assert!(seen[1].refused_because.contains("cannot be told") && seen[1].fingerprint.is_empty());
    }
    assert!(disks.list().unwrap()[1].refused_because.contains("left alone"));
    let wish = Wish { device: "/dev/sdc".into(), ..wish(&fake, true) };
    assert_eq!(disks.initialise(&wish, &|| Ok(())).unwrap_err().code, FaultCode::PoolIoFailed);
}

#[test]
fn hostile_answers_are_refused_or_made_harmless() {
    let scripted = |text: &'static [u8], code: i32| {
        let answer = move |_: &quantix_host::program::Program| {
            Ok(Output {
                code: Some(code),
                stdout: text.to_vec(),
                stderr: "lsblk: \u{1b}[2Jodd".into(),
                ..Output::default()
            })
        };
        Disks::new(Arc::new(ScriptedRunner::new().on("setpriv", answer)))
    };
    for text in [&b"{\"blockdevices\": [{"[..], b"", b"\xff\xfe", b"{\"blockdevices\": [{\"path\": 3}]}"] {
        let fault = scripted(text, 1).list().unwrap_err();
        assert_eq!(fault.code, FaultCode::InvalidResponse);
        assert!(!fault.cause.chars().any(char::is_control), "{fault:?}");
    }
    let gone = scripted(b"", 127).list().unwrap_err();
    assert_eq!(gone.code, FaultCode::HostProgramMissing);
    assert!(gone.remedy.contains("util-linux"), "{gone:?}");
    let mut odd = FakeDisk::new(SDB, GIB);
    odd.node.model = Some("a\u{1b}[31m\nb\u{202e}c".into());
    odd.marks = vec![("sdb".into(), ("od\nd".into(), "\u{7}".into())); 300];
    let seen = one(&FakeDisks::new(vec![odd]));
    assert_eq!(seen.contents.len(), 64, "bounded");
    assert!(
        !format!("{}{}", seen.model, seen.contents.concat())
            .chars()
            .any(|c| c.is_control() || c == '\u{202e}')
    );
}

/// As `lsblk` 2.38 printed it on a machine with a system disk and one without a medium.
#[test]
fn recorded_output_is_understood() {
    const LSBLK: &str = r#"{ "blockdevices": [
      {"name": "zram0", "kname": "zram0", "path": "/dev/zram0", "type": "disk", "size": 0, "ro": false, "rm": false,
       "rota": false, "model": null, "serial": null, "wwn": null, "tran": null, "mountpoints": [ null ]},
      {"name": "vda", "kname": "vda", "path": "/dev/vda", "type": "disk", "size": 274877906944, "ro": false,
       "rm": false, "rota": true, "model": null, "serial": null, "wwn": null, "tran": null, "mountpoints": [ "/" ]}
    ] }"#;
    const WIPEFS: &str = r#"{ "signatures": [
      {"device": "vda", "offset": "0x438", "type": "ext2", "uuid": "3de4cea6", "label": "da\"t\\na"} ] }"#;
    let answer = |program: &quantix_host::program::Program| {
        let text = if program.args[2] == "lsblk" { LSBLK } else { WIPEFS };
        Ok(Output { code: Some(0), stdout: text.into(), ..Output::default() })
    };
    let seen = Disks::new(Arc::new(ScriptedRunner::new().on("setpriv", answer))).list().unwrap();
    assert_eq!(seen.len(), 1, "what has no size is no disk");
    assert_eq!(seen[0].contents, ["ext2 file system \"da\"t\\na\", UUID 3de4cea6"]);
    assert_eq!((seen[0].kind, seen[0].path.as_str()), (DeviceKind::Hdd, "/dev/vda"));
    assert_eq!(seen[0].refused_because, "The system runs from it: it holds /.");
}
