//! Roles that were made here: named sets of permissions. Those that are always there stand in the rules.

use crate::connection::Store;
use crate::error::StoreError;
use crate::row::{self, Row, from_id, name_key};
use quantix_model::UnixMs;
use quantix_model::id::RoleId;
use quantix_model::right::Permissions;
use sea_orm::Condition;

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleRecord {
    /// Which.
    pub id: RoleId,
    /// Unique in any case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub permissions: Permissions,
    /// Made then.
    pub created_at: UnixMs,
    /// Changed then.
    pub changed_at: UnixMs,
}

/// As they are kept: words of a release that knows more are left out when read.
pub(crate) fn to_words(permissions: Permissions) -> String {
    permissions.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn from_words(words: &str) -> Permissions {
    words.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "roles")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub description: String,
        pub permissions: String,
        pub created_at: i64,
        pub changed_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for RoleRecord {
    const KIND: &'static str = "role";
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
            description: self.description.clone(),
            permissions: to_words(self.permissions),
            created_at: self.created_at.0,
            changed_at: self.changed_at.0,
        }
    }
    fn from_model(m: table::Model) -> Result<RoleRecord, StoreError> {
        Ok(RoleRecord {
            id: from_id("roles", &m.id)?,
            name: m.name,
            description: m.description,
            permissions: from_words(&m.permissions),
            created_at: UnixMs(m.created_at),
            changed_at: UnixMs(m.changed_at),
        })
    }
}

impl Store {
    /// Adds a role.
    pub async fn role_insert(&self, role: &RoleRecord) -> Result<(), StoreError> {
        self.add(role).await
    }

    /// The role with this id.
    pub async fn role_get(&self, id: RoleId) -> Result<RoleRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// Every role made here.
    pub async fn role_all(&self) -> Result<Vec<RoleRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Changes a role.
    pub async fn role_update<E: From<StoreError>>(
        &self,
        id: RoleId,
        change: impl FnOnce(&mut RoleRecord) -> Result<(), E> + Send,
    ) -> Result<RoleRecord, E> {
        self.change(id, change).await
    }

    /// Takes a role away; whether it was there.
    pub async fn role_delete(&self, id: RoleId) -> Result<bool, StoreError> {
        self.forget::<RoleRecord>(id).await
    }
}
