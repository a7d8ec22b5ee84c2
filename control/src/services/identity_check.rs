//! What an identity source may look like: only addresses that can be one, nothing said without TLS, certificates that can
//! be read, and filters that hold what they must.

use crate::ldap::filter::{Fill, fill};
use openidconnect::url::{Host, Url};
use quantix_client::dial::is_forbidden;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::identity::{LdapConfig, OidcConfig, RoleRule, SourceConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::IpAddr;

/// Letters of a URL, a claim's name, a base or a filter.
const TEXT_MAX: usize = 1000;
/// Letters of the certificates together.
const PEM_MAX: usize = 256 << 10;
/// Letters of a client secret or bind password.
const SECRET_MAX: usize = 1000;
/// Scopes asked for.
const SCOPES_MAX: usize = 20;
/// Servers of one directory.
const URLS_MAX: usize = 8;
/// Rules of one source.
const RULES_MAX: usize = 200;
/// Letters of a group's name.
const GROUP_MAX: usize = 256;
/// Claim that holds the name when none is said (OpenID Connect Core 1.0, 5.1).
const NAME_CLAIM: &str = "preferred_username";

fn refuse(field: &str, message: impl Into<String>, remedy: &str) -> Fault {
    Fault::invalid(field, message, remedy)
}

/// The configuration in its usual form, or what is wrong with it. Without `has_secret` neither side has one to show.
pub fn check(config: SourceConfig, has_secret: bool) -> Result<SourceConfig, Fault> {
    match config {
        SourceConfig::Oidc(config) => oidc(config).map(SourceConfig::Oidc),
        SourceConfig::Ldap(config) => ldap(config, has_secret).map(SourceConfig::Ldap),
    }
}

fn oidc(config: OidcConfig) -> Result<OidcConfig, Fault> {
    let issuer_url = config.issuer_url.trim().to_owned();
    let url = http_url("oidc.issuer_url", &issuer_url)?;
    if url.query().is_some() || url.fragment().is_some() {
        let remedy = "Give it as the provider's discovery document calls itself under `issuer`.";
        return Err(refuse("oidc.issuer_url", "The issuer URL goes on after its path.", remedy));
    }
    let client_id = one_line("oidc.client_id", "client id", &config.client_id, true)?;
    let mut scopes = Vec::new();
    for scope in config.scopes.iter().map(|scope| scope.trim()).filter(|scope| !scope.is_empty()) {
        // RFC 6749, 3.3.
        let legal = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if scope.len() > 100 || !scope.chars().all(legal) {
            let text = format!("{scope:?} is no scope.");
            return Err(refuse("oidc.scopes", text, "Give words such as profile, email or groups."));
        }
        if scope != "openid" && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    if scopes.len() > SCOPES_MAX {
        let text = format!("There are more than {SCOPES_MAX} scopes.");
        return Err(refuse("oidc.scopes", text, "Leave out what is not needed."));
    }
    let mut name_claim = one_line("oidc.name_claim", "name claim", &config.name_claim, false)?;
    if name_claim.is_empty() {
        NAME_CLAIM.clone_into(&mut name_claim);
    }
    let groups_claim = one_line("oidc.groups_claim", "groups claim", &config.groups_claim, false)?;
    let ca_pem = certificates("oidc.ca_pem", &config.ca_pem)?;
    Ok(OidcConfig { issuer_url, client_id, scopes, name_claim, groups_claim, ca_pem })
}

fn ldap(config: LdapConfig, has_secret: bool) -> Result<LdapConfig, Fault> {
    let urls: Vec<String> = config.urls.iter().map(|url| url.trim().to_owned()).collect();
    if urls.is_empty() || urls.len() > URLS_MAX {
        let text = format!("The directory has {} URLs.", urls.len());
        return Err(refuse("ldap.urls", text, "Give 1 to 8, such as ldaps://dc1.example.org."));
    }
    for url in &urls {
        ldap_url(url, config.start_tls)?;
    }
    let bind_dn = one_line("ldap.bind_dn", "bind DN", &config.bind_dn, false)?;
    // RFC 4513, 5.1.2: a name without a password is let in as nobody, whatever the name.
    if !bind_dn.is_empty() && !has_secret {
        let text = "The bind DN has no password.";
        return Err(refuse(
            "secret",
            text,
            "Give its password, or leave the bind DN out to search as nobody.",
        ));
    }
    let group_base = one_line("ldap.group_base", "group base", &config.group_base, false)?;
    let (mut group_filter, mut group_name_attribute) = (String::new(), String::new());
    if !group_base.is_empty() {
        group_filter = filter("ldap.group_filter", &config.group_filter, &["{dn}", "{name}"])?;
        group_name_attribute = attribute("ldap.group_name_attribute", &config.group_name_attribute)?;
    }
    Ok(LdapConfig {
        urls,
        start_tls: config.start_tls,
        ca_pem: certificates("ldap.ca_pem", &config.ca_pem)?,
        bind_dn,
        user_base: one_line("ldap.user_base", "user base", &config.user_base, true)?,
        user_filter: filter("ldap.user_filter", &config.user_filter, &["{name}"])?,
        id_attribute: id_attribute(&config.id_attribute)?,
        name_attribute: attribute("ldap.name_attribute", &config.name_attribute)?,
        group_base,
        group_filter,
        group_name_attribute,
    })
}

/// A URL over which a provider may be asked: `https`, or `http` on this machine; never an address that leads to a
/// cloud's metadata.
pub fn http_url(field: &str, text: &str) -> Result<Url, Fault> {
    let remedy = "Give an address such as https://id.example.org; plain http is taken on loopback only.";
    let url = url(field, text, remedy)?;
    let plain_here = url.scheme() == "http" && is_loopback(&url);
    if url.scheme() != "https" && !plain_here {
        return Err(refuse(field, format!("{text:?} is not https."), remedy));
    }
    Ok(url)
}

fn ldap_url(text: &str, start_tls: bool) -> Result<Url, Fault> {
    let remedy = "Give ldaps://host, or ldap://host with StartTLS.";
    let url = url("ldap.urls", text, remedy)?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("ldap.urls", format!("{text:?} goes on after the address."), remedy));
    }
    match url.scheme() {
        "ldaps" => Ok(url),
        "ldap" if start_tls => Ok(url),
        "ldap" => Err(refuse("ldap.urls", format!("{text:?} would be spoken to without TLS."), remedy)),
        _ => Err(refuse("ldap.urls", format!("{text:?} is no address of a directory."), remedy)),
    }
}

