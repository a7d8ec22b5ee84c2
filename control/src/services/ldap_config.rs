//! How a directory may be set up, and how the id of somebody there is written here.

use crate::ldap::{Fill, Url, filter};
use quantix_client::tls;
use quantix_model::Fault;
use quantix_model::identity::LdapConfig;
use uuid::Uuid;

/// Longest id of a person, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Servers of one directory.
const URLS_MAX: usize = 8;
/// Longest name of an entry.
const DN_BYTES_MAX: usize = 1024;
/// Largest list of authorities.
const CA_BYTES_MAX: usize = 64 << 10;
/// Sixteen bytes that Windows shows as a UUID.
const OBJECT_GUID: &str = "objectGUID";
/// Before bytes that are no text.
const HEX: &str = "hex:";

/// Refuses what cannot work, or would not be safe.
pub fn check(config: &LdapConfig) -> Result<(), Fault> {
    if config.urls.is_empty() || config.urls.len() > URLS_MAX {
        let text = format!("The directory has {} URLs.", config.urls.len());
        return Err(Fault::invalid("ldap.urls", text, "Give one to eight URLs of servers that hold the same."));
    }
    config.urls.iter().try_for_each(|url| Url::read(url, config.start_tls).map(drop))?;
    if config.ca_pem.len() > CA_BYTES_MAX {
        let text = "The authorities' certificates are longer than 64 KiB.";
        return Err(Fault::invalid("ldap.ca_pem", text, "Give only those that signed the directory's certificate."));
    }
    if !config.ca_pem.trim().is_empty() {
        tls::client(&config.ca_pem).map_err(|fault| Fault { field: "ldap.ca_pem".into(), ..fault })?;
    }
    for (field, dn) in
        [("ldap.bind_dn", &config.bind_dn), ("ldap.user_base", &config.user_base), ("ldap.group_base", &config.group_base)]
    {
        if dn.len() > DN_BYTES_MAX || dn.chars().any(char::is_control) {
            let text = "That is no name of an entry: it is too long, or holds control characters.";
            return Err(Fault::invalid(field, text, "Write it as ou=people,dc=example,dc=org."));
        }
    }
    if config.user_base.is_empty() {
        let text = "It is not said beneath which entry people are.";
        return Err(Fault::invalid("ldap.user_base", text, "Give a base, for example ou=people,dc=example,dc=org."));
    }
    check_filter("ldap.user_filter", &config.user_filter, &["{name}"])?;
    check_attribute("ldap.id_attribute", &config.id_attribute)?;
    check_attribute("ldap.name_attribute", &config.name_attribute)?;
    let moves = ["dn", "entryDN", "distinguishedName", "cn", "name", "mail"];
    if moves.iter().any(|name| config.id_attribute.eq_ignore_ascii_case(name)) {
        let text = format!("{} changes when somebody is renamed or moved.", config.id_attribute);
        let remedy = "Use entryUUID, or objectGUID in Active Directory.";
        return Err(Fault::invalid("ldap.id_attribute", text, remedy));
    }
    if !config.group_base.is_empty() {
        check_filter("ldap.group_filter", &config.group_filter, &["{dn}", "{name}"])?;
        check_attribute("ldap.group_name_attribute", &config.group_name_attribute)?;
    }
    Ok(())
}

fn check_filter(field: &str, template: &str, places: &[&str]) -> Result<(), Fault> {
    if !places.iter().any(|place| template.contains(place)) {
        let text = format!("The filter finds everybody alike: it holds no {}.", places.join(" and no "));
        return Err(Fault::invalid(field, text, format!("Put {} where the person's name belongs.", places[0])));
    }
    filter::fill(field, template, Fill::Person { name: "ada", dn: "uid=ada" })?;
    filter::fill(field, template, Fill::Anybody).map(drop)
}

/// An attribute as RFC 4512, 2.5 writes it, with options.
fn check_attribute(field: &str, name: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';');
    if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
        let text = format!("{name:?} is no name of an attribute.");
        return Err(Fault::invalid(field, text, "Write it as the directory does, for example entryUUID."));
    }
    Ok(())
}

