//! Where people come from, what they prove themselves with beside a password, and what their sessions look like.

use crate::connection::byte_order;
use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_people"
    }
}

/// Table and name of each new column.
const NEW_COLUMNS: [(&str, &str); 6] = [
    ("users", "disabled"),
    ("users", "source"),
    ("users", "external_id"),
    ("users", "signed_in_at"),
    ("sessions", "browser"),
    ("sessions", "proof"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let order = byte_order(manager.get_database_backend());
        // One statement each: SQLite adds one column at a time.
        for (table, name) in NEW_COLUMNS {
            let mut column = ColumnDef::new(name);
            match name {
                "disabled" => column.boolean().not_null().default(false),
                "source" => column.text().extra(order).not_null().default("local"),
                "external_id" => column.text().extra(order).null(),
                "signed_in_at" => column.big_integer().null(),
                "proof" => column.text().extra(order).not_null().default("password"),
                _ => column.text().extra(order).not_null().default(""),
            };
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        index(manager, "users", &["created_at", "id"], false).await?;
        index(manager, "users", &["name_key", "id"], false).await?;
        index(manager, "users", &["external_id"], true).await?;
        index(manager, "sessions", &["user_id", "id"], false).await?;
        Columns::of(manager, "factors")
            .text("user_id")
            .text("kind")
            .text("name")
            .text("secret")
            .text_opt("credential_id")
            .flag("confirmed")
            .int("last_step")
            .int("created_at")
            .int_opt("used_at")
            .refers("user_id", "users", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "factors", &["user_id", "id"], false).await?;
        index(manager, "factors", &["credential_id"], true).await?;
        Columns::of(manager, "recovery_codes")
            .text("user_id")
            .text("hash")
            .int_opt("used_at")
            .refers("user_id", "users", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "recovery_codes", &["user_id", "id"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("recovery_codes").to_owned()).await?;
        manager.drop_table(Table::drop().table("factors").to_owned()).await?;
        for (table, name) in [
            ("sessions", "sessions_user_id_id"),
            ("users", "users_external_id"),
            ("users", "users_name_key_id"),
            ("users", "users_created_at_id"),
        ] {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        for (table, name) in NEW_COLUMNS {
            manager.alter_table(Table::alter().table(table).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
