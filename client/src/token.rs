//! The registration token: what a host shows, and an administrator types into *Add host*.
//!
//! `qxh1.<secret>.<fingerprint>`: 16 random bytes that prove the right to add the host, and the SHA-256 of the
//! certificate it shows, so that the first contact is pinned. Both in base64url without padding.
//!
//! The other way round `qxj1.<secret>.<fingerprint>`: made by the vDC, shown by a host that joins; it names the authority
//! that vouches for the vDC.

use crate::tls::Fingerprint;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::{Fault, FaultCode};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// First part of every registration token; a later shape gets another one.
const PREFIX: &str = "qxh1";
/// The same of join tokens.
const JOIN_PREFIX: &str = "qxj1";

/// A registration token. Its Debug shows no secret; Display is the whole token.
#[derive(Clone)]
pub struct RegistrationToken {
    /// Proves the right to add the host.
    pub secret: [u8; 16],
    /// SHA-256 of the certificate the host shows.
    pub fingerprint: Fingerprint,
}

impl RegistrationToken {
    /// A new token with a secret from the system's generator.
    pub fn generate(fingerprint: Fingerprint) -> Result<RegistrationToken, Fault> {
        let mut secret = [0; 16];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| Fault::internal("the random generator failed"))?;
        Ok(RegistrationToken { secret, fingerprint })
    }

    /// SHA-256 of the secret: the only form of it that a host keeps.
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(&self.secret)
    }

    /// Whether the secret is the one behind `hash`, in a time that tells nothing.
    pub fn matches(&self, hash: &[u8; 32]) -> bool {
        self.secret_hash().ct_eq(hash).into()
    }
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

impl FromStr for RegistrationToken {
    type Err = Fault;

    /// A text of another shape is TOKEN_INVALID; nothing of it is repeated in the fault.
    fn from_str(text: &str) -> Result<RegistrationToken, Fault> {
        let (secret, fingerprint) = parts(text, PREFIX).map_err(|why| Fault {
            field: "token".into(),
            ..Fault::new(
                FaultCode::TokenInvalid,
                "This is not a registration token.",
                "Run `quantix-node token` on the host and copy the whole line it prints, from qxh1 on.",
            )
            .because(why)
        })?;
        Ok(RegistrationToken { secret, fingerprint })
    }
}

/// Secret and fingerprint of a token, or what is wrong with it, in words that repeat nothing of it.
fn parts(text: &str, prefix: &str) -> Result<([u8; 16], Fingerprint), String> {
    let mut parts = text.trim().split('.');
    if parts.next() != Some(prefix) {
        return Err(format!("it does not start with `{prefix}.`"));
    }
    let (Some(secret), Some(fingerprint), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it does not have three parts".to_owned());
    };
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let secret = bytes(secret).and_then(|b| b.try_into().ok());
    let fingerprint = bytes(fingerprint).and_then(|b| <[u8; 32]>::try_from(b).ok());
    match (secret, fingerprint) {
        (Some(secret), Some(fingerprint)) => Ok((secret, Fingerprint(fingerprint))),
        _ => Err("a part of it has the wrong length or letters".to_owned()),
    }
}

/// A join token. Its Debug shows no secret; Display is the whole token.
#[derive(Clone)]
pub struct JoinToken {
    /// Proves the right to join.
    pub secret: [u8; 16],
    /// SHA-256 of the certificate of the authority that vouches for the vDC.
    pub authority: Fingerprint,
}

impl JoinToken {
    /// A new token with a secret from the system's generator.
    pub fn generate(authority: Fingerprint) -> Result<JoinToken, Fault> {
        let RegistrationToken { secret, .. } = RegistrationToken::generate(authority)?;
        Ok(JoinToken { secret, authority })
    }

    /// SHA-256 of the secret: the only form of it that the vDC keeps.
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(&self.secret)
    }

    /// The secret as it is sent to the vDC.
    pub fn secret_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret)
    }

    /// The hash of a secret that was sent; `None` when it is of another shape.
    pub fn hash_of_text(text: &str) -> Option<[u8; 32]> {
        let secret: [u8; 16] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(sha256(&secret))
    }
}

impl FromStr for JoinToken {
    type Err = Fault;

    /// A text of another shape is TOKEN_INVALID; nothing of it is repeated in the fault.
    fn from_str(text: &str) -> Result<JoinToken, Fault> {
        let (secret, authority) = parts(text, JOIN_PREFIX).map_err(|why| Fault {
            field: "token".into(),
            ..Fault::new(
                FaultCode::TokenInvalid,
                "This is not a join token.",
                "Make one in the vDC under Hosts, Join tokens, and copy the whole of it, from qxj1 on.",
            )
            .because(why)
        })?;
        Ok(JoinToken { secret, authority })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOIN_PREFIX}.{}.{}", self.secret_text(), URL_SAFE_NO_PAD.encode(self.authority.0))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOIN_PREFIX}.***.{}", self.authority)
    }
}

impl fmt::Display for RegistrationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secret, pin) = (URL_SAFE_NO_PAD.encode(self.secret), URL_SAFE_NO_PAD.encode(self.fingerprint.0));
        write!(f, "{PREFIX}.{secret}.{pin}")
    }
}

impl fmt::Debug for RegistrationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.***.{}", self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(secret: [u8; 16], pin: [u8; 32]) {
            let token = RegistrationToken { secret, fingerprint: Fingerprint(pin) };
            let back: RegistrationToken = token.to_string().parse().expect("our own token parses");
            prop_assert_eq!(back.secret, secret);
            prop_assert_eq!(back.fingerprint.0, pin);
            prop_assert!(back.matches(&token.secret_hash()));
            let shown = format!("{token:?}");
            prop_assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(secret)));
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".{0,200}") {
            if let Err(fault) = text.parse::<RegistrationToken>() {
                prop_assert_eq!(fault.code, FaultCode::TokenInvalid);
            }
        }
    }

    #[test]
    fn join_tokens_come_back_and_hide_their_secret() {
        let token = JoinToken::generate(Fingerprint([7; 32])).expect("the generator works");
        let back: JoinToken = token.to_string().parse().expect("our own token parses");
        assert_eq!((back.secret, back.authority), (token.secret, token.authority));
        assert_eq!(JoinToken::hash_of_text(&token.secret_text()), Some(token.secret_hash()));
        assert_eq!(JoinToken::hash_of_text("short"), None);
        assert!(!format!("{token:?}").contains(&token.secret_text()));
        let other = RegistrationToken::generate(Fingerprint([7; 32])).expect("the generator works");
        let fault = other.to_string().parse::<JoinToken>().expect_err("another kind of token");
        assert_eq!(fault.code, FaultCode::TokenInvalid);
        assert!(token.to_string().parse::<RegistrationToken>().is_err());
    }

    #[test]
    fn another_secret_does_not_match() {
        let pin = Fingerprint([7; 32]);
        let one = RegistrationToken::generate(pin).expect("the generator works");
        let two = RegistrationToken::generate(pin).expect("the generator works");
        assert!(!one.matches(&two.secret_hash()));
    }
}
