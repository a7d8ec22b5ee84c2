//! What a list is filtered and ordered by, in memory: names in one text, and an order of rows for each column.
//!
//! ```text
//!   base: all names one after the other │ rows by name │ for each column: rows in its order │ rows by id
//!   changes: rows that came, went or changed since; folded into a new base once they are many
//! ```
//! A filter is one search through one text of a few megabytes, whatever it looks for; the total comes with it.

use crate::page::Key;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Columns of numbers that a list may be ordered by, beside its names.
pub(crate) const NUMBERS: usize = 3;
/// Stands between names; no name holds it.
const END: u8 = 0;
/// Changes that are looked through one by one, at least.
const CHANGES_MIN: usize = 1024;

/// A row, as far as lists look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which.
    pub id: Uuid,
    /// What the list may be narrowed to.
    pub owner: Uuid,
    /// In lower case.
    pub name_key: String,
    /// By column.
    pub numbers: [i64; NUMBERS],
}

/// By what a list is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// The name.
    Name,
    /// The number at this place.
    Number(usize),
}

/// Which rows, in which order.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Part of the name, in lower case.
    pub part: String,
    /// Only rows of this owner.
    pub owner: Option<Uuid>,
    /// Only these rows.
    pub among: Option<BTreeSet<Uuid>>,
    /// By what.
    pub column: Column,
    /// The largest first.
    pub descending: bool,
    /// The last row of the page before.
    pub after: Option<(Key, Uuid)>,
    /// Rows wanted.
    pub limit: usize,
}

/// Rows of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// In order.
    pub ids: Vec<Uuid>,
    /// Others follow.
    pub more: bool,
    /// On all pages together.
    pub total: u64,
}

/// A row of either part.
#[derive(Clone, Copy)]
struct View<'a> {
    id: Uuid,
    owner: Uuid,
    name_key: &'a str,
    numbers: &'a [i64; NUMBERS],
}

impl View<'_> {
    fn compare(&self, other: &View<'_>, column: Column) -> Ordering {
        let first = match column {
            Column::Name => self.name_key.cmp(other.name_key),
            Column::Number(n) => self.numbers[n].cmp(&other.numbers[n]),
        };
        first.then_with(|| self.id.cmp(&other.id))
    }

    /// Against the last row of a page. A key of another kind than the column's is before everything.
    fn compare_mark(&self, (key, id): &(Key, Uuid), column: Column) -> Ordering {
        let first = match (column, key) {
            (Column::Name, Key::Text(text)) => self.name_key.cmp(text),
            (Column::Number(n), Key::Int(number)) => self.numbers[n].cmp(number),
            _ => Ordering::Greater,
        };
        first.then_with(|| self.id.cmp(id))
    }

    fn to_entry(self) -> Entry {
        let (id, owner, numbers) = (self.id, self.owner, *self.numbers);
        Entry { id, owner, name_key: self.name_key.to_owned(), numbers }
    }
}

#[derive(Debug)]
struct Fixed {
    id: Uuid,
    owner: Uuid,
    numbers: [i64; NUMBERS],
}

/// Rows that do not change, by name.
#[derive(Debug, Default)]
struct Base {
    rows: Vec<Fixed>,
    names: String,
    /// Where each name begins, and where the last one ends.
    starts: Vec<u32>,
    orders: [Vec<u32>; NUMBERS],
    by_id: Vec<u32>,
}

impl Base {
    fn new(mut entries: Vec<Entry>) -> Base {
        entries.sort_unstable_by(|a, b| (&a.name_key, a.id).cmp(&(&b.name_key, b.id)));
        let length = entries.iter().map(|entry| entry.name_key.len() + 1).sum();
        let mut base = Base { names: String::with_capacity(length), ..Base::default() };
        base.rows.reserve_exact(entries.len());
        base.starts.reserve_exact(entries.len() + 1);
        for entry in &entries {
            base.starts.push(place(base.names.len()));
            base.names.push_str(&entry.name_key);
            base.names.push(char::from(END));
            base.rows.push(Fixed { id: entry.id, owner: entry.owner, numbers: entry.numbers });
        }
        base.starts.push(place(base.names.len()));
        let all = || (0..place(base.rows.len())).collect::<Vec<u32>>();
        let row = |at: u32| &base.rows[at as usize];
        let mut orders = std::array::from_fn(|_| all());
        for (n, order) in orders.iter_mut().enumerate() {
            order.sort_unstable_by_key(|at| (row(*at).numbers[n], row(*at).id));
        }
        let mut by_id = all();
        by_id.sort_unstable_by_key(|at| row(*at).id);
        (base.orders, base.by_id) = (orders, by_id);
        base
    }

