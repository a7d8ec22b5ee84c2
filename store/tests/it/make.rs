//! Records to test with.

use quantix_model::UnixMs;
use quantix_model::alert::AlertRule;
use quantix_model::event::{EventKind, Severity};
use quantix_model::id::{
    AlertId, EventId, HostId, ImageId, JoinTokenId, PoolId, SessionId, TaskId, UserId, VmId, VolumeId,
};
use quantix_model::image::ImagePhase;
use quantix_model::pool::{Capabilities, PoolHealth, PoolReport, PoolSpec};
use quantix_model::task::TaskState;
use quantix_model::user::{SessionProof, UserSource};
use quantix_model::vm::{Disk, Firmware, PowerState, VmPhase, VmSpec};
use quantix_model::volume::{Allocation, VolumeFormat, VolumePhase, VolumeSource};
use quantix_store::{
    AlertRecord, EventRecord, HostRecord, ImageRecord, JoinTokenRecord, PoolRecord, SessionRecord,
    TaskRecord, UserRecord, VmRecord, VolumeRecord,
};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Ids that grow.
pub fn uuid() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub fn task(object_id: &str) -> TaskRecord {
    TaskRecord {
        id: TaskId(uuid()),
        kind: "test".into(),
        title: "Test".into(),
        state: TaskState::Queued,
        fault: None,
        object_kind: "vm".into(),
        object_id: object_id.into(),
        object_name: "x".into(),
        host: String::new(),
        user_name: "admin".into(),
        step: String::new(),
        progress_done: 0,
        progress_total: 0,
        progress_unit: "steps".into(),
        created_at: UnixMs(1),
        started_at: None,
        ended_at: None,
        deadline_at: UnixMs(2),
        cancellable: true,
        cancel_requested: false,
        input: serde_json::json!({"a": 1}),
    }
}

pub fn event(object_id: &str, kind: EventKind) -> EventRecord {
    EventRecord {
        id: EventId(uuid()),
        at: UnixMs(1),
        kind,
        severity: kind.severity(),
        object_kind: "host".into(),
        object_id: object_id.into(),
        object_name: "Rack-7".into(),
        host: String::new(),
        user_name: String::new(),
        message: kind.sentence("Rack-7"),
        fault: None,
    }
}

pub fn alert(object_id: &str) -> AlertRecord {
    AlertRecord {
        id: AlertId(uuid()),
        rule: AlertRule::PoolFull,
        severity: Severity::Warning,
        object_kind: "pool".into(),
        object_id: object_id.into(),
        object_name: "p".into(),
        message: "Pool p is 90 % full.".into(),
        fault: None,
        raised_at: UnixMs(5),
        acknowledged_at: None,
        acknowledged_by: String::new(),
    }
}

pub fn host(name: &str) -> HostRecord {
    let id = uuid();
    let mut key_sha256 = [0; 32];
    key_sha256[..16].copy_from_slice(id.as_bytes());
    HostRecord {
        id: HostId(id),
        name: name.into(),
        url: "https://h:9443".into(),
        key_sha256,
        certificate_pem: "pem".into(),
        certificate_expires_at: UnixMs(9),
        node_version: "0.1.0".into(),
        discovery: None,
        fault: None,
        added_at: UnixMs(1),
        seen_at: None,
        beat_interval_ms: 30_000,
    }
}

pub fn pool(name: &str) -> PoolRecord {
    PoolRecord {
        id: PoolId(uuid()),
        name: name.into(),
        spec: PoolSpec::local("/data"),
        generation: 1,
        deleting: false,
        prepared: false,
        created_at: UnixMs(1),
        changed_at: UnixMs(1),
    }
}

pub fn report() -> PoolReport {
    PoolReport {
        generation: 1,
        health: PoolHealth::Healthy,
        fault: None,
        // JSON columns of PostgreSQL refuse this character; text must not.
        probe: "probe \u{0} and ä".into(),
        since: UnixMs(1),
        observed_at: UnixMs(2),
        capacity: None,
        mount_path: "/data".into(),
        volume_count: 0,
        capabilities: Capabilities::default(),
        facts: Vec::new(),
    }
}

pub fn image(name: &str, pool_id: PoolId) -> ImageRecord {
    ImageRecord {
        id: ImageId(uuid()),
        name: name.into(),
        pool_id,
        phase: ImagePhase::Uploading,
        fault: None,
        size_bytes: 64 << 40,
        received_bytes: 0,
        sha256_wanted: String::new(),
        facts: None,
        created_at: UnixMs(1),
        ready_at: None,
        task_id: None,
    }
}

pub fn volume(name: &str, pool_id: PoolId, vm_id: Option<VmId>) -> VolumeRecord {
    VolumeRecord {
        id: VolumeId(uuid()),
        name: name.into(),
        pool_id,
        phase: VolumePhase::Ready,
        fault: None,
        format: VolumeFormat::Qcow2,
        size_bytes: 1 << 30,
        image_id: None,
        vm_id,
        created_at: UnixMs(1),
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
        parent_id: None,
    }
}

pub fn vm(name: &str, host_id: HostId, disks: &[&VolumeRecord]) -> VmRecord {
    VmRecord {
        id: VmId(uuid()),
        name: name.into(),
        description: String::new(),
        host_id,
        spec: VmSpec {
            vcpus: 1,
            memory_bytes: 1 << 30,
            firmware: Firmware::Bios,
            disks: disks.iter().map(|v| Disk { volume_id: v.id, pool_id: v.pool_id }).collect(),
            cdrom: None,
            nics: vec![],
        },
        generation: 1,
        phase: VmPhase::Creating,
        fault: None,
        power_state: PowerState::Unknown,
        power_reason: String::new(),
        power_since: None,
        observed_at: None,
        created_at: UnixMs(1),
    }
}

pub fn user(name: &str) -> UserRecord {
    UserRecord {
        id: UserId(uuid()),
        name: name.into(),
        password_hash: "h".into(),
        must_change_password: true,
        created_at: UnixMs(1),
        password_set_at: UnixMs(1),
        disabled: false,
        source: UserSource::Local,
        external_id: None,
        signed_in_at: None,
    }
}

pub fn session(user_id: UserId, used_at: i64, expires_at: i64) -> SessionRecord {
    let id = uuid();
    let mut token_sha256 = [7; 32];
    token_sha256[..16].copy_from_slice(id.as_bytes());
    SessionRecord {
        id: SessionId(id),
        token_sha256,
        user_id,
        address: "::1".into(),
        created_at: UnixMs(1),
        used_at: UnixMs(used_at),
        expires_at: UnixMs(expires_at),
        browser: "Firefox on Linux".into(),
        proof: SessionProof::Password,
    }
}

pub fn join_token(uses: u32, expires_at: UnixMs) -> JoinTokenRecord {
    let id = uuid();
    let mut secret_sha256 = [0; 32];
    secret_sha256[..16].copy_from_slice(id.as_bytes());
    JoinTokenRecord {
        id: JoinTokenId(id),
        secret_sha256,
        note: "rack 7".into(),
        created_by: "admin".into(),
        created_at: UnixMs(1),
        expires_at,
        revoked_at: None,
        uses,
        used: 0,
        used_at: None,
    }
}
