//! Second factors: authenticator apps, recovery codes, and the second step of a sign-in.

use crate::house::{Answer, House, PASSWORD, token};
use quantix_control::services::session;
use quantix_model::FaultCode;
use serde_json::{Value, json};
use std::time::Duration;
use totp_rs::{Algorithm, Builder, Secret};

const GET: &str = "session.v1.SessionService/GetSession";

async fn factor(house: &House, method: &str, body: Value, token: &str) -> Answer {
    house.call(&format!("factor.v1.FactorService/{method}"), body, token).await
}

/// The app's code at the vDC's time, `steps` from now.
fn code(house: &House, secret: &str, steps: i64) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let app = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(secret)
        .with_account_name("x".to_owned())
        .build()
        .unwrap();
    let seconds = house.clock.now().0 / 1000 + 30 * steps;
    app.generate(u64::try_from(seconds).unwrap()).to_string()
}

/// Sets an app up; its secret, the recovery codes, and the code that was used.
async fn set_up(house: &House, admin: &str) -> (String, Vec<String>, String) {
    let begun = factor(house, "BeginTotp", json!({"name": "Phone", "password": PASSWORD}), admin).await.body;
    let secret = begun["secret"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
    let used = code(house, &secret, 0);
    let body = json!({"factorId": begun["factorId"], "code": used});
    let done = factor(house, "ConfirmTotp", body, admin).await.body;
    let codes = done["recoveryCodes"].as_array().unwrap_or_else(|| panic!("{done}"));
    (secret, codes.iter().map(|c| c.as_str().unwrap().to_owned()).collect(), used)
}

async fn challenge(house: &House) -> String {
    let answer = house.login(PASSWORD).await;
    assert_eq!(answer.body.get("session"), None);
    assert_eq!(answer.body.get("token"), None, "nothing opens before the second step");
    let needed = &answer.body["secondFactor"];
    needed["challenge"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

async fn confirm(house: &House, challenge: &str, proof: &str, value: &str) -> Answer {
    house
        .call("session.v1.SessionService/ConfirmLogin", json!({"challenge": challenge, proof: value}), "")
        .await
}

#[tokio::test]
async fn an_app_counts_once_it_worked_and_each_code_once() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let stolen = factor(&house, "BeginTotp", json!({"name": "Phone", "password": "not mine"}), &admin).await;
    assert_eq!((stolen.code(), stolen.fault().field.as_str()), (FaultCode::WrongCredentials, "password"));

    let begun =
        factor(&house, "BeginTotp", json!({"name": "Phone", "password": PASSWORD}), &admin).await.body;
    assert!(begun["url"].as_str().unwrap().starts_with("otpauth://totp/Quantix:admin?"), "{begun}");
    assert!(begun["qrSvg"].as_str().unwrap().contains("<svg"));
    token(&house.login(PASSWORD).await);
    let id = begun["factorId"].clone();
    let wrong = factor(&house, "ConfirmTotp", json!({"factorId": id, "code": "000000x"}), &admin).await;
    assert_eq!(wrong.code(), FaultCode::SecondFactorWrong);
    token(&house.login(PASSWORD).await);

    let (secret, codes, set_up_with) = set_up(&house, &admin).await;
    assert_eq!(codes.len(), 10);
    let listed = factor(&house, "ListFactors", json!({}), &admin).await.body;
    assert_eq!((listed["factors"].as_array().unwrap().len(), &listed["recoveryCodesLeft"]), (1, &json!(10)));
    assert!(!listed.to_string().contains(&secret));

    let first = challenge(&house).await;
    let used = confirm(&house, &first, "totpCode", &set_up_with).await;
    assert_eq!(used.code(), FaultCode::SecondFactorWrong, "used when the app was set up");
    let next = code(&house, &secret, 1);
    let spaced = format!("{} {}", &next[..3], &next[3..]);
    let signed_in = token(&confirm(&house, &first, "totpCode", &spaced).await);
    assert_eq!(house.call(GET, json!({}), &signed_in).await.status, 200);
    let twice = confirm(&house, &first, "totpCode", &next).await;
    assert_eq!(twice.code(), FaultCode::ChallengeExpired, "a challenge is good once");
    let second = challenge(&house).await;
    let replayed = confirm(&house, &second, "totpCode", &next).await;
    assert_eq!(replayed.code(), FaultCode::SecondFactorWrong, "a code is good once");
    house.clock.advance(Duration::from_secs(61));
    let late = confirm(&house, &second, "totpCode", &code(&house, &secret, -2)).await;
    assert_eq!(late.code(), FaultCode::SecondFactorWrong, "only the step before and after");
    token(&confirm(&house, &second, "totpCode", &code(&house, &secret, 0)).await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn the_secret_is_kept_sealed() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (secret, codes, _) = set_up(&house, &admin).await;
    let raw = Secret::try_from_base32(&secret).unwrap();
    let raw: &[u8] = raw.as_ref();
    let folder = house.dir.path().join("vdc");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().contains("sqlite") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        for part in [raw, secret.as_bytes(), hex.as_bytes(), codes[0].as_bytes()] {
            assert!(!holds(part), "{}", path.display());
        }
    }
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_challenge_ends_with_time_tries_and_a_new_password() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (secret, ..) = set_up(&house, &admin).await;
    house.clock.advance(Duration::from_secs(60));
    let old = challenge(&house).await;
    house.clock.advance(Duration::from_secs(301));
    let right = code(&house, &secret, 0);
    assert_eq!(confirm(&house, &old, "totpCode", &right).await.code(), FaultCode::ChallengeExpired);
    assert_eq!(confirm(&house, "", "totpCode", &right).await.code(), FaultCode::ChallengeExpired);

    let tried = challenge(&house).await;
    let wrong = futures::future::join_all((0..8).map(|n| {
        let (house, tried) = (&house, &tried);
        async move { confirm(house, tried, "totpCode", &format!("{n}00000")).await.code() }
    }));
    let wrong = wrong.await;
    let looked_at = wrong.iter().filter(|code| **code == FaultCode::SecondFactorWrong).count();
    assert!(looked_at <= 4, "the password counted as the first of five: {wrong:?}");
    assert!(
        wrong.contains(&FaultCode::TooManyAttempts),
        "wrong codes count as wrong passwords do: {wrong:?}"
    );

    house.clock.advance(Duration::from_secs(900));
    let before = challenge(&house).await;
    let now = house.clock.now();
    let fresh =
        session::reset(&house.vdc.core().store, &house.passwords(), "admin", false, now).await.unwrap();
    let late = confirm(&house, &before, "totpCode", &code(&house, &secret, 0)).await;
    assert_eq!(late.code(), FaultCode::WrongCredentials, "the password is another one now");
    let still = house.login(&fresh).await;
    assert!(still.body["secondFactor"]["totp"].as_bool().unwrap(), "{}", still.body);
    let fresh =
        session::reset(&house.vdc.core().store, &house.passwords(), "admin", true, now).await.unwrap();
    token(&house.login(&fresh).await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn recovery_codes_work_once_and_new_ones_replace_them() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (_, codes, _) = set_up(&house, &admin).await;
    let first = challenge(&house).await;
    let typed = codes[3].to_uppercase().replace('-', " ");
    let signed_in = token(&confirm(&house, &first, "recoveryCode", &typed).await);
    let second = challenge(&house).await;
    let again = confirm(&house, &second, "recoveryCode", &codes[3]).await;
    assert_eq!(again.code(), FaultCode::SecondFactorWrong);
    let listed = factor(&house, "ListFactors", json!({}), &signed_in).await.body;
    assert_eq!(listed["recoveryCodesLeft"], 9);
    let made = factor(&house, "MakeRecoveryCodes", json!({"password": PASSWORD}), &signed_in).await.body;
    let new: Vec<&str> = made["codes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    assert_eq!((new.len(), new.iter().filter(|c| codes.iter().any(|old| old == *c)).count()), (10, 0));
    assert_eq!(
        confirm(&house, &second, "recoveryCode", &codes[0]).await.code(),
        FaultCode::SecondFactorWrong
    );
    token(&confirm(&house, &second, "recoveryCode", new[0]).await);

    let listed = factor(&house, "ListFactors", json!({}), &signed_in).await.body;
    let body = json!({"factorId": listed["factors"][0]["id"], "password": PASSWORD});
    let left = factor(&house, "RemoveFactor", body.clone(), &signed_in).await;
    assert_eq!((left.body.get("factors"), left.body.get("recoveryCodesLeft")), (None, None), "{}", left.body);
    assert_eq!(factor(&house, "RemoveFactor", body, &signed_in).await.code(), FaultCode::NotFound);
    token(&house.login(PASSWORD).await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn an_administrator_clears_what_somebody_lost() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (eva_id, eva) = house.user(&admin, "eva").await;
    set_up(&house, &eva).await;
    assert!(house.login_as("eva", PASSWORD).await.body["secondFactor"].is_object());
    let cleared = house.call("user.v1.UserService/ClearUserFactors", json!({"id": eva_id}), &admin).await;
    assert_eq!(cleared.body.get("hasSecondFactor"), None, "{}", cleared.body);
    token(&house.login_as("eva", PASSWORD).await);
    house.vdc.stop().await;
}
