//! What changed outside the host: a LUN that became larger, a path that came back, and several paths made one device.
//!
//! A volume group has no lock between hosts, so a host takes in a larger LUN only when a person asks it to.

use crate::backend::Refresh;
use crate::error::Result;
use crate::iscsi::session::{self, Disk};
use crate::iscsi::{IscsiPool, locked};
use quantix_host::program::Program;
use quantix_model::{Fault, FaultCode};
use std::time::{Duration, Instant};

/// One call of `multipath` or `multipathd`, which look at every disk of the host.
const MULTIPATH: Duration = Duration::from_secs(15);
/// multipathd makes a device of two paths within a second or two, on a starved host within many.
const JOINED: Duration = Duration::from_secs(15);
/// udev still looks at a device that has just been closed, and as long it is in use.
const PARTED: Duration = Duration::from_secs(15);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

impl Refresh for IscsiPool {
    fn pool_refresh(&self, take_in: bool) -> Result<()> {
        self.sign_in_missing()?;
        self.step("refresh: scan")?;
        let disks = self.find_lun()?;
        self.resize_map(&disks)?;
        let _change = locked(&self.changes);
        if !take_in || !self.group()?.disk_grew() {
            return Ok(());
        }
        self.step("refresh: larger")?;
        let device = self.device()?;
        self.lvm("take in the larger LUN", &["pvresize", &device]).map(drop)
    }
}

impl IscsiPool {
    /// Lets multipathd make one device of several paths. It takes only disks it was told of (`find_multipaths strict`).
    /// Paths that stay apart are told with the pool's paths, and tried again at Retry: one of them is enough to work.
    pub(super) fn join_paths(&self, disks: &[Disk]) -> Result<()> {
        let apart = |disk: &&Disk| session::multipath(&self.sys, &disk.name).is_none();
        if disks.len() < 2 || !session::multipath_runs(&self.run_dir) || !disks.iter().any(|d| apart(&d)) {
            return Ok(());
        }
        self.step("init: paths")?;
        let run = |program: Program| {
            let done = self.run("join the paths", &program.deadline(MULTIPATH));
            done.inspect_err(|fault| tracing::info!(%fault, "the paths stay apart")).is_ok()
        };
        let device = format!("/dev/{}", disks[0].name);
        let mut goes_on = run(Program::new("multipath").args(["-a", device.as_str()]));
        let end = Instant::now() + JOINED;
        // udev may still be looking at a disk that has just come: then multipathd does not take it yet.
        while goes_on && disks.iter().any(|disk| apart(&disk)) && Instant::now() < end {
            for disk in disks.iter().filter(apart) {
                goes_on &= run(Program::new("multipathd").args(["add", "path", disk.name.as_str()]));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(())
    }

    /// What multipathd calls the device of our LUN, if it made one.
    pub(super) fn map(&self) -> Option<String> {
        let sessions = self.sessions();
        let mut disks = sessions.iter().filter_map(|s| s.disk(&self.sys, self.spec.lun));
        let map = disks.find_map(|disk| session::multipath(&self.sys, &disk.name))?;
        Some(session::map_name(&self.sys, &map)).filter(|name| !name.is_empty())
    }

    /// Takes the device of several paths apart: multipathd keeps one whose paths are gone. What is left of it is in
    /// nobody's way, so it only is told of.
    pub(super) fn part_paths(&self) {
        let end = Instant::now() + PARTED;
        while let Some(map) = self.map() {
            let program = Program::new("multipath").args(["-f", map.as_str()]).deadline(MULTIPATH);
            let said = match self.run("part the paths", &program) {
                Ok(output) if output.succeeded() => return,
                Ok(output) => output.complaint(),
                Err(fault) => fault.to_string(),
            };
            if Instant::now() >= end {
                tracing::warn!(map, said, "a multipath device stays");
                return;
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Tells multipathd that the disks below its device are larger now.
    fn resize_map(&self, disks: &[Disk]) -> Result<()> {
        let Some(first) = disks.first() else { return Ok(()) };
        let Some(map) = session::multipath(&self.sys, &first.name) else { return Ok(()) };
        if session::sectors(&self.sys, &map) >= session::sectors(&self.sys, &first.name) {
            return Ok(());
        }
        let name = session::map_name(&self.sys, &map);
        let args = ["resize", "map", name.as_str()];
        let output = self
            .run("grow the multipath device", &Program::new("multipathd").args(args).deadline(MULTIPATH))?;
        if output.succeeded() && !String::from_utf8_lossy(&output.stdout).contains("fail") {
            return Ok(());
        }
        let said = format!("{} {}", String::from_utf8_lossy(&output.stdout).trim(), output.complaint());
        Err(Fault::new(
            FaultCode::PoolMountFailed,
            "multipathd did not take in the larger LUN.",
            "Look at `multipath -ll` on the host: each path must show the new size.",
        )
        .because(said.trim())
        .in_phase("grow the multipath device"))
    }
}
