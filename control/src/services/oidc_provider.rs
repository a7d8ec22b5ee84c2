//! Reaching an OpenID Connect provider, and what it tells of itself (OpenID Connect Discovery 1.0).
//!
//! What a provider answers is foreign: each call has a deadline, each answer a size, nothing is followed to where it
//! redirects, TLS is verified always, and no address is asked where a cloud keeps its metadata; the provider's own
//! document cannot talk us into any of it.

use crate::core::Core;
use crate::services::identity_check::http_url;
use crate::services::oidc_token::{self, Exchange};
use crate::shown;
use futures::StreamExt as _;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, DiscoveryError, HttpRequest, HttpResponse, IssuerUrl, ProviderMetadata,
};
use quantix_client::dial::is_forbidden;
use quantix_model::Secret;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::identity::OidcConfig;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// A connection is there within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A whole answer is there within this.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// No answer is larger.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Letters of a provider's own words that are kept.
const WORDS_MAX: usize = 300;

/// What we read of a provider's document beside what the standard's first edition names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// RFC 8414.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code_challenge_methods_supported: Vec<String>,
}

impl AdditionalProviderMetadata for Extra {}

/// A provider's document, with its keys.
pub type Metadata = ProviderMetadata<
    Extra,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Why a call did not go well.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub Box<Fault>);

/// Resolves names, but to no address where nobody's provider can be.
#[derive(Debug)]
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (bad, good): (Vec<_>, Vec<_>) = found.into_iter().partition(|a| is_forbidden(a.ip()));
            if let (true, Some(address)) = (good.is_empty(), bad.first()) {
                return Err(
                    format!("the name leads to {}, which is link-local or reserved", address.ip()).into()
                );
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// Text from outside, as far as it may be kept and shown.
pub fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

/// The fault for a provider that cannot be reached.
pub fn unreachable(host: &str, cause: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::IdentitySourceUnreachable,
        format!("The identity provider at {host} does not answer."),
        "Check its address, that it runs, and that the vDC reaches it; people with a local account can sign in meanwhile.",
    )
    .because(words(&cause.to_string()))
}

/// The fault for a call that brought no answer.
fn unanswered(at: &str, err: &reqwest::Error) -> Fault {
    let Some(tls) = shown::tls_error(err) else { return unreachable(at, cause(err)) };
    let Some(shown::Words { text, remedy }) = shown::words(tls) else { return unreachable(at, tls) };
    Fault::new(FaultCode::IdentitySourceUnreachable, format!("The identity provider at {at} {text}"), remedy)
        .because(words(&tls.to_string()))
}

/// The fault for an answer that cannot be used.
pub fn unusable(message: impl Into<String>, cause: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::IdentitySourceInvalid,
        message,
        "Check the source's settings under Sign-in, and the provider's own log.",
    )
    .because(words(&cause.to_string()))
}

/// A line to a provider.
#[derive(Clone, Debug)]
pub struct Door(reqwest::Client);

impl Door {
    /// Trusts the source's own authorities, or the system's.
    pub fn new(config: &OidcConfig) -> Result<Door, Fault> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(CALL_DEADLINE)
            .pool_max_idle_per_host(0)
            .dns_resolver(Resolver)
            .user_agent(concat!("quantix-vdc/", env!("CARGO_PKG_VERSION")));
        if !config.ca_pem.is_empty() {
            let unread = |err: reqwest::Error| {
                Fault::invalid("oidc.ca_pem", "The certificates cannot be read.", "Paste them again.")
                    .because(err)
            };
            let roots = reqwest::Certificate::from_pem_bundle(config.ca_pem.as_bytes()).map_err(unread)?;
            builder = builder.tls_certs_only(roots);
        }
        builder.build().map(Door).map_err(Fault::internal)
    }

    /// One call, as `openidconnect` wants it made.
    pub async fn call(self, request: HttpRequest) -> Result<HttpResponse, Failed> {
        self.send(request).await.map_err(|fault| Failed(Box::new(fault)))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        let (parts, body) = request.into_parts();
        let text = parts.uri.to_string();
        let url = http_url("url", &text).map_err(|fault| {
            unusable("The identity provider names an address that cannot be used.", fault.message)
        })?;
        let at = url.authority().to_owned();
        let asked = self.0.request(parts.method, url).headers(parts.headers).body(body).send().await;
        let response = asked.map_err(|err| unanswered(&at, &err))?;
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            *headers = response.headers().clone();
        }
        if response.status().is_redirection() {
            let to = response.headers().get(http::header::LOCATION).and_then(|to| to.to_str().ok());
            let cause = format!("{text} redirects to {}", to.unwrap_or("nowhere"));
            return Err(unusable("The identity provider points elsewhere, where nobody follows.", cause));
        }
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(part) = stream.next().await {
            let part = part.map_err(|err| unanswered(&at, &err))?;
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                let cause = format!("{text} answers with more than 1 MiB");
                return Err(unusable("The answer of the identity provider is too large.", cause));
            }
            bytes.extend_from_slice(&part);
        }
        answer.body(bytes).map_err(Fault::internal)
    }

    /// What the provider tells of itself.
    pub async fn discover(&self, config: &OidcConfig) -> Result<Metadata, Fault> {
        let issuer = IssuerUrl::new(config.issuer_url.clone());
        let issuer = issuer.map_err(|err| unusable("The issuer URL is none.", err))?;
        let call = |request| self.clone().call(request);
        let found = Metadata::discover_async(issuer, &call).await;
        let metadata = found.map_err(|err| not_discovered(&config.issuer_url, err))?;
        for endpoint in [
            Some(metadata.authorization_endpoint().as_str()),
            metadata.token_endpoint().map(|url| url.as_str()),
            metadata.userinfo_endpoint().map(|url| url.as_str()),
        ] {
            http_url("url", endpoint.unwrap_or(&config.issuer_url)).map_err(|fault| {
                unusable("The identity provider names an address that cannot be used.", fault.message)
            })?;
        }
        if metadata.token_endpoint().is_none() {
            return Err(unusable("The identity provider names no token endpoint.", ""));
        }
        Ok(metadata)
    }

    /// The provider's keys as they are now.
    pub async fn keys(&self, metadata: &Metadata) -> Result<CoreJsonWebKeySet, Fault> {
        let call = |request| self.clone().call(request);
        let found = CoreJsonWebKeySet::fetch_async(metadata.jwks_uri(), &call).await;
        found.map_err(|err| not_discovered(metadata.jwks_uri().as_str(), err))
    }
}