    fn view(&self, at: usize) -> View<'_> {
        let name = self.starts[at] as usize..self.starts[at + 1] as usize - 1;
        let row = &self.rows[at];
        View { id: row.id, owner: row.owner, name_key: &self.names[name], numbers: &row.numbers }
    }

    /// The row at this place of an order.
    fn at(&self, column: Column, nth: usize) -> usize {
        match column {
            Column::Name => nth,
            Column::Number(n) => self.orders[n][nth] as usize,
        }
    }

    fn find(&self, id: Uuid) -> Option<usize> {
        let found = self.by_id.binary_search_by_key(&id, |at| self.rows[*at as usize].id).ok()?;
        Some(self.by_id[found] as usize)
    }

    /// Which rows the question is about.
    fn hits(&self, part: &str, owner: Option<Uuid>) -> Bits {
        let mut hits = if part.is_empty() { Bits::all(self.rows.len()) } else { self.named(part) };
        if let Some(owner) = owner {
            for at in self.rows.iter().enumerate().filter(|(_, row)| row.owner != owner).map(|(at, _)| at) {
                hits.clear(at);
            }
        }
        hits
    }

    fn named(&self, part: &str) -> Bits {
        let mut hits = Bits::none(self.rows.len());
        if part.as_bytes().contains(&END) {
            return hits;
        }
        let finder = memchr::memmem::Finder::new(part);
        let (mut at, mut from) = (0, 0);
        while let Some(found) = finder.find(&self.names.as_bytes()[from..]) {
            let found = from + found;
            while self.starts[at + 1] as usize <= found {
                at += 1;
            }
            hits.set(at);
            from = self.starts[at + 1] as usize;
        }
        hits
    }
}

fn place(n: usize) -> u32 {
    u32::try_from(n).expect("names of a data centre are far below 4 GiB")
}

/// A set of rows by place.
struct Bits(Vec<u64>);

impl Bits {
    fn none(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }
    fn all(len: usize) -> Bits {
        let mut bits = Bits(vec![u64::MAX; len.div_ceil(64)]);
        if let (Some(last), rest @ 1..) = (bits.0.last_mut(), len % 64) {
            *last = (1 << rest) - 1;
        }
        bits
    }
    fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }
    fn clear(&mut self, at: usize) {
        self.0[at / 64] &= !(1 << (at % 64));
    }
    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }
    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// All rows of one table.
#[derive(Debug, Default)]
pub(crate) struct Index {
    base: Base,
    /// None: gone.
    changes: BTreeMap<Uuid, Option<Entry>>,
}

impl Index {
    /// Of these rows.
    pub(crate) fn new(entries: Vec<Entry>) -> Index {
        Index { base: Base::new(entries), changes: BTreeMap::new() }
    }

    /// The row is so now; None: it is gone.
    pub(crate) fn change(&mut self, id: Uuid, now: Option<Entry>) {
        let was = self.base.find(id).map(|at| self.base.view(at));
        let same = match (&now, was) {
            (None, None) => true,
            (Some(now), Some(was)) => *now == was.to_entry(),
            _ => false,
        };
        if same {
            self.changes.remove(&id);
        } else {
            self.changes.insert(id, now);
        }
    }

    /// Folds the changes in once they are many.
    pub(crate) fn settle(&mut self) {
        if self.changes.len() <= CHANGES_MIN.max(self.base.rows.len() / 32) {
            return;
        }
        let kept = (0..self.base.rows.len()).map(|at| self.base.view(at));
        let kept = kept.filter(|row| !self.changes.contains_key(&row.id)).map(View::to_entry);
        let entries = kept.chain(self.changes.values().flatten().cloned()).collect();
        *self = Index::new(entries);
    }

