//! Who may do what: roles, grants, API tokens and the audit log, through the API.

use crate::house::{House, PASSWORD, token};
use quantix_control::api::table::{Need, RPCS};
use quantix_model::FaultCode;
use quantix_model::UnixMs;
use quantix_model::id::{HostId, PoolId, UserId, VmId};
use quantix_model::right::{Permission, Scope};
use quantix_store::{GrantRecord, UserRecord};
use serde_json::{Value, json};

const ROLES: &str = "role.v1.RoleService";
const TOKENS: &str = "token.v1.ApiTokenService";

/// A second person whose password is [`PASSWORD`], with one role on something.
async fn somebody(house: &House, name: &str, role: &str, scope: Scope) -> (UserId, String) {
    let store = &house.vdc.core().store;
    let admin = store.user_find("admin").await.unwrap().unwrap();
    let user = UserRecord {
        id: quantix_control::ids::user(),
        name: name.into(),
        must_change_password: false,
        ..admin
    };
    store.user_insert(&user).await.unwrap();
    let grant = GrantRecord {
        user_id: user.id,
        role: role.into(),
        scope,
        created_at: UnixMs(1),
        created_by: "admin".into(),
    };
    store.grant_put(&grant).await.unwrap();
    let body = json!({"userName": name, "password": PASSWORD});
    (user.id, token(&house.call("session.v1.SessionService/Login", body, "").await))
}

async fn ask(house: &House, method: &str, body: Value, token: &str) -> Result<Value, FaultCode> {
    let answer = house.call(method, body, token).await;
    if answer.status == 200 { Ok(answer.body) } else { Err(answer.code()) }
}

#[tokio::test]
async fn a_viewer_sees_and_changes_nothing() {
    let house = House::new().await;
    house.signed_in().await;
    let (_, viewer) = somebody(&house, "vera", "viewer", Scope::Everything).await;
    for (path, need, _) in RPCS {
        let permission = match need {
            Need::Right(permission) | Need::Within(permission) => *permission,
            _ => continue,
        };
        let method = path.trim_start_matches("/quantix.");
        let answer = house.call(method, json!({}), &viewer).await;
        let sees = permission.as_str().ends_with(".view") || permission == Permission::FileRead;
        let withheld = [Permission::PeopleView, Permission::AuditView].contains(&permission);
        if sees && !withheld {
            assert!(answer.status == 200 || answer.code() != FaultCode::Forbidden, "{path}: {}", answer.body);
        } else {
            let fault = answer.fault();
            assert_eq!(fault.code, FaultCode::Forbidden, "{path}");
            assert!(fault.cause.contains(permission.as_str()), "{path}: {fault}");
        }
    }
    house.vdc.stop().await;
}

/// The verbs a pool offers, and what is said of those it does not.
async fn offered(house: &House, pool: &str, token: &str) -> (Vec<String>, Vec<String>) {
    let view = ask(house, "pool.v1.PoolService/GetPool", json!({"id": pool}), token).await.unwrap();
    let listed = ask(house, "pool.v1.PoolService/ListPools", json!({}), token).await.unwrap();
    assert_eq!(listed["pools"][0]["allowedActions"], view["allowedActions"], "both say the same");
    let (mut verbs, mut reasons) = (Vec::new(), Vec::new());
    for action in view["allowedActions"].as_array().unwrap() {
        let verb = action["verb"].as_str().unwrap();
        match action["allowed"].as_bool() {
            Some(true) => verbs.push(verb.to_owned()),
            _ => reasons.push(format!("{verb}: {}", action["reasonIfNot"].as_str().unwrap_or_default())),
        }
    }
    (verbs, reasons)
}

