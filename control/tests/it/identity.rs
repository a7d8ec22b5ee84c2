//! Identity sources: what may be made of them, by whom, and what hangs on them.

use crate::house::{House, token};
use quantix_control::services::identity_admit::{self, Asked};
use quantix_control::services::session::{Sessions, Visitor};
use quantix_model::FaultCode;
use quantix_model::id::{IdentitySourceId, UserId};
use quantix_model::identity::{Told, external_id};
use quantix_model::user::SessionProof;
use serde_json::{Value, json};

const SERVICE: &str = "identity.v1.IdentityService";

pub fn call(method: &str) -> String {
    format!("{SERVICE}/{method}")
}

/// A provider that nobody asks.
fn wish() -> Value {
    json!({
        "title": "Works",
        "enabled": true,
        "oidc": {"issuerUrl": "https://id.example.org", "clientId": "quantix", "groupsClaim": "groups"},
        "secret": "CanaryOfClient",
        "rules": [{"group": "Ops", "role": "operator"}],
        "createUsers": true,
    })
}

fn with(mut wish: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        wish[key] = value.clone();
    }
    wish
}

async fn create(house: &House, admin: &str, wish: Value) -> Value {
    let made = house.call(&call("CreateIdentitySource"), json!({"source": wish}), admin).await;
    assert_eq!(made.status, 200, "{}", made.body);
    made.body
}

#[tokio::test]
async fn a_source_is_made_changed_and_taken_away() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let none = house.call(&call("ListSignInWays"), json!({}), "").await;
    assert_eq!(none.body, json!({}));
    let made = create(&house, &admin, wish()).await;
    assert_eq!(made["hasSecret"], json!(true));
    assert_eq!(made["oidc"]["nameClaim"], json!("preferred_username"));
    assert_eq!(made["generation"], json!("1"));
    let twice = house
        .call(
            &call("CreateIdentitySource"),
            json!({"source": with(wish(), json!({"title": "WORKS"}))}),
            &admin,
        )
        .await;
    assert_eq!((twice.code(), twice.fault().field.as_str()), (FaultCode::NameTaken, "title"));

    let ways = house.call(&call("ListSignInWays"), json!({}), "").await;
    let id = made["id"].as_str().unwrap().to_owned();
    let way = json!({"id": id, "title": "Works", "kind": "IDENTITY_SOURCE_KIND_OIDC"});
    assert_eq!(ways.body, json!({"ways": [way]}), "and nothing else");
    let listed = house.call(&call("ListIdentitySources"), json!({}), &admin).await;
    assert!(!listed.body.to_string().contains("Canary"), "{}", listed.body);
    let redirect = listed.body["redirectUri"].as_str().unwrap();
    assert!(
        redirect.starts_with("https://127.0.0.1:") && redirect.ends_with("/api/v1/sign-in/oidc/callback")
    );

    let update = async |generation: u64, wish: Value| {
        let body = json!({"id": id, "generation": generation.to_string(), "source": wish});
        house.call(&call("UpdateIdentitySource"), body, &admin).await
    };
    let kept = with(wish(), json!({"secret": "", "title": "Plant", "enabled": false}));
    let changed = update(1, kept.clone()).await;
    assert_eq!(changed.body["hasSecret"], json!(true), "{}", changed.body);
    let stale = update(1, kept.clone()).await;
    assert_eq!((stale.code(), stale.fault().field.as_str()), (FaultCode::Conflict, "generation"));
    let elsewhere = json!({"issuerUrl": "https://evil.example", "clientId": "quantix"});
    let moved = update(2, with(kept.clone(), json!({"oidc": elsewhere}))).await;
    assert_eq!((moved.code(), moved.fault().field.as_str()), (FaultCode::InvalidArgument, "secret"));
    let mut ldap = kept.clone();
    ldap.as_object_mut().unwrap().remove("oidc");
    ldap["ldap"] = json!({"urls": ["ldaps://a"]});
    let other = update(2, ldap).await;
    assert_eq!((other.code(), other.fault().field.as_str()), (FaultCode::InvalidArgument, "config"));
    assert_eq!(house.call(&call("ListSignInWays"), json!({}), "").await.body, json!({}), "it is turned off");

    let gone = house.call(&call("DeleteIdentitySource"), json!({"id": id}), &admin).await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    assert_eq!(update(2, kept).await.code(), FaultCode::NotFound);
    house.vdc.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_by_its_field() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let oidc = |url: &str| json!({"oidc": {"issuerUrl": url, "clientId": "q"}});
    for (field, changes) in [
        ("title", json!({"title": " "})),
        ("oidc.issuer_url", oidc("http://id.example.org")),
        ("oidc.issuer_url", oidc("https://169.254.169.254")),
        ("oidc.client_id", json!({"oidc": {"issuerUrl": "https://a"}})),
        ("oidc.ca_pem", json!({"oidc": {"issuerUrl": "https://a", "clientId": "q", "caPem": "-----BEGIN"}})),
        ("secret", json!({"secret": "a\nb"})),
        ("rules", json!({"rules": [{"group": "", "role": "viewer"}]})),
        ("rules", json!({"rules": [{"group": "a", "role": "root"}]})),
        ("default_role", json!({"defaultRole": "01900000-0000-7000-8000-000000000000"})),
    ] {
        let body = json!({"source": with(wish(), changes)});
        let refused = house.call(&call("CreateIdentitySource"), body, &admin).await.fault();
        assert_eq!(refused.field, field, "{refused}");
        assert!(!refused.remedy.is_empty());
    }
    let none = house.call(&call("CreateIdentitySource"), json!({}), &admin).await;
    assert_eq!(none.fault().field, "source");
    let nothing = house.call(&call("TestIdentitySource"), json!({}), &admin).await;
    assert_eq!(nothing.fault().field, "source");
    house.vdc.stop().await;
}

