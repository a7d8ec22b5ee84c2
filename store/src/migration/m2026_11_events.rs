//! What happened, and what somebody should look at.

use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_events"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // No references: an event outlives its object.
        Columns::of(manager, "events")
            .int("at")
            .text("kind")
            .text("noun")
            .text("severity")
            .int("severity_rank")
            .text("object_kind")
            .text("object_id")
            .text("object_name")
            .text("host")
            .text("user_name")
            .text("message")
            .text_opt("fault")
            .text("name_key")
            .create(manager)
            .await?;
        index(manager, "events", &["object_id", "id"], false).await?;
        index(manager, "events", &["object_id", "noun", "id"], false).await?;
        Columns::of(manager, "alerts")
            .text("rule")
            .text("severity")
            .text("object_kind")
            .text("object_id")
            .text("object_name")
            .text("message")
            .text_opt("fault")
            .int("raised_at")
            .int_opt("acknowledged_at")
            .text("acknowledged_by")
            .create(manager)
            .await?;
        index(manager, "alerts", &["object_id", "id"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("alerts").to_owned()).await?;
        manager.drop_table(Table::drop().table("events").to_owned()).await
    }
}
