//! The volume group on the LUN: recognised, refused, or made when the LUN is empty and that was asked for.

use crate::backend::LettingGo;
use crate::error::{Result, io};
use crate::iscsi::lvm::{Group, Pv, Shelf, lv_name, next_name, pool_name, tag_host, tag_pool, tag_wwid};
use crate::iscsi::{IscsiPool, locked, session};
use quantix_host::program::Program;
use quantix_model::id::VolumeId;
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(10);
/// Whoever keeps something on a disk keeps something here.
const HEAD_BYTES: usize = 1 << 20;
const LVM: &str = "LVM2_member";

#[derive(Deserialize)]
struct Wipefs {
    signatures: Vec<Signature>,
}

#[derive(Debug, Deserialize)]
struct Signature {
    #[serde(rename = "type")]
    kind: String,
    uuid: Option<String>,
    label: Option<String>,
}

/// What `wipefs` found, in words.
fn words(signatures: &[Signature]) -> String {
    let one = |s: &Signature| {
        let label = s.label.as_deref().filter(|l| !l.is_empty()).map(|l| format!(" labelled {l:?}"));
        let uuid = s.uuid.as_deref().filter(|u| !u.is_empty()).map(|u| format!(" with the UUID {u}"));
        format!("{}{}{}", s.kind, label.unwrap_or_default(), uuid.unwrap_or_default())
    };
    signatures.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The UUID LVM knows our disk by, made from the pool's: a half-made one is recognised as ours.
fn pv_uuid(pool: quantix_model::id::PoolId) -> String {
    let hex = pool.0.simple().to_string();
    let mut text = String::new();
    let mut at = 0;
    for (n, length) in [6, 4, 4, 4, 4, 4, 6].into_iter().enumerate() {
        if n > 0 {
            text.push('-');
        }
        text.push_str(&hex[at..at + length]);
        at += length;
    }
    text
}

/// The LVM UUID of a volume group that is active here, without asking any disk: its first 32 letters stand in every
/// device's `dm/uuid`.
pub fn uuid_of(sys: &Path, group: &str) -> Option<String> {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    for entry in std::fs::read_dir(sys.join("block")).into_iter().flatten().flatten() {
        let name = read(entry.path().join("dm/name"));
        let of_group = name.strip_prefix(group).is_some_and(|rest| rest.starts_with("-quantix--"));
        let uuid = read(entry.path().join("dm/uuid"));
        if of_group && let Some(uuid) = uuid.strip_prefix("LVM-").and_then(|uuid| uuid.get(..32)) {
            return Some(uuid.to_owned());
        }
    }
    None
}

impl IscsiPool {
    fn foreign(&self, what: impl std::fmt::Display, remedy: &str) -> Fault {
        let (target, lun) = (&self.spec.target, self.spec.lun);
        Fault::new(FaultCode::PoolForeignData, format!("LUN {lun} of {target} is not empty."), remedy)
            .because(format!("there is {what}"))
            .in_phase("look at the LUN")
    }

    /// The fault for a group that another pool of ours has.
    pub(super) fn foreign_pool(&self, pool: &str) -> Fault {
        self.foreign(
            format!("the volume group {} of the pool {pool}", self.spec.volume_group),
            "Choose another LUN. If that pool is gone for good, remove its tag: `vgchange --deltag`.",
        )
    }

    /// Refuses a LUN that is a copy of the pool's, as a storage array makes them: what is on it is old, or about to part
    /// from the real one.
    pub(super) fn refuse_copy(&self, group: Group) -> Result<Group> {
        let wwid = locked(&self.wwid).clone();
        let here = tag_wwid(&wwid);
        match &group.made_on {
            // Who only lets go has not asked which LUN it is.
            Some(made_on) if *made_on != here && !wwid.is_empty() => Err(Fault::new(
                FaultCode::PoolForeignData,
                format!("LUN {} of {} is a copy of the pool's LUN.", self.spec.lun, self.spec.target),
                format!(
                    "Map the real one. If the pool moved here for good: `vgchange --deltag {made_on} --addtag {here} {}`.",
                    self.spec.volume_group
                ),
            )
            .because(format!("the volume group was made on {made_on}, this is {here}"))
            .in_phase("look at the volume group")),
            _ => Ok(group),
        }
    }

    /// Makes sure that the LUN holds our volume group.
    pub(super) fn open_group(&self) -> Result<()> {
        let name = self.spec.volume_group.as_str();
        let device = self.device()?;
        let mut on = session::host_disks(&self.sys);
        on.push(device.clone());
        let known = self.physical_volumes(&on)?;
        let resolved = |path: &str| std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let ours = |pv: &&Pv| resolved(&pv.device) == resolved(&device);
        let here = known.iter().find(ours);
        let group_uuid = here.map(|pv| pv.group_uuid.as_str()).unwrap_or_default();
        if let Some(clash) = known.iter().find(|pv| pv.group == name && pv.group_uuid != group_uuid) {
            return Err(Fault::new(
                FaultCode::Conflict,
                format!("The host has another volume group {name} already."),
                "Choose another name for this pool's volume group.",
            )
            .because(format!("{name} ({}) is on {}", clash.group_uuid, clash.device))
            .in_phase("look for volume groups"));
        }
        match here {
            Some(pv) if pv.group == name => self.claim_group(),
            Some(pv) if !pv.group.is_empty() => Err(self.foreign(
                format!("the volume group {} ({})", pv.group, pv.group_uuid),
                "Give that name for this pool's volume group if it is yours, or choose another LUN.",
            )),
            _ if self.must_exist => Err(Fault::new(
                FaultCode::PoolDeviceMissing,
                format!("LUN {} of {} does not hold the pool any more.", self.spec.lun, self.spec.target),
                "Map the right LUN; if its contents are lost for good, delete the pool.",
            )),
            Some(pv) if pv.uuid == pv_uuid(self.id) => {
                self.check_turn()?;
                self.make_group(&device)
            }
            Some(pv) => Err(self.foreign(
                format!("an LVM physical volume without a group ({})", pv.uuid),
                "Remove it with `pvremove` on the host if nobody needs it, or choose another LUN.",
            )),
            None => {
                self.check_empty(&device)?;
                if !self.spec.create_volume_group {
                    return Err(Fault::new(
                        FaultCode::PoolDeviceMissing,
                        format!("LUN {} of {} has no volume group {name}.", self.spec.lun, self.spec.target),
                        "It is empty: allow the pool to make the volume group, or give the LUN that has it.",
                    ));
                }
                self.check_turn()?;
                self.make_physical(&device)?;
                self.make_group(&device)
            }
        }
    }

    /// Hosts make the group one after the other, or two would make it at once.
    fn check_turn(&self) -> Result<()> {
        if self.may_make {
            return Ok(());
        }
        let (target, lun, name) = (&self.spec.target, self.spec.lun, &self.spec.volume_group);
        Err(Fault::new(
            FaultCode::PoolDeviceMissing,
            format!("LUN {lun} of {target} is not made the pool's yet."),
            "One host makes it for all, then this one follows by itself. If it stays so, look why no other host could.",
        )
        .because(format!("the volume group {name} is not there, or belongs to no pool"))
        .in_phase("look for volume groups"))
    }

    /// Refuses a LUN with anything on it, known or not.
    fn check_empty(&self, device: &str) -> Result<()> {
        let step = "look at the LUN";
        let found = self.signatures(step, device)?;
        if !found.is_empty() {
            let remedy = match found.iter().all(|s| s.kind == LVM) {
                true => "Look with `pvs` on the host; remove it with `pvremove` if nobody needs it.",
                false => "Choose another LUN, or wipe this one yourself (`wipefs --all`) if nobody needs it.",
            };
            return Err(self.foreign(words(&found), remedy));
        }
        let mut head = vec![0; HEAD_BYTES];
        File::open(device).and_then(|mut file| file.read_exact(&mut head)).map_err(|e| io(step, &e))?;
        if head.iter().any(|byte| *byte != 0) {
            return Err(self.foreign(
                "data of a kind nobody knows",
                "Choose another LUN, or zero the first MiB of this one yourself if nobody needs it.",
            ));
        }
        Ok(())
    }

    /// What is on a disk, for people: a volume group's name, or signatures.
    pub(super) fn content(&self, device: &str) -> Result<String> {
        let found = self.signatures("look at the LUN", device)?;
        if found.iter().any(|signature| signature.kind == LVM) {
            let known = self.physical_volumes(&[device.to_owned()])?;
            if let Some(pv) = known.iter().find(|pv| !pv.group.is_empty()) {
                return Ok(format!("LVM volume group {}", pv.group));
            }
        }
        Ok(words(&found))
    }

    fn signatures(&self, step: &'static str, device: &str) -> Result<Vec<Signature>> {
        let program = Program::new("wipefs").args(["--no-act", "--json", device]).deadline(LOOK);
        let output = self.run(step, &program)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found: serde_json::Result<Wipefs> = serde_json::from_str(&text);
        let found = match found {
            _ if !output.succeeded() => Err(output.complaint()),
            _ if text.trim().is_empty() => Ok(Vec::new()),
            Ok(found) => Ok(found.signatures),
            Err(e) => Err(e.to_string()),
        };
        found.map_err(|said| {
            Fault::new(
                FaultCode::PoolIoFailed,
                "The host could not tell what is on the LUN.",
                "Look at the kernel log.",
            )
            .because(said)
            .in_phase(step)
        })
    }

    fn make_physical(&self, device: &str) -> Result<()> {
        self.step("init: physical volume")?;
        let uuid = pv_uuid(self.id);
        self.lvm("make the physical volume", &["pvcreate", "--uuid", &uuid, "--norestorefile", device])?;
        Ok(())
    }

    /// Never activated by a starting host: only we know whose turn it is.
    fn make_group(&self, device: &str) -> Result<()> {
        self.step("init: new group")?;
        let (tag, name) = (tag_pool(self.id), self.spec.volume_group.as_str());
        let lun = tag_wwid(&locked(&self.wwid));
        let args = ["vgcreate", "--setautoactivation", "n", "--addtag", &tag, "--addtag", &lun, name, device];
        self.lvm("make the volume group", &args).map(drop)
    }

    /// A group without a pool's tag was made by hand, for us to use.
    fn claim_group(&self) -> Result<()> {
        if self.group()?.pool.is_some() {
            return Ok(());
        }
        self.check_turn()?;
        self.step("init: tag")?;
        let (tag, name) = (tag_pool(self.id), self.spec.volume_group.as_str());
        let lun = tag_wwid(&locked(&self.wwid));
        let args = ["vgchange", "--setautoactivation", "n", "--addtag", &tag, "--addtag", &lun, name];
        self.lvm("tag the volume group", &args)?;
        // Refuses when another host's pool was faster.
        self.group().map(drop)
    }

    /// Ends what a killed worker of this host left half done.
    pub(super) fn sweep(&self) -> Result<()> {
        let _change = locked(&self.changes);
        let group = self.group()?;
        for (id, shelf) in &group.shelves {
            if shelf.unfinished() == Some(self.host.as_str()) {
                self.lvm(
                    "remove what was half made",
                    &["lvremove", "--yes", &self.path_of(&pool_name(*id))],
                )?;
            } else if shelf.host() == Some(self.host.as_str()) || shelf.host().is_none() {
                self.mend(*id, shelf)?;
            }
        }
        Ok(())
    }

    /// Ends a revert that was cut: before the swap it never happened, after it it did.
    pub(super) fn mend(&self, id: VolumeId, shelf: &Shelf) -> Result<()> {
        let remove =
            |name: &str| self.lvm("end a revert", &["lvremove", "--yes", &self.path_of(name)]).map(drop);
        match (&shelf.volume, &shelf.next, &shelf.before) {
            (Some(_), Some(next), None) => remove(&next.name),
            (None, Some(_), Some(before)) => {
                self.rename(&next_name(id), &lv_name(id))?;
                remove(&before.name)
            }
            (Some(_), None, Some(before)) => remove(&before.name),
            _ => Ok(()),
        }
    }

    /// Renames within the group.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.lvm("rename", &["lvrename", &self.spec.volume_group, from, to]).map(drop)
    }

    /// Deactivates what is ours and gives up every claim of this host.
    pub(super) fn close_group(&self, how: LettingGo) -> Result<()> {
        let group = match self.group_when_closed(|group| !group.open.is_empty() && how == LettingGo::Orderly)
        {
            Ok(group) => group,
            // Not ours, or not there: nothing to let go of.
            Err(fault) if matches!(fault.code, FaultCode::PoolDeviceMissing | FaultCode::PoolForeignData) => {
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        if !group.open.is_empty() && how == LettingGo::Orderly {
            return Err(Fault::new(
                FaultCode::PoolInUse,
                format!("{} volumes of the pool are open on this host.", group.open.len()),
                "Stop the VMs that use them first.",
            )
            .because(group.open.join(", ")));
        }
        self.step("destroy: deactivate")?;
        if !group.active.is_empty() {
            let name = self.spec.volume_group.as_str();
            let done = self.lvm("deactivate the volume group", &["vgchange", "--activate", "n", name]);
            match how {
                LettingGo::Orderly => done.map(drop)?,
                LettingGo::Forced if done.is_err() => return self.let_go_by_force(),
                LettingGo::Forced => {}
            }
        }
        self.step("destroy: give up claims")?;
        self.untag(&group)
    }

    fn untag(&self, group: &Group) -> Result<()> {
        let held = |lv: &&super::lvm::Lv| lv.host() == Some(self.host.as_str());
        let names: Vec<String> = group
            .shelves
            .values()
            .flat_map(|s| s.all().filter(held))
            .map(|lv| self.path_of(&lv.name))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let tag = tag_host(&self.host);
        let mut args = vec!["lvchange", "--deltag", tag.as_str()];
        args.extend(names.iter().map(String::as_str));
        self.lvm("give up claims", &args).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pools_physical_volume_is_recognised() {
        let pool = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("an id");
        assert_eq!(pv_uuid(pool), "01890a-5dac-9677-4bbc-ceb3-0209-9a8057");
    }

    #[test]
    fn what_is_there_is_told() {
        let json = r#"{"signatures": [
            {"device":"sda", "offset":"0x1fe", "type":"dos", "uuid":null, "label":null},
            {"device":"sda", "offset":"0x438", "type":"ext4", "uuid":"8f0d", "label":"data"}]}"#;
        let found: Wipefs = serde_json::from_str(json).expect("recorded output");
        assert_eq!(words(&found.signatures), "dos, ext4 labelled \"data\" with the UUID 8f0d");
    }
}
