//! What changed outside the host: a LUN that became larger, a path that came back, and several paths made one device.
//!
//! A volume group has no lock between hosts, so a host takes in a larger LUN only when a person asks it to.

use crate::backend::Refresh;
use crate::error::Result;
use crate::iscsi::session::{self, Disk};
use crate::iscsi::{IscsiPool, appears, locked};
use quantix_host::program::Program;
use quantix_model::{Fault, FaultCode};
use std::path::Path;
use std::time::Duration;

const MULTIPATH: Duration = Duration::from_secs(10);
/// multipathd makes a device of two paths within a second or two.
const JOINED: Duration = Duration::from_secs(8);

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
    pub(super) fn join_paths(&self, disks: &[Disk]) -> Result<()> {
        let joined = |disk: &Disk| disk.device != format!("/dev/{}", disk.name);
        if disks.len() < 2 || !session::multipath_runs(&self.run_dir) || disks.iter().all(joined) {
            return Ok(());
        }
        let step = "join the paths";
        self.step("init: paths")?;
        let known = Program::new("multipath").args(["-a", &disks[0].device]).deadline(MULTIPATH);
        self.run(step, &known)?;
        for disk in disks.iter().filter(|disk| !joined(disk)) {
            let add =
                Program::new("multipathd").args(["add", "path", disk.name.as_str()]).deadline(MULTIPATH);
            self.run(step, &add)?;
        }
        let holders = |disk: &Disk| self.sys.join("block").join(&disk.name).join("holders");
        let end = std::time::Instant::now() + JOINED;
        while !disks.iter().all(|disk| session::multipath(&self.sys, &disk.name).is_some()) {
            if std::time::Instant::now() >= end {
                let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
                let held = disks
                    .iter()
                    .filter(|disk| holders(disk).read_dir().is_ok_and(|mut d| d.next().is_some()));
                return Err(Fault::new(
                    FaultCode::PoolMountFailed,
                    "The paths to the LUN do not become one device.",
                    "Look at `multipath -ll` and /etc/multipath.conf on the host, or stop multipathd to use one path.",
                )
                .because(format!("{} have no common multipath device; {} in use", names.join(", "), held.count()))
                .in_phase(step));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let map = session::multipath(&self.sys, &disks[0].name).unwrap_or_default();
        appears(Path::new(&format!("/dev/{map}")), JOINED);
        Ok(())
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
