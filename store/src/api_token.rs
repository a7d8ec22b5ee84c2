//! Tokens with which programs act for a person. Only the hash of one is kept.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::hex;
use crate::role::{from_words, to_words};
use crate::row::{self, Row, from_id};
use quantix_model::UnixMs;
use quantix_model::id::{ApiTokenId, UserId};
use quantix_model::right::{Permissions, Scope};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, EntityTrait, QueryFilter};

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiTokenRecord {
    /// Which.
    pub id: ApiTokenId,
    /// For whom it acts; it never may more than they.
    pub user_id: UserId,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the token.
    pub token_sha256: [u8; 32],
    /// First characters, to recognise it by.
    pub start: String,
    /// What it may at most.
    pub permissions: Permissions,
    /// Where it may at most.
    pub scope: Scope,
    /// Made then.
    pub created_at: UnixMs,
    /// Ends then; `None`: never.
    pub expires_at: Option<UnixMs>,
    /// Last used, to the minute.
    pub used_at: Option<UnixMs>,
    /// Address it was last used from; empty when never.
    pub used_from: String,
}

impl std::fmt::Debug for ApiTokenRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiTokenRecord")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "api_tokens")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub user_id: String,
        pub name: String,
        pub token_sha256: String,
        pub start: String,
        pub permissions: String,
        pub scope_kind: String,
        pub scope_id: String,
        pub created_at: i64,
        pub expires_at: Option<i64>,
        pub used_at: Option<i64>,
        pub used_from: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for ApiTokenRecord {
    const KIND: &'static str = "API token";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.name
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            user_id: self.user_id.to_string(),
            name: self.name.clone(),
            token_sha256: hex(&self.token_sha256),
            start: self.start.clone(),
            permissions: to_words(self.permissions),
            scope_kind: self.scope.kind().to_owned(),
            scope_id: self.scope.id_text(),
            created_at: self.created_at.0,
            expires_at: self.expires_at.map(|at| at.0),
            used_at: self.used_at.map(|at| at.0),
            used_from: self.used_from.clone(),
        }
    }
    fn from_model(m: table::Model) -> Result<ApiTokenRecord, StoreError> {
        let hash = crate::page::unhex(&m.token_sha256)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| StoreError::corrupt("api_tokens", "token_sha256 is no hash"))?;
        let scope = Scope::parse(&m.scope_kind, &m.scope_id);
        Ok(ApiTokenRecord {
            id: from_id("api_tokens", &m.id)?,
            user_id: from_id("api_tokens", &m.user_id)?,
            name: m.name,
            token_sha256: hash,
            start: m.start,
            permissions: from_words(&m.permissions),
            scope: scope.map_err(|fault| StoreError::corrupt("api_tokens", fault.message))?,
            created_at: UnixMs(m.created_at),
            expires_at: m.expires_at.map(UnixMs),
            used_at: m.used_at.map(UnixMs),
            used_from: m.used_from,
        })
    }
}

impl Store {
    /// Adds a token.
    pub async fn api_token_insert(&self, token: &ApiTokenRecord) -> Result<(), StoreError> {
        self.add(token).await
    }

    /// The token with this id.
    pub async fn api_token_get(&self, id: ApiTokenId) -> Result<ApiTokenRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The token with this hash.
    pub async fn api_token_find(&self, sha256: &[u8; 32]) -> Result<Option<ApiTokenRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("token_sha256").eq(hex(sha256)));
        Ok(self.list(wanted).await?.pop())
    }

    /// Tokens of one person, or of all.
    pub async fn api_token_all(&self, user: Option<UserId>) -> Result<Vec<ApiTokenRecord>, StoreError> {
        let mut wanted = Condition::all();
        if let Some(user) = user {
            wanted = wanted.add(Expr::col("user_id").eq(user.to_string()));
        }
        self.list(wanted).await
    }

    /// Notes that a token was used.
    pub async fn api_token_touch(&self, id: ApiTokenId, at: UnixMs, from: &str) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        table::Entity::update_many()
            .col_expr(table::Column::UsedAt, Expr::value(at.0))
            .col_expr(table::Column::UsedFrom, Expr::value(from))
            .filter(Expr::col("id").eq(id.to_string()))
            .exec(&tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Ends a token; whether it was there.
    pub async fn api_token_delete(&self, id: ApiTokenId) -> Result<bool, StoreError> {
        self.forget::<ApiTokenRecord>(id).await
    }
}
