//! Secrets that would be recognised anywhere are put into everything that takes one. Then everything that is kept, told or
//! written down is looked through for them.

use quantix_contract::quantix::certificate::v1 as certificate;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::identity::v1 as identity;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_lab::cluster::Cluster;
use quantix_lab::rig::PASSWORD;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

const CEPH: &str = "AQCanaryOfCephCanaryOfCephCanaryOfCeph==";
const CHAP: &str = "CanaryOfChap00";
const MUTUAL: &str = "CanaryOfMutual";
const ASKED: &str = "CanaryOfAsking";
const CLIENT: &str = "CanaryOfClientSecret";
const BIND: &str = "CanaryOfBindPassword";

/// Everything that is traced, by vDC and host alike: both run in this process.
#[derive(Clone, Default)]
struct Traced(Arc<Mutex<Vec<u8>>>);

impl Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn chap(user: &str, password: &str) -> pool::Chap {
    pool::Chap { user: user.into(), password: password.into(), ..Default::default() }
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&path, found),
            kind if kind.is_file() => {
                drop(found.insert(path.display().to_string(), std::fs::read(&path).unwrap()))
            }
            _ => {}
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

async fn pools(cluster: &Cluster) {
    let host = cluster.host_ready().await;
    let ceph = pool::CephPool {
        monitors: vec!["192.0.2.1".into()],
        pool: "p".into(),
        user: "u".into(),
        key: CEPH.into(),
        ..Default::default()
    };
    let iscsi = pool::IscsiPool {
        portal: "192.0.2.1".into(),
        target: "iqn.2026-01.org.example:x".into(),
        chap: chap("one", CHAP).into(),
        mutual_chap: chap("two", MUTUAL).into(),
        volume_group: "vg".into(),
        ..Default::default()
    };
    let backends = [pool::pool_spec::Backend::from(ceph), pool::pool_spec::Backend::from(iscsi)];
    for (name, backend) in ["ceph", "iscsi"].into_iter().zip(backends) {
        let request = pool::CreatePoolRequest {
            name: name.into(),
            spec: pool::PoolSpec { backend: Some(backend), ..Default::default() }.into(),
            host_ids: vec![host.id.clone()],
            ..Default::default()
        };
        let made = cluster.ok(cluster.client.pools().create_pool(request).await).into_owned();
        cluster.task_end(&made.task_id).await;
    }
    // A question passes its secret on, whatever comes of it.
    let asked = pool::DiscoverTargetsRequest {
        host_id: host.id,
        portal: "192.0.2.1".into(),
        chap: chap("three", ASKED).into(),
        ..Default::default()
    };
    let _ = cluster.client.pools().discover_targets(asked).await;
}

/// A certificate with its key, as people bring them.
async fn own_certificate(cluster: &Cluster) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["vdc.example.org".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let request = certificate::UploadCertificateRequest {
        chain_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: key.serialize_pem(),
        ..Default::default()
    };
    cluster.ok(cluster.client.certificates().upload_certificate(request).await);
}

/// Private keys: the vDC has none in clear, a host its own alone, which nobody but it has the key to seal with.
fn keys_in_clear(cluster: &Cluster, kept: &BTreeMap<String, Vec<u8>>) {
    let clear: Vec<&String> =
        kept.iter().filter(|(_, bytes)| holds(bytes, "PRIVATE KEY")).map(|(name, _)| name).collect();
    let vdc = cluster.config.data_dir.display().to_string();
    let of_vdc: Vec<_> = clear.iter().filter(|name| name.starts_with(&vdc)).collect();
    assert!(of_vdc.is_empty(), "in clear: {of_vdc:?}");
    assert!(!clear.is_empty(), "the host's own: this test would see it");
    // What is sealed is there: the vDC's own key, that of an uploaded certificate, and the authority's.
    for (file, count) in [("vdc.key", 1), ("own.json", 1), ("authorities.json", 1)] {
        let bytes = &kept[&format!("{vdc}/pki/{file}")];
        let sealed = String::from_utf8_lossy(bytes).matches("qs1.").count();
        assert_eq!(sealed, count, "{file}");
    }
}

