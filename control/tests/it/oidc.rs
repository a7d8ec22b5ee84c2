//! Signing in at a provider: the whole way with one that does well, and each way in which it, or somebody in between, does
//! not. Each ends on the sign-in page with a code and a sentence.

use crate::house::{Answer, House};
use crate::provider::{CLIENT, Provider, SECRET, Trouble};
use openidconnect::url::Url;
use quantix_model::FaultCode;
use quantix_model::fault::Fault;
use serde_json::{Value, json};
use std::time::Duration;

const GET: &str = "session.v1.SessionService/GetSession";

/// A vDC, a provider, and an admin's token.
struct Scene {
    house: House,
    provider: Provider,
    admin: String,
    source: Value,
    browser: reqwest::Client,
}

/// A browser at the provider.
struct Away {
    sent: Url,
    cookie: String,
}

impl Away {
    fn word(&self, name: &str) -> String {
        let (_, value) = self.sent.query_pairs().find(|(key, _)| key == name).unwrap();
        value.into_owned()
    }
}

impl Scene {
    async fn new(changes: Value) -> Scene {
        let house = House::new().await;
        let (admin, provider) = (house.signed_in().await, Provider::start(&house.clock).await);
        let mut wish = json!({
            "title": "Works",
            "enabled": true,
            "oidc": {"issuerUrl": provider.url, "clientId": CLIENT, "scopes": ["profile"], "groupsClaim": "groups"},
            "secret": SECRET,
            "rules": [{"group": "OPS", "role": "operator"}],
            "createUsers": true,
        });
        for (key, value) in changes.as_object().unwrap() {
            wish[key] = value.clone();
        }
        let body = json!({"source": wish});
        let made = house.call("identity.v1.IdentityService/CreateIdentitySource", body, &admin).await;
        assert_eq!(made.status, 200, "{}", made.body);
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Scene { house, provider, admin, source: made.body, browser }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = self.browser.get(self.house.url(path)).header("sec-fetch-mode", "navigate");
        self.house.send(request.header("cookie", cookie)).await
    }

    fn id(&self) -> &str {
        self.source["id"].as_str().unwrap()
    }

    async fn begin(&self) -> Answer {
        self.get(&format!("/api/v1/sign-in/oidc/{}?next=%2Fvms%3Ffilter%3D%2527a&here=1", self.id()), "")
            .await
    }

