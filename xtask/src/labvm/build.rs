//! Builds the lab VM once per recipe: packages, disk, first boot, saved state.

use super::{STEP_DEADLINE, checked, machine, recipe, root};
use crate::child::{self, Running, ending, tied, wait_until};
use crate::failure::{Context, Failure, Result};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Large enough for everything a test writes; sparse.
const DISK_SIZE: &str = "12G";
/// The first boot takes 40 s on an idle machine.
const BOOT_DEADLINE: Duration = Duration::from_secs(400);
const SAVE_DEADLINE: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Results of other recipes are removed after this.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// What a finished lab VM consists of.
const PARTS: [&str; 4] = ["vmlinuz", "initrd", "disk.raw", "state"];

/// The folder with the finished lab VM, made when missing. Whoever comes second waits for the first.
pub fn ready(root: &Path, kept_in: &Path) -> Result<PathBuf> {
    let suite = recipe::suite()?;
    let made = kept_in.join(recipe::key(root, &suite)?);
    let complete = || PARTS.iter().all(|part| made.join(part).exists());
    if complete() {
        return Ok(made);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("building the lab VM needs root: its files belong to root")
            .remedy("run it with sudo"));
    }
    fs::create_dir_all(kept_in).doing(format!("making {}", kept_in.display()))?;
    let lock = File::create(kept_in.join("lock")).doing("making the lock")?;
    flock(&lock, FlockOperation::LockExclusive).doing("waiting for another build")?;
    if complete() {
        return Ok(made);
    }
    forget_others(kept_in);
    let began = Instant::now();
    let work = kept_in.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).doing(format!("making {}", work.display()))?;
    steps(root, &suite, &work)?;
    let _ = fs::remove_dir_all(&made);
    fs::create_dir_all(&made).doing(format!("making {}", made.display()))?;
    for part in PARTS {
        fs::rename(work.join(part), made.join(part)).doing(format!("placing {part}"))?;
    }
    fs::remove_dir_all(&work).doing("removing the work folder")?;
    eprintln!("lab VM: built in {:.0} s", began.elapsed().as_secs_f64());
    Ok(made)
}