#[tokio::test]
async fn what_is_offered_is_what_is_let_through() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let body = json!({"name": "nfs", "spec": {"nfs": {"server": "192.0.2.1", "export": "/srv"}}});
    let made = ask(&house, "pool.v1.PoolService/CreatePool", body, &admin).await.unwrap();
    let pool = made["pool"]["id"].as_str().unwrap().to_owned();
    let (verbs, _) = offered(&house, &pool, &admin).await;
    assert!(verbs.contains(&"update".into()) && verbs.contains(&"delete".into()), "{verbs:?}");
    let (_, viewer) = somebody(&house, "vera", "viewer", Scope::Everything).await;
    let (verbs, reasons) = offered(&house, &pool, &viewer).await;
    assert!(verbs.is_empty(), "{verbs:?}");
    let said = "update: You need pool.manage on everything. Who manages people can give it.".to_owned();
    assert!(reasons.contains(&said), "{reasons:?}");
    // Of their own pool they may change what is in it: what the pool's state allows is said then, not the right.
    let scope = Scope::Pool(pool.parse::<PoolId>().unwrap());
    let (_, tenant) = somebody(&house, "tim", "operator", scope).await;
    let (verbs, reasons) = offered(&house, &pool, &tenant).await;
    assert!(!verbs.contains(&"update".into()), "{verbs:?}");
    assert!(reasons.contains(&"create_volume: It is not ready.".into()), "{reasons:?}");
    house.vdc.stop().await;
}

#[tokio::test]
async fn whoever_may_one_thing_only_gets_at_no_other() {
    let house = House::new().await;
    house.signed_in().await;
    let id = uuid::Uuid::now_v7();
    let mine = Scope::Vm(VmId(id));
    let (_, tenant) = somebody(&house, "tim", "operator", mine).await;
    let foreign = uuid::Uuid::now_v7().to_string();
    let mut narrowed = 0;
    for (path, need, _) in RPCS {
        let method = path.trim_start_matches("/quantix.");
        let body = json!({"id": foreign, "vmId": foreign, "poolId": foreign, "hostId": foreign, "volumeId": foreign});
        let fields = |answer: &Value| answer["total"].as_str().unwrap_or("0") == "0";
        match need {
            Need::Right(_) => {
                let answer = house.call(method, json!({}), &tenant).await;
                assert_eq!(answer.code(), FaultCode::Forbidden, "{path}");
            }
            Need::Within(_) => {
                narrowed += 1;
                let answer = house.call(method, known(path, &body), &tenant).await;
                // A list shows nothing; everything else refuses.
                if answer.status == 200 {
                    assert!(path.contains("/List") && fields(&answer.body), "{path}: {}", answer.body);
                } else {
                    assert_eq!(answer.code(), FaultCode::Forbidden, "{path}: {}", answer.body);
                }
            }
            _ => {}
        }
    }
    assert!(narrowed > 30, "{narrowed}");
    // The one thing is allowed, and is not there: nothing else is wrong with the call.
    let own = ask(&house, "vm.v1.VmService/GetVm", json!({"id": id.to_string()}), &tenant).await;
    assert_eq!(own, Err(FaultCode::NotFound));
    house.vdc.stop().await;
}

