//! Storage pools: the intent, the hosts that should have it, and what each of them reported.

use crate::connection::Store;
use crate::error::StoreError;
use crate::image::ImageRecord;
use crate::page::{Key, Page, PageRequest};
use crate::row::{self, Row, SortColumn, by_name, from_id, from_int, from_json, name_key, to_int, to_json};
use crate::task::TaskRecord;
use crate::volume::VolumeRecord;
use quantix_model::UnixMs;
use quantix_model::id::{HostId, PoolId};
use quantix_model::list::SortBy;
use quantix_model::pool::{PoolReport, PoolSpec};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, ConnectionTrait, EntityTrait, QueryFilter};
use std::collections::HashMap;

/// A pool as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRecord {
    /// Which.
    pub id: PoolId,
    /// Unique label.
    pub name: String,
    /// What it should be.
    pub spec: PoolSpec,
    /// Grows with every change of spec or assignment.
    pub generation: u64,
    /// On its way out.
    pub deleting: bool,
    /// It was made on its storage once, or found there: no host makes it anew. Only for what one host makes for all
    /// ([`PoolSpec::is_made_once`]).
    pub prepared: bool,
    /// Made then.
    pub created_at: UnixMs,
    /// Spec or assignment changed then: deadlines count from here.
    pub changed_at: UnixMs,
}

/// That a host should have a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolAssignmentRecord {
    /// Which pool.
    pub pool_id: PoolId,
    /// Where.
    pub host_id: HostId,
    /// Since then.
    pub assigned_at: UnixMs,
    /// It should let go of it; the row goes when it has.
    pub releasing: bool,
}

/// What a host said of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStatusRecord {
    /// Which pool.
    pub pool_id: PoolId,
    /// Who said it.
    pub host_id: HostId,
    /// What.
    pub report: PoolReport,
}

/// What stands on a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolContents {
    /// Volumes on record.
    pub volumes: u64,
    /// Images on record.
    pub images: u64,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pools")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub spec: String,
        pub generation: i64,
        pub deleting: bool,
        pub prepared: bool,
        pub created_at: i64,
        pub changed_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod assignment_table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pool_assignments")]
    pub struct Model {
        /// `<pool id>/<host id>`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub pool_id: String,
        pub host_id: String,
        pub assigned_at: i64,
        pub releasing: bool,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod status_table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pool_statuses")]
    pub struct Model {
        /// `<pool id>/<host id>`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub pool_id: String,
        pub host_id: String,
        pub report: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for PoolRecord {
    const KIND: &'static str = "pool";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<PoolRecord>] =
        &[by_name(), (SortBy::Created, "created_at", |pool| Key::Int(pool.created_at.0))];

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.name
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            name: self.name.clone(),
            name_key: name_key(&self.name),
            spec: to_json(&self.spec),
            generation: to_int(self.generation),
            deleting: self.deleting,
            prepared: self.prepared,
            created_at: self.created_at.0,
            changed_at: self.changed_at.0,
        }
    }
    fn from_model(m: table::Model) -> Result<PoolRecord, StoreError> {
        Ok(PoolRecord {
            id: from_id("pools", &m.id)?,
            name: m.name,
            spec: from_json("pools", &m.spec)?,
            generation: from_int(m.generation),
            deleting: m.deleting,
            prepared: m.prepared,
            created_at: UnixMs(m.created_at),
            changed_at: UnixMs(m.changed_at),
        })
    }
}

fn pair(pool: PoolId, host: HostId) -> String {
    format!("{pool}/{host}")
}

impl Row for PoolAssignmentRecord {
    const KIND: &'static str = "pool assignment";
    type Entity = assignment_table::Entity;
    type Model = assignment_table::Model;
    type Active = assignment_table::ActiveModel;

    fn id_text(&self) -> String {
        pair(self.pool_id, self.host_id)
    }
    fn title(&self) -> &str {
        "assignment"
    }
    fn to_model(&self) -> assignment_table::Model {
        assignment_table::Model {
            id: self.id_text(),
            pool_id: self.pool_id.to_string(),
            host_id: self.host_id.to_string(),
            assigned_at: self.assigned_at.0,
            releasing: self.releasing,
        }
    }
    fn from_model(m: assignment_table::Model) -> Result<PoolAssignmentRecord, StoreError> {
        Ok(PoolAssignmentRecord {
            pool_id: from_id("pool_assignments", &m.pool_id)?,
            host_id: from_id("pool_assignments", &m.host_id)?,
            assigned_at: UnixMs(m.assigned_at),
            releasing: m.releasing,
        })
    }
}

impl Row for PoolStatusRecord {
    const KIND: &'static str = "pool status";
    type Entity = status_table::Entity;
    type Model = status_table::Model;
    type Active = status_table::ActiveModel;

