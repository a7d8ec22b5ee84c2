//! Processes and the rights they have, as the kernel tells in /proc (proc(5)).

use crate::tree;
use std::path::Path;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line.
    pub words: Vec<String>,
    /// The user whose rights it has now (effective `Uid`).
    pub user: u32,
    /// `Seccomp`: 0 none, 1 strict, 2 filtered.
    pub seccomp_mode: u32,
    /// `NoNewPrivs`: no program it starts gets more rights than it has.
    pub no_new_privileges: bool,
}

impl Process {
    /// The mode of a process with a filter of system calls.
    pub const FILTERED: u32 = 2;
}

/// Those whose program has `part` in its name. What ends meanwhile is left out.
pub fn named(root: &Path, part: &str) -> Vec<Process> {
    let pids = tree::names(root, "proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    pids.filter_map(|pid| one(root, pid, part)).collect()
}

fn one(root: &Path, pid: u32, part: &str) -> Option<Process> {
    let command = tree::text(root, &format!("proc/{pid}/cmdline"));
    let words: Vec<String> = command.split_terminator('\0').map(str::to_owned).collect();
    if !words.first()?.rsplit('/').next()?.contains(part) {
        return None;
    }
    let status = tree::text(root, &format!("proc/{pid}/status"));
    let field = |name: &str, at: usize| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().nth(at)?.parse::<u32>().ok()
    };
    Some(Process {
        pid,
        words,
        user: field("Uid", 1)?,
        seccomp_mode: field("Seccomp", 0).unwrap_or(0),
        no_new_privileges: field("NoNewPrivs", 0) == Some(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_and_others_left_out() {
        let root = tempfile::tempdir().unwrap();
        let process = |pid: u32, command: &str, status: &str| {
            let folder = root.path().join(format!("proc/{pid}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("cmdline"), command).unwrap();
            std::fs::write(folder.join("status"), status).unwrap();
        };
        let status = "Name:\tqemu-system-x86\nUid:\t0\t64055\t64055\t64055\nNoNewPrivs:\t1\nSeccomp:\t2\n\
                      Seccomp_filters:\t1\n";
        process(7, "/usr/bin/qemu-system-x86_64\0-uuid\0a\0", status);
        process(8, "vim\0/etc/qemu.conf\0", status);
        process(9, "/usr/bin/qemu-system-x86_64\0", "");
        process(10, "qemu-kvm\0", "Uid:\t0\t0\t0\t0\n");
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        let filtered = Process {
            pid: 7,
            words: words(&["/usr/bin/qemu-system-x86_64", "-uuid", "a"]),
            user: 64055,
            seccomp_mode: Process::FILTERED,
            no_new_privileges: true,
        };
        let open = Process { pid: 10, words: words(&["qemu-kvm"]), ..Process::default() };
        assert_eq!(named(root.path(), "qemu"), [filtered, open]);
    }
}
