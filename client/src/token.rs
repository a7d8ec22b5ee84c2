//! The registration token: what a host shows, and an administrator types into *Add host*.
//!
//! `qxh1.<secret>.<fingerprint>`: 16 random bytes that prove the right to add the host, and the SHA-256 of the
//! certificate it shows, so that the first contact is pinned. Both in base64url without padding.

use crate::tls::Fingerprint;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::{Fault, FaultCode};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// First part of every token; a later shape gets another one.
const PREFIX: &str = "qxh1";

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
        let wrong = |why: &str| Fault {
            field: "token".into(),
            ..Fault::new(
                FaultCode::TokenInvalid,
                "This is not a registration token.",
                "Run `quantix-node token` on the host and copy the whole line it prints, from qxh1 on.",
            )
            .because(why)
        };
        let text = text.trim();
        let mut parts = text.split('.');
        if parts.next() != Some(PREFIX) {
            return Err(wrong("it does not start with `qxh1.`"));
        }
        let (Some(secret), Some(fingerprint), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it does not have three parts"));
        };
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let secret = bytes(secret).and_then(|b| b.try_into().ok());
        let fingerprint = bytes(fingerprint).and_then(|b| <[u8; 32]>::try_from(b).ok());
        match (secret, fingerprint) {
            (Some(secret), Some(fingerprint)) => {
                Ok(RegistrationToken { secret, fingerprint: Fingerprint(fingerprint) })
            }
            _ => Err(wrong("a part of it has the wrong length or letters")),
        }
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
    fn another_secret_does_not_match() {
        let pin = Fingerprint([7; 32]);
        let one = RegistrationToken::generate(pin).expect("the generator works");
        let two = RegistrationToken::generate(pin).expect("the generator works");
        assert!(!one.matches(&two.secret_hash()));
    }
}
