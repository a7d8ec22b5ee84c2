//! Running LVM: one disk only, answers as JSON, and what a volume group holds.
//!
//! Every command is confined to the pool's disk by `--devices`, so it neither waits for another target that is dead nor
//! looks at volume groups that guests made inside their disks.

use crate::error::Result;
use crate::iscsi::{IscsiPool, classify, stalled};
use quantix_host::program::{Output, Program};
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A change of metadata takes a second. One that is killed on the way leaves work, so it gets what a starved host needs.
const CHANGE: Duration = Duration::from_secs(120);
/// Looking.
const LOOK: Duration = Duration::from_secs(30);
/// udev's look into a disk that was just closed.
const CLOSES: Duration = Duration::from_secs(3);
/// Which pool a volume group belongs to.
const TAG_POOL: &str = "quantix.pool=";
/// The LUN a volume group was made on.
const TAG_WWID: &str = "quantix.wwid=";
/// Which host has a volume.
const TAG_HOST: &str = "quantix.host=";
/// Which host is still making a volume.
const TAG_NEW: &str = "quantix.new=";
/// Which host made a volume: whose an LV is that never became whole.
const TAG_MADE: &str = "quantix.made-by=";
/// Name of a snapshot.
const TAG_SNAPSHOT: &str = "quantix.snapshot=";

/// Tag for a volume group of a pool.
pub fn tag_pool(pool: PoolId) -> String {
    format!("{TAG_POOL}{pool}")
}

/// Tag for a volume group on the LUN of that identity: a copy of the LUN says that it is one.
pub fn tag_wwid(wwid: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let word: String = wwid.chars().map(|c| if legal(c) { c } else { '_' }).take(200).collect();
    format!("{TAG_WWID}{word}")
}

/// Tag for a volume that a host has.
pub fn tag_host(host: &str) -> String {
    format!("{TAG_HOST}{host}")
}

/// Tag for a volume that a host is making.
pub fn tag_new(host: &str) -> String {
    format!("{TAG_NEW}{host}")
}

/// Tag for a volume, by who made it.
pub fn tag_made(host: &str) -> String {
    format!("{TAG_MADE}{host}")
}

/// Tag for a snapshot.
pub fn tag_snapshot(name: &str) -> String {
    format!("{TAG_SNAPSHOT}{name}")
}

/// Name of a volume's thin LV.
pub fn lv_name(id: VolumeId) -> String {
    format!("quantix-{id}")
}

/// Name of the thin pool that holds a volume and its snapshots, and nothing else.
pub fn pool_name(id: VolumeId) -> String {
    format!("quantix-{id}.pool")
}

/// What an LV of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The disk.
    Volume,
    /// Its thin pool.
    Pool,
    /// A snapshot, by number.
    Snapshot(u32),
    /// What the disk is going to be after a revert.
    Next,
    /// What it was before one.
    Before,
}

fn parse_name(name: &str) -> Option<(VolumeId, Part)> {
    let rest = name.strip_prefix("quantix-")?;
    let (id, part) = rest.split_once('.').map_or((rest, ""), |(id, part)| (id, part));
    let id: VolumeId = id.parse().ok()?;
    let part = match part {
        "" => Part::Volume,
        "pool" => Part::Pool,
        "next" => Part::Next,
        "before" => Part::Before,
        _ => Part::Snapshot(part.strip_prefix('s')?.parse().ok()?),
    };
    let whole = match part {
        Part::Volume => lv_name(id),
        Part::Pool => pool_name(id),
        Part::Next => next_name(id),
        Part::Before => before_name(id),
        Part::Snapshot(number) => snapshot_name(id, number),
    };
    (whole == name).then_some((id, part))
}

/// See [`Part::Snapshot`].
pub fn snapshot_name(id: VolumeId, number: u32) -> String {
    format!("quantix-{id}.s{number}")
}

/// See [`Part::Next`].
pub fn next_name(id: VolumeId) -> String {
    format!("quantix-{id}.next")
}

