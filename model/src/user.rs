//! People: where they come from, how they prove themselves, and what they may be called.

use crate::fault::Fault;
use serde::{Deserialize, Serialize};

/// Longest name of a person, in characters: an e-mail address fits (RFC 5321, 4.5.3.1).
pub const USER_NAME_CHARS_MAX: usize = 254;

/// Who checks that a person is who they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserSource {
    /// The vDC itself.
    Local,
    /// An OpenID Connect provider.
    Oidc,
    /// An LDAP directory.
    Ldap,
}

/// By what a session was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionProof {
    /// A password alone.
    Password,
    /// A password and a code of an authenticator app.
    Totp,
    /// A password and a recovery code.
    RecoveryCode,
    /// A passkey, with or without a password before it.
    Passkey,
    /// An OpenID Connect provider.
    Oidc,
}

/// What a person proves themselves with beside a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorKind {
    /// An authenticator app (RFC 6238).
    Totp,
    /// A passkey (WebAuthn).
    Passkey,
}

/// Checks a person's name: what directories and mail systems hand out, and nothing that could be taken for markup,
/// a path or two names.
pub fn check_user_name(field: &str, name: &str) -> Result<(), Fault> {
    let remedy = "Use 1 to 254 letters, digits and `. _ - @ +`, starting with a letter or digit.";
    let count = name.chars().count();
    if count == 0 || count > USER_NAME_CHARS_MAX {
        return Err(Fault::invalid(field, format!("The name has {count} characters."), remedy));
    }
    if let Some(bad) = name.chars().find(|c| !c.is_alphanumeric() && !"._-@+".contains(*c)) {
        return Err(Fault::invalid(field, format!("The name holds {bad:?}, which is not allowed."), remedy));
    }
    if !name.starts_with(char::is_alphanumeric) {
        return Err(Fault::invalid(field, format!("The name {name:?} starts with a sign."), remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["admin", "Jörg", "a.b+c@example.org", "0", "王", &"x".repeat(254)] {
            assert!(check_user_name("name", good).is_ok(), "{good}");
        }
        for bad in ["", " a", "a b", "a\n", "<a>", "-a", "@a", "a/b", "a,b", &"x".repeat(255)] {
            assert_eq!(check_user_name("name", bad).expect_err(bad).field, "name");
        }
    }
}
