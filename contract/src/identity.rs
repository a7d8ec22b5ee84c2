//! Identity sources on the wire.

use crate::quantix::identity::v1 as wire;
use crate::twin::missing;
use quantix_model::Fault;
use quantix_model::identity::{LdapConfig, OidcConfig, RoleRule, SourceConfig};
use quantix_model::user::UserSource;

impl From<&OidcConfig> for wire::OidcConfig {
    fn from(config: &OidcConfig) -> wire::OidcConfig {
        wire::OidcConfig {
            issuer_url: config.issuer_url.clone(),
            client_id: config.client_id.clone(),
            scopes: config.scopes.clone(),
            name_claim: config.name_claim.clone(),
            groups_claim: config.groups_claim.clone(),
            ca_pem: config.ca_pem.clone(),
            ..Default::default()
        }
    }
}

impl From<&wire::OidcConfig> for OidcConfig {
    fn from(config: &wire::OidcConfig) -> OidcConfig {
        OidcConfig {
            issuer_url: config.issuer_url.clone(),
            client_id: config.client_id.clone(),
            scopes: config.scopes.clone(),
            name_claim: config.name_claim.clone(),
            groups_claim: config.groups_claim.clone(),
            ca_pem: config.ca_pem.clone(),
        }
    }
}

impl From<&LdapConfig> for wire::LdapConfig {
    fn from(config: &LdapConfig) -> wire::LdapConfig {
        wire::LdapConfig {
            urls: config.urls.clone(),
            start_tls: config.start_tls,
            ca_pem: config.ca_pem.clone(),
            bind_dn: config.bind_dn.clone(),
            user_base: config.user_base.clone(),
            user_filter: config.user_filter.clone(),
            id_attribute: config.id_attribute.clone(),
            name_attribute: config.name_attribute.clone(),
            group_base: config.group_base.clone(),
            group_filter: config.group_filter.clone(),
            group_name_attribute: config.group_name_attribute.clone(),
            ..Default::default()
        }
    }
}

impl From<&wire::LdapConfig> for LdapConfig {
    fn from(config: &wire::LdapConfig) -> LdapConfig {
        LdapConfig {
            urls: config.urls.clone(),
            start_tls: config.start_tls,
            ca_pem: config.ca_pem.clone(),
            bind_dn: config.bind_dn.clone(),
            user_base: config.user_base.clone(),
            user_filter: config.user_filter.clone(),
            id_attribute: config.id_attribute.clone(),
            name_attribute: config.name_attribute.clone(),
            group_base: config.group_base.clone(),
            group_filter: config.group_filter.clone(),
            group_name_attribute: config.group_name_attribute.clone(),
        }
    }
}

impl From<&SourceConfig> for wire::identity_source::Config {
    fn from(config: &SourceConfig) -> wire::identity_source::Config {
        match config {
            SourceConfig::Oidc(oidc) => wire::OidcConfig::from(oidc).into(),
            SourceConfig::Ldap(ldap) => wire::LdapConfig::from(ldap).into(),
        }
    }
}

impl TryFrom<&wire::IdentitySourceWish> for SourceConfig {
    type Error = Fault;
    fn try_from(wish: &wire::IdentitySourceWish) -> Result<SourceConfig, Fault> {
        use wire::identity_source_wish::Config;
        match &wish.config {
            Some(Config::Oidc(oidc)) => Ok(SourceConfig::Oidc(OidcConfig::from(&**oidc))),
            Some(Config::Ldap(ldap)) => Ok(SourceConfig::Ldap(LdapConfig::from(&**ldap))),
            None => Err(missing("config")),
        }
    }
}

impl From<&RoleRule> for wire::RoleRule {
    fn from(rule: &RoleRule) -> wire::RoleRule {
        wire::RoleRule { group: rule.group.clone(), role: rule.role.clone(), ..Default::default() }
    }
}

impl From<&wire::RoleRule> for RoleRule {
    fn from(rule: &wire::RoleRule) -> RoleRule {
        RoleRule { group: rule.group.trim().to_owned(), role: rule.role.clone() }
    }
}

/// The kind of a source; local people have none.
pub fn kind(source: UserSource) -> wire::IdentitySourceKind {
    match source {
        UserSource::Local => wire::IdentitySourceKind::IDENTITY_SOURCE_KIND_UNSPECIFIED,
        UserSource::Oidc => wire::IdentitySourceKind::IDENTITY_SOURCE_KIND_OIDC,
        UserSource::Ldap => wire::IdentitySourceKind::IDENTITY_SOURCE_KIND_LDAP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_both_ways() {
        let oidc = OidcConfig {
            issuer_url: "https://a".into(),
            client_id: "b".into(),
            scopes: vec!["c".into()],
            name_claim: "d".into(),
            groups_claim: "e".into(),
            ca_pem: "f".into(),
        };
        assert_eq!(OidcConfig::from(&wire::OidcConfig::from(&oidc)), oidc);
        let ldap = LdapConfig {
            urls: vec!["ldaps://a".into()],
            start_tls: true,
            ca_pem: "b".into(),
            bind_dn: "c".into(),
            user_base: "d".into(),
            user_filter: "e".into(),
            id_attribute: "f".into(),
            name_attribute: "g".into(),
            group_base: "h".into(),
            group_filter: "i".into(),
            group_name_attribute: "j".into(),
        };
        assert_eq!(LdapConfig::from(&wire::LdapConfig::from(&ldap)), ldap);
        let none = wire::IdentitySourceWish::default();
        assert_eq!(SourceConfig::try_from(&none).expect_err("nothing chosen").field, "config");
    }
}
