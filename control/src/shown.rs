//! Certificates that are shown to us: why one is not believed, in words for people.

use rustls::{CertificateError as C, Error as E};
use std::error::Error;
use std::io;

/// What is wrong, to follow the name of who showed it, and what would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// "shows a certificate of another name."
    pub text: &'static str,
    /// A sentence.
    pub remedy: &'static str,
}

/// The error of TLS among the causes of an error.
pub fn tls_error<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(err);
    while let Some(err) = next {
        if let Some(found) = err.downcast_ref::<E>() {
            return Some(found);
        }
        // What an `io::Error` was made from is not among its sources, only what that came from.
        let made_from = err.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match made_from {
            Some(inner) => Some(inner),
            None => err.source(),
        };
    }
    None
}

/// What is to be said of a certificate, if it is that.
pub fn words(err: &E) -> Option<Words> {
    let words = |text, remedy| Some(Words { text, remedy });
    match err {
        E::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => words(
            "shows a certificate that nobody trusted has signed.",
            "Give the certificate of the authority that signed it, as PEM.",
        ),
        E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => words(
            "shows a certificate of another name.",
            "Use the name that stands in the certificate (subject alternative name), or give it one for this name.",
        ),
        E::InvalidCertificate(
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. },
        ) => words(
            "shows a certificate that is outside its dates.",
            "Renew it there; set both clocks right (NTP).",
        ),
        E::InvalidCertificate(C::Other(_)) => words(
            "shows a certificate that cannot be used.",
            "A certificate that signed itself and says it is an authority cannot be a server's: give it one that an authority signed, and give that authority's here.",
        ),
        E::InvalidCertificate(_) => words(
            "shows a certificate that cannot be verified.",
            "Give the certificate of the authority that signed it, as PEM; if that is the right one, give it a certificate of a usual kind.",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] io::Error);

    #[test]
    fn what_tls_said_is_found_however_deep_it_is() {
        let said = E::InvalidCertificate(C::UnknownIssuer);
        let err = Outside(io::Error::other(io::Error::other(said.clone())));
        assert_eq!(tls_error(&err), Some(&said));
        assert!(words(&said).is_some_and(|words| words.text.contains("nobody trusted")));
        assert_eq!(tls_error(&Outside(io::ErrorKind::ConnectionRefused.into())), None);
        assert!(
            words(&E::InvalidCertificate(C::BadEncoding))
                .is_some_and(|words| words.text.contains("verified"))
        );
        assert_eq!(words(&E::DecryptError), None);
    }
}
