//! What all tables have in common: text ids, a row that reads as a record, and the few statements over both.

use crate::connection::Store;
use crate::error::{StoreError, write_error};
use crate::page::{Key, Mark, Page, PageRequest, token};
use quantix_model::UnixMs;
use quantix_model::list::SortBy;
use sea_orm::sea_query::{Expr, ExprTrait, Func, LikeExpr, OnConflict};
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    Order, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Rows asked for by id with one statement.
pub(crate) const ROWS_MAX: usize = 500;

/// A record that lives in a table with a text `id`.
pub(crate) trait Row: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// The noun, for errors.
    const KIND: &'static str;
    /// Its table.
    type Entity: EntityTrait<Model = Self::Model>;
    /// A row of it.
    type Model: IntoActiveModel<Self::Active>
        + sea_orm::ModelTrait<Entity = Self::Entity>
        + sea_orm::FromQueryResult
        + Send
        + Sync;
    /// The same for writing.
    type Active: ActiveModelTrait<Entity = Self::Entity> + ActiveModelBehavior + Send + Sync;
    /// What its list can be ordered by, the usual first. There is an index for each: a law test looks.
    const ORDERS: &'static [SortColumn<Self>] = &[];
    /// The usual order is the largest first.
    const USUALLY_DESCENDING: bool = false;
    /// Column that a filter looks into; one that is not in lower case is looked at so.
    const FILTER: &'static str = "name_key";

    fn id_text(&self) -> String;
    /// What a conflict is called after.
    fn title(&self) -> &str;
    fn to_model(&self) -> Self::Model;
    fn from_model(model: Self::Model) -> Result<Self, StoreError>;
}

