//! What the vDC must know of a host to take its beat, read narrowly: the host, its pools, and where its VMs stand.

use crate::connection::Store;
use crate::error::StoreError;
use crate::mark::Mark;
use crate::pool::{PoolAssignmentRecord, PoolRecord};
use crate::row::{from_id, from_int, from_word};
use quantix_model::UnixMs;
use quantix_model::id::{HostId, VmId};
use quantix_model::vm::{PowerState, VmPhase};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use std::sync::Arc;

/// A host without what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBrief {
    /// Which.
    pub id: HostId,
    /// Unique label.
    pub name: String,
    /// SHA-256 of its public key (SPKI).
    pub key_sha256: [u8; 32],
    /// As it said last.
    pub node_version: String,
    /// It was seen then or a little later.
    pub seen_at: Option<UnixMs>,
    /// How often it should beat.
    pub beat_interval_ms: u64,
}

impl From<&crate::HostRecord> for HostBrief {
    fn from(host: &crate::HostRecord) -> HostBrief {
        HostBrief {
            id: host.id,
            name: host.name.clone(),
            key_sha256: host.key_sha256,
            node_version: host.node_version.clone(),
            seen_at: host.seen_at,
            beat_interval_ms: host.beat_interval_ms,
        }
    }
}

/// Where a VM stands, as far as its host's beats change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmBrief {
    /// Which.
    pub id: VmId,
    /// What the vDC does with it.
    pub phase: VmPhase,
    /// As its host said last.
    pub power_state: PowerState,
    /// The host's event behind it.
    pub power_reason: String,
    /// So since, by the host's clock.
    pub power_since: Option<UnixMs>,
}

/// A host with what is on it.
#[derive(Clone, Debug)]
pub struct Roster {
    /// True as long as this is the host's mark.
    pub mark: Mark,
    /// Itself.
    pub host: HostBrief,
    /// Pools it has or should have.
    pub pools: Vec<(Arc<PoolRecord>, PoolAssignmentRecord)>,
    /// VMs on it.
    pub vms: Vec<VmBrief>,
}

#[derive(FromQueryResult)]
struct HostRow {
    id: String,
    name: String,
    key_sha256: String,
    node_version: String,
    seen_at: Option<i64>,
    beat_interval_ms: i64,
}

#[derive(FromQueryResult)]
struct EndRow {
    id: String,
    name: String,
    certificate_expires_at: i64,
}

#[derive(FromQueryResult)]
struct VmRow {
    id: String,
    phase: String,
    power_state: String,
    power_reason: String,
    power_since: Option<i64>,
}

/// VMs whose seen-at is written with one statement; SQLite takes 32,766 values at most.
const SEEN_ROWS_MAX: usize = 500;

impl Store {
    /// Where writes to a host stand now.
    pub fn host_mark(&self, id: HostId) -> Mark {
        self.marks().of(id)
    }

    /// Every host, briefly.
    pub async fn host_brief_all(&self) -> Result<Vec<HostBrief>, StoreError> {
        let rows: Vec<HostRow> = briefly(Condition::all()).into_model().all(self.reader()).await?;
        rows.into_iter().map(host_brief).collect()
    }

    /// Hosts whose certificates end first: which, its name, and the end as far as it is written.
    pub async fn host_certificates(&self, limit: u64) -> Result<Vec<(HostId, String, UnixMs)>, StoreError> {
        let rows: Vec<EndRow> = by_end().limit(limit).into_model().all(self.reader()).await?;
        let read =
            |row: EndRow| Ok((from_id("hosts", &row.id)?, row.name, UnixMs(row.certificate_expires_at)));
        rows.into_iter().map(read).collect()
    }

