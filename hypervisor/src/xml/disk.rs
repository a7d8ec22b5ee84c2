//! Disks of a machine: where QEMU finds their bytes, and how it treats them.

use super::parts::{Auth, AuthSecret, Boot, Disk, Driver, Flag, Source, SourceHost, Target};
use super::{SERIAL_CHARS_MAX, check_path, check_text};
use crate::driver::{DiskSource, MachineDisk, Result};
use quantix_model::Fault;
use quantix_model::volume::VolumeFormat;

/// Refuses what XML or libvirt cannot carry.
pub(super) fn check(disk: &MachineDisk) -> Result<()> {
    check_source("disks.path", &disk.source)?;
    check_text("disks.serial", &disk.serial)?;
    if disk.serial.chars().count() > SERIAL_CHARS_MAX {
        return Err(Fault::invalid(
            "disks.serial",
            format!("The serial {:?} is longer than {SERIAL_CHARS_MAX} characters.", disk.serial),
            "Use the first 20 characters of the volume id.",
        ));
    }
    Ok(())
}

pub(super) fn check_source(field: &str, source: &DiskSource) -> Result<()> {
    match source {
        DiskSource::File { path, .. } | DiskSource::Block { path } => check_path(field, path),
        DiskSource::Rbd { monitors, pool, image, user, .. } => {
            for text in monitors.iter().chain([pool, image, user]) {
                check_text(field, text)?;
            }
            let hosts = monitors.iter().all(|m| host(m).is_some()) && !monitors.is_empty();
            // The first slash ends the pool's name.
            let names = [pool, image, user].iter().all(|name| !name.is_empty()) && !pool.contains('/');
            if hosts && names {
                return Ok(());
            }
            Err(Fault::invalid(
                field,
                format!("The RBD image {pool:?}/{image:?} at {monitors:?} cannot be reached like this."),
                "Give at least one monitor as host, host:port or [v6]:port, and a pool, an image and a user.",
            ))
        }
    }
}

/// The definition of one disk, to be given to a machine that is there already.
pub(crate) fn disk_xml(target: &str, disk: &MachineDisk) -> Result<String> {
    check(disk)?;
    let mut xml = String::new();
    let failed = |error: quick_xml::SeError| Fault::internal(format!("disk XML: {error}"));
    let serializer = quick_xml::se::Serializer::with_root(&mut xml, Some("disk")).map_err(failed)?;
    serde::Serialize::serialize(&named(target.to_owned(), None, disk), serializer).map_err(failed)?;
    Ok(xml)
}

/// First disk, then the drive, then the other disks: BIOS and UEFI both go on to the next when a disk is
/// blank, so a fresh VM boots its ISO and an installed one its disk.
pub(super) fn at(slot: usize, disk: &MachineDisk) -> Disk {
    let order = if slot == 0 { 1 } else { slot + 2 };
    named(disk_name(slot), Some(Boot { order }), disk)
}

fn named(dev: String, boot: Option<Boot>, disk: &MachineDisk) -> Disk {
    let (kind, source) = source(&disk.source);
    Disk {
        kind,
        device: "disk",
        driver: driver(&disk.source),
        source: Some(source),
        target: Target { dev, bus: "virtio" },
        readonly: None,
        serial: Some(disk.serial.clone()),
        boot,
    }
}

/// The host's page cache is passed by: what the guest was told is written, is written. What a guest discards is given
/// back, also to a thin LUN or a Ceph pool.
fn driver(source: &DiskSource) -> Driver {
    let (kind, io, detect_zeroes) = match source {
        DiskSource::File { format: VolumeFormat::Qcow2, .. } => ("qcow2", None, Some("unmap")),
        DiskSource::File { format: VolumeFormat::Raw, .. } => ("raw", None, Some("unmap")),
        DiskSource::Block { .. } => ("raw", Some("native"), None),
        DiskSource::Rbd { .. } => ("raw", None, None),
    };
    Driver { name: "qemu", kind, cache: Some("none"), io, discard: Some("unmap"), detect_zeroes }
}

fn source(source: &DiskSource) -> (&'static str, Source) {
    match source {
        DiskSource::File { path, .. } => ("file", Source { file: Some(path.clone()), ..Source::default() }),
        DiskSource::Block { path } => ("block", Source { dev: Some(path.clone()), ..Source::default() }),
        DiskSource::Rbd { monitors, pool, image, user, secret_uuid } => {
            let secret = AuthSecret { kind: "ceph", uuid: secret_uuid.to_string() };
            let source = Source {
                protocol: Some("rbd"),
                name: Some(format!("{pool}/{image}")),
                host: monitors.iter().filter_map(|monitor| host(monitor)).collect(),
                auth: Some(Auth { username: user.clone(), secret }),
                ..Source::default()
            };
            ("network", source)
        }
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; `None` for anything else.
fn host(text: &str) -> Option<SourceHost> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            (name, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = port
        .map(|port| port.parse::<u16>().ok().filter(|port| *port != 0))
        .map_or(Some(None), |p| p.map(Some))?;
    (!name.is_empty()).then(|| SourceHost { name: name.to_owned(), port })
}

pub(super) fn cdrom(media: Option<&DiskSource>) -> Disk {
    let found = media.map(source);
    Disk {
        kind: found.as_ref().map_or("file", |(kind, _)| kind),
        device: "cdrom",
        driver: Driver {
            name: "qemu",
            kind: "raw",
            cache: None,
            io: None,
            discard: None,
            detect_zeroes: None,
        },
        source: found.map(|(_, source)| source),
        target: Target { dev: "sda".to_owned(), bus: "sata" },
        readonly: Some(Flag {}),
        serial: None,
        boot: Some(Boot { order: 2 }),
    }
}

/// `vda` … `vdz`, `vdaa` …, as the kernel counts.
pub(crate) fn disk_name(slot: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = slot + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(b'a' + u8::try_from(rest % 26).expect("a remainder of 26 fits a byte"));
        rest /= 26;
    }
    letters.reverse();
    format!("vd{}", String::from_utf8(letters).expect("ASCII letters"))
}
