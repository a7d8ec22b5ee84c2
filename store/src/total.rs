//! How many rows a list has, kept until a row comes or goes: counting 200,000 rows for each page would cost more than the
//! page. Only this process writes, and names never change.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Questions that are kept; beyond that all are forgotten.
const QUESTIONS_MAX: usize = 1024;

/// What is listed: the filter's pattern, and what else narrows it.
pub(crate) type Question = (String, String);

#[derive(Debug, Default)]
struct Kept {
    /// Grows with every row that comes or goes.
    epoch: u64,
    totals: HashMap<Question, u64>,
}

/// Totals of one table.
#[derive(Debug, Default)]
pub(crate) struct Totals(Mutex<Kept>);

impl Totals {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The total, or where writes stood before it is counted.
    pub(crate) fn get(&self, question: &Question) -> Result<u64, u64> {
        let kept = self.kept();
        kept.totals.get(question).copied().ok_or(kept.epoch)
    }

    /// Keeps what was counted, unless rows came or went meanwhile.
    pub(crate) fn keep(&self, question: Question, epoch: u64, total: u64) {
        let mut kept = self.kept();
        if kept.epoch != epoch {
            return;
        }
        if kept.totals.len() >= QUESTIONS_MAX {
            kept.totals.clear();
        }
        kept.totals.insert(question, total);
    }

    /// Held by whoever adds or removes rows, until that is over, however it ended.
    pub(crate) fn moving(&self) -> Moving<'_> {
        Moving(self)
    }
}

/// Rows that come or go.
pub(crate) struct Moving<'a>(&'a Totals);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        let mut kept = self.0.kept();
        kept.epoch += 1;
        kept.totals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_while_rows_came_is_not_kept() {
        let (totals, all) = (Totals::default(), (String::new(), String::new()));
        let Err(epoch) = totals.get(&all) else { panic!("nothing is known yet") };
        totals.keep(all.clone(), epoch, 5);
        assert_eq!(totals.get(&all), Ok(5));
        drop(totals.moving());
        let Err(epoch) = totals.get(&all) else { panic!("rows came") };
        drop(totals.moving());
        totals.keep(all.clone(), epoch, 6);
        assert!(totals.get(&all).is_err());
    }
}
