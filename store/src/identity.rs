//! Providers and directories that say who people are, and what hangs on one: its people, their sessions, their grants.

use crate::connection::Store;
use crate::error::StoreError;
use crate::grant::{self, GrantRecord};
use crate::row::{self, Row, from_id, from_int, from_json, name_key, to_int, to_json};
use crate::user::UserRecord;
use quantix_model::UnixMs;
use quantix_model::id::{IdentitySourceId, UserId};
use quantix_model::identity::{RoleRule, SourceConfig, external_id};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, DatabaseTransaction, EntityTrait, QueryFilter};

/// A source.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentitySourceRecord {
    /// Which.
    pub id: IdentitySourceId,
    /// Unique in any case.
    pub title: String,
    /// People of it may sign in.
    pub enabled: bool,
    /// How to reach it.
    pub config: SourceConfig,
    /// Client secret or bind password, sealed; empty: none.
    pub secret: String,
    /// Which groups bring which roles.
    pub rules: Vec<RoleRule>,
    /// Role for everybody of it; empty: none.
    pub default_role: String,
    /// Who signs in for the first time becomes a person here.
    pub create_users: bool,
    /// Made then.
    pub created_at: UnixMs,
    /// Changed then.
    pub changed_at: UnixMs,
    /// Counts changes.
    pub generation: u64,
}

impl std::fmt::Debug for IdentitySourceRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentitySourceRecord")
            .field("id", &self.id)
            .field("title", &self.title)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_sources")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub enabled: bool,
        /// JSON.
        pub config: String,
        pub secret: String,
        /// JSON.
        pub rules: String,
        pub default_role: String,
        pub create_users: bool,
        pub created_at: i64,
        pub changed_at: i64,
        pub generation: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for IdentitySourceRecord {
    const KIND: &'static str = "identity source";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;

    fn id_text(&self) -> String {
        self.id.to_string()
    }
    fn title(&self) -> &str {
        &self.title
    }
    fn to_model(&self) -> table::Model {
        table::Model {
            id: self.id.to_string(),
            name: self.title.clone(),
            name_key: name_key(&self.title),
            enabled: self.enabled,
            config: to_json(&self.config),
            secret: self.secret.clone(),
            rules: to_json(&self.rules),
            default_role: self.default_role.clone(),
            create_users: self.create_users,
            created_at: self.created_at.0,
            changed_at: self.changed_at.0,
            generation: to_int(self.generation),
        }
    }
    fn from_model(m: table::Model) -> Result<IdentitySourceRecord, StoreError> {
        Ok(IdentitySourceRecord {
            id: from_id("identity_sources", &m.id)?,
            title: m.name,
            enabled: m.enabled,
            config: from_json("identity_sources", &m.config)?,
            secret: m.secret,
            rules: from_json("identity_sources", &m.rules)?,
            default_role: m.default_role,
            create_users: m.create_users,
            created_at: UnixMs(m.created_at),
            changed_at: UnixMs(m.changed_at),
            generation: from_int(m.generation),
        })
    }
}

/// The people of a source. In byte order `;` comes right after the `:` that ends the source's own part.
pub(crate) fn people_of(id: IdentitySourceId) -> Condition {
    let (from, to) = (external_id(id, ""), format!("{id};"));
    Condition::all().add(Expr::col("external_id").gte(from)).add(Expr::col("external_id").lt(to))
}

async fn end_sessions(tx: &DatabaseTransaction, id: IdentitySourceId) -> Result<(), StoreError> {
    for user in row::all::<UserRecord>(tx, people_of(id)).await? {
        crate::session::delete_of(tx, user.id, None).await?;
    }
    Ok(())
}

impl Store {
    /// Adds a source.
    pub async fn identity_source_insert(&self, source: &IdentitySourceRecord) -> Result<(), StoreError> {
        self.add(source).await
    }

    /// The source with this id.
    pub async fn identity_source_get(
        &self,
        id: IdentitySourceId,
    ) -> Result<IdentitySourceRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// Every source.
    pub async fn identity_source_all(&self) -> Result<Vec<IdentitySourceRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Changes a source as `change` says, which may refuse. One that is turned off afterwards has no sessions left.
    pub async fn identity_source_update<E: From<StoreError>>(
        &self,
        id: IdentitySourceId,
        change: impl FnOnce(&mut IdentitySourceRecord) -> Result<(), E> + Send,
    ) -> Result<IdentitySourceRecord, E> {
        let tx = self.begin().await?;
        let source = row::alter(&tx, &id.to_string(), change).await?;
        if !source.enabled {
            end_sessions(&tx, id).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        Ok(source)
    }

    /// Takes a source away, with its people, whose sessions, factors and grants go with them. [`StoreError::InUse`] when
    /// there are people and they are to stay.
    pub async fn identity_source_delete(
        &self,
        id: IdentitySourceId,
        with_people: bool,
    ) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let people = row::count::<UserRecord>(&tx, people_of(id)).await?;
        if people > 0 && !with_people {
            let by = format!("{people} people");
            return Err(StoreError::InUse { kind: IdentitySourceRecord::KIND, id: id.to_string(), by });
        }
        crate::user::table::Entity::delete_many().filter(people_of(id)).exec(&tx).await?;
        let existed = row::delete::<IdentitySourceRecord>(&tx, &id.to_string()).await?;
        tx.commit().await?;
        Ok(existed)
    }

    /// How many people are of a source.
    pub async fn identity_source_people_count(&self, id: IdentitySourceId) -> Result<u64, StoreError> {
        row::count::<UserRecord>(self.reader(), people_of(id)).await
    }

    /// The people of a source.
    pub async fn identity_source_people(&self, id: IdentitySourceId) -> Result<Vec<UserRecord>, StoreError> {
        self.list(people_of(id)).await
    }

    /// Makes what `giver` gave a person equal to `wanted`; what others gave stays. Whether anything changed.
    pub async fn grant_settle(
        &self,
        user: UserId,
        giver: &str,
        wanted: &[GrantRecord],
    ) -> Result<bool, StoreError> {
        let of_user = Condition::all().add(Expr::col("user_id").eq(user.to_string()));
        let there: Vec<GrantRecord> = self.list(of_user.clone()).await?;
        // Most sign-ins change nothing, and a write costs a sync to disk.
        if grant::settling(&there, giver, wanted).is_empty() {
            return Ok(false);
        }
        let tx = self.begin().await?;
        let there = row::all::<GrantRecord>(&tx, of_user).await?;
        for step in grant::settling(&there, giver, wanted) {
            match step {
                grant::Settling::Give(grant) => row::insert(&tx, grant).await?,
                grant::Settling::Take(grant) => {
                    row::delete::<GrantRecord>(&tx, &grant.id_text()).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}
