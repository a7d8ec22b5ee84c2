//! The lab VM is what its users rely on: quick, private, forgetful, and with every server up.

use quantix_lab::labvm::{CHAP_PASSWORD, CHAP_USER, LabVm, SHARE, TARGET};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn it_runs_programs_and_forgets() {
    let began = Instant::now();
    let vm = LabVm::start();
    eprintln!("started in {:?}", began.elapsed());
    let echo = vm.run(&["echo", "a b", "$HOME"], MINUTE);
    assert_eq!((echo.code, echo.stdout.as_str()), (Some(0), "a b $HOME\n"));
    eprintln!("one command: {:?}", echo.took);
    let no = vm.run(&["ls", "/nowhere"], MINUTE);
    assert!(no.code == Some(2) && no.stderr.contains("No such file"), "{no:?}");
    let late = vm.run(&["sleep", "100"], Duration::from_millis(300));
    assert!(late.late && late.took < Duration::from_secs(10), "{late:?}");
    let cat = vm.run_with(&["cat"], &[], b"through standard input", MINUTE);
    assert_eq!(cat.stdout, "through standard input");
    std::fs::write(vm.share().join("hello"), "from outside").expect("written");
    assert_eq!(vm.ok(&["cat", &format!("{SHARE}/hello")]), "from outside");
    vm.ok(&["cp", "/etc/hostname", &format!("{SHARE}/answer")]);
    assert_eq!(std::fs::read_to_string(vm.share().join("answer")).expect("read"), "labvm\n");
    vm.ok(&["touch", "/root/left-behind"]);
    let share = vm.share().to_owned();
    vm.stop();
    assert!(!share.exists(), "its folder stayed");
    let vm = LabVm::start();
    assert_eq!(vm.run(&["ls", "/root/left-behind"], MINUTE).code, Some(2));
}

#[test]
fn its_servers_are_up() {
    let vm = LabVm::start();
    for version in ["3", "4.0", "4.1", "4.2"] {
        let options = format!("vers={version},retry=0");
        vm.ok(&["mount", "-t", "nfs", "-o", &options, "127.0.0.1:/srv/nfs/rw", "/mnt"]);
        vm.ok(&["touch", &format!("/mnt/by-{version}")]);
        vm.ok(&["umount", "/mnt"]);
    }
    let denied =
        vm.run(&["mount", "-t", "nfs", "-o", "vers=3,retry=0", "127.0.0.1:/srv/nfs/secret", "/mnt"], MINUTE);
    assert!(denied.code == Some(32) && denied.stderr.contains("access denied"), "{denied:?}");
    let found = vm.ok(&["iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", "127.0.0.1"]);
    assert!(found.contains(TARGET), "{found}");
    let node = ["iscsiadm", "-m", "node", "-T", TARGET, "-p", "127.0.0.1"];
    let node = |more: &[&str]| vm.run(&[&node, more].concat(), MINUTE);
    assert_eq!(node(&["--login"]).code, Some(24), "nobody logs in without CHAP");
    for (name, value) in [("authmethod", "CHAP"), ("username", CHAP_USER), ("password", CHAP_PASSWORD)] {
        assert!(node(&["-o", "update", "-n", &format!("node.session.auth.{name}"), "-v", value]).success());
    }
    let login = node(&["--login"]);
    assert!(login.success(), "{login:?}");
    vm.ok(&["udevadm", "settle"]);
    let disks = vm.ok(&["lsblk", "-dnbo", "SIZE,TRAN"]);
    assert_eq!(disks.matches("iscsi").count(), 2, "{disks}");
    assert!(disks.contains("2147483648 iscsi"), "{disks}");
}
