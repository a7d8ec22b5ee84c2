//! Passkeys: made, used alone and as second step, and everything that must not let anybody in.

use crate::authenticator::Device;
use crate::house::{Answer, House, PASSWORD, token};
use quantix_model::FaultCode;
use quantix_model::user::UserSource;
use serde_json::{Value, json};
use std::time::Duration;

/// How a browser reaches the vDC.
struct Page<'a> {
    house: &'a House,
    /// `localhost:1234`
    host: String,
    /// Behind something that ends TLS.
    is_tls: bool,
}

impl<'a> Page<'a> {
    fn local(house: &'a House) -> Page<'a> {
        Page::named(house, "localhost")
    }

    fn named(house: &'a House, name: &str) -> Page<'a> {
        let port = house.vdc.dev_address().unwrap().port();
        Page { house, host: format!("{name}:{port}"), is_tls: false }
    }

    fn tls(house: &'a House, host: &str) -> Page<'a> {
        Page { house, host: host.to_owned(), is_tls: true }
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.host)
    }

    async fn call(&self, method: &str, body: Value, token: &str) -> Answer {
        let url = self.house.url(&format!("/quantix.{method}"));
        let mut request = self.house.http.post(url).header("host", &self.host).json(&body);
        if self.is_tls {
            request = request.header("origin", self.origin());
        }
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        self.house.send(request).await
    }

    async fn factor(&self, method: &str, body: Value, token: &str) -> Answer {
        self.call(&format!("factor.v1.FactorService/{method}"), body, token).await
    }

    /// Begins making a passkey; the question's id and options.
    async fn begin(&self, name: &str, token: &str) -> (String, String) {
        let body = json!({"name": name, "password": PASSWORD});
        begun(&self.factor("BeginPasskey", body, token).await)
    }

    async fn confirm(&self, ceremony: &str, credential: &str, token: &str) -> Answer {
        let body = json!({"ceremony": ceremony, "credentialJson": credential});
        self.factor("ConfirmPasskey", body, token).await
    }

    /// Makes a passkey; the device, and the recovery codes that came with it.
    async fn add(&self, name: &str, token: &str) -> (Device, Vec<Value>) {
        let (ceremony, options) = self.begin(name, token).await;
        let mut device = Device::new(&self.origin());
        let done = self.confirm(&ceremony, &device.make(&options), token).await;
        assert_eq!(done.status, 200, "{}", done.body);
        (device, done.body["recoveryCodes"].as_array().cloned().unwrap_or_default())
    }

    async fn ask(&self, challenge: &str) -> Answer {
        let method = "session.v1.SessionService/BeginPasskeyLogin";
        self.call(method, json!({"challenge": challenge}), "").await
    }

    async fn answer(&self, challenge: &str, ceremony: &str, credential: &str) -> Answer {
        let passkey = json!({"ceremony": ceremony, "credentialJson": credential});
        let body = json!({"challenge": challenge, "passkey": passkey});
        self.call("session.v1.SessionService/ConfirmLogin", body, "").await
    }

    /// Shows the device's passkey, alone or after the first step.
    async fn show(&self, device: &mut Device, challenge: &str) -> Answer {
        let (ceremony, options) = begun(&self.ask(challenge).await);
        self.answer(challenge, &ceremony, &device.show(&options)).await
    }

    /// The first step of somebody with a second factor.
    async fn first_step(&self, name: &str) -> Value {
        let body = json!({"userName": name, "password": PASSWORD});
        let answer = self.call("session.v1.SessionService/Login", body, "").await;
        assert_eq!(answer.body.get("token"), None, "{}", answer.body);
        answer.body["secondFactor"].clone()
    }

    async fn factors(&self, token: &str) -> Value {
        self.factor("ListFactors", json!({}), token).await.body
    }
}

fn begun(answer: &Answer) -> (String, String) {
    let part =
        |name: &str| answer.body[name].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
    (part("ceremony"), part("optionsJson"))
}

/// Refused with this code, in this sentence, with a remedy.
#[track_caller]
fn refused(answer: &Answer, code: FaultCode, sentence: &str) {
    let fault = answer.fault();
    assert_eq!((fault.code, fault.message.as_str()), (code, sentence), "{fault:?}");
    assert!(!fault.remedy.is_empty(), "{fault:?}");
}

const EXPIRED: &str =
    "The passkey was asked for too long ago, was answered already, or the vDC was started anew since.";
const NOT_HERE: &str = "This passkey is not known here.";

#[tokio::test]
async fn made_once_it_signs_in_alone_and_as_second_step() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let page = Page::local(&house);
    assert_eq!(page.factors(&admin).await.get("passkeyReasonIfNot"), None);
    let (mut device, codes) = page.add("Laptop", &admin).await;
    assert_eq!(codes.len(), 10, "with the first factor come recovery codes");
    assert!(page.add("Phone", &admin).await.1.is_empty(), "once");
    let listed = page.factors(&admin).await;
    let laptop = &listed["factors"][0];
    assert_eq!((&laptop["kind"], &laptop["name"]), (&json!("FACTOR_KIND_PASSKEY"), &json!("Laptop")));
    assert_eq!((&laptop["site"], laptop.get("reasonIfNotHere")), (&json!("localhost"), None));
    assert_eq!(laptop.get("usedAt"), None);

    let needed = page.first_step("admin").await;
    assert_eq!((&needed["passkey"], needed.get("totp")), (&json!(true), None), "{needed}");
    let challenge = needed["challenge"].as_str().unwrap();
    let (_, options) = begun(&page.ask(challenge).await);
    let options: Value = serde_json::from_str(&options).unwrap();
    assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 2);
    assert_eq!(options["userVerification"], "required");
    let second = token(&page.show(&mut device, challenge).await);
    let twice = page.ask(challenge).await;
    assert_eq!(twice.code(), FaultCode::ChallengeExpired, "a challenge is good once");

