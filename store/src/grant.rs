//! Who has which role on what.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id};
use quantix_model::UnixMs;
use quantix_model::id::UserId;
use quantix_model::identity::is_granted_by_rules;
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

/// What it takes to settle.
pub(crate) enum Settling<'a> {
    /// Is wanted and not there.
    Give(&'a GrantRecord),
    /// Is there by the giver and not wanted.
    Take(&'a GrantRecord),
}

/// What it takes that a giver's grants are the wanted ones. What somebody else gave is there already, and stays.
pub(crate) fn settling<'a>(
    there: &'a [GrantRecord],
    giver: &str,
    wanted: &'a [GrantRecord],
) -> Vec<Settling<'a>> {
    let has = |all: &[GrantRecord], one: &GrantRecord| all.iter().any(|g| g.id_text() == one.id_text());
    let gone = there.iter().filter(|g| g.created_by == giver && !has(wanted, g)).map(Settling::Take);
    gone.chain(wanted.iter().filter(|g| !has(there, g)).map(Settling::Give)).collect()
}

impl Store {
    /// Gives a role. What was given before stays as it is; but what rules of an identity source gave is from now on given
    /// by hand, and does not go with the rules.
    pub async fn grant_put(&self, grant: &GrantRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        match row::find::<GrantRecord>(&tx, &grant.id_text()).await? {
            None => row::insert(&tx, grant).await?,
            Some(there) if is_granted_by_rules(&there.created_by) => row::put(&tx, grant).await?,
            Some(_) => {}
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
