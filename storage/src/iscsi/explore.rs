//! What a portal offers, and what disks one target shows this host.
//!
//! For the LUNs the host signs in, looks, and signs out again. A session that is there already is somebody's: there only
//! what the kernel knows is told.

use crate::backend::Explore;
use crate::error::{Result, io};
use crate::explore::{ANY_TARGET, Found, Lun, Target};
use crate::iscsi::login::{DISCOVERY, Portal};
use crate::iscsi::session::{self, Disk, Session};
use crate::iscsi::{IscsiPool, classify, record};
use quantix_host::program::Program;
use quantix_model::FaultCode;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A target answers a scan within a second or two.
const APPEAR: Duration = Duration::from_secs(6);
/// Nothing new for so long: that was all.
const QUIET: Duration = Duration::from_millis(600);
/// More than a person can choose from.
const TARGETS_MAX: usize = 500;
/// See [`TARGETS_MAX`].
const LUNS_MAX: usize = 256;

impl Explore for IscsiPool {
    fn explore(&self) -> Result<Found> {
        let mut targets = self.offered()?;
        if self.spec.target != ANY_TARGET {
            targets.retain(|target| target.name == self.spec.target);
            let luns = self.shown()?;
            match targets.first_mut() {
                Some(target) => target.luns = luns,
                None => targets.push(Target {
                    name: self.spec.target.clone(),
                    portals: vec![self.spec.portal.clone()],
                    luns,
                }),
            }
        }
        Ok(Found::Targets(targets))
    }
}

/// From what `iscsiadm` prints: `address:port,group target` a line.
fn targets(text: &str) -> Vec<Target> {
    let mut found: Vec<Target> = Vec::new();
    for line in text.lines() {
        let Some((address, name)) = line.split_once(' ') else { continue };
        let Some((portal, _)) = address.rsplit_once(',') else { continue };
        let name = name.trim();
        if portal.parse::<std::net::SocketAddr>().is_err() || name.chars().any(char::is_control) {
            continue;
        }
        if let Some(target) = found.iter_mut().find(|target| target.name == name) {
            target.portals.push(portal.to_owned());
        } else if found.len() < TARGETS_MAX {
            let portals = vec![portal.to_owned()];
            found.push(Target { name: name.to_owned(), portals, luns: Vec::new() });
        }
    }
    found
}

impl IscsiPool {
    /// Every target the portal tells of. Most tell everybody, and some of those refuse who comes with CHAP: so it is
    /// tried without first.
    fn offered(&self) -> Result<Vec<Target>> {
        record::sweep();
        record::sweep_discoveries();
        let portal = self.reach()?;
        match self.ask(&portal, false) {
            Err(fault) if fault.code == FaultCode::PoolAuthFailed && self.spec.chap.is_some() => {
                self.ask(&portal, true)
            }
            told => told,
        }
    }

    /// With CHAP the secrets go by a file, as at signing in.
    fn ask(&self, portal: &Portal, with_chap: bool) -> Result<Vec<Target>> {
        let (step, at) = ("discovery", portal.argument.as_str());
        let make = || {
            let args = ["-m", "discoverydb", "-t", "sendtargets", "-o", "new", "-p", at];
            self.iscsiadm(step, &Program::new("iscsiadm").args(args).deadline(DISCOVERY), &[])
        };
        let kept = match with_chap {
            true => Some(record::Discovery::fill(&self.spec, &portal.key, make)?),
            false => None,
        };
        let mut args = match kept {
            Some(_) => vec!["-m", "discoverydb", "-t", "sendtargets", "--discover"],
            None => vec!["-m", "discovery", "-t", "sendtargets"],
        };
        args.extend(["-o", "nonpersistent", "-p", at]);
        let output = self.run(step, &Program::new("iscsiadm").args(args).deadline(DISCOVERY))?;
        drop(kept);
        match output.code {
            Some(0) => Ok(targets(&String::from_utf8_lossy(&output.stdout))),
            Some(classify::NOTHING_FOUND) => Ok(Vec::new()),
            _ => Err(classify::iscsiadm(step, "the portal", &self.spec.portal, &output)),
        }
    }

    /// The disks the target shows this host.
    fn shown(&self) -> Result<Vec<Lun>> {
        let there = session::sessions(&self.sys, &self.spec.target);
        if !there.is_empty() {
            return self.describe(&there);
        }
        self.register(false)?;
        let found = self.sign_in().and_then(|()| self.scan_all()).and_then(|there| self.describe(&there));
        let left = if self.unregister() { self.end_session() } else { Ok(()) };
        found.and_then(|found| left.map(|()| found))
    }

    /// Lets the kernel look for every LUN, until nothing more appears.
    fn scan_all(&self) -> Result<Vec<Session>> {
        let there = session::sessions(&self.sys, &self.spec.target);
        if !there.iter().any(Session::is_up) {
            return Err(self.no_session(&there));
        }
        for up in there.iter().filter(|session| session.is_up()) {
            up.scan_all(&self.sys).map_err(|e| io("scan for LUNs", &e))?;
        }
        let end = Instant::now() + APPEAR;
        let (mut count, mut since) = (0, Instant::now());
        loop {
            let disks: Vec<Disk> =
                there.iter().flat_map(|s| s.disks(&self.sys)).map(|(_, disk)| disk).collect();
            if disks.len() != count || !disks.iter().all(|disk| Path::new(&disk.device).exists()) {
                (count, since) = (disks.len(), Instant::now());
            }
            if since.elapsed() >= QUIET || Instant::now() >= end {
                return Ok(there);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn describe(&self, there: &[Session]) -> Result<Vec<Lun>> {
        let mut luns: BTreeMap<u32, Disk> = BTreeMap::new();
        for (number, disk) in there.iter().filter(|s| s.is_up()).flat_map(|s| s.disks(&self.sys)) {
            luns.entry(number).or_insert(disk);
        }
        let lun = |(number, disk): (u32, Disk)| Lun {
            number,
            size_bytes: session::sectors(&self.sys, &disk.name) * 512,
            product: disk.product(),
            // What cannot be told is not worth failing for: the pool itself looks again, and refuses.
            content: self.content(&disk.device).unwrap_or_else(|fault| fault.message),
            wwid: disk.wwid,
        };
        Ok(luns.into_iter().take(LUNS_MAX).map(lun).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let text = "127.0.0.1:3260,1 iqn.2026-01.org.lab:t1\n127.0.0.1:3260,1 iqn.2026-01.org.lab:mutual\n\
                    [2001:db8::1]:3261,2 iqn.2026-01.org.lab:t1\nnonsense\nx,1 y\n";
        let found = targets(text);
        let shown: Vec<_> = found.iter().map(|t| (t.name.as_str(), t.portals.join(" "))).collect();
        assert_eq!(
            shown,
            [
                ("iqn.2026-01.org.lab:t1", "127.0.0.1:3260 [2001:db8::1]:3261".to_owned()),
                ("iqn.2026-01.org.lab:mutual", "127.0.0.1:3260".to_owned())
            ]
        );
    }
}
