//! Signing in with a real OpenLDAP.

use quantix_control::services::ldap::{Answer, Directory, Limits, Standing, Who};
use quantix_lab::slapd::{BASE, READER_PASSWORD, Slapd, TRICKY, password_of};
use quantix_model::identity::{LdapConfig, Told};
use quantix_model::{Fault, FaultCode, Secret};
use std::time::{Duration, Instant};

/// A directory in a folder that goes with it.
fn slapd() -> (Slapd, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Slapd::start(dir.path()), dir)
}

async fn ask(config: &LdapConfig, name: &str, password: &str) -> Result<Answer, Fault> {
    let secret = Secret::new(READER_PASSWORD);
    let answer = Directory::new(config, &secret).authenticate(Who::Name(name), password).await;
    if let Err(fault) = &answer {
        let shown = format!("{fault:?}");
        assert!(!shown.contains(READER_PASSWORD) && !shown.contains(&password_of(name)), "{shown}");
        assert!(!fault.remedy.is_empty(), "{shown}");
    }
    answer
}

async fn right(config: &LdapConfig, name: &str) -> Told {
    match ask(config, name, &password_of(name)).await {
        Ok(Answer::Right(told)) => told,
        other => panic!("{name}: {other:?}"),
    }
}

fn with_start_tls(slapd: &Slapd) -> LdapConfig {
    LdapConfig { urls: vec![slapd.ldap_url()], start_tls: true, ..slapd.config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_and_wrong() {
    let (slapd, _dir) = slapd();
    for config in [slapd.config(), with_start_tls(&slapd)] {
        let ada = right(&config, "ada").await;
        assert_eq!(
            (ada.name.as_str(), ada.groups),
            ("ada", vec!["admins".to_owned(), "operators".to_owned()])
        );
        assert_eq!(ada.subject.len(), 36, "entryUUID");
        assert_eq!(right(&config, "bob").await.groups, [""; 0]);
        assert_eq!(right(&config, "p1999").await.groups, ["everybody"]);
        assert_eq!(ask(&config, "ada", "wrong").await, Ok(Answer::Wrong));
        assert_eq!(ask(&config, "ada", "").await, Ok(Answer::Wrong));
        assert_eq!(ask(&config, "nobody", "wrong").await, Ok(Answer::Unknown));
        // The directory does not care for case: the name is the one that stands there.
        let upper = ask(&config, "ADA", &password_of("ada")).await;
        assert!(
            matches!(upper, Ok(Answer::Right(told)) if told.name == "ada" && told.subject == ada.subject)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_try_to_be_filters() {
    let (slapd, _dir) = slapd();
    let config = slapd.config();
    for name in [
        "*",
        "a*",
        "ada)(uid=*",
        "*)(objectClass=*",
        "nobody)(|(uid=*",
        "ada\0",
        "\\61da",
        "(uid=ada)",
        "{dn}",
    ] {
        assert_eq!(ask(&config, name, &password_of("ada")).await, Ok(Answer::Unknown), "{name:?}");
    }
    // The filter of groups holds a name with all of that in it.
    let jo = right(&config, "jo").await;
    assert_eq!(jo.groups, ["admins"]);
    let by_cn = LdapConfig { user_filter: "(cn={name})".into(), ..slapd.config() };
    let answer = ask(&by_cn, r"Smith, Jo (*\)", &password_of("jo")).await;
    assert!(matches!(answer, Ok(Answer::Right(told)) if told.subject == jo.subject), "{TRICKY}");
}

async fn not_let_in(config: &LdapConfig, name: &str) -> Fault {
    match ask(config, name, &password_of(name)).await {
        Ok(Answer::Refused(fault)) => fault,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_may_not_come_in() {
    let (slapd, _dir) = slapd();
    let config = slapd.config();
    let fault = ask(&config, "twin", &password_of("twin")).await.expect_err("two of them");
    assert_eq!(fault.code, FaultCode::IdentitySourceInvalid, "{fault}");
    assert!(fault.message.contains("more than one entry") && fault.cause.contains("ou=branch"), "{fault}");
    let fault = not_let_in(&config, "locked").await;
    assert!(fault.code == FaultCode::IdentitySourceRefused && fault.message.contains("locked"), "{fault}");
    let fault = not_let_in(&config, "fresh").await;
    assert!(fault.message.contains("change your password"), "{fault}");
    // Locked by wrong passwords, then let in again there.
    for _ in 0..8 {
        assert_eq!(ask(&config, "dave", "wrong").await, Ok(Answer::Wrong));
    }
    assert!(not_let_in(&config, "dave").await.message.contains("locked"));
    slapd.set_password("dave", "another one");
    assert!(matches!(ask(&config, "dave", "another one").await, Ok(Answer::Right(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_there_counts_here() {
    let (slapd, _dir) = slapd();
    let config = slapd.config();
    let bob = right(&config, "bob").await;
    slapd.set_password("bob", "new words");
    assert_eq!(ask(&config, "bob", &password_of("bob")).await, Ok(Answer::Wrong));
    assert!(matches!(ask(&config, "bob", "new words").await, Ok(Answer::Right(_))));
    slapd.join("operators", "bob");
    let look = async |subjects: &[&str]| {
        let subjects: Vec<String> = subjects.iter().map(|one| (*one).to_owned()).collect();
        Directory::new(&config, &slapd.secret()).look_up(&subjects).await
    };
    let now = look(&[&bob.subject]).await.unwrap();
    assert!(
        matches!(&now[..], [Standing::There(told)] if told.groups == ["operators"] && told.name == "bob")
    );
    // Without this the group would name somebody who is no more under that name.
    slapd.leave("operators", "bob");
    slapd.rename("bob", "robert");
    assert_eq!(ask(&config, "bob", "new words").await, Ok(Answer::Unknown));
    let Ok(Answer::Right(robert)) = ask(&config, "robert", "new words").await else { panic!("renamed") };
    assert_eq!((robert.subject.as_str(), robert.name.as_str()), (bob.subject.as_str(), "robert"));
    slapd.remove("robert");
    assert_eq!(ask(&config, "robert", "new words").await, Ok(Answer::Unknown));
    let ada = right(&config, "ada").await;
    let now = look(&[&ada.subject, &bob.subject]).await.unwrap();
    assert!(matches!(&now[..], [Standing::There(_), Standing::Gone]), "{now:?}");
    // Somebody else of the same name is somebody else.
    slapd.add("bob");
    assert_ne!(right(&config, "bob").await.subject, bob.subject);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_frozen_and_back() {
    let (mut slapd, _dir) = slapd();
    let config = slapd.config();
    right(&config, "ada").await;
    slapd.stop();
    let fault = ask(&config, "ada", &password_of("ada")).await.expect_err("it is off");
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");
    slapd.restart();
    right(&config, "ada").await;
    slapd.freeze();
    let limits = Limits { server: Duration::from_secs(1), all: Duration::from_secs(2) };
    let (began, secret) = (Instant::now(), slapd.secret());
    let frozen = Directory::new(&config, &secret).limited(limits);
    let fault =
        frozen.authenticate(Who::Name("ada"), &password_of("ada")).await.expect_err("it says nothing");
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let fault = frozen.look_up(&["x".into()]).await.expect_err("nobody is gone because of that");
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");
    slapd.thaw();
    right(&config, "ada").await;
    // One that does not answer comes first, and another of the same directory after it.
    let dead = LdapConfig { urls: vec!["ldaps://127.0.0.1:1".into(), slapd.ldaps_url()], ..config };
    right(&dead, "ada").await;
}

async fn test(config: &LdapConfig, secret: &str) -> Result<Vec<String>, Fault> {
    let mut facts = Vec::new();
    Directory::new(config, &Secret::new(secret)).test(&mut facts).await.map(|()| facts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_say_what_is_seen() {
    let (slapd, _dir) = slapd();
    let good = slapd.config();
    let facts = test(&good, READER_PASSWORD).await.unwrap();
    assert!(facts[0].contains("TLS 1.3") && facts[0].contains("authority of the yard"), "{facts:?}");
    assert_eq!(facts[1], format!("It lets us search as cn=reader,{BASE}."));
    // What OpenLDAP gives at most unless told otherwise (slapd.conf(5), sizelimit).
    assert_eq!(facts[2..], ["500 or more people found.", "3 groups found."]);
    let some = LdapConfig { id_attribute: "employeeNumber".into(), ..good.clone() };
    let facts = test(&some, READER_PASSWORD).await.unwrap();
    assert!(facts.iter().any(|fact| fact.contains("have no employeeNumber")), "{facts:?}");
    let fault = ask(&some, "twin", "x").await.expect_err("two");
    assert!(fault.message.contains("more than one"), "{fault}");
    let fault = ask(&some, "p0001", &password_of("p0001")).await.expect_err("no id");
    assert_eq!(fault.field, "ldap.id_attribute", "{fault}");
    let backup = LdapConfig { urls: vec![slapd.ldaps_url(), "ldaps://127.0.0.1:1".into()], ..good.clone() };
    let facts = test(&backup, READER_PASSWORD).await.unwrap();
    assert!(facts.last().is_some_and(|fact| fact.contains("127.0.0.1:1 refused")), "{facts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_is_told_by_its_field() {
    let (slapd, _dir) = slapd();
    let good = slapd.config();
    let elsewhere = |base: &str| format!("{base},{BASE}");
    for (code, field, config, secret) in [
        (FaultCode::IdentitySourceRefused, "secret", good.clone(), "nothing that fits"),
        (
            FaultCode::IdentitySourceInvalid,
            "ldap.bind_dn",
            LdapConfig { bind_dn: "reader".into(), ..good.clone() },
            READER_PASSWORD,
        ),
        (
            FaultCode::IdentitySourceInvalid,
            "ldap.user_base",
            LdapConfig { user_base: elsewhere("ou=nowhere"), ..good.clone() },
            READER_PASSWORD,
        ),
        (
            FaultCode::IdentitySourceInvalid,
            "ldap.user_base",
            LdapConfig { user_base: "people".into(), ..good.clone() },
            READER_PASSWORD,
        ),
        (
            FaultCode::IdentitySourceInvalid,
            "ldap.group_base",
            LdapConfig { group_base: elsewhere("ou=nowhere"), ..good.clone() },
            READER_PASSWORD,
        ),
        (
            FaultCode::IdentitySourceUnreachable,
            "",
            LdapConfig { ca_pem: String::new(), ..good.clone() },
            READER_PASSWORD,
        ),
        (
            FaultCode::IdentitySourceUnreachable,
            "",
            LdapConfig { urls: vec![slapd.ldap_url().replace("ldap:", "ldaps:")], ..good.clone() },
            READER_PASSWORD,
        ),
        (
            FaultCode::IdentitySourceUnreachable,
            "",
            LdapConfig { urls: vec![slapd.ldaps_url().replace("127.0.0.1", "localhost")], ..good.clone() },
            READER_PASSWORD,
        ),
    ] {
        let fault = test(&config, secret).await.expect_err(field);
        assert_eq!((fault.code, fault.field.as_str()), (code, field), "{fault}");
        assert!(!format!("{fault:?}").contains(secret), "{fault:?}");
    }
    // Without an account nothing may be read there.
    let anonymous = LdapConfig { bind_dn: String::new(), ..good };
    let fault = test(&anonymous, "").await.expect_err("nothing to be seen");
    assert_eq!(fault.field, "ldap.user_base", "{fault}");
}
