//! Laws of the schema: no list is sorted or searched by hand, and a full disk is said, not swallowed.

use crate::error::StoreError;
use crate::page::{Key, Mark, PageRequest, token};
use crate::row::{Row, select_all, select_page};
use crate::user::table::Entity as UserEntity;
use crate::{
    AlertRecord, ApiTokenRecord, AuditRecord, EventRecord, FactorRecord, GrantRecord, HostRecord,
    IdentitySourceRecord, ImageRecord, JoinTokenRecord, PoolAssignmentRecord, PoolRecord, PoolReleaseRecord,
    PoolStatusRecord, RecoveryCodeRecord, RoleRecord, SessionRecord, Store, TaskRecord, UploadRecord,
    UserRecord, VmRecord, VolumeRecord,
};
use quantix_model::list::Order;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    Condition, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryTrait, Select, Statement,
};

async fn open(dir: &tempfile::TempDir) -> Store {
    Store::open_file(&dir.path().join("store.sqlite")).await.unwrap()
}

/// Asks SQLite how it would run the statement; fails when it would sort or read a whole table.
async fn check<E: EntityTrait>(store: &Store, select: Select<E>) {
    let sql = select.build(DbBackend::Sqlite).to_string();
    let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = store.reader().query_all_raw(explain).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    let plan = plan.join("; ");
    assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    assert!(plan.contains("USING INDEX") || plan.contains("USING COVERING INDEX"), "{sql}\n{plan}");
}

fn is(column: &'static str) -> Condition {
    Condition::all().add(Expr::col(column).eq("x"))
}

/// Every order of the list, both ways, first and later pages.
async fn check_pages<R: Row>(store: &Store, condition: &Condition) {
    assert!(!R::ORDERS.is_empty(), "{}", R::KIND);
    for (by, column, _) in R::ORDERS {
        for descending in [false, true] {
            let order = Some(Order { by: *by, descending });
            let first = PageRequest { order, ..PageRequest::default() };
            check(store, select_page::<R>(&first, condition.clone()).unwrap()).await;
            let key =
                if column.ends_with("_key") || *column == "id" { Key::Text("a".into()) } else { Key::Int(1) };
            let mark = Mark { column: (*column).into(), descending, key, id: "b".into() };
            let next = PageRequest { token: token(&mark), ..first };
            check(store, select_page::<R>(&next, condition.clone()).unwrap()).await;
        }
    }
}

