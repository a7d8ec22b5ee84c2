//! What the lab VM is made of, and the hash that names it.

use super::{STEP_DEADLINE, checked, machine};
use crate::failure::{Context, Failure, Result};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::process::Command;

/// Debian packages, without what they only recommend.
pub const PACKAGES: &[&str] = &[
    // A system.
    "systemd",
    "systemd-sysv",
    "udev",
    "kmod",
    "dbus",
    "iproute2",
    "nftables",
    "procps",
    "psmisc",
    "util-linux",
    "file",
    "strace",
    "attr",
    "qemu-guest-agent",
    // Servers and clients.
    "nfs-kernel-server",
    "nfs-common",
    "rpcbind",
    "open-iscsi",
    "targetcli-fb",
    "multipath-tools",
    "ceph-common",
    // Volumes and file systems.
    "lvm2",
    "thin-provisioning-tools",
    "xfsprogs",
    "e2fsprogs",
    "btrfs-progs",
    "parted",
    "gdisk",
    "fdisk",
    // VMs inside the VM, emulated twice: slow, but true.
    "qemu-utils",
    "qemu-block-extra",
    "qemu-system-x86",
    "libvirt-daemon-system",
    "libvirt-clients",
];

/// Text that nobody reads in a VM.
pub const LEFT_OUT: &[&str] = &["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"];

/// The meta package of Debian's standard kernel: the cloud kernel lacks 9p, which the shared folder needs.
pub const KERNEL: &str = "linux-image-amd64";

/// Kernel modules for hardware that QEMU does not show, below `kernel/`.
pub const NO_HARDWARE: &[&str] = &[
    "sound",
    "drivers/accel",
    "drivers/bluetooth",
    "drivers/comedi",
    "drivers/edac",
    "drivers/firewire",
    "drivers/gpu",
    "drivers/hid",
    "drivers/hwmon",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/input",
    "drivers/isdn",
    "drivers/media",
    "drivers/mmc",
    "drivers/mtd",
    "drivers/net/can",
    "drivers/net/ethernet",
    "drivers/net/usb",
    "drivers/net/wireless",
    "drivers/platform",
    "drivers/staging",
    "drivers/usb",
    "drivers/video",
    "net/bluetooth",
    "net/can",
    "net/mac80211",
    "net/wireless",
];

/// What the initrd loads, with all that these need.
pub const BOOT_MODULES: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// (file in `lab/labvm`, path in the VM). `init` goes into the initrd.
pub const FILES: &[(&str, &str)] = &[
    ("prepare", "lab/prepare"),
    ("targets", "lab/targets"),
    ("lab-ready.service", "etc/systemd/system/lab-ready.service"),
    ("nfs.conf", "etc/nfs.conf"),
    ("exports", "etc/exports"),
    ("hosts", "etc/hosts"),
    ("agent.conf", "etc/systemd/system/qemu-guest-agent.service.d/quiet.conf"),
    ("getty.conf", "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf"),
];

/// Written as they stand: (path, text).
pub const TEXTS: &[(&str, &str)] = &[
    ("etc/hostname", "labvm\n"),
    // Tests look for this before they touch anything.
    ("etc/quantix-lab", "This machine is a lab VM: tests may mount, format and log in here.\n"),
    ("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2026-01.org.lab:initiator\n"),
];

/// Units that only cost time, or would touch what tests are about to use.
pub const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "blk-availability.service",
    "ceph.target",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "libvirt-guests.service",
    "logrotate.timer",
    "nfs-blkmap.service",
    "open-iscsi.service",
    "rbdmap.service",
    "rtslib-fb-targetctl.service",
    "systemd-pstore.service",
];

/// Installed, but started only by who wants it.
pub const NOT_STARTED: &[&str] = &["multipathd.service", "multipathd.socket", "nfs-server.service"];

/// The Debian release of this machine: test programs are compiled here and must find the same C library there.
pub fn suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").doing("reading /etc/os-release")?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|text| text.trim_matches('"').to_owned())
    };
    match (value("ID").as_deref(), value("VERSION_CODENAME")) {
        (Some("debian"), Some(codename)) => Ok(codename),
        (id, _) => Err(Failure::new(format!(
            "the lab VM is a Debian of this machine's own release, and this is {}",
            id.unwrap_or("unknown")
        ))
        .remedy("run the lab on Debian 12 or 13")),
    }
}

/// Names this recipe's result. The kernel and the packages are those the mirror has on the day of the build.
pub fn key(root: &Path, suite: &str) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (suite, PACKAGES, LEFT_OUT, KERNEL, NO_HARDWARE, BOOT_MODULES, TEXTS, MASKED, NOT_STARTED)
        .hash(&mut hasher);
    for (name, place) in FILES.iter().chain(&[("init", "init")]) {
        let text = fs::read(root.join("lab/labvm").join(name)).doing(format!("reading lab/labvm/{name}"))?;
        (name, place, text).hash(&mut hasher);
    }
    // A saved state fits only the machine it was saved on.
    let here = Path::new("/");
    let words = machine::command(here, here, &machine::Net::default());
    words.get_args().for_each(|word| word.hash(&mut hasher));
    checked(Command::new("qemu-system-x86_64").arg("--version"), STEP_DEADLINE)?.hash(&mut hasher);
    Ok(format!("{suite}-{:016x}", hasher.finish()))
}