/// See [`Part::Before`].
pub fn before_name(id: VolumeId) -> String {
    format!("quantix-{id}.before")
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lv {
    /// Without its group.
    pub name: String,
    /// As the guest sees it.
    pub size_bytes: u64,
    /// Of a thin pool: where it keeps its maps.
    pub metadata_bytes: u64,
    /// Unix seconds.
    pub made_at: i64,
    active: bool,
    open: bool,
    tags: Vec<String>,
}

impl Lv {
    fn tag(&self, start: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(start))
    }

    /// The host that has it.
    pub fn host(&self) -> Option<&str> {
        self.tag(TAG_HOST)
    }

    /// All hosts that claim to have it; more than one only after a race.
    pub fn hosts(&self) -> Vec<&str> {
        self.tags.iter().filter_map(|tag| tag.strip_prefix(TAG_HOST)).collect()
    }

    /// The host that is still making it.
    pub fn maker(&self) -> Option<&str> {
        self.tag(TAG_NEW)
    }

    /// Its name as a snapshot.
    pub fn snapshot(&self) -> Option<&str> {
        self.tag(TAG_SNAPSHOT)
    }

    /// Whether it is active on this host.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Whether somebody on this host has it open.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

/// A volume with all that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// The disk.
    pub volume: Option<Lv>,
    /// Its thin pool.
    pub pool: Option<Lv>,
    /// By number, so oldest first.
    pub snapshots: BTreeMap<u32, Lv>,
    /// An unfinished revert.
    pub next: Option<Lv>,
    /// An unfinished revert.
    pub before: Option<Lv>,
}

impl Shelf {
    /// The disk and its pool, when both are whole.
    pub fn whole(&self) -> Option<(&Lv, &Lv)> {
        let (volume, pool) = self.volume.as_ref().zip(self.pool.as_ref())?;
        pool.maker().is_none().then_some((volume, pool))
    }

    /// A snapshot by its name.
    pub fn snapshot(&self, name: &str) -> Option<(u32, &Lv)> {
        self.snapshots.iter().find(|(_, lv)| lv.snapshot() == Some(name)).map(|(number, lv)| (*number, lv))
    }

    /// The host that began this and did not end it. A pool without a disk in it is one, too.
    pub fn unfinished(&self) -> Option<&str> {
        let pool = self.pool.as_ref()?;
        let empty = self.all().next().is_none();
        pool.maker().or_else(|| pool.tag(TAG_MADE).filter(|_| empty))
    }

    /// Every LV but the pool.
    pub fn all(&self) -> impl Iterator<Item = &Lv> {
        let rest = [&self.volume, &self.next, &self.before].into_iter().flatten();
        rest.chain(self.snapshots.values())
    }

    /// Whether somebody on this host has any part open.
    pub fn is_open(&self) -> bool {
        self.all().any(Lv::is_open)
    }

    /// The host that has it, whatever a revert did to its name.
    pub fn host(&self) -> Option<&str> {
        self.all().find_map(Lv::host)
    }
}

/// A volume group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The pool it belongs to.
    pub pool: Option<String>,
    /// Tag of the LUN it was made on; see [`tag_wwid`].
    pub made_on: Option<String>,
    /// Size of an extent.
    pub extent_bytes: u64,
    /// Size.
    pub size_bytes: u64,
    /// In no LV.
    pub free_bytes: u64,
    /// Size of the disks below it.
    pub device_bytes: u64,
    /// Size of the volume group's part of them.
    pub physical_bytes: u64,
    /// Ours.
    pub shelves: BTreeMap<VolumeId, Shelf>,
    /// LVs of others. They are never touched.
    pub foreign: Vec<String>,
    /// LVs on this host that somebody has open, ours or not.
    pub open: Vec<String>,
    /// LVs active on this host.
    pub active: Vec<String>,
}

impl Group {
    /// Whether somebody on this host has a volume open.
    pub fn is_open(&self, id: VolumeId) -> bool {
        self.shelves.get(&id).is_some_and(Shelf::is_open)
    }

    /// Whether the disk has room that the group does not know of yet.
    pub fn disk_grew(&self) -> bool {
        self.device_bytes > self.physical_bytes.saturating_add(2 * self.extent_bytes)
    }

