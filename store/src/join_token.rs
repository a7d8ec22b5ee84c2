//! Tokens that hosts join by. Only the hash of a secret is kept; uses are counted in the transaction that takes one.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest, hex};
use crate::row::{self, Row, SortColumn, from_id, to_ms};
use quantix_model::UnixMs;
use quantix_model::id::JoinTokenId;
use quantix_model::list::SortBy;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveValue::Set, Condition, DatabaseTransaction, EntityTrait, QueryFilter};

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinTokenRecord {
    /// Which.
    pub id: JoinTokenId,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// What it is for.
    pub note: String,
    /// Name of the user who made it.
    pub created_by: String,
    /// Made then.
    pub created_at: UnixMs,
    /// Not accepted after that.
    pub expires_at: UnixMs,
    /// Not accepted since.
    pub revoked_at: Option<UnixMs>,
    /// So many hosts may join by it.
    pub uses: u32,
    /// So many did.
    pub used: u32,
    /// The last one then.
    pub used_at: Option<UnixMs>,
}

impl std::fmt::Debug for JoinTokenRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinTokenRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether a use of a token was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinUse {
    /// It was taken now.
    Taken,
    /// The same key had taken one before: that stands.
    Had,
    /// There is none left.
    None,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "join_tokens")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub secret_sha256: String,
        pub note: String,
        pub created_by: String,
        pub created_at: i64,
        pub expires_at: i64,
        pub revoked_at: Option<i64>,
        pub uses: i64,
        pub used: i64,
        pub used_at: Option<i64>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod use_table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "join_uses")]
    pub struct Model {
        /// `<token id>/<hash of the host's key>`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub token_id: String,
        pub at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for JoinTokenRecord {
    const KIND: &'static str = "join token";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<JoinTokenRecord>] =
        &[(SortBy::Created, "id", |token| Key::Text(token.id.to_string()))];
    const USUALLY_DESCENDING: bool = true;
    const FILTER: &'static str = "note";

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.note
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            secret_sha256: hex(&self.secret_sha256),
            note: self.note.clone(),
            created_by: self.created_by.clone(),
            created_at: self.created_at.0,
            expires_at: self.expires_at.0,
            revoked_at: to_ms(self.revoked_at),
            uses: i64::from(self.uses),
            used: i64::from(self.used),
            used_at: to_ms(self.used_at),
        }
    }
    fn from_model(m: table::Model) -> Result<JoinTokenRecord, StoreError> {
        let hash = crate::page::unhex(&m.secret_sha256)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| StoreError::corrupt("join_tokens", "secret_sha256 is no hash"))?;
        let count = |n: i64| u32::try_from(n).map_err(|err| StoreError::corrupt("join_tokens", err));
        Ok(JoinTokenRecord {
            id: from_id("join_tokens", &m.id)?,
            secret_sha256: hash,
            note: m.note,
            created_by: m.created_by,
            created_at: UnixMs(m.created_at),
            expires_at: UnixMs(m.expires_at),
            revoked_at: m.revoked_at.map(UnixMs),
            uses: count(m.uses)?,
            used: count(m.used)?,
            used_at: m.used_at.map(UnixMs),
        })
    }
}

fn use_id(token: JoinTokenId, key_sha256: &[u8; 32]) -> String {
    format!("{token}/{}", hex(key_sha256))
}

/// No token of a time that went back is accepted: it may have been used or revoked since.
pub(crate) async fn revoke_all(tx: &DatabaseTransaction, at: UnixMs) -> Result<(), StoreError> {
    table::Entity::update_many()
        .col_expr(table::Column::RevokedAt, Expr::value(at.0))
        .filter(Expr::col("revoked_at").is_null())
        .exec(tx)
        .await?;
    Ok(())
}

impl Store {
    /// Adds a token.
    pub async fn join_token_insert(&self, token: &JoinTokenRecord) -> Result<(), StoreError> {
        self.add(token).await
    }

    /// The token with this id.
    pub async fn join_token_get(&self, id: JoinTokenId) -> Result<JoinTokenRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The token whose secret has this hash.
    pub async fn join_token_find(
        &self,
        secret_sha256: &[u8; 32],
    ) -> Result<Option<JoinTokenRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("secret_sha256").eq(hex(secret_sha256)));
        Ok(self.list(wanted).await?.pop())
    }

    /// Newest first.
    pub async fn join_token_page(&self, request: &PageRequest) -> Result<Page<JoinTokenRecord>, StoreError> {
        row::page(self.reader(), request, Condition::all()).await
    }

    /// Ends a token; one that was revoked before stays as it was.
    pub async fn join_token_revoke(
        &self,
        id: JoinTokenId,
        now: UnixMs,
    ) -> Result<JoinTokenRecord, StoreError> {
        let revoke = |token: &mut JoinTokenRecord| {
            token.revoked_at.get_or_insert(now);
            Ok::<(), StoreError>(())
        };
        self.change(id, revoke).await
    }

    /// Takes one use of a token for the host with this key, which may have taken it before.
    pub async fn join_token_use(
        &self,
        id: JoinTokenId,
        key_sha256: &[u8; 32],
        now: UnixMs,
    ) -> Result<JoinUse, StoreError> {
        let tx = self.begin().await?;
        let mut token: JoinTokenRecord = row::get_locked(&tx, &id.to_string()).await?;
        if token.revoked_at.is_some() {
            return Ok(JoinUse::Revoked);
        }
        if token.expires_at < now {
            return Ok(JoinUse::Expired);
        }
        let use_id = use_id(id, key_sha256);
        let had = use_table::Entity::find().filter(Expr::col("id").eq(&use_id)).one(&tx).await?;
        if had.is_some() {
            return Ok(JoinUse::Had);
        }
        if token.used >= token.uses {
            return Ok(JoinUse::None);
        }
        let row = use_table::ActiveModel { id: Set(use_id), token_id: Set(id.to_string()), at: Set(now.0) };
        use_table::Entity::insert(row).exec_without_returning(&tx).await?;
        token.used += 1;
        token.used_at = Some(now);
        row::put(&tx, &token).await?;
        tx.commit().await?;
        Ok(JoinUse::Taken)
    }

    /// Gives a use back that came to nothing.
    pub async fn join_token_give_back(
        &self,
        id: JoinTokenId,
        key_sha256: &[u8; 32],
    ) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let mut token: JoinTokenRecord = row::get_locked(&tx, &id.to_string()).await?;
        let gone = use_table::Entity::delete_many()
            .filter(Expr::col("id").eq(use_id(id, key_sha256)))
            .exec(&tx)
            .await?;
        if gone.rows_affected > 0 {
            token.used = token.used.saturating_sub(1);
            row::put(&tx, &token).await?;
        }
        Ok(tx.commit().await?)
    }
}
