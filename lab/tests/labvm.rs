//! The lab VM is what its users rely on: quick, private, forgetful, and with every server up.

use quantix_lab::labvm::{CHAP_PASSWORD, CHAP_USER, HOST_ADDRESS, LabVm, SHARE, TARGET};
use quantix_lab::process::free_port;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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

/// The first words of an answer to ONC RPC "null" (RFC 5531), from the NFS server behind `port` of this machine.
fn nfs_null(port: u16) -> [u8; 12] {
    let mut call = Vec::new();
    // Record mark, then id, call, RPC 2, program 100003 (NFS), version 4, procedure 0, no credentials.
    for word in [0x8000_0028u32, 7, 0, 2, 100_003, 4, 0, 0, 0, 0, 0] {
        call.extend_from_slice(&word.to_be_bytes());
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port is open");
    stream.set_read_timeout(Some(MINUTE)).expect("a deadline is set");
    stream.write_all(&call).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("the guest's NFS server answers");
    answer
}

#[test]
fn it_is_connected_as_asked_and_not_otherwise() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"hello from outside");
        }
    });
    let into = free_port();
    let listen = format!("exec cat < /dev/tcp/{HOST_ADDRESS}/{port}");
    let listen = ["bash", "-c", &listen];
    let open = LabVm::builder().reach_host().forward(into, 2049).start();
    assert_eq!(open.run(&listen, MINUTE).stdout, "hello from outside");
    // Id 7, a reply.
    assert_eq!(nfs_null(into)[4..], [0, 0, 0, 7, 0, 0, 0, 1]);
    open.stop();
    let closed = LabVm::builder().forward(into, 2049).start();
    assert_eq!(nfs_null(into)[4..], [0, 0, 0, 7, 0, 0, 0, 1]);
    assert_eq!(closed.run(&listen, Duration::from_secs(5)).stdout, "", "it reached this machine");
}
