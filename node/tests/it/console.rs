//! Screens through the daemon.

use crate::vdc::TestVdc;
use crate::yard::{Machine, furnish, power, vm_id};
use futures::{SinkExt as _, StreamExt as _};
use quantix_hypervisor::fake::Trouble;
use quantix_model::FaultCode;
use quantix_model::vm::PowerVerb;
use tokio_tungstenite::tungstenite::Message;

/// Reads binary messages until `bytes` bytes are there.
async fn read(socket: &mut quantix_client::host::ConsoleStream, bytes: usize) -> Vec<u8> {
    let mut found = Vec::new();
    while found.len() < bytes {
        match socket.next().await.expect("the screen goes on").unwrap() {
            Message::Binary(piece) => found.extend_from_slice(&piece),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    found
}

async fn reason(socket: &mut quantix_client::host::ConsoleStream) -> String {
    loop {
        match socket.next().await.expect("a close frame comes").unwrap() {
            Message::Close(frame) => return frame.expect("it says why").reason.to_string(),
            _ => continue,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_opens_speaks_rfb_and_says_why_it_ends() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    let fault = line.console(vm_id()).await.err().expect("it is off");
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::ConsoleNotRunning, "host-1"));
    line.power_vm(power(PowerVerb::Start)).await.unwrap();
    let mut socket = line.console(vm_id()).await.unwrap();
    let greeting = read(&mut socket, 12).await;
    assert!(greeting.starts_with(b"RFB 003."), "{greeting:?}");
    socket.send(Message::Binary(greeting.into())).await.unwrap();
    assert!(!read(&mut socket, 1).await.is_empty(), "the screen answers");
    line.power_vm(power(PowerVerb::ForceStop)).await.unwrap();
    let why = reason(&mut socket).await;
    assert!(why.starts_with("CONSOLE_NOT_RUNNING"), "{why}");
    machine.driver.set_trouble(Trouble::Down);
    let fault = line.console(vm_id()).await.err().expect("nobody answers");
    assert_eq!(fault.code, FaultCode::HypervisorUnavailable);
    daemon.stop().await;
}
