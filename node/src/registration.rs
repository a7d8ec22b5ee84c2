//! How a stranger's vDC becomes ours: the token, and the four calls that use it.
//!
//! ```text
//!   quantix-node token ──▶ TokenEntry (hash, 1 h) ──ping, token, discovery──▶ complete ──▶ Enrolment
//!                                                                               │ the token is used up
//!                                    the same body may be sent again ◀──────────┘ until the first beat succeeded
//! ```
//! The secret is kept as a hash, compared in constant time, and never logged. Wrong tries are counted per address.

use crate::ledger::{Book, Enrolment, TokenEntry};
use quantix_client::RegistrationToken;
use quantix_client::tls::Fingerprint;
use quantix_model::{Fault, FaultCode, UnixMs};
use std::time::Duration;

/// How long a token lives.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);
const AGAIN: &str = "Run `quantix-node token` on the host and use the new token.";

/// A new token, and what is kept of it.
pub fn make_token(fingerprint: Fingerprint, now: UnixMs) -> Result<(RegistrationToken, TokenEntry), Fault> {
    let token = RegistrationToken::generate(fingerprint)?;
    let entry = TokenEntry {
        secret_sha256: token.secret_hash(),
        created_at: now,
        expires_at: now.plus(TOKEN_LIFE),
        used: false,
    };
    Ok((token, entry))
}

/// What a caller may do with the token it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everything.
    Full(TokenEntry),
    /// It was used already: only the same completion may be repeated.
    Repeat,
}

/// Judges the `Authorization` value of a registration call.
pub fn judge(
    book: &Book,
    authorization: Option<&str>,
    pin: Fingerprint,
    now: UnixMs,
) -> Result<Grant, Fault> {
    let Some(entry) = &book.token else {
        return Err(Fault::new(
            FaultCode::TokenMissing,
            "No registration token was made on this host yet.",
            "Run `quantix-node token` on the host, then try again with what it prints.",
        ));
    };
    let text = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
        Fault::new(FaultCode::TokenInvalid, "The call carries no registration token.", AGAIN)
    })?;
    let token: RegistrationToken = text.parse()?;
    if !token.matches(&entry.secret_sha256) || token.fingerprint != pin {
        return Err(Fault::new(FaultCode::TokenInvalid, "The registration token is wrong.", AGAIN)
            .because("only the token made last is accepted"));
    }
    if now > entry.expires_at {
        let late = entry.expires_at.age(now).as_secs();
        return Err(Fault::new(FaultCode::TokenExpired, "The registration token has expired.", AGAIN)
            .because(format!("it ended {late} s ago by the host's clock")));
    }
    match (&book.registration, entry.used) {
        (_, false) => Ok(Grant::Full(entry.clone())),
        (Some(enrolment), true) if !enrolment.confirmed => Ok(Grant::Repeat),
        (_, true) => Err(Fault::new(
            FaultCode::TokenInvalid,
            "The registration token was used already; it serves once.",
            AGAIN,
        )),
    }
}

/// Takes up a checked enrolment and uses up the token; the same enrolment again is a success.
pub fn enrol(book: &mut Book, grant: &Grant, enrolment: Enrolment) -> Result<(), Fault> {
    let same = book
        .registration
        .as_ref()
        .is_some_and(|now| !now.confirmed && Enrolment { confirmed: false, ..now.clone() } == enrolment);
    match grant {
        Grant::Repeat if same => Ok(()),
        Grant::Repeat => Err(Fault::new(
            FaultCode::TokenInvalid,
            "The registration token was used already, for another registration.",
            AGAIN,
        )),
        Grant::Full(entry) => {
            let current = book.token.as_mut().filter(|t| t.secret_sha256 == entry.secret_sha256 && !t.used);
            let current = current.ok_or_else(|| {
                Fault::new(FaultCode::TokenInvalid, "The registration token was used just now.", AGAIN)
            })?;
            current.used = true;
            book.registration = Some(enrolment);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const PIN: Fingerprint = Fingerprint([7; 32]);

    fn book() -> (Book, String) {
        let (token, entry) = make_token(PIN, UnixMs(0)).unwrap();
        (Book { token: Some(entry), ..Book::default() }, format!("Bearer {token}"))
    }

    fn enrolment(name: &str) -> Enrolment {
        Enrolment {
            host_id: quantix_model::id::HostId(Uuid::from_u128(1)),
            host_name: name.into(),
            vdc_url: "https://192.0.2.1".into(),
            vdc_ca_pem: "ca".into(),
            certificate_pem: "leaf".into(),
            confirmed: false,
            trusted_at: UnixMs(0),
        }
    }

    #[test]
    fn the_three_codes() {
        let (book, bearer) = book();
        let code =
            |book: &Book, bearer: Option<&str>, at| judge(book, bearer, PIN, UnixMs(at)).unwrap_err().code;
        assert_eq!(code(&Book::default(), Some(&bearer), 0), FaultCode::TokenMissing);
        assert_eq!(code(&book, None, 0), FaultCode::TokenInvalid);
        assert_eq!(code(&book, Some("Bearer x"), 0), FaultCode::TokenInvalid);
        let (other, _) = make_token(PIN, UnixMs(0)).unwrap();
        assert_eq!(code(&book, Some(&format!("Bearer {other}")), 0), FaultCode::TokenInvalid);
        assert_eq!(code(&book, Some(&bearer), 3_600_001), FaultCode::TokenExpired);
        assert!(matches!(judge(&book, Some(&bearer), PIN, UnixMs(3_600_000)), Ok(Grant::Full(_))));
        let elsewhere = judge(&book, Some(&bearer), Fingerprint([8; 32]), UnixMs(0));
        assert_eq!(elsewhere.unwrap_err().code, FaultCode::TokenInvalid);
    }

    #[test]
    fn a_token_serves_once_but_the_same_completion_may_be_repeated() {
        let (mut book, bearer) = book();
        let grant = judge(&book, Some(&bearer), PIN, UnixMs(1)).unwrap();
        enrol(&mut book, &grant, enrolment("a")).unwrap();
        assert!(enrol(&mut book, &grant, enrolment("b")).is_err(), "two completions at once");
        let again = judge(&book, Some(&bearer), PIN, UnixMs(2)).unwrap();
        assert_eq!(again, Grant::Repeat);
        enrol(&mut book, &again, enrolment("a")).unwrap();
        assert!(enrol(&mut book, &again, enrolment("b")).is_err());
        book.registration.as_mut().unwrap().confirmed = true;
        assert_eq!(judge(&book, Some(&bearer), PIN, UnixMs(3)).unwrap_err().code, FaultCode::TokenInvalid);
    }
}