/// A provider and a directory, neither of which is there; both are asked.
async fn identity_sources(cluster: &Cluster) {
    use identity::identity_source_wish::Config;
    let oidc = identity::OidcConfig {
        issuer_url: "http://127.0.0.1:1".into(),
        client_id: "q".into(),
        ..Default::default()
    };
    let ldap = identity::LdapConfig {
        urls: vec!["ldaps://127.0.0.1:1".into()],
        bind_dn: "cn=q".into(),
        user_base: "dc=x".into(),
        user_filter: "(uid={name})".into(),
        id_attribute: "entryUUID".into(),
        name_attribute: "uid".into(),
        ..Default::default()
    };
    let configs = [("oidc", CLIENT, Config::from(oidc)), ("ldap", BIND, Config::from(ldap))];
    for (title, secret, config) in configs {
        let source = identity::IdentitySourceWish {
            title: title.into(),
            config: Some(config),
            secret: secret.into(),
            ..Default::default()
        };
        let request = identity::CreateIdentitySourceRequest { source: source.into(), ..Default::default() };
        let made = cluster.ok(cluster.client.identity().create_identity_source(request).await).into_owned();
        let test = identity::TestIdentitySourceRequest { id: made.id, ..Default::default() };
        cluster.ok(cluster.client.identity().test_identity_source(test).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_seen_where_it_is_not_needed() {
    let traced = Traced::default();
    let to = traced.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || to.clone()).init();
    let cluster = Cluster::start().await;
    pools(&cluster).await;
    own_certificate(&cluster).await;
    identity_sources(&cluster).await;
    let token = cluster.host_token().await;
    let _ = cluster.probe(&cluster.host_url(), &token).await;

    // What is told.
    let all = pool::ListPoolsRequest::default();
    let told = [
        format!("{:?}", cluster.ok(cluster.client.pools().list_pools(all).await).into_owned()),
        format!(
            "{:?}",
            cluster
                .ok(cluster.client.identity().list_identity_sources(Default::default()).await)
                .into_owned()
        ),
        format!(
            "{:?}",
            cluster.client.tasks().list_tasks(Default::default()).await.map(|a| a.into_owned()).unwrap()
        ),
        format!(
            "{:?}",
            cluster.client.events().list_events(Default::default()).await.map(|a| a.into_owned()).unwrap()
        ),
        format!(
            "{:?}",
            cluster
                .client
                .hosts()
                .list_hosts(host::ListHostsRequest::default())
                .await
                .map(|a| a.into_owned())
                .unwrap()
        ),
    ];
    let secret = token.split('.').nth(1).unwrap();
    let secrets = [CEPH, CHAP, MUTUAL, ASKED, CLIENT, BIND, PASSWORD, secret];
    for answer in &told {
        for secret in secrets {
            assert!(!answer.contains(secret), "told: {secret}");
        }
    }
    // What is kept: the ledger of a host holds the secrets of its pools, for its owner's eyes; nothing else does.
    let mut kept = BTreeMap::new();
    files(cluster.folder(), &mut kept);
    assert!(kept.keys().any(|name| name.contains("vdc.sqlite")), "{:?}", kept.keys());
    let mut of_host = 0;
    for (name, bytes) in &kept {
        for secret in secrets.into_iter().filter(|secret| holds(bytes, secret)) {
            assert!(
                name.contains("ledger") && ![ASKED, CLIENT, BIND, PASSWORD].contains(&secret),
                "{name} holds {secret}"
            );
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(name).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name} is for its owner only");
            of_host += 1;
        }
    }
    assert!(of_host >= 3, "the host was given what it needs: this test would see it");
    keys_in_clear(&cluster, &kept);
    // What was traced, at the most talkative: our own words, and those of every library.
    let lines = traced.0.lock().unwrap().clone();
    assert!(lines.len() > 10_000, "{}", lines.len());
    let lines = String::from_utf8_lossy(&lines).into_owned();
    for secret in secrets {
        let line = lines.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "traced: {secret}");
    }
}
