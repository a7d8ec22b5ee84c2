//! Virtual disks.

use crate::connection::Store;
use crate::error::StoreError;
use crate::list::Listed;
use crate::page::{Key, Page, PageRequest};
use crate::row::{
    self, Row, SortColumn, by_name, from_id, from_id_opt, from_int, from_json_opt, from_word, name_key,
    to_int, to_json, to_word,
};
use crate::task::TaskRecord;
use quantix_model::id::{ImageId, PoolId, VmId, VolumeId};
use quantix_model::list::SortBy;
use quantix_model::volume::{Allocation, VolumeFormat, VolumePhase, VolumeSource};
use quantix_model::{Fault, UnixMs};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRecord {
    /// Which.
    pub id: VolumeId,
    /// Title, unique on its pool.
    pub name: String,
    /// Where.
    pub pool_id: PoolId,
    /// Where it stands.
    pub phase: VolumePhase,
    /// Why it is in Error.
    pub fault: Option<Fault>,
    /// How its bytes are kept.
    pub format: VolumeFormat,
    /// What a guest sees.
    pub size_bytes: u64,
    /// The image it began as.
    pub image_id: Option<ImageId>,
    /// The VM that has it.
    pub vm_id: Option<VmId>,
    /// Made then.
    pub created_at: UnixMs,
    /// When its space is taken.
    pub allocation: Allocation,
    /// What it is made from; its task reads it.
    pub source: VolumeSource,
    /// The volume it cannot be without, as a host said.
    pub parent_id: Option<VolumeId>,
}

impl VolumeRecord {
    /// The image it cannot be without.
    pub fn needs_image(&self) -> Option<ImageId> {
        match self.source {
            VolumeSource::Image { id, linked: true } => Some(id),
            VolumeSource::Image { .. } | VolumeSource::Volume { .. } | VolumeSource::Blank => None,
        }
    }
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "volumes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub pool_id: String,
        pub phase: String,
        pub fault: Option<String>,
        pub format: String,
        pub size_bytes: i64,
        pub image_id: Option<String>,
        pub vm_id: Option<String>,
        pub created_at: i64,
        pub allocation: String,
        pub source: Option<String>,
        pub parent_id: Option<String>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for VolumeRecord {
    const KIND: &'static str = "volume";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<VolumeRecord>] = &[
        by_name(),
        (SortBy::Created, "created_at", |volume| Key::Int(volume.created_at.0)),
        (SortBy::Size, "size_bytes", |volume| Key::Int(to_int(volume.size_bytes))),
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
            pool_id: self.pool_id.to_string(),
            phase: to_word(&self.phase),
            fault: self.fault.as_ref().map(to_json),
            format: to_word(&self.format),
            size_bytes: to_int(self.size_bytes),
            image_id: self.image_id.map(|id| id.to_string()),
            vm_id: self.vm_id.map(|id| id.to_string()),
            created_at: self.created_at.0,
            allocation: to_word(&self.allocation),
            source: (self.source != VolumeSource::Blank).then(|| to_json(&self.source)),
            parent_id: self.parent_id.map(|id| id.to_string()),
        }
    }
    fn from_model(m: table::Model) -> Result<VolumeRecord, StoreError> {
        Ok(VolumeRecord {
            id: from_id("volumes", &m.id)?,
            name: m.name,
            pool_id: from_id("volumes", &m.pool_id)?,
            phase: from_word("volumes", &m.phase)?,
            fault: from_json_opt("volumes", m.fault.as_deref())?,
            format: from_word("volumes", &m.format)?,
            size_bytes: from_int(m.size_bytes),
            image_id: from_id_opt("volumes", m.image_id.as_deref())?,
            vm_id: from_id_opt("volumes", m.vm_id.as_deref())?,
            created_at: UnixMs(m.created_at),
            allocation: from_word("volumes", &m.allocation)?,
            source: from_json_opt("volumes", m.source.as_deref())?.unwrap_or_default(),
            parent_id: from_id_opt("volumes", m.parent_id.as_deref())?,
        })
    }
}

impl Listed for VolumeRecord {
    const OWNER: &'static str = "pool_id";
}

fn of_vm(vm: VmId) -> Condition {
    Condition::all().add(Expr::col("vm_id").eq(vm.to_string()))
}

fn children(id: VolumeId) -> Condition {
    Condition::all().add(Expr::col("parent_id").eq(id.to_string()))
}

