//! What hosts should let go of although the vDC has forgotten it.

use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_releases"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // No reference to the pool: it is mostly gone.
        Columns::of(manager, "pool_releases")
            .text("pool_id")
            .text("host_id")
            .int("generation")
            .int("at")
            .refers("host_id", "hosts", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "pool_releases", &["host_id", "id"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("pool_releases").to_owned()).await
    }
}
