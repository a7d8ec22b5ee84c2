//! The pools of a cluster, for who is about to choose one.

use crate::backend::Explore;
use crate::ceph::CephPool;
use crate::error::Result;
use crate::explore::{CephPoolSeen, Found};

impl Explore for CephPool {
    fn explore(&self) -> Result<Found> {
        let seen = self.cluster().pools()?;
        // Ceph's own pools begin with a dot.
        let seen = seen.into_iter().filter(|pool| !pool.name.starts_with('.'));
        Ok(Found::CephPools(seen.collect::<Vec<CephPoolSeen>>()))
    }
}