/// Holds the volume another is made from; one that is going away or not whole cannot be one.
async fn hold_source(db: &impl ConnectionTrait, id: VolumeId) -> Result<(), StoreError> {
    let source: VolumeRecord = row::get_locked(db, &id.to_string()).await?;
    if source.phase != VolumePhase::Ready {
        let why = format!("it is {}", to_word(&source.phase));
        return Err(StoreError::Conflict { kind: "volume", id: source.name, why });
    }
    Ok(())
}

/// Frees all volumes of a VM.
pub(crate) async fn detach_all(db: &impl ConnectionTrait, vm: VmId) -> Result<(), StoreError> {
    table::Entity::update_many()
        .col_expr(table::Column::VmId, Expr::value(None::<String>))
        .filter(of_vm(vm))
        .exec(db)
        .await?;
    Ok(())
}

/// Gives a free and ready volume to a VM.
pub(crate) async fn attach(db: &impl ConnectionTrait, id: VolumeId, vm: VmId) -> Result<(), StoreError> {
    let taken = |volume: &VolumeRecord, by: String| {
        Err(StoreError::InUse { kind: "volume", id: volume.name.clone(), by })
    };
    let before: VolumeRecord = row::get_locked(db, &id.to_string()).await?;
    if let Some(owner) = before.vm_id.filter(|owner| *owner != vm) {
        let owner: crate::vm::VmRecord = row::get(db, &owner.to_string()).await?;
        return taken(&before, format!("VM {}", owner.name));
    }
    if before.phase == VolumePhase::Deleting {
        return taken(&before, "its deletion".into());
    }
    row::put(db, &VolumeRecord { vm_id: Some(vm), ..before }).await
}

impl Store {
    /// Adds a volume and the task that makes it.
    pub async fn volume_insert(&self, volume: &VolumeRecord, task: &TaskRecord) -> Result<(), StoreError> {
        let _moving = self.volume_list().moving_some([volume.id.0]);
        let tx = self.begin().await?;
        crate::pool::hold(&tx, volume.pool_id).await?;
        if let Some(image) = volume.image_id {
            crate::image::hold(&tx, image).await?;
        }
        if let Some(source) = volume.source.volume() {
            hold_source(&tx, source).await?;
        }
        row::insert(&tx, volume).await?;
        row::insert(&tx, task).await?;
        Ok(tx.commit().await?)
    }

    /// Adds a volume that is there already.
    pub async fn volume_adopt(&self, volume: &VolumeRecord) -> Result<(), StoreError> {
        let _moving = self.volume_list().moving_some([volume.id.0]);
        let tx = self.begin().await?;
        crate::pool::hold(&tx, volume.pool_id).await?;
        row::insert(&tx, volume).await?;
        Ok(tx.commit().await?)
    }

    /// Volumes that cannot be without this one.
    pub async fn volume_children(&self, id: VolumeId) -> Result<Vec<VolumeRecord>, StoreError> {
        self.list(children(id)).await
    }

    /// Gives a free volume to a VM, as its last disk, with a new generation of the VM, and adds the task. The pool
    /// must be assigned to the VM's host.
    pub async fn volume_attach(
        &self,
        id: VolumeId,
        vm: VmId,
        task: &TaskRecord,
    ) -> Result<crate::vm::VmRecord, StoreError> {
        let tx = self.begin().await?;
        // Host, pool, volume, VM: nobody takes hold of a VM and then of its volumes.
        let owner: crate::vm::VmRecord = row::get(&tx, &vm.to_string()).await?;
        let _: crate::HostRecord = row::get_locked(&tx, &owner.host_id.to_string()).await?;
        let pool_id = row::get::<VolumeRecord>(&tx, &id.to_string()).await?.pool_id;
        crate::pool::hold_on(&tx, pool_id, owner.host_id).await?;
        attach(&tx, id, vm).await?;
        let after = row::alter(&tx, &vm.to_string(), |vm: &mut crate::vm::VmRecord| {
            vm.spec.disks.retain(|disk| disk.volume_id != id);
            vm.spec.disks.push(quantix_model::vm::Disk { volume_id: id, pool_id });
            vm.generation += 1;
            Ok::<(), StoreError>(())
        })
        .await?;
        row::insert(&tx, task).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Frees a volume that no VM should have any more; whether it was one's.
    pub async fn volume_free(&self, id: VolumeId) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let before: VolumeRecord = row::get_locked(&tx, &id.to_string()).await?;
        row::put(&tx, &VolumeRecord { vm_id: None, ..before.clone() }).await?;
        tx.commit().await?;
        Ok(before.vm_id.is_some())
    }

