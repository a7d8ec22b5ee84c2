//! Roles, grants, API tokens and the audit log.

use crate::make;
use quantix_model::UnixMs;
use quantix_model::id::{ApiTokenId, PoolId, RoleId, VmId};
use quantix_model::right::{Permission, Permissions, Scope};
use quantix_store::{
    ApiTokenRecord, AuditFilter, AuditMark, AuditRecord, GrantRecord, PageRequest, RoleRecord, Store,
    StoreError,
};

/// Everything about who may do what.
pub async fn run(store: &Store) {
    given_and_taken(store).await;
    tokens(store).await;
    audit(store).await;
}

async fn given_and_taken(store: &Store) {
    let permissions: Permissions = [Permission::VmView, Permission::VmPower].into_iter().collect();
    let role = RoleRecord {
        id: RoleId(make::uuid()),
        name: "Power".into(),
        description: "d".into(),
        permissions,
        created_at: UnixMs(1),
        changed_at: UnixMs(1),
    };
    store.role_insert(&role).await.unwrap();
    let twin = RoleRecord { id: RoleId(make::uuid()), name: "POWER".into(), ..role.clone() };
    assert!(matches!(store.role_insert(&twin).await, Err(StoreError::Taken { .. })));
    assert_eq!(store.role_get(role.id).await.unwrap(), role);

    let user = make::user("granted");
    store.user_insert(&user).await.unwrap();
    let grant = GrantRecord {
        user_id: user.id,
        role: role.id.to_string(),
        scope: Scope::Vm(VmId(make::uuid())),
        created_at: UnixMs(2),
        created_by: "admin".into(),
    };
    store.grant_put(&grant).await.unwrap();
    store.grant_put(&GrantRecord { created_at: UnixMs(9), ..grant.clone() }).await.unwrap();
    assert_eq!(store.grants_of(user.id).await.unwrap(), std::slice::from_ref(&grant));
    assert_eq!(store.grants_with(&role.id.to_string()).await.unwrap(), std::slice::from_ref(&grant));
    assert!(store.grant_delete(&grant).await.unwrap());
    assert!(!store.grant_delete(&grant).await.unwrap());
    assert!(store.role_delete(role.id).await.unwrap());
}

async fn tokens(store: &Store) {
    let user = store.user_find("granted").await.unwrap().unwrap();
    let token = ApiTokenRecord {
        id: ApiTokenId(make::uuid()),
        user_id: user.id,
        name: "ci".into(),
        token_sha256: [7; 32],
        start: "qx_abc".into(),
        permissions: Permissions::all(),
        scope: Scope::Pool(PoolId(make::uuid())),
        created_at: UnixMs(1),
        expires_at: Some(UnixMs(5)),
        used_at: None,
        used_from: String::new(),
    };
    store.api_token_insert(&token).await.unwrap();
    assert_eq!(store.api_token_find(&[7; 32]).await.unwrap(), Some(token.clone()));
    assert_eq!(store.api_token_find(&[8; 32]).await.unwrap(), None);
    store.api_token_touch(token.id, UnixMs(3), "127.0.0.1").await.unwrap();
    let used = store.api_token_get(token.id).await.unwrap();
    assert_eq!((used.used_at, used.used_from.as_str()), (Some(UnixMs(3)), "127.0.0.1"));
    assert_eq!(store.api_token_all(Some(user.id)).await.unwrap().len(), 1);
    assert!(store.api_token_delete(token.id).await.unwrap());
    assert!(store.api_token_all(None).await.unwrap().is_empty());
}

async fn audit(store: &Store) {
    assert_eq!(store.audit_last().await.unwrap(), None);
    let row = |number: u64, result: &str| AuditRecord {
        number,
        at: UnixMs(i64::try_from(number).unwrap()),
        actor_name: "Ada".into(),
        object_id: format!("o{}", number % 2),
        result: result.into(),
        mac: format!("m{number}"),
        ..AuditRecord::default()
    };
    let rows: Vec<AuditRecord> = (1..=12).map(|n| row(n, if n == 5 { "FORBIDDEN" } else { "OK" })).collect();
    store.audit_append(&rows).await.unwrap();
    assert!(matches!(store.audit_append(&[row(12, "OK")]).await, Err(StoreError::Taken { .. })));
    assert_eq!(store.audit_last().await.unwrap(), Some(row(12, "OK")));
    let numbers = |rows: &[AuditRecord]| rows.iter().map(|row| row.number).collect::<Vec<_>>();
    assert_eq!(numbers(&store.audit_some(9, 2).await.unwrap()), [10, 11]);

    let first = PageRequest { limit: 5, filter: "ADA".into(), ..Default::default() };
    let page = store.audit_page(&first, &AuditFilter::default()).await.unwrap();
    assert_eq!((numbers(&page.rows), page.total), (vec![12, 11, 10, 9, 8], 12));
    let next = PageRequest { token: page.next_token, ..first };
    let page = store.audit_page(&next, &AuditFilter::default()).await.unwrap();
    assert_eq!(numbers(&page.rows), [7, 6, 5, 4, 3]);
    let all = PageRequest::default();
    let failed = AuditFilter { failed: true, ..Default::default() };
    assert_eq!(numbers(&store.audit_page(&all, &failed).await.unwrap().rows), [5]);
    let part = AuditFilter {
        object_id: "o1".into(),
        from: Some(UnixMs(4)),
        to: Some(UnixMs(9)),
        ..Default::default()
    };
    assert_eq!(numbers(&store.audit_page(&all, &part).await.unwrap().rows), [7, 5]);

    assert_eq!(store.audit_cut().await.unwrap(), None);
    let cut = AuditMark { number: 10, mac: "m10".into() };
    assert_eq!(store.audit_prune(&cut).await.unwrap(), 10);
    assert_eq!(store.audit_cut().await.unwrap(), Some(cut));
    assert_eq!(numbers(&store.audit_some(0, 100).await.unwrap()), [11, 12]);
}