#[tokio::test]
async fn every_list_has_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let all = Condition::all();
    check_pages::<HostRecord>(&store, &all).await;
    check_pages::<PoolRecord>(&store, &all).await;
    check_pages::<ImageRecord>(&store, &all).await;
    check_pages::<VolumeRecord>(&store, &all).await;
    check_pages::<VolumeRecord>(&store, &is("pool_id")).await;
    check_pages::<VmRecord>(&store, &all).await;
    check_pages::<VmRecord>(&store, &is("host_id")).await;
    check_pages::<TaskRecord>(&store, &all).await;
    check_pages::<TaskRecord>(&store, &is("object_id")).await;
    check_pages::<EventRecord>(&store, &all).await;
    check_pages::<EventRecord>(&store, &is("object_id")).await;
    check_pages::<EventRecord>(&store, &is("severity_rank")).await;
    check(&store, crate::event::select_last("a", "host")).await;
    check(&store, select_all::<AlertRecord>(is("object_id"))).await;
    check_pages::<AlertRecord>(&store, &all).await;
    check_pages::<AlertRecord>(&store, &is("severity_rank")).await;
    check_pages::<AlertRecord>(&store, &Condition::all().add(Expr::col("acknowledged_at").is_null())).await;
    let unfinished = Condition::all().add(Expr::col("is_final").eq(false));
    check(&store, select_all::<TaskRecord>(unfinished)).await;
    check_pages::<UserRecord>(&store, &all).await;
    check(&store, select_all::<UserRecord>(is("name_key"))).await;
    check(&store, select_all::<UserRecord>(is("external_id"))).await;
    check(&store, select_all::<SessionRecord>(is("user_id"))).await;
    check(&store, select_all::<FactorRecord>(is("user_id"))).await;
    check(&store, select_all::<FactorRecord>(is("credential_id"))).await;
    check(&store, select_all::<RecoveryCodeRecord>(is("user_id"))).await;
    check(&store, select_all::<SessionRecord>(is("token_sha256"))).await;
    check(&store, select_all::<HostRecord>(is("key_sha256"))).await;
    check(&store, select_all::<PoolAssignmentRecord>(is("pool_id"))).await;
    check(&store, select_all::<PoolAssignmentRecord>(is("host_id"))).await;
    check(&store, select_all::<PoolReleaseRecord>(is("host_id"))).await;
    check(&store, select_all::<PoolStatusRecord>(all.clone())).await;
    check(&store, select_all::<ImageRecord>(is("pool_id"))).await;
    check(&store, select_all::<VolumeRecord>(is("pool_id"))).await;
    check(&store, select_all::<VolumeRecord>(is("vm_id"))).await;
    check(&store, select_all::<VolumeRecord>(is("parent_id"))).await;
    check(&store, crate::roster::by_end()).await;
    check_pages::<JoinTokenRecord>(&store, &all).await;
    check(&store, select_all::<JoinTokenRecord>(is("secret_sha256"))).await;
    check_pages::<TaskRecord>(&store, &is("user_name")).await;
    check_pages::<AuditRecord>(&store, &all).await;
    check_pages::<AuditRecord>(&store, &is("object_id")).await;
    check_pages::<AuditRecord>(&store, &is("actor_id")).await;
    check(&store, crate::audit::select_some(1, 10)).await;
    check(&store, crate::audit::select_last()).await;
    check(&store, select_all::<GrantRecord>(is("user_id"))).await;
    check(&store, select_all::<GrantRecord>(is("role"))).await;
    check(&store, select_all::<RoleRecord>(all.clone())).await;
    check(&store, select_all::<IdentitySourceRecord>(all.clone())).await;
    let source = quantix_model::id::IdentitySourceId(uuid::Uuid::nil());
    check(&store, UserEntity::find().filter(crate::identity::people_of(source))).await;
    check(&store, select_all::<ApiTokenRecord>(is("user_id"))).await;
    check(&store, select_all::<ApiTokenRecord>(is("token_sha256"))).await;
    check(&store, select_all::<UploadRecord>(all.clone())).await;
    check(&store, select_all::<VmRecord>(is("host_id"))).await;
    store.close().await;
}

#[tokio::test]
async fn a_backup_knows_every_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let rows = store.reader().query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
    let there: Vec<String> = rows.iter().map(|row| row.try_get("", "name").unwrap()).collect();
    assert_eq!(there, crate::backup::TABLES);
    store.close().await;
}

#[tokio::test]
async fn acknowledged_is_durable_and_references_hold() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let tx = store.begin().await.unwrap();
    for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
        let ask = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {pragma}"));
        let row = tx.query_one_raw(ask).await.unwrap().unwrap();
        let value = row
            .try_get_by_index::<String>(0)
            .or_else(|_| row.try_get_by_index::<i64>(0).map(|n| n.to_string()))
            .unwrap();
        assert_eq!(value, wanted, "{pragma}");
    }
    drop(tx);
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_is_said_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    store.setting_put("a", "kept").await.unwrap();
    let tx = store.begin().await.unwrap();
    tx.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
    tx.commit().await.unwrap();
    let refused = store.setting_put("a", &"x".repeat(1 << 20)).await.unwrap_err();
    let StoreError::Full(text) = &refused else { panic!("{refused}") };
    assert!(text.contains("full"), "{text}");
    let fault = quantix_model::Fault::from(refused);
    assert_eq!(fault.code, quantix_model::FaultCode::StoreFull);
    assert!(fault.retryable());
    assert_eq!(store.setting_get("a").await.unwrap().as_deref(), Some("kept"));
    store.close().await;
}

