//! Long work: what was asked, how far it is, how it ended.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest};
use crate::row::{
    self, Row, SortColumn, from_id, from_int, from_json, from_json_opt, from_word, to_int, to_json, to_ms,
    to_word,
};
use quantix_model::id::TaskId;
use quantix_model::list::SortBy;
use quantix_model::task::TaskState;
use quantix_model::{Fault, UnixMs};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect};

/// A piece of long work.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecord {
    /// Which; ids are made in time order, so that newer sorts after older.
    pub id: TaskId,
    /// `vm.create`, `image.upload`, …
    pub kind: String,
    /// Sentence.
    pub title: String,
    /// Where it stands.
    pub state: TaskState,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// What it works on: `vm`, `pool`, …
    pub object_kind: String,
    /// Its id, as text.
    pub object_id: String,
    /// Its name when the task was made.
    pub object_name: String,
    /// Name of the host it works on; empty when none.
    pub host: String,
    /// Who asked.
    pub user_name: String,
    /// What it is doing now.
    pub step: String,
    /// In `progress_unit`s.
    pub progress_done: u64,
    /// 0 when it cannot be known.
    pub progress_total: u64,
    /// `bytes` or `steps`.
    pub progress_unit: String,
    /// Asked for then.
    pub created_at: UnixMs,
    /// Began then.
    pub started_at: Option<UnixMs>,
    /// Ended then.
    pub ended_at: Option<UnixMs>,
    /// Fails then if it has not ended.
    pub deadline_at: UnixMs,
    /// Whether it may be asked to stop.
    pub cancellable: bool,
    /// Somebody asked it to stop.
    pub cancel_requested: bool,
    /// What its kind needs to do it again from the start.
    pub input: serde_json::Value,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tasks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub kind: String,
        pub title: String,
        pub state: String,
        /// Copy of what `state` says, for an index that stays small.
        pub is_final: bool,
        pub fault: Option<String>,
        pub object_kind: String,
        pub object_id: String,
        pub object_name: String,
        pub host: String,
        pub user_name: String,
        pub step: String,
        pub progress_done: i64,
        pub progress_total: i64,
        pub progress_unit: String,
        pub created_at: i64,
        pub started_at: Option<i64>,
        pub ended_at: Option<i64>,
        pub deadline_at: i64,
        pub cancellable: bool,
        pub cancel_requested: bool,
        pub input: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for TaskRecord {
    const KIND: &'static str = "task";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    // Ids are made in time order.
    const ORDERS: &'static [SortColumn<TaskRecord>] =
        &[(SortBy::Created, "id", |task| Key::Text(task.id.to_string()))];
    const USUALLY_DESCENDING: bool = true;
    const FILTER: &'static str = "title";

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.title
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            kind: self.kind.clone(),
            title: self.title.clone(),
            state: to_word(&self.state),
            is_final: self.state.is_final(),
            fault: self.fault.as_ref().map(to_json),
            object_kind: self.object_kind.clone(),
            object_id: self.object_id.clone(),
            object_name: self.object_name.clone(),
            host: self.host.clone(),
            user_name: self.user_name.clone(),
            step: self.step.clone(),
            progress_done: to_int(self.progress_done),
            progress_total: to_int(self.progress_total),
            progress_unit: self.progress_unit.clone(),
            created_at: self.created_at.0,
            started_at: to_ms(self.started_at),
            ended_at: to_ms(self.ended_at),
            deadline_at: self.deadline_at.0,
            cancellable: self.cancellable,
            cancel_requested: self.cancel_requested,
            input: to_json(&self.input),
        }
    }
    fn from_model(m: table::Model) -> Result<TaskRecord, StoreError> {
        Ok(TaskRecord {
            id: from_id("tasks", &m.id)?,
            kind: m.kind,
            title: m.title,
            state: from_word("tasks", &m.state)?,
            fault: from_json_opt("tasks", m.fault.as_deref())?,
            object_kind: m.object_kind,
            object_id: m.object_id,
            object_name: m.object_name,
            host: m.host,
            user_name: m.user_name,
            step: m.step,
            progress_done: from_int(m.progress_done),
            progress_total: from_int(m.progress_total),
            progress_unit: m.progress_unit,
            created_at: UnixMs(m.created_at),
            started_at: m.started_at.map(UnixMs),
            ended_at: m.ended_at.map(UnixMs),
            deadline_at: UnixMs(m.deadline_at),
            cancellable: m.cancellable,
            cancel_requested: m.cancel_requested,
            input: from_json("tasks", &m.input)?,
        })
    }
}

impl Store {
    /// Adds a task on its own; most are added together with the object they work on.
    pub async fn task_insert(&self, task: &TaskRecord) -> Result<(), StoreError> {
        self.add(task).await
    }

    /// The task with this id.
    pub async fn task_get(&self, id: TaskId) -> Result<TaskRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// Reads, changes and writes a task in one transaction.
    pub async fn task_update<E: From<StoreError>>(
        &self,
        id: TaskId,
        change: impl FnOnce(&mut TaskRecord) -> Result<(), E> + Send,
    ) -> Result<TaskRecord, E> {
        self.change(id, change).await
    }

    /// Newest first, unless asked otherwise. `object_id` empty: of all objects.
    pub async fn task_page(
        &self,
        request: &PageRequest,
        object_id: &str,
    ) -> Result<Page<TaskRecord>, StoreError> {
        let mut wanted = Condition::all();
        if !object_id.is_empty() {
            wanted = wanted.add(Expr::col("object_id").eq(object_id));
        }
        row::page(self.reader(), request, wanted).await
    }

    /// The same, of what one person asked for.
    pub async fn task_page_of_user(
        &self,
        request: &PageRequest,
        user_name: &str,
    ) -> Result<Page<TaskRecord>, StoreError> {
        row::page(self.reader(), request, Condition::all().add(Expr::col("user_name").eq(user_name))).await
    }

    /// How many tasks are in which state.
    pub async fn task_count_by_state(&self) -> Result<Vec<(TaskState, u64)>, StoreError> {
        let counted = table::Entity::find()
            .select_only()
            .column(table::Column::State)
            .column_as(table::Column::Id.count(), "count")
            .group_by(table::Column::State)
            .into_tuple::<(String, i64)>();
        let read = |(state, count): (String, i64)| Ok((from_word("tasks", &state)?, from_int(count)));
        counted.all(self.reader()).await?.into_iter().map(read).collect()
    }

    /// All that are queued or running, oldest first.
    pub async fn task_unfinished(&self) -> Result<Vec<TaskRecord>, StoreError> {
        self.list(Condition::all().add(Expr::col("is_final").eq(false))).await
    }

    /// Forgets all finished tasks but the newest `keep`; how many went.
    pub async fn task_prune(&self, keep: u64) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let last_kept = table::Entity::find()
            .filter(Expr::col("is_final").eq(true))
            .order_by(Expr::col("id"), Order::Desc)
            .offset(keep.saturating_sub(1))
            .limit(1)
            .one(&tx)
            .await?;
        let Some(last_kept) = last_kept.filter(|_| keep > 0) else { return Ok(0) };
        let gone = Condition::all().add(Expr::col("is_final").eq(true)).add(Expr::col("id").lt(last_kept.id));
        let done = table::Entity::delete_many().filter(gone).exec(&tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected)
    }
}
