//! People who may sign in.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest};
use crate::row::{self, Row, SortColumn, by_name, from_id, from_word, name_key, to_ms, to_word};
use quantix_model::UnixMs;
use quantix_model::id::{SessionId, UserId};
use quantix_model::list::SortBy;
use quantix_model::user::UserSource;
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
    /// May not sign in.
    pub disabled: bool,
    /// Who checks the password, if there is one.
    pub source: UserSource,
    /// What the source calls this person, with the source's own name before it; `None` for local people.
    pub external_id: Option<String>,
    /// Signed in last then.
    pub signed_in_at: Option<UnixMs>,
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
        pub disabled: bool,
        pub source: String,
        pub external_id: Option<String>,
        /// JSON list of names.
        pub signed_in_at: Option<i64>,
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
    const ORDERS: &'static [SortColumn<UserRecord>] =
        &[by_name(), (SortBy::Created, "created_at", |user| Key::Int(user.created_at.0))];

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
            disabled: self.disabled,
            source: to_word(&self.source),
            external_id: self.external_id.clone(),
            signed_in_at: to_ms(self.signed_in_at),
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
            disabled: m.disabled,
            source: from_word("users", &m.source)?,
            external_id: m.external_id,
            signed_in_at: m.signed_in_at.map(UnixMs),
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

    /// The person whom a source calls so.
    pub async fn user_find_external(&self, external_id: &str) -> Result<Option<UserRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("external_id").eq(external_id));
        Ok(self.list(wanted).await?.pop())
    }

    /// A page of people, by name unless asked otherwise.
    pub async fn user_page(&self, request: &PageRequest) -> Result<Page<UserRecord>, StoreError> {
        row::page(self.reader(), request, Condition::all()).await
    }

    /// Everybody.
    pub async fn user_all(&self) -> Result<Vec<UserRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Changes a person as `change` says, which may refuse.
    pub async fn user_update<E: From<StoreError>>(
        &self,
        id: UserId,
        change: impl FnOnce(&mut UserRecord) -> Result<(), E> + Send,
    ) -> Result<UserRecord, E> {
        self.change(id, change).await
    }

    /// Lets a person sign in or not; sessions of one who may not are ended with it.
    pub async fn user_set_disabled(&self, id: UserId, disabled: bool) -> Result<UserRecord, StoreError> {
        let tx = self.begin().await?;
        let user = row::alter(&tx, &id.to_string(), |user: &mut UserRecord| {
            user.disabled = disabled;
            Ok::<(), StoreError>(())
        })
        .await?;
        if disabled {
            crate::session::delete_of(&tx, id, None).await?;
        }
        tx.commit().await?;
        Ok(user)
    }

    /// Takes a person away with their sessions and factors; whether they were there.
    pub async fn user_delete(&self, id: UserId) -> Result<bool, StoreError> {
        self.forget::<UserRecord>(id).await
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
        keep: Option<SessionId>,
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

    /// Keeps the same password under another hash, unless it was changed meanwhile.
    pub async fn user_renew_hash(&self, id: UserId, old: &str, new: &str) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        row::alter(&tx, &id.to_string(), |user: &mut UserRecord| {
            if user.password_hash == old {
                user.password_hash = new.to_owned();
            }
            Ok::<(), StoreError>(())
        })
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
