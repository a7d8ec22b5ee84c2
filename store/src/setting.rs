//! Single values that belong to the vDC as a whole.

use crate::connection::Store;
use crate::error::StoreError;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, EntityTrait, QueryFilter};

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "settings")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub value: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Store {
    /// The value under this key.
    pub async fn setting_get(&self, key: &str) -> Result<Option<String>, StoreError> {
        let found = table::Entity::find().filter(Expr::col("id").eq(key)).one(self.reader()).await?;
        Ok(found.map(|m| m.value))
    }

    /// Keeps a value under a key.
    pub async fn setting_put(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        put(&tx, key, value).await?;
        Ok(tx.commit().await?)
    }
}

/// Keeps a value under a key, within a transaction.
pub(crate) async fn put(tx: &DatabaseTransaction, key: &str, value: &str) -> Result<(), StoreError> {
    let active = table::ActiveModel { id: Set(key.to_owned()), value: Set(value.to_owned()) };
    let over = OnConflict::column(table::Column::Id).update_column(table::Column::Value).to_owned();
    table::Entity::insert(active).on_conflict(over).exec_without_returning(tx).await?;
    Ok(())
}
