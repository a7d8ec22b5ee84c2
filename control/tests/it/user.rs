//! People as administrators see them, and the sessions they have.

use crate::house::{House, PASSWORD, token};
use quantix_control::services::session;
use quantix_model::FaultCode;
use serde_json::{Value, json};

const GET: &str = "session.v1.SessionService/GetSession";

async fn user(house: &House, method: &str, body: Value, token: &str) -> crate::house::Answer {
    house.call(&format!("user.v1.UserService/{method}"), body, token).await
}

fn action<'a>(user: &'a Value, verb: &str) -> &'a Value {
    let all = user["allowedActions"].as_array().unwrap();
    all.iter().find(|a| a["verb"] == verb).unwrap_or_else(|| panic!("{verb}: {user}"))
}

#[tokio::test]
async fn somebody_is_made_signs_in_is_renamed_turned_off_and_taken_away() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let made = user(&house, "CreateUser", json!({"name": "Eva"}), &admin).await;
    let (id, first) =
        (made.body["user"]["id"].clone(), made.body["oneTimePassword"].as_str().unwrap().to_owned());
    assert_eq!(made.body["user"]["mustChangePassword"], json!(true));
    assert_eq!(made.body["user"]["source"], "USER_SOURCE_LOCAL");
    let again = user(&house, "CreateUser", json!({"name": "eVA"}), &admin).await;
    assert_eq!(again.code(), FaultCode::NameTaken);
    let odd = user(&house, "CreateUser", json!({"name": "a b"}), &admin).await;
    assert_eq!((odd.code(), odd.fault().field.as_str()), (FaultCode::InvalidArgument, "name"));

    let gated = token(&house.login_as("eva", &first).await);
    let refused = user(&house, "ListUsers", json!({}), &gated).await;
    assert_eq!(refused.code(), FaultCode::PasswordChangeRequired);
    assert_eq!(house.change_password(&gated, &first, PASSWORD).await.status, 200);
    let seen = user(&house, "GetUser", json!({"id": id}), &admin).await.body;
    assert!(seen["signedInAt"].is_string() && seen["sessions"] == 1, "{seen}");

    let renamed = user(&house, "RenameUser", json!({"id": id, "name": "eva.b"}), &admin).await;
    assert_eq!(renamed.body["name"], "eva.b");
    assert_eq!(house.login_as("eva", PASSWORD).await.code(), FaultCode::WrongCredentials);
    let eva = token(&house.login_as("EVA.B", PASSWORD).await);

    let off = user(&house, "SetUserDisabled", json!({"id": id, "disabled": true}), &admin).await;
    assert_eq!(off.body["disabled"], json!(true));
    assert_eq!(house.call(GET, json!({}), &eva).await.code(), FaultCode::NotSignedIn, "at once");
    assert_eq!(house.login_as("eva.b", PASSWORD).await.code(), FaultCode::UserDisabled);
    assert_eq!(house.login_as("eva.b", "a wrong one").await.code(), FaultCode::WrongCredentials);
    user(&house, "SetUserDisabled", json!({"id": id}), &admin).await;
    let eva = token(&house.login_as("eva.b", PASSWORD).await);

    let reset = user(&house, "ResetUserPassword", json!({"id": id}), &admin).await;
    let fresh = reset.body["oneTimePassword"].as_str().unwrap();
    assert_eq!(house.call(GET, json!({}), &eva).await.code(), FaultCode::NotSignedIn);
    assert_eq!(house.login_as("eva.b", fresh).await.body["session"]["mustChangePassword"], json!(true));

    assert_eq!(user(&house, "DeleteUser", json!({"id": id}), &admin).await.status, 200);
    assert_eq!(user(&house, "GetUser", json!({"id": id}), &admin).await.code(), FaultCode::NotFound);
    assert_eq!(house.login_as("eva.b", fresh).await.code(), FaultCode::WrongCredentials);
    house.vdc.stop().await;
}

#[tokio::test]
async fn nobody_locks_everybody_out() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let own = house.call(GET, json!({}), &admin).await.body["userId"].clone();
    for (method, body) in [
        ("DeleteUser", json!({"id": own})),
        ("SetUserDisabled", json!({"id": own, "disabled": true})),
        ("ResetUserPassword", json!({"id": own})),
        ("ClearUserFactors", json!({"id": own})),
    ] {
        assert_eq!(user(&house, method, body, &admin).await.code(), FaultCode::OwnAccount, "{method}");
    }
    let (eva_id, eva) = house.user(&admin, "eva").await;
    assert_eq!(user(&house, "DeleteUser", json!({"id": own}), &eva).await.code(), FaultCode::Forbidden);
    // Who manages people and may not everything gets at nobody who may.
    let give = async |role: &Value| {
        let grant = json!({"userId": eva_id, "role": role, "scope": {"kind": "everything"}});
        house.call("role.v1.RoleService/Grant", grant, &admin).await
    };
    let wish = json!({"name": "hr", "permissions": ["people.view", "people.manage"]});
    let role = house.call("role.v1.RoleService/CreateRole", wish, &admin).await.body["id"].clone();
    assert_eq!(give(&role).await.status, 200);
    for method in ["DeleteUser", "ResetUserPassword", "ClearUserFactors", "RenameUser"] {
        let refused = user(&house, method, json!({"id": own, "name": "x"}), &eva).await;
        assert_eq!(refused.code(), FaultCode::Forbidden, "{method}");
    }
    assert_eq!(give(&json!("admin")).await.status, 200);
    let seen = user(&house, "GetUser", json!({"id": own}), &eva).await.body;
    assert_eq!(action(&seen, "delete")["allowed"], json!(true));
    // Each takes the other away at the same moment: one stays.
    let (one, two) = tokio::join!(
        user(&house, "DeleteUser", json!({"id": eva_id}), &admin),
        user(&house, "SetUserDisabled", json!({"id": own, "disabled": true}), &eva),
    );
    assert_eq!(
        [one.status, two.status].iter().filter(|s| **s == 200).count(),
        1,
        "{} {}",
        one.body,
        two.body
    );
    let lost = if one.status == 200 { two.code() } else { one.code() };
    assert!([FaultCode::LastAdmin, FaultCode::NotSignedIn].contains(&lost), "{lost}");
    house.vdc.stop().await;
}

