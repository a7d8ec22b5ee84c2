//! Pools of all backends at the vDC alone: secrets that never come back, and places that are taken.

use crate::house::{Answer, House};
use quantix_model::FaultCode;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// What must never be seen again.
const CANARY: &str = "Canary7Bird7Sings7";

/// All that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn ceph(monitor: &str, pool: &str, key: &str) -> Value {
    json!({"ceph": {"monitors": [monitor], "pool": pool, "user": "quantix", "key": key}})
}

fn iscsi(target: &str, lun: u32, group: &str) -> Value {
    json!({"iscsi": {
        "portal": "192.0.2.1", "target": target, "lun": lun, "volumeGroup": group,
        "chap": {"user": "us", "password": format!("{CANARY}1")},
        "mutualChap": {"user": "them", "password": format!("{CANARY}2")},
    }})
}

fn nfs(server: &str, export: &str) -> Value {
    json!({"nfs": {"server": server, "export": export}})
}

async fn create(house: &House, token: &str, name: &str, spec: Value) -> Answer {
    house.call("pool.v1.PoolService/CreatePool", json!({"name": name, "spec": spec}), token).await
}

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let log = Log::default();
    let lines = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || lines.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let house = House::new().await;
    let token = house.signed_in().await;
    let mut said = Vec::new();
    for (name, spec) in [
        ("rbd", ceph("192.0.2.1", "vms", CANARY)),
        ("lun", iscsi("iqn.2026-01.org.example:a", 1, "vg1")),
        // Refused: the same name, the same place, and secrets that are none.
        ("rbd", ceph("192.0.2.2", "vms", CANARY)),
        ("again", ceph("192.0.2.1:6789", "vms", CANARY)),
        ("again", iscsi("iqn.2026-01.org.example:a", 1, "vg2")),
        ("bad", ceph("192.0.2.3", "vms", &format!("{CANARY}\n[global]"))),
        ("bad", json!({"ceph": {"monitors": [], "key": CANARY}})),
    ] {
        said.push(create(&house, &token, name, spec).await);
    }
    let statuses: Vec<u16> = said.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses[..2], [200, 200], "{:?}", said[0].body);
    assert!(statuses[2..].iter().all(|status| *status >= 400), "{statuses:?}");
    let id = said[0].body["pool"]["id"].as_str().unwrap().to_owned();
    for (method, body) in [
        ("pool.v1.PoolService/ListPools", json!({})),
        ("pool.v1.PoolService/GetPool", json!({"id": id})),
        ("pool.v1.PoolService/RetryPool", json!({"poolId": id})),
        ("task.v1.TaskService/ListTasks", json!({})),
        ("system.v1.SystemService/GetSummary", json!({})),
        ("pool.v1.PoolService/DeletePool", json!({"id": id})),
    ] {
        said.push(house.call(method, body, &token).await);
    }
    for answer in &said {
        assert!(!answer.body.to_string().contains(CANARY), "{}", answer.body);
    }
    let shown = &said[0].body["pool"]["spec"]["ceph"];
    assert_eq!((shown["user"].as_str(), shown.get("key")), (Some("quantix"), None), "{shown}");
    // Kept they are, in a file that nobody else may read.
    let file = house.dir.path().join("vdc/vdc.sqlite");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let record = house.vdc.core().store.pool_all().await.unwrap();
    assert!(!record.is_empty() && !format!("{record:?}").contains(CANARY));
    house.vdc.stop().await;
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("quantix"), "something was logged at all");
    assert!(!logged.contains(CANARY), "a secret was logged");
}

#[tokio::test]
async fn places_that_are_taken() {
    let house = House::new().await;
    let token = house.signed_in().await;
    for (name, spec) in [
        ("nas", nfs("nas.example.org", "/srv/vms")),
        ("rbd", ceph("mon.example.org", "vms", "key")),
        ("lun", iscsi("iqn.2026-01.org.example:a", 1, "vg1")),
    ] {
        let made = create(&house, &token, name, spec).await;
        assert_eq!(made.status, 200, "{}", made.body);
        assert_eq!(made.body["pool"]["phase"], "POOL_PHASE_ERROR", "no host has it yet");
    }
    for (spec, field, names) in [
        (nfs("NAS.example.org", "/srv/vms"), "spec.nfs.export", "nas"),
        (nfs("nas.example.org", "/srv/vms/inner"), "spec.nfs.export", "nas"),
        (nfs("nas.example.org", "/srv"), "spec.nfs.export", "nas"),
        (ceph("mon.example.org:3300", "vms", "other"), "spec.ceph.pool", "rbd"),
        (iscsi("iqn.2026-01.org.example:a", 1, "vg9"), "spec.iscsi.lun", "lun"),
    ] {
        let refused = create(&house, &token, "new", spec).await;
        let fault = refused.fault();
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolInUse, field), "{fault}");
        assert!(fault.message.contains(&format!("pool {names}")), "{fault}");
    }
    for spec in [
        nfs("nas.example.org", "/srv/vms2"),
        ceph("mon.example.org", "other", "key"),
        iscsi("iqn.2026-01.org.example:a", 2, "vg2"),
    ] {
        let name = format!("ok-{}", spec.as_object().unwrap().keys().next().unwrap());
        let made = create(&house, &token, &name, spec).await;
        assert_eq!(made.status, 200, "{}", made.body);
    }
    for (spec, field) in [
        (nfs("nas", "srv"), "spec.nfs.export"),
        (nfs("-o bad", "/srv"), "spec.nfs.server"),
        (json!({"nfs": {"server": "n", "export": "/x", "options": "exec"}}), "spec.nfs.options"),
        (json!({"nfs": {"server": "n", "export": "/x", "mountPath": "/etc/x"}}), "spec.nfs.mount_path"),
        (ceph("a b", "vms", "k"), "spec.ceph.monitors"),
        (iscsi("disk", 1, "vg"), "spec.iscsi.target"),
        (iscsi("iqn.2026-01.org.example:b", 1, "a-b"), "spec.iscsi.volume_group"),
        (json!({}), "spec.backend"),
    ] {
        assert_eq!(create(&house, &token, "new", spec.clone()).await.fault().field, field, "{spec}");
    }
    house.vdc.stop().await;
}
