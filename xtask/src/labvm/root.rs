//! The root file system: Debian's packages from this machine's own sources, its kernel, and our files.

use super::recipe::{self, FILES, KERNEL, LEFT_OUT, MASKED, NO_HARDWARE, NOT_STARTED, PACKAGES, TEXTS};
use super::{STEP_DEADLINE, checked};
use crate::failure::{Context, Failure, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(900);

/// Installs all packages into `tree`.
pub fn packages(tree: &Path, suite: &str) -> Result<()> {
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args([
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        "--components=main",
    ]);
    mmdebstrap.args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\""]);
    for place in LEFT_OUT {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude={place}"));
    }
    mmdebstrap.arg(format!("--include={}", PACKAGES.join(","))).arg(suite).arg(tree);
    // Without any, mmdebstrap takes Debian's public mirror.
    mmdebstrap.args(sources(suite));
    checked(&mut mmdebstrap, DOWNLOAD_DEADLINE).map(|_| ())
}

/// The files in which this machine says where its Debian comes from.
fn sources(suite: &str) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    files.extend(folder.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    let debian = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        // Other makers' sources name no suite of Debian's as a word of its own.
        lines.flat_map(str::split_whitespace).any(|word| word == suite)
    };
    files.retain(debian);
    files.sort();
    files
}

/// Fetches and unpacks the kernel into `tree`. It is not installed: its package would build an initrd of its own.
pub fn kernel(tree: &Path) -> Result<()> {
    let name = kernel_package().or_else(|_| {
        // A fresh machine has no package lists, and old lists name files that are gone.
        checked(Command::new("apt-get").args(["update", "-q"]), DOWNLOAD_DEADLINE)?;
        kernel_package()
    })?;
    let folder = tree.with_extension("deb");
    for place in [tree, &folder] {
        fs::create_dir_all(place).doing(format!("making {}", place.display()))?;
    }
    let fetch = || {
        let mut apt = Command::new("apt-get");
        // apt's own user may not be able to write here.
        apt.args(["download", "-q", "-o", "APT::Sandbox::User=root", &name]).current_dir(&folder);
        checked(&mut apt, DOWNLOAD_DEADLINE)
    };
    fetch().or_else(|_| {
        checked(Command::new("apt-get").args(["update", "-q"]), DOWNLOAD_DEADLINE)?;
        fetch()
    })?;
    let deb = only(&folder)?;
    checked(Command::new("dpkg-deb").arg("-x").arg(deb).arg(tree), STEP_DEADLINE)?;
    for place in NO_HARDWARE {
        let _ = fs::remove_dir_all(only(&tree.join("lib/modules"))?.join("kernel").join(place));
    }
    Ok(())
}

/// The real package behind Debian's meta package.
fn kernel_package() -> Result<String> {
    let depends = checked(Command::new("apt-cache").args(["depends", KERNEL]), STEP_DEADLINE)?;
    let mut names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.find(|name| name.starts_with("linux-image-")).map(str::to_owned);
    found.ok_or_else(|| Failure::new(format!("apt knows no {KERNEL}")).remedy("apt-get update"))
}

/// Puts the kernel's modules and our files in place, and says which units start.
pub fn customise(root: &Path, kernel: &Path, tree: &Path) -> Result<()> {
    let modules = only(&kernel.join("lib/modules"))?;
    let place = tree.join("usr/lib/modules");
    fs::create_dir_all(&place).doing("making the folder of modules")?;
    let place = place.join(modules.file_name().unwrap_or_default());
    fs::rename(&modules, &place).doing("moving the modules")?;
    let version = place.file_name().unwrap_or_default();
    checked(Command::new("chroot").arg(tree).arg("depmod").arg(version), STEP_DEADLINE)?;
    for folder in ["share", "lab"] {
        fs::create_dir_all(tree.join(folder)).doing(format!("making /{folder}"))?;
    }
    for (name, place) in FILES {
        let place = tree.join(place);
        fs::create_dir_all(place.parent().unwrap_or(tree)).doing(format!("making a place for {name}"))?;
        fs::copy(root.join("lab/labvm").join(name), place).doing(format!("copying lab/labvm/{name}"))?;
    }
    for (place, text) in TEXTS {
        fs::write(tree.join(place), text).doing(format!("writing /{place}"))?;
    }
    let units = tree.join("etc/systemd/system");
    let wants = units.join("multi-user.target.wants");
    for entry in fs::read_dir(&units).doing("listing units")?.flatten() {
        for name in NOT_STARTED.iter().chain(MASKED) {
            let _ = fs::remove_file(entry.path().join(name));
        }
    }
    for name in MASKED {
        let _ = fs::remove_file(units.join(name));
        symlink("/dev/null", units.join(name)).doing(format!("masking {name}"))?;
    }
    symlink("../lab-ready.service", wants.join("lab-ready.service")).doing("enabling our unit")
}

/// The only entry of a folder.
pub fn only(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).doing(format!("listing {}", folder.display()))?;
    let first = entries.next().ok_or_else(|| Failure::new(format!("{} is empty", folder.display())))?;
    Ok(first.doing("listing")?.path())
}

/// Names of the modules that make the root disk readable, in load order, as paths below `modules`.
pub fn boot_modules(modules: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(modules.join("modules.dep")).doing("reading modules.dep")?;
    let mut order: Vec<PathBuf> = Vec::new();
    for wanted in recipe::BOOT_MODULES {
        let file = format!("{wanted}.ko");
        // `path: dependencies`, the one needed first stands last. A module that is missing is built into the kernel.
        let line = text
            .lines()
            .find(|line| line.split(':').next().is_some_and(|path| path.ends_with(&format!("/{file}"))));
        let Some((path, needs)) = line.and_then(|line| line.split_once(':')) else { continue };
        for path in needs.split_whitespace().rev().chain([path]).map(PathBuf::from) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    Ok(order)
}
