//! Signing in to the target and out again, and finding the LUN there.
//!
//! ```text
//!   portal answers ─▶ discovery ─▶ node record (secrets: by file) ─▶ login ─▶ scan for the LUN ─▶ WWID
//!        └ a session that is there already is used as it is
//! ```
//! A session shows all LUNs of its target, so several pools may share one. Each pool leaves its name in
//! `/run/quantix/iscsi/<target>` while it uses the session; the last one signs out. A session that was there before any
//! pool is somebody else's and stays.

use crate::error::{Result, io};
use crate::iscsi::record::{self, Patience};
use crate::iscsi::session::{self, Disk, Session};
use crate::iscsi::{IscsiPool, classify};
use quantix_host::program::Program;
use quantix_model::{Fault, FaultCode};
use std::fs;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The registered port of iSCSI (RFC 7143).
const PORT: u16 = 3260;
const CONNECT: Duration = Duration::from_secs(3);
pub(super) const DISCOVERY: Duration = Duration::from_secs(8);
const LOGIN: Duration = Duration::from_secs(30);
/// A LUN that was scanned for is known at once; its disk and the name in `/dev` follow.
const APPEAR: Duration = Duration::from_secs(10);
/// Who found the session there and did not make it.
const ADOPTED: &str = "adopted";
/// I/O waits this long for a target that is gone. Longer than a target's restart or failover; a guest that got an error
/// would make its file system read-only.
const ONE_PATH: Patience = Patience { replacement_seconds: 120 };
/// With several paths an error only means to take the next one.
const SEVERAL_PATHS: Patience = Patience { replacement_seconds: 15 };

/// A portal as iscsiadm writes it and as `/sys` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// `192.0.2.1:3260,1`; the portal group is left out when unknown.
    pub(super) argument: String,
    /// `192.0.2.1,3260`.
    pub key: String,
}

impl Portal {
    fn new(address: SocketAddr, group: Option<&str>) -> Portal {
        let group = group.map(|group| format!(",{group}")).unwrap_or_default();
        Portal { argument: format!("{address}{group}"), key: format!("{},{}", address.ip(), address.port()) }
    }
}

/// The portals of a target in what `iscsiadm -m discovery` prints: `address:port,group target` each.
fn portals(text: &str, target: &str) -> Vec<Portal> {
    let portal = |line: &str| {
        let (address, name) = line.split_once(' ')?;
        let (address, group) = address.rsplit_once(',')?;
        (name.trim() == target).then(|| address.parse().ok())?.map(|at| Portal::new(at, Some(group)))
    };
    text.lines().filter_map(portal).collect()
}

