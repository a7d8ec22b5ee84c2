//! Volumes learn when their space is taken, what they were made from and what they cannot be without; uploads of
//! plain files get a table. Columns of other tables cannot be referred to here: SQLite adds no such rule later.

use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_storage"
    }
}

const NEW_COLUMNS: [&str; 3] = ["allocation", "source", "parent_id"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One statement each: SQLite adds one column at a time.
        for name in NEW_COLUMNS {
            let mut column = ColumnDef::new(name);
            column.text().extra(crate::connection::byte_order(manager.get_database_backend()));
            match name {
                "allocation" => column.not_null().default("thin"),
                _ => column.null(),
            };
            manager.alter_table(Table::alter().table("volumes").add_column(column).to_owned()).await?;
        }
        index(manager, "volumes", &["parent_id", "id"], false).await?;
        Columns::of(manager, "uploads")
            .text("pool_id")
            .text("path")
            .int("size_bytes")
            .int("received_bytes")
            .text("sha256_wanted")
            .text("task_id")
            .text("state")
            .text_opt("fault")
            .int("created_at")
            .refers("pool_id", "pools", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "uploads", &["pool_id", "id"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("uploads").to_owned()).await?;
        manager.drop_index(Index::drop().name("volumes_parent_id_id").table("volumes").to_owned()).await?;
        for name in NEW_COLUMNS {
            manager.alter_table(Table::alter().table("volumes").drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
