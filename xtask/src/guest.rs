//! Builds the test guest: a bootable ISO of a few megabytes, and the same bytes as a qcow2 disk.
//!
//! The kernel, its modules, busybox and the boot loader come from Debian's packages; the scripts stand in
//! `lab/guest/`. It boots in seconds under software emulation, shows a screen that moves, offers a login on the
//! serial line, takes an address by DHCP and reacts to the power button. Kept in the output folder until its inputs
//! change.

use crate::args::Args;
use crate::child;
use crate::failure::{Context, Failure, Result};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// In load order: each needs the ones before it.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "evdev",
    "button",
];

/// What the guest's own files become: (file in `lab/guest`, path in the guest).
const FILES: &[(&str, &str)] = &[
    ("init", "init"),
    ("inittab", "etc/inittab"),
    ("rc", "etc/rc"),
    ("screen", "etc/screen"),
    ("udhcpc", "etc/udhcpc"),
    // busybox acpid runs this for KEY_POWER.
    ("power", "etc/acpi/PWRF/00000080"),
];

const PACKAGES: &[&str] = &["busybox-static", "isolinux", "syslinux-common"];
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(300);
const STEP_DEADLINE: Duration = Duration::from_secs(120);

/// `./x guest [--out D]`: builds the guest when its inputs changed, and prints where it is.
pub fn task(mut args: Args) -> Result<()> {
    let out = args.value("--out")?.unwrap_or_else(|| root().join("target/guest"));
    args.done()?;
    let iso = build(&out)?;
    eprintln!("{}", iso.display());
    Ok(())
}

/// Makes `guest.iso` and `guest.qcow2` in `out`; answers the ISO's path.
pub fn build(out: &Path) -> Result<PathBuf> {
    let source = root().join("lab/guest");
    fs::create_dir_all(out).doing(format!("making {}", out.display()))?;
    let iso = out.join("guest.iso");
    let kernel = kernel_package().or_else(|_| {
        // A fresh machine has no package lists, and old lists name files that are gone.
        refresh_lists()?;
        kernel_package()
    })?;
    let stamp = stamp(&source, &kernel)?;
    let stamp_file = out.join("stamp");
    if iso.exists()
        && out.join("guest.qcow2").exists()
        && fs::read_to_string(&stamp_file).is_ok_and(|s| s == stamp)
    {
        return Ok(iso);
    }
    let work = out.join("work");
    let _ = fs::remove_dir_all(&work);
    let (packages, tree) = (work.join("packages"), work.join("tree"));
    fs::create_dir_all(&packages).doing("making the package folder")?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", &kernel]).args(PACKAGES).current_dir(&packages);
    if checked(&mut download, DOWNLOAD_DEADLINE).is_err() {
        refresh_lists()?;
        checked(&mut download, DOWNLOAD_DEADLINE)?;
    }
    for entry in fs::read_dir(&packages).doing("listing packages")? {
        let deb = entry.doing("listing packages")?.path();
        checked(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&tree), STEP_DEADLINE)?;
    }
    let disc = work.join("disc");
    fs::create_dir_all(disc.join("isolinux")).doing("making the disc folder")?;
    initrd(&source, &tree, &work.join("initrd"), &disc.join("initrd"))?;
    copy(&first(&tree.join("boot"), "vmlinuz-")?, &disc.join("vmlinuz"))?;
    copy(&tree.join("usr/lib/ISOLINUX/isolinux.bin"), &disc.join("isolinux/isolinux.bin"))?;
    copy(&tree.join("usr/lib/syslinux/modules/bios/ldlinux.c32"), &disc.join("isolinux/ldlinux.c32"))?;
    copy(&source.join("isolinux.cfg"), &disc.join("isolinux/isolinux.cfg"))?;
    image(&tree, &disc, &work, out)?;
    fs::write(&stamp_file, stamp).doing("writing the stamp")?;
    fs::remove_dir_all(&work).doing("removing the work folder")?;
    Ok(iso)
}

/// The repository.
fn root() -> PathBuf {
    let mut here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.pop();
    here
}

fn refresh_lists() -> Result<()> {
    checked(Command::new("apt-get").args(["update", "-q"]), DOWNLOAD_DEADLINE).map(|_| ())
}

/// The real package behind Debian's meta package for cloud kernels.
fn kernel_package() -> Result<String> {
    let output =
        checked(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]), STEP_DEADLINE)?;
    output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("apt knows no linux-image-cloud-amd64").remedy("apt-get update"))
}

