//! Signing in: who gets in, who does not, what they are told, and when it ends.

use crate::house::{House, PASSWORD, token};
use quantix_control::services::session;
use quantix_model::FaultCode;
use serde_json::json;
use std::time::Duration;

const GET: &str = "session.v1.SessionService/GetSession";
const TASKS: &str = "task.v1.TaskService/ListTasks";

#[tokio::test]
async fn the_first_password_opens_nothing_but_its_own_change() {
    let house = House::new().await;
    let first = house.one_time_password();
    let login = house.login(&first).await;
    assert_eq!(login.body["session"]["mustChangePassword"], json!(true));
    let signed_in = token(&login);
    assert_eq!(house.call(GET, json!({}), &signed_in).await.status, 200);
    let gated = house.call(TASKS, json!({}), &signed_in).await;
    assert_eq!(gated.code(), FaultCode::PasswordChangeRequired);

    for (current, new, code) in [
        (first.as_str(), "short", FaultCode::PasswordTooWeak),
        (first.as_str(), first.as_str(), FaultCode::PasswordTooWeak),
        ("wrong", PASSWORD, FaultCode::WrongCredentials),
    ] {
        let refused = house.change_password(&signed_in, current, new).await;
        assert_eq!(refused.code(), code);
        assert!(!refused.fault().field.is_empty() && !refused.fault().remedy.is_empty());
    }
    let other = token(&house.login(&first).await);
    let changed = house.change_password(&signed_in, &first, PASSWORD).await;
    assert_eq!(changed.body.get("mustChangePassword"), None, "{}", changed.body);
    assert_eq!(house.call(TASKS, json!({}), &signed_in).await.status, 200);
    assert_eq!(house.call(GET, json!({}), &other).await.code(), FaultCode::NotSignedIn, "other sessions end");
    assert_eq!(house.login(&first).await.code(), FaultCode::WrongCredentials);

    let house = house.restart().await;
    assert_eq!(house.vdc.first_password(), None, "the password is printed once");
    assert_eq!(house.call(TASKS, json!({}), &signed_in).await.status, 200, "sessions survive a restart");
    let bye = house.call("session.v1.SessionService/Logout", json!({}), &signed_in).await;
    assert_eq!(bye.status, 200);
    assert_eq!(house.call(TASKS, json!({}), &signed_in).await.code(), FaultCode::NotSignedIn);
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_answered_alike() {
    let house = House::new().await;
    let ask = async |name: &str| {
        let body = json!({"userName": name, "password": "not the password"});
        house.call("session.v1.SessionService/Login", body, "").await
    };
    let (wrong_password, wrong_name) = (ask("admin").await, ask("nobody").await);
    assert_eq!(wrong_password.code(), FaultCode::WrongCredentials);
    assert_eq!((wrong_password.status, &wrong_password.body), (wrong_name.status, &wrong_name.body));
    for token in ["", "qxs_", "qxs_AAAA", "x", &"qxs_x".repeat(500)] {
        assert_eq!(house.call(GET, json!({}), token).await.code(), FaultCode::NotSignedIn);
    }
    house.vdc.stop().await;
}

#[tokio::test]
async fn guessing_is_slowed_down_and_forgotten_after_a_while() {
    let house = House::new().await;
    let right = house.one_time_password();
    // All at once gains nothing: attempts are counted before they are looked at.
    let all = futures::future::join_all((0..12).map(|_| house.login("a wrong password"))).await;
    let slowed = all.iter().filter(|a| a.code() == FaultCode::TooManyAttempts).count();
    assert_eq!(slowed, 7, "five are free");
    // Not by one more sign-in: on a busy machine the first wait may be over by now.
    let fault = all.iter().map(|a| a.fault()).find(|fault| fault.code == FaultCode::TooManyAttempts).unwrap();
    assert!(fault.remedy.starts_with("Wait ") && fault.remedy.contains(" s"), "{}", fault.remedy);
    house.clock.advance(Duration::from_secs(3));
    token(&house.login(&right).await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_hash_is_renewed_at_the_next_right_sign_in_when_it_should_cost_something_else() {
    let house = House::new().await;
    let session = house.signed_in().await;
    let admin = async |house: &House| house.vdc.core().store.user_find("admin").await.unwrap().unwrap();
    let before = admin(&house).await;
    assert!(before.password_hash.contains("m=19456,t=2,p=1"), "{}", before.password_hash);
    let house = house.restart_with(|config| config.password_hash_passes = 3).await;
    assert_eq!(house.login("a wrong password").await.code(), FaultCode::WrongCredentials);
    assert!(admin(&house).await == before, "only who knows the password can renew it");
    token(&house.login(PASSWORD).await);
    let after = admin(&house).await;
    assert!(after.password_hash.contains("m=19456,t=3,p=1"), "{}", after.password_hash);
    assert_eq!(after.password_set_at, before.password_set_at, "it is the same password");
    assert_eq!(house.call(GET, json!({}), &session).await.status, 200, "and ends no session");
    token(&house.login(PASSWORD).await);
    assert_eq!(admin(&house).await.password_hash, after.password_hash, "once is enough");
    house.vdc.stop().await;
}

#[tokio::test]
async fn sessions_end_when_idle_and_when_old() {
    let house = House::new().await;
    let signed_in = house.signed_in().await;
    house.clock.advance(session::IDLE_MAX - Duration::from_secs(60));
    assert_eq!(house.call(GET, json!({}), &signed_in).await.status, 200);
    house.clock.advance(session::IDLE_MAX - Duration::from_secs(60));
    assert_eq!(house.call(GET, json!({}), &signed_in).await.status, 200, "use keeps it");
    house.clock.advance(session::IDLE_MAX - Duration::from_secs(60));
    assert_eq!(house.call(GET, json!({}), &signed_in).await.status, 200);
    house.clock.advance(Duration::from_secs(240));
    assert_eq!(
        house.call(GET, json!({}), &signed_in).await.code(),
        FaultCode::NotSignedIn,
        "24 hours are over"
    );

    let idle = token(&house.login(PASSWORD).await);
    house.clock.advance(session::IDLE_MAX + Duration::from_secs(1));
    assert_eq!(house.call(GET, json!({}), &idle).await.code(), FaultCode::NotSignedIn);
    house.vdc.stop().await;
}

#[tokio::test]
async fn browsers_get_a_cookie_and_foreign_pages_get_nothing() {
    let house = House::new().await;
    let own = house.url("");
    let login = |origin: &str| {
        let body = json!({"userName": "admin", "password": house.one_time_password()});
        let url = house.url("/quantix.session.v1.SessionService/Login");
        house.send(house.http.post(url).header("origin", origin).json(&body))
    };
    let answer = login(&own).await;
    assert_eq!(answer.body.get("token"), None, "scripts must not see it");
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "this line is plain HTTP on loopback");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let get = |origin: &str| {
        let url = house.url("/quantix.session.v1.SessionService/GetSession");
        let request = house.http.post(url).header("origin", origin).header("cookie", &pair);
        house.send(request.json(&json!({})))
    };
    assert_eq!(get(&own).await.status, 200);
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(get(foreign).await.code(), FaultCode::Forbidden, "{foreign}");
        assert_eq!(login(foreign).await.code(), FaultCode::Forbidden, "{foreign}");
    }
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_lost_password_can_be_reset_on_the_machine() {
    let house = House::new().await;
    let signed_in = house.signed_in().await;
    let now = house.clock.now();
    let fresh =
        session::reset(&house.vdc.core().store, &house.passwords(), "admin", false, now).await.unwrap();
    assert_eq!(house.call(GET, json!({}), &signed_in).await.code(), FaultCode::NotSignedIn);
    assert_eq!(house.login(PASSWORD).await.code(), FaultCode::WrongCredentials);
    assert_eq!(house.login(&fresh).await.body["session"]["mustChangePassword"], json!(true));
    house.vdc.stop().await;
}