    /// The volume with this id.
    pub async fn volume_get(&self, id: VolumeId) -> Result<VolumeRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// By name, on one pool or on all.
    pub async fn volume_page(
        &self,
        request: &PageRequest,
        pool: Option<PoolId>,
    ) -> Result<Page<VolumeRecord>, StoreError> {
        self.volume_page_among(request, pool, None).await
    }

    /// The same, of these only.
    pub async fn volume_page_among(
        &self,
        request: &PageRequest,
        pool: Option<PoolId>,
        among: Option<BTreeSet<Uuid>>,
    ) -> Result<Page<VolumeRecord>, StoreError> {
        self.volume_list().page(self.reader(), request, pool.map(|id| id.0), among).await
    }

    /// Volumes that stand on one of these pools or belong to one of these VMs.
    pub async fn volume_ids_in(&self, pools: &[PoolId], vms: &[VmId]) -> Result<Vec<VolumeId>, StoreError> {
        let mut ids = Vec::new();
        for (column, of) in [
            ("pool_id", pools.iter().map(ToString::to_string).collect::<Vec<_>>()),
            ("vm_id", vms.iter().map(ToString::to_string).collect()),
        ] {
            for some in of.chunks(row::ROWS_MAX) {
                let found: Vec<String> = table::Entity::find()
                    .select_only()
                    .column(table::Column::Id)
                    .filter(Expr::col(column).is_in(some))
                    .into_tuple()
                    .all(self.reader())
                    .await?;
                for id in found {
                    ids.push(from_id("volumes", &id)?);
                }
            }
        }
        Ok(ids)
    }

    /// Volumes that no VM has.
    pub async fn volume_ids_free(&self) -> Result<Vec<VolumeId>, StoreError> {
        let found: Vec<String> = table::Entity::find()
            .select_only()
            .column(table::Column::Id)
            .filter(Expr::col("vm_id").is_null())
            .into_tuple()
            .all(self.reader())
            .await?;
        found.iter().map(|id| from_id("volumes", id)).collect()
    }

    /// Every volume.
    pub async fn volume_all(&self) -> Result<Vec<VolumeRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Reads what lists are searched in, so that the first who asks for one does not wait for it.
    pub async fn lists_read(&self) -> Result<(), StoreError> {
        self.vm_list().total::<crate::VmRecord>(self.reader()).await?;
        self.volume_total().await.map(drop)
    }

    /// How many there are.
    pub async fn volume_total(&self) -> Result<u64, StoreError> {
        self.volume_list().total::<VolumeRecord>(self.reader()).await
    }

    /// Volumes on a pool.
    pub async fn volume_of_pool(&self, pool: PoolId) -> Result<Vec<VolumeRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("pool_id").eq(pool.to_string()));
        self.list(wanted).await
    }

    /// Volumes a VM has.
    pub async fn volume_of_vm(&self, vm: VmId) -> Result<Vec<VolumeRecord>, StoreError> {
        self.list(of_vm(vm)).await
    }

    /// Reads, changes and writes a volume in one transaction; writes nothing when nothing changed.
    pub async fn volume_update<E: From<StoreError>>(
        &self,
        id: VolumeId,
        change: impl FnOnce(&mut VolumeRecord) -> Result<(), E> + Send,
    ) -> Result<VolumeRecord, E> {
        let _moving = self.volume_list().moving_some([id.0]);
        self.change(id, change).await
    }

    /// Marks a volume as going away and adds the task. While a VM has it: [`StoreError::InUse`], naming the VM.
    pub async fn volume_mark_deleting(
        &self,
        id: VolumeId,
        task: &TaskRecord,
    ) -> Result<VolumeRecord, StoreError> {
        let tx = self.begin().await?;
        let before: VolumeRecord = row::get_locked(&tx, &id.to_string()).await?;
        if let Some(vm) = before.vm_id {
            let vm: crate::vm::VmRecord = row::get(&tx, &vm.to_string()).await?;
            return Err(StoreError::InUse { kind: "volume", id: before.name, by: format!("VM {}", vm.name) });
        }
        if let Some(clone) = row::all::<VolumeRecord>(&tx, children(id)).await?.first() {
            let by = format!("its clone {}", clone.name);
            return Err(StoreError::InUse { kind: "volume", id: before.name, by });
        }
        let volume = VolumeRecord { phase: VolumePhase::Deleting, ..before };
        row::put(&tx, &volume).await?;
        row::insert(&tx, task).await?;
        tx.commit().await?;
        Ok(volume)
    }

    /// Forgets a volume; whether it was there.
    pub async fn volume_delete(&self, id: VolumeId) -> Result<bool, StoreError> {
        let _moving = self.volume_list().moving_some([id.0]);
        self.forget::<VolumeRecord>(id).await
    }
}
