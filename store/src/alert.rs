//! What somebody should look at now. What is over has no row; its story is in the events.

use crate::connection::Store;
use crate::error::StoreError;
use crate::event::rank;
use crate::page::{Key, Page, PageRequest};
use crate::row::{self, Row, SortColumn, from_id, from_json_opt, from_word, to_json, to_ms, to_word};
use quantix_model::alert::AlertRule;
use quantix_model::event::Severity;
use quantix_model::id::AlertId;
use quantix_model::list::SortBy;
use quantix_model::{Fault, UnixMs};
use sea_orm::Condition;
use sea_orm::sea_query::{Expr, ExprTrait};

/// An alert that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRecord {
    /// Which: one per rule and object.
    pub id: AlertId,
    /// What it goes by.
    pub rule: AlertRule,
    /// How bad.
    pub severity: Severity,
    /// `host`, `pool`, `vm`.
    pub object_kind: String,
    /// Its id, as text.
    pub object_id: String,
    /// Its name then.
    pub object_name: String,
    /// Sentence.
    pub message: String,
    /// Why and what to do.
    pub fault: Option<Fault>,
    /// Found first then.
    pub raised_at: UnixMs,
    /// Somebody looks after it since.
    pub acknowledged_at: Option<UnixMs>,
    /// Who; empty when nobody.
    pub acknowledged_by: String,
}

/// Which alerts are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// This and worse.
    pub severity: Option<Severity>,
    /// Only those nobody looks after.
    pub open: bool,
}

/// Room for a time in milliseconds below the more urgent things; it lasts for 557 years.
const TIME_BITS: u32 = 44;

impl AlertRecord {
    /// One figure for the usual order, so that an index can have it: first what nobody looks after, then how bad it is, then
    /// how new.
    fn urgency(&self) -> i64 {
        let open = i64::from(self.acknowledged_at.is_none()) * 4;
        ((open + rank(self.severity)) << TIME_BITS) | self.raised_at.0.clamp(0, (1 << TIME_BITS) - 1)
    }
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "alerts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub rule: String,
        pub severity: String,
        pub object_kind: String,
        pub object_id: String,
        pub object_name: String,
        pub message: String,
        pub fault: Option<String>,
        pub raised_at: i64,
        pub acknowledged_at: Option<i64>,
        pub acknowledged_by: String,
        pub severity_rank: i64,
        pub urgency: i64,
        /// What a search looks at, in lower case.
        pub name_key: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for AlertRecord {
    const KIND: &'static str = "alert";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<AlertRecord>] = &[
        (SortBy::Urgency, "urgency", |alert| Key::Int(alert.urgency())),
        (SortBy::Created, "raised_at", |alert| Key::Int(alert.raised_at.0)),
    ];
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
            rule: self.rule.as_str().to_owned(),
            severity: to_word(&self.severity),
            object_kind: self.object_kind.clone(),
            object_id: self.object_id.clone(),
            object_name: self.object_name.clone(),
            message: self.message.clone(),
            fault: self.fault.as_ref().map(to_json),
            raised_at: self.raised_at.0,
            acknowledged_at: to_ms(self.acknowledged_at),
            acknowledged_by: self.acknowledged_by.clone(),
            severity_rank: rank(self.severity),
            urgency: self.urgency(),
            name_key: row::name_key(&format!("{} {}", self.message, self.object_name)),
        }
    }
    fn from_model(m: table::Model) -> Result<AlertRecord, StoreError> {
        Ok(AlertRecord {
            id: from_id("alerts", &m.id)?,
            rule: from_word("alerts", &m.rule)?,
            severity: from_word("alerts", &m.severity)?,
            object_kind: m.object_kind,
            object_id: m.object_id,
            object_name: m.object_name,
            message: m.message,
            fault: from_json_opt("alerts", m.fault.as_deref())?,
            raised_at: UnixMs(m.raised_at),
            acknowledged_at: m.acknowledged_at.map(UnixMs),
            acknowledged_by: m.acknowledged_by,
        })
    }
}

impl Store {
    /// All there are.
    pub async fn alert_all(&self) -> Result<Vec<AlertRecord>, StoreError> {
        row::all(self.reader(), Condition::all()).await
    }

    /// Those nobody looks after first, of these the worst, then the newest, unless another order is asked for; the request's
    /// filter is looked for in sentence and name.
    pub async fn alert_page(
        &self,
        request: &PageRequest,
        filter: AlertFilter,
    ) -> Result<Page<AlertRecord>, StoreError> {
        let mut wanted = Condition::all();
        if let Some(severity) = filter.severity {
            wanted = wanted.add(Expr::col("severity_rank").gte(rank(severity)));
        }
        if filter.open {
            wanted = wanted.add(Expr::col("acknowledged_at").is_null());
        }
        row::page(self.reader(), request, wanted).await
    }

    /// How many somebody looks after.
    pub async fn alert_count_looked_after(&self) -> Result<u64, StoreError> {
        let looked_after = Condition::all().add(Expr::col("acknowledged_at").is_not_null());
        row::count::<AlertRecord>(self.reader(), looked_after).await
    }

    /// Those of one object.
    pub async fn alert_of(&self, object_id: &str) -> Result<Vec<AlertRecord>, StoreError> {
        row::all(self.reader(), Condition::all().add(Expr::col("object_id").eq(object_id))).await
    }

    /// The alert with this id.
    pub async fn alert_get(&self, id: AlertId) -> Result<AlertRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// Writes alerts that are new or tell something else than before, and takes away those that are over; all or
    /// nothing. That somebody looks after one stays, whenever they said so, unless it is worse now than it was then.
    pub async fn alert_settle(&self, written: &[AlertRecord], over: &[AlertId]) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        for alert in written {
            if row::insert_if_absent(&tx, alert).await? {
                continue;
            }
            let settle = |kept: &mut AlertRecord| {
                let cared = (kept.severity >= alert.severity)
                    .then(|| (kept.acknowledged_at, std::mem::take(&mut kept.acknowledged_by)));
                *kept = alert.clone();
                if let Some((at, by)) = cared {
                    (kept.acknowledged_at, kept.acknowledged_by) = (at, by);
                }
                Ok::<(), StoreError>(())
            };
            match row::alter(&tx, &alert.id.to_string(), settle).await {
                // Over at the same moment: whoever looks next finds what is.
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        for id in over {
            row::delete::<AlertRecord>(&tx, &id.to_string()).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Reads, changes and writes an alert in one transaction.
    pub async fn alert_update<E: From<StoreError>>(
        &self,
        id: AlertId,
        change: impl FnOnce(&mut AlertRecord) -> Result<(), E> + Send,
    ) -> Result<AlertRecord, E> {
        let tx = self.begin().await?;
        let alert = row::alter(&tx, &id.to_string(), change).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(alert)
    }
}
