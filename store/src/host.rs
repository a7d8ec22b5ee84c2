//! Registered machines: who they are, and the last that is worth remembering of what they said.

use crate::connection::Store;
use crate::error::StoreError;
use crate::page::{Key, Page, PageRequest, hex};
use crate::row::{
    self, Row, SortColumn, by_name, from_id, from_int, from_json_opt, name_key, to_int, to_json, to_ms,
};
use quantix_model::host::Discovery;
use quantix_model::id::HostId;
use quantix_model::list::SortBy;
use quantix_model::{Fault, UnixMs};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{Condition, EntityTrait, QueryFilter};

/// A host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRecord {
    /// Which.
    pub id: HostId,
    /// Unique label.
    pub name: String,
    /// Where it listens.
    pub url: String,
    /// SHA-256 of its public key (SPKI): its identity, unique.
    pub key_sha256: [u8; 32],
    /// Certificate we signed for it.
    pub certificate_pem: String,
    /// Ends then.
    pub certificate_expires_at: UnixMs,
    /// As it said last.
    pub node_version: String,
    /// What it is made of, as it said last.
    pub discovery: Option<Discovery>,
    /// What it said does not work.
    pub fault: Option<Fault>,
    /// Registered then.
    pub added_at: UnixMs,
    /// A beat came then or a little later: written now and then, not at each beat.
    pub seen_at: Option<UnixMs>,
    /// How often it should beat.
    pub beat_interval_ms: u64,
}

pub(crate) mod table {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "hosts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub name_key: String,
        pub url: String,
        pub key_sha256: String,
        pub certificate_pem: String,
        pub certificate_expires_at: i64,
        pub node_version: String,
        pub discovery: Option<String>,
        pub fault: Option<String>,
        pub added_at: i64,
        pub seen_at: Option<i64>,
        pub beat_interval_ms: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl Row for HostRecord {
    const KIND: &'static str = "host";
    type Entity = table::Entity;
    type Model = table::Model;
    type Active = table::ActiveModel;
    const ORDERS: &'static [SortColumn<HostRecord>] =
        &[by_name(), (SortBy::Created, "added_at", |host| Key::Int(host.added_at.0))];

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
            url: self.url.clone(),
            key_sha256: hex(&self.key_sha256),
            certificate_pem: self.certificate_pem.clone(),
            certificate_expires_at: self.certificate_expires_at.0,
            node_version: self.node_version.clone(),
            discovery: self.discovery.as_ref().map(to_json),
            fault: self.fault.as_ref().map(to_json),
            added_at: self.added_at.0,
            seen_at: to_ms(self.seen_at),
            beat_interval_ms: to_int(self.beat_interval_ms),
        }
    }
    fn from_model(m: table::Model) -> Result<HostRecord, StoreError> {
        let key_sha256 = key(&m.key_sha256)?;
        Ok(HostRecord {
            id: from_id("hosts", &m.id)?,
            name: m.name,
            url: m.url,
            key_sha256,
            certificate_pem: m.certificate_pem,
            certificate_expires_at: UnixMs(m.certificate_expires_at),
            node_version: m.node_version,
            discovery: from_json_opt("hosts", m.discovery.as_deref())?,
            fault: from_json_opt("hosts", m.fault.as_deref())?,
            added_at: UnixMs(m.added_at),
            seen_at: m.seen_at.map(UnixMs),
            beat_interval_ms: from_int(m.beat_interval_ms),
        })
    }
}

/// A key's hash from its column.
pub(crate) fn key(text: &str) -> Result<[u8; 32], StoreError> {
    let bytes = crate::page::unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| StoreError::corrupt("hosts", "key_sha256 is no hash"))
}

impl Store {
    /// Adds a host. [`StoreError::Taken`] names `name` or `key`.
    pub async fn host_insert(&self, host: &HostRecord) -> Result<(), StoreError> {
        let touch = self.marks().touch();
        self.add(host).await?;
        touch.only([host.id]);
        Ok(())
    }

    /// The host with this id.
    pub async fn host_get(&self, id: HostId) -> Result<HostRecord, StoreError> {
        row::get(self.reader(), &id.to_string()).await
    }

    /// The host with this public key.
    pub async fn host_find_by_key(&self, key_sha256: &[u8; 32]) -> Result<Option<HostRecord>, StoreError> {
        let wanted = Condition::all().add(Expr::col("key_sha256").eq(hex(key_sha256)));
        Ok(self.list(wanted).await?.pop())
    }

    /// By name.
    pub async fn host_page(&self, request: &PageRequest) -> Result<Page<HostRecord>, StoreError> {
        row::page(self.reader(), request, Condition::all()).await
    }

    /// Every host.
    pub async fn host_all(&self) -> Result<Vec<HostRecord>, StoreError> {
        self.list(Condition::all()).await
    }

    /// Reads, changes and writes a host in one transaction; writes nothing when nothing changed.
    pub async fn host_update<E: From<StoreError>>(
        &self,
        id: HostId,
        change: impl FnOnce(&mut HostRecord) -> Result<(), E> + Send,
    ) -> Result<HostRecord, E> {
        let touch = self.marks().touch();
        let host = self.change(id, change).await?;
        touch.only([id]);
        Ok(host)
    }

    /// Forgets a host. While VMs or pools are on it: [`StoreError::InUse`], or with `force` they are forgotten
    /// with it: its VMs and its pool assignments; volumes of those VMs become free.
    pub async fn host_delete(&self, id: HostId, force: bool) -> Result<(), StoreError> {
        let _moving = self.vm_list().moving();
        let _touch = self.marks().touch();
        let tx = self.begin().await?;
        let host: HostRecord = row::get_locked(&tx, &id.to_string()).await?;
        let on_host = || Condition::all().add(Expr::col("host_id").eq(id.to_string()));
        let vms: Vec<crate::vm::VmRecord> = row::all(&tx, on_host()).await?;
        if !force {
            let in_use = |by: String| StoreError::InUse { kind: "host", id: host.name.clone(), by };
            if let Some(vm) = vms.first() {
                return Err(in_use(format!("VM {}", vm.name)));
            }
            let pools = crate::pool::of_host(&tx, id).await?;
            if let Some((pool, _)) = pools.first() {
                return Err(in_use(format!("pool {}", pool.name)));
            }
        }
        for vm in &vms {
            crate::volume::detach_all(&tx, vm.id).await?;
            row::delete::<crate::vm::VmRecord>(&tx, &vm.id.to_string()).await?;
        }
        crate::pool::assignment_table::Entity::delete_many().filter(on_host()).exec(&tx).await?;
        crate::pool::status_table::Entity::delete_many().filter(on_host()).exec(&tx).await?;
        row::delete::<HostRecord>(&tx, &id.to_string()).await?;
        Ok(tx.commit().await?)
    }
}
