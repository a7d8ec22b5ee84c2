//! Identity sources: OpenID Connect providers and LDAP directories that say who somebody is, and which roles their groups
//! bring. What somebody may do stays with grants here.
//!
//! ```text
//!   source (provider, directory) ──▶ Told {subject, name, groups} ──▶ user ──▶ grants of the source's rules
//! ```
//! Secrets of a source (client secret, bind password) are kept beside its configuration, never in it.

use serde::{Deserialize, Serialize};

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
