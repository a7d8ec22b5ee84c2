//! Where a directory is.

use quantix_model::Fault;
use std::fmt;

/// `ldaps://host[:636]` or `ldap://host[:389]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS from the first byte; otherwise StartTLS.
    pub tls_first: bool,
}

impl Url {
    /// Reads one. `ldap://` is taken with StartTLS only: nothing is ever sent in the clear.
    pub fn read(text: &str, start_tls: bool) -> Result<Url, Fault> {
        let wrong = |why: &str| {
            let remedy = "Write ldaps:// and its name, for example ldaps://ldap.example.org, or ldap:// with StartTLS.";
            Fault::invalid("ldap.urls", format!("The URL {text:?} cannot be used: {why}."), remedy)
        };
        if text.len() > 300 {
            return Err(wrong("it is longer than 300 characters"));
        }
        let uri: http::Uri = text.trim().parse().map_err(|_| wrong("it is not a URL"))?;
        let tls_first = match uri.scheme_str() {
            Some("ldaps") => true,
            Some("ldap") if start_tls => false,
            Some("ldap") => {
                return Err(wrong("passwords would cross the network in the clear without StartTLS"));
            }
            _ => return Err(wrong("it begins with neither ldaps:// nor ldap://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it holds a user or password"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(wrong(
                "it goes on after the host; write the base where people are into its own field",
            ));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let port = match authority.port_u16() {
            Some(0) => return Err(wrong("port 0 is no port")),
            Some(port) => port,
            None if authority.as_str() != authority.host() => return Err(wrong("its port is no port")),
            None if tls_first => 636,
            None => 389,
        };
        Ok(Url { host, port, tls_first })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls_first { "ldaps" } else { "ldap" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, is) in [
            ("ldaps://ldap.example.org", "ldaps://ldap.example.org:636"),
            ("ldap://10.0.0.1/", "ldap://10.0.0.1:389"),
            ("ldaps://[2001:db8::1]:3269", "ldaps://[2001:db8::1]:3269"),
        ] {
            assert_eq!(Url::read(text, true).unwrap().to_string(), is);
        }
        assert!(Url::read("ldap://a", false).unwrap_err().message.contains("in the clear"));
        for bad in [
            "",
            "a",
            "https://a",
            "ldapi:///run/x",
            "ldaps://",
            "ldaps://u:p@a",
            "ldaps://a/dc=x",
            "ldaps://a?x",
            "ldaps://a#x",
            "ldaps://a:0",
            "ldaps://a:99999",
            "ldaps://a b",
            "ldaps://:636",
        ] {
            assert_eq!(Url::read(bad, true).expect_err(bad).field, "ldap.urls");
        }
    }
}
