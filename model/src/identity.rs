//! Identity sources: OpenID Connect providers and LDAP directories that say who somebody is, and which roles their groups
//! bring. What somebody may do stays with grants here.
//!
//! ```text
//!   source (provider, directory) ──▶ Told {subject, name, groups} ──▶ user ──▶ grants of the source's rules
//! ```
//! Secrets of a source (client secret, bind password) are kept beside its configuration, never in it.

use crate::id::IdentitySourceId;
use crate::user::UserSource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How to reach an OpenID Connect provider (OpenID Connect Discovery 1.0).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OidcConfig {
    /// `https://…`, as the provider itself writes it.
    pub issuer_url: String,
    /// What the provider calls this vDC.
    pub client_id: String,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Claim that holds the person's name here.
    pub name_claim: String,
    /// Claim that holds their groups, a list of words; empty: none is read.
    pub groups_claim: String,
    /// Certificates of who signed the provider's, as PEM; empty: the system's.
    pub ca_pem: String,
}

/// How to reach an LDAP directory (RFC 4511).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LdapConfig {
    /// `ldaps://host[:636]`, or `ldap://host[:389]` with `start_tls`; tried in this order.
    pub urls: Vec<String>,
    /// Goes over to TLS before anything is said (RFC 4513, 3).
    pub start_tls: bool,
    /// Certificates of who signed the directory's, as PEM; empty: the system's.
    pub ca_pem: String,
    /// Who searches; empty: anonymous.
    pub bind_dn: String,
    /// Beneath which people are.
    pub user_base: String,
    /// Finds one person; `{name}` stands for the escaped name, as in `(&(objectClass=person)(uid={name}))`.
    pub user_filter: String,
    /// Attribute that never changes: `entryUUID`, or `objectGUID` of Active Directory.
    pub id_attribute: String,
    /// Attribute that is the person's name here: `uid`, or `sAMAccountName`.
    pub name_attribute: String,
    /// Beneath which groups are; empty: none is read.
    pub group_base: String,
    /// Finds a person's groups; `{dn}` stands for the person's escaped name in the directory, `{name}` as above.
    pub group_filter: String,
    /// Attribute that names a group: `cn`.
    pub group_name_attribute: String,
}

/// How to reach a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceConfig {
    /// An OpenID Connect provider.
    Oidc(OidcConfig),
    /// An LDAP directory.
    Ldap(LdapConfig),
}

impl SourceConfig {
    /// What people of it are known as.
    pub fn kind(&self) -> UserSource {
        match self {
            SourceConfig::Oidc(_) => UserSource::Oidc,
            SourceConfig::Ldap(_) => UserSource::Ldap,
        }
    }

    /// Whether the source's secret would go nowhere else than with `before`. A saved secret must not be sent to an address
    /// that somebody who never knew it has typed.
    pub fn sends_secret_as(&self, before: &SourceConfig) -> bool {
        match (self, before) {
            (SourceConfig::Oidc(now), SourceConfig::Oidc(before)) => now.issuer_url == before.issuer_url,
            (SourceConfig::Ldap(now), SourceConfig::Ldap(before)) => {
                now.urls.iter().all(|url| before.urls.contains(url))
            }
            (SourceConfig::Oidc(_), SourceConfig::Ldap(_))
            | (SourceConfig::Ldap(_), SourceConfig::Oidc(_)) => false,
        }
    }
}

/// What a person of a source is kept under: subjects are unique within their source only.
pub fn external_id(source: IdentitySourceId, subject: &str) -> String {
    format!("{source}:{subject}")
}

/// The source of what a person is kept under.
pub fn source_of(external_id: &str) -> Option<IdentitySourceId> {
    external_id.split_once(':')?.0.parse().ok()
}

/// What stands as giver on grants of a source's rules.
pub fn granted_by(source: IdentitySourceId) -> String {
    format!("{GRANTED_BY}{source}")
}

/// Whether a grant came from a source's rules and not from a person. No name of a person holds a colon.
pub fn is_granted_by_rules(created_by: &str) -> bool {
    created_by.starts_with(GRANTED_BY)
}

const GRANTED_BY: &str = "identity:";

/// The roles that rules and the default give to who is in these groups, each once.
pub fn roles_for(rules: &[RoleRule], default_role: &str, groups: &[String]) -> BTreeSet<String> {
    let groups: BTreeSet<String> = groups.iter().map(|group| group.to_lowercase()).collect();
    let ruled = rules.iter().filter(|rule| groups.contains(&rule.group.to_lowercase()));
    let default = Some(default_role).filter(|role| !role.is_empty());
    ruled.map(|rule| rule.role.as_str()).chain(default).map(str::to_owned).collect()
}

/// Gives a role on everything to who is in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRule {
    /// As the source calls it, in any case.
    pub group: String,
    /// `admin`, `operator`, `viewer`, or the id of an own role.
    pub role: String,
}

/// What a source told of somebody who proved themselves there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Never changes, unique in the source.
    pub subject: String,
    /// Name here.
    pub name: String,
    /// Groups there.
    pub groups: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::check_user_name;
    use uuid::Uuid;

    #[test]
    fn rules_in_any_case_and_the_default_for_everybody() {
        let rule = |group: &str, role: &str| RoleRule { group: group.into(), role: role.into() };
        let rules = [rule("Admins", "admin"), rule("ops", "operator"), rule("OPS", "operator")];
        let roles = |groups: &[&str], default: &str| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            roles_for(&rules, default, &groups).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(roles(&["aDMINS"], ""), ["admin"]);
        assert_eq!(roles(&["ops", "ops", "else"], "viewer"), ["operator", "viewer"]);
        assert_eq!(roles(&[], "viewer"), ["viewer"]);
        assert!(roles(&["admin", ""], "").is_empty());
    }

    #[test]
    fn people_are_known_by_their_source() {
        let id = IdentitySourceId(Uuid::from_u128(7));
        assert_eq!(source_of(&external_id(id, "a:b")), Some(id));
        assert_eq!(source_of("a:b"), None);
        assert!(is_granted_by_rules(&granted_by(id)));
        assert!(check_user_name("name", &granted_by(id)).is_err(), "no person can be called so");
    }

    #[test]
    fn a_saved_secret_goes_only_where_it_went() {
        let oidc =
            |url: &str| SourceConfig::Oidc(OidcConfig { issuer_url: url.into(), ..OidcConfig::default() });
        let ldap = |urls: &[&str]| {
            let urls = urls.iter().map(|url| (*url).to_owned()).collect();
            SourceConfig::Ldap(LdapConfig { urls, ..LdapConfig::default() })
        };
        assert!(oidc("https://a").sends_secret_as(&oidc("https://a")));
        assert!(!oidc("https://b").sends_secret_as(&oidc("https://a")));
        assert!(ldap(&["ldaps://b"]).sends_secret_as(&ldap(&["ldaps://a", "ldaps://b"])));
        assert!(!ldap(&["ldaps://a", "ldaps://c"]).sends_secret_as(&ldap(&["ldaps://a"])));
        assert!(!ldap(&["https://a"]).sends_secret_as(&oidc("https://a")));
    }
}