    fn id_text(&self) -> String {
        pair(self.pool_id, self.host_id)
    }
    fn title(&self) -> &str {
        "status"
    }
    fn to_model(&self) -> status_table::Model {
        status_table::Model {
            id: self.id_text(),
            pool_id: self.pool_id.to_string(),
            host_id: self.host_id.to_string(),
            report: to_json(&self.report),
        }
    }
    fn from_model(m: status_table::Model) -> Result<PoolStatusRecord, StoreError> {
        Ok(PoolStatusRecord {
            pool_id: from_id("pool_statuses", &m.pool_id)?,
            host_id: from_id("pool_statuses", &m.host_id)?,
            report: from_json("pool_statuses", &m.report)?,
        })
    }
}

async fn insert(db: &impl ConnectionTrait, pool: &PoolRecord, hosts: &[HostId]) -> Result<(), StoreError> {
    row::insert(db, pool).await?;
    for host_id in hosts {
        let (pool_id, assigned_at) = (pool.id, pool.created_at);
        let assignment = PoolAssignmentRecord { pool_id, host_id: *host_id, assigned_at, releasing: false };
        row::insert(db, &assignment).await?;
    }
    Ok(())
}

fn of_pool(id: PoolId) -> Condition {
    Condition::all().add(Expr::col("pool_id").eq(id.to_string()))
}

/// Pools a host has or should have, with their assignments.
pub(crate) async fn of_host(
    db: &impl ConnectionTrait,
    host: HostId,
) -> Result<Vec<(PoolRecord, PoolAssignmentRecord)>, StoreError> {
    let wanted = Condition::all().add(Expr::col("host_id").eq(host.to_string()));
    let assignments: Vec<PoolAssignmentRecord> = row::all(db, wanted).await?;
    let ids = assignments.iter().map(|assignment| assignment.pool_id.to_string());
    let theirs: Vec<PoolRecord> = row::all(db, Condition::all().add(Expr::col("id").is_in(ids))).await?;
    let pools: HashMap<PoolId, PoolRecord> = theirs.into_iter().map(|pool| (pool.id, pool)).collect();
    let mut found = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        // Between two reads: one that is gone by now took its assignments with it.
        if let Some(pool) = pools.get(&assignment.pool_id) {
            found.push((pool.clone(), assignment));
        }
    }
    Ok(found)
}

/// Holds the pool against changes until the transaction ends; one that is going away takes nothing new.
pub(crate) async fn hold(db: &impl ConnectionTrait, id: PoolId) -> Result<PoolRecord, StoreError> {
    let pool: PoolRecord = row::get_locked(db, &id.to_string()).await?;
    if pool.deleting {
        let why = "it is being deleted".to_owned();
        return Err(StoreError::Conflict { kind: "pool", id: pool.name, why });
    }
    Ok(pool)
}

/// The same, and the host must have the pool and keep it.
pub(crate) async fn hold_on(db: &impl ConnectionTrait, id: PoolId, host: HostId) -> Result<(), StoreError> {
    let pool = hold(db, id).await?;
    match row::find::<PoolAssignmentRecord>(db, &pair(id, host)).await? {
        Some(assignment) if !assignment.releasing => Ok(()),
        _ => {
            let why = "it is not assigned to the host".to_owned();
            Err(StoreError::Conflict { kind: "pool", id: pool.name, why })
        }
    }
}

