//! What only the fake can do: trouble on demand, and a screen whose picture can be read.

use super::*;
use crate::conformance::{self, Outage, Setup};
use crate::driver::DiskSource;
use quantix_model::fault::FaultCode;
use quantix_model::volume::VolumeFormat;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Unplug(FakeDriver);

#[async_trait]
impl Outage for Unplug {
    async fn begin(&self) {
        self.0.set_trouble(Trouble::Down);
    }
    async fn end(&self) {
        self.0.set_trouble(Trouble::None);
    }
}

#[tokio::test]
async fn the_fake_conforms() {
    let driver = FakeDriver::new(Accelerator::Tcg);
    driver.set_disks_held(true);
    let disk = |serial: &str| MachineDisk {
        source: DiskSource::File { path: format!("/fake/{serial}"), format: VolumeFormat::Qcow2 },
        serial: serial.to_owned(),
    };
    conformance::run(Setup {
        driver: Arc::new(driver.clone()),
        accelerator: Accelerator::Tcg,
        disks: [disk("one"), disk("two")],
        outage: Some(Box::new(Unplug(driver))),
    })
    .await;
}

#[tokio::test]
async fn a_guest_that_hears_the_power_button_stops() {
    let driver = FakeDriver::new(Accelerator::Tcg);
    let machine = conformance::machine("quiet", Accelerator::Tcg);
    let mut events = driver.events();
    driver.define(&machine).await.expect("defined");
    driver.power(machine.id, PowerVerb::Start).await.expect("started");
    driver.power(machine.id, PowerVerb::ShutDown).await.expect("asked");
    let report = driver.get(machine.id).await.expect("up").expect("there");
    assert_eq!(report.power_state, PowerState::ShuttingDown);
    conformance::wait_event(&mut events, machine.id, "stopped: shutdown").await;
    let report = driver.get(machine.id).await.expect("up").expect("there");
    assert_eq!((report.power_state, report.power_reason.as_str()), (PowerState::Off, "shutdown"));
}

#[tokio::test]
async fn trouble_is_told_as_libvirt_tells_it() {
    let driver = FakeDriver::new(Accelerator::Kvm);
    let machine = conformance::machine("poor", Accelerator::Kvm);
    driver.define(&machine).await.expect("defined");
    driver.set_trouble(Trouble::Refuse("Could not open '/x': Permission denied".into()));
    let fault = driver.power(machine.id, PowerVerb::Start).await.expect_err("refused");
    assert_eq!(fault.code, FaultCode::HypervisorRefused);
    assert!(fault.cause.contains("Permission denied"));
    driver.set_deadline(Duration::from_millis(20));
    driver.set_trouble(Trouble::Slow(Duration::from_secs(3600)));
    let fault = driver.list().await.expect_err("slow");
    assert_eq!(fault.code, FaultCode::DeadlineExceeded);
    assert!(driver.engine().await.fault.is_some());
    driver.set_trouble(Trouble::None);
    driver.power(machine.id, PowerVerb::Start).await.expect("started");
    driver.crash(machine.id);
    let report = driver.get(machine.id).await.expect("up").expect("there");
    assert_eq!((report.power_state, report.cpu_time_ns), (PowerState::Crashed, None));
}

#[tokio::test]
async fn a_foreign_machine_is_listed_without_generation() {
    let driver = FakeDriver::new(Accelerator::Tcg);
    let id = conformance::machine("x", Accelerator::Tcg).id;
    driver.add_foreign(id, "theirs");
    let report = driver.get(id).await.expect("up").expect("there");
    assert_eq!((report.generation, report.name.as_str()), (None, "theirs"));
}

#[tokio::test]
async fn the_screen_moves_and_ends_with_the_machine() {
    let driver = FakeDriver::new(Accelerator::Tcg);
    let machine = conformance::machine("bright", Accelerator::Tcg);
    driver.define(&machine).await.expect("defined");
    driver.power(machine.id, PowerVerb::Start).await.expect("started");
    let stream = driver.console(machine.id).await.expect("a screen");
    let mut stream = tokio::net::UnixStream::from_std(stream).expect("nonblocking");
    let mut greeting = [0; 12];
    stream.read_exact(&mut greeting).await.expect("greeted");
    assert_eq!(&greeting, b"RFB 003.008\n");
    stream.write_all(b"RFB 003.008\n\x01\x01").await.expect("sent");
    // Security types (2), result (4), ServerInit (24) and the name.
    let mut init = vec![0; 30 + machine.name.len()];
    stream.read_exact(&mut init).await.expect("initialised");
    assert_eq!(&init[30..], machine.name.as_bytes());
    let mut frames = Vec::new();
    for _ in 0..2 {
        stream.write_all(&[3, 1, 0, 0, 0, 0, 1, 64, 0, 200]).await.expect("sent");
        let mut frame = vec![0; 16 + 320 * 200 * 4];
        stream.read_exact(&mut frame).await.expect("a picture");
        frames.push(frame);
    }
    assert_ne!(frames[0], frames[1]);
    driver.power(machine.id, PowerVerb::ForceStop).await.expect("stopped");
    assert_eq!(stream.read(&mut [0; 16]).await.expect("closed"), 0);
}
