//! Providers and directories that say who people are.

use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_identity"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Columns::of(manager, "identity_sources")
            .text("name")
            .text("name_key")
            .flag("enabled")
            .text("config")
            .text("secret")
            .text("rules")
            .text("default_role")
            .flag("create_users")
            .int("created_at")
            .int("changed_at")
            .int("generation")
            .create(manager)
            .await?;
        index(manager, "identity_sources", &["name_key"], true).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("identity_sources").to_owned()).await
    }
}
