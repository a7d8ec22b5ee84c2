//! What happened, newest first.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest};
use crate::row::{self, Row, SortColumn, from_id, from_json_opt, from_word, to_json, to_word};
use quantix_model::event::{EventKind, Severity};
use quantix_model::id::EventId;
use quantix_model::list::SortBy;
use quantix_model::{Fault, UnixMs};
use sea_orm::sea_query::{Expr, ExprTrait, Func, Query};
use sea_orm::{Condition, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// Which; ids are made in time order, so that newer sorts after older.
    pub id: EventId,
    /// When it was noticed.
    pub at: UnixMs,
    /// What.
    pub kind: EventKind,
    /// How much it matters.
    pub severity: Severity,
    /// `host`, `pool`, `vm`, …
    pub object_kind: String,
    /// Its id, as text.
    pub object_id: String,
    /// Its name then.
    pub object_name: String,
    /// Name of the host it happened on; empty when none.
    pub host: String,
    /// Who asked for it; empty when nobody did.
    pub user_name: String,
    /// Sentence.
    pub message: String,
    /// Why.
    pub fault: Option<Fault>,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Empty: of all objects.
    pub object_id: String,
    /// This and worse.
    pub severity: Option<Severity>,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub at: i64,
        pub kind: String,
        /// The part of the kind before its dot.
        pub noun: String,
        pub severity: String,
        /// 1 to 3, so that "this and worse" can be asked for.
        pub severity_rank: i64,
        pub object_kind: String,
        pub object_id: String,
        pub object_name: String,
        pub host: String,
        pub user_name: String,
        pub message: String,
        pub fault: Option<String>,
        /// What a search looks at, in lower case.
        pub name_key: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// 1 to 3, so that "this and worse" can be asked for.
pub(crate) fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
    }
}

impl Row for EventRecord {
    const KIND: &'static str = "event";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<EventRecord>] =
        &[(SortBy::Created, "id", |event| Key::Text(event.id.to_string()))];
    const USUALLY_DESCENDING: bool = true;

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.message
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            at: self.at.0,
            kind: self.kind.as_str().to_owned(),
            noun: self.kind.noun().to_owned(),
            severity: to_word(&self.severity),
            severity_rank: rank(self.severity),
            object_kind: self.object_kind.clone(),
            object_id: self.object_id.clone(),
            object_name: self.object_name.clone(),
            host: self.host.clone(),
            user_name: self.user_name.clone(),
            message: self.message.clone(),
            fault: self.fault.as_ref().map(to_json),
            name_key: row::name_key(&format!("{} {} {}", self.message, self.object_name, self.host)),
        }
    }
    fn from_model(m: table::Model) -> Result<EventRecord, StoreError> {
        Ok(EventRecord {
            id: from_id("events", &m.id)?,
            at: UnixMs(m.at),
            kind: from_word("events", &m.kind)?,
            severity: from_word("events", &m.severity)?,
            object_kind: m.object_kind,
            object_id: m.object_id,
            object_name: m.object_name,
            host: m.host,
            user_name: m.user_name,
            message: m.message,
            fault: from_json_opt("events", m.fault.as_deref())?,
        })
    }
}

/// The statement behind [`Store::event_last`].
pub(crate) fn select_last(object_id: &str, noun: &str) -> Select<table::Entity> {
    let wanted = Condition::all().add(Expr::col("object_id").eq(object_id)).add(Expr::col("noun").eq(noun));
    table::Entity::find().filter(wanted).order_by(Expr::col("id"), Order::Desc).limit(1)
}

impl Store {
    /// Adds events; all or none.
    pub async fn event_insert(&self, events: &[EventRecord]) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        for event in events {
            row::insert(&tx, event).await?;
        }
        Ok(tx.commit().await?)
    }

    /// What was told last of each object under each noun.
    pub async fn event_last_all(&self) -> Result<Vec<(String, EventKind)>, StoreError> {
        let newest = Query::select()
            .expr(Func::max(Expr::col("id")))
            .from(table::Entity)
            .group_by_columns(["object_id", "noun"])
            .to_owned();
        let found: Vec<(String, String)> = table::Entity::find()
            .select_only()
            .columns([table::Column::ObjectId, table::Column::Kind])
            .filter(Expr::col("id").in_subquery(newest))
            .into_tuple()
            .all(self.reader())
            .await?;
        found.into_iter().map(|(id, kind)| Ok((id, from_word("events", &kind)?))).collect()
    }

    /// The event with this id.
    pub async fn event_get(&self, id: EventId) -> Result<EventRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The newest event of an object whose kind begins with `noun`.
    pub async fn event_last(&self, object_id: &str, noun: &str) -> Result<Option<EventRecord>, StoreError> {
        let found = select_last(object_id, noun).one(self.reader()).await?;
        found.map(EventRecord::from_model).transpose()
    }

    /// Newest first; the request's filter is looked for in sentence, name and host.
    pub async fn event_page(
        &self,
        request: &PageRequest,
        filter: &EventFilter,
    ) -> Result<Page<EventRecord>, StoreError> {
        let mut wanted = Condition::all();
        if !filter.object_id.is_empty() {
            wanted = wanted.add(Expr::col("object_id").eq(filter.object_id.as_str()));
        }
        if let Some(severity) = filter.severity {
            wanted = wanted.add(Expr::col("severity_rank").gte(rank(severity)));
        }
        row::page(self.reader(), request, wanted).await
    }

    /// Forgets all events but the newest `keep`; how many went.
    pub async fn event_prune(&self, keep: u64) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let newest = table::Entity::find().order_by(Expr::col("id"), Order::Desc);
        let last_kept = newest.offset(keep.saturating_sub(1)).limit(1).one(&tx).await?;
        let Some(last_kept) = last_kept.filter(|_| keep > 0) else { return Ok(0) };
        let gone = Expr::col("id").lt(last_kept.id);
        let done = table::Entity::delete_many().filter(gone).exec(&tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected)
    }
}