/// An id as text: two ids are never written alike.
pub fn text_of(attribute: &str, id: &[u8]) -> String {
    if attribute.eq_ignore_ascii_case(OBJECT_GUID)
        && let Ok(bytes) = <[u8; 16]>::try_from(id)
    {
        return Uuid::from_bytes_le(bytes).to_string();
    }
    match std::str::from_utf8(id) {
        Ok(text) if !text.starts_with(HEX) && !text.chars().any(char::is_control) => text.to_owned(),
        _ => id.iter().fold(HEX.to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

/// The bytes of an id that [`text_of`] wrote.
pub fn value_of(attribute: &str, text: &str) -> Vec<u8> {
    if attribute.eq_ignore_ascii_case(OBJECT_GUID)
        && let Ok(uuid) = text.parse::<Uuid>()
    {
        return uuid.to_bytes_le().to_vec();
    }
    let digits = text.strip_prefix(HEX).filter(|digits| digits.len().is_multiple_of(2) && digits.is_ascii());
    let pairs = digits.map(|digits| {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16)).collect::<Result<_, _>>()
    });
    match pairs {
        Some(Ok(bytes)) => bytes,
        _ => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good() -> LdapConfig {
        LdapConfig {
            urls: vec!["ldaps://ldap.example.org".into()],
            user_base: "ou=people,dc=example,dc=org".into(),
            user_filter: "(uid={name})".into(),
            id_attribute: "entryUUID".into(),
            name_attribute: "uid".into(),
            ..LdapConfig::default()
        }
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(check(&good()), Ok(()));
        let groups = LdapConfig {
            group_base: "ou=groups".into(),
            group_filter: "(member={dn})".into(),
            group_name_attribute: "cn".into(),
            ..good()
        };
        assert_eq!(check(&groups), Ok(()));
        for (field, bad) in [
            ("ldap.urls", LdapConfig { urls: vec![], ..good() }),
            ("ldap.urls", LdapConfig { urls: vec!["ldap://plain".into()], ..good() }),
            ("ldap.urls", LdapConfig { urls: vec!["ldaps://a".into(); 9], ..good() }),
            ("ldap.ca_pem", LdapConfig { ca_pem: "no certificate".into(), ..good() }),
            ("ldap.bind_dn", LdapConfig { bind_dn: "cn=a\n".into(), ..good() }),
            ("ldap.user_base", LdapConfig { user_base: String::new(), ..good() }),
            ("ldap.user_filter", LdapConfig { user_filter: "(uid=ada)".into(), ..good() }),
            ("ldap.user_filter", LdapConfig { user_filter: "(uid={name}".into(), ..good() }),
            ("ldap.id_attribute", LdapConfig { id_attribute: "entryDN".into(), ..good() }),
            ("ldap.id_attribute", LdapConfig { id_attribute: "a b".into(), ..good() }),
            ("ldap.name_attribute", LdapConfig { name_attribute: "*".into(), ..good() }),
            ("ldap.group_filter", LdapConfig { group_filter: "(cn=*)".into(), ..groups.clone() }),
            ("ldap.group_name_attribute", LdapConfig { group_name_attribute: String::new(), ..groups }),
        ] {
            assert_eq!(check(&bad).expect_err(field).field, field);
        }
    }

    proptest! {
        #[test]
        fn ids_come_back_and_differ(
            one in proptest::collection::vec(any::<u8>(), 0..20),
            other in proptest::collection::vec(any::<u8>(), 0..20),
            text in "(hex:)?[0-9a-f-]{0,8}",
        ) {
            for id in [&one[..], &other, text.as_bytes()] {
                prop_assert_eq!(&value_of("entryUUID", &text_of("entryUUID", id)), id);
            }
            prop_assert_eq!(one == other, text_of("entryUUID", &one) == text_of("entryUUID", &other));
        }

        #[test]
        fn object_guids(id: [u8; 16]) {
            prop_assert_eq!(value_of(OBJECT_GUID, &text_of("objectguid", &id)), id);
        }
    }

    #[test]
    fn an_object_guid_is_shown_as_windows_shows_it() {
        let id = [0x04, 0x03, 0x02, 0x01, 0x06, 0x05, 0x08, 0x07, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(text_of("objectGUID", &id), "01020304-0506-0708-090a-0b0c0d0e0f10");
    }
}
