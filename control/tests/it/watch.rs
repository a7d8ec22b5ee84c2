//! The watch stream: hello, what changed, and its end.

use crate::house::House;
use connectrpc::client::{ClientConfig, HttpClient};
use quantix_contract::fault::from_connect;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::quantix::watch::v1::{WatchRequest, WatchServiceClient};
use quantix_control::bus::Thing;
use quantix_control::ids;
use quantix_control::tasks::NewTask;
use quantix_model::FaultCode;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

fn client(house: &House, token: &str) -> WatchServiceClient<HttpClient> {
    let base = format!("http://{}", house.vdc.dev_address().unwrap()).parse().unwrap();
    let config = ClientConfig::new(base).with_default_header("authorization", format!("Bearer {token}"));
    WatchServiceClient::new(HttpClient::plaintext(), config)
}

#[tokio::test]
async fn a_burst_is_told_once_and_stopping_ends_the_stream() {
    let house = House::new().await;
    let token = house.signed_in().await;
    let mut stream = client(&house, &token).watch(WatchRequest::default()).await.unwrap();
    let hello = tokio::time::timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    let hello = hello.to_owned_message();
    let Some(Event::Hello(first)) = hello.event else { panic!("{hello:?}") };
    assert_eq!(first.epoch, house.vdc.core().epoch);

    let core = house.vdc.core().clone();
    let task = core.tasks.draft(NewTask {
        kind: "no.such.kind",
        title: "Try".into(),
        object: Thing::Vm(ids::vm()),
        object_name: "x".into(),
        host: String::new(),
        user_name: "admin".into(),
        input: serde_json::Value::Null,
    });
    core.store.task_insert(&task).await.unwrap();
    for _ in 0..100 {
        core.bus.changed(Thing::Task(task.id));
    }
    let message = tokio::time::timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    let message = message.to_owned_message();
    let Some(Event::Task(seen)) = message.event else { panic!("{message:?}") };
    assert_eq!((seen.id.as_str(), message.revision), (task.id.to_string().as_str(), 100));
    core.bus.changed(Thing::Task(ids::task()));
    let message = tokio::time::timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    let message = message.to_owned_message();
    let Some(Event::Removed(gone)) = message.event else { panic!("{message:?}") };
    assert_eq!((gone.kind.as_str(), message.revision), ("task", 101));

    let begun = Instant::now();
    house.vdc.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "an open stream must not hold up stopping");
    let end = tokio::time::timeout(SOON, stream.message()).await.unwrap();
    assert!(!matches!(end, Ok(Some(_))), "the stream has ended");
}

#[tokio::test]
async fn strangers_see_nothing() {
    let house = House::new().await;
    let refused = match client(&house, "qxs_x").watch(WatchRequest::default()).await {
        Err(err) => err,
        Ok(mut stream) => {
            let end = stream.message().await;
            stream.error().cloned().unwrap_or_else(|| end.expect_err("an error, not a message"))
        }
    };
    assert_eq!(from_connect(&refused).unwrap().code, FaultCode::NotSignedIn);
    house.vdc.stop().await;
}
