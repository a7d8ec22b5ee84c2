//! Marks that tell whether what was read of a host may have changed since: its row, its pools, its VMs.
//!
//! Every write holds a [`Touch`] and lets go of it once it is over, however it ended. Whoever keeps what it read keeps
//! the mark it took *before* reading beside it; once the two differ, it must be read again. Only this process writes.

use quantix_model::id::HostId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where writes stood. Compared only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    all: u64,
    host: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Marks {
    all: AtomicU64,
    hosts: Mutex<HashMap<HostId, u64>>,
}

impl Marks {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, u64>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, id: HostId) -> Mark {
        let host = self.hosts().get(&id).copied().unwrap_or(0);
        Mark { all: self.all.load(Ordering::Acquire), host }
    }

    /// A write that may touch any host, until it says which.
    pub(crate) fn touch(&self) -> Touch<'_> {
        Touch { marks: self, only: None }
    }
}

/// A write under way.
pub(crate) struct Touch<'a> {
    marks: &'a Marks,
    only: Option<Vec<HostId>>,
}

impl Touch<'_> {
    /// The write is over, and it touched these hosts only.
    pub(crate) fn only(mut self, hosts: impl IntoIterator<Item = HostId>) {
        self.only = Some(hosts.into_iter().collect());
    }
}

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        match self.only.take() {
            None => {
                self.marks.all.fetch_add(1, Ordering::AcqRel);
            }
            Some(ids) => {
                let mut hosts = self.marks.hosts();
                for id in ids {
                    *hosts.entry(id).or_default() += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_write_that_was_dropped_touches_everybody() {
        let (marks, one, two) = (Marks::default(), HostId(Uuid::from_u128(1)), HostId(Uuid::from_u128(2)));
        let (before_one, before_two) = (marks.of(one), marks.of(two));
        marks.touch().only([one]);
        assert_ne!(marks.of(one), before_one);
        assert_eq!(marks.of(two), before_two);
        drop(marks.touch());
        assert_ne!(marks.of(two), before_two);
    }
}
