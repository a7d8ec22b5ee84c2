//! Lists too long to be searched by the database for each page: what they are filtered and ordered by is kept in memory,
//! and only the rows of the page are read.
//!
//! ```text
//!   write ─(over, however it ended)─▶ its ids are due        page ─▶ due ids read again ─▶ index ─▶ ids ─▶ rows
//! ```
//! What is due is read from the store, never taken from the writer: two writes of one row may end in either order. A page
//! holds every write that ended before it was asked for. Only this process writes.

mod index;

use crate::error::StoreError;
use crate::page::{Key, Mark, Page, PageRequest, token};
use crate::row::{self, Row, from_id};
use index::{Answer, Column, Entry, Index, NUMBERS, Question};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    Condition, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, Order, QueryFilter, QueryOrder,
    QueryResult, QuerySelect,
};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use uuid::Uuid;

/// Rows read at once at the start.
const READ_MAX: u64 = 5000;

/// A record with a long list. Beside its name its list is ordered by numbers, [`NUMBERS`] at most.
pub(crate) trait Listed: Row {
    /// Column with the id of what a list may be narrowed to.
    const OWNER: &'static str;
}

/// Rows that must be read again.
#[derive(Debug)]
enum Due {
    All,
    Some(BTreeSet<Uuid>),
}

/// The list of one table.
pub(crate) struct List {
    due: Mutex<Due>,
    /// Held while what is due is read.
    turn: tokio::sync::Mutex<()>,
    index: RwLock<Index>,
}

impl Default for List {
    fn default() -> List {
        let (turn, index) = (tokio::sync::Mutex::default(), RwLock::default());
        List { due: Mutex::new(Due::All), turn, index }
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("due", &self.due).finish_non_exhaustive()
    }
}

/// A write under way that may touch these rows.
pub(crate) struct Moving<'a> {
    list: &'a List,
    rows: Option<Due>,
}

impl Moving<'_> {
    /// It touched these only.
    pub(crate) fn only(mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.rows = Some(Due::Some(ids.into_iter().collect()));
    }

    /// It touches this one too.
    pub(crate) fn also(&mut self, id: Uuid) {
        if let Some(Due::Some(ids)) = &mut self.rows {
            ids.insert(id);
        }
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        if let Some(rows) = self.rows.take() {
            self.list.add(rows);
        }
    }
}

impl List {
    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, rows: Due) {
        let mut due = self.due();
        match (&mut *due, rows) {
            (Due::All, _) => {}
            (Due::Some(ids), Due::Some(more)) => ids.extend(more),
            (due, Due::All) => *due = Due::All,
        }
    }

    /// Held by whoever writes to the table in any way, until that is over, however it ended.
    pub(crate) fn moving(&self) -> Moving<'_> {
        Moving { list: self, rows: Some(Due::All) }
    }

    /// The same, of these rows.
    pub(crate) fn moving_some(&self, ids: impl IntoIterator<Item = Uuid>) -> Moving<'_> {
        Moving { list: self, rows: Some(Due::Some(ids.into_iter().collect())) }
    }

    /// Reads what is due.
    async fn freshen<R: Listed>(&self, db: &impl ConnectionTrait) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let taken = std::mem::replace(&mut *self.due(), Due::Some(BTreeSet::new()));
        // Goes back to what is due when reading fails or nobody waits for it any more.
        let mut taken = Moving { list: self, rows: Some(taken) };
        match &taken.rows {
            Some(Due::All) => {
                let fresh = Index::new(read_all::<R>(db).await?);
                *self.index.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            Some(Due::Some(ids)) if !ids.is_empty() => {
                let ids: Vec<Uuid> = ids.iter().copied().collect();
                let mut found = HashMap::with_capacity(ids.len());
                for some in ids.chunks(row::ROWS_MAX) {
                    found.extend(
                        read::<R>(db, is_one_of(some)).await?.into_iter().map(|entry| (entry.id, entry)),
                    );
                }
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                for id in ids {
                    index.change(id, found.remove(&id));
                }
                index.settle();
            }
            _ => {}
        }
        taken.rows = None;
        Ok(())
    }

    /// How many rows there are.
    pub(crate) async fn total<R: Listed>(&self, db: &impl ConnectionTrait) -> Result<u64, StoreError> {
        self.freshen::<R>(db).await?;
        Ok(self.index.read().unwrap_or_else(PoisonError::into_inner).total())
    }

    /// A page of the table's rows, of one owner or of all, among some or all.
    pub(crate) async fn page<R: Listed>(
        &self,
        db: &impl ConnectionTrait,
        request: &PageRequest,
        owner: Option<Uuid>,
        among: Option<BTreeSet<Uuid>>,
    ) -> Result<Page<R>, StoreError> {
        let ((_, name, key), descending) = row::order::<R>(request)?;
        let columns = || R::ORDERS.iter().map(|(_, column, _)| *column);
        let column = match columns().position(|column| column == name) {
            None | Some(0) => Column::Name,
            Some(n) => Column::Number(n - 1),
        };
        let after = request.after()?.map(|mark| {
            let kind_fits = matches!(
                (&mark.key, column),
                (Key::Text(_), Column::Name) | (Key::Int(_), Column::Number(_))
            );
            let id = mark
                .id
                .parse()
                .ok()
                .filter(|_| kind_fits && (mark.column.as_str(), mark.descending) == (name, descending));
            id.map(|id| (mark.key, id)).ok_or(StoreError::BadPageToken)
        });
        let question = Question {
            part: request.part(),
            owner,
            among,
            column,
            descending,
            after: after.transpose()?,
            limit: usize::try_from(request.rows()).expect("500 at most"),
        };
        self.freshen::<R>(db).await?;
        let Answer { ids, more, total } =
            self.index.read().unwrap_or_else(PoisonError::into_inner).ask(&question);
        // A row that went meanwhile is not there; the next page begins after the last one that is.
        let mut found: HashMap<String, R> = HashMap::with_capacity(ids.len());
        if !ids.is_empty() {
            for model in R::Entity::find().filter(is_one_of(&ids)).all(db).await? {
                let row = R::from_model(model)?;
                found.insert(row.id_text(), row);
            }
        }
        let rows: Vec<R> = ids.iter().filter_map(|id| found.remove(&id.to_string())).collect();
        let mark = |last: &R| Mark { column: name.into(), descending, key: key(last), id: last.id_text() };
        let next_token = rows.last().filter(|_| more).map(|last| token(&mark(last))).unwrap_or_default();
        Ok(Page { rows, next_token, total })
    }
}

