//! Virtual machines: the intent, and the last power state their host reported.

use crate::connection::Store;
use crate::error::StoreError;
use crate::list::Listed;
use crate::page::{Key, Page, PageRequest};
use crate::row::{
    self, Row, SortColumn, by_name, from_id, from_int, from_json, from_json_opt, from_word, name_key, to_int,
    to_json, to_ms, to_word,
};
use crate::task::TaskRecord;
use crate::volume::{self, VolumeRecord};
use quantix_model::id::{HostId, ImageId, PoolId, VmId, VolumeId};
use quantix_model::list::SortBy;
use quantix_model::vm::{PowerState, VmPhase, VmSpec};
use quantix_model::{Fault, UnixMs};
use sea_orm::sea_query::{Expr, ExprTrait, LikeExpr};
use sea_orm::{Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// A VM.
#[derive(Clone, Debug, PartialEq)]
pub struct VmRecord {
    /// Which; also its libvirt UUID.
    pub id: VmId,
    /// Unique label.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Where it is.
    pub host_id: HostId,
    /// What it should be.
    pub spec: VmSpec,
    /// Grows with every change of intent.
    pub generation: u64,
    /// What the vDC does with it.
    pub phase: VmPhase,
    /// Why it is in Error.
    pub fault: Option<Fault>,
    /// As its host said last; Unknown until it spoke.
    pub power_state: PowerState,
    /// The host's event behind it.
    pub power_reason: String,
    /// So since, by the host's clock.
    pub power_since: Option<UnixMs>,
    /// The host looked then, by its clock; written when something changed.
    pub observed_at: Option<UnixMs>,
    /// Made then.
    pub created_at: UnixMs,
}

impl VmRecord {
    /// Where its disks and its ISO are.
    pub fn pools(&self) -> BTreeSet<PoolId> {
        let cdrom = self.spec.cdrom.as_ref().map(|c| c.pool_id);
        self.spec.disks.iter().map(|d| d.pool_id).chain(cdrom).collect()
    }

    /// Whether a disk or the ISO of the VM is on the pool.
    pub fn uses_pool(&self, pool: PoolId) -> bool {
        self.spec.disks.iter().any(|d| d.pool_id == pool)
            || self.spec.cdrom.as_ref().is_some_and(|c| c.pool_id == pool)
    }
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "vms")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub description: String,
        pub host_id: String,
        pub spec: String,
        /// Copies of what `spec` says, to sort by.
        pub vcpus: i64,
        /// See `vcpus`.
        pub memory_bytes: i64,
        pub generation: i64,
        pub phase: String,
        pub fault: Option<String>,
        pub power_state: String,
        pub power_reason: String,
        pub power_since: Option<i64>,
        pub observed_at: Option<i64>,
        pub created_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for VmRecord {
    const KIND: &'static str = "VM";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<VmRecord>] = &[
        by_name(),
        (SortBy::Created, "created_at", |vm| Key::Int(vm.created_at.0)),
        (SortBy::Vcpus, "vcpus", |vm| Key::Int(vm.spec.vcpus.into())),
        (SortBy::Memory, "memory_bytes", |vm| Key::Int(to_int(vm.spec.memory_bytes))),
    ];

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
            description: self.description.clone(),
            host_id: self.host_id.to_string(),
            spec: to_json(&self.spec),
            vcpus: self.spec.vcpus.into(),
            memory_bytes: to_int(self.spec.memory_bytes),
            generation: to_int(self.generation),
            phase: to_word(&self.phase),
            fault: self.fault.as_ref().map(to_json),
            power_state: to_word(&self.power_state),
            power_reason: self.power_reason.clone(),
            power_since: to_ms(self.power_since),
            observed_at: to_ms(self.observed_at),
            created_at: self.created_at.0,
        }
    }
    fn from_model(m: table::Model) -> Result<VmRecord, StoreError> {
        Ok(VmRecord {
            id: from_id("vms", &m.id)?,
            name: m.name,
            description: m.description,
            host_id: from_id("vms", &m.host_id)?,
            spec: from_json("vms", &m.spec)?,
            generation: from_int(m.generation),
            phase: from_word("vms", &m.phase)?,
            fault: from_json_opt("vms", m.fault.as_deref())?,
            power_state: from_word("vms", &m.power_state)?,
            power_reason: m.power_reason,
            power_since: m.power_since.map(UnixMs),
            observed_at: m.observed_at.map(UnixMs),
            created_at: UnixMs(m.created_at),
        })
    }
}

impl Listed for VmRecord {
    const OWNER: &'static str = "host_id";
}

/// What lists of VMs look at.
fn listed(vm: &VmRecord) -> (&str, HostId, u32, u64) {
    (&vm.name, vm.host_id, vm.spec.vcpus, vm.spec.memory_bytes)
}

