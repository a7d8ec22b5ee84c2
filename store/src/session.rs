//! Signed-in sessions. Only the hash of a token is kept.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::hex;
use crate::row::{self, Row, from_id, from_word, to_word};
use quantix_model::UnixMs;
use quantix_model::id::{SessionId, UserId};
use quantix_model::user::SessionProof;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, ConnectionTrait, EntityTrait, QueryFilter};

/// A session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Which.
    pub id: SessionId,
    /// SHA-256 of the token.
    pub token_sha256: [u8; 32],
    /// Whose.
    pub user_id: UserId,
    /// Signed in from this address.
    pub address: String,
    /// Signed in then.
    pub created_at: UnixMs,
    /// Last seen, to the minute.
    pub used_at: UnixMs,
    /// Ends then at the latest.
    pub expires_at: UnixMs,
    /// What signed in, in words: `Firefox on Linux`; empty when it did not say.
    pub browser: String,
    /// By what the person proved themselves.
    pub proof: SessionProof,
}

impl std::fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "sessions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub token_sha256: String,
        pub user_id: String,
        pub address: String,
        pub created_at: i64,
        pub used_at: i64,
        pub expires_at: i64,
        pub browser: String,
        pub proof: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for SessionRecord {
    const KIND: &'static str = "session";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        "session"
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            token_sha256: hex(&self.token_sha256),
            user_id: self.user_id.to_string(),
            address: self.address.clone(),
            created_at: self.created_at.0,
            used_at: self.used_at.0,
            expires_at: self.expires_at.0,
            browser: self.browser.clone(),
            proof: to_word(&self.proof),
        }
    }
    fn from_model(m: table::Model) -> Result<SessionRecord, StoreError> {
        let hash = crate::page::unhex(&m.token_sha256)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| StoreError::corrupt("sessions", "token_sha256 is no hash"))?;
        Ok(SessionRecord {
            id: from_id("sessions", &m.id)?,
            token_sha256: hash,
            user_id: from_id("sessions", &m.user_id)?,
            address: m.address,
            created_at: UnixMs(m.created_at),
            used_at: UnixMs(m.used_at),
            expires_at: UnixMs(m.expires_at),
            browser: m.browser,
            proof: from_word("sessions", &m.proof)?,
        })
    }
}

/// Ends all sessions of a user but one.
pub(crate) async fn delete_of(
    db: &impl ConnectionTrait,
    user: UserId,
    keep: Option<SessionId>,
) -> Result<(), StoreError> {
    let mut gone = Condition::all().add(Expr::col("user_id").eq(user.to_string()));
    if let Some(keep) = keep {
        gone = gone.add(Expr::col("id").ne(keep.to_string()));
    }
    table::Entity::delete_many().filter(gone).exec(db).await?;
    Ok(())
}

impl Store {
    /// Adds a session, and notes that its user signed in.
    pub async fn session_insert(&self, session: &SessionRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        row::insert(&tx, session).await?;
        crate::user::table::Entity::update_many()
            .col_expr(crate::user::table::Column::SignedInAt, Expr::value(Some(session.created_at.0)))
            .filter(Expr::col("id").eq(session.user_id.to_string()))
            .exec(&tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The session with this id.
    pub async fn session_get(&self, id: SessionId) -> Result<SessionRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The session whose token has this hash.
    pub async fn session_find(&self, token_sha256: &[u8; 32]) -> Result<Option<SessionRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("token_sha256").eq(hex(token_sha256)));
        Ok(self.list(wanted).await?.pop())
    }

    /// Notes that the session was used.
    pub async fn session_touch(&self, id: SessionId, at: UnixMs) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        table::Entity::update_many()
            .col_expr(table::Column::UsedAt, Expr::value(at.0))
            .filter(Expr::col("id").eq(id.to_string()))
            .exec(&tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Ends a session; whether it was there.
    pub async fn session_delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.forget::<SessionRecord>(id).await
    }

    /// All sessions of a user, oldest first.
    pub async fn session_of(&self, user: UserId) -> Result<Vec<SessionRecord>, StoreError> {
        self.list(Condition::all().add(Expr::col("user_id").eq(user.to_string()))).await
    }

    /// Ends all sessions of a user but `keep`.
    pub async fn session_delete_of(&self, user: UserId, keep: Option<SessionId>) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        delete_of(&tx, user, keep).await?;
        Ok(tx.commit().await?)
    }

    /// Ends what is past its end or was not used since `idle_since`; how many.
    pub async fn session_sweep(&self, now: UnixMs, idle_since: UnixMs) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let gone = Condition::any()
            .add(Expr::col("expires_at").lte(now.0))
            .add(Expr::col("used_at").lte(idle_since.0));
        let done = table::Entity::delete_many().filter(gone).exec(&tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected)
    }
}
