//! The first tables. Text ids, times in milliseconds, specs and reports as JSON text (text, because JSON columns
//! of one engine refuse characters that the other takes). Indexes are named after their columns: errors rely on it.

use crate::connection::byte_order;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_first"
    }
}

/// Writes columns of one table in few words.
pub(super) struct Columns {
    table: TableCreateStatement,
    backend: DbBackend,
}

impl Columns {
    pub(super) fn of(manager: &SchemaManager<'_>, name: &'static str) -> Columns {
        let mut table = Table::create();
        table.table(name);
        let backend = manager.get_database_backend();
        let order = byte_order(backend);
        table.col(ColumnDef::new("id").text().not_null().primary_key().extra(order));
        Columns { table, backend }
    }
    pub(super) fn text(mut self, name: &'static str) -> Self {
        self.table.col(ColumnDef::new(name).text().not_null().extra(byte_order(self.backend)));
        self
    }
    pub(super) fn text_opt(mut self, name: &'static str) -> Self {
        self.table.col(ColumnDef::new(name).text().null().extra(byte_order(self.backend)));
        self
    }
    pub(super) fn int(mut self, name: &'static str) -> Self {
        self.table.col(ColumnDef::new(name).big_integer().not_null());
        self
    }
    pub(super) fn int_opt(mut self, name: &'static str) -> Self {
        self.table.col(ColumnDef::new(name).big_integer().null());
        self
    }
    pub(super) fn flag(mut self, name: &'static str) -> Self {
        self.table.col(ColumnDef::new(name).boolean().not_null());
        self
    }
    pub(super) fn refers(
        mut self,
        column: &'static str,
        table: &'static str,
        on_delete: ForeignKeyAction,
    ) -> Self {
        let from = self.table.get_table_name().expect("named in `of`").clone();
        self.table.foreign_key(ForeignKey::create().from(from, column).to(table, "id").on_delete(on_delete));
        self
    }
    pub(super) async fn create(self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager.create_table(self.table).await
    }
}

