//! What every driver must do, written once and run on each: in unit tests on the fake, in the lab on libvirt
//! and QEMU. The guest is diskless: its firmware shows a screen and stays there, which is all that is needed.

use crate::driver::{Driver, LOST, Machine, MachineDisk, MachineEvent, MachineNic, MachineReport, RETURNED};
use async_trait::async_trait;
use quantix_model::Secret;
use quantix_model::fault::FaultCode;
use quantix_model::host::Accelerator;
use quantix_model::id::VmId;
use quantix_model::vm::{Firmware, NicKind, PowerState, PowerVerb};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Any single thing waited for happens within this, also on a busy machine under emulation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Size of the disks in [`Setup`].
pub const DISK_BYTES: u64 = 64 << 20;

/// A driver to examine.
pub struct Setup {
    /// The driver. Machines it has already are left alone.
    pub driver: Arc<dyn Driver>,
    /// How guests are to run.
    pub accelerator: Accelerator,
    /// Empty disks of [`DISK_BYTES`] nobody else uses. The guest has no system, so it never lets go of a disk.
    pub disks: [MachineDisk; 2],
    /// Takes the hypervisor's control daemon away and brings it back; `None` leaves that part out.
    pub outage: Option<Box<dyn Outage>>,
}

/// Takes the hypervisor's control daemon away, without touching guests.
#[async_trait]
pub trait Outage: Send + Sync {
    /// After this no call is answered.
    async fn begin(&self);
    /// After this the daemon is there again, or on its way.
    async fn end(&self);
}

/// A diskless machine with an empty drive and one card. Name and id are new each time.
pub fn machine(label: &str, accelerator: Accelerator) -> Machine {
    let id = VmId(Uuid::new_v4());
    Machine {
        id,
        name: format!("{label} <&\"'> {}", &id.to_string()[..8]),
        generation: 1,
        vcpus: 1,
        memory_bytes: 128 << 20,
        firmware: Firmware::Bios,
        disks: vec![],
        cdrom: None,
        nics: vec![MachineNic { kind: NicKind::User, mac: "52:54:00:00:00:01".to_owned() }],
        accelerator,
    }
}

/// Runs the whole suite.
///
/// # Panics
/// With what was expected, where the driver differs.
pub async fn run(setup: Setup) {
    let driver = setup.driver.as_ref();
    let engine = driver.engine().await;
    assert!(engine.fault.is_none(), "the engine answers at first: {:?}", engine.fault);
    assert!(!engine.libvirt_version.is_empty() && !engine.qemu_version.is_empty(), "{engine:?}");
    let subject = machine("conformance", setup.accelerator);
    unknown_machines(driver).await;
    definitions(driver, &subject).await;
    power(driver, &subject).await;
    disks_of_a_running_machine(driver, &subject, &setup.disks).await;
    if let Some(outage) = &setup.outage {
        outages(driver, &subject, outage.as_ref()).await;
    }
    stopping(driver, &subject).await;
    disks_of_a_stopped_machine(driver, &subject, &setup.disks).await;
    secrets(driver).await;
    removal(driver, &subject).await;
}

async fn unknown_machines(driver: &dyn Driver) {
    let id = VmId(Uuid::new_v4());
    assert_eq!(driver.get(id).await.expect("answers"), None);
    assert!(!driver.undefine(id).await.expect("undefining what is not there is no failure"));
    for verb in PowerVerb::ALL {
        let fault = driver.power(id, verb).await.expect_err("no such machine");
        assert_eq!(fault.code, FaultCode::VmMissingOnHost, "{verb:?}: {fault}");
    }
    assert_eq!(driver.console(id).await.expect_err("none").code, FaultCode::VmMissingOnHost);
    assert_eq!(driver.disk_list(id).await.expect_err("none").code, FaultCode::VmMissingOnHost);
    assert_eq!(driver.disk_detach(id, "x").await.expect_err("none").code, FaultCode::VmMissingOnHost);
}