fn url(field: &str, text: &str, remedy: &str) -> Result<Url, Fault> {
    if text.chars().count() > TEXT_MAX {
        return Err(refuse(field, format!("The URL is longer than {TEXT_MAX} characters."), remedy));
    }
    let url =
        Url::parse(text).map_err(|err| refuse(field, format!("{text:?} is no URL."), remedy).because(err))?;
    if url.host_str().is_none_or(str::is_empty) || url.cannot_be_a_base() {
        return Err(refuse(field, format!("{text:?} names no host."), remedy));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(field, "The URL holds a user or a password.", remedy));
    }
    if address(&url).is_some_and(is_forbidden) {
        let text = format!("{text:?} is link-local or reserved, where no identity source can be.");
        return Err(refuse(field, text, remedy));
    }
    Ok(url)
}

/// The address a URL spells out; none when it has a name.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
        // Schemes that browsers do not know are not read further.
        Host::Domain(name) => name.parse().ok(),
    }
}

fn is_loopback(url: &Url) -> bool {
    address(url).map_or_else(|| url.host_str() == Some("localhost"), |address| address.is_loopback())
}

fn one_line(field: &str, what: &str, text: &str, needed: bool) -> Result<String, Fault> {
    let text = text.trim();
    if needed && text.is_empty() {
        return Err(refuse(field, format!("The {what} is missing."), "Fill it in."));
    }
    if text.chars().count() > TEXT_MAX || text.chars().any(char::is_control) {
        let message = format!("The {what} is longer than {TEXT_MAX} characters, or not one line.");
        return Err(refuse(field, message, "Correct it."));
    }
    Ok(text.to_owned())
}

/// An attribute's description (RFC 4512, 2.5).
fn attribute(field: &str, text: &str) -> Result<String, Fault> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-;.".contains(c);
    if text.is_empty() || text.len() > 100 || !text.chars().all(legal) {
        let message = format!("{text:?} is no attribute.");
        return Err(refuse(field, message, "Give a name such as uid, entryUUID or cn."));
    }
    Ok(text.to_owned())
}

