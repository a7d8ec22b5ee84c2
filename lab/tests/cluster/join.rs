//! Hosts that join by a token of the vDC.

use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::join_token::v1 as wire;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_lab::spare::Spare;
use quantix_model::FaultCode;
use std::time::Duration;

async fn token(cluster: &Cluster, uses: u32) -> wire::CreateJoinTokenResponse {
    let wish = wire::CreateJoinTokenRequest { uses, note: "rack 7".into(), ..Default::default() };
    cluster.ok(cluster.client.join_tokens().create_join_token(wish).await).into_owned()
}

async fn listed(cluster: &Cluster) -> Vec<wire::JoinToken> {
    let asked = cluster.client.join_tokens().list_join_tokens(wire::ListJoinTokensRequest::default()).await;
    cluster.ok(asked).into_owned().join_tokens
}

async fn ready(cluster: &Cluster, name: &str) -> host::Host {
    until(&format!("{name} is ready"), DEADLINE, async || {
        let hosts = cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await.ok()?;
        let ready = host::HostPhase::HOST_PHASE_READY;
        hosts.into_owned().hosts.into_iter().find(|h| h.name == name && h.phase == ready)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_joins_by_itself_once_and_again_under_the_same_key() {
    let cluster = Cluster::start().await;
    let made = token(&cluster, 1).await;
    let machine = Spare::start(&cluster, "machine").await;
    let joined = machine.join(&made.vdc_url, &made.token, "joined-1").await.unwrap();
    assert_eq!(joined.host_name, "joined-1");
    let host = ready(&cluster, "joined-1").await;
    assert_eq!(host.url, machine.url());
    // The vDC reaches it, too: a pool is made there.
    let wish = Cluster::pool_wish("on-it", "/data/on-it", &host.id);
    let pool = cluster.ok(cluster.client.pools().create_pool(wish).await).into_owned();
    cluster.task_done(&pool.task_id).await;
    // As if the answer had been lost: the same again is the same host, and no other use.
    machine.join(&made.vdc_url, &made.token, "joined-1").await.unwrap();
    assert_eq!(ready(&cluster, "joined-1").await.id, host.id);
    let seen = &listed(&cluster).await[0];
    assert_eq!((seen.used, seen.note.as_str(), seen.created_by.as_str()), (1, "rack 7", "admin"));
    assert_eq!(seen.state, wire::JoinTokenState::JOIN_TOKEN_STATE_USED);
    let second = Spare::start(&cluster, "second").await;
    let fault = second.join(&made.vdc_url, &made.token, "joined-2").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::JoinTokenUsed, "{fault}");
    assert!(!second.is_registered());
    let said = machine.said();
    let secret = made.token.split('.').nth(1).unwrap();
    assert!(!said.contains(secret) && !said.is_empty(), "{said}");
    let ledger = std::fs::read_to_string(machine.state_dir().join("ledger.json")).unwrap();
    assert!(!ledger.contains(secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_told_apart() {
    let cluster = Cluster::start().await;
    let machine = Spare::start(&cluster, "machine").await;
    let made = token(&cluster, 5).await;
    let code = async |vdc: &str, token: &str, name: &str| machine.join(vdc, token, name).await.unwrap_err();
    let fault = code(&made.vdc_url, "qxj1.short", "a").await;
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::TokenInvalid, "token"));
    // Another authority than the one that answers.
    let secret = made.token.split('.').nth(1).unwrap();
    let elsewhere = format!("qxj1.{secret}.{}", "A".repeat(43));
    let fault = code(&made.vdc_url, &elsewhere, "a").await;
    assert_eq!(fault.code, FaultCode::TlsError, "{fault}");
    assert!(fault.message.contains("authority"), "{fault}");
    // Nobody there.
    let fault = code("https://127.0.0.1:1", &made.token, "a").await;
    assert_eq!(fault.code, FaultCode::HostConnectionFailed, "{fault}");
    assert!(fault.message.contains("vDC"), "{fault}");
    // A name that is taken costs no use.
    let fault = code(&made.vdc_url, &made.token, "host-1").await;
    assert_eq!(fault.code, FaultCode::NameTaken, "{fault}");
    assert!(fault.remedy.contains("--name"), "{}", fault.remedy);
    assert_eq!(listed(&cluster).await[0].used, 0);
    let id = made.join_token.as_option().unwrap().id.clone();
    let revoke = wire::RevokeJoinTokenRequest { id, ..Default::default() };
    cluster.ok(cluster.client.join_tokens().revoke_join_token(revoke).await);
    let fault = code(&made.vdc_url, &made.token, "a").await;
    assert_eq!(fault.code, FaultCode::JoinTokenRevoked, "{fault}");
    let made = token(&cluster, 1).await;
    cluster.travel(Duration::from_secs(25 * 3600));
    let fault = code(&made.vdc_url, &made.token, "a").await;
    assert_eq!(fault.code, FaultCode::TokenExpired, "{fault}");
    // Guessing is slowed down, also for who has a good token.
    let pin = made.token.rsplit('.').next().unwrap();
    let mut codes = Vec::new();
    for _ in 0..11 {
        codes.push(code(&made.vdc_url, &format!("qxj1.{}.{pin}", "A".repeat(22)), "a").await.code);
    }
    assert_eq!(codes[0], FaultCode::TokenInvalid);
    assert_eq!(codes[10], FaultCode::TooManyAttempts);
    assert!(!machine.is_registered());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_counted_when_many_come_at_once() {
    let cluster = Cluster::start().await;
    let made = token(&cluster, 2).await;
    let mut machines = Vec::new();
    for n in 0..4 {
        machines.push(Spare::start(&cluster, &format!("m-{n}")).await);
    }
    let tries = machines.iter().enumerate().map(|(n, machine)| {
        let (made, name) = (made.clone(), format!("joined-{n}"));
        async move { machine.join(&made.vdc_url, &made.token, &name).await.map_err(|fault| fault.code) }
    });
    let done = futures::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 2, "{done:?}");
    assert!(done.iter().all(|d| d.is_ok() || *d == Err(FaultCode::JoinTokenUsed)), "{done:?}");
    assert_eq!(listed(&cluster).await[0].used, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_another_vdc_stays_there() {
    let (one, two) = (Cluster::start().await, Cluster::start().await);
    let machine = Spare::start(&one, "machine").await;
    let made = token(&one, 1).await;
    machine.join(&made.vdc_url, &made.token, "joined-1").await.unwrap();
    let other = token(&two, 1).await;
    let fault = machine.join(&other.vdc_url, &other.token, "joined-1").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Conflict, "{fault}");
    ready(&one, "joined-1").await;
}