async fn definitions(driver: &dyn Driver, subject: &Machine) {
    let mut events = driver.events();
    driver.define(subject).await.expect("defined");
    wait_event(&mut events, subject.id, "defined").await;
    let report = report(driver, subject.id).await;
    assert_eq!(report.name, subject.name);
    assert_eq!(report.generation, Some(1));
    assert_eq!(report.power_state, PowerState::Off);
    assert_eq!((report.cpu_time_ns, report.memory_used_bytes), (None, None));
    assert_eq!(report.vcpus, 1);

    let newer = Machine { generation: 2, vcpus: 2, ..subject.clone() };
    driver.define(&newer).await.expect("replaced");
    wait_event(&mut events, subject.id, "defined").await;
    let report = self::report(driver, subject.id).await;
    assert_eq!((report.generation, report.vcpus), (Some(2), 2));
    driver.define(subject).await.expect("replaced again");

    let twin = Machine { name: subject.name.clone(), ..machine("twin", subject.accelerator) };
    let fault = driver.define(&twin).await.expect_err("the name is taken");
    assert_eq!(fault.code, FaultCode::NameTaken, "{fault}");
    assert_eq!(driver.get(twin.id).await.expect("answers"), None, "a refused machine is not there");

    let renamed = Machine { name: format!("{} again", subject.name), ..subject.clone() };
    let fault = driver.define(&renamed).await.expect_err("another name for the same id");
    assert_eq!(fault.code, FaultCode::Conflict, "{fault}");
    assert_eq!(self::report(driver, subject.id).await.name, subject.name);

    let hostile = Machine { name: "a\nb".to_owned(), ..machine("x", subject.accelerator) };
    assert_eq!(driver.define(&hostile).await.expect_err("refused").code, FaultCode::InvalidArgument);
    let all = driver.list().await.expect("listed");
    assert_eq!(all.iter().filter(|m| m.id == subject.id).count(), 1, "listed once");
}

async fn power(driver: &dyn Driver, subject: &Machine) {
    let id = subject.id;
    for verb in [PowerVerb::Pause, PowerVerb::Resume, PowerVerb::Reset, PowerVerb::Reboot] {
        let fault = driver.power(id, verb).await.expect_err("it is off");
        assert_eq!(fault.code, FaultCode::VmActionNotAllowed, "{verb:?}: {fault}");
    }
    driver.power(id, PowerVerb::ForceStop).await.expect("already off");
    assert_eq!(driver.console(id).await.expect_err("off").code, FaultCode::ConsoleNotRunning);

    let mut events = driver.events();
    driver.power(id, PowerVerb::Start).await.expect("started");
    wait_event(&mut events, id, "started").await;
    driver.power(id, PowerVerb::Start).await.expect("already running");
    let report = report(driver, id).await;
    assert_eq!((report.power_state, report.power_reason.as_str()), (PowerState::Running, "booted"));
    assert!(report.cpu_time_ns.is_some(), "CPU time of a running machine is known");
    assert!(report.memory_used_bytes.is_some_and(|bytes| bytes > 1 << 20), "{report:?}");
    let fault = driver.undefine(id).await.expect_err("it runs");
    assert_eq!(fault.code, FaultCode::VmActionNotAllowed, "{fault}");

    screen(driver, id).await;
    driver.power(id, PowerVerb::Pause).await.expect("paused");
    wait_event(&mut events, id, "suspended").await;
    wait_state(driver, id, PowerState::Paused).await;
    driver.power(id, PowerVerb::Pause).await.expect("already paused");
    screen(driver, id).await;
    let fault = driver.power(id, PowerVerb::ShutDown).await.expect_err("a paused guest cannot react");
    assert_eq!(fault.code, FaultCode::VmActionNotAllowed, "{fault}");
    driver.power(id, PowerVerb::Resume).await.expect("resumed");
    wait_event(&mut events, id, "resumed").await;
    wait_state(driver, id, PowerState::Running).await;
    driver.power(id, PowerVerb::Reset).await.expect("reset");
    wait_event(&mut events, id, "reboot").await;
}