/// What somebody is known by: nothing that changes when they marry or move.
fn id_attribute(text: &str) -> Result<String, Fault> {
    const FIELD: &str = "ldap.id_attribute";
    let text = attribute(FIELD, text)?;
    let changing = ["dn", "entryDN", "distinguishedName", "cn", "name", "displayName", "mail"];
    if changing.iter().any(|name| text.eq_ignore_ascii_case(name)) {
        let message = format!("{text} changes when somebody is renamed or moved.");
        return Err(refuse(FIELD, message, "Use entryUUID, or objectGUID in Active Directory."));
    }
    Ok(text)
}

/// A search filter (RFC 4515) with one of the places to be filled in. The directory itself says what else is wrong.
fn filter(field: &str, text: &str, places: &[&str]) -> Result<String, Fault> {
    let text = one_line(field, "filter", text, true)?;
    let remedy = format!("Write it as in (&(objectClass=person)(uid={})).", places[0]);
    let depths = text.chars().scan(0_i32, |depth, c| {
        *depth += i32::from(c == '(') - i32::from(c == ')');
        Some(*depth)
    });
    let depths: Vec<i32> = depths.collect();
    let closed = depths.last() == Some(&0) && depths.iter().all(|depth| *depth >= 0);
    if !closed || !text.starts_with('(') {
        return Err(refuse(field, format!("The parentheses of {text:?} do not match."), &remedy));
    }
    if !places.iter().any(|place| text.contains(place)) {
        return Err(refuse(field, format!("{text:?} would find the same for everybody."), &remedy));
    }
    fill(field, &text, Fill::Person { name: "ada", dn: "uid=ada" })?;
    fill(field, &text, Fill::Anybody)?;
    Ok(text)
}

fn certificates(field: &str, pem: &str) -> Result<String, Fault> {
    let pem = pem.trim();
    let remedy =
        "Paste the certificates with their BEGIN and END lines, or leave it empty to trust the system's.";
    if pem.is_empty() {
        return Ok(String::new());
    }
    if pem.len() > PEM_MAX {
        return Err(refuse(field, "The certificates are larger than 256 KiB.", remedy));
    }
    let read: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let ders = read.map_err(|err| refuse(field, "The certificates cannot be read.", remedy).because(err))?;
    if ders.is_empty() {
        return Err(refuse(field, "There is no certificate in it.", remedy));
    }
    let mut roots = rustls::RootCertStore::empty();
    for der in ders {
        let added = roots.add(der);
        added.map_err(|err| refuse(field, "One of the certificates cannot be used.", remedy).because(err))?;
    }
    Ok(pem.to_owned() + "\n")
}

/// Client secrets and bind passwords.
pub fn secret(text: &str) -> Result<(), Fault> {
    if text.chars().count() > SECRET_MAX || text.chars().any(char::is_control) {
        let message = format!("The secret is longer than {SECRET_MAX} characters, or not one line.");
        return Err(refuse("secret", message, "Paste it again."));
    }
    Ok(())
}

