//! Pools that hosts were to let go of and did not hear of it: said again to whoever still has one.
//!
//! A host keeps a pool that nobody speaks of. So what a vDC forgets by force must stand here, or the host would keep it
//! for ever; and what a restored vDC does not know stands nowhere, so that its hosts keep it.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id, from_int, to_int};
use quantix_model::UnixMs;
use quantix_model::id::{HostId, PoolId};
use sea_orm::Condition;
use sea_orm::sea_query::{Expr, ExprTrait};

/// That a host should let go of a pool the vDC has forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolReleaseRecord {
    /// Which pool; mostly it is gone.
    pub pool_id: PoolId,
    /// Who should let go of it.
    pub host_id: HostId,
    /// A host that has a newer one keeps it.
    pub generation: u64,
    /// Forgotten then.
    pub at: UnixMs,
}

mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pool_releases")]
    pub struct Model {
        /// `<pool id>/<host id>`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub pool_id: String,
        pub host_id: String,
        pub generation: i64,
        pub at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for PoolReleaseRecord {
    const KIND: &'static str = "pool release";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;

    fn id_text(&self) -> String {
        format!("{}/{}", self.pool_id, self.host_id)
    }
    fn title(&self) -> &str {
        "release"
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id_text(),
            pool_id: self.pool_id.to_string(),
            host_id: self.host_id.to_string(),
            generation: to_int(self.generation),
            at: self.at.0,
        }
    }
    fn from_model(m: table::Model) -> Result<PoolReleaseRecord, StoreError> {
        Ok(PoolReleaseRecord {
            pool_id: from_id("pool_releases", &m.pool_id)?,
            host_id: from_id("pool_releases", &m.host_id)?,
            generation: from_int(m.generation),
            at: UnixMs(m.at),
        })
    }
}

impl Store {
    /// Notes that a host should let go of a pool. Said twice, the later one counts.
    pub async fn pool_release_note(&self, release: &PoolReleaseRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        match row::find::<PoolReleaseRecord>(&tx, &release.id_text()).await? {
            None => row::insert(&tx, release).await?,
            Some(_) => row::put(&tx, release).await?,
        }
        Ok(tx.commit().await?)
    }

    /// What a host should let go of and may not have heard of. They stay until the host is removed.
    pub async fn pool_releases_of(&self, host: HostId) -> Result<Vec<PoolReleaseRecord>, StoreError> {
        self.list(Condition::all().add(Expr::col("host_id").eq(host.to_string()))).await
    }
}
