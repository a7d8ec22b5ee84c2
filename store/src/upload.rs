//! Uploads of plain files into pools; images have their own record.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id, from_int, from_json_opt, from_word, to_int, to_json, to_word};
use crate::task::TaskRecord;
use quantix_model::id::{ImageId, PoolId, TaskId};
use quantix_model::{Fault, UnixMs};
use sea_orm::Condition;
use serde::{Deserialize, Serialize};

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Bytes are coming.
    Receiving,
    /// All bytes are there; the host makes them a file.
    Finishing,
    /// The file is there.
    Done,
    /// Ended without one.
    Failed,
}

/// An upload of a plain file.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadRecord {
    /// Which; hosts keep the bytes of all uploads by one kind of id.
    pub id: ImageId,
    /// Where to.
    pub pool_id: PoolId,
    /// As what, relative to the pool's root.
    pub path: String,
    /// Bytes it will have.
    pub size_bytes: u64,
    /// Bytes the host said it holds safely.
    pub received_bytes: u64,
    /// Checksum it must have, lower-case hex; empty to take what comes.
    pub sha256_wanted: String,
    /// The task that waits for it.
    pub task_id: TaskId,
    /// Where it stands.
    pub state: UploadState,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// Opened then.
    pub created_at: UnixMs,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "uploads")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub pool_id: String,
        pub path: String,
        pub size_bytes: i64,
        pub received_bytes: i64,
        pub sha256_wanted: String,
        pub task_id: String,
        pub state: String,
        pub fault: Option<String>,
        pub created_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for UploadRecord {
    const KIND: &'static str = "upload";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.path
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            pool_id: self.pool_id.to_string(),
            path: self.path.clone(),
            size_bytes: to_int(self.size_bytes),
            received_bytes: to_int(self.received_bytes),
            sha256_wanted: self.sha256_wanted.clone(),
            task_id: self.task_id.to_string(),
            state: to_word(&self.state),
            fault: self.fault.as_ref().map(to_json),
            created_at: self.created_at.0,
        }
    }
    fn from_model(m: table::Model) -> Result<UploadRecord, StoreError> {
        Ok(UploadRecord {
            id: from_id("uploads", &m.id)?,
            pool_id: from_id("uploads", &m.pool_id)?,
            path: m.path,
            size_bytes: from_int(m.size_bytes),
            received_bytes: from_int(m.received_bytes),
            sha256_wanted: m.sha256_wanted,
            task_id: from_id("uploads", &m.task_id)?,
            state: from_word("uploads", &m.state)?,
            fault: from_json_opt("uploads", m.fault.as_deref())?,
            created_at: UnixMs(m.created_at),
        })
    }
}

impl Store {
    /// Adds an upload and the task that waits for it.
    pub async fn upload_insert(&self, upload: &UploadRecord, task: &TaskRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        crate::pool::hold(&tx, upload.pool_id).await?;
        row::insert(&tx, upload).await?;
        row::insert(&tx, task).await?;
        Ok(tx.commit().await?)
    }

    /// The upload with this id.
    pub async fn upload_get(&self, id: ImageId) -> Result<UploadRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// Every upload.
    pub async fn upload_all(&self) -> Result<Vec<UploadRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Reads, changes and writes an upload in one transaction; writes nothing when nothing changed.
    pub async fn upload_update<E: From<StoreError>>(
        &self,
        id: ImageId,
        change: impl FnOnce(&mut UploadRecord) -> Result<(), E> + Send,
    ) -> Result<UploadRecord, E> {
        self.change(id, change).await
    }

    /// Forgets an upload; whether it was there.
    pub async fn upload_delete(&self, id: ImageId) -> Result<bool, StoreError> {
        self.forget::<UploadRecord>(id).await
    }
}
