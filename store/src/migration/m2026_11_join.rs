//! Tokens that hosts join by, and which hosts used them. Hosts are listed by the end of their certificates.

use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_join"
    }
}

const BY_END: [&str; 2] = ["certificate_expires_at", "id"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Columns::of(manager, "join_tokens")
            .text("secret_sha256")
            .text("note")
            .text("created_by")
            .int("created_at")
            .int("expires_at")
            .int_opt("revoked_at")
            .int("uses")
            .int("used")
            .int_opt("used_at")
            .create(manager)
            .await?;
        index(manager, "join_tokens", &["secret_sha256"], true).await?;
        Columns::of(manager, "join_uses")
            .text("token_id")
            .int("at")
            .refers("token_id", "join_tokens", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "join_uses", &["token_id", "id"], false).await?;
        index(manager, "hosts", &BY_END, false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let name = format!("hosts_{}", BY_END.join("_"));
        manager.drop_index(Index::drop().name(name).table("hosts").to_owned()).await?;
        manager.drop_table(Table::drop().table("join_uses").to_owned()).await?;
        manager.drop_table(Table::drop().table("join_tokens").to_owned()).await
    }
}
