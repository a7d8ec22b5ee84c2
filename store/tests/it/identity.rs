//! Identity sources and what hangs on them.

use crate::make;
use quantix_model::UnixMs;
use quantix_model::id::IdentitySourceId;
use quantix_model::identity::{OidcConfig, RoleRule, SourceConfig, external_id, granted_by};
use quantix_model::right::Scope;
use quantix_model::user::UserSource;
use quantix_store::{GrantRecord, IdentitySourceRecord, Store, StoreError, UserRecord};

fn source(title: &str) -> IdentitySourceRecord {
    let config = OidcConfig { issuer_url: "https://a".into(), ..OidcConfig::default() };
    IdentitySourceRecord {
        id: IdentitySourceId(make::uuid()),
        title: title.into(),
        enabled: true,
        config: SourceConfig::Oidc(config),
        secret: "qs1.x".into(),
        rules: vec![RoleRule { group: "Ops".into(), role: "operator".into() }],
        default_role: "viewer".into(),
        create_users: true,
        created_at: UnixMs(1),
        changed_at: UnixMs(2),
        generation: 3,
    }
}

fn person(of: &IdentitySourceRecord, name: &str) -> UserRecord {
    UserRecord {
        source: UserSource::Oidc,
        external_id: Some(external_id(of.id, name)),
        password_hash: String::new(),
        ..make::user(name)
    }
}

/// Leaves as many people behind as it found.
pub async fn run(store: &Store) {
    let (one, other) = (source("Works"), source("Elsewhere"));
    store.identity_source_insert(&one).await.unwrap();
    store.identity_source_insert(&other).await.unwrap();
    let twin = IdentitySourceRecord { title: "WORKS".into(), ..source("x") };
    let taken = store.identity_source_insert(&twin).await.unwrap_err();
    assert!(matches!(taken, StoreError::Taken { field: "name", .. }), "{taken}");
    assert_eq!(store.identity_source_get(one.id).await.unwrap(), one);
    assert_eq!(store.identity_source_all().await.unwrap(), [one.clone(), other.clone()]);

    let (ann, bob) = (person(&one, "ann"), person(&other, "bob"));
    store.user_insert(&ann).await.unwrap();
    store.user_insert(&bob).await.unwrap();
    assert_eq!(store.identity_source_people_count(one.id).await.unwrap(), 1);
    assert_eq!(store.identity_source_people(other.id).await.unwrap(), std::slice::from_ref(&bob));
    grants(store, &ann, &one).await;

    for user in [&ann, &bob] {
        store.session_insert(&make::session(user.id, 10, 1000)).await.unwrap();
    }
    let off = store
        .identity_source_update(one.id, |source| {
            (source.enabled, source.generation) = (false, 4);
            Ok::<(), StoreError>(())
        })
        .await
        .unwrap();
    assert_eq!(off, IdentitySourceRecord { enabled: false, generation: 4, ..one.clone() });
    assert!(store.session_of(ann.id).await.unwrap().is_empty(), "they end with it");
    assert_eq!(store.session_of(bob.id).await.unwrap().len(), 1, "those of others do not");

    let refused = store.identity_source_delete(one.id, false).await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    for id in [one.id, other.id] {
        assert!(store.identity_source_delete(id, true).await.unwrap());
        assert!(!store.identity_source_delete(id, true).await.unwrap());
    }
    assert!(store.user_find_external(ann.external_id.as_deref().unwrap()).await.unwrap().is_none());
    assert!(store.grants_of(ann.id).await.unwrap().is_empty());
    assert!(store.session_of(bob.id).await.unwrap().is_empty());
}

async fn grants(store: &Store, user: &UserRecord, source: &IdentitySourceRecord) {
    let giver = granted_by(source.id);
    let grant = |role: &str, by: &str| GrantRecord {
        user_id: user.id,
        role: role.into(),
        scope: Scope::Everything,
        created_at: UnixMs(1),
        created_by: by.into(),
    };
    let given = async || {
        let all = store.grants_of(user.id).await.unwrap();
        all.into_iter().map(|g| (g.role, g.created_by)).collect::<Vec<_>>()
    };
    let pair = |role: &str, by: &str| (role.to_owned(), by.to_owned());
    store.grant_put(&grant("admin", "root")).await.unwrap();
    let both = [grant("admin", &giver), grant("operator", &giver)];
    assert!(store.grant_settle(user.id, &giver, &both).await.unwrap());
    assert_eq!(given().await, [pair("admin", "root"), pair("operator", &giver)]);
    assert!(!store.grant_settle(user.id, &giver, &both).await.unwrap(), "nothing to do");
    assert!(store.grant_settle(user.id, &giver, &[grant("viewer", &giver)]).await.unwrap());
    assert_eq!(given().await, [pair("admin", "root"), pair("viewer", &giver)]);
    // What a person gives no longer hangs on the rules.
    store.grant_put(&grant("viewer", "root")).await.unwrap();
    assert!(!store.grant_settle(user.id, &giver, &[]).await.unwrap());
    assert_eq!(given().await, [pair("admin", "root"), pair("viewer", "root")]);
}
