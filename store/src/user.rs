//! People who may sign in.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id, name_key};
use quantix_model::UnixMs;
use quantix_model::id::UserId;
use sea_orm::Condition;
use sea_orm::sea_query::{Expr, ExprTrait};

/// A person.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Which.
    pub id: UserId,
    /// Unique in any case.
    pub name: String,
    /// PHC string.
    pub password_hash: String,
    /// Nothing else answers until it is changed.
    pub must_change_password: bool,
    /// Made then.
    pub created_at: UnixMs,
    /// Password set then.
    pub password_set_at: UnixMs,
}

impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRecord").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub password_hash: String,
        pub must_change_password: bool,
        pub created_at: i64,
        pub password_set_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for UserRecord {
    const KIND: &'static str = "user";
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
            name: self.name.clone(),
            name_key: name_key(&self.name),
            password_hash: self.password_hash.clone(),
            must_change_password: self.must_change_password,
            created_at: self.created_at.0,
            password_set_at: self.password_set_at.0,
        }
    }
    fn from_model(m: table::Model) -> Result<UserRecord, StoreError> {
        Ok(UserRecord {
            id: from_id("users", &m.id)?,
            name: m.name,
            password_hash: m.password_hash,
            must_change_password: m.must_change_password,
            created_at: UnixMs(m.created_at),
            password_set_at: UnixMs(m.password_set_at),
        })
    }
}

impl Store {
    /// Adds a person.
    pub async fn user_insert(&self, user: &UserRecord) -> Result<(), StoreError> {
        self.add(user).await
    }

    /// The person with this id.
    pub async fn user_get(&self, id: UserId) -> Result<UserRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The person with this name, in any case.
    pub async fn user_find(&self, name: &str) -> Result<Option<UserRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("name_key").eq(name_key(name)));
        Ok(self.list(wanted).await?.pop())
    }

    /// How many people there are.
    pub async fn user_count(&self) -> Result<u64, StoreError> {
        row::count::<UserRecord>(self.reader(), Condition::all()).await
    }

    /// Sets a password and ends every session of the user but `keep`.
    pub async fn user_set_password(
        &self,
        id: UserId,
        password_hash: &str,
        must_change: bool,
        at: UnixMs,
        keep: Option<quantix_model::id::SessionId>,
    ) -> Result<UserRecord, StoreError> {
        let tx = self.begin().await?;
        let user = row::alter(&tx, &id.to_string(), |user: &mut UserRecord| {
            user.password_hash = password_hash.to_owned();
            user.must_change_password = must_change;
            user.password_set_at = at;
            Ok::<(), StoreError>(())
        })
        .await?;
        crate::session::delete_of(&tx, id, keep).await?;
        tx.commit().await?;
        Ok(user)
    }
}