#[tokio::test]
async fn people_are_listed_in_pages_orders_and_by_name() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    for name in ["zoe", "Anna", "bert"] {
        user(&house, "CreateUser", json!({"name": name}), &admin).await;
    }
    let names = |body: &Value| -> Vec<String> {
        let users = body["users"].as_array().unwrap();
        users.iter().map(|u| u["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = user(&house, "ListUsers", json!({"pageSize": 3}), &admin).await.body;
    assert_eq!(
        (names(&first), &first["total"]),
        (vec!["admin".into(), "Anna".into(), "bert".into()], &json!("4"))
    );
    let next = json!({"pageSize": 3, "pageToken": first["nextPageToken"]});
    assert_eq!(names(&user(&house, "ListUsers", next, &admin).await.body), ["zoe"]);
    assert_eq!(names(&user(&house, "ListUsers", json!({"filter": "NN"}), &admin).await.body), ["Anna"]);
    let newest = json!({"order": {"by": "SORT_BY_CREATED", "descending": true}});
    assert_eq!(
        names(&user(&house, "ListUsers", newest, &admin).await.body),
        ["bert", "Anna", "zoe", "admin"]
    );
    house.vdc.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_and_revoked() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (eva_id, eva) = house.user(&admin, "eva").await;
    let body = json!({"userName": "eva", "password": PASSWORD});
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let url = house.url("/quantix.session.v1.SessionService/Login");
    let other = token(&house.send(house.http.post(url).header("user-agent", agent).json(&body)).await);

    let list = async |token: &str| {
        house.call("session.v1.SessionService/ListSessions", json!({}), token).await.body["sessions"].clone()
    };
    let seen = list(&eva).await;
    assert_eq!(seen.as_array().unwrap().len(), 2);
    assert_eq!((&seen[0]["current"], &seen[1]["current"]), (&json!(true), &Value::Null));
    assert_eq!((&seen[1]["browser"], &seen[1]["address"]), (&json!("Firefox on Linux"), &json!("127.0.0.1")));
    assert_eq!(seen[1]["proof"], "SESSION_PROOF_PASSWORD");
    let own = list(&admin).await;
    assert_eq!(own.as_array().unwrap().len(), 1, "only one's own");

    let revoke = async |id: &Value, token: &str| {
        house.call("session.v1.SessionService/RevokeSession", json!({"id": id}), token).await
    };
    assert_eq!(revoke(&own[0]["id"], &eva).await.code(), FaultCode::NotFound, "somebody else's");
    assert_eq!(revoke(&seen[1]["id"], &eva).await.status, 200);
    assert_eq!(house.call(GET, json!({}), &other).await.code(), FaultCode::NotSignedIn);
    let third = token(&house.login_as("eva", PASSWORD).await);
    let done = house.call("session.v1.SessionService/RevokeOtherSessions", json!({}), &third).await;
    assert_eq!(done.status, 200);
    assert_eq!(house.call(GET, json!({}), &eva).await.code(), FaultCode::NotSignedIn);
    assert_eq!(house.call(GET, json!({}), &third).await.status, 200);

    let of_eva = user(&house, "ListUserSessions", json!({"userId": eva_id}), &admin).await.body;
    assert_eq!(of_eva["sessions"].as_array().unwrap().len(), 1);
    let ended = user(&house, "RevokeUserSessions", json!({"userId": eva_id}), &admin).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert_eq!(house.call(GET, json!({}), &third).await.code(), FaultCode::NotSignedIn);
    assert_eq!(house.call(GET, json!({}), &admin).await.status, 200);
    house.vdc.stop().await;
}

#[tokio::test]
async fn root_lets_anybody_in_again() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (eva_id, _) = house.user(&admin, "eva").await;
    user(&house, "SetUserDisabled", json!({"id": eva_id, "disabled": true}), &admin).await;
    let (store, now) = (&house.vdc.core().store, house.clock.now());
    let fresh = session::reset(store, &house.passwords(), "EVA", true, now).await.unwrap();
    assert_eq!(house.login_as("eva", &fresh).await.body["session"]["mustChangePassword"], json!(true));
    let nobody = session::reset(store, &house.passwords(), "nobody", false, now).await.unwrap_err();
    assert_eq!(nobody.code, FaultCode::NotFound);
    house.vdc.stop().await;
}

#[tokio::test]
async fn many_names_from_one_address_are_slowed_down() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let mut slowed = 0;
    for n in 0..40 {
        let answer = house.login_as(&format!("user-{n}"), "a wrong password").await;
        slowed += u32::from(answer.code() == FaultCode::TooManyAttempts);
    }
    assert!((9..=11).contains(&slowed), "{slowed}");
    assert_eq!(house.call(GET, json!({}), &admin).await.status, 200, "who is in stays in");
    house.vdc.stop().await;
}