/// On a full disk SQLite may end a transaction by itself. What is answered as written afterwards must be written.
#[tokio::test]
async fn what_is_written_after_a_transaction_that_ended_by_itself_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let tx = store.begin().await.unwrap();
    tx.execute_unprepared("ROLLBACK").await.unwrap();
    drop(tx);
    // One that fails in between, and is undone.
    let tx = store.begin().await.unwrap();
    crate::setting::put(&tx, "undone", "x").await.unwrap();
    drop(tx);
    store.setting_put("a", "kept").await.unwrap();
    assert_eq!(store.setting_get("a").await.unwrap().as_deref(), Some("kept"), "seen by readers");
    assert_eq!(store.setting_get("undone").await.unwrap(), None);
    store.close().await;
    let again = open(&dir).await;
    assert_eq!(again.setting_get("a").await.unwrap().as_deref(), Some("kept"), "and after a restart");
    again.close().await;
}

#[tokio::test]
async fn only_its_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.sqlite");
    // One that an older release left open to others.
    std::fs::write(&file, b"").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open_file(&file).await.unwrap();
    store.setting_put("a", "b").await.unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    store.close().await;
}

/// What stood in the tables of the first release reads the same after every later step, and the tables are those
/// of a new store.
#[tokio::test]
async fn fresh_equals_migrated() {
    use crate::migration::Migrator;
    use sea_orm_migration::MigratorTrait as _;
    let schema = async |store: &Store| {
        let ask = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name";
        let ask = Statement::from_string(DbBackend::Sqlite, ask);
        let rows = store.reader().query_all_raw(ask).await.unwrap();
        rows.iter()
            .map(|row| (row.try_get("", "name").unwrap(), row.try_get("", "sql").unwrap()))
            .collect::<Vec<(String, String)>>()
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let fresh = schema(&store).await;
    let tx = store.begin().await.unwrap();
    let steps = u32::try_from(Migrator::migrations().len()).unwrap();
    Migrator::down(&tx, Some(steps - 1)).await.unwrap();
    tx.execute_unprepared(
        "INSERT INTO pools VALUES ('00000000-0000-7000-8000-000000000001', 'p', 'p', \
         '{\"backend\":\"local\",\"path\":\"/data\"}', 1, 0, 1, 1); \
         INSERT INTO volumes VALUES ('00000000-0000-7000-8000-000000000002', 'v', 'v', \
         '00000000-0000-7000-8000-000000000001', 'ready', NULL, 'qcow2', 1048576, NULL, NULL, 1); \
         INSERT INTO hosts VALUES ('00000000-0000-7000-8000-000000000003', 'h', 'h', 'https://x', 'ab', '', 1, '', \
         NULL, NULL, 1, NULL, 1); \
         INSERT INTO vms VALUES ('00000000-0000-7000-8000-000000000004', 'm', 'm', '', \
         '00000000-0000-7000-8000-000000000003', \
         '{\"vcpus\":3,\"memory_bytes\":4194304,\"firmware\":\"bios\",\"disks\":[],\"cdrom\":null,\"nics\":[]}', 1, \
         'ready', NULL, 'off', '', NULL, NULL, 1)",
    )
    .await
    .unwrap();
    Migrator::up(&tx, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(schema(&store).await, fresh);
    let old = store.volume_all().await.unwrap();
    assert_eq!((old.len(), old[0].allocation), (1, quantix_model::volume::Allocation::Thin));
    assert_eq!(old[0].source, quantix_model::volume::VolumeSource::Blank);
    assert_eq!(store.pool_all().await.unwrap()[0].name, "p");
    let ask = Statement::from_string(DbBackend::Sqlite, "SELECT vcpus, memory_bytes FROM vms");
    let row = store.reader().query_one_raw(ask).await.unwrap().unwrap();
    let copied: (i64, i64) = (row.try_get("", "vcpus").unwrap(), row.try_get("", "memory_bytes").unwrap());
    assert_eq!(copied, (3, 4 << 20), "copied out of the spec");
    store.close().await;
}
