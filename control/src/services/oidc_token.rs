//! A code becomes an ID token, and an ID token becomes who somebody is (OpenID Connect Core 1.0, 3.1.3).
//!
//! ```text
//!   code, verifier ──▶ token endpoint ──▶ ID token ──(signature, issuer, audience, nonce, time)──▶ claims
//!                                            │ key unknown: keys read anew, once                     │
//!                                            ▼                                                       ▼
//!                                         refused             name or groups missing: userinfo ──▶ Told
//! ```
//! Nothing of a token is looked at before it is verified. Signatures that whoever knows the client secret can make, and no
//! signature at all, are refused: a provider has keys.

use crate::core::Core;
use crate::services::oidc_provider::{Door, Metadata, unusable, words};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use openidconnect::core::{
    CoreClientAuthMethod, CoreGenderClaim, CoreIdTokenVerifier, CoreJsonWebKeySet,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
};
use openidconnect::url::form_urlencoded;
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, HttpRequest, HttpResponse, IdToken, Nonce,
    SignatureVerificationError,
};
use quantix_model::Secret;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::identity::{OidcConfig, Told};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

/// The provider's clock may go before or behind ours by so much.
const SKEW: Duration = Duration::from_secs(60);
/// Characters of a subject (OpenID Connect Core 1.0, 2).
const SUBJECT_MAX: usize = 255;
/// Groups of one person that are looked at.
const GROUPS_MAX: usize = 5000;
/// Signed by a key that only the provider has.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Claims that the standard does not name.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Others(Map<String, Value>);

impl AdditionalClaims for Others {}

type Token = IdToken<Others, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// What a token endpoint answers, good or bad (RFC 6749, 5).
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id_token: Option<Secret>,
    #[serde(default)]
    access_token: Option<Secret>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

/// One exchange.
pub struct Exchange<'a> {
    /// To the provider.
    pub door: &'a Door,
    /// What it told of itself.
    pub metadata: &'a Metadata,
    /// How it is set up.
    pub config: &'a OidcConfig,
    /// The client's; empty: a public one.
    pub secret: &'a Secret,
    /// As it was told when the sign-in began.
    pub redirect_uri: &'a str,
}

/// The fault for a provider that says no, in its own words.
pub fn refused(error: &str, description: &str) -> Fault {
    let remedy = match error {
        "access_denied" => "Try again; if you may not use this application, ask who runs the provider.",
        "invalid_client" | "unauthorized_client" => {
            "Give the client id and the client secret anew under Sign-in."
        }
        _ => "Try again; if it comes back, compare the source's settings with the provider's.",
    };
    let cause = if description.is_empty() { words(error) } else { words(&format!("{error}: {description}")) };
    Fault::new(FaultCode::IdentitySourceRefused, "The identity provider refused the sign-in.", remedy)
        .because(cause)
}