/// By what a list is ordered, in which column that stands, and what a row has there.
pub(crate) type SortColumn<R> = (SortBy, &'static str, fn(&R) -> Key);

/// Nearly every list is ordered by name.
pub(crate) const fn by_name<R: Row>() -> SortColumn<R> {
    (SortBy::Name, "name_key", |row| Key::Text(name_key(row.title())))
}

/// Adds the row; a name or id that is there already is [`StoreError::Taken`].
pub(crate) async fn insert<R: Row>(db: &impl ConnectionTrait, record: &R) -> Result<(), StoreError> {
    let active = record.to_model().into_active_model().reset_all();
    R::Entity::insert(active)
        .exec_without_returning(db)
        .await
        .map(drop)
        .map_err(|err| write_error(R::KIND, &record.id_text(), record.title(), err))
}

/// Adds the row unless one with its id is there; whether it was added. Of two at the same moment one adds.
pub(crate) async fn insert_if_absent<R: Row>(
    db: &impl ConnectionTrait,
    record: &R,
) -> Result<bool, StoreError> {
    let active = record.to_model().into_active_model().reset_all();
    let keep = OnConflict::column("id").do_nothing().to_owned();
    match R::Entity::insert(active).on_conflict(keep).exec_without_returning(db).await {
        Ok(rows) => Ok(rows > 0),
        Err(DbErr::RecordNotInserted) => Ok(false),
        Err(err) => Err(write_error(R::KIND, &record.id_text(), record.title(), err)),
    }
}

/// The row, if it is there.
pub(crate) async fn find<R: Row>(db: &impl ConnectionTrait, id: &str) -> Result<Option<R>, StoreError> {
    R::Entity::find().filter(Expr::col("id").eq(id)).one(db).await?.map(R::from_model).transpose()
}

/// The row, or [`StoreError::NotFound`].
pub(crate) async fn get<R: Row>(db: &impl ConnectionTrait, id: &str) -> Result<R, StoreError> {
    find(db, id).await?.ok_or_else(|| StoreError::NotFound { kind: R::KIND, id: id.to_owned() })
}

/// The row, held against other writers until the transaction ends.
pub(crate) async fn get_locked<R: Row>(db: &impl ConnectionTrait, id: &str) -> Result<R, StoreError> {
    let found = find_locked(db, id).await?;
    found.ok_or_else(|| StoreError::NotFound { kind: R::KIND, id: id.to_owned() })
}

/// The row, if it is there, held likewise.
pub(crate) async fn find_locked<R: Row>(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<R>, StoreError> {
    let found = R::Entity::find().filter(Expr::col("id").eq(id)).lock_exclusive().one(db).await?;
    found.map(R::from_model).transpose()
}

/// Overwrites the row.
pub(crate) async fn put<R: Row>(db: &impl ConnectionTrait, record: &R) -> Result<(), StoreError> {
    let active = record.to_model().into_active_model().reset_all();
    R::Entity::update(active)
        .exec_without_returning(db)
        .await
        .map(drop)
        .map_err(|err| write_error(R::KIND, &record.id_text(), record.title(), err))
}

/// Reads the row, lets `change` alter it, and writes it back when it differs.
pub(crate) async fn alter<R: Row, E: From<StoreError>>(
    db: &impl ConnectionTrait,
    id: &str,
    change: impl FnOnce(&mut R) -> Result<(), E> + Send,
) -> Result<R, E> {
    let before: R = get_locked(db, id).await?;
    let mut after = before.clone();
    change(&mut after)?;
    if after != before {
        put(db, &after).await?;
    }
    Ok(after)
}

/// Takes the row away; whether it was there.
pub(crate) async fn delete<R: Row>(db: &impl ConnectionTrait, id: &str) -> Result<bool, StoreError> {
    let done = R::Entity::delete_many()
        .filter(Expr::col("id").eq(id))
        .exec(db)
        .await
        .map_err(|err| write_error(R::KIND, id, id, err))?;
    Ok(done.rows_affected > 0)
}

/// Every row that meets `condition`, by id.
pub(crate) async fn all<R: Row>(
    db: &impl ConnectionTrait,
    condition: Condition,
) -> Result<Vec<R>, StoreError> {
    select_all::<R>(condition).all(db).await?.into_iter().map(R::from_model).collect()
}

/// The statement behind [`all`].
pub(crate) fn select_all<R: Row>(condition: Condition) -> Select<R::Entity> {
    R::Entity::find().filter(condition).order_by(Expr::col("id"), Order::Asc)
}

impl Store {
    /// Adds one row, in a transaction of its own.
    pub(crate) async fn add<R: Row>(&self, record: &R) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        insert(&tx, record).await?;
        Ok(tx.commit().await?)
    }

    /// [`alter`] in a transaction of its own.
    pub(crate) async fn change<R: Row, E: From<StoreError>>(
        &self,
        id: impl ToString,
        change: impl FnOnce(&mut R) -> Result<(), E> + Send,
    ) -> Result<R, E> {
        let id = id.to_string();
        let tx = self.begin().await?;
        let after = alter(&tx, &id, change).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(after)
    }

    /// [`delete`] in a transaction of its own.
    pub(crate) async fn forget<R: Row>(&self, id: impl ToString) -> Result<bool, StoreError> {
        let id = id.to_string();
        let tx = self.begin().await?;
        let existed = delete::<R>(&tx, &id).await?;
        tx.commit().await?;
        Ok(existed)
    }

    /// Every row that meets `condition`, by id.
    pub(crate) async fn list<R: Row>(&self, condition: Condition) -> Result<Vec<R>, StoreError> {
        all(self.reader(), condition).await
    }
}

/// How many rows meet `condition`.
pub(crate) async fn count<R: Row>(
    db: &impl ConnectionTrait,
    condition: Condition,
) -> Result<u64, StoreError> {
    Ok(R::Entity::find().filter(condition).count(db).await?)
}

/// A page of rows that meet `condition`, in the order asked for.
pub(crate) async fn page<R: Row>(
    db: &impl ConnectionTrait,
    request: &PageRequest,
    condition: Condition,
) -> Result<Page<R>, StoreError> {
    let mut wanted = condition;
    if let Some(pattern) = request.pattern() {
        let like = LikeExpr::new(pattern).escape('\\');
        wanted = wanted.add(match R::FILTER {
            "name_key" => Expr::col("name_key").like(like),
            other => Expr::expr(Func::lower(Expr::col(other))).like(like),
        });
    }
    let total = R::Entity::find().filter(wanted.clone()).count(db).await?;
    let found = select_page::<R>(request, wanted)?.all(db).await?;
    let mut rows: Vec<R> = found.into_iter().map(R::from_model).collect::<Result<_, _>>()?;
    let limit = usize::try_from(request.rows()).expect("500 at most");
    let more = rows.len() > limit;
    rows.truncate(limit);
    let ((_, column, key), descending) = order::<R>(request)?;
    let mark = |last: &R| Mark { column: column.into(), descending, key: key(last), id: last.id_text() };
    let next_token = rows.last().filter(|_| more).map(|last| token(&mark(last))).unwrap_or_default();
    Ok(Page { rows, next_token, total })
}

/// By what the list comes, and whether the largest is first.
pub(crate) fn order<R: Row>(request: &PageRequest) -> Result<(SortColumn<R>, bool), StoreError> {
    let cannot = || StoreError::CannotOrder { kind: R::KIND };
    let Some(order) = request.order else {
        return Ok((*R::ORDERS.first().ok_or_else(cannot)?, R::USUALLY_DESCENDING));
    };
    let found = R::ORDERS.iter().find(|(by, ..)| *by == order.by);
    Ok((*found.ok_or_else(cannot)?, order.descending))
}

/// The statement behind [`page`]: one row more than asked for, to know whether there is another page.
pub(crate) fn select_page<R: Row>(
    request: &PageRequest,
    mut wanted: Condition,
) -> Result<Select<R::Entity>, StoreError> {
    let ((_, column, _), descending) = order::<R>(request)?;
    if let Some(after) = request.after()? {
        if (after.column.as_str(), after.descending) != (column, descending) {
            return Err(StoreError::BadPageToken);
        }
        let key = match after.key {
            Key::Text(text) => Expr::val(text),
            Key::Int(number) => Expr::val(number),
        };
        let (col, id) = (|| Expr::col(column), || Expr::col("id"));
        // The first half lets the index find the place, the second is the exact order.
        wanted = if descending {
            let later = Condition::any().add(col().lt(key.clone())).add(id().lt(after.id));
            wanted.add(col().lte(key)).add(later)
        } else {
            let later = Condition::any().add(col().gt(key.clone())).add(id().gt(after.id));
            wanted.add(col().gte(key)).add(later)
        };
    }
    let way = if descending { Order::Desc } else { Order::Asc };
    let mut select = R::Entity::find().filter(wanted).order_by(Expr::col(column), way.clone());
    if column != "id" {
        select = select.order_by(Expr::col("id"), way);
    }
    Ok(select.limit(request.rows() + 1))
}

/// The form in which names are compared and sorted, the same on both engines.
pub(crate) fn name_key(name: &str) -> String {
    name.to_lowercase()
}

/// A value as JSON text.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("model types serialise")
}

/// A value from JSON text.
pub(crate) fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|err| StoreError::corrupt(table, err))
}

/// An optional value from JSON text.
pub(crate) fn from_json_opt<T: DeserializeOwned>(
    table: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(|t| from_json(table, t)).transpose()
}

/// The word of an enum.
pub(crate) fn to_word<T: Serialize>(value: &T) -> String {
    to_json(value).trim_matches('"').to_owned()
}

/// An enum from its word.
pub(crate) fn from_word<T: DeserializeOwned>(table: &'static str, word: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|err| StoreError::corrupt(table, err))
}

/// An id from its text.
pub(crate) fn from_id<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::corrupt(table, format!("{text:?} is no id")))
}

/// An optional id from its text.
pub(crate) fn from_id_opt<T: std::str::FromStr>(
    table: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(|t| from_id(table, t)).transpose()
}

/// Both engines count in signed 64 bits; nothing of ours comes near their end.
pub(crate) fn to_int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back from the column.
pub(crate) fn from_int(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Optional time to column.
pub(crate) fn to_ms(at: Option<UnixMs>) -> Option<i64> {
    at.map(|at| at.0)
}