    let (ceremony, options) = begun(&page.ask("").await);
    let asked: Value = serde_json::from_str(&options).unwrap();
    assert_eq!(asked["allowCredentials"], json!([]), "it tells nobody who is here");
    let shown = device.show(&options);
    let alone = token(&page.answer("", &ceremony, &shown).await);
    refused(&page.answer("", &ceremony, &shown).await, FaultCode::PasskeyExpired, EXPIRED);
    for (signed_in, proof) in [(&second, "SESSION_PROOF_PASSKEY"), (&alone, "SESSION_PROOF_PASSKEY")] {
        let sessions = page.call("session.v1.SessionService/ListSessions", json!({}), signed_in).await.body;
        let all = sessions["sessions"].as_array().unwrap();
        let own = all.iter().find(|s| s["current"] == json!(true)).unwrap();
        assert_eq!(own["proof"], proof);
    }
    let laptop = &page.factors(&alone).await["factors"][0];
    assert!(laptop["usedAt"].is_string(), "{laptop}");
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_passkey_and_its_counter_outlive_a_restart_and_questions_do_not() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (mut device, _) = Page::local(&house).add("Laptop", &admin).await;
    token(&Page::local(&house).show(&mut device, "").await);
    let mut copy = device.copy();
    token(&Page::local(&house).show(&mut device, "").await);
    let (making, options) = Page::local(&house).begin("Phone", &admin).await;
    let house = house.restart().await;
    let page = Page::local(&house);
    device.origin = page.origin();
    copy.origin = page.origin();
    let late = page.confirm(&making, &Device::new(&page.origin()).make(&options), &admin).await;
    refused(&late, FaultCode::PasskeyExpired, EXPIRED);
    assert_eq!(page.show(&mut copy, "").await.code(), FaultCode::PasskeyCloned);
    token(&page.show(&mut device, "").await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn an_answer_that_does_not_hold_says_why() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let page = Page::local(&house);
    let (device, _) = page.add("Laptop", &admin).await;
    type Bend = Box<dyn Fn(&mut Device)>;
    let address = "The passkey was asked for by a page of another address.";
    let cases: Vec<(Bend, &str)> = vec![
        (Box::new(|d| d.origin = "https://evil.example".into()), address),
        (Box::new(|d| d.origin = d.origin.replace("http://", "https://")), address),
        (Box::new(|d| d.origin = "http://localhost:1".into()), address),
        (Box::new(|d| d.rp_id = Some("evil.example".into())), address),
        (
            Box::new(|d| d.challenge = Some("AAAA".into())),
            "The passkey answers another question than was asked.",
        ),
        (Box::new(|d| d.is_verified = false), "The device did not check who holds it."),
        (Box::new(|d| d.user = vec![7; 16]), "The passkey could not be verified."),
        (Box::new(|d| d.user.clear()), "The passkey could not be verified."),
    ];
    for (bend, sentence) in &cases {
        let mut bent = device.copy();
        bend(&mut bent);
        refused(&page.show(&mut bent, "").await, FaultCode::PasskeyRefused, sentence);
    }
    // Its name without its key.
    let mut forged = Device::new(&page.origin());
    (forged.id, forged.user) = (device.id.clone(), device.user.clone());
    refused(
        &page.show(&mut forged, "").await,
        FaultCode::PasskeyRefused,
        "The passkey could not be verified.",
    );
    // As second step the same, but that the device need not say whose it is.
    for (bend, sentence) in &cases[..6] {
        let mut bent = device.copy();
        bend(&mut bent);
        house.clock.advance(Duration::from_secs(900));
        let needed = page.first_step("admin").await;
        let answer = page.show(&mut bent, needed["challenge"].as_str().unwrap()).await;
        refused(&answer, FaultCode::PasskeyRefused, sentence);
    }
    // And when one is made.
    for (bend, sentence) in &cases[..6] {
        let (ceremony, options) = page.begin("Phone", &admin).await;
        let mut bent = Device::new(&page.origin());
        bend(&mut bent);
        let answer = page.confirm(&ceremony, &bent.make(&options), &admin).await;
        refused(&answer, FaultCode::PasskeyRefused, sentence);
    }
    for junk in ["", "{}", "[1]", &"x".repeat(70_000)] {
        let (ceremony, _) = begun(&page.ask("").await);
        let answer = page.answer("", &ceremony, junk).await;
        refused(&answer, FaultCode::InvalidArgument, "What the browser answered is no passkey.");
    }
    assert_eq!(page.factors(&admin).await["factors"].as_array().unwrap().len(), 1);
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_told() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let page = Page::local(&house);
    let (mut device, _) = page.add("Laptop", &admin).await;
    let mut copy = device.copy();
    token(&page.show(&mut device, "").await);
    let sentence = "The counter of this passkey went back: there may be a copy of it.";
    refused(&page.show(&mut copy, "").await, FaultCode::PasskeyCloned, sentence);
    copy.counter = 0;
    let needed = page.first_step("admin").await;
    let second = page.show(&mut copy, needed["challenge"].as_str().unwrap()).await;
    refused(&second, FaultCode::PasskeyCloned, sentence);
    let events = house.call("event.v1.EventService/ListEvents", json!({}), &admin).await.body;
    let told = events["events"].as_array().unwrap();
    let told: Vec<_> = told.iter().filter(|event| event["kind"] == "user.passkey_cloned").collect();
    assert_eq!(told.len(), 2, "{events}");
    assert_eq!(told[0]["severity"], "SEVERITY_WARNING");
    assert_eq!(told[0]["message"], "A passkey of admin may have been copied: its counter went back.");
    let audit = house.call("audit.v1.AuditService/ListAudit", json!({}), &admin).await.body;
    let rows = audit["rows"].as_array().unwrap_or_else(|| panic!("{audit}"));
    assert_eq!(rows.iter().filter(|row| row["result"] == "PASSKEY_CLONED").count(), 2, "{audit}");
    // Two answers at once with the same count: one of them only.
    token(&page.show(&mut device, "").await);
    let (mut one, mut other) = (device.copy(), device.copy());
    let (first, second) = tokio::join!(page.show(&mut one, ""), page.show(&mut other, ""));
    let both = [first.status, second.status];
    assert_eq!(both.iter().filter(|status| **status == 200).count(), 1, "{both:?}");
    device.counter = one.counter;
    token(&page.show(&mut device, "").await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_passkey_that_counts_nothing_works_again_and_again() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let page = Page::local(&house);
    let (mut device, _) = page.add("Synced", &admin).await;
    device.counts = false;
    for _ in 0..2 {
        token(&page.show(&mut device, "").await);
    }
    house.vdc.stop().await;
}

#[tokio::test]
async fn nobody_uses_what_is_somebody_elses() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (_, eva) = house.user(&admin, "eva").await;
    let page = Page::local(&house);
    let (mut device, _) = page.add("Laptop", &admin).await;
    let (mut hers, _) = page.add("Hers", &eva).await;
    let needed = page.first_step("admin").await;
    let challenge = needed["challenge"].as_str().unwrap();
    let answer = page.show(&mut hers, challenge).await;
    refused(&answer, FaultCode::PasskeyUnknown, "This passkey is somebody else's.");
    let (ceremony, options) = begun(&page.ask(challenge).await);
    let shown = device.show(&options);
    refused(&page.answer("", &ceremony, &shown).await, FaultCode::PasskeyExpired, EXPIRED);
    let other = page.first_step("eva").await;
    let answer = page.answer(other["challenge"].as_str().unwrap(), &ceremony, &shown).await;
    refused(&answer, FaultCode::PasskeyExpired, EXPIRED);
    token(&page.answer(challenge, &ceremony, &shown).await);

    // A question belongs to the session that asked, also among sessions of one person.
    let again = token(&page.show(&mut device, "").await);
    let (making, options) = page.begin("Phone", &admin).await;
    let made = Device::new(&page.origin()).make(&options);
    for stranger in [&eva, &again] {
        refused(&page.confirm(&making, &made, stranger).await, FaultCode::PasskeyExpired, EXPIRED);
    }
    assert_eq!(page.confirm(&making, &made, &admin).await.status, 200);

    // An id is known once over all people.
    let known = "This passkey is known here already.";
    for (person, id) in [(&admin, &device.id), (&eva, &device.id)] {
        let (making, options) = page.begin("Mine", person).await;
        let mut taken = Device::new(&page.origin());
        taken.id = id.clone();
        refused(&page.confirm(&making, &taken.make(&options), person).await, FaultCode::Conflict, known);
    }
    let (_, options) = page.begin("Mine", &admin).await;
    let options: Value = serde_json::from_str(&options).unwrap();
    assert_eq!(options["excludeCredentials"].as_array().unwrap().len(), 2);
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    house.vdc.stop().await;
}

#[tokio::test]
async fn questions_end_and_are_not_endless() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let page = Page::local(&house);
    let (mut device, _) = page.add("Laptop", &admin).await;
    let (alone, options) = begun(&page.ask("").await);
    let (making, make) = page.begin("Phone", &admin).await;
    let shown = device.show(&options);
    house.clock.advance(Duration::from_secs(301));
    refused(&page.answer("", &alone, &shown).await, FaultCode::PasskeyExpired, EXPIRED);
    let made = Device::new(&page.origin()).make(&make);
    refused(&page.confirm(&making, &made, &admin).await, FaultCode::PasskeyExpired, EXPIRED);
    refused(&page.answer("", "", &shown).await, FaultCode::PasskeyExpired, EXPIRED);
    let late = page.ask("no challenge").await;
    assert_eq!(late.code(), FaultCode::ChallengeExpired);