    /// Rounded up to whole extents.
    pub fn rounded(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.extent_bytes.max(1))
    }
}

#[derive(Deserialize)]
struct Report {
    report: Vec<BTreeMap<String, Vec<BTreeMap<String, Value>>>>,
}

type Row = BTreeMap<String, Value>;

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Row, name: &str) -> u64 {
    text(row, name).parse().unwrap_or(0)
}

fn parse(step: &str, output: &Output) -> Result<Vec<BTreeMap<String, Vec<Row>>>> {
    let report: serde_json::Result<Report> = serde_json::from_slice(&output.stdout);
    report.map(|report| report.report).map_err(|e| {
        Fault::new(
            FaultCode::PoolIoFailed,
            "LVM gave an answer nobody can read.",
            "Check the LVM version on the host.",
        )
        .because(e)
        .in_phase(step)
    })
}

fn lv(row: &Row) -> Lv {
    let attr = text(row, "lv_attr").as_bytes();
    Lv {
        name: text(row, "lv_name").to_owned(),
        size_bytes: number(row, "lv_size"),
        metadata_bytes: number(row, "lv_metadata_size"),
        made_at: text(row, "lv_time").parse().unwrap_or(0),
        active: attr.get(4) == Some(&b'a'),
        open: attr.get(5) == Some(&b'o'),
        tags: text(row, "lv_tags").split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
    }
}

/// The group of that name in a full report.
fn group(name: &str, report: &[BTreeMap<String, Vec<Row>>]) -> Option<Group> {
    let rows = |part: &BTreeMap<String, Vec<Row>>, kind: &str| part.get(kind).cloned().unwrap_or_default();
    let part = report.iter().find(|part| rows(part, "vg").iter().any(|vg| text(vg, "vg_name") == name))?;
    let vg = rows(part, "vg").into_iter().next()?;
    let pv = rows(part, "pv").into_iter().next().unwrap_or_default();
    let mut group = Group {
        pool: text(&vg, "vg_tags").split(',').find_map(|tag| tag.strip_prefix(TAG_POOL)).map(str::to_owned),
        made_on: text(&vg, "vg_tags").split(',').find(|tag| tag.starts_with(TAG_WWID)).map(str::to_owned),
        extent_bytes: number(&vg, "vg_extent_size"),
        size_bytes: number(&vg, "vg_size"),
        free_bytes: number(&vg, "vg_free"),
        device_bytes: number(&pv, "dev_size"),
        physical_bytes: number(&pv, "pv_size"),
        ..Group::default()
    };
    for lv in rows(part, "lv").iter().map(lv) {
        if lv.open {
            group.open.push(lv.name.clone());
        }
        if lv.active {
            group.active.push(lv.name.clone());
        }
        let Some((id, part)) = parse_name(&lv.name) else {
            group.foreign.push(lv.name);
            continue;
        };
        let shelf = group.shelves.entry(id).or_default();
        match part {
            Part::Volume => shelf.volume = Some(lv),
            Part::Pool => shelf.pool = Some(lv),
            Part::Next => shelf.next = Some(lv),
            Part::Before => shelf.before = Some(lv),
            Part::Snapshot(number) => drop(shelf.snapshots.insert(number, lv)),
        }
    }
    Some(group)
}

/// A disk that LVM knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pv {
    /// `/dev/sda`.
    pub device: String,
    /// Its LVM UUID.
    pub uuid: String,
    /// Its group; empty when it has none.
    pub group: String,
    /// The group's LVM UUID.
    pub group_uuid: String,
}

impl IscsiPool {
    /// Runs LVM on the pool's disk.
    pub(super) fn lvm(&self, step: &'static str, args: &[&str]) -> Result<Output> {
        let device = self.device()?;
        self.lvm_on(step, &[device], args, CHANGE)
    }

