//! `--reset`: forgets everything, after saying what that is.

use crate::failure::{Context, Failure, Result};
use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

/// Names what is lost, asks, and removes it. The caller holds the folder's lock.
pub fn run(dir: &Path, yes: bool) -> Result<()> {
    let parts: Vec<(&str, &str)> = PARTS.into_iter().filter(|(name, _)| dir.join(name).exists()).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout();
    let mut text = format!("--reset removes from {}:\n", dir.display());
    for (name, what) in &parts {
        text += &format!("  {name:<8} {what}\n");
    }
    text += "Pool folders, with their volumes and images, stay where they are; so do VMs in the system's libvirt.\n";
    write!(out, "{text}").and_then(|()| out.flush()).doing("asking")?;
    if !yes {
        ask()?;
    }
    crate::libvirt::end_leftovers(&dir.join("libvirt"));
    for (name, _) in parts {
        fs::remove_dir_all(dir.join(name)).doing(dir.join(name).display())?;
    }
    Ok(())
}

const PARTS: [(&str, &str); 3] = [
    ("vdc", "the vDC's database and certificates: users, hosts, pools, images, VMs, tasks as it knows them"),
    ("node", "this host's identity and ledger: it must be added again"),
    ("libvirt", "the private libvirt, with the VMs defined in it"),
];

fn ask() -> Result<()> {
    let refused = || Failure::new("nothing was removed");
    if !std::io::stdin().is_terminal() {
        return Err(refused().remedy("there is nobody to ask; add --yes"));
    }
    let mut out = std::io::stdout();
    write!(out, "Type `reset` to go on: ").and_then(|()| out.flush()).doing("asking")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).doing("reading the answer")?;
    if answer.trim() == "reset" { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_parts_go_and_nobody_means_no() {
        let dir = std::env::temp_dir().join(format!("quantix-reset-{}", std::process::id()));
        for name in ["vdc", "node", "mine"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        if !std::io::stdin().is_terminal() {
            assert!(run(&dir, false).is_err());
            assert!(dir.join("vdc").exists());
        }
        run(&dir, true).unwrap();
        assert!(!dir.join("vdc").exists() && !dir.join("node").exists());
        assert!(dir.join("mine").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
