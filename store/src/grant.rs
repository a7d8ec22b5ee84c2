//! Who has which role on what.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id};
use quantix_model::UnixMs;
use quantix_model::id::UserId;
use quantix_model::right::Scope;
use sea_orm::Condition;
use sea_orm::sea_query::{Expr, ExprTrait};

/// That somebody has a role on something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// Who.
    pub user_id: UserId,
    /// Word of a role that is always there, or the id of one made here.
    pub role: String,
    /// On what.
    pub scope: Scope,
    /// Since then.
    pub created_at: UnixMs,
    /// Name of who gave it; empty when it came with the first start.
    pub created_by: String,
}

mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "grants")]
    pub struct Model {
        /// `<user id>/<role>/<scope kind>/<scope id>`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub user_id: String,
        pub role: String,
        pub scope_kind: String,
        pub scope_id: String,
        pub created_at: i64,
        pub created_by: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for GrantRecord {
    const KIND: &'static str = "grant";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;

    fn id_text(&self) -> String {
        format!("{}/{}/{}/{}", self.user_id, self.role, self.scope.kind(), self.scope.id_text())
    }
    fn title(&self) -> &str {
        &self.role
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id_text(),
            user_id: self.user_id.to_string(),
            role: self.role.clone(),
            scope_kind: self.scope.kind().to_owned(),
            scope_id: self.scope.id_text(),
            created_at: self.created_at.0,
            created_by: self.created_by.clone(),
        }
    }
    fn from_model(m: table::Model) -> Result<GrantRecord, StoreError> {
        let scope = Scope::parse(&m.scope_kind, &m.scope_id);
        Ok(GrantRecord {
            user_id: from_id("grants", &m.user_id)?,
            role: m.role,
            scope: scope.map_err(|fault| StoreError::corrupt("grants", fault.message))?,
            created_at: UnixMs(m.created_at),
            created_by: m.created_by,
        })
    }
}

impl Store {
    /// Gives a role. What was given before stays as it is.
    pub async fn grant_put(&self, grant: &GrantRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        if row::find::<GrantRecord>(&tx, &grant.id_text()).await?.is_none() {
            row::insert(&tx, grant).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Takes a role away; whether it was given.
    pub async fn grant_delete(&self, grant: &GrantRecord) -> Result<bool, StoreError> {
        self.forget::<GrantRecord>(grant.id_text()).await
    }

    /// What a person was given.
    pub async fn grants_of(&self, user: UserId) -> Result<Vec<GrantRecord>, StoreError> {
        self.list(Condition::all().add(Expr::col("user_id").eq(user.to_string()))).await
    }

    /// Who has a role.
    pub async fn grants_with(&self, role: &str) -> Result<Vec<GrantRecord>, StoreError> {
        self.list(Condition::all().add(Expr::col("role").eq(role))).await
    }

    /// All grants.
    pub async fn grant_all(&self) -> Result<Vec<GrantRecord>, StoreError> {
        self.list(Condition::all()).await
    }
}