    fn lvm_on(&self, step: &'static str, on: &[String], args: &[&str], deadline: Duration) -> Result<Output> {
        let (command, rest) = args.split_first().ok_or_else(|| Fault::internal("no LVM command"))?;
        let devices = on.join(",");
        let program = Program::new("lvm").args([command, "--devices", devices.as_str()]).args(rest.to_vec());
        let output = self.run(step, &program.deadline(deadline))?;
        if output.succeeded() { Ok(output) } else { Err(classify::lvm(step, &output)) }
    }

    /// Disks that LVM knows, among these.
    pub(super) fn physical_volumes(&self, on: &[String]) -> Result<Vec<Pv>> {
        let step = "look for volume groups";
        let fields = "pv_name,pv_uuid,vg_name,vg_uuid";
        let output = self.lvm_on(step, on, &["pvs", "--reportformat", "json", "-o", fields], LOOK)?;
        let rows = parse(step, &output)?.into_iter().filter_map(|mut part| part.remove("pv")).flatten();
        let pv = |row: Row| Pv {
            device: text(&row, "pv_name").to_owned(),
            uuid: text(&row, "pv_uuid").to_owned(),
            group: text(&row, "vg_name").to_owned(),
            group_uuid: text(&row, "vg_uuid").to_owned(),
        };
        Ok(rows.map(pv).collect())
    }

    /// What the volume group holds now.
    pub(super) fn group(&self) -> Result<Group> {
        let step = "look at the volume group";
        let device = self.device()?;
        let args = [
            "fullreport",
            "--reportformat",
            "json",
            "--units",
            "b",
            "--nosuffix",
            "--config",
            "report{time_format=\"%s\"}",
            "--configreport",
            "vg",
            "-o",
            "vg_name,vg_tags,vg_extent_size,vg_size,vg_free",
            "--configreport",
            "pv",
            "-o",
            "pv_name,pv_size,dev_size",
            "--configreport",
            "lv",
            "-o",
            "lv_name,lv_attr,lv_size,lv_tags,lv_time,lv_metadata_size",
            "--configreport",
            "seg",
            "-o",
            "lv_name",
            "--configreport",
            "pvseg",
            "-o",
            "lv_name",
        ];
        let output = self.lvm_on(step, std::slice::from_ref(&device), &args, LOOK)?;
        let name = &self.spec.volume_group;
        let found = group(name, &parse(step, &output)?).ok_or_else(|| {
            Fault::new(
                FaultCode::PoolDeviceMissing,
                format!("The volume group {name} is not on the LUN any more."),
                "Look with `pvs` on the host whether somebody removed or renamed it.",
            )
            .because(output.stderr.trim())
            .in_phase(step)
        })?;
        match &found.pool {
            Some(pool) if *pool != self.id.to_string() => Err(self.foreign_pool(pool)),
            _ => self.refuse_copy(found),
        }
    }

    /// The same, once nobody has what `which` names open. udev looks into a disk when a VM closes it, so "open" counts
    /// only when it stays so.
    pub(super) fn group_when_closed(&self, which: impl Fn(&Group) -> bool) -> Result<Group> {
        let end = Instant::now() + CLOSES;
        loop {
            let group = self.group()?;
            if !which(&group) || Instant::now() >= end {
                return Ok(group);
            }
            std::thread::sleep(CLOSES / 20);
        }
    }

