//! Becoming a vDC's host, in all the ways that are right and wrong.

use crate::vdc::TestVdc;
use crate::yard::{Machine, line, pool_intent, register, until, url};
use quantix_client::{HostClient, Registration, RegistrationToken};
use quantix_contract::quantix::node::v1 as node;
use quantix_model::FaultCode;
use quantix_model::id::HostId;
use quantix_node::socket;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_added_and_reports() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let daemon = machine.start().await;
    assert!(!daemon.is_registered());
    let registration = Registration::new(&url(&daemon), &daemon.token().await.unwrap()).unwrap();
    let contact = registration.ping().await.unwrap();
    assert!(contact.clock_skew_ms.abs() < 1000);
    let facts = registration.token().await.unwrap();
    assert_eq!(facts.expires_at_unix_ms - facts.created_at_unix_ms, 3_600_000);
    let found = registration.discovery().await.unwrap();
    assert_eq!(found.engine.libvirt_version, "9.0.0");
    assert!(found.inventory.cpu.threads >= 1 && found.inventory.memory_total_bytes > 0);
    assert_eq!(found.inventory.hostname, facts.hostname);
    let completion = vdc.completion(HostId(Uuid::new_v4()), &contact.certificate_der);
    registration.complete(&completion).await.unwrap();
    let beat = vdc.beat_that("the first", |b| b.inventory.is_set()).await;
    assert_eq!(beat.host_id, completion.host_id);
    line(&daemon, &vdc, &completion).apply_pool(pool_intent(1)).await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_may_be_repeated_until_the_first_beat() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    vdc.set_down(true);
    let daemon = machine.start().await;
    let registration = Registration::new(&url(&daemon), &daemon.token().await.unwrap()).unwrap();
    let contact = registration.ping().await.unwrap();
    let completion = vdc.completion(HostId(Uuid::new_v4()), &contact.certificate_der);
    registration.complete(&completion).await.unwrap();
    registration.complete(&completion).await.expect("the same body again");
    let other = vdc.completion(HostId(Uuid::new_v4()), &contact.certificate_der);
    assert_eq!(registration.complete(&other).await.unwrap_err().code, FaultCode::TokenInvalid);
    vdc.set_down(false);
    vdc.beat_that("the first", |_| true).await;
    let fault = until("the token is used up", async || registration.complete(&completion).await.err()).await;
    assert_eq!(fault.code, FaultCode::TokenInvalid);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_told_apart_and_counted() {
    let machine = Machine::new();
    let daemon = machine.start().await;
    // The pin is in the token, so one that was never made must carry the right one.
    let real: RegistrationToken = daemon.token().await.unwrap().parse().unwrap();
    let wrong = RegistrationToken::generate(real.fingerprint).unwrap().to_string();
    let try_it = async |token: &str| Registration::new(&url(&daemon), token).unwrap().token().await;
    try_it(&real.to_string()).await.unwrap();
    let second = daemon.token().await.unwrap();
    let old = try_it(&real.to_string()).await.unwrap_err();
    assert_eq!((old.code, old.phase.as_str()), (FaultCode::TokenInvalid, "TOKEN"));
    for _ in 0..9 {
        assert_eq!(try_it(&wrong).await.unwrap_err().code, FaultCode::TokenInvalid);
    }
    assert_eq!(try_it(&wrong).await.unwrap_err().code, FaultCode::TooManyAttempts);
    let limited = try_it(&second).await.unwrap_err();
    assert_eq!(limited.code, FaultCode::TooManyAttempts, "also for the right one");
    assert_eq!(limited.evidence.unwrap().http_status, 429);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_an_expired_one_have_codes_of_their_own() {
    let machine = Machine::new();
    let daemon = machine.start().await;
    let pin = daemon.token().await.unwrap().parse::<RegistrationToken>().unwrap().fingerprint;
    let token = daemon.token().await.unwrap();
    daemon.stop().await;
    edit_ledger(&machine, |ledger| ledger["token"]["expires_at"] = 1000.into());
    let daemon = machine.start().await;
    let fault = Registration::new(&url(&daemon), &token).unwrap().token().await.unwrap_err();
    assert_eq!(fault.code, FaultCode::TokenExpired);
    daemon.stop().await;
    edit_ledger(&machine, |ledger| ledger["token"] = serde_json::Value::Null);
    let daemon = machine.start().await;
    let never = RegistrationToken::generate(pin).unwrap().to_string();
    let fault = Registration::new(&url(&daemon), &never).unwrap().token().await.unwrap_err();
    assert_eq!(fault.code, FaultCode::TokenMissing);
    daemon.stop().await;
}

fn edit_ledger(machine: &Machine, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = machine.folder.path().join("state/ledger.json");
    let mut ledger = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut ledger);
    std::fs::write(&path, serde_json::to_vec(&ledger).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_refused() {
    let (machine, vdc, other) = (Machine::new(), TestVdc::start().await, TestVdc::start().await);
    let daemon = machine.start().await;
    let registration = Registration::new(&url(&daemon), &daemon.token().await.unwrap()).unwrap();
    let contact = registration.ping().await.unwrap();
    let good = vdc.completion(HostId(Uuid::from_u128(1)), &contact.certificate_der);
    let mut bad = good.clone();
    bad.host_id = HostId(Uuid::from_u128(2)).to_string();
    assert_eq!(registration.complete(&bad).await.unwrap_err().code, FaultCode::InvalidRequest);
    let bad = quantix_client::registration::Completion { vdc_ca_pem: other.ca_pem.clone(), ..good.clone() };
    assert_eq!(registration.complete(&bad).await.unwrap_err().code, FaultCode::TlsError);
    let stranger = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap();
    let bad = vdc.completion(HostId(Uuid::from_u128(1)), stranger.cert.der());
    assert_eq!(registration.complete(&bad).await.unwrap_err().code, FaultCode::InvalidRequest);
    assert!(!daemon.is_registered());
    registration.complete(&good).await.expect("a refused try does not use up the token");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_vdc_may_call() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, _) = machine.enrol(&vdc).await;
    let beat = vdc.beat_that("any", |_| true).await;
    let id: HostId = beat.host_id.parse().unwrap();
    let without = quantix_client::tls::client(&vdc.ca_pem).unwrap();
    for config in [without, vdc.other_client_config()] {
        let stranger = HostClient::new(id, "host-1", &url(&daemon), config).unwrap();
        let code = stranger.apply_pool(pool_intent(1)).await.unwrap_err().code;
        assert_eq!(code, FaultCode::Forbidden);
        let code = stranger.leave(node::LeaveRequest::default()).await.unwrap_err().code;
        assert_eq!(code, FaultCode::Forbidden);
        let (pool, image) = (crate::yard::pool_id(), quantix_model::id::ImageId(Uuid::from_u128(5)));
        let bytes = futures::stream::iter([Ok("x".into())]);
        assert_eq!(
            stranger.upload_bytes(pool, image, 0, bytes).await.unwrap_err().code,
            FaultCode::Forbidden
        );
        let fault = stranger.console(crate::yard::vm_id()).await.err().expect("no screen for strangers");
        assert_eq!(fault.code, FaultCode::Forbidden);
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_left_obeys_nobody_and_may_be_added_again() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line_before) = machine.enrol(&vdc).await;
    line_before.apply_pool(pool_intent(1)).await.unwrap();
    line_before.leave(node::LeaveRequest::default()).await.unwrap();
    assert!(!daemon.is_registered());
    // The line that was open under the old enrolment has no rights left either.
    assert!(line_before.apply_pool(pool_intent(1)).await.is_err());
    let completion = register(&daemon, &vdc).await;
    line(&daemon, &vdc, &completion).apply_pool(pool_intent(1)).await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_socket_makes_tokens_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new();
    let state = machine.folder.path().join("state");
    assert_eq!(socket::ask_token(&state).await.err().unwrap().code, FaultCode::HostUnreachable);
    let daemon = machine.start().await;
    let answer = socket::ask_token(&state).await.unwrap();
    Registration::new(&url(&daemon), &answer.token).unwrap().token().await.unwrap();
    let mode = std::fs::metadata(state.join("node.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ledger = std::fs::read_to_string(state.join("ledger.json")).unwrap();
    let secret = answer.token.split('.').nth(1).unwrap();
    assert!(!ledger.contains(secret), "only a hash is kept");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_answer_typed_json() {
    let machine = Machine::new();
    let daemon = machine.start().await;
    let dial = quantix_client::dial::Dial::new(
        url(&daemon).parse().unwrap(),
        "new.host.quantix.internal",
        quantix_client::tls::unpinned().unwrap(),
    )
    .unwrap();
    for path in ["/api/v1/nothing", "/quantix.node.v1.Nothing/X", "/"] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = dial.connect(&[b"http/1.1"]).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("\"UNKNOWN_PATH\""), "{answer}");
    }
    daemon.stop().await;
}
