//! People of a real directory sign in to a real vDC.

use aws_lc_rs::hmac;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::{PASSWORD, until};
use quantix_lab::slapd::{READER_PASSWORD, Slapd, password_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What was answered.
#[derive(Debug)]
struct Said {
    status: u16,
    body: Value,
}

impl Said {
    fn token(&self) -> String {
        let token = self.body["token"].as_str();
        token.unwrap_or_else(|| panic!("nobody is let in: {} {}", self.status, self.body)).to_owned()
    }

    /// Code of the fault.
    fn code(&self) -> &'static str {
        let detail = serde_json::from_value(self.body["details"][0].clone());
        let mut error = connectrpc::ConnectError::internal("x");
        error.details.push(detail.unwrap_or_else(|err| panic!("{err}: {} {}", self.status, self.body)));
        quantix_contract::fault::from_connect(&error).expect("a fault").code.as_str()
    }
}

/// One call as JSON.
async fn call(cluster: &Cluster, method: &str, body: Value, token: &str) -> Said {
    let body = body.to_string();
    let mut line = cluster.client.dial().connect(&[b"http/1.1"]).await.expect("the vDC answers");
    let head = format!(
        "POST /quantix.{method} HTTP/1.1\r\nhost: vdc\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    line.write_all(head.as_bytes()).await.expect("it listens");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), line.read_to_end(&mut answer)).await;
    let _ = read.expect("an answer comes");
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let json = text.find('{').zip(text.rfind('}')).map(|(from, to)| text[from..=to].to_owned());
    let body = json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or(Value::Null);
    Said { status, body }
}

async fn login(cluster: &Cluster, name: &str, password: &str) -> Said {
    call(cluster, "session.v1.SessionService/Login", json!({"userName": name, "password": password}), "")
        .await
}

async fn session(cluster: &Cluster, token: &str) -> Said {
    call(cluster, "session.v1.SessionService/GetSession", json!({}), token).await
}

fn wish(slapd: &Slapd) -> Value {
    let config = slapd.config();
    json!({
        "title": "Yard",
        "enabled": true,
        "ldap": {
            "urls": config.urls, "caPem": config.ca_pem, "bindDn": config.bind_dn,
            "userBase": config.user_base, "userFilter": config.user_filter,
            "idAttribute": config.id_attribute, "nameAttribute": config.name_attribute,
            "groupBase": config.group_base, "groupFilter": config.group_filter,
            "groupNameAttribute": config.group_name_attribute,
        },
        "secret": READER_PASSWORD,
        "rules": [{"group": "Admins", "role": "admin"}, {"group": "operators", "role": "operator"}],
        "defaultRole": "viewer",
        "createUsers": true,
    })
}

/// A vDC, its admin's token, a directory, and the source that was made of it.
struct Yard {
    cluster: Cluster,
    admin: String,
    slapd: Slapd,
    source: Value,
    _dir: tempfile::TempDir,
}

impl Yard {
    async fn start() -> Yard {
        let dir = tempfile::tempdir().unwrap();
        let slapd = Slapd::start(dir.path());
        let cluster = Cluster::apart().await;
        let admin = login(&cluster, "admin", PASSWORD).await.token();
        let made = call(
            &cluster,
            "identity.v1.IdentityService/CreateIdentitySource",
            json!({"source": wish(&slapd)}),
            &admin,
        );
        let made = made.await;
        assert_eq!(made.status, 200, "{made:?}");
        Yard { cluster, admin, slapd, source: made.body, _dir: dir }
    }

    async fn login(&self, name: &str) -> Said {
        login(&self.cluster, name, &password_of(name)).await
    }

    async fn call(&self, method: &str, body: Value, token: &str) -> Said {
        call(&self.cluster, method, body, token).await
    }

    async fn change(&mut self, change: Value) {
        let mut source = wish(&self.slapd);
        for (key, value) in change.as_object().unwrap() {
            source[key] = value.clone();
        }
        let body =
            json!({"id": self.source["id"], "generation": self.source["generation"], "source": source});
        let changed = self.call("identity.v1.IdentityService/UpdateIdentitySource", body, &self.admin).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        self.source = changed.body;
    }

    async fn user(&self, name: &str) -> Value {
        let listed = self.call("user.v1.UserService/ListUsers", json!({}), &self.admin).await;
        let users = listed.body["users"].as_array().unwrap_or_else(|| panic!("{listed:?}"));
        users.iter().find(|user| user["name"] == json!(name)).cloned().unwrap_or(Value::Null)
    }
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_a_directory_come_in_with_its_roles() {
    let mut yard = Yard::start().await;
    let test = yard.call(
        "identity.v1.IdentityService/TestIdentitySource",
        json!({"id": yard.source["id"]}),
        &yard.admin,
    );
    let test = test.await;
    assert!(
        words(&test.body["facts"]).contains(&"3 groups found.") && test.body.get("fault").is_none(),
        "{test:?}"
    );
    let mut wrong = wish(&yard.slapd);
    wrong["secret"] = json!("not it");
    let body = json!({"id": yard.source["id"], "source": wrong});
    let test = yard.call("identity.v1.IdentityService/TestIdentitySource", body, &yard.admin).await;
    assert_eq!(test.body["fault"]["field"], json!("secret"), "{test:?}");
    let listed = yard.call("identity.v1.IdentityService/ListIdentitySources", json!({}), &yard.admin).await;
    assert!(!listed.body.to_string().contains(READER_PASSWORD));

    let ada = yard.login("ada").await.token();
    let seen = session(&yard.cluster, &ada).await;
    assert_eq!(seen.body["userName"], json!("ada"));
    assert!(words(&seen.body["permissions"]).contains(&"people.manage"), "{seen:?}");
    let bob = yard.login("bob").await.token();
    let seen = session(&yard.cluster, &bob).await;
    assert!(!words(&seen.body["permissions"]).contains(&"vm.power"), "{seen:?}");
    let row = yard.user("bob").await;
    assert_eq!(
        (&row["source"], &row["identitySourceTitle"]),
        (&json!("USER_SOURCE_LDAP"), &json!("Yard")),
        "{row}"
    );
    // Groups count at the next sign-in.
    yard.slapd.join("operators", "bob");
    yard.slapd.leave("operators", "ada");
    let bob = yard.login("bob").await.token();
    assert!(words(&session(&yard.cluster, &bob).await.body["permissions"]).contains(&"vm.power"));

    // Renamed there, renamed here, and still the same person.
    yard.slapd.leave("operators", "bob");
    yard.slapd.rename("bob", "robert");
    let robert = login(&yard.cluster, "robert", &password_of("bob")).await.token();
    let seen = session(&yard.cluster, &robert).await;
    assert_eq!((&seen.body["userName"], &seen.body["userId"]), (&json!("robert"), &row["id"]));
    assert_eq!(yard.login("bob").await.code(), "WRONG_CREDENTIALS");
    // Whoever gets the name there is somebody else here.
    yard.slapd.add("bob");
    yard.login("bob").await.token();
    assert_ne!(yard.user("bob").await["id"], row["id"]);

    for (name, password) in [
        ("ada", "wrong"),
        ("ada", ""),
        ("nobody", "wrong"),
        ("*", "wrong"),
        ("ada)(uid=*", "x"),
        (" ada", "ada's password"),
    ] {
        assert_eq!(
            login(&yard.cluster, name, password).await.code(),
            "WRONG_CREDENTIALS",
            "{name} {password}"
        );
    }
    assert_eq!(yard.login("locked").await.code(), "IDENTITY_SOURCE_REFUSED");
    yard.change(json!({"createUsers": false})).await;
    assert_eq!(yard.login("carol").await.code(), "PERSON_UNKNOWN");
    yard.login("ada").await.token();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_name_is_nobody_elses() {
    let mut yard = Yard::start().await;
    // The directory has an `admin`, too, who is let in there.
    for name in ["admin", "ADMIN", "Admin"] {
        assert_eq!(login(&yard.cluster, name, &password_of("admin")).await.code(), "WRONG_CREDENTIALS");
    }
    // By another attribute the directory finds that entry under a name that is nobody's here.
    let mut ldap = wish(&yard.slapd)["ldap"].clone();
    ldap["userFilter"] = json!("(employeeNumber={name})");
    yard.change(json!({"ldap": ldap})).await;
    let other = login(&yard.cluster, "admin-1", &password_of("admin")).await;
    assert_eq!(other.code(), "NAME_TAKEN", "{other:?}");
    login(&yard.cluster, "admin", PASSWORD).await.token();
    // Under that other name somebody else comes in as who they are.
    let ada = login(&yard.cluster, "ada-1", &password_of("ada")).await.token();
    assert_eq!(session(&yard.cluster, &ada).await.body["userName"], json!("ada"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_turned_off_stays_out() {
    let mut yard = Yard::start().await;
    let ada = yard.login("ada").await.token();
    let id = yard.user("ada").await["id"].clone();
    let off = |disabled: bool| json!({"id": id, "disabled": disabled});
    assert_eq!(yard.call("user.v1.UserService/SetUserDisabled", off(true), &yard.admin).await.status, 200);
    assert_eq!(session(&yard.cluster, &ada).await.status, 401);
    assert_eq!(yard.login("ada").await.code(), "USER_DISABLED");
    assert_eq!(yard.call("user.v1.UserService/SetUserDisabled", off(false), &yard.admin).await.status, 200);
    let ada = yard.login("ada").await.token();
    yard.change(json!({"enabled": false})).await;
    assert_eq!(session(&yard.cluster, &ada).await.status, 401);
    assert_eq!(yard.login("ada").await.code(), "WRONG_CREDENTIALS");
}

/// Six digits of an app that was given `secret` (RFC 6238, RFC 4226, 5.3).
fn totp(secret: &str, seconds: i64) -> String {
    let mut bits = (0_u32, 0_u32);
    let mut key = Vec::new();
    for letter in secret.bytes().filter(|byte| *byte != b'=') {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|one| *one == letter).unwrap();
        bits = (bits.0 << 5 | u32::try_from(value).unwrap(), bits.1 + 5);
        if bits.1 >= 8 {
            bits.1 -= 8;
            key.push(u8::try_from(bits.0 >> bits.1 & 0xff).unwrap());
            bits.0 &= (1 << bits.1) - 1;
        }
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &(seconds / 30).to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 0xf);
    let number = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_factors_and_proofs() {
    let yard = Yard::start().await;
    let ada = yard.login("ada").await.token();
    let begin = |password: &str| json!({"name": "Phone", "password": password});
    let factor = "factor.v1.FactorService";
    let refused = yard.call(&format!("{factor}/BeginTotp"), begin("wrong"), &ada).await;
    assert_eq!(refused.code(), "WRONG_CREDENTIALS", "{refused:?}");
    let begun = yard.call(&format!("{factor}/BeginTotp"), begin(&password_of("ada")), &ada).await;
    let secret = begun.body["secret"].as_str().unwrap_or_else(|| panic!("{begun:?}")).to_owned();
    let now = || yard.cluster.clock.now().0 / 1000;
    let confirm = json!({"factorId": begun.body["factorId"], "code": totp(&secret, now())});
    let done = yard.call(&format!("{factor}/ConfirmTotp"), confirm, &ada).await;
    let codes = done.body["recoveryCodes"].clone();
    let first = yard.login("ada").await;
    assert_eq!(first.body.get("token"), None, "{first:?}");
    let challenge = first.body["secondFactor"]["challenge"].clone();
    yard.cluster.clock.advance(Duration::from_secs(60));
    let proof = json!({"challenge": challenge, "totpCode": totp(&secret, now())});
    yard.call("session.v1.SessionService/ConfirmLogin", proof, "").await.token();
    let challenge = yard.login("ada").await.body["secondFactor"]["challenge"].clone();
    let proof = json!({"challenge": challenge, "recoveryCode": codes[0]});
    yard.call("session.v1.SessionService/ConfirmLogin", proof, "").await.token();
    let change = json!({"currentPassword": password_of("ada"), "newPassword": "four random words here"});
    let kept = yard.call("session.v1.SessionService/ChangePassword", change, &ada).await;
    assert_eq!(kept.code(), "USER_NOT_LOCAL", "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_hangs_holds_nobody_else_up() {
    let mut yard = Yard::start().await;
    yard.login("ada").await.token();
    yard.slapd.freeze();
    let yard_ = &yard;
    let hanging = async |from: usize| {
        let all = (from..from + 20)
            .map(|n| async move { login(&yard_.cluster, &format!("p{n:04}"), "x").await.code() });
        futures::future::join_all(all).await
    };
    let (first, second, admin) = tokio::join!(
        hanging(0),
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Who waits was counted; others from here may try.
            yard_.cluster.clock.advance(Duration::from_secs(290));
            hanging(20).await
        },
        async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let began = Instant::now();
            login(&yard_.cluster, "admin", PASSWORD).await.token();
            began.elapsed()
        }
    );
    // It waits its turn at hashing like everybody, and for no directory.
    assert!(admin < Duration::from_secs(20), "{admin:?}");
    let all = [first, second].concat();
    assert!(all.iter().all(|code| matches!(*code, "IDENTITY_SOURCE_UNREACHABLE" | "BUSY")), "{all:?}");
    assert!(all.contains(&"BUSY"), "{all:?}");
    yard.slapd.thaw();
    yard.cluster.clock.advance(Duration::from_secs(290));
    yard.login("ada").await.token();
    // Stopped and back.
    yard.slapd.stop();
    assert_eq!(yard.login("ada").await.code(), "IDENTITY_SOURCE_UNREACHABLE");
    yard.slapd.restart();
    yard.login("ada").await.token();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_gone_there_is_out_here() {
    let yard = Yard::start().await;
    let (bob, carol) = (yard.login("bob").await.token(), yard.login("carol").await.token());
    yard.slapd.leave("operators", "carol");
    yard.slapd.freeze();
    yard.cluster.clock.advance(Duration::from_secs(16 * 60));
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(session(&yard.cluster, &bob).await.status, 200, "silence says nothing of anybody");
    yard.slapd.thaw();
    yard.slapd.remove("bob");
    yard.cluster.clock.advance(Duration::from_secs(16 * 60));
    until("bob is out", DEADLINE, async || (session(&yard.cluster, &bob).await.status == 401).then_some(()))
        .await;
    assert_eq!(yard.user("bob").await["disabled"], json!(true));
    until("somebody is told", DEADLINE, async || {
        let events = yard
            .call("event.v1.EventService/ListEvents", json!({"filter": "bob is gone"}), &yard.admin)
            .await;
        events.body["events"].as_array().is_some_and(|all| all[0]["kind"] == json!("user.gone")).then_some(())
    })
    .await;
    let seen = until("carol has her groups of now", DEADLINE, async || {
        let seen = session(&yard.cluster, &carol).await;
        (!words(&seen.body["permissions"]).contains(&"vm.power")).then_some(seen)
    });
    assert_eq!(seen.await.status, 200);
}