impl Exchange<'_> {
    /// Asks the token endpoint.
    async fn ask(&self, code: &str, verifier: &str) -> Result<HttpResponse, Fault> {
        let request = self.question(code, verifier)?;
        self.door.clone().call(request).await.map_err(|failed| *failed.0)
    }

    /// What the token endpoint is asked (RFC 6749, 4.1.3; RFC 7636, 4.5).
    fn question(&self, code: &str, verifier: &str) -> Result<HttpRequest, Fault> {
        let endpoint = self.metadata.token_endpoint().map(|url| url.as_str()).unwrap_or_default();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("code_verifier", verifier);
        let mut request = http::Request::post(endpoint)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if self.secret.is_empty() {
            form.append_pair("client_id", &self.config.client_id);
        } else if self.takes_basic() {
            // RFC 6749, 2.3.1: both are form-encoded first.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(&self.config.client_id), encoded(self.secret.expose()));
            let mut value = header::HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                .map_err(Fault::internal)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        } else {
            form.append_pair("client_id", &self.config.client_id)
                .append_pair("client_secret", self.secret.expose());
        }
        let request = request.body(form.finish().into_bytes());
        request.map_err(|err| unusable("The token endpoint is no URL.", err))
    }

    /// What a provider takes that does not say (OpenID Connect Discovery 1.0, 3).
    fn takes_basic(&self) -> bool {
        let methods = self.metadata.token_endpoint_auth_methods_supported();
        methods.is_none_or(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                || !methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        })
    }

    /// The code's tokens.
    async fn redeem(&self, code: &str, verifier: &str) -> Result<(Secret, Option<Secret>), Fault> {
        let response = self.ask(code, verifier).await?;
        let status = response.status();
        let answer: Answer = serde_json::from_slice(response.body()).map_err(|err| {
            // Without the body: what cannot be read may still hold a token.
            let text = "The identity provider's answer to the code cannot be read.";
            unusable(
                text,
                format!("HTTP {}: {:?} at column {}", status.as_u16(), err.classify(), err.column()),
            )
        })?;
        if let Some(error) = answer.error {
            return Err(refused(&error, &answer.error_description.unwrap_or_default()));
        }
        if !status.is_success() {
            return Err(refused(&format!("HTTP {}", status.as_u16()), ""));
        }
        let token = answer.id_token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            unusable("The identity provider gave no ID token.", "the answer to the code holds no id_token")
        })?;
        Ok((token, answer.access_token.filter(|token| !token.is_empty())))
    }

    /// Who it is, by a code.
    pub async fn told(
        &self,
        core: &Core,
        code: &str,
        verifier: &str,
        nonce: &str,
        keys: &mut impl Keys,
    ) -> Result<Told, Fault> {
        let (token, access) = self.redeem(code, verifier).await?;
        let claims = self.verify(core, &token, nonce, keys).await?;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        if subject.is_empty()
            || subject.chars().count() > SUBJECT_MAX
            || subject.chars().any(char::is_control)
        {
            return Err(unusable("The ID token says nothing usable of who it is about.", "claim sub"));
        }
        let mut name = text(&claims, &self.config.name_claim);
        let mut groups = groups(&claims, &self.config.groups_claim);
        let wants_more = name.is_none() || groups.is_none() && !self.config.groups_claim.is_empty();
        if let (true, Some(access)) = (wants_more, &access) {
            let more = self.userinfo(access, &subject).await?;
            name = name.or_else(|| text(&more, &self.config.name_claim));
            groups = groups.or_else(|| crate::services::oidc_token::groups(&more, &self.config.groups_claim));
        }
        let name = name.ok_or_else(|| {
            Fault::new(
                FaultCode::IdentitySourceInvalid,
                format!("The identity provider does not say your name: there is no claim {}.", self.config.name_claim),
                "Have the provider send that claim, ask for another scope, or choose another claim under Sign-in.",
            )
        })?;
        Ok(Told { subject, name, groups: groups.unwrap_or_default() })
    }

    async fn verify(
        &self,
        core: &Core,
        token: &Secret,
        nonce: &str,
        keys: &mut impl Keys,
    ) -> Result<Map<String, Value>, Fault> {
        let token = Token::from_str(token.expose()).map_err(|err| {
            let cause = format!("{:?} at column {}", err.classify(), err.column());
            unusable("The ID token of the identity provider cannot be read.", cause)
        })?;
        let nonce = Nonce::new(nonce.to_owned());
        let mut known = keys.known();
        loop {
            let again = match token.claims(&self.verifier(core, known), &nonce) {
                Ok(claims) => {
                    return match serde_json::to_value(claims).map_err(Fault::internal)? {
                        Value::Object(claims) => Ok(claims),
                        _ => Err(Fault::internal("claims are an object")),
                    };
                }
                Err(ClaimsVerificationError::SignatureVerification(
                    SignatureVerificationError::NoMatchingKey,
                )) => keys.renewed(self.door, self.metadata).await?,
                Err(err) => return Err(not_verified(&err)),
            };
            known = again.ok_or_else(|| {
                not_verified(&ClaimsVerificationError::SignatureVerification(
                    SignatureVerificationError::NoMatchingKey,
                ))
            })?;
        }
    }

    fn verifier(&self, core: &Core, keys: CoreJsonWebKeySet) -> CoreIdTokenVerifier<'static> {
        let client = ClientId::new(self.config.client_id.clone());
        let now = u64::try_from(core.clock.now().0).unwrap_or(0);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now).saturating_sub(SKEW);
        CoreIdTokenVerifier::new_public_client(client, self.metadata.issuer().clone(), keys)
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || now.into())
    }

    /// What the provider tells beside the token; it must be of the same person (OpenID Connect Core 1.0, 5.3.2).
    async fn userinfo(&self, access: &Secret, subject: &str) -> Result<Map<String, Value>, Fault> {
        let Some(endpoint) = self.metadata.userinfo_endpoint() else { return Ok(Map::new()) };
        let bearer = header::HeaderValue::try_from(format!("Bearer {}", access.expose()));
        let mut bearer =
            bearer.map_err(|_| unusable("The access token cannot be sent.", "it is no header value"))?;
        bearer.set_sensitive(true);
        let request: HttpRequest = http::Request::get(endpoint.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, bearer)
            .body(Vec::new())
            .map_err(|err| unusable("The userinfo endpoint is no URL.", err))?;
        let response = self.door.clone().call(request).await.map_err(|failed| *failed.0)?;
        let text = "What the identity provider tells of the person cannot be used.";
        if !response.status().is_success() {
            return Err(unusable(text, format!("userinfo: HTTP {}", response.status().as_u16())));
        }
        let claims: Map<String, Value> = serde_json::from_slice(response.body())
            .map_err(|err| unusable(text, format!("userinfo: {:?}", err.classify())))?;
        if claims.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(unusable(text, "userinfo is about somebody else than the ID token"));
        }
        Ok(claims)
    }
}