fn of_host(host: HostId) -> Condition {
    Condition::all().add(Expr::col("host_id").eq(host.to_string()))
}

/// See [`Store::vm_find_by_part`].
pub(crate) async fn find_by_part(
    db: &impl ConnectionTrait,
    part: &str,
) -> Result<Option<VmRecord>, StoreError> {
    let escaped = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let like = LikeExpr::new(format!("%\"{escaped}\"%")).escape('\\');
    let found = table::Entity::find().filter(Expr::col("spec").like(like)).one(db).await?;
    found.map(VmRecord::from_model).transpose()
}

impl Store {
    /// Adds a VM with its new volumes, gives it the free volumes named in `attach`, and adds the task. Its pools must
    /// be assigned to its host and its images must not be going away: [`StoreError::Conflict`].
    pub async fn vm_insert(
        &self,
        vm: &VmRecord,
        new_volumes: &[VolumeRecord],
        attach: &[VolumeId],
        task: &TaskRecord,
    ) -> Result<(), StoreError> {
        let _moving = self.vm_list().moving_some([vm.id.0]);
        let _volumes = self.volume_list().moving_some(new_volumes.iter().map(|v| v.id.0));
        let touch = self.marks().touch();
        let tx = self.begin().await?;
        // Host, then pools, then images, then volumes: the order in which everybody takes hold of them.
        let _: crate::HostRecord = row::get_locked(&tx, &vm.host_id.to_string()).await?;
        let cdrom = vm.spec.cdrom.as_ref();
        for pool in vm.pools() {
            crate::pool::hold_on(&tx, pool, vm.host_id).await?;
        }
        let sources = new_volumes.iter().filter_map(|v| v.image_id).chain(cdrom.map(|c| c.image_id));
        for image in sources.collect::<BTreeSet<ImageId>>() {
            crate::image::hold(&tx, image).await?;
        }
        row::insert(&tx, vm).await?;
        for new in new_volumes {
            row::insert(&tx, new).await?;
        }
        for id in attach {
            volume::attach(&tx, *id, vm.id).await?;
        }
        row::insert(&tx, task).await?;
        tx.commit().await?;
        touch.only([vm.host_id]);
        Ok(())
    }

    /// Takes in a VM that its host has, with the disks of it that nobody knows; `known` ones become its own. All of its
    /// pools must be assigned to its host.
    pub async fn vm_adopt(
        &self,
        vm: &VmRecord,
        unknown: &[VolumeRecord],
        known: &[VolumeId],
    ) -> Result<(), StoreError> {
        let _moving = self.vm_list().moving_some([vm.id.0]);
        let _volumes = self.volume_list().moving_some(unknown.iter().map(|v| v.id.0));
        let touch = self.marks().touch();
        let tx = self.begin().await?;
        let _: crate::HostRecord = row::get_locked(&tx, &vm.host_id.to_string()).await?;
        for pool in vm.pools() {
            crate::pool::hold_on(&tx, pool, vm.host_id).await?;
        }
        row::insert(&tx, vm).await?;
        for volume in unknown {
            row::insert(&tx, volume).await?;
        }
        for id in known {
            volume::attach(&tx, *id, vm.id).await?;
        }
        tx.commit().await?;
        touch.only([vm.host_id]);
        Ok(())
    }

    /// The VM with this id.
    pub async fn vm_get(&self, id: VmId) -> Result<VmRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The same, if it is there.
    pub async fn vm_find(&self, id: VmId) -> Result<Option<VmRecord>, StoreError> {
        row::find(self.reader(), &id.to_string()).await
    }

    /// By name, on one host or on all.
    pub async fn vm_page(
        &self,
        request: &PageRequest,
        host: Option<HostId>,
    ) -> Result<Page<VmRecord>, StoreError> {
        self.vm_page_among(request, host, None).await
    }

    /// The same, of these only.
    pub async fn vm_page_among(
        &self,
        request: &PageRequest,
        host: Option<HostId>,
        among: Option<BTreeSet<Uuid>>,
    ) -> Result<Page<VmRecord>, StoreError> {
        self.vm_list().page(self.reader(), request, host.map(|id| id.0), among).await
    }