/// A role that may manage people and nothing else, and one who has it.
async fn manager(house: &House, admin: &str) -> String {
    let role = json!({"name": "clerk", "permissions": ["people.view", "people.manage"]});
    let role = house.call("role.v1.RoleService/CreateRole", role, admin).await.body["id"].clone();
    let (id, token) = house.user(admin, "clerk").await;
    let grant = json!({"userId": id, "role": role});
    assert_eq!(house.call("role.v1.RoleService/Grant", grant, admin).await.status, 200);
    token
}

#[tokio::test]
async fn nobody_gives_or_takes_over_what_they_do_not_have() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let clerk = manager(&house, &admin).await;
    let body = json!({"source": wish()});
    let rules = house.call(&call("CreateIdentitySource"), body, &clerk).await.fault();
    assert_eq!((rules.code, rules.field.as_str()), (FaultCode::Forbidden, "rules"));
    let body = json!({"source": with(wish(), json!({"rules": [], "defaultRole": "viewer"}))});
    let default = house.call(&call("CreateIdentitySource"), body, &clerk).await.fault();
    assert_eq!((default.code, default.field.as_str()), (FaultCode::Forbidden, "default_role"));
    let own = create(&house, &clerk, with(wish(), json!({"title": "Own", "rules": []}))).await;

    // Whoever says where people prove themselves can be any of them.
    let source = create(&house, &admin, wish()).await;
    let update = json!({"id": source["id"], "generation": "1", "source": with(wish(), json!({"rules": []}))});
    let refused = house.call(&call("UpdateIdentitySource"), update, &clerk).await;
    assert_eq!(refused.code(), FaultCode::Forbidden);
    let (person, _) = admitted(&house, &own, "sub-1", "root-like", &[]).await;
    let grant = json!({"userId": person.to_string(), "role": "admin"});
    assert_eq!(house.call("role.v1.RoleService/Grant", grant, &admin).await.status, 200);
    let wish = with(wish(), json!({"title": "Own", "rules": []}));
    let update = json!({"id": own["id"], "generation": "1", "source": wish});
    let refused = house.call(&call("UpdateIdentitySource"), update, &clerk).await.fault();
    assert!(refused.message.contains("root-like"), "{refused}");
    let delete = json!({"id": own["id"], "deletePeople": true});
    assert_eq!(house.call(&call("DeleteIdentitySource"), delete, &clerk).await.code(), FaultCode::Forbidden);
    house.vdc.stop().await;
}

fn sessions(house: &House) -> Sessions {
    Sessions::new(house.vdc.core().clone())
}

/// Lets somebody in as a source told; their id and their session's token.
async fn admitted(
    house: &House,
    source: &Value,
    subject: &str,
    name: &str,
    groups: &[&str],
) -> (UserId, String) {
    let asked = Asked {
        id: source["id"].as_str().unwrap().parse().unwrap(),
        generation: source["generation"].as_str().unwrap().parse().unwrap(),
    };
    let groups = groups.iter().map(|g| (*g).to_owned()).collect();
    let told = Told { subject: subject.into(), name: name.into(), groups };
    let visitor = Visitor { address: "127.0.0.1".parse().unwrap(), browser: String::new(), site: None };
    let signed_in =
        identity_admit::sign_in(&sessions(house), &asked, &told, &visitor, SessionProof::Oidc).await;
    let signed_in = signed_in.unwrap();
    (signed_in.user.id, signed_in.token)
}