/// Two viewers at once, as two people look at one machine.
async fn screen(driver: &dyn Driver, id: VmId) {
    let mut viewers = Vec::new();
    for _ in 0..2 {
        let stream = driver.console(id).await.expect("a screen");
        let mut stream = tokio::net::UnixStream::from_std(stream).expect("a stream set nonblocking");
        let mut greeting = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut greeting)).await.expect("in time").expect("a greeting");
        assert_eq!(&greeting, b"RFB 003.008\n");
        viewers.push(stream);
    }
}

async fn serials(driver: &dyn Driver, id: VmId) -> Vec<String> {
    let disks = driver.disk_list(id).await.expect("listed");
    disks.into_iter().map(|disk| disk.serial).collect()
}

async fn disks_of_a_running_machine(driver: &dyn Driver, subject: &Machine, disks: &[MachineDisk; 2]) {
    let id = subject.id;
    let [first, second] = disks;
    assert!(driver.disk_list(id).await.expect("listed").is_empty());
    for disk in [first, second, first] {
        driver.disk_attach(id, disk).await.expect("attached");
    }
    assert_eq!(serials(driver, id).await, [first.serial.as_str(), second.serial.as_str()]);
    let listed = driver.disk_list(id).await.expect("listed");
    assert_eq!(listed[0].size_bytes, Some(DISK_BYTES));
    assert_eq!((listed[0].target.as_str(), listed[1].target.as_str()), ("vda", "vdb"));

    let larger = 2 * DISK_BYTES;
    for _ in 0..2 {
        driver.disk_grow(id, &second.serial, larger).await.expect("grown");
        assert_eq!(driver.disk_list(id).await.expect("listed")[1].size_bytes, Some(larger));
    }
    let fault = driver.disk_grow(id, &second.serial, DISK_BYTES).await.expect_err("it would shrink");
    assert_eq!(fault.code, FaultCode::VolumeCannotShrink, "{fault}");
    let fault = driver.disk_grow(id, "none", larger).await.expect_err("no such disk");
    assert_eq!(fault.code, FaultCode::VolumeMissing, "{fault}");
    driver.disk_detach(id, "none").await.expect("what is not there is gone already");

    // No system runs in the guest that could let go.
    let fault = driver.disk_detach(id, &second.serial).await.expect_err("the guest holds it");
    assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault}");
    assert!(fault.message.contains("vdb"), "{fault}");
    assert_eq!(serials(driver, id).await.len(), 2, "and keeps it");
}

async fn disks_of_a_stopped_machine(driver: &dyn Driver, subject: &Machine, disks: &[MachineDisk; 2]) {
    let id = subject.id;
    let [first, second] = disks;
    assert_eq!(
        serials(driver, id).await,
        [first.serial.as_str(), second.serial.as_str()],
        "they are defined"
    );
    assert_eq!(driver.disk_list(id).await.expect("listed")[0].size_bytes, None);
    let fault = driver.disk_grow(id, &first.serial, 4 * DISK_BYTES).await.expect_err("it is off");
    assert_eq!(fault.code, FaultCode::VmActionNotAllowed, "{fault}");
    for _ in 0..2 {
        driver.disk_detach(id, &first.serial).await.expect("detached");
        assert_eq!(serials(driver, id).await, [second.serial.as_str()]);
    }
    for _ in 0..2 {
        driver.disk_attach(id, first).await.expect("attached");
        assert_eq!(serials(driver, id).await.len(), 2);
    }
    let hostile = MachineDisk { serial: "a\nb".to_owned(), ..first.clone() };
    let fault = driver.disk_attach(id, &hostile).await.expect_err("refused");
    assert_eq!(fault.code, FaultCode::InvalidArgument);
}

async fn secrets(driver: &dyn Driver) {
    let uuid = Uuid::new_v4();
    let usage = format!("conformance {uuid} <&\"'>");
    for key in ["QVFDYW5hcnk=", "QVFDYW5hcnk=", "QVFCYW5hcnk="] {
        driver.secret_set(uuid, &usage, &Secret::new(key)).await.expect("kept");
    }
    let fault = driver.secret_set(uuid, &usage, &Secret::new("canary!")).await.expect_err("no base64");
    assert!(!format!("{fault:?}").contains("canary"), "a key is never told");
    assert!(driver.secret_remove(uuid).await.expect("forgotten"));
    assert!(!driver.secret_remove(uuid).await.expect("gone already"));
}

