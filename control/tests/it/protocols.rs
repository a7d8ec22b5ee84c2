//! One port, three protocols, two codecs; over TLS that is verified by the vDC's own CA.

use crate::house::House;
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, HttpClient};
use quantix_contract::fault::from_connect;
use quantix_contract::quantix::session::v1::{GetSessionRequest, SessionServiceClient};
use quantix_contract::quantix::task::v1::{GetTaskRequest, TaskServiceClient};
use quantix_model::FaultCode;

fn configs(house: &House, token: &str) -> Vec<(&'static str, ClientConfig)> {
    let base: http::Uri = format!("https://localhost:{}", house.vdc.address().port()).parse().unwrap();
    let config =
        || ClientConfig::new(base.clone()).with_default_header("authorization", format!("Bearer {token}"));
    vec![
        ("Connect, binary", config()),
        ("Connect, JSON", config().json()),
        ("gRPC", config().with_protocol(Protocol::Grpc)),
        ("gRPC-Web", config().with_protocol(Protocol::GrpcWeb)),
    ]
}

#[tokio::test]
async fn every_protocol_answers_and_carries_faults_whole() {
    let house = House::new().await;
    let token = house.signed_in().await;
    let tls = quantix_client::tls::client(&house.vdc.ca_pem()).unwrap();
    let http = HttpClient::with_tls(tls);
    for (name, config) in configs(&house, &token) {
        let client = SessionServiceClient::new(http.clone(), config.clone());
        let session = client.get_session(GetSessionRequest::default()).await.unwrap().into_owned();
        assert_eq!(session.user_name, "admin", "{name}");

        // Refused by a handler.
        let tasks = TaskServiceClient::new(http.clone(), config);
        let none = GetTaskRequest { id: "nonsense".into(), ..Default::default() };
        let refused = tasks.get_task(none).await.unwrap_err();
        let fault = from_connect(&refused).unwrap_or_else(|| panic!("{name}: {refused:?}"));
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "task_id"), "{name}");
    }
    for (name, config) in configs(&house, "qxs_wrong") {
        // Refused at the gate, before any handler.
        let client = SessionServiceClient::new(http.clone(), config);
        let refused = client.get_session(GetSessionRequest::default()).await.unwrap_err();
        let fault = from_connect(&refused).unwrap_or_else(|| panic!("{name}: {refused:?}"));
        assert_eq!(fault.code, FaultCode::NotSignedIn, "{name}");
        assert!(!fault.remedy.is_empty(), "{name}");
    }
    house.vdc.stop().await;
}

#[tokio::test]
async fn tls_is_hsts_and_cookies_are_secure_on_it() {
    let house = House::new().await;
    let ca = reqwest::Certificate::from_pem(house.vdc.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let port = house.vdc.address().port();
    let url = format!("https://localhost:{port}/quantix.session.v1.SessionService/Login");
    let body = serde_json::json!({"userName": "admin", "password": house.one_time_password()});
    let request = http.post(url).header("origin", format!("https://localhost:{port}")).json(&body);
    let answer = house.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.headers["set-cookie"].to_str().unwrap().ends_with("; Secure"));
    assert!(answer.headers.contains_key("strict-transport-security"));
    let stranger = reqwest::Client::new().get(format!("https://localhost:{port}/healthz")).send().await;
    assert!(stranger.is_err(), "nobody else vouches for this certificate");
    house.vdc.stop().await;
}