    /// Every VM.
    pub async fn vm_all(&self) -> Result<Vec<VmRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Those of these that are there.
    pub async fn vm_some(&self, ids: &[VmId]) -> Result<Vec<VmRecord>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(row::ROWS_MAX) {
            let wanted = Expr::col("id").is_in(some.iter().map(ToString::to_string));
            found.extend(self.list(Condition::all().add(wanted)).await?);
        }
        Ok(found)
    }

    /// The VM with this name, any case.
    pub async fn vm_find_by_name(&self, name: &str) -> Result<Option<VmRecord>, StoreError> {
        Ok(self.list(Condition::all().add(Expr::col("name_key").eq(name_key(name)))).await?.pop())
    }

    /// A VM in whose description this id or MAC stands. Looks through all of them, here and not in memory.
    pub async fn vm_find_by_part(&self, part: &str) -> Result<Option<VmRecord>, StoreError> {
        find_by_part(self.reader(), part).await
    }

    /// Memory that the VMs of each host were promised, in bytes.
    pub async fn vm_memory_by_host(&self) -> Result<HashMap<HostId, u64>, StoreError> {
        let sum = Expr::col("memory_bytes").sum().cast_as("bigint");
        let summed = table::Entity::find()
            .select_only()
            .column(table::Column::HostId)
            .expr_as(sum, "sum")
            .group_by(table::Column::HostId)
            .into_tuple::<(String, i64)>();
        let read = |(host, sum): (String, i64)| Ok((from_id("vms", &host)?, from_int(sum)));
        summed.all(self.reader()).await?.into_iter().map(read).collect()
    }

    /// VMs on a host.
    pub async fn vm_of_host(&self, host: HostId) -> Result<Vec<VmRecord>, StoreError> {
        self.list(of_host(host)).await
    }

    /// Reads, changes and writes a VM in one transaction; writes nothing when nothing changed.
    pub async fn vm_update<E: From<StoreError>>(
        &self,
        id: VmId,
        change: impl FnOnce(&mut VmRecord) -> Result<(), E> + Send,
    ) -> Result<VmRecord, E> {
        let _moving = self.vm_list().moving_some([id.0]);
        let touch = self.marks().touch();
        let mut was = None;
        let vm: VmRecord = self
            .change(id, |vm: &mut VmRecord| {
                was = Some(vm.host_id);
                change(vm)
            })
            .await?;
        touch.only(was.into_iter().chain([vm.host_id]));
        Ok(vm)
    }

    /// The same, and adds the task that carries the change out.
    pub async fn vm_update_with_task<E: From<StoreError>>(
        &self,
        id: VmId,
        task: &TaskRecord,
        change: impl FnOnce(&mut VmRecord) -> Result<(), E> + Send,
    ) -> Result<VmRecord, E> {
        let _moving = self.vm_list().moving_some([id.0]);
        let touch = self.marks().touch();
        let tx = self.begin().await?;
        let mut was = None;
        let change = |vm: &mut VmRecord| {
            was = Some(vm.host_id);
            change(vm)
        };
        let vm = row::alter(&tx, &id.to_string(), change).await?;
        row::insert(&tx, task).await?;
        tx.commit().await.map_err(StoreError::from)?;
        touch.only(was.into_iter().chain([vm.host_id]));
        Ok(vm)
    }

    /// Several changes of VMs in one transaction, for what a host reported; VMs that are gone are passed over.
    /// Answers those that changed.
    pub async fn vm_update_many(
        &self,
        ids: &[VmId],
        change: impl Fn(&mut VmRecord) + Send + Sync,
    ) -> Result<Vec<VmRecord>, StoreError> {
        let moving = self.vm_list().moving_some(ids.iter().map(|id| id.0));
        let touch = self.marks().touch();
        let tx = self.begin().await?;
        let (mut changed, mut relisted): (Vec<VmRecord>, Vec<_>) = Default::default();
        // Always in the same order, so that two who want the same rows never wait for each other.
        for id in ids.iter().collect::<BTreeSet<_>>() {
            // Held, like any row that is read to be written: else a task's change in between would be overwritten.
            let before: VmRecord = match row::get_locked(&tx, &id.to_string()).await {
                Err(StoreError::NotFound { .. }) => continue,
                found => found?,
            };
            let mut after = before.clone();
            change(&mut after);
            if after != before {
                row::put(&tx, &after).await?;
                relisted.extend((listed(&after) != listed(&before)).then_some(after.id.0));
                changed.push(after);
            }
        }
        tx.commit().await?;
        touch.only(changed.iter().map(|vm| vm.host_id));
        moving.only(relisted);
        Ok(changed)
    }

    /// Forgets a VM and frees its volumes; with `volumes` forgets those too. Answers the volumes it had.
    pub async fn vm_delete(&self, id: VmId, volumes: bool) -> Result<Vec<VolumeRecord>, StoreError> {
        let _moving = self.vm_list().moving_some([id.0]);
        let mut moving_volumes = self.volume_list().moving_some([]);
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        let wanted = Condition::all().add(Expr::col("vm_id").eq(id.to_string()));
        let had: Vec<VolumeRecord> = row::all(&tx, wanted).await?;
        volume::detach_all(&tx, id).await?;
        if volumes {
            for one in &had {
                moving_volumes.also(one.id.0);
                row::delete::<VolumeRecord>(&tx, &one.id.to_string()).await?;
            }
        }
        row::delete::<VmRecord>(&tx, &id.to_string()).await?;
        tx.commit().await?;
        Ok(had)
    }
}