    /// `group/name`, as LVM commands want it.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.spec.volume_group)
    }

    /// Runs a program; one that does not end because the target is silent tells so.
    pub(super) fn run(&self, step: &'static str, program: &Program) -> Result<Output> {
        self.runner.run_blocking(program, &mut || Ok(())).map_err(|fault| match fault.code {
            FaultCode::DeadlineExceeded => stalled(&self.spec.target, fault.message).in_phase(step),
            _ => fault.in_phase(step),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn only_our_own_names_are_ours() {
        let id: VolumeId = ID.parse().expect("an id");
        for (name, part) in [
            (lv_name(id), Part::Volume),
            (pool_name(id), Part::Pool),
            (snapshot_name(id, 12), Part::Snapshot(12)),
            (next_name(id), Part::Next),
            (before_name(id), Part::Before),
        ] {
            assert_eq!(parse_name(&name), Some((id, part)), "{name}");
        }
        let odd = ["x", "quantix-x", "lvol0", "quantix-", "quantix-01890a5d.pool"].map(str::to_owned);
        let more = [
            format!("quantix-{ID}.s01"),
            format!("quantix-{ID}.x"),
            format!("quantix-{}", ID.to_uppercase()),
        ];
        assert!(odd.iter().chain(&more).all(|name| parse_name(name).is_none()));
    }

    #[test]
    fn the_longest_device_name_fits_device_mapper() {
        let id: VolumeId = ID.parse().expect("an id");
        let group = "v".repeat(63);
        for part in
            [pool_name(id) + "_tdata", pool_name(id) + "-tpool", snapshot_name(id, 9999), before_name(id)]
        {
            let doubled = part.trim_end_matches("-tpool").replace('-', "--");
            let layer = if part.ends_with("-tpool") { "-tpool" } else { "" };
            let name = format!("{group}-{doubled}{layer}");
            assert!(name.len() < 128, "{} bytes: {name}", name.len());
        }
    }

    #[test]
    fn a_full_report_is_read() {
        // Recorded from LVM 2.03.16, shortened.
        let json = format!(
            r#"{{"report": [{{
            "vg": [{{"vg_name":"vg1", "vg_uuid":"WeXMwf-NF9N", "vg_tags":"quantix.pool=p1,quantix.wwid=naa.6001405", "vg_extent_size":"4194304",
                "vg_size":"2139095040", "vg_free":"1988100096"}}],
            "pv": [{{"pv_name":"/dev/sda", "pv_size":"2139095040", "dev_size":"2147483648"}}],
            "lv": [
              {{"lv_name":"quantix-{ID}", "lv_attr":"Vwi-aotz-k", "lv_size":"100663296",
                "lv_tags":"quantix.host=iqn.2026-01.org.lab:initiator", "lv_time":"1795215143", "lv_metadata_size":""}},
              {{"lv_name":"quantix-{ID}.pool", "lv_attr":"twi---tz-k", "lv_size":"134217728", "lv_tags":"",
                "lv_time":"1795215137", "lv_metadata_size":"8388608"}},
              {{"lv_name":"quantix-{ID}.s1", "lv_attr":"Vwi---tz-k", "lv_size":"67108864",
                "lv_tags":"foo,quantix.snapshot=a-b", "lv_time":"1795215150", "lv_metadata_size":""}},
              {{"lv_name":"root", "lv_attr":"-wi-ao----", "lv_size":"67108864", "lv_tags":"", "lv_time":"1",
                "lv_metadata_size":""}}],
            "pvseg": [{{"lv_name":""}}], "seg": []}}]}}"#
        );
        let output = Output { stdout: json.into_bytes(), ..Output::default() };
        let report = parse("look", &output).expect("a report");
        assert!(group("vg2", &report).is_none());
        let found = group("vg1", &report).expect("the group");
        assert_eq!(
            (found.pool.as_deref(), found.extent_bytes, found.free_bytes),
            (Some("p1"), 4 << 20, 1988100096)
        );
        assert_eq!(found.made_on, Some(tag_wwid("naa.6001405")));
        assert!(!found.disk_grew());
        assert_eq!(found.open, [format!("quantix-{ID}"), "root".to_owned()]);
        assert_eq!(found.foreign, ["root"]);
        assert_eq!(found.shelves.len(), 1);
        let shelf = &found.shelves[&ID.parse().expect("an id")];
        let (volume, pool) = shelf.whole().expect("a whole volume");
        assert!(volume.is_open() && !pool.is_active());
        assert_eq!((volume.host(), pool.metadata_bytes), (Some("iqn.2026-01.org.lab:initiator"), 8 << 20));
        let (number, snapshot) = shelf.snapshot("a-b").expect("the snapshot");
        assert_eq!((number, snapshot.size_bytes, snapshot.made_at), (1, 64 << 20, 1_795_215_150));
        assert_eq!(found.rounded(1), 4 << 20);
        assert!(parse("look", &Output::default()).is_err());
    }
}