async fn outages(driver: &dyn Driver, subject: &Machine, outage: &dyn Outage) {
    let mut events = driver.events();
    outage.begin().await;
    let began = Instant::now();
    loop {
        match driver.get(subject.id).await {
            Err(fault) if fault.code == FaultCode::HypervisorUnavailable => break,
            other => assert!(began.elapsed() < PATIENCE, "the outage is noticed: {other:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
    wait_event(&mut events, subject.id, LOST).await;
    let asked = Instant::now();
    for code in [
        driver.list().await.expect_err("down").code,
        driver.define(subject).await.expect_err("down").code,
        driver.power(subject.id, PowerVerb::Pause).await.expect_err("down").code,
        driver.undefine(subject.id).await.expect_err("down").code,
        driver.console(subject.id).await.expect_err("down").code,
    ] {
        assert_eq!(code, FaultCode::HypervisorUnavailable);
    }
    let engine = driver.engine().await;
    assert_eq!(engine.fault.map(|f| f.code), Some(FaultCode::HypervisorUnavailable));
    assert!(asked.elapsed() < Duration::from_secs(10), "being down is told fast: {:?}", asked.elapsed());

    outage.end().await;
    wait_event(&mut events, subject.id, RETURNED).await;
    wait_state(driver, subject.id, PowerState::Running).await;
    assert!(driver.engine().await.fault.is_none());
    driver.power(subject.id, PowerVerb::Pause).await.expect("paused");
    wait_event(&mut events, subject.id, "suspended").await;
    driver.power(subject.id, PowerVerb::Resume).await.expect("resumed");
}

async fn stopping(driver: &dyn Driver, subject: &Machine) {
    let mut events = driver.events();
    driver.power(subject.id, PowerVerb::ForceStop).await.expect("stopped");
    wait_event(&mut events, subject.id, "stopped: destroyed").await;
    let report = report(driver, subject.id).await;
    assert_eq!((report.power_state, report.power_reason.as_str()), (PowerState::Off, "destroyed"));
    assert_eq!(report.cpu_time_ns, None);
    driver.power(subject.id, PowerVerb::ForceStop).await.expect("already off");
    driver.power(subject.id, PowerVerb::ShutDown).await.expect("already off");
}

async fn removal(driver: &dyn Driver, subject: &Machine) {
    let mut events = driver.events();
    assert!(driver.undefine(subject.id).await.expect("undefined"));
    wait_event(&mut events, subject.id, "undefined").await;
    assert!(!driver.undefine(subject.id).await.expect("gone already"));
    assert_eq!(driver.get(subject.id).await.expect("answers"), None);
    let all = driver.list().await.expect("listed");
    assert!(all.iter().all(|m| m.id != subject.id), "gone from the list");
}

async fn report(driver: &dyn Driver, id: VmId) -> MachineReport {
    driver.get(id).await.expect("answers").expect("the machine is there")
}

/// Waits until the driver says the machine is in `state`; calls that fail meanwhile are tried again.
///
/// # Panics
/// When it does not come so far in a minute.
pub async fn wait_state(driver: &dyn Driver, id: VmId, state: PowerState) {
    let began = Instant::now();
    loop {
        let seen = driver.get(id).await;
        if matches!(&seen, Ok(Some(report)) if report.power_state == state) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "waited for {state:?}, saw {seen:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for an event of machine `id` whose words start with `what`.
///
/// # Panics
/// When none comes in a minute.
pub async fn wait_event(events: &mut broadcast::Receiver<MachineEvent>, id: VmId, what: &str) {
    let mut seen = Vec::new();
    let search = async {
        loop {
            match events.recv().await {
                Ok(event) if event.id == id && event.what.starts_with(what) => return,
                Ok(event) => seen.push(event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("the driver ended while {what:?} was waited for"),
            }
        }
    };
    let found = timeout(PATIENCE, search).await;
    assert!(found.is_ok(), "waited for {what:?}, saw {seen:?}");
}