    /// Follows the sign-in page's link.
    async fn go(&self) -> Away {
        let answer = self.begin().await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Lax", "Path=/api/v1/sign-in/oidc", "Max-Age=600"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let sent = Url::parse(answer.headers["location"].to_str().unwrap()).unwrap();
        Away { sent, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    /// Comes back with a code.
    async fn back(&self, away: &Away, code: &str) -> Answer {
        let path = format!("/api/v1/sign-in/oidc/callback?state={}&code={code}", away.word("state"));
        self.get(&path, &away.cookie).await
    }

    /// There and back.
    async fn sign_in(&self) -> Answer {
        let away = self.go().await;
        let code = self.provider.code(&away.sent);
        self.back(&away, &code).await
    }

    /// The session cookie of a sign-in that went well.
    async fn session(&self) -> String {
        let answer = self.sign_in().await;
        session(&answer)
    }

    /// What the sign-in page would show.
    async fn fault(&self, answer: &Answer) -> Fault {
        assert_eq!(answer.status, 303, "{}", answer.body);
        for cookie in answer.headers.get_all("set-cookie") {
            assert!(!cookie.to_str().unwrap().contains("qxs_"), "nobody is let in");
        }
        let to = self.house.url(answer.headers["location"].to_str().unwrap());
        let to = Url::parse(&to).unwrap();
        assert_eq!(to.path(), "/login");
        let (_, id) = to.query_pairs().find(|(key, _)| key == "fault").unwrap();
        let told = self.house.call("identity.v1.IdentityService/GetSignInFault", json!({"id": id}), "").await;
        let fault = &told.body["fault"];
        let word = fault["code"].as_str().unwrap_or_else(|| panic!("{}", told.body));
        let code = FaultCode::ALL.iter().find(|code| format!("FAULT_CODE_{code}") == word).unwrap();
        let text = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
        let fault = Fault::new(*code, text("message"), text("remedy")).because(text("cause"));
        assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
        fault
    }

    async fn who(&self, cookie: &str) -> Answer {
        let url = self.house.url("/quantix.session.v1.SessionService/GetSession");
        self.house.send(self.house.http.post(url).header("cookie", cookie).json(&json!({}))).await
    }

    async fn update(&mut self, changes: Value) {
        let mut wish = self.source.clone();
        let generation = wish["generation"].clone();
        for gone in ["id", "generation", "people", "hasSecret", "createdAt", "changedAt"] {
            wish.as_object_mut().unwrap().remove(gone);
        }
        for (key, value) in changes.as_object().unwrap() {
            wish[key] = value.clone();
        }
        let body = json!({"id": self.id(), "generation": generation, "source": wish});
        let method = "identity.v1.IdentityService/UpdateIdentitySource";
        let changed = self.house.call(method, body, &self.admin).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        self.source = changed.body;
    }

    async fn test(&self) -> Value {
        let body = json!({"id": self.id()});
        let answer =
            self.house.call("identity.v1.IdentityService/TestIdentitySource", body, &self.admin).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    async fn end(self) {
        self.house.vdc.stop().await;
    }
}

fn session(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{:?} {}", answer.headers.get("location"), answer.body);
    let all = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let all: Vec<&str> = all.collect();
    let cookie = all.iter().find(|cookie| cookie.starts_with("quantix_session=qxs_")).unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/;"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(all.iter().any(|c| c.starts_with("quantix_sign_in_") && c.contains("Max-Age=0")), "used up");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn in_by_a_provider_and_out_again() {
    let scene = Scene::new(json!({})).await;
    let answer = scene.sign_in().await;
    let page = answer.body.as_str().unwrap();
    assert!(page.contains("url=/vms?filter=%27a\"") && !page.contains("<script"), "{page}");
    assert!(answer.headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    let cookie = session(&answer);
    let who = scene.who(&cookie).await.body;
    assert_eq!((&who["userName"], who.get("hasPassword")), (&json!("ann"), None), "{who}");
    assert!(who["permissions"].as_array().unwrap().contains(&json!("vm.power")), "by the rule: {who}");

    let twice = scene.session().await;
    assert_eq!(scene.who(&twice).await.body["userId"], who["userId"], "the same person");
    assert_eq!(scene.provider.seen("discovery"), 1, "what it told of itself is kept");
    let audit = scene.house.call("audit.v1.AuditService/ListAudit", json!({}), &scene.admin).await.body;
    let rows = audit["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["action"] == "/api/v1/sign-in/oidc/callback").unwrap();
    assert_eq!((&row["actorName"], &row["result"]), (&json!("ann"), &json!("OK")), "{row}");

    let out = scene.house.url("/quantix.session.v1.SessionService/Logout");
    let out = scene.house.http.post(out).header("cookie", &cookie).json(&json!({}));
    assert_eq!(scene.house.send(out).await.status, 200);
    assert_eq!(scene.who(&cookie).await.code(), FaultCode::NotSignedIn);
    assert_eq!(scene.who(&twice).await.status, 200);
    scene.end().await;
}

#[tokio::test]
async fn what_a_provider_says_wrong_lets_nobody_in() {
    let scene = Scene::new(json!({})).await;
    let now = scene.house.clock.now().0 / 1000;
    type Change = Box<dyn Fn(&mut crate::provider::Script)>;
    let claims = |claims: Value| -> Change { Box::new(move |script| script.claims = claims.clone()) };
    let header = |header: Value| -> Change { Box::new(move |script| script.header = header.clone()) };
    let invalid = FaultCode::IdentitySourceInvalid;
    let cases: Vec<(&str, Change, FaultCode, &str)> = vec![
        ("issuer", claims(json!({"iss": "https://evil.example"})), invalid, "another issuer"),
        ("audience", claims(json!({"aud": "other"})), invalid, "another application"),
        ("audiences", claims(json!({"aud": [CLIENT, "other"]})), invalid, "another application"),
        ("nonce", claims(json!({"nonce": "x"})), invalid, "another sign-in"),
        ("no nonce", claims(json!({"nonce": null})), invalid, "another sign-in"),
        ("expired", claims(json!({"exp": now - 120})), invalid, "expired"),
        ("no end", claims(json!({"exp": null})), invalid, "cannot be read"),
        ("subject", claims(json!({"sub": ""})), invalid, "who it is about"),
        ("no name", claims(json!({"preferred_username": null})), invalid, "no claim preferred_username"),
        ("name", claims(json!({"preferred_username": "<a b>"})), invalid, "nobody can have"),
        ("forged", Box::new(|script| script.forge = true), invalid, "signature"),
        ("none", header(json!({"alg": "none"})), invalid, "signature"),
        ("by secret", header(json!({"alg": "HS256"})), invalid, "signature"),
        ("unknown key", header(json!({"kid": "k9"})), invalid, "signature"),
        ("critical", header(json!({"crit": ["x"]})), invalid, "not to be trusted"),
        ("html", Box::new(|script| script.token = Some(Trouble::Html)), invalid, "cannot be read"),
        ("endless", Box::new(|script| script.token = Some(Trouble::Endless)), invalid, "too large"),
        (
            "elsewhere",
            Box::new(|script| script.token = Some(Trouble::ToMetadata)),
            invalid,
            "points elsewhere",
        ),
        (
            "secret",
            Box::new(|script| script.error = Some((401, json!({"error": "invalid_client"})))),
            FaultCode::IdentitySourceRefused,
            "refused the sign-in",
        ),
        ("no token", Box::new(|script| script.error = Some((200, json!({})))), invalid, "no ID token"),
    ];
    for (name, change, code, sentence) in cases {
        scene.provider.plays(|script| {
            (script.claims, script.header) = (json!({}), json!({}));
            (script.forge, script.token, script.error) = (false, None, None);
            change(script);
        });
        let fault = scene.fault(&scene.sign_in().await).await;
        assert_eq!(fault.code, code, "{name}: {fault:?}");
        assert!(fault.message.contains(sentence), "{name}: {fault:?}");
        assert!(!format!("{fault:?}").contains("Canary"), "{name}: {fault:?}");
        scene.house.clock.advance(Duration::from_secs(10));
    }
    let people = scene.house.call("user.v1.UserService/ListUsers", json!({}), &scene.admin).await.body;
    assert_eq!(people["total"], json!("1"), "nobody was made");
    scene.end().await;
}

#[tokio::test]
async fn a_little_skew_is_taken_and_a_new_key_is_fetched() {
    let scene = Scene::new(json!({})).await;
    let now = scene.house.clock.now().0 / 1000;
    scene.provider.plays(|script| script.claims = json!({"exp": now - 30}));
    scene.session().await;
    scene.provider.plays(|script| script.claims = json!({}));
    scene.provider.rotate();
    let before = scene.provider.seen("jwks");
    scene.session().await;
    assert_eq!(scene.provider.seen("jwks"), before + 1);
    scene.session().await;
    assert_eq!(scene.provider.seen("jwks"), before + 1, "and kept");
    scene.end().await;
}

#[tokio::test]
async fn a_state_is_good_once_in_the_browser_that_began() {
    let scene = Scene::new(json!({})).await;
    let (mine, other) = (scene.go().await, scene.go().await);
    let lost = async |answer: Answer| {
        let fault = scene.fault(&answer).await;
        assert_eq!(fault.code, FaultCode::SignInStateLost, "{fault:?}");
        assert!(fault.message.contains("not begun in this browser"), "{fault:?}");
    };
    let code = scene.provider.code(&mine.sent);
    let stranger = Away { sent: mine.sent.clone(), cookie: String::new() };
    lost(scene.back(&stranger, &code).await).await;
    let stolen = Away { sent: mine.sent.clone(), cookie: other.cookie.clone() };
    lost(scene.back(&stolen, &code).await).await;
    lost(scene.get("/api/v1/sign-in/oidc/callback?state=x&code=y", &mine.cookie).await).await;
    lost(scene.get("/api/v1/sign-in/oidc/callback", &mine.cookie).await).await;
    session(&scene.back(&mine, &code).await);
    lost(scene.back(&mine, &code).await).await;
    // A code that the provider has redeemed already.
    let fault = scene.fault(&scene.back(&other, &code).await).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceRefused, "{fault:?}");
    assert!(
        fault.cause.contains("invalid_grant") && fault.cause.contains("<b>no</b>"),
        "its own words: {fault:?}"
    );
    let late = scene.go().await;
    scene.house.clock.advance(Duration::from_secs(601));
    lost(scene.back(&late, &scene.provider.code(&late.sent)).await).await;
    scene.end().await;
}

#[tokio::test]
async fn a_provider_that_says_no_is_quoted_and_another_one_is_not_believed() {
    let scene = Scene::new(json!({})).await;
    let away = scene.go().await;
    let long = "x".repeat(5000);
    let path = format!(
        "/api/v1/sign-in/oidc/callback?state={}&error=access_denied&error_description=%3Cscript%3E{long}",
        away.word("state")
    );
    let answer = scene.get(&path, &away.cookie).await;
    assert!(!answer.headers["location"].to_str().unwrap().contains("script"));
    let fault = scene.fault(&answer).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceRefused);
    assert!(fault.cause.starts_with("access_denied: <script>xxx") && fault.cause.len() <= 300, "{fault:?}");

    let away = scene.go().await;
    let code = scene.provider.code(&away.sent);
    let path = format!(
        "/api/v1/sign-in/oidc/callback?state={}&code={code}&iss=https%3A%2F%2Fevil.example",
        away.word("state")
    );
    let fault = scene.fault(&scene.get(&path, &away.cookie).await).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceInvalid);
    assert!(fault.message.contains("Another identity provider answered"), "{fault:?}");
    assert_eq!(scene.provider.seen("token"), 0, "it never saw the code");
    scene.end().await;
}

#[tokio::test]
async fn a_provider_that_is_away_slow_or_something_else_is_told_apart() {
    let scene = Scene::new(json!({})).await;
    for (trouble, code, sentence) in [
        (Trouble::Html, FaultCode::IdentitySourceInvalid, "is no identity provider"),
        (Trouble::Broken, FaultCode::IdentitySourceInvalid, "is no identity provider"),
        (Trouble::Endless, FaultCode::IdentitySourceInvalid, "too large"),
        (Trouble::ToMetadata, FaultCode::IdentitySourceInvalid, "points elsewhere"),
        (Trouble::Slow, FaultCode::IdentitySourceUnreachable, "does not answer"),
    ] {
        scene.provider.plays(|script| script.discovery = Some(trouble));
        scene.house.clock.advance(Duration::from_secs(10));
        let fault = scene.fault(&scene.begin().await).await;
        assert_eq!(fault.code, code, "{fault:?}");
        assert!(fault.message.contains(sentence), "{fault:?}");
        if trouble == Trouble::Slow {
            // Those who come right after are told the same, without waiting.
            let seen = scene.provider.seen("discovery");
            assert_eq!(scene.fault(&scene.begin().await).await, fault);
            assert_eq!(scene.provider.seen("discovery"), seen);
        } else {
            let tested = scene.test().await;
            assert_eq!(tested["fault"]["code"], json!(format!("FAULT_CODE_{code}")), "{tested}");
        }
    }
    scene.provider.plays(|script| script.discovery = None);
    for (document, sentence) in [
        (json!({"issuer": "https://evil.example"}), "another issuer"),
        (json!({"token_endpoint": "http://id.example.org/token"}), "cannot be used"),
        (json!({"token_endpoint": "https://169.254.169.254/token"}), "cannot be used"),
        (json!({"jwks_uri": "http://169.254.169.254/keys"}), "cannot be used"),
        (json!({"token_endpoint": null}), "no token endpoint"),
    ] {
        scene.provider.plays(|script| script.document = document);
        scene.house.clock.advance(Duration::from_secs(10));
        let fault = scene.fault(&scene.begin().await).await;
        assert_eq!(fault.code, FaultCode::IdentitySourceInvalid, "{fault:?}");
        assert!(fault.message.contains(sentence), "{fault:?}");
    }
    let facts = |tested: &Value| tested["facts"].as_array().map_or(0, Vec::len);
    scene.provider.plays(|script| script.document = json!({}));
    let tested = scene.test().await;
    assert_eq!((facts(&tested), tested.get("fault")), (4, None), "{tested}");
    scene.end().await;
}

#[tokio::test]
async fn nobody_answers_there() {
    let mut scene = Scene::new(json!({})).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    scene.update(json!({"oidc": {"issuerUrl": url, "clientId": CLIENT}, "secret": SECRET})).await;
    let fault = scene.fault(&scene.begin().await).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable);
    assert!(
        fault.message.contains("127.0.0.1") && fault.cause.to_lowercase().contains("refused"),
        "{fault:?}"
    );
    assert!(fault.remedy.contains("local account"), "{fault:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_wrong_secret_is_found_by_the_test() {
    let mut scene = Scene::new(json!({})).await;
    scene.update(json!({"secret": "wrong"})).await;
    let tested = scene.test().await;
    assert_eq!(tested["fault"]["code"], json!("FAULT_CODE_IDENTITY_SOURCE_REFUSED"), "{tested}");
    assert!(tested["fault"]["message"].as_str().unwrap().contains("client id or its secret"), "{tested}");
    scene.end().await;
}

#[tokio::test]
async fn groups_bring_roles_and_take_them_again() {
    let mut scene = Scene::new(json!({"defaultRole": "viewer"})).await;
    let may = async |scene: &Scene, groups: Value| {
        scene.provider.plays(|script| script.claims = json!({ "groups": groups }));
        let cookie = scene.session().await;
        let who = scene.who(&cookie).await.body;
        let has = |word: &str| who["permissions"].as_array().is_some_and(|all| all.contains(&json!(word)));
        (has("vm.view"), has("vm.power"), has("people.manage"))
    };
    assert_eq!(may(&scene, json!(["a", "oPs"])).await, (true, true, false));
    for strange in
        [json!([]), json!(null), json!({"ops": true}), json!(7), json!([["ops"], {"name": "ops"}, 1])]
    {
        assert_eq!(may(&scene, strange.clone()).await, (true, false, false), "{strange}");
    }
    assert_eq!(may(&scene, json!("ops")).await, (true, true, false), "one word");
    scene.update(json!({"rules": [{"group": "ops", "role": "admin"}], "defaultRole": ""})).await;
    assert_eq!(may(&scene, json!(["ops"])).await, (true, true, true), "the rules of now");
    assert_eq!(may(&scene, json!(["x"])).await, (false, false, false));

    // What was given by hand stays.
    let people =
        scene.house.call("user.v1.UserService/ListUsers", json!({"filter": "ann"}), &scene.admin).await;
    let grant = json!({"userId": people.body["users"][0]["id"], "role": "viewer"});
    assert_eq!(scene.house.call("role.v1.RoleService/Grant", grant, &scene.admin).await.status, 200);
    assert_eq!(may(&scene, json!(["x"])).await, (true, false, false));
    scene.end().await;
}

#[tokio::test]
async fn what_the_token_leaves_out_userinfo_tells_of_the_same_person() {
    let scene = Scene::new(json!({})).await;
    scene.provider.plays(|script| {
        script.claims = json!({"preferred_username": null, "groups": null});
        script.userinfo = Some(json!({"sub": "sub-1", "preferred_username": "bob", "groups": ["ops"]}));
    });
    let who = scene.who(&scene.session().await).await.body;
    assert_eq!(who["userName"], json!("bob"));
    assert!(who["permissions"].as_array().unwrap().contains(&json!("vm.power")), "{who}");
    scene
        .provider
        .plays(|script| script.userinfo = Some(json!({"sub": "sub-2", "preferred_username": "eve"})));
    let fault = scene.fault(&scene.sign_in().await).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceInvalid);
    assert!(fault.cause.contains("somebody else"), "{fault:?}");
    scene.end().await;
}

#[tokio::test]
async fn who_is_here_and_who_may_come() {
    let mut scene = Scene::new(json!({})).await;
    // A name opens nothing: the local admin is somebody else.
    scene.provider.plays(|script| script.claims = json!({"preferred_username": "ADMIN"}));
    let fault = scene.fault(&scene.sign_in().await).await;
    assert_eq!(fault.code, FaultCode::NameTaken);
    assert!(fault.message.contains("somebody else called ADMIN"), "{fault:?}");

    scene.provider.plays(|script| script.claims = json!({}));
    let first = scene.session().await;
    let id = scene.who(&first).await.body["userId"].clone();
    // Renamed at the provider: taken up when it is free, and when it is not, the one before stays.
    scene.provider.plays(|script| script.claims = json!({"preferred_username": "anna"}));
    assert_eq!(scene.who(&scene.session().await).await.body["userName"], json!("anna"));
    scene.provider.plays(|script| script.claims = json!({"preferred_username": "admin"}));
    let still = scene.who(&scene.session().await).await.body;
    assert_eq!((&still["userName"], &still["userId"]), (&json!("anna"), &id));

    scene.update(json!({"createUsers": false})).await;
    scene.session().await;
    scene.provider.plays(|script| script.claims = json!({"sub": "sub-2", "preferred_username": "bob"}));
    let fault = scene.fault(&scene.sign_in().await).await;
    assert_eq!(fault.code, FaultCode::PersonUnknown);
    assert!(fault.message.contains("bob is not among"), "{fault:?}");

    scene.provider.plays(|script| script.claims = json!({}));
    let off = json!({"id": id, "disabled": true});
    let method = "user.v1.UserService/SetUserDisabled";
    assert_eq!(scene.house.call(method, off, &scene.admin).await.status, 200);
    let fault = scene.fault(&scene.sign_in().await).await;
    assert_eq!(fault.code, FaultCode::UserDisabled);
    assert_eq!(scene.who(&first).await.code(), FaultCode::NotSignedIn);
    scene.end().await;
}

#[tokio::test]
async fn a_source_that_is_turned_off_or_changed_meanwhile() {
    let mut scene = Scene::new(json!({})).await;
    let session_before = scene.session().await;
    let away = scene.go().await;
    let code = scene.provider.code(&away.sent);
    scene.update(json!({"title": "Plant"})).await;
    let fault = scene.fault(&scene.back(&away, &code).await).await;
    assert_eq!(fault.code, FaultCode::SignInStateLost);
    assert!(fault.message.contains("Plant was changed while"), "{fault:?}");

    let away = scene.go().await;
    let code = scene.provider.code(&away.sent);
    scene.update(json!({"enabled": false})).await;
    for answer in [scene.back(&away, &code).await, scene.begin().await] {
        let fault = scene.fault(&answer).await;
        assert_eq!(fault.code, FaultCode::IdentitySourceDisabled);
        assert!(fault.message.contains("Plant is turned off"), "{fault:?}");
    }
    assert_eq!(scene.who(&session_before).await.code(), FaultCode::NotSignedIn);
    scene.end().await;
}

#[tokio::test]
async fn only_pages_only_here_and_not_too_often() {
    let scene = Scene::new(json!({})).await;
    let path = format!("/api/v1/sign-in/oidc/{}?next=%2Fvms", scene.id());
    // Cookies belong to a name: begun under another, it goes on where the provider sends people back to.
    let answer = scene.get(&path, "").await;
    let own = scene.house.vdc.core().public_url.clone();
    let to = answer.headers["location"].to_str().unwrap();
    assert_eq!(to, format!("{own}/api/v1/sign-in/oidc/{}?next=%2Fvms&here=1", scene.id()));
    assert!(answer.headers.get("set-cookie").is_none());

    let image = scene.browser.get(scene.house.url(&path)).header("sec-fetch-mode", "no-cors");
    assert_eq!(scene.house.send(image).await.code(), FaultCode::Forbidden);
    let head = scene.browser.head(scene.house.url(&path));
    assert_eq!(scene.house.send(head).await.status, 403);
    for wrong in ["x", "01900000-0000-7000-8000-000000000000"] {
        let answer = scene.get(&format!("/api/v1/sign-in/oidc/{wrong}?here=1"), "").await;
        let code = scene.fault(&answer).await.code;
        assert!([FaultCode::NotFound, FaultCode::InvalidArgument].contains(&code), "{code}");
    }
    let mut slowed = 0;
    for _ in 0..40 {
        let answer = scene.begin().await;
        if answer.headers["location"].to_str().unwrap().starts_with("/login") {
            assert_eq!(scene.fault(&answer).await.code, FaultCode::TooManyAttempts);
            slowed += 1;
        }
    }
    assert!(slowed >= 8, "{slowed}");
    assert_eq!(scene.house.call(GET, json!({}), &scene.admin).await.status, 200, "others go on");
    scene.end().await;
}
