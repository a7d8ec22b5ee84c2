//! Many rows at once, in one transaction: for what comes from elsewhere whole, such as a simulated fleet.

use crate::connection::Store;
use crate::error::{StoreError, write_error};
use crate::row::Row;
use crate::{HostRecord, PoolAssignmentRecord, PoolRecord, VmRecord, VolumeRecord};
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, Iterable as _};

/// SQLite takes 32,766 values in one statement, PostgreSQL 65,535.
const VALUES_MAX: usize = 30_000;

/// Rows to add. What they refer to must be among them, or there already.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    /// Hosts.
    pub hosts: Vec<HostRecord>,
    /// Pools.
    pub pools: Vec<PoolRecord>,
    /// Which host should have which pool.
    pub assignments: Vec<PoolAssignmentRecord>,
    /// VMs.
    pub vms: Vec<VmRecord>,
    /// Volumes.
    pub volumes: Vec<VolumeRecord>,
}

impl Store {
    /// Adds all rows or none.
    pub async fn bulk_insert(&self, bulk: &Bulk) -> Result<(), StoreError> {
        let _moving = (self.vm_list().moving(), self.volume_list().moving());
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        insert(&tx, &bulk.hosts).await?;
        insert(&tx, &bulk.pools).await?;
        insert(&tx, &bulk.assignments).await?;
        insert(&tx, &bulk.vms).await?;
        insert(&tx, &bulk.volumes).await?;
        Ok(tx.commit().await?)
    }
}

async fn insert<R: Row>(db: &impl ConnectionTrait, rows: &[R]) -> Result<(), StoreError> {
    let columns = <R::Entity as EntityTrait>::Column::iter().count();
    for some in rows.chunks((VALUES_MAX / columns.max(1)).max(1)) {
        let models = some.iter().map(|row| {
            use sea_orm::ActiveModelTrait as _;
            row.to_model().into_active_model().reset_all()
        });
        R::Entity::insert_many(models)
            .exec_without_returning(db)
            .await
            .map_err(|err| write_error(R::KIND, &some[0].id_text(), some[0].title(), err))?;
    }
    Ok(())
}