/// Rules, each once; whether their roles are there is another's question.
pub fn rules(rules: Vec<RoleRule>) -> Result<Vec<RoleRule>, Fault> {
    let mut kept: Vec<RoleRule> = Vec::new();
    for rule in rules {
        let count = rule.group.chars().count();
        if count == 0 || count > GROUP_MAX || rule.group.chars().any(char::is_control) {
            let message = format!("The group of a rule has {count} characters, or not one line.");
            return Err(refuse("rules", message, "Name the group as the source does."));
        }
        let same = |k: &RoleRule| k.role == rule.role && k.group.to_lowercase() == rule.group.to_lowercase();
        if !kept.iter().any(same) {
            kept.push(rule);
        }
    }
    if kept.len() > RULES_MAX {
        let fault = Fault::new(
            FaultCode::TooLarge,
            format!("There are more than {RULES_MAX} rules."),
            "Put people into fewer groups at the source.",
        );
        return Err(Fault { field: "rules".into(), ..fault });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(issuer_url: &str) -> OidcConfig {
        OidcConfig { issuer_url: issuer_url.into(), client_id: "quantix".into(), ..OidcConfig::default() }
    }

    fn directory() -> LdapConfig {
        LdapConfig {
            urls: vec!["ldaps://dc.example.org".into()],
            user_base: "dc=example".into(),
            user_filter: "(uid={name})".into(),
            id_attribute: "entryUUID".into(),
            name_attribute: "uid".into(),
            ..LdapConfig::default()
        }
    }

    #[test]
    fn addresses_of_providers() {
        for good in [
            "https://id.example.org",
            "https://id.example.org:8443/realms/x",
            "https://10.0.0.1",
            "http://127.0.0.1:4000",
            "http://localhost:1/a",
            "http://[::1]:1",
        ] {
            assert!(oidc(provider(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "id.example.org",
            "http://id.example.org",
            "http://localhost.evil.example",
            "ftp://id.example.org",
            "https://u:p@id.example.org",
            "https://id.example.org/?x=1",
            "https://id.example.org/#x",
            "https://169.254.169.254",
            "https://0xa9fea9fe/",
            "https://[fe80::1]",
            "https://[::ffff:169.254.169.254]",
            "https://0.0.0.0",
            "https://[fd00:ec2::254]",
            &format!("https://a.example/{}", "x".repeat(1000)),
        ] {
            let fault = oidc(provider(bad)).expect_err(bad);
            assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "oidc.issuer_url"));
            assert!(!fault.remedy.is_empty());
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let scopes = ["openid", " profile ", "", "profile"].map(str::to_owned).to_vec();
        let read = oidc(OidcConfig { scopes, ..provider(" https://a.example ") }).unwrap();
        assert_eq!(read.name_claim, "preferred_username");
        assert_eq!(read.scopes, ["profile"]);
        assert_eq!(read.issuer_url, "https://a.example");
        for (field, config) in [
            ("oidc.client_id", OidcConfig { client_id: " ".into(), ..provider("https://a") }),
            ("oidc.scopes", OidcConfig { scopes: vec!["a b".into()], ..provider("https://a") }),
            (
                "oidc.scopes",
                OidcConfig { scopes: (0..21).map(|n| n.to_string()).collect(), ..provider("https://a") },
            ),
            ("oidc.groups_claim", OidcConfig { groups_claim: "a\nb".into(), ..provider("https://a") }),
            ("oidc.ca_pem", OidcConfig { ca_pem: "x".into(), ..provider("https://a") }),
        ] {
            assert_eq!(oidc(config).expect_err(field).field, field);
        }
    }

    #[test]
    fn directories() {
        let good = ldap(directory(), false).unwrap();
        assert_eq!(good, directory());
        let with = |change: fn(&mut LdapConfig)| {
            let mut config = directory();
            change(&mut config);
            ldap(config, false)
        };
        assert!(with(|c| (c.urls, c.start_tls) = (vec!["ldap://[2001:db8::1]:389".into()], true)).is_ok());
        type Change = fn(&mut LdapConfig);
        let cases: [(&str, Change); 16] = [
            ("ldap.urls", |c| c.urls.clear()),
            ("ldap.urls", |c| c.urls = vec!["ldap://a".into()]),
            ("ldap.urls", |c| c.urls = vec!["https://a".into()]),
            ("ldap.urls", |c| c.urls = vec!["ldaps://".into()]),
            ("ldap.urls", |c| c.urls = vec!["ldaps://169.254.169.254".into()]),
            ("ldap.urls", |c| c.urls = vec!["ldaps://a/dc=x".into()]),
            ("secret", |c| c.bind_dn = "cn=x".into()),
            ("ldap.user_base", |c| c.user_base.clear()),
            ("ldap.user_filter", |c| c.user_filter = "(uid=x)".into()),
            ("ldap.user_filter", |c| c.user_filter = "(uid={name}".into()),
            ("ldap.user_filter", |c| c.user_filter = "uid={name}".into()),
            ("ldap.user_filter", |c| c.user_filter = "(uid={name}))(".into()),
            ("ldap.user_filter", |c| c.user_filter = "(&(uid={name})(uid:x))".into()),
            ("ldap.id_attribute", |c| c.id_attribute = "a b".into()),
            ("ldap.id_attribute", |c| c.id_attribute = "entrydn".into()),
            ("ldap.group_filter", |c| c.group_base = "ou=g".into()),
        ];
        for (field, change) in cases {
            assert_eq!(with(change).expect_err(field).field, field);
        }
    }

    #[test]
    fn rules_are_kept_once() {
        let rule = |group: &str| RoleRule { group: group.into(), role: "viewer".into() };
        assert_eq!(rules(vec![rule("A"), rule("a"), rule("b")]).unwrap(), [rule("A"), rule("b")]);
        for bad in [vec![rule("")], vec![rule("a\nb")], vec![rule(&"x".repeat(257))]] {
            assert_eq!(rules(bad).unwrap_err().field, "rules");
        }
        assert!(rules((0..201).map(|n| rule(&n.to_string())).collect()).is_err());
    }
}
