//! The watch stream tells what is looked at, says of all else that it changed, and goes on where a broken line ended.

use crate::wish;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::watch::v1 as watch;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_lab::cluster::{Cluster, DEADLINE};
use tokio::sync::mpsc;

/// An open line.
struct Line {
    messages: mpsc::Receiver<watch::WatchResponse>,
    hello: watch::Hello,
    revision: u64,
}

fn at(kind: &str, ids: &[&str]) -> watch::Gaze {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let sight = watch::Sight { kind: kind.into(), ids, ..Default::default() };
    watch::Gaze { sights: vec![sight], ..Default::default() }
}

async fn open(cluster: &Cluster, request: watch::WatchRequest) -> Line {
    let mut stream = cluster.ok(cluster.client.watch().watch(request).await);
    let (out, messages) = mpsc::channel(64);
    // Ends with the line, which ends when nobody listens.
    tokio::spawn(async move {
        while let Ok(Some(message)) = stream.message().await {
            if out.send(message.to_owned_message()).await.is_err() {
                return;
            }
        }
    });
    let mut line = Line { messages, hello: watch::Hello::default(), revision: 0 };
    let first = line.next().await;
    let Some(Event::Hello(hello)) = first.event else { panic!("it begins with hello, not {first:?}") };
    line.hello = *hello;
    line
}

impl Line {
    async fn next(&mut self) -> watch::WatchResponse {
        let next = tokio::time::timeout(DEADLINE, self.messages.recv()).await;
        let next = next.expect("something is told").expect("the line holds");
        assert!(next.revision >= self.revision, "revisions never go back");
        self.revision = next.revision;
        next
    }

    /// The first that fits. What comes before it is told too.
    async fn until<T>(&mut self, fits: impl Fn(&Event) -> Option<T>) -> (T, Vec<Event>) {
        let mut before = Vec::new();
        loop {
            let event = self.next().await.event.expect("an event");
            match fits(&event) {
                Some(found) => return (found, before),
                None => before.push(event),
            }
        }
    }
}

fn vm_of(event: &Event) -> Option<String> {
    match event {
        Event::Vm(vm) => Some(vm.id.clone()),
        _ => None,
    }
}

fn elsewhere(event: &Event, kind: &str) -> Option<()> {
    matches!(event, Event::Elsewhere(told) if told.kind == kind).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_of_what_it_looks_at_and_of_all_else_that_it_changed() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let (one, two) = (cluster.vm(wish("one", &pool_id)).await, cluster.vm(wish("two", &pool_id)).await);
    let gaze = at("vm", &[]);
    let mut line = open(&cluster, watch::WatchRequest { gaze: gaze.into(), ..Default::default() }).await;
    assert!(!line.hello.resumed, "a first line resumes nothing");

    cluster.power(&two.id, vm::PowerVerb::POWER_VERB_START).await.unwrap();
    let ((), before) = line.until(|event| elsewhere(event, "vm")).await;
    assert!(before.iter().all(|event| vm_of(event).is_none()), "{before:?}");

    // It looks at one of them. What changed on the way to it is told once more; of the other it hears nothing.
    let look = |gaze: watch::Gaze, id: &str| watch::LookRequest {
        watch_id: id.to_owned(),
        gaze: gaze.into(),
        ..Default::default()
    };
    let id = line.hello.watch_id.clone();
    cluster.ok(cluster.client.watch().look(look(at("vm", &[&two.id]), &id)).await);
    let (told, before) = line.until(vm_of).await;
    assert_eq!(told, two.id);
    assert!(!before.iter().any(|event| matches!(event, Event::Host(_) | Event::Pool(_) | Event::Task(_))));
    cluster.ok(cluster.client.watch().look(look(at("vm", &[&one.id]), &id)).await);
    cluster.power(&one.id, vm::PowerVerb::POWER_VERB_START).await.unwrap();
    let runs = |event: &Event| match event {
        Event::Vm(vm) if vm.id == one.id && vm.power_state == vm::PowerState::POWER_STATE_RUNNING => Some(()),
        _ => None,
    };
    line.until(runs).await;

    let refused = cluster.client.watch().look(look(at("vm", &["x"]), &id)).await.unwrap_err();
    assert_eq!(cluster.client.fault(&refused).field, "gaze");
    let refused = cluster.client.watch().look(look(at("vm", &[]), "nobody")).await.unwrap_err();
    assert_eq!(cluster.client.fault(&refused).code, quantix_model::FaultCode::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_broke_goes_on_where_it_was_but_not_in_another_life_of_the_vdc() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let one = cluster.vm(wish("one", &pool_id)).await;
    let gaze = at("vm", &[&one.id]);
    let mut line =
        open(&cluster, watch::WatchRequest { gaze: gaze.clone().into(), ..Default::default() }).await;
    let started = cluster.power(&one.id, vm::PowerVerb::POWER_VERB_START).await.unwrap();
    line.until(vm_of).await;
    let again = watch::WatchRequest {
        epoch: line.hello.epoch.clone(),
        revision: line.revision,
        gaze: gaze.into(),
        ..Default::default()
    };
    drop(line);
    cluster.task_done(&started.task_id).await;
    cluster.power(&one.id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await.unwrap();

    let mut line = open(&cluster, again.clone()).await;
    assert!(line.hello.resumed);
    line.until(|event| match event {
        Event::Vm(vm) if vm.power_state == vm::PowerState::POWER_STATE_OFF => Some(()),
        _ => None,
    })
    .await;
    drop(line);

    let never = watch::WatchRequest { revision: u64::MAX, ..again.clone() };
    assert!(!open(&cluster, never).await.hello.resumed, "a revision that never was");
    cluster.kill_vdc();
    cluster.start_vdc().await;
    assert!(!open(&cluster, again).await.hello.resumed, "another life of the vDC");
}