fn is_one_of(ids: &[Uuid]) -> Condition {
    Condition::all().add(Expr::col("id").is_in(ids.iter().map(Uuid::to_string)))
}

/// All rows, some at a time: read at once they would take many times the memory of the list. What changes meanwhile is due.
async fn read_all<R: Listed>(db: &impl ConnectionTrait) -> Result<Vec<Entry>, StoreError> {
    let (mut all, mut after) = (Vec::new(), Condition::all());
    loop {
        let some = read::<R>(db, after).await?;
        let Some(last) = some.last().map(|entry| entry.id) else { return Ok(all) };
        after = Condition::all().add(Expr::col("id").gt(last.to_string()));
        all.extend(some);
    }
}

/// Rows as lists look at them, by id, so many at most.
async fn read<R: Listed>(db: &impl ConnectionTrait, wanted: Condition) -> Result<Vec<Entry>, StoreError> {
    let mut select = R::Entity::find()
        .select_only()
        .expr_as(Expr::col("id"), "id")
        .expr_as(Expr::col("name_key"), "name_key")
        .expr_as(Expr::col(R::OWNER), "owner");
    for (n, alias) in NUMBER_NAMES.iter().enumerate() {
        select = match R::ORDERS.get(n + 1) {
            Some((_, column, _)) => select.expr_as(Expr::col(*column), *alias),
            None => select.expr_as(Expr::val(0_i64), *alias),
        };
    }
    let select = select.filter(wanted).order_by(Expr::col("id"), Order::Asc).limit(READ_MAX);
    let rows: Vec<EntryRow> = select.into_model().all(db).await?;
    rows.into_iter().map(EntryRow::entry).collect()
}

const NUMBER_NAMES: [&str; NUMBERS] = ["number_0", "number_1", "number_2"];

struct EntryRow {
    id: String,
    owner: String,
    name_key: String,
    numbers: [i64; NUMBERS],
}

impl FromQueryResult for EntryRow {
    fn from_query_result(row: &QueryResult, pre: &str) -> Result<EntryRow, DbErr> {
        let mut numbers = [0; NUMBERS];
        for (number, name) in numbers.iter_mut().zip(NUMBER_NAMES) {
            *number = row.try_get(pre, name)?;
        }
        let text = |name: &str| row.try_get(pre, name);
        Ok(EntryRow { id: text("id")?, owner: text("owner")?, name_key: text("name_key")?, numbers })
    }
}

impl EntryRow {
    fn entry(self) -> Result<Entry, StoreError> {
        let (id, owner) = (from_id("lists", &self.id)?, from_id("lists", &self.owner)?);
        Ok(Entry { id, owner, name_key: self.name_key, numbers: self.numbers })
    }
}