/// The ids of `all` that the request of this call has; JSON refuses fields that are not there.
fn known(path: &str, all: &Value) -> Value {
    let pool = prost_reflect::DescriptorPool::decode(quantix_contract::DESCRIPTOR_SET).unwrap();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
    let service = pool.get_service_by_name(service).unwrap();
    let method = service.methods().find(|m| m.name() == method).unwrap();
    let fields = method.input();
    let has = |name: &str| fields.fields().any(|field| field.json_name() == name);
    all.as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| has(name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

#[tokio::test]
async fn roles_are_given_and_taken_at_once_and_an_admin_remains() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (user, other) = somebody(&house, "olga", "viewer", Scope::Vm(VmId(uuid::Uuid::nil()))).await;
    let pools = "pool.v1.PoolService/ListPools";
    assert_eq!(ask(&house, pools, json!({}), &other).await, Ok(json!({})));
    let call = |what: &'static str| format!("{ROLES}/{what}");
    let wish = json!({"name": "pool-keepers", "permissions": ["pool.view", "pool.manage"]});
    let role = ask(&house, &call("CreateRole"), wish.clone(), &admin).await.unwrap()["id"].clone();
    assert_eq!(ask(&house, &call("CreateRole"), wish, &admin).await, Err(FaultCode::NameTaken));
    let odd = json!({"name": "x", "permissions": ["pool.fly"]});
    assert_eq!(ask(&house, &call("CreateRole"), odd, &admin).await, Err(FaultCode::InvalidArgument));
    let builtin = json!({"name": "Viewer".to_lowercase(), "permissions": ["pool.view"]});
    assert_eq!(ask(&house, &call("CreateRole"), builtin, &admin).await, Err(FaultCode::NameTaken));

    let grant = json!({"userId": user.to_string(), "role": role, "scope": {"kind": "everything"}});
    let retry = "pool.v1.PoolService/RetryPool";
    let retried = json!({"poolId": PoolId(uuid::Uuid::nil()).to_string()});
    assert_eq!(ask(&house, retry, retried.clone(), &other).await, Err(FaultCode::Forbidden));
    assert_eq!(ask(&house, &call("Grant"), grant.clone(), &other).await, Err(FaultCode::Forbidden));
    let given = ask(&house, &call("Grant"), grant.clone(), &admin).await.unwrap();
    assert_eq!(given["grants"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&house, retry, retried.clone(), &other).await, Err(FaultCode::NotFound));
    assert_eq!(
        ask(&house, &call("DeleteRole"), json!({"id": role}), &admin).await,
        Err(FaultCode::RoleInUse)
    );
    ask(&house, &call("Revoke"), grant, &admin).await.unwrap();
    assert_eq!(ask(&house, retry, retried, &other).await, Err(FaultCode::Forbidden));
    ask(&house, &call("DeleteRole"), json!({"id": role}), &admin).await.unwrap();
    assert_eq!(
        ask(&house, &call("DeleteRole"), json!({"id": "admin"}), &admin).await,
        Err(FaultCode::Conflict)
    );

    let me = house.vdc.core().store.user_find("admin").await.unwrap().unwrap().id;
    let last = json!({"userId": me.to_string(), "role": "admin", "scope": {"kind": "everything"}});
    assert_eq!(ask(&house, &call("Revoke"), last.clone(), &admin).await, Err(FaultCode::LastAdmin));
    let to = json!({"userId": user.to_string(), "role": "admin", "scope": {"kind": "everything"}});
    ask(&house, &call("Grant"), to, &admin).await.unwrap();
    ask(&house, &call("Revoke"), last, &admin).await.unwrap();
    assert_eq!(ask(&house, &call("ListGrants"), json!({}), &admin).await, Err(FaultCode::Forbidden));
    let nowhere = json!({"userId": user.to_string(), "role": "viewer", "scope": {"kind": "host", "id": HostId(uuid::Uuid::nil()).to_string()}});
    assert_eq!(ask(&house, &call("Grant"), nowhere, &other).await, Err(FaultCode::NotFound));
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_token_does_what_it_was_made_for_and_never_more_than_its_owner() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let make = format!("{TOKENS}/CreateApiToken");
    let wish = json!({"name": "scraper", "permissions": ["pool.view", "people.view"], "days": 30});
    let made = ask(&house, &make, wish.clone(), &admin).await.unwrap();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("qx_") && secret.len() > 40, "{secret}");
    assert!(!made["apiToken"].to_string().contains(&secret[10..]));
    assert_eq!(ask(&house, &make, wish, &admin).await, Err(FaultCode::NameTaken));
    assert!(ask(&house, "pool.v1.PoolService/ListPools", json!({}), &secret).await.is_ok());
    for refused in ["host.v1.HostService/ListHosts", "session.v1.SessionService/GetSession", &make] {
        assert_eq!(ask(&house, refused, json!({}), &secret).await, Err(FaultCode::Forbidden), "{refused}");
    }
    let list = format!("{TOKENS}/ListApiTokens");
    let listed = ask(&house, &list, json!({}), &admin).await.unwrap();
    assert_eq!(listed["tokens"][0]["usedFrom"], "127.0.0.1");
    assert!(!listed.to_string().contains(&secret[12..]), "a listing tells no secret");

    // The owner may less from now on, and so may the token.
    let (user, theirs) = somebody(&house, "olga", "operator", Scope::Everything).await;
    let over = json!({"name": "x", "permissions": ["people.manage"]});
    assert_eq!(ask(&house, &make, over, &theirs).await, Err(FaultCode::Forbidden));
    let all = json!({"name": "x", "permissions": ["pool.view"]});
    let made = ask(&house, &make, all, &theirs).await.unwrap();
    let their_token = made["secret"].as_str().unwrap().to_owned();
    assert!(ask(&house, "pool.v1.PoolService/ListPools", json!({}), &their_token).await.is_ok());
    let less = json!({"userId": user.to_string(), "role": "operator", "scope": {"kind": "everything"}});
    ask(&house, &format!("{ROLES}/Revoke"), less, &admin).await.unwrap();
    let refused = ask(&house, "pool.v1.PoolService/ListPools", json!({}), &their_token).await;
    assert_eq!(refused, Err(FaultCode::Forbidden));

    let of_others = json!({"id": made["apiToken"]["id"]});
    let revoke = format!("{TOKENS}/RevokeApiToken");
    ask(&house, &revoke, of_others, &admin).await.unwrap();
    assert_eq!(ask(&house, &list, json!({}), &their_token).await, Err(FaultCode::NotSignedIn));
    house.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    let ended = ask(&house, "pool.v1.PoolService/ListPools", json!({}), &secret).await;
    assert_eq!(ended, Err(FaultCode::TokenExpired));
    house.vdc.stop().await;
}