/// The innermost cause says what happened; those around it only that something did.
fn cause(err: &reqwest::Error) -> String {
    if err.is_timeout() {
        return format!("no answer within {} s", CALL_DEADLINE.as_secs());
    }
    let mut inner: &dyn std::error::Error = err;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn not_discovered(url: &str, err: DiscoveryError<Failed>) -> Fault {
    match err {
        DiscoveryError::Request(Failed(fault)) => *fault,
        DiscoveryError::Validation(why) => unusable("The provider calls itself by another issuer URL.", why),
        DiscoveryError::Response(status, body, why) => {
            let start = words(&String::from_utf8_lossy(&body[..body.len().min(WORDS_MAX)]));
            let why = if status.is_success() { why } else { format!("HTTP {}", status.as_u16()) };
            unusable(
                format!("What answers at {} is no identity provider.", words(url)),
                format!("{why}: {start}"),
            )
        }
        DiscoveryError::Parse(err) => {
            unusable(format!("What answers at {} is no identity provider.", words(url)), err)
        }
        DiscoveryError::UrlParse(err) => unusable("The issuer URL is none.", err),
        other => unusable("The identity provider's answer cannot be used.", other),
    }
}

/// Reaches a provider and says what it found.
pub async fn test(
    core: &Core,
    config: &OidcConfig,
    secret: &Secret,
    facts: &mut Vec<String>,
) -> Result<(), Fault> {
    let door = Door::new(config)?;
    let metadata = door.discover(config).await?;
    facts.push(format!("The provider answers as {}.", words(&config.issuer_url)));
    let at = metadata.authorization_endpoint().url().host_str().unwrap_or_default();
    facts.push(format!("People are sent to {} to sign in.", words(at)));
    let keys = metadata.jwks().keys().len();
    if keys == 0 {
        return Err(unusable("The provider shows no key that its tokens could be checked with.", ""));
    }
    facts.push(format!("It shows {keys} key{} to check its tokens with.", if keys == 1 { "" } else { "s" }));
    if let Some(known) = metadata.scopes_supported() {
        for scope in config.scopes.iter().filter(|scope| !known.iter().any(|k| k.as_str() == scope.as_str()))
        {
            facts.push(format!("It does not list the scope {scope}: it may ignore or refuse it."));
        }
    }
    if let Some(known) = metadata.claims_supported() {
        let wanted = [&config.name_claim, &config.groups_claim];
        for claim in
            wanted.into_iter().filter(|c| !c.is_empty() && !known.iter().any(|k| k.as_str() == c.as_str()))
        {
            facts.push(format!("It does not list the claim {claim}: sign in once to see whether it comes."));
        }
    }
    let redirect_uri = core.redirect_uri();
    let exchange = Exchange { door: &door, metadata: &metadata, config, secret, redirect_uri: &redirect_uri };
    facts.push(match oidc_token::try_client(&exchange).await? {
        true => "It takes the client id and its secret.".into(),
        false => "Whether it takes the client id and its secret shows at the first sign-in.".into(),
    });
    Ok(())
}