impl Store {
    /// Adds a pool, the hosts that should have it, and the task that sees to it.
    pub async fn pool_insert(
        &self,
        pool: &PoolRecord,
        hosts: &[HostId],
        task: &TaskRecord,
    ) -> Result<(), StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        insert(&tx, pool, hosts).await?;
        row::insert(&tx, task).await?;
        Ok(tx.commit().await?)
    }

    /// Adds a pool and its hosts, for a task that runs already.
    pub async fn pool_insert_beside(&self, pool: &PoolRecord, hosts: &[HostId]) -> Result<(), StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        insert(&tx, pool, hosts).await?;
        Ok(tx.commit().await?)
    }

    /// The pool with this id.
    pub async fn pool_get(&self, id: PoolId) -> Result<PoolRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// By name.
    pub async fn pool_page(&self, request: &PageRequest) -> Result<Page<PoolRecord>, StoreError> {
        row::page(self.reader(), request, Condition::all()).await
    }

    /// The same, of these only.
    pub async fn pool_page_among(
        &self,
        request: &PageRequest,
        ids: &[PoolId],
    ) -> Result<Page<PoolRecord>, StoreError> {
        let wanted = Expr::col("id").is_in(ids.iter().map(ToString::to_string));
        row::page(self.reader(), request, Condition::all().add(wanted)).await
    }

    /// Every pool.
    pub async fn pool_all(&self) -> Result<Vec<PoolRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Hosts that have or should have the pool.
    pub async fn pool_assignments(&self, id: PoolId) -> Result<Vec<PoolAssignmentRecord>, StoreError> {
        self.list(of_pool(id)).await
    }

    /// Every assignment of every pool.
    pub async fn pool_assignment_all(&self) -> Result<Vec<PoolAssignmentRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Pools a host has or should have.
    pub async fn pool_of_host(
        &self,
        host: HostId,
    ) -> Result<Vec<(PoolRecord, PoolAssignmentRecord)>, StoreError> {
        of_host(self.reader(), host).await
    }

    /// Changes name and spec of a pool, with a new generation, and adds the task. One that has another generation than
    /// `wanted` by now, or is going away: [`StoreError::Conflict`].
    pub async fn pool_update(
        &self,
        wanted: &PoolRecord,
        at: UnixMs,
        task: &TaskRecord,
    ) -> Result<PoolRecord, StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        let there = hold(&tx, wanted.id).await?;
        if there.generation != wanted.generation {
            let why = format!("its generation is {}", there.generation);
            return Err(StoreError::Conflict { kind: "pool", id: there.name, why });
        }
        let (name, spec) = (wanted.name.clone(), wanted.spec.clone());
        let pool = PoolRecord { name, spec, generation: there.generation + 1, changed_at: at, ..there };
        row::put(&tx, &pool).await?;
        row::insert(&tx, task).await?;
        tx.commit().await?;
        Ok(pool)
    }

    /// Adds a host to the pool (or takes back that it should let go) with a new generation, and adds the task.
    pub async fn pool_assign(
        &self,
        id: PoolId,
        host_id: HostId,
        at: UnixMs,
        task: &TaskRecord,
    ) -> Result<PoolRecord, StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        let pool = next_generation(&tx, id, at, false).await?;
        let key = pair(id, host_id);
        let assignment = PoolAssignmentRecord { pool_id: id, host_id, assigned_at: at, releasing: false };
        match row::find::<PoolAssignmentRecord>(&tx, &key).await? {
            None => row::insert(&tx, &assignment).await?,
            Some(_) => row::put(&tx, &assignment).await?,
        }
        row::insert(&tx, task).await?;
        tx.commit().await?;
        Ok(pool)
    }

    /// Says that a host should let go of the pool, with a new generation, and adds the task. While a VM on that
    /// host has a disk or an ISO on the pool: [`StoreError::InUse`], naming the VM.
    pub async fn pool_release(
        &self,
        id: PoolId,
        host_id: HostId,
        at: UnixMs,
        task: &TaskRecord,
    ) -> Result<PoolRecord, StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        // Holds the pool first: from here on nobody can put a VM on it.
        let pool = next_generation(&tx, id, at, false).await?;
        let on_host = Condition::all().add(Expr::col("host_id").eq(host_id.to_string()));
        let vms: Vec<crate::vm::VmRecord> = row::all(&tx, on_host).await?;
        if let Some(vm) = vms.iter().find(|vm| vm.uses_pool(id)) {
            return Err(StoreError::InUse { kind: "pool", id: pool.name, by: format!("VM {}", vm.name) });
        }
        row::alter(&tx, &pair(id, host_id), |assignment: &mut PoolAssignmentRecord| {
            assignment.releasing = true;
            Ok::<(), StoreError>(())
        })
        .await?;
        row::insert(&tx, task).await?;
        tx.commit().await?;
        Ok(pool)
    }

    /// Forgets that a host has the pool, and what it said of it.
    pub async fn pool_unassign(&self, id: PoolId, host_id: HostId) -> Result<(), StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        row::delete::<PoolAssignmentRecord>(&tx, &pair(id, host_id)).await?;
        row::delete::<PoolStatusRecord>(&tx, &pair(id, host_id)).await?;
        Ok(tx.commit().await?)
    }

    /// Marks a pool as going away, with a new generation and all hosts releasing, and adds the task. While
    /// anything is on it: [`StoreError::InUse`]; with `force` only a volume that a VM has still refuses.
    pub async fn pool_mark_deleting(
        &self,
        id: PoolId,
        force: bool,
        at: UnixMs,
        task: &TaskRecord,
    ) -> Result<PoolRecord, StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        let pool = next_generation(&tx, id, at, true).await?;
        let in_use = |by: String| StoreError::InUse { kind: "pool", id: pool.name.clone(), by };
        if let Some(vm) = crate::vm::find_by_part(&tx, &id.to_string()).await? {
            return Err(in_use(format!("VM {}", vm.name)));
        }
        let volumes: Vec<VolumeRecord> = row::all(&tx, of_pool(id)).await?;
        let images: Vec<ImageRecord> = row::all(&tx, of_pool(id)).await?;
        if !force && let Some(volume) = volumes.first() {
            return Err(in_use(format!("volume {}", volume.name)));
        }
        if !force && let Some(image) = images.first() {
            return Err(in_use(format!("image {}", image.name)));
        }
        assignment_table::Entity::update_many()
            .col_expr(assignment_table::Column::Releasing, Expr::value(true))
            .filter(of_pool(id))
            .exec(&tx)
            .await?;
        row::insert(&tx, task).await?;
        tx.commit().await?;
        Ok(pool)
    }

    /// Keeps the secrets of a pool in another form; what it should be stays the same.
    pub async fn pool_reseal(&self, id: PoolId, spec: &PoolSpec) -> Result<(), StoreError> {
        let _touch = self.marks().touch();
        self.change(id, |pool: &mut PoolRecord| {
            pool.spec = spec.clone();
            Ok::<(), StoreError>(())
        })
        .await
        .map(drop)
    }

    /// Notes that a pool was made on its storage.
    pub async fn pool_set_prepared(&self, id: PoolId) -> Result<(), StoreError> {
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        let mine = table::Entity::update_many().filter(Expr::col("id").eq(id.to_string()));
        mine.col_expr(table::Column::Prepared, Expr::value(true)).exec(&tx).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets a pool with its assignments, reports, and what was on it. Files stay where they are.
    pub async fn pool_delete(&self, id: PoolId) -> Result<bool, StoreError> {
        let _moving = self.volume_list().moving();
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        crate::volume::table::Entity::delete_many().filter(of_pool(id)).exec(&tx).await?;
        crate::image::table::Entity::delete_many().filter(of_pool(id)).exec(&tx).await?;
        assignment_table::Entity::delete_many().filter(of_pool(id)).exec(&tx).await?;
        status_table::Entity::delete_many().filter(of_pool(id)).exec(&tx).await?;
        let existed = row::delete::<PoolRecord>(&tx, &id.to_string()).await?;
        tx.commit().await?;
        Ok(existed)
    }

    /// Keeps what hosts said, in one transaction; reports of pools that are gone or not assigned are dropped.
    pub async fn pool_status_put(&self, reports: &[PoolStatusRecord]) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        for status in reports {
            let key = status.id_text();
            // Held, so that nobody takes the assignment away and leaves the report behind.
            if row::find_locked::<PoolAssignmentRecord>(&tx, &key).await?.is_none() {
                continue;
            }
            match row::find::<PoolStatusRecord>(&tx, &key).await? {
                None => row::insert(&tx, status).await?,
                Some(before) if before != *status => row::put(&tx, status).await?,
                Some(_) => {}
            }
        }
        Ok(tx.commit().await?)
    }

    /// What the hosts said of a pool, as far as it was kept.
    pub async fn pool_status_of(&self, id: PoolId) -> Result<Vec<PoolStatusRecord>, StoreError> {
        self.list(of_pool(id)).await
    }

    /// What a host said of these pools, as far as it was kept.
    pub async fn pool_status_on(
        &self,
        host: HostId,
        pools: impl IntoIterator<Item = PoolId>,
    ) -> Result<Vec<PoolStatusRecord>, StoreError> {
        let wanted = Expr::col("id").is_in(pools.into_iter().map(|pool| pair(pool, host)));
        self.list(Condition::all().add(wanted)).await
    }

    /// What the hosts said of every pool, as far as it was kept.
    pub async fn pool_status_all(&self) -> Result<Vec<PoolStatusRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// What stands on the pool.
    pub async fn pool_contents(&self, id: PoolId) -> Result<PoolContents, StoreError> {
        Ok(PoolContents {
            volumes: row::count::<VolumeRecord>(self.reader(), of_pool(id)).await?,
            images: row::count::<ImageRecord>(self.reader(), of_pool(id)).await?,
        })
    }
}

/// Counts the generation up; a pool that is going away takes no change but going away again.
async fn next_generation(
    db: &impl ConnectionTrait,
    id: PoolId,
    at: UnixMs,
    deleting: bool,
) -> Result<PoolRecord, StoreError> {
    row::alter(db, &id.to_string(), |pool: &mut PoolRecord| {
        if pool.deleting && !deleting {
            let id = pool.name.clone();
            return Err(StoreError::Conflict { kind: "pool", id, why: "it is being deleted".into() });
        }
        pool.generation += 1;
        pool.changed_at = at;
        pool.deleting = deleting;
        Ok(())
    })
    .await
}
