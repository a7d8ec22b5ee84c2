//! What goes wrong with a directory, in words for people.

use crate::ldap::ber::Rubbish;
use crate::ldap::message::Outcome;
use crate::ldap::url::Url;
use crate::shown;
use quantix_model::fault::{Fault, FaultCode};
use std::io;
use std::time::Duration;

/// Why a directory gave no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It could not be asked, or broke off: another server of the same directory may do better.
    Line(Fault),
    /// It answered, and the others would answer the same.
    Answer(Fault),
}

impl Trouble {
    /// For people.
    pub fn into_fault(self) -> Fault {
        match self {
            Trouble::Line(fault) | Trouble::Answer(fault) => fault,
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Answer(fault)
    }
}

/// The name has no address.
pub fn no_address(url: &Url, err: impl std::fmt::Display) -> Trouble {
    let text = format!("The name {} has no address.", url.host);
    let fault = Fault::new(
        FaultCode::IdentitySourceUnreachable,
        text,
        "Correct the name, or the vDC's name servers.",
    );
    Trouble::Line(fault.because(err))
}

/// TCP failed.
pub fn unreachable(url: &Url, err: &io::Error) -> Trouble {
    let text = match err.kind() {
        io::ErrorKind::ConnectionRefused => format!("{url} refused the connection."),
        _ => format!("{url} cannot be reached."),
    };
    let remedy = "Check the name and the port, that the directory runs, and that no firewall closes the way.";
    Trouble::Line(Fault::new(FaultCode::IdentitySourceUnreachable, text, remedy).because(err))
}

/// It said nothing for too long.
pub fn silent(url: &Url, step: &str, limit: Duration) -> Trouble {
    let text = format!("{url} did not answer within {} s ({step}).", limit.as_secs());
    let remedy =
        "Check that the directory is well, and its port: ldaps listens on 636, ldap with StartTLS on 389.";
    Trouble::Line(Fault::new(FaultCode::IdentitySourceUnreachable, text, remedy))
}

/// It ended the connection.
pub fn closed(url: &Url, step: &str, cause: impl std::fmt::Display) -> Trouble {
    let text = format!("{url} ended the connection ({step}).");
    let remedy =
        "Look into the directory's own log; check the port: ldaps listens on 636, ldap with StartTLS on 389.";
    Trouble::Line(Fault::new(FaultCode::IdentitySourceUnreachable, text, remedy).because(cause))
}

/// What it says cannot be understood, or is too much.
pub fn rubbish(url: &Url, step: &str, what: Rubbish) -> Trouble {
    let text = format!("{url} does not answer as LDAP directories do ({step}).");
    let remedy = "Check the port: ldaps listens on 636, ldap with StartTLS on 389.";
    Trouble::Line(Fault::new(FaultCode::IdentitySourceInvalid, text, remedy).because(what))
}

/// It does not go over to TLS.
pub fn no_start_tls(url: &Url, outcome: &Outcome) -> Trouble {
    let text = format!("{url} does not go over to TLS (StartTLS).");
    let remedy = "Give the directory a certificate and let it do StartTLS, or use ldaps://.";
    Trouble::Line(Fault::new(FaultCode::IdentitySourceUnreachable, text, remedy).because(said(outcome)))
}

/// TLS was not agreed on.
pub fn tls(url: &Url, err: &io::Error) -> Trouble {
    let fault = |text: &str, remedy: &str| {
        Fault::new(FaultCode::IdentitySourceUnreachable, format!("{url} {text}"), remedy)
    };
    let inner = shown::tls_error(err);
    let fault = match (inner, inner.and_then(shown::words)) {
        (_, Some(words)) => fault(words.text, words.remedy),
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            fault("does not speak TLS.", "Check the port: ldaps listens on 636, ldap with StartTLS on 389.")
        }
        _ => fault(
            "could not agree with the vDC on TLS.",
            "TLS 1.2 or 1.3 with a certificate of a usual kind is needed.",
        ),
    };
    Trouble::Line(fault.because(inner.map_or_else(|| err.to_string(), ToString::to_string)))
}

/// A refusal of what the service account asked for.
pub fn refused(url: &Url, step: &str, field: &str, outcome: &Outcome) -> Trouble {
    let text = format!("The directory refused ({step}): {}.", meaning(outcome.code));
    let remedy = match outcome.code {
        1 | 8 | 48 if field != "secret" => "Give the name and password of an account that may search.",
        10 => "Name a server that holds all of the base itself: referrals are not followed.",
        11 | 3 | 4 => "Allow this account larger searches there, or narrow the base or the filter.",
        13 => "Use ldaps:// or StartTLS.",
        32 => "Check that what is named there exists, and that this account may see it.",
        34 => "Write it as the directory does, for example ou=people,dc=example,dc=org.",
        48 | 49 => "Check the name and the password of the account that searches.",
        50 => "Give this account the right to read there.",
        _ => "Look into the directory's own log.",
    };
    let code = match outcome.code {
        51 | 52 => FaultCode::IdentitySourceUnreachable,
        3 | 4 | 10 | 11 | 32 | 34 => FaultCode::IdentitySourceInvalid,
        _ => FaultCode::IdentitySourceRefused,
    };
    let fault = Fault {
        field: field.to_owned(),
        ..Fault::new(code, text, remedy).because(format!("{url}: {}", said(outcome)))
    };
    match outcome.code {
        // Another server may be less busy (51), or up (52).
        51 | 52 => Trouble::Line(fault),
        _ => Trouble::Answer(fault),
    }
}

/// What the directory itself said.
pub fn said(outcome: &Outcome) -> String {
    let mut text = format!("result {} ({})", outcome.code, meaning(outcome.code));
    for more in [&outcome.words, &outcome.referral].into_iter().filter(|more| !more.is_empty()) {
        text.push_str(": ");
        text.push_str(more);
    }
    text
}

/// RFC 4511, appendix A.2, in few words.
fn meaning(code: u32) -> &'static str {
    match code {
        0 => "it went well",
        1 => "not at this moment, or not without signing in",
        2 => "it does not understand us",
        3 => "it takes too long",
        4 => "there is too much",
        7 | 8 => "it wants another way of signing in",
        10 => "it is kept elsewhere",
        11 => "it is more than is allowed",
        12 => "it cannot do what is essential",
        13 => "only in secret",
        16 => "there is no such attribute",
        19 => "a rule there forbids it",
        32 => "there is no such entry",
        34 => "that is no name of an entry",
        48 => "no way of signing in there",
        49 => "name or password is wrong",
        50 => "the account may not",
        51 => "it is busy",
        52 => "it is not available",
        53 => "it is not willing to",
        80 => "it failed",
        _ => "it gives a reason of its own",
    }
}
