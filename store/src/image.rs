//! Images in the library.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest};
use crate::row::{
    self, Row, SortColumn, by_name, from_id, from_id_opt, from_int, from_json_opt, from_word, name_key,
    to_int, to_json, to_ms, to_word,
};
use crate::task::TaskRecord;
use quantix_model::id::{ImageId, PoolId, TaskId};
use quantix_model::image::{ImageFacts, ImagePhase};
use quantix_model::list::SortBy;
use quantix_model::{Fault, UnixMs};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, ConnectionTrait};

/// An image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRecord {
    /// Which.
    pub id: ImageId,
    /// Unique title.
    pub name: String,
    /// Where its bytes are.
    pub pool_id: PoolId,
    /// Where it stands.
    pub phase: ImagePhase,
    /// Why it is in Error.
    pub fault: Option<Fault>,
    /// Bytes it will have.
    pub size_bytes: u64,
    /// Bytes the host said it holds safely.
    pub received_bytes: u64,
    /// Checksum it must have, lower-case hex; empty to take what comes.
    pub sha256_wanted: String,
    /// What the host found in it.
    pub facts: Option<ImageFacts>,
    /// Declared then.
    pub created_at: UnixMs,
    /// Usable since.
    pub ready_at: Option<UnixMs>,
    /// The task that brings it.
    pub task_id: Option<TaskId>,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "images")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub pool_id: String,
        pub phase: String,
        pub fault: Option<String>,
        pub size_bytes: i64,
        pub received_bytes: i64,
        pub sha256_wanted: String,
        pub facts: Option<String>,
        pub created_at: i64,
        pub ready_at: Option<i64>,
        pub task_id: Option<String>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for ImageRecord {
    const KIND: &'static str = "image";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<ImageRecord>] = &[
        by_name(),
        (SortBy::Created, "created_at", |image| Key::Int(image.created_at.0)),
        (SortBy::Size, "size_bytes", |image| Key::Int(to_int(image.size_bytes))),
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
            size_bytes: to_int(self.size_bytes),
            received_bytes: to_int(self.received_bytes),
            sha256_wanted: self.sha256_wanted.clone(),
            facts: self.facts.as_ref().map(to_json),
            created_at: self.created_at.0,
            ready_at: to_ms(self.ready_at),
            task_id: self.task_id.map(|id| id.to_string()),
        }
    }
    fn from_model(m: table::Model) -> Result<ImageRecord, StoreError> {
        Ok(ImageRecord {
            id: from_id("images", &m.id)?,
            name: m.name,
            pool_id: from_id("images", &m.pool_id)?,
            phase: from_word("images", &m.phase)?,
            fault: from_json_opt("images", m.fault.as_deref())?,
            size_bytes: from_int(m.size_bytes),
            received_bytes: from_int(m.received_bytes),
            sha256_wanted: m.sha256_wanted,
            facts: from_json_opt("images", m.facts.as_deref())?,
            created_at: UnixMs(m.created_at),
            ready_at: m.ready_at.map(UnixMs),
            task_id: from_id_opt("images", m.task_id.as_deref())?,
        })
    }
}

/// Holds the image against changes until the transaction ends; one that is going away cannot be used any more.
pub(crate) async fn hold(db: &impl ConnectionTrait, id: ImageId) -> Result<(), StoreError> {
    let image: ImageRecord = row::get_locked(db, &id.to_string()).await?;
    if image.phase == ImagePhase::Deleting {
        let why = "it is being deleted".to_owned();
        return Err(StoreError::Conflict { kind: "image", id: image.name, why });
    }
    Ok(())
}

impl Store {
    /// Adds an image and the task that brings it.
    pub async fn image_insert(&self, image: &ImageRecord, task: &TaskRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        crate::pool::hold(&tx, image.pool_id).await?;
        row::insert(&tx, image).await?;
        row::insert(&tx, task).await?;
        Ok(tx.commit().await?)
    }

    /// The image with this id.
    pub async fn image_get(&self, id: ImageId) -> Result<ImageRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// By name.
    pub async fn image_page(&self, request: &PageRequest) -> Result<Page<ImageRecord>, StoreError> {
        row::page(self.reader(), request, Condition::all()).await
    }

    /// The same, on these pools only.
    pub async fn image_page_among(
        &self,
        request: &PageRequest,
        pools: &[PoolId],
    ) -> Result<Page<ImageRecord>, StoreError> {
        let wanted = Expr::col("pool_id").is_in(pools.iter().map(ToString::to_string));
        row::page(self.reader(), request, Condition::all().add(wanted)).await
    }

    /// Every image.
    pub async fn image_all(&self) -> Result<Vec<ImageRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Images on a pool.
    pub async fn image_of_pool(&self, pool: PoolId) -> Result<Vec<ImageRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("pool_id").eq(pool.to_string()));
        self.list(wanted).await
    }

    /// Reads, changes and writes an image in one transaction; writes nothing when nothing changed.
    pub async fn image_update<E: From<StoreError>>(
        &self,
        id: ImageId,
        change: impl FnOnce(&mut ImageRecord) -> Result<(), E> + Send,
    ) -> Result<ImageRecord, E> {
        self.change(id, change).await
    }

    /// Marks an image as going away. While it is in a VM's drive: [`StoreError::InUse`], naming the VM.
    pub async fn image_mark_deleting(
        &self,
        id: ImageId,
        task: Option<&TaskRecord>,
    ) -> Result<ImageRecord, StoreError> {
        let tx = self.begin().await?;
        // Holds the image first: from here on nobody can put it into a drive.
        let before: ImageRecord = row::get_locked(&tx, &id.to_string()).await?;
        let user = crate::vm::find_by_part(&tx, &id.to_string()).await?;
        let volumes: Vec<crate::VolumeRecord> =
            row::all(&tx, Condition::all().add(Expr::col("pool_id").eq(before.pool_id.to_string()))).await?;
        if let Some(volume) = volumes.iter().find(|volume| volume.needs_image() == Some(id)) {
            let by = format!("volume {}", volume.name);
            return Err(StoreError::InUse { kind: "image", id: before.name, by });
        }
        let image = row::alter(&tx, &id.to_string(), |image: &mut ImageRecord| {
            if let Some(vm) = user {
                let (id, by) = (image.name.clone(), format!("VM {}", vm.name));
                return Err(StoreError::InUse { kind: "image", id, by });
            }
            image.phase = ImagePhase::Deleting;
            Ok(())
        })
        .await?;
        if let Some(task) = task {
            row::insert(&tx, task).await?;
        }
        tx.commit().await?;
        Ok(image)
    }

    /// Forgets an image; whether it was there.
    pub async fn image_delete(&self, id: ImageId) -> Result<bool, StoreError> {
        self.forget::<ImageRecord>(id).await
    }
}