    /// How many rows there are.
    pub(crate) fn total(&self) -> u64 {
        let changed = self.changes.iter();
        let (come, gone) = changed.fold((0, 0), |(come, gone), (id, now)| {
            (come + u64::from(now.is_some()), gone + u64::from(self.base.find(*id).is_some()))
        });
        self.base.rows.len() as u64 + come - gone
    }

    /// The rows asked for.
    pub(crate) fn ask(&self, question: &Question) -> Answer {
        let Question { part, owner, among, column, descending, after, limit } = question;
        let mut hits = self.base.hits(part, *owner);
        if let Some(among) = among {
            let mut few = Bits::none(self.base.rows.len());
            for at in among.iter().filter_map(|id| self.base.find(*id)).filter(|at| hits.has(*at)) {
                few.set(at);
            }
            hits = few;
        }
        for at in self.changes.keys().filter_map(|id| self.base.find(*id)) {
            hits.clear(at);
        }
        let changed = self.changes.values().flatten().map(|entry| View {
            id: entry.id,
            owner: entry.owner,
            name_key: &entry.name_key,
            numbers: &entry.numbers,
        });
        let fits = |row: &View<'_>| {
            let seen = among.as_ref().is_none_or(|among| among.contains(&row.id));
            seen && owner.is_none_or(|o| o == row.owner) && row.name_key.contains(part.as_str())
        };
        let mut changed: Vec<View<'_>> = changed.filter(fits).collect();
        let total = hits.count() + changed.len() as u64;
        let way = |order: Ordering| if *descending { order.reverse() } else { order };
        let follows = |row: &View<'_>| {
            after.as_ref().is_none_or(|mark| way(row.compare_mark(mark, *column)) == Ordering::Greater)
        };
        changed.retain(|row| follows(row));
        changed.sort_unstable_by(|a, b| way(a.compare(b, *column)));
        let mut ids = Vec::with_capacity(limit.saturating_add(1).min(1024));
        let mut changed = changed.into_iter().peekable();
        let mut kept = self.walk(*column, *descending, after.as_ref(), &hits).peekable();
        while ids.len() <= *limit {
            let (fixed, fresh) = (kept.peek(), changed.peek());
            let takes_fresh = match (fixed, fresh) {
                (None, None) => break,
                (Some(fixed), Some(fresh)) => way(fresh.compare(fixed, *column)) == Ordering::Less,
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            let next = if takes_fresh { changed.next() } else { kept.next() };
            ids.extend(next.map(|row| row.id));
        }
        let more = ids.len() > *limit;
        ids.truncate(*limit);
        Answer { ids, more, total }
    }

    /// Rows of the base that are hit, in order, after the mark.
    fn walk<'a>(
        &'a self,
        column: Column,
        descending: bool,
        after: Option<&(Key, Uuid)>,
        hits: &'a Bits,
    ) -> impl Iterator<Item = View<'a>> {
        let base = &self.base;
        let len = base.rows.len();
        let first = |goes_before: &dyn Fn(Ordering) -> bool| {
            let Some(mark) = after else { return if descending { len } else { 0 } };
            partition(len, |nth| goes_before(base.view(base.at(column, nth)).compare_mark(mark, column)))
        };
        let places = if descending {
            0..first(&|order| order == Ordering::Less)
        } else {
            first(&|order| order != Ordering::Greater)..len
        };
        let turned = places.len();
        let start = places.start;
        (0..turned)
            .map(move |n| if descending { start + turned - 1 - n } else { start + n })
            .map(move |nth| base.at(column, nth))
            .filter(|at| hits.has(*at))
            .map(|at| base.view(at))
    }
}