/// `server`, `server:port` or `[v6]:port` with the port made plain.
fn with_port(text: &str) -> (String, u16) {
    if let Some((server, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (
            server.to_owned(),
            rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(PORT),
        );
    }
    match text.split_once(':') {
        Some((server, port)) if !port.contains(':') => (server.to_owned(), port.parse().unwrap_or(PORT)),
        _ => (text.to_owned(), PORT),
    }
}

impl IscsiPool {
    /// Makes sure of a session and finds the LUN in it.
    pub(super) fn connect(&self) -> Result<()> {
        record::sweep();
        let there = session::sessions(&self.sys, &self.spec.target);
        self.register(!there.is_empty())?;
        if there.is_empty() {
            self.sign_in()?;
        }
        self.find_lun().map(drop)
    }

    /// Signs in to portals of the target that have no session, where several are used.
    pub(super) fn sign_in_missing(&self) -> Result<()> {
        if !session::multipath_runs(&self.run_dir) {
            return Ok(());
        }
        let offered = self.discover(&self.reach_any()?)?;
        self.expected.fetch_max(offered.len(), Ordering::SeqCst);
        let there = session::sessions(&self.sys, &self.spec.target);
        let missing = offered.iter().filter(|portal| !there.iter().any(|s| s.portal == portal.key));
        for portal in missing {
            if let Err(fault) = self.sign_in_at(portal, SEVERAL_PATHS) {
                tracing::info!(%fault, portal = portal.key, "a path stays away");
            }
        }
        Ok(())
    }

    /// The portal of the pool, else one with a session.
    fn reach_any(&self) -> Result<Portal> {
        self.reach().or_else(|fault| {
            let there = session::sessions(&self.sys, &self.spec.target);
            let address = |s: &Session| {
                let (ip, port) = s.portal.rsplit_once(',')?;
                Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
            };
            let up = there.iter().filter(|s| s.is_up()).find_map(address);
            up.map(|address| Portal::new(address, None)).ok_or(fault)
        })
    }

    pub(super) fn sign_in(&self) -> Result<()> {
        self.step("init: portal")?;
        let first = self.reach()?;
        self.step("init: discovery")?;
        let mut offered = self.discover(&first)?;
        // The portal that was asked for comes first.
        offered.sort_by_key(|portal| portal.key != first.key);
        let several = session::multipath_runs(&self.run_dir) && offered.len() > 1;
        if !several && offered.iter().all(|portal| portal.key != first.key) {
            // Behind address translation a target tells its own addresses, which lead nowhere from here, or elsewhere.
            offered.insert(0, first);
        }
        self.expected.store(if several { offered.len() } else { 1 }, Ordering::SeqCst);
        let patience = if several { SEVERAL_PATHS } else { ONE_PATH };
        let mut problem = None;
        for (n, portal) in offered.iter().enumerate() {
            if n > 0 && problem.is_none() && !several {
                break;
            }
            match self.sign_in_at(portal, patience) {
                Ok(()) if !several => return Ok(()),
                Ok(()) => {}
                Err(fault) if fault.code == FaultCode::PoolAuthFailed => return Err(fault),
                Err(fault) => problem = Some(fault),
            }
        }
        let signed = session::sessions(&self.sys, &self.spec.target);
        problem.filter(|_| signed.is_empty()).map_or(Ok(()), Err)
    }

    /// Whether anybody listens at the portal: iscsiadm alone would try for a quarter of a minute.
    pub(super) fn reach(&self) -> Result<Portal> {
        let portal = &self.spec.portal;
        let unreachable = |cause: String| {
            Fault::new(
                FaultCode::PoolServerUnreachable,
                format!("No iSCSI portal answers at {portal}."),
                "Check the address and port, that the target is switched on, and firewalls between.",
            )
            .because(cause)
            .in_phase("reach the portal")
        };
        let (server, port) = with_port(portal);
        let found = (server.as_str(), port).to_socket_addrs().map_err(|e| unreachable(e.to_string()))?;
        let mut cause = format!("{server} has no address");
        for address in found.take(4) {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(_) => return Ok(Portal::new(address, None)),
                Err(e) => cause = format!("{address}: {e}"),
            }
        }
        Err(unreachable(cause))
    }

    /// All portals of the target. Nothing is written; a portal that does not tell is used as it was given.
    fn discover(&self, first: &Portal) -> Result<Vec<Portal>> {
        let args =
            ["-m", "discovery", "-t", "sendtargets", "-o", "nonpersistent", "-p", first.argument.as_str()];
        let program = Program::new("iscsiadm").args(args).deadline(DISCOVERY);
        let output = match self.runner.run_blocking(&program, &mut || Ok(())) {
            Ok(output) if output.succeeded() => output,
            Err(fault) if fault.code == FaultCode::HostProgramMissing => return Err(fault),
            _ => return Ok(vec![first.clone()]),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let offered = portals(&text, &self.spec.target);
        if !offered.is_empty() || text.trim().is_empty() {
            let given = || vec![first.clone()];
            return Ok(if offered.is_empty() { given() } else { offered });
        }
        let mut others: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(' ')).map(|(_, name)| name).collect();
        others.sort_unstable();
        others.dedup();
        others.truncate(20);
        Err(Fault::new(
            FaultCode::PoolExportMissing,
            format!("The portal {} does not offer the target {}.", self.spec.portal, self.spec.target),
            "Check the target's name, and that its access list holds this host's initiator name.",
        )
        .because(format!("it offers {}", others.join(", ")))
        .in_phase("discovery"))
    }

    fn sign_in_at(&self, portal: &Portal, patience: Patience) -> Result<()> {
        let node = |more: &[&str]| {
            let args = ["-m", "node", "-T", self.spec.target.as_str(), "-p", portal.argument.as_str()];
            Program::new("iscsiadm").args(args).args(more.to_vec()).deadline(LOGIN)
        };
        self.step("init: record")?;
        self.iscsiadm("make the node record", &node(&["-o", "new"]), &[])?;
        self.step("init: secrets")?;
        record::fill(&self.spec, &portal.key, patience)?;
        self.step("init: login")?;
        self.iscsiadm("sign in", &node(&["--login"]), &[classify::SESSION_EXISTS])
    }

    pub(super) fn iscsiadm(&self, step: &'static str, program: &Program, fine: &[i32]) -> Result<()> {
        let output = self.run(step, program)?;
        if output.succeeded() || output.code.is_some_and(|code| fine.contains(&code)) {
            return Ok(());
        }
        Err(classify::iscsiadm(step, &self.spec.target, &self.spec.portal, &output))
    }

    /// The LUN in every session that shows it, after the kernel looked again.
    pub(super) fn find_lun(&self) -> Result<Vec<Disk>> {
        self.step("init: scan")?;
        let end = Instant::now() + APPEAR;
        loop {
            let sessions = session::sessions(&self.sys, &self.spec.target);
            if !sessions.iter().any(Session::is_up) {
                return Err(self.no_session(&sessions));
            }
            for up in sessions.iter().filter(|session| session.is_up()) {
                match up.disk(&self.sys, self.spec.lun) {
                    Some(disk) => disk.rescan(),
                    None => up.scan(&self.sys, self.spec.lun),
                }
                .map_err(|e| io("scan for the LUN", &e))?;
            }
            let shown = |s: &Session| s.disk(&self.sys, self.spec.lun).filter(|disk| !disk.wwid.is_empty());
            let disks: Vec<Disk> = sessions.iter().filter_map(shown).collect();
            if !disks.is_empty() && disks.iter().all(|disk| Path::new(&disk.device).exists()) {
                self.join_paths(&disks)?;
                return Ok(disks);
            }
            let known = sessions.iter().any(|session| session.knows(self.spec.lun));
            if !known || Instant::now() >= end {
                return Err(Fault::new(
                    FaultCode::PoolDeviceMissing,
                    format!("The target {} shows this host no LUN {}.", self.spec.target, self.spec.lun),
                    "Check the LUN's number, and that the target maps it to this host's initiator name.",
                )
                .in_phase("scan for the LUN"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn register_folder(&self) -> PathBuf {
        self.run_dir.join("quantix/iscsi").join(&self.spec.target)
    }

    /// Says that this pool uses the session, before there is one: a worker that dies in between leaves no orphan.
    pub(super) fn register(&self, adopted: bool) -> Result<()> {
        let folder = self.register_folder();
        let failed = |e: std::io::Error| io("register the session", &e);
        fs::create_dir_all(&folder).map_err(failed)?;
        let empty = fs::read_dir(&folder).map_err(failed)?.next().is_none();
        if empty && adopted {
            fs::write(folder.join(ADOPTED), "").map_err(failed)?;
        }
        fs::write(folder.join(self.id.to_string()), "").map_err(failed)
    }

    /// Takes the pool's name out; whether it stood there and was the last, of a session we made.
    pub(super) fn unregister(&self) -> bool {
        let folder = self.register_folder();
        if fs::remove_file(folder.join(self.id.to_string())).is_err() {
            return false;
        }
        let left: Vec<String> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let adopted = left.iter().any(|name| name == ADOPTED);
        if left.iter().all(|name| name == ADOPTED) {
            let _ = fs::remove_file(folder.join(ADOPTED));
            let _ = fs::remove_dir(&folder);
            return !adopted;
        }
        false
    }

    /// Removes the records of the target; there may be none.
    fn forget_record(&self) {
        if record::any(&self.spec.target) {
            let args = ["-m", "node", "-T", self.spec.target.as_str(), "-o", "delete"];
            // What stays is overwritten by the next login.
            let _ = self.run("remove the node record", &Program::new("iscsiadm").args(args).deadline(LOGIN));
        }
    }

    /// Signs out when no other pool needs the session, and leaves no record. Not signed in is fine.
    pub(super) fn sign_out(&self) -> Result<()> {
        let sessions = session::sessions(&self.sys, &self.spec.target);
        let registered = self.register_folder().join(self.id.to_string()).exists();
        if !self.unregister() {
            // The session stays for others; our disk goes.
            for disk in
                sessions.iter().filter_map(|s| s.disk(&self.sys, self.spec.lun)).filter(|_| registered)
            {
                disk.forget().map_err(|e| io("forget the LUN", &e))?;
            }
            return Ok(());
        }
        self.end_session()
    }

    /// Signs out, and leaves no record. Not signed in is fine.
    pub(super) fn end_session(&self) -> Result<()> {
        if !session::sessions(&self.sys, &self.spec.target).is_empty() {
            let args = ["-m", "node", "-T", self.spec.target.as_str(), "--logout"];
            let program = Program::new("iscsiadm").args(args).deadline(LOGIN);
            let out = self.iscsiadm("sign out", &program, &[classify::NOTHING_FOUND]);
            if out.is_err() {
                // A second try must know that the session is ours.
                self.register(false)?;
            }
            out?;
        }
        self.forget_record();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portals_are_read() {
        let text = "127.0.0.1:3260,1 iqn.2026-01.org.lab:t1\n127.0.0.1:3260,1 iqn.2026-01.org.lab:mutual\n\
                    [2001:db8::1]:3261,2 iqn.2026-01.org.lab:t1\nnonsense\n";
        let found = portals(text, "iqn.2026-01.org.lab:t1");
        let shown: Vec<_> = found.iter().map(|p| (p.argument.as_str(), p.key.as_str())).collect();
        assert_eq!(
            shown,
            [("127.0.0.1:3260,1", "127.0.0.1,3260"), ("[2001:db8::1]:3261,2", "2001:db8::1,3261")]
        );
        assert!(portals(text, "iqn.2026-01.org.lab:t").is_empty());
        for (text, server, port) in [
            ("nas", "nas", 3260),
            ("nas:1", "nas", 1),
            ("192.0.2.1:3261", "192.0.2.1", 3261),
            ("2001:db8::1", "2001:db8::1", 3260),
            ("[2001:db8::1]:5", "2001:db8::1", 5),
            ("[2001:db8::1]", "2001:db8::1", 3260),
        ] {
            assert_eq!(with_port(text), (server.to_owned(), port));
        }
    }
}
