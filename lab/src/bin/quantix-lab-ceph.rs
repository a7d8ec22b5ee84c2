//! `quantix-lab-ceph --dir D`: a Ceph cluster of one's own until Enter or Ctrl-C. `./x ceph` builds and calls it.

use quantix_lab::ceph::CephLab;
use std::path::Path;
use std::process::ExitCode;

#[allow(clippy::print_stdout, reason = "how to reach it is the output")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [flag, dir] = &words[..] else {
        eprintln!("quantix-lab-ceph --dir D");
        return ExitCode::from(2);
    };
    let dir = Path::new(dir);
    if flag != "--dir" || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        eprintln!(
            "{} is not empty; give --dir a folder to be made (it is removed at the end)",
            dir.display()
        );
        return ExitCode::from(2);
    }
    let lab = CephLab::start(dir);
    let spec = lab.pool("vms");
    println!("READY");
    println!("monitor {}", spec.monitors.join(","));
    println!("pool {}\nuser {}\nkey {}", spec.pool, spec.user, spec.key.expose());
    println!("administer it with: ceph -c {0}/ceph.conf -k {0}/client.admin.keyring", dir.display());
    println!("Enter ends it.");
    // The daemons die with this process however it ends; the folder is removed when it ends like this.
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(lab);
    ExitCode::SUCCESS
}