/// The first of `len` places for which `before` is false; it is true for all earlier ones.
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(n: u8, name: String, number: i64) -> Entry {
        let owner = Uuid::from_u128(u128::from(n % 3));
        Entry {
            id: Uuid::from_u128(n.into()),
            owner,
            name_key: name,
            numbers: [number, -number, i64::from(n)],
        }
    }

    /// The plain way: everything, filtered, sorted, cut.
    fn plainly(rows: &BTreeMap<Uuid, Entry>, question: &Question) -> Answer {
        let mut fit: Vec<&Entry> = rows
            .values()
            .filter(|e| e.name_key.contains(&question.part))
            .filter(|e| question.owner.is_none_or(|o| o == e.owner))
            .filter(|e| question.among.as_ref().is_none_or(|among| among.contains(&e.id)))
            .collect();
        let key = |e: &Entry| match question.column {
            Column::Name => (e.name_key.clone(), 0),
            Column::Number(n) => (String::new(), e.numbers[n]),
        };
        fit.sort_by_key(|entry| (key(entry), entry.id));
        if question.descending {
            fit.reverse();
        }
        let total = fit.len() as u64;
        if let Some((_, id)) = &question.after {
            let at = fit.iter().position(|e| e.id == *id).unwrap();
            fit.drain(..=at);
        }
        let more = fit.len() > question.limit;
        Answer { ids: fit.into_iter().take(question.limit).map(|e| e.id).collect(), more, total }
    }

    /// All pages, one after the other.
    fn check(
        index: &Index,
        rows: &BTreeMap<Uuid, Entry>,
        mut question: Question,
    ) -> Result<(), TestCaseError> {
        loop {
            let answer = index.ask(&question);
            prop_assert_eq!(&answer, &plainly(rows, &question));
            prop_assert_eq!(index.total(), rows.len() as u64);
            let Some(last) = answer.ids.last().filter(|_| answer.more) else { return Ok(()) };
            let key = match question.column {
                Column::Name => Key::Text(rows[last].name_key.clone()),
                Column::Number(n) => Key::Int(rows[last].numbers[n]),
            };
            question.after = Some((key, *last));
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_plain_search_finds(
            first in prop::collection::vec((any::<u8>(), "[ab\\-é]{0,4}", -2_i64..3), 0..80),
            then in prop::collection::vec((any::<u8>(), "[ab\\-é]{0,4}", -2_i64..3, any::<bool>()), 0..40),
            part in "[ab\\-é]{0,2}",
            owner in prop::option::of(0_u128..4),
            column in prop_oneof![Just(Column::Name), (0..NUMBERS).prop_map(Column::Number)],
            descending: bool,
            limit in 1_usize..20,
            folded: bool,
            among in prop::option::of(prop::collection::btree_set(any::<u8>(), 0..120)),
        ) {
            let mut rows: BTreeMap<Uuid, Entry> =
                first.into_iter().map(|(n, name, number)| entry(n, name, number)).map(|e| (e.id, e)).collect();
            let mut index = Index::new(rows.values().cloned().collect());
            for (n, name, number, goes) in then {
                let fresh = entry(n, name, number);
                let id = fresh.id;
                if goes { rows.remove(&id); } else { rows.insert(id, fresh); }
                index.change(id, rows.get(&id).cloned());
            }
            if folded {
                let base = index.base.rows.len();
                index.settle();
                prop_assert!(index.base.rows.len() == base, "few changes are not folded in");
                index = Index::new(rows.values().cloned().collect());
            }
            let owner = owner.map(Uuid::from_u128);
            let among: Option<BTreeSet<Uuid>> =
                among.map(|ids| ids.into_iter().map(|n| Uuid::from_u128(u128::from(n))).collect());
            check(&index, &rows, Question { part, owner, among, column, descending, after: None, limit })?;
        }
    }

    #[test]
    fn many_changes_are_folded_in() {
        let mut index = Index::default();
        for n in 0..=CHANGES_MIN as u128 {
            let id = Uuid::from_u128(n);
            index.change(
                id,
                Some(Entry { id, owner: id, name_key: format!("vm-{n}"), numbers: [0; NUMBERS] }),
            );
        }
        index.settle();
        assert!(index.changes.is_empty());
        let question = Question {
            part: "vm-10".into(),
            owner: None,
            among: None,
            column: Column::Name,
            descending: false,
            after: None,
            limit: 2,
        };
        let answer = index.ask(&question);
        assert_eq!((answer.total, answer.more), (36, true));
        assert_eq!(answer.ids, [Uuid::from_u128(10), Uuid::from_u128(100)]);
    }

    #[test]
    fn a_filter_does_not_look_across_names() {
        let rows = vec![entry(1, "ab".into(), 0), entry(2, "cd".into(), 0)];
        let index = Index::new(rows);
        for part in ["b\0c", "\0", "bc"] {
            assert_eq!(index.base.named(part).count(), 0, "{part:?}");
        }
    }
}