    /// A host with what is on it.
    pub async fn host_roster(&self, id: HostId) -> Result<Roster, StoreError> {
        let mark = self.host_mark(id);
        let is = |column: &'static str| Condition::all().add(Expr::col(column).eq(id.to_string()));
        let row: Option<HostRow> = briefly(is("id")).into_model().one(self.reader()).await?;
        let row = row.ok_or_else(|| StoreError::NotFound { kind: "host", id: id.to_string() })?;
        let vms: Vec<VmRow> = crate::vm::table::Entity::find()
            .select_only()
            .columns(VM_COLUMNS)
            .filter(is("host_id"))
            .order_by(Expr::col("id"), sea_orm::Order::Asc)
            .into_model()
            .all(self.reader())
            .await?;
        let pools = crate::pool::of_host(self.reader(), id).await?;
        Ok(Roster {
            mark,
            host: host_brief(row)?,
            pools: pools.into_iter().map(|(pool, assignment)| (Arc::new(pool), assignment)).collect(),
            vms: vms.into_iter().map(vm_brief).collect::<Result<_, _>>()?,
        })
    }

    /// Where VMs stand, by id, after the one given.
    pub async fn vm_brief_some(&self, after: Option<VmId>, limit: u64) -> Result<Vec<VmBrief>, StoreError> {
        let after = after.map(|id| Expr::col("id").gt(id.to_string()));
        let rows: Vec<VmRow> = crate::vm::table::Entity::find()
            .select_only()
            .columns(VM_COLUMNS)
            .filter(after.map_or_else(Condition::all, |after| Condition::all().add(after)))
            .order_by(Expr::col("id"), sea_orm::Order::Asc)
            .limit(limit)
            .into_model()
            .all(self.reader())
            .await?;
        rows.into_iter().map(vm_brief).collect()
    }

    /// Notes that these hosts were seen at `at` or a little later.
    pub async fn host_seen(&self, ids: &[HostId], at: UnixMs) -> Result<(), StoreError> {
        for ids in ids.chunks(SEEN_ROWS_MAX) {
            let tx = self.begin().await?;
            crate::host::table::Entity::update_many()
                .col_expr(crate::host::table::Column::SeenAt, Expr::value(at.0))
                .filter(Expr::col("id").is_in(ids.iter().map(ToString::to_string)))
                .exec(&tx)
                .await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

const HOST_COLUMNS: [crate::host::table::Column; 6] = {
    use crate::host::table::Column::{BeatIntervalMs, Id, KeySha256, Name, NodeVersion, SeenAt};
    [Id, Name, KeySha256, NodeVersion, SeenAt, BeatIntervalMs]
};
const VM_COLUMNS: [crate::vm::table::Column; 5] = {
    use crate::vm::table::Column::{Id, Phase, PowerReason, PowerSince, PowerState};
    [Id, Phase, PowerState, PowerReason, PowerSince]
};

fn briefly(condition: Condition) -> sea_orm::Select<crate::host::table::Entity> {
    crate::host::table::Entity::find().select_only().columns(HOST_COLUMNS).filter(condition)
}

/// The statement behind [`Store::host_certificates`].
pub(crate) fn by_end() -> sea_orm::Select<crate::host::table::Entity> {
    use crate::host::table::Column::{CertificateExpiresAt, Id, Name};
    crate::host::table::Entity::find()
        .select_only()
        .columns([Id, Name, CertificateExpiresAt])
        .order_by(Expr::col("certificate_expires_at"), sea_orm::Order::Asc)
        .order_by(Expr::col("id"), sea_orm::Order::Asc)
}

fn host_brief(row: HostRow) -> Result<HostBrief, StoreError> {
    Ok(HostBrief {
        id: from_id("hosts", &row.id)?,
        name: row.name,
        key_sha256: crate::host::key(&row.key_sha256)?,
        node_version: row.node_version,
        seen_at: row.seen_at.map(UnixMs),
        beat_interval_ms: from_int(row.beat_interval_ms),
    })
}

fn vm_brief(row: VmRow) -> Result<VmBrief, StoreError> {
    Ok(VmBrief {
        id: from_id("vms", &row.id)?,
        phase: from_word("vms", &row.phase)?,
        power_state: from_word("vms", &row.power_state)?,
        power_reason: row.power_reason,
        power_since: row.power_since.map(UnixMs),
    })
}