    let mut asked = 0;
    let slowed = loop {
        let answer = page.ask("").await;
        if answer.status != 200 {
            break answer;
        }
        asked += 1;
        assert!(asked < 500);
    };
    refused(&slowed, FaultCode::TooManyAttempts, "Too many attempts to sign in.");
    assert!(asked >= 100, "{asked}");
    assert!(slowed.fault().retry_after_ms > 0);
    let needed = page.first_step("admin").await;
    let second = page.show(&mut device, needed["challenge"].as_str().unwrap()).await;
    token(&second);
    house.clock.advance(Duration::from_secs(2));
    token(&page.show(&mut device, "").await);
    house.vdc.stop().await;
}

#[tokio::test]
async fn people_who_may_not_sign_in_do_not_with_a_passkey_either() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (eva_id, eva) = house.user(&admin, "eva").await;
    let page = Page::local(&house);
    let (mut device, _) = page.add("Hers", &eva).await;
    let user = |method: &str, body: Value| {
        let (method, house, admin) = (format!("user.v1.UserService/{method}"), &house, &admin);
        async move {
            let done = house.call(&method, body, admin).await;
            assert_eq!(done.status, 200, "{}", done.body);
            done.body
        }
    };
    user("SetUserDisabled", json!({"id": eva_id, "disabled": true})).await;
    let off = "You may not sign in at present: an administrator turned this account off.";
    refused(&page.show(&mut device, "").await, FaultCode::UserDisabled, off);
    user("SetUserDisabled", json!({"id": eva_id, "disabled": false})).await;
    token(&page.show(&mut device, "").await);

    user("ResetUserPassword", json!({"id": eva_id})).await;
    let gated = page.show(&mut device, "").await;
    assert_eq!(gated.body["session"]["mustChangePassword"], json!(true));
    let tasks = page.call("task.v1.TaskService/ListTasks", json!({}), &token(&gated)).await;
    assert_eq!(tasks.code(), FaultCode::PasswordChangeRequired);

    let store = &house.vdc.core().store;
    let id = eva_id.parse().unwrap();
    let set = async |source| {
        let change = |user: &mut quantix_store::UserRecord| {
            user.source = source;
            Ok::<(), quantix_model::Fault>(())
        };
        store.user_update(id, change).await.unwrap();
    };
    for source in [UserSource::Ldap, UserSource::Oidc] {
        set(source).await;
        let text = "A passkey alone lets in only people whose account is kept here: yours is checked elsewhere at \
                    each sign-in.";
        refused(&page.show(&mut device, "").await, FaultCode::PasskeyNotAlone, text);
    }
    set(UserSource::Local).await;

    let cleared = user("ClearUserFactors", json!({"id": eva_id})).await;
    assert_eq!(cleared.get("hasSecondFactor"), None);
    refused(&page.show(&mut device, "").await, FaultCode::PasskeyUnknown, NOT_HERE);
    let (mut other, _) = page.add("Mine", &admin).await;
    let listed = page.factors(&admin).await;
    let (ceremony, options) = begun(&page.ask("").await);
    let body = json!({"factorId": listed["factors"][0]["id"], "password": PASSWORD});
    assert_eq!(page.factor("RemoveFactor", body, &admin).await.status, 200);
    let shown = other.show(&options);
    refused(&page.answer("", &ceremony, &shown).await, FaultCode::PasskeyUnknown, NOT_HERE);
    token(&house.login(PASSWORD).await);

    let (_, ben) = house.user(&admin, "ben").await;
    let (mut device, _) = page.add("His", &ben).await;
    let users = user("ListUsers", json!({"filter": "ben"})).await;
    user("DeleteUser", json!({"id": users["users"][0]["id"]})).await;
    refused(&page.show(&mut device, "").await, FaultCode::PasskeyUnknown, NOT_HERE);
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_page_opened_by_an_address_says_where_passkeys_work() {
    let house = House::with_names(&["vdc.example"]).await;
    let admin = house.signed_in().await;
    let port = house.vdc.dev_address().unwrap().port();
    let by_name = "Open this page by its name, https://vdc.example. Another name is made known under `names` in the \
                   vDC's settings.";
    let local = format!("Open this page as http://localhost:{port}.");
    for (page, sentence, remedy) in [
        (
            Page::named(&house, "127.0.0.1"),
            "Passkeys belong to a name, and this page was opened as 127.0.0.1.",
            local.as_str(),
        ),
        (Page::named(&house, "vdc.example"), "Browsers use passkeys only over HTTPS.", local.as_str()),
        (
            Page::tls(&house, "192.0.2.7"),
            "Passkeys belong to a name, and this page was opened as 192.0.2.7.",
            by_name,
        ),
        (
            Page::tls(&house, "[2001:db8::7]"),
            "Passkeys belong to a name, and this page was opened as [2001:db8::7].",
            by_name,
        ),
        (
            Page::tls(&house, "evil.example"),
            "This vDC does not know itself by the name evil.example.",
            by_name,
        ),
    ] {
        let begin = json!({"name": "x", "password": PASSWORD});
        for answer in [page.ask("").await, page.factor("BeginPasskey", begin, &admin).await] {
            refused(&answer, FaultCode::PasskeyWrongAddress, sentence);
            assert_eq!(answer.fault().remedy, remedy);
        }
        let reason = page.factors(&admin).await["passkeyReasonIfNot"].clone();
        assert_eq!(reason, format!("{sentence} {remedy}"));
    }
    let page = Page::tls(&house, "vdc.example");
    let (mut device, _) = page.add("Laptop", &admin).await;
    let signed_in = page.show(&mut device, "").await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("quantix_session=qxs_"), "a browser");
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_passkey_made_under_another_name_is_shown_as_such() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let (here, there) = (Page::local(&house), Page::named(&house, "vdc.localhost"));
    let (mut device, _) = here.add("Laptop", &admin).await;
    let why = "It was made for localhost and works only while this page is opened by that name.";
    let listed = there.factors(&admin).await;
    assert_eq!(listed["factors"][0]["reasonIfNotHere"], why);
    assert_eq!(listed["factors"][0]["site"], "localhost");
    let needed = there.first_step("admin").await;
    assert_eq!((needed.get("passkey"), &needed["passkeyReasonIfNot"]), (None, &json!(why)));
    let answer = there.ask(needed["challenge"].as_str().unwrap()).await;
    let text = "You have no passkey for the name that this page was opened by.";
    refused(&answer, FaultCode::PasskeyUnknown, text);
    // A device would not; what only says it is one is not believed.
    device.origin = there.origin();
    let address = "The passkey was asked for by a page of another address.";
    refused(&there.show(&mut device, "").await, FaultCode::PasskeyRefused, address);
    let by_address = Page::named(&house, "127.0.0.1").first_step("admin").await;
    assert!(
        by_address["passkeyReasonIfNot"].as_str().unwrap().contains("opened as 127.0.0.1"),
        "{by_address}"
    );
    house.vdc.stop().await;
}

