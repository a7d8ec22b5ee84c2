//! What people prove themselves with beside a password: authenticator apps, passkeys, recovery codes.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id, from_word, to_ms, to_word};
use quantix_model::UnixMs;
use quantix_model::id::{FactorId, RecoveryCodeId, UserId};
use quantix_model::user::FactorKind;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, ConnectionTrait, EntityTrait, QueryFilter};

/// An authenticator app or a passkey.
#[derive(Clone, PartialEq, Eq)]
pub struct FactorRecord {
    /// Which.
    pub id: FactorId,
    /// Whose.
    pub user_id: UserId,
    /// What.
    pub kind: FactorKind,
    /// As its owner calls it.
    pub name: String,
    /// App: its secret, sealed. Passkey: its public key and the name it belongs to, as JSON.
    pub secret: String,
    /// Passkey: what it calls itself, base64url.
    pub credential_id: Option<String>,
    /// It worked once; before that it counts for nothing.
    pub confirmed: bool,
    /// App: the time step of the code used last, so that none is used twice. Passkey: its counter when it was used last.
    pub last_step: i64,
    /// Made then.
    pub created_at: UnixMs,
    /// Used last then.
    pub used_at: Option<UnixMs>,
}

impl std::fmt::Debug for FactorRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FactorRecord").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// One recovery code. Only its hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCodeRecord {
    /// Which.
    pub id: RecoveryCodeId,
    /// Whose.
    pub user_id: UserId,
    /// SHA-256 in hex: a code is 80 random bits, which no list of words holds.
    pub hash: String,
    /// Used then, and never again.
    pub used_at: Option<UnixMs>,
}

impl std::fmt::Debug for RecoveryCodeRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecoveryCodeRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "factors")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub user_id: String,
        pub kind: String,
        pub name: String,
        pub secret: String,
        pub credential_id: Option<String>,
        pub confirmed: bool,
        pub last_step: i64,
        pub created_at: i64,
        pub used_at: Option<i64>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod code_table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "recovery_codes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub user_id: String,
        pub hash: String,
        pub used_at: Option<i64>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for FactorRecord {
    const KIND: &'static str = "factor";
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
            kind: to_word(&self.kind),
            name: self.name.clone(),
            secret: self.secret.clone(),
            credential_id: self.credential_id.clone(),
            confirmed: self.confirmed,
            last_step: self.last_step,
            created_at: self.created_at.0,
            used_at: to_ms(self.used_at),
        }
    }
    fn from_model(m: table::Model) -> Result<FactorRecord, StoreError> {
        Ok(FactorRecord {
            id: from_id("factors", &m.id)?,
            user_id: from_id("factors", &m.user_id)?,
            kind: from_word("factors", &m.kind)?,
            name: m.name,
            secret: m.secret,
            credential_id: m.credential_id,
            confirmed: m.confirmed,
            last_step: m.last_step,
            created_at: UnixMs(m.created_at),
            used_at: m.used_at.map(UnixMs),
        })
    }
}

impl Row for RecoveryCodeRecord {
    const KIND: &'static str = "recovery code";
    type Entity = code_table::Entity;
    type Model = code_table::Model;
    type Active = code_table::ActiveModel;

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        "recovery code"
    }
    fn to_model(&self) -> code_table::Model {
        code_table::Model {
            id: self.id.to_string(),
            user_id: self.user_id.to_string(),
            hash: self.hash.clone(),
            used_at: to_ms(self.used_at),
        }
    }
    fn from_model(m: code_table::Model) -> Result<RecoveryCodeRecord, StoreError> {
        Ok(RecoveryCodeRecord {
            id: from_id("recovery_codes", &m.id)?,
            user_id: from_id("recovery_codes", &m.user_id)?,
            hash: m.hash,
            used_at: m.used_at.map(UnixMs),
        })
    }
}

fn of(user: UserId) -> Condition {
    Condition::all().add(Expr::col("user_id").eq(user.to_string()))
}

async fn drop_codes(db: &impl ConnectionTrait, user: UserId) -> Result<(), StoreError> {
    code_table::Entity::delete_many().filter(of(user)).exec(db).await?;
    Ok(())
}

impl Store {
    /// Adds a factor. One of the same person and kind that was never confirmed goes.
    pub async fn factor_insert(&self, factor: &FactorRecord) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let stale = of(factor.user_id)
            .add(Expr::col("kind").eq(to_word(&factor.kind)))
            .add(Expr::col("confirmed").eq(false));
        table::Entity::delete_many().filter(stale).exec(&tx).await?;
        row::insert(&tx, factor).await?;
        Ok(tx.commit().await?)
    }

    /// The factor with this id.
    pub async fn factor_get(&self, id: FactorId) -> Result<FactorRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// All factors of a person, oldest first.
    pub async fn factor_of(&self, user: UserId) -> Result<Vec<FactorRecord>, StoreError> {
        self.list(of(user)).await
    }

    /// The passkey that calls itself so.
    pub async fn factor_find(&self, credential_id: &str) -> Result<Option<FactorRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("credential_id").eq(credential_id));
        Ok(self.list(wanted).await?.pop())
    }

    /// Changes a factor as `change` says, which may refuse. Two at once come one after the other.
    pub async fn factor_update<E: From<StoreError>>(
        &self,
        id: FactorId,
        change: impl FnOnce(&mut FactorRecord) -> Result<(), E> + Send,
    ) -> Result<FactorRecord, E> {
        self.change(id, change).await
    }

    /// Takes a factor away; recovery codes go with the last one that was confirmed.
    pub async fn factor_delete(&self, user: UserId, id: FactorId) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let gone = of(user).add(Expr::col("id").eq(id.to_string()));
        let done = table::Entity::delete_many().filter(gone).exec(&tx).await?;
        let confirmed = of(user).add(Expr::col("confirmed").eq(true));
        if row::count::<FactorRecord>(&tx, confirmed).await? == 0 {
            drop_codes(&tx, user).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }

    /// Takes all factors and recovery codes of a person away.
    pub async fn factor_clear(&self, user: UserId) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        table::Entity::delete_many().filter(of(user)).exec(&tx).await?;
        drop_codes(&tx, user).await?;
        Ok(tx.commit().await?)
    }

    /// Puts new recovery codes in the place of all before.
    pub async fn recovery_code_replace(
        &self,
        user: UserId,
        codes: &[RecoveryCodeRecord],
    ) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        drop_codes(&tx, user).await?;
        for code in codes {
            row::insert(&tx, code).await?;
        }
        Ok(tx.commit().await?)
    }

    /// How many recovery codes a person has left.
    pub async fn recovery_code_count(&self, user: UserId) -> Result<u64, StoreError> {
        row::count::<RecoveryCodeRecord>(self.reader(), of(user).add(Expr::col("used_at").is_null())).await
    }

    /// Uses up the code with this hash; whether it was there and unused.
    pub async fn recovery_code_use(&self, user: UserId, hash: &str, at: UnixMs) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let unused = of(user).add(Expr::col("hash").eq(hash)).add(Expr::col("used_at").is_null());
        let done = code_table::Entity::update_many()
            .col_expr(code_table::Column::UsedAt, Expr::value(Some(at.0)))
            .filter(unused)
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }
}
