//! The address a browser opened the vDC by. A passkey belongs to the name in it (the relying party's id of WebAuthn level
//! 3, 5.1.2) and to no other, so it decides which passkeys work here, and whether any can.

use crate::api::auth::Line;
use crate::core::Core;
use http::{HeaderMap, header};
use quantix_client::tls::VDC_NAME;
use quantix_model::fault::{Fault, FaultCode};
use std::net::IpAddr;
use webauthn_rs::prelude::{Url, Webauthn, WebauthnBuilder};

/// What browsers and devices show as the place a passkey is for.
const TITLE: &str = "Quantix";

/// Scheme, host and port, as the browser names them in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site(Url);

impl Site {
    /// Where a request was sent to. Its `Origin`, when there is one, was held against its host already.
    pub fn of(headers: &HeaderMap, authority: Option<&str>, line: Line) -> Option<Site> {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let origin = match (text(header::ORIGIN), text(header::HOST).or(authority), line) {
            (Some(origin), ..) => origin.to_owned(),
            (None, host, Line::Tls) => format!("https://{}", host?),
            (None, host, Line::Plain) => format!("http://{}", host?),
        };
        Url::parse(&origin).ok().map(Site)
    }

    /// The name that passkeys belong to; an IP address is none.
    pub fn name(&self) -> Option<&str> {
        self.0.domain()
    }

    /// Refuses where passkeys cannot work: by IP address, over plain HTTP, under a name that is not the vDC's.
    pub fn check(&self, core: &Core) -> Result<(), Fault> {
        let Some(name) = self.name() else {
            let host = self.0.host_str().unwrap_or_default();
            let text = format!("Passkeys belong to a name, and this page was opened as {host}.");
            return Err(self.wrong(core, text));
        };
        if is_this_machine(name) {
            return Ok(());
        }
        if self.0.scheme() != "https" {
            return Err(self.wrong(core, "Browsers use passkeys only over HTTPS.".into()));
        }
        if !names(core)?.iter().any(|known| covers(known, name)) {
            return Err(self.wrong(core, format!("This vDC does not know itself by the name {name}.")));
        }
        Ok(())
    }

    fn wrong(&self, core: &Core, message: String) -> Fault {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        let own = names(core).unwrap_or_default();
        let remedy = match best(&own) {
            _ if self.0.scheme() == "http" => format!("Open this page as http://localhost{port}."),
            Some(name) => format!(
                "Open this page by its name, https://{name}{port}. Another name is made known under `names` in the \
                 vDC's settings."
            ),
            None => {
                "Give the vDC a name, put it under `names` in its settings, and open this page by it.".into()
            }
        };
        Fault::new(FaultCode::PasskeyWrongAddress, message, remedy)
    }

    /// The verifier of passkeys for this site, whose questions are good for so long.
    pub fn verifier(&self) -> Result<Webauthn, Fault> {
        WebauthnBuilder::new(self.name().unwrap_or_default(), &self.0)
            .and_then(|builder| builder.rp_name(TITLE).timeout(super::ceremony::LIFE).build())
            .map_err(Fault::internal)
    }
}

/// Browsers take this machine's own pages for safe without TLS (W3C Secure Contexts, 3.1).
fn is_this_machine(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// What the vDC is called: the names its certificates carry, those from the settings among them.
fn names(core: &Core) -> Result<Vec<String>, Fault> {
    let mut names = core.pki.own().map(|own| own.names).unwrap_or_default();
    names.extend(core.pki.vdc_facts()?.dns_names);
    Ok(names)
}

/// Whether a certificate's name is good for a host's (RFC 6125, 6.4.3).
fn covers(known: &str, name: &str) -> bool {
    let (known, name) = (known.to_ascii_lowercase(), name.to_ascii_lowercase());
    match known.strip_prefix("*.") {
        Some(rest) => name.split_once('.').is_some_and(|(first, of)| !first.is_empty() && of == rest),
        None => known == name,
    }
}

/// The name to send people to: one with a domain, or else the machine's own.
fn best(names: &[String]) -> Option<&str> {
    let fits = |name: &&str| {
        !is_this_machine(name)
            && *name != VDC_NAME
            && !name.starts_with('*')
            && name.parse::<IpAddr>().is_err()
    };
    let mut fitting = names.iter().map(String::as_str).filter(fits);
    fitting.clone().find(|name| name.contains('.')).or_else(|| fitting.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_site_is_what_the_browser_says_or_else_the_host() {
        let of = |origin: Option<&'static str>, host: &'static str, line| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            Site::of(&headers, None, line).map(|site| (site.name().map(str::to_owned), site.0.to_string()))
        };
        let named = |name: &str, url: &str| Some((Some(name.to_owned()), url.to_owned()));
        assert_eq!(
            of(None, "vdc.example:8443", Line::Tls),
            named("vdc.example", "https://vdc.example:8443/")
        );
        assert_eq!(of(None, "LOCALHOST:80", Line::Plain), named("localhost", "http://localhost/"));
        // Behind something that ends TLS on this machine.
        let behind = of(Some("https://vdc.example"), "vdc.example", Line::Plain);
        assert_eq!(behind, named("vdc.example", "https://vdc.example/"));
        for address in ["192.0.2.7:8443", "[2001:db8::7]:8443"] {
            assert_eq!(of(None, address, Line::Tls).unwrap().0, None, "{address}");
        }
        assert_eq!(of(None, "", Line::Tls), None);
        assert_eq!(of(Some("null"), "x", Line::Tls), None);
    }

    #[test]
    fn names_of_certificates() {
        for (known, name, fits) in [
            ("vdc.example", "vdc.example", true),
            ("VDC.example", "vdc.example", true),
            ("vdc.example", "evil-vdc.example", false),
            ("*.example", "vdc.example", true),
            ("*.example", "a.vdc.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
        ] {
            assert_eq!(covers(known, name), fits, "{known} {name}");
        }
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            best(&own(&[VDC_NAME, "localhost", "box", "192.0.2.7", "vdc.example"])),
            Some("vdc.example")
        );
        assert_eq!(best(&own(&["*.example", "localhost", "box"])), Some("box"));
        assert_eq!(best(&own(&[VDC_NAME, "localhost", "127.0.0.1"])), None);
    }
}