#[tokio::test]
async fn making_one_asks_for_the_password_and_for_somebody_whose_account_is_here() {
    let house = House::new().await;
    let admin = house.signed_in().await;
    let page = Page::local(&house);
    let begin = |name: &str, password: &str| {
        let body = json!({"name": name, "password": password});
        let (page, admin) = (&page, &admin);
        async move { page.factor("BeginPasskey", body, admin).await }
    };
    let stolen = begin("x", "not mine").await;
    assert_eq!((stolen.code(), stolen.fault().field.as_str()), (FaultCode::WrongCredentials, "password"));
    assert_eq!(begin("", PASSWORD).await.fault().field, "name");
    for n in 0..20 {
        page.add(&format!("key {n}"), &admin).await;
    }
    refused(&begin("x", PASSWORD).await, FaultCode::Conflict, "You have 20 second factors already.");

    let (id, eva) = house.user(&admin, "eva").await;
    let change = |user: &mut quantix_store::UserRecord| {
        user.source = UserSource::Oidc;
        Ok::<(), quantix_model::Fault>(())
    };
    house.vdc.core().store.user_update(id.parse().unwrap(), change).await.unwrap();
    let text = "Your OpenID Connect provider checks you at each sign-in; a passkey here would go past it.";
    let answer = page.factor("BeginPasskey", json!({"name": "x"}), &eva).await;
    refused(&answer, FaultCode::UserNotLocal, text);
    assert!(page.factors(&eva).await["passkeyReasonIfNot"].as_str().unwrap().starts_with(text));
    house.vdc.stop().await;
}