/// Where keys come from.
pub trait Keys: Send {
    /// As they were read last.
    fn known(&self) -> CoreJsonWebKeySet;
    /// Read anew; `None` when that was done already.
    fn renewed(
        &mut self,
        door: &Door,
        metadata: &Metadata,
    ) -> impl Future<Output = Result<Option<CoreJsonWebKeySet>, Fault>> + Send;
}

fn not_verified(err: &ClaimsVerificationError) -> Fault {
    use std::error::Error as _;
    let message = match err {
        ClaimsVerificationError::Expired(_) => "The ID token of the identity provider has expired.",
        ClaimsVerificationError::InvalidAudience(_) => {
            "The ID token of the identity provider is for another application."
        }
        ClaimsVerificationError::InvalidIssuer(_) => "The ID token comes from another issuer.",
        ClaimsVerificationError::InvalidNonce(_) => "The ID token belongs to another sign-in.",
        ClaimsVerificationError::SignatureVerification(_) => {
            "The signature of the ID token is not the identity provider's."
        }
        _ => "The ID token of the identity provider is not to be trusted.",
    };
    let inner = err.source().map(|source| format!(": {source}")).unwrap_or_default();
    let fault = unusable(message, format!("{err}{inner}"));
    match err {
        ClaimsVerificationError::Expired(_) => Fault {
            remedy: "Set the clocks of the vDC and of the provider right (NTP), then try again.".into(),
            ..fault
        },
        _ => fault,
    }
}

/// A claim that is a text.
fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = claims.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A claim that is a list of words, or one word. What is no word in the list is none; `None`: there is no such claim.
fn groups(claims: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    match claims.get(name)? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => {
            Some(all.iter().filter_map(Value::as_str).take(GROUPS_MAX).map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// Whether the provider takes our id and secret: asked with a code that is none, it says what is wrong first.
pub async fn try_client(exchange: &Exchange<'_>) -> Result<bool, Fault> {
    let response = exchange.ask("quantix-test", "quantix-test").await?;
    let answer: Option<Answer> = serde_json::from_slice(response.body()).ok();
    let error = answer.as_ref().and_then(|answer| answer.error.as_deref()).unwrap_or_default();
    if response.status() == http::StatusCode::UNAUTHORIZED
        || ["invalid_client", "unauthorized_client"].contains(&error)
    {
        let error = if error.is_empty() { "HTTP 401" } else { error };
        let description = answer.as_ref().and_then(|answer| answer.error_description.as_deref());
        return Err(Fault {
            message: "The identity provider does not take the client id or its secret.".into(),
            ..refused("invalid_client", &format!("{error} {}", description.unwrap_or_default()))
        });
    }
    Ok(error == "invalid_grant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_strange_shapes() {
        let read = |value: Value| {
            let claims = Map::from_iter([("groups".to_owned(), value)]);
            groups(&claims, "groups")
        };
        let words = |all: &[&str]| Some(all.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(serde_json::json!(["a", "b"])), words(&["a", "b"]));
        assert_eq!(read(serde_json::json!("a,b")), words(&["a,b"]));
        assert_eq!(read(serde_json::json!(["a", 7, null, {"name": "b"}, ["c"], true])), words(&["a"]));
        assert_eq!(read(serde_json::json!([])), words(&[]));
        for other in [serde_json::json!(null), serde_json::json!({"a": 1}), serde_json::json!(7)] {
            assert_eq!(read(other), None);
        }
        assert_eq!(groups(&Map::new(), "groups"), None);
        let many: Vec<String> = (0..GROUPS_MAX + 10).map(|n| n.to_string()).collect();
        assert_eq!(read(serde_json::json!(many)).unwrap().len(), GROUPS_MAX);
    }

    #[test]
    fn names() {
        let claims = Map::from_iter([
            ("a".to_owned(), serde_json::json!(" ann ")),
            ("b".to_owned(), serde_json::json!("")),
            ("c".to_owned(), serde_json::json!(["ann"])),
        ]);
        assert_eq!(text(&claims, "a").as_deref(), Some("ann"));
        for none in ["b", "c", "d"] {
            assert_eq!(text(&claims, none), None);
        }
    }
}
