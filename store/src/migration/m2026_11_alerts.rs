//! Alerts come in pages: what they are ordered and searched by stands in columns of its own.

use crate::connection::byte_order;
use crate::migration::m2026_11_first::index;
use sea_orm_migration::prelude::*;

/// See the module.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m2026_11_alerts"
    }
}

const INTEGERS: [&str; 2] = ["severity_rank", "urgency"];
const INDEXES: [&[&str]; 2] = [&["urgency", "id"], &["raised_at", "id"]];
/// As the store writes them from now on.
const FILL: [&str; 2] = [
    "UPDATE alerts SET name_key = LOWER(message || ' ' || object_name), \
     severity_rank = CASE severity WHEN 'error' THEN 3 WHEN 'warning' THEN 2 ELSE 1 END",
    "UPDATE alerts SET urgency = raised_at \
     + (severity_rank + CASE WHEN acknowledged_at IS NULL THEN 4 ELSE 0 END) * 17592186044416",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let order = byte_order(manager.get_database_backend());
        for name in INTEGERS {
            let mut column = ColumnDef::new(name);
            column.big_integer().not_null().default(0);
            manager.alter_table(Table::alter().table("alerts").add_column(column).to_owned()).await?;
        }
        let mut column = ColumnDef::new("name_key");
        column.text().extra(order).not_null().default("");
        manager.alter_table(Table::alter().table("alerts").add_column(column).to_owned()).await?;
        for fill in FILL {
            manager.get_connection().execute_unprepared(fill).await?;
        }
        for columns in INDEXES {
            index(manager, "alerts", columns, false).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for columns in INDEXES {
            let name = format!("alerts_{}", columns.join("_"));
            manager.drop_index(Index::drop().name(name).table("alerts").to_owned()).await?;
        }
        for name in ["name_key", "urgency", "severity_rank"] {
            manager.alter_table(Table::alter().table("alerts").drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