#[tokio::test]
async fn turned_off_its_people_are_out_and_deleted_they_are_gone() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let source = create(&house, &admin, wish()).await;
    let id: IdentitySourceId = source["id"].as_str().unwrap().parse().unwrap();
    let (person, session) = admitted(&house, &source, "sub-1", "ann", &["ops"]).await;
    let store = &house.vdc.core().store;
    assert_eq!(store.session_of(person).await.unwrap().len(), 1);
    let user = json!({"id": person.to_string()});
    let user = house.call("user.v1.UserService/GetUser", user, &admin).await.body;
    assert_eq!(user["identitySourceTitle"], json!("Works"));
    assert_eq!(user["grantedRoles"], json!(["operator"]));
    assert_eq!(user["source"], json!("USER_SOURCE_OIDC"));

    let body = json!({"name": "ci", "permissions": ["vm.view"]});
    let made = house.call("token.v1.ApiTokenService/CreateApiToken", body, &session).await;
    let program = made.body["secret"].as_str().unwrap_or_else(|| panic!("{}", made.body)).to_owned();
    let vms = async || house.call("vm.v1.VmService/ListVms", json!({}), &program).await;
    assert_eq!(vms().await.status, 200);

    let off = with(wish(), json!({"enabled": false, "secret": ""}));
    let body = json!({"id": source["id"], "generation": "1", "source": off});
    let changed = house.call(&call("UpdateIdentitySource"), body, &admin).await.body;
    assert_eq!(changed["people"], json!(1), "{changed}");
    assert!(store.session_of(person).await.unwrap().is_empty());
    assert_eq!(vms().await.code(), FaultCode::NotSignedIn, "its programs are out, too");
    let body = json!({"id": source["id"], "generation": "2", "source": with(wish(), json!({"secret": ""}))});
    assert_eq!(house.call(&call("UpdateIdentitySource"), body, &admin).await.status, 200);
    assert_eq!(vms().await.status, 200);

    let delete = async |people: bool| {
        let body = json!({"id": source["id"], "deletePeople": people});
        house.call(&call("DeleteIdentitySource"), body, &admin).await
    };
    let refused = delete(false).await.fault();
    assert_eq!(refused.code, FaultCode::IdentitySourceInUse);
    assert!(refused.message.contains("1 people") && refused.message.contains("Works"), "{refused}");
    assert_eq!(delete(true).await.status, 200);
    assert!(store.user_find_external(&external_id(id, "sub-1")).await.unwrap().is_none());
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_role_that_rules_give_stays() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let role = json!({"name": "night", "permissions": ["vm.view"]});
    let role = house.call("role.v1.RoleService/CreateRole", role, &admin).await.body["id"].clone();
    create(&house, &admin, with(wish(), json!({"rules": [{"group": "a", "role": role}]}))).await;
    let refused = house.call("role.v1.RoleService/DeleteRole", json!({"id": role}), &admin).await.fault();
    assert_eq!(refused.code, FaultCode::RoleInUse);
    assert!(refused.message.contains("Works"), "{refused}");
    house.vdc.stop().await;
}

#[tokio::test]
async fn session_limits_are_changed_within_bounds_and_count_at_once() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let there = house.call(&call("GetSignInSettings"), json!({}), &admin).await.body;
    assert_eq!(there, json!({"idleMinutes": 480, "lifeMinutes": 1440}));
    let set = async |generation: u64, idle: u32, life: u32| {
        let body = json!({"generation": generation.to_string(), "idleMinutes": idle, "lifeMinutes": life});
        house.call(&call("UpdateSignInSettings"), body, &admin).await
    };
    for (field, idle, life) in [
        ("idle_minutes", 4, 1440),
        ("idle_minutes", 61, 60),
        ("life_minutes", 10, 14),
        ("life_minutes", 10, 43_201),
    ] {
        assert_eq!(set(0, idle, life).await.fault().field, field);
    }
    assert_eq!(set(0, 10, 60).await.body["generation"], json!("1"));
    assert_eq!(set(0, 20, 60).await.code(), FaultCode::Conflict);
    house.clock.advance(std::time::Duration::from_secs(11 * 60));
    let ended = house.call(&call("GetSignInSettings"), json!({}), &admin).await;
    assert_eq!(ended.code(), FaultCode::NotSignedIn, "it was not used for ten minutes");
    let again = token(&house.login(crate::house::PASSWORD).await);
    let house = house.restart().await;
    let kept = house.call(&call("GetSignInSettings"), json!({}), &again).await.body;
    assert_eq!(kept["idleMinutes"], json!(10), "{kept}");
    house.vdc.stop().await;
}