/// Everything the result depends on, as text.
fn stamp(source: &Path, kernel: &str) -> Result<String> {
    let mut text = format!("{kernel}\n{MODULES:?}\n{PACKAGES:?}\n");
    for (name, _) in FILES.iter().chain(&[("isolinux.cfg", "")]) {
        text += &fs::read_to_string(source.join(name)).doing(format!("reading lab/guest/{name}"))?;
    }
    Ok(text)
}

fn initrd(source: &Path, tree: &Path, root: &Path, result: &Path) -> Result<()> {
    for folder in ["bin", "etc/acpi/PWRF", "modules", "root"] {
        fs::create_dir_all(root.join(folder)).doing("making the guest's folders")?;
    }
    copy(&tree.join("bin/busybox"), &root.join("bin/busybox"))?;
    for (name, place) in FILES {
        copy(&source.join(name), &root.join(place))?;
    }
    fs::write(root.join("etc/passwd"), "root::0:0:root:/root:/bin/sh\n").doing("writing passwd")?;
    fs::write(root.join("etc/group"), "root:x:0:\n").doing("writing group")?;
    let modules = first(&tree.join("lib/modules"), "")?;
    for name in MODULES {
        let file = format!("{name}.ko");
        let found =
            find(&modules, &file).ok_or_else(|| Failure::new(format!("the kernel package has no {file}")))?;
        copy(&found, &root.join("modules").join(&file))?;
    }
    let mut names = Vec::new();
    list(root, root, &mut names)?;
    names.sort();
    let (names_file, archive) = (root.with_extension("names"), root.with_extension("cpio"));
    fs::write(&names_file, names.join("\n") + "\n").doing("writing the file list")?;
    let open = |path: &Path| File::open(path).doing(format!("opening {}", path.display()));
    let create = |path: &Path| File::create(path).doing(format!("making {}", path.display()));
    let mut cpio = Command::new("cpio");
    cpio.args(["-o", "-H", "newc", "--quiet", "--owner", "0:0", "--reproducible"]).current_dir(root);
    child::run(cpio.stdin(open(&names_file)?).stdout(create(&archive)?))?;
    child::run(Command::new("gzip").args(["-9", "-n", "-c"]).stdin(open(&archive)?).stdout(create(result)?))
}

/// A hybrid image: boots from a CD drive, and as a disk. The qcow2 holds the same bytes.
fn image(tree: &Path, disc: &Path, work: &Path, out: &Path) -> Result<()> {
    let (iso, disk) = (work.join("guest.iso"), work.join("guest.qcow2"));
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-V", "QUANTIX_GUEST", "-b", "isolinux/isolinux.bin"]);
    xorriso.args(["-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
    xorriso
        .arg("-isohybrid-mbr")
        .arg(tree.join("usr/lib/ISOLINUX/isohdpfx.bin"))
        .arg("-o")
        .arg(&iso)
        .arg(disc);
    checked(&mut xorriso, STEP_DEADLINE)?;
    checked(
        Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&iso).arg(&disk),
        STEP_DEADLINE,
    )?;
    for (made, name) in [(iso, "guest.iso"), (disk, "guest.qcow2")] {
        fs::rename(&made, out.join(name)).doing(format!("placing {name}"))?;
    }
    Ok(())
}

/// Runs a program and answers its output; its own words are the failure.
fn checked(command: &mut Command, deadline: Duration) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = child::capture(command, deadline)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("{name} ended with {}: {words}", child::ending(output.status))))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).doing(format!("copying {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
        .doing(format!("setting the mode of {}", to.display()))
}

/// The first entry of `folder`, by name, that starts with `prefix`.
fn first(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .doing(format!("listing {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    names.sort();
    names.into_iter().next().ok_or_else(|| Failure::new(format!("{} holds no {prefix}*", folder.display())))
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.filter_map(|e| e.ok().map(|e| e.path())).collect();
    entries.sort();
    entries.iter().find(|path| path.ends_with(name)).cloned().or_else(|| {
        entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).find_map(|path| find(path, name))
    })
}

fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).doing(format!("listing {}", folder.display()))? {
        let path = entry.doing("listing")?.path();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        names.push(name);
        if path.is_dir() {
            list(root, &path, names)?;
        }
    }
    Ok(())
}
