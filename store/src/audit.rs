//! Who did what, from where, on what, and what came of it: a chain of rows that is only ever added to at its end and cut
//! at its beginning. Each row's MAC covers the one before; who makes and checks it has the key, which is not here.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest};
use crate::row::{self, Row, SortColumn, from_int, name_key};
use crate::setting;
use quantix_model::UnixMs;
use quantix_model::list::SortBy;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};

/// Setting that says where the chain was cut: what its first row follows.
const CUT: &str = "audit_cut";

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRecord {
    /// 1 for the first ever; no number is left out.
    pub number: u64,
    /// When it was over.
    pub at: UnixMs,
    /// `person`, `token`, `host`, `nobody` or `root`.
    pub actor_kind: String,
    /// Id of who; empty when not known.
    pub actor_id: String,
    /// Their name then, or what was given as name.
    pub actor_name: String,
    /// Where from.
    pub address: String,
    /// What was asked: `vm.v1.VmService/PowerVm`.
    pub action: String,
    /// On what: `vm`, `pool`, …; empty when on nothing that has an id.
    pub object_kind: String,
    /// Its id.
    pub object_id: String,
    /// Its name then.
    pub object_name: String,
    /// `OK`, or the code of the refusal.
    pub result: String,
    /// Sentence of the refusal; empty when it was done.
    pub detail: String,
    /// Which key made the MAC.
    pub key_id: String,
    /// MAC over the row before and this one, hex.
    pub mac: String,
}

/// Where a chain begins or ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditMark {
    /// Number of a row.
    pub number: u64,
    /// Its MAC.
    pub mac: String,
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Empty: on all objects.
    pub object_id: String,
    /// Empty: of everybody.
    pub actor_id: String,
    /// Only what was refused or failed.
    pub failed: bool,
    /// Not before.
    pub from: Option<UnixMs>,
    /// Before.
    pub to: Option<UnixMs>,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit")]
    pub struct Model {
        /// The number with leading zeros, so that it sorts as it counts.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub at: i64,
        pub actor_kind: String,
        pub actor_id: String,
        pub actor_name: String,
        pub address: String,
        pub action: String,
        pub object_kind: String,
        pub object_id: String,
        pub object_name: String,
        pub result: String,
        pub detail: String,
        pub key_id: String,
        pub mac: String,
        pub name_key: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

fn id_of(number: u64) -> String {
    format!("{number:020}")
}

impl Row for AuditRecord {
    const KIND: &'static str = "audit row";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<AuditRecord>] =
        &[(SortBy::Created, "id", |row| Key::Text(row.id_text()))];
    const USUALLY_DESCENDING: bool = true;

    fn id_text(&self) -> String {
        id_of(self.number)
    }
    fn title(&self) -> &str {
        &self.action
    }
    fn to_model(&self) -> table::Model {
        let said =
            [&self.actor_name, &self.address, &self.action, &self.object_name, &self.result, &self.detail];
        table::Model {
            id: self.id_text(),
            at: self.at.0,
            actor_kind: self.actor_kind.clone(),
            actor_id: self.actor_id.clone(),
            actor_name: self.actor_name.clone(),
            address: self.address.clone(),
            action: self.action.clone(),
            object_kind: self.object_kind.clone(),
            object_id: self.object_id.clone(),
            object_name: self.object_name.clone(),
            result: self.result.clone(),
            detail: self.detail.clone(),
            key_id: self.key_id.clone(),
            mac: self.mac.clone(),
            name_key: name_key(&said.map(String::as_str).join(" ")),
        }
    }
    fn from_model(m: table::Model) -> Result<AuditRecord, StoreError> {
        let number = m.id.parse::<i64>().map(from_int);
        Ok(AuditRecord {
            number: number.map_err(|err| StoreError::corrupt("audit", err))?,
            at: UnixMs(m.at),
            actor_kind: m.actor_kind,
            actor_id: m.actor_id,
            actor_name: m.actor_name,
            address: m.address,
            action: m.action,
            object_kind: m.object_kind,
            object_id: m.object_id,
            object_name: m.object_name,
            result: m.result,
            detail: m.detail,
            key_id: m.key_id,
            mac: m.mac,
        })
    }
}

/// The statement behind [`Store::audit_some`].
pub(crate) fn select_some(after: u64, limit: u64) -> Select<table::Entity> {
    table::Entity::find()
        .filter(Expr::col("id").gt(id_of(after)))
        .order_by(Expr::col("id"), Order::Asc)
        .limit(limit)
}

/// The statement behind [`Store::audit_last`].
pub(crate) fn select_last() -> Select<table::Entity> {
    table::Entity::find().order_by(Expr::col("id"), Order::Desc).limit(1)
}

impl Store {
    /// Adds rows at the end; all or none. A number that is there already is [`StoreError::Taken`].
    pub async fn audit_append(&self, rows: &[AuditRecord]) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        for record in rows {
            row::insert(&tx, record).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The last row.
    pub async fn audit_last(&self) -> Result<Option<AuditRecord>, StoreError> {
        select_last().one(self.reader()).await?.map(AuditRecord::from_model).transpose()
    }

    /// So many rows after a number, oldest first.
    pub async fn audit_some(&self, after: u64, limit: u64) -> Result<Vec<AuditRecord>, StoreError> {
        select_some(after, limit).all(self.reader()).await?.into_iter().map(AuditRecord::from_model).collect()
    }

    /// Newest first.
    pub async fn audit_page(
        &self,
        request: &PageRequest,
        filter: &AuditFilter,
    ) -> Result<Page<AuditRecord>, StoreError> {
        let mut wanted = Condition::all();
        for (column, id) in [("object_id", &filter.object_id), ("actor_id", &filter.actor_id)] {
            if !id.is_empty() {
                wanted = wanted.add(Expr::col(column).eq(id.as_str()));
            }
        }
        if filter.failed {
            wanted = wanted.add(Expr::col("result").ne("OK"));
        }
        if let Some(from) = filter.from {
            wanted = wanted.add(Expr::col("at").gte(from.0));
        }
        if let Some(to) = filter.to {
            wanted = wanted.add(Expr::col("at").lt(to.0));
        }
        row::page(self.reader(), request, wanted).await
    }

    /// Where the chain was cut; `None`: it begins with the first row ever.
    pub async fn audit_cut(&self) -> Result<Option<AuditMark>, StoreError> {
        let text = self.setting_get(CUT).await?;
        let read = |text: String| serde_json::from_str(&text);
        text.map(read).transpose().map_err(|err| StoreError::corrupt("settings", err))
    }

    /// Forgets rows up to `last`, and notes that the chain begins after it; how many went.
    pub async fn audit_prune(&self, last: &AuditMark) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let gone = Expr::col("id").lte(id_of(last.number));
        let done = table::Entity::delete_many().filter(gone).exec(&tx).await?;
        let text = serde_json::to_string(last).map_err(|err| StoreError::corrupt("settings", err))?;
        setting::put(&tx, CUT, &text).await?;
        tx.commit().await?;
        Ok(done.rows_affected)
    }
}
