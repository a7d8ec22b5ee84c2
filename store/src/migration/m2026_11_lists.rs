//! Lists are ordered by more than the name, each by an index of its own: the newest volumes of a pool are found
//! without sorting all of them. VMs get copies of what their spec says, because an index cannot look into it.

use crate::migration::m2026_11_first::index;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_lists"
    }
}

const INDEXES: [(&str, &[&str]); 14] = [
    ("hosts", &["added_at", "id"]),
    ("pools", &["created_at", "id"]),
    ("images", &["created_at", "id"]),
    ("images", &["size_bytes", "id"]),
    ("vms", &["created_at", "id"]),
    ("vms", &["vcpus", "id"]),
    ("vms", &["memory_bytes", "id"]),
    ("vms", &["host_id", "created_at", "id"]),
    ("vms", &["host_id", "vcpus", "id"]),
    ("vms", &["host_id", "memory_bytes", "id"]),
    ("volumes", &["created_at", "id"]),
    ("volumes", &["size_bytes", "id"]),
    ("volumes", &["pool_id", "created_at", "id"]),
    ("volumes", &["pool_id", "size_bytes", "id"]),
];
const COPIES: [&str; 2] = ["vcpus", "memory_bytes"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in COPIES {
            let mut column = ColumnDef::new(name);
            column.big_integer().not_null().default(0);
            manager.alter_table(Table::alter().table("vms").add_column(column).to_owned()).await?;
            let value = match manager.get_database_backend() {
                DbBackend::Postgres => format!("CAST(CAST(spec AS json) ->> '{name}' AS bigint)"),
                _ => format!("json_extract(spec, '$.{name}')"),
            };
            let fill = format!("UPDATE vms SET {name} = COALESCE({value}, 0)");
            manager.get_connection().execute_unprepared(&fill).await?;
        }
        for (table, columns) in INDEXES {
            index(manager, table, columns, false).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, columns) in INDEXES {
            let name = format!("{table}_{}", columns.join("_"));
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        for name in COPIES {
            manager.alter_table(Table::alter().table("vms").drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