/// A VM that runs holds its files open, so removing them hurts nobody.
fn forget_others(kept_in: &Path) {
    for entry in fs::read_dir(kept_in).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .ok()
            .and_then(|meta| SystemTime::now().duration_since(meta.modified().ok()?).ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn steps(root: &Path, suite: &str, work: &Path) -> Result<()> {
    let (tree, kernel) = (work.join("root"), work.join("kernel"));
    step("Debian's packages and kernel", || {
        std::thread::scope(|scope| {
            let fetched = scope.spawn(|| root::kernel(&kernel));
            root::packages(&tree, suite)?;
            fetched.join().unwrap_or_else(|_| Err(Failure::new("unpacking the kernel failed")))
        })
    })?;
    step("disk", || {
        let boot = kernel.join("boot");
        let image = fs::read_dir(&boot).doing("listing /boot")?.flatten().map(|entry| entry.path());
        let is_kernel = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        };
        let image = image.into_iter().find(is_kernel);
        let image = image.ok_or_else(|| Failure::new("the kernel package has no vmlinuz"))?;
        fs::rename(image, work.join("vmlinuz")).doing("placing the kernel")?;
        root::customise(root, &kernel, &tree)?;
        initrd(root, &root::only(&tree.join("usr/lib/modules"))?, work)?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs
            .args([
                "-q",
                "-t",
                "ext4",
                "-L",
                "labvm",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1",
                "-d",
            ])
            .arg(&tree);
        checked(mke2fs.arg(work.join("disk.raw")).arg(DISK_SIZE), SAVE_DEADLINE)?;
        fs::remove_dir_all(&tree).doing("removing the root folder")
    })?;
    step("first boot", || boot(work))
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    eprintln!("lab VM: {name} …");
    work()?;
    eprintln!("lab VM: {name}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// A first file system of two megabytes: Debian's own would add half a minute to the boot.
fn initrd(root: &Path, modules: &Path, work: &Path) -> Result<()> {
    let tree = work.join("initrd.d");
    for folder in ["bin", "modules"] {
        fs::create_dir_all(tree.join(folder)).doing("making the initrd's folders")?;
    }
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let busybox = busybox
        .ok_or_else(|| Failure::new("busybox is missing").remedy("apt-get install -y busybox-static"))?;
    fs::copy(busybox, tree.join("bin/busybox")).doing("copying busybox")?;
    fs::copy(root.join("lab/labvm/init"), tree.join("init")).doing("copying lab/labvm/init")?;
    for program in ["bin/busybox", "init"] {
        fs::set_permissions(tree.join(program), Permissions::from_mode(0o755)).doing("setting modes")?;
    }
    let mut names = vec![
        ".".to_owned(),
        "bin".into(),
        "bin/busybox".into(),
        "init".into(),
        "modules".into(),
        "modules/order".into(),
    ];
    let mut order = String::new();
    for module in root::boot_modules(modules)? {
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::copy(modules.join(&module), tree.join("modules").join(&name)).doing(format!("copying {name}"))?;
        order += &format!("{name}\n");
        names.push(format!("modules/{name}"));
    }
    fs::write(tree.join("modules/order"), order).doing("writing the load order")?;
    let list = work.join("initrd.names");
    fs::write(&list, names.join("\n") + "\n").doing("writing the initrd's list")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["-o", "-H", "newc", "--quiet", "--owner", "0:0"]).current_dir(&tree);
    cpio.stdin(File::open(&list).doing("opening the initrd's list")?);
    // Not packed: unpacking under emulation takes longer than reading.
    child::run(cpio.stdout(File::create(work.join("initrd")).doing("making the initrd")?))
}

/// Boots, waits until the guest says that all services are up, and keeps its memory.
fn boot(work: &Path) -> Result<()> {
    let dir = work.join("boot");
    fs::create_dir_all(dir.join("share")).doing("making the boot folder")?;
    // The guest writes into the disk itself; only later ones get a layer of their own.
    machine::overlay(work, &dir)?;
    let command = machine::command(work, &dir, &machine::Net::default());
    let mut qemu = tied(command.get_program());
    qemu.args(command.get_args()).stdout(Stdio::null());
    let mut qemu = Running::start("the lab VM", &mut qemu)?;
    let console = || {
        fs::read(dir.join("console.log"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    };
    let mut ended = None;
    let waited = wait_until(BOOT_DEADLINE, || {
        ended = qemu.ended();
        let text = console();
        ended.is_some() || text.contains("LAB READY") || text.contains("LAB FAILED")
    });
    let text = console();
    if !text.contains("LAB READY") {
        let reason = match (ended, waited) {
            (Some(status), _) => format!("QEMU ended with {}", ending(status)),
            (None, Some(())) => "its services did not start".to_owned(),
            (None, None) => format!("it was not ready within {} s", BOOT_DEADLINE.as_secs()),
        };
        let last: Vec<&str> = text.lines().rev().take(40).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        return Err(Failure::new(format!(
            "the lab VM's first boot: {reason}. Its console:\n{}",
            last.join("\n")
        )));
    }
    save(&dir, work)?;
    qemu.stop(STOP_WITHIN);
    // One layer less for all who come later.
    let mut commit = Command::new("qemu-img");
    checked(commit.args(["commit", "-q", "-f", "qcow2"]).arg(dir.join("disk.qcow2")), STEP_DEADLINE)
        .map(|_| ())
}

/// Writes memory and devices to `work/state` while the VM runs, so that it runs when it is restored.
fn save(dir: &Path, work: &Path) -> Result<()> {
    let mut qmp = machine::Qmp::connect(dir, STEP_DEADLINE)?;
    let state = File::create(work.join("state")).doing("making the state file")?;
    state.set_permissions(Permissions::from_mode(0o600)).doing("closing the state file to others")?;
    qmp.execute("migrate-set-parameters", json!({"max-bandwidth": 1u64 << 34}))?;
    let mut cat = "exec:exec cat > '".to_owned();
    cat += &work.join("state").to_string_lossy().replace('\'', "'\\''");
    cat += "'";
    qmp.execute("migrate", json!({"uri": cat}))?;
    let mut last = json!(null);
    let done = wait_until(SAVE_DEADLINE, || match qmp.execute("query-migrate", json!({})) {
        Ok(seen) => {
            last = seen;
            matches!(last["status"].as_str(), Some("completed" | "failed" | "cancelled"))
        }
        Err(_) => true,
    });
    if done.is_none() || last["status"] != "completed" {
        return Err(Failure::new(format!("the lab VM's state was not saved: {last}")));
    }
    qmp.execute("quit", json!({})).map(|_| ())
}