pub(super) async fn index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
    unique: bool,
) -> Result<(), DbErr> {
    let mut index = Index::create();
    index.name(format!("{table}_{}", columns.join("_"))).table(table);
    for column in columns {
        index.col(*column);
    }
    if unique {
        index.unique();
    }
    manager.create_index(index.take()).await
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        people(manager).await?;
        machines(manager).await?;
        pools(manager).await?;
        guests(manager).await?;
        work(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "settings",
            "tasks",
            "volumes",
            "vms",
            "images",
            "pool_statuses",
            "pool_assignments",
            "pools",
            "hosts",
            "sessions",
            "users",
        ] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn people(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    Columns::of(manager, "users")
        .text("name")
        .text("name_key")
        .text("password_hash")
        .flag("must_change_password")
        .int("created_at")
        .int("password_set_at")
        .create(manager)
        .await?;
    index(manager, "users", &["name_key"], true).await?;
    Columns::of(manager, "sessions")
        .text("token_sha256")
        .text("user_id")
        .text("address")
        .int("created_at")
        .int("used_at")
        .int("expires_at")
        .refers("user_id", "users", ForeignKeyAction::Cascade)
        .create(manager)
        .await?;
    index(manager, "sessions", &["token_sha256"], true).await?;
    index(manager, "sessions", &["user_id"], false).await
}

async fn machines(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    Columns::of(manager, "hosts")
        .text("name")
        .text("name_key")
        .text("url")
        .text("key_sha256")
        .text("certificate_pem")
        .int("certificate_expires_at")
        .text("node_version")
        .text_opt("discovery")
        .text_opt("fault")
        .int("added_at")
        .int_opt("seen_at")
        .int("beat_interval_ms")
        .create(manager)
        .await?;
    index(manager, "hosts", &["name_key"], true).await?;
    index(manager, "hosts", &["key_sha256"], true).await
}

async fn pools(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    Columns::of(manager, "pools")
        .text("name")
        .text("name_key")
        .text("spec")
        .int("generation")
        .flag("deleting")
        .int("created_at")
        .int("changed_at")
        .create(manager)
        .await?;
    index(manager, "pools", &["name_key"], true).await?;
    Columns::of(manager, "pool_assignments")
        .text("pool_id")
        .text("host_id")
        .int("assigned_at")
        .flag("releasing")
        .refers("pool_id", "pools", ForeignKeyAction::Restrict)
        .refers("host_id", "hosts", ForeignKeyAction::Restrict)
        .create(manager)
        .await?;
    index(manager, "pool_assignments", &["pool_id", "id"], false).await?;
    index(manager, "pool_assignments", &["host_id", "id"], false).await?;
    Columns::of(manager, "pool_statuses")
        .text("pool_id")
        .text("host_id")
        .text("report")
        .refers("pool_id", "pools", ForeignKeyAction::Restrict)
        .refers("host_id", "hosts", ForeignKeyAction::Restrict)
        .create(manager)
        .await?;
    index(manager, "pool_statuses", &["pool_id", "id"], false).await?;
    index(manager, "pool_statuses", &["host_id", "id"], false).await?;
    Columns::of(manager, "images")
        .text("name")
        .text("name_key")
        .text("pool_id")
        .text("phase")
        .text_opt("fault")
        .int("size_bytes")
        .int("received_bytes")
        .text("sha256_wanted")
        .text_opt("facts")
        .int("created_at")
        .int_opt("ready_at")
        .text_opt("task_id")
        .refers("pool_id", "pools", ForeignKeyAction::Restrict)
        .create(manager)
        .await?;
    index(manager, "images", &["name_key"], true).await?;
    index(manager, "images", &["pool_id", "id"], false).await
}

async fn guests(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    Columns::of(manager, "vms")
        .text("name")
        .text("name_key")
        .text("description")
        .text("host_id")
        .text("spec")
        .int("generation")
        .text("phase")
        .text_opt("fault")
        .text("power_state")
        .text("power_reason")
        .int_opt("power_since")
        .int_opt("observed_at")
        .int("created_at")
        .refers("host_id", "hosts", ForeignKeyAction::Restrict)
        .create(manager)
        .await?;
    index(manager, "vms", &["name_key"], true).await?;
    index(manager, "vms", &["host_id", "name_key", "id"], false).await?;
    index(manager, "vms", &["host_id", "id"], false).await?;
    Columns::of(manager, "volumes")
        .text("name")
        .text("name_key")
        .text("pool_id")
        .text("phase")
        .text_opt("fault")
        .text("format")
        .int("size_bytes")
        .text_opt("image_id")
        .text_opt("vm_id")
        .int("created_at")
        .refers("pool_id", "pools", ForeignKeyAction::Restrict)
        .refers("vm_id", "vms", ForeignKeyAction::Restrict)
        .create(manager)
        .await?;
    index(manager, "volumes", &["pool_id", "name_key"], true).await?;
    index(manager, "volumes", &["name_key", "id"], false).await?;
    index(manager, "volumes", &["pool_id", "id"], false).await?;
    index(manager, "volumes", &["vm_id", "id"], false).await
}

async fn work(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    Columns::of(manager, "tasks")
        .text("kind")
        .text("title")
        .text("state")
        .flag("is_final")
        .text_opt("fault")
        .text("object_kind")
        .text("object_id")
        .text("object_name")
        .text("host")
        .text("user_name")
        .text("step")
        .int("progress_done")
        .int("progress_total")
        .text("progress_unit")
        .int("created_at")
        .int_opt("started_at")
        .int_opt("ended_at")
        .int("deadline_at")
        .flag("cancellable")
        .flag("cancel_requested")
        .text("input")
        .create(manager)
        .await?;
    index(manager, "tasks", &["object_id", "id"], false).await?;
    index(manager, "tasks", &["is_final", "id"], false).await?;
    Columns::of(manager, "settings").text("value").create(manager).await
}
