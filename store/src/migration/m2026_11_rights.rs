//! Who may do what, tokens for programs, and the audit log.

use crate::migration::m2026_11_first::{Columns, index};
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_rights"
    }
}

/// Whoever was there before there were roles could do everything.
const GRANT_ALL: &str = "INSERT INTO grants (id, user_id, role, scope_kind, scope_id, created_at, created_by) \
                         SELECT id || '/admin/everything/', id, 'admin', 'everything', '', created_at, '' FROM users";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        Columns::of(manager, "roles")
            .text("name")
            .text("name_key")
            .text("description")
            .text("permissions")
            .int("created_at")
            .int("changed_at")
            .create(manager)
            .await?;
        index(manager, "roles", &["name_key"], true).await?;
        // A role may be one that is always there, so that it has no reference.
        Columns::of(manager, "grants")
            .text("user_id")
            .text("role")
            .text("scope_kind")
            .text("scope_id")
            .int("created_at")
            .text("created_by")
            .refers("user_id", "users", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "grants", &["user_id", "id"], false).await?;
        index(manager, "grants", &["role", "id"], false).await?;
        Columns::of(manager, "api_tokens")
            .text("user_id")
            .text("name")
            .text("token_sha256")
            .text("start")
            .text("permissions")
            .text("scope_kind")
            .text("scope_id")
            .int("created_at")
            .int_opt("expires_at")
            .int_opt("used_at")
            .text("used_from")
            .refers("user_id", "users", ForeignKeyAction::Cascade)
            .create(manager)
            .await?;
        index(manager, "api_tokens", &["token_sha256"], true).await?;
        index(manager, "api_tokens", &["user_id", "id"], false).await?;
        // No references: the log outlives whom and what it names.
        Columns::of(manager, "audit")
            .int("at")
            .text("actor_kind")
            .text("actor_id")
            .text("actor_name")
            .text("address")
            .text("action")
            .text("object_kind")
            .text("object_id")
            .text("object_name")
            .text("result")
            .text("detail")
            .text("key_id")
            .text("mac")
            .text("name_key")
            .create(manager)
            .await?;
        index(manager, "audit", &["object_id", "id"], false).await?;
        index(manager, "audit", &["actor_id", "id"], false).await?;
        index(manager, "tasks", &["user_name", "id"], false).await?;
        manager.get_connection().execute_unprepared(GRANT_ALL).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().table("tasks").name("tasks_user_name_id").to_owned()).await?;
        for table in ["audit", "api_tokens", "grants", "roles"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