#[tokio::test]
async fn who_did_what_is_written_down_and_survives_a_restart() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (_, viewer) = somebody(&house, "vera", "viewer", Scope::Everything).await;
    house.login("wrong password").await;
    let pool = json!({"name": "p", "spec": {"local": {"path": "/x"}}});
    assert_eq!(ask(&house, "pool.v1.PoolService/CreatePool", pool, &viewer).await, Err(FaultCode::Forbidden));
    assert!(ask(&house, "pool.v1.PoolService/ListPools", json!({}), &admin).await.is_ok());
    let house = house.restart().await;
    let list = "audit.v1.AuditService/ListAudit";
    let rows = ask(&house, list, json!({}), &admin).await.unwrap()["rows"].clone();
    let said: Vec<[&str; 4]> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            ["actorName", "action", "result", "address"].map(|field| row[field].as_str().unwrap_or(""))
        })
        .collect();
    let login = "session.v1.SessionService/Login";
    assert_eq!(
        said,
        [
            ["vera", "pool.v1.PoolService/CreatePool", "FORBIDDEN", "127.0.0.1"],
            ["admin", login, "WRONG_CREDENTIALS", "127.0.0.1"],
            ["vera", login, "OK", "127.0.0.1"],
            ["admin", "session.v1.SessionService/ChangePassword", "OK", "127.0.0.1"],
            ["admin", login, "OK", "127.0.0.1"],
        ]
    );
    let failed = ask(&house, list, json!({"failed": true}), &admin).await.unwrap();
    assert_eq!(failed["total"], "2");
    let verify = "audit.v1.AuditService/VerifyAudit";
    let verdict = ask(&house, verify, json!({}), &admin).await.unwrap();
    assert_eq!((verdict["rows"].as_str(), verdict.get("broken")), (Some("5"), None), "{verdict}");
    assert_eq!(ask(&house, list, json!({}), &viewer).await, Err(FaultCode::Forbidden));
    let lines = house.http.get(house.url("/api/v1/audit")).bearer_auth(&admin).send().await.unwrap();
    let lines = lines.text().await.unwrap();
    assert_eq!(lines.lines().count(), 8, "{lines}");
    assert!(!lines.contains(PASSWORD) && !lines.contains(&admin));
    house.vdc.stop().await;
}
