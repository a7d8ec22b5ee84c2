//! A small OpenID Connect provider on loopback that does as a script says: well, or badly in one way.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use quantix_control::clock::Clock;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const CLIENT: &str = "quantix";
pub const SECRET: &str = "CanaryOf:Client%Secret";

/// How an endpoint answers when it does not do its work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Html,
    Slow,
    Endless,
    ToMetadata,
    Broken,
}

/// What the provider does.
pub struct Script {
    /// Laid over the claims of the next ID token.
    pub claims: Value,
    /// Claims that only userinfo tells; none: there is no userinfo.
    pub userinfo: Option<Value>,
    /// Header of the next ID token.
    pub header: Value,
    /// Signs as another key than the one it shows.
    pub forge: bool,
    pub discovery: Option<Trouble>,
    pub token: Option<Trouble>,
    /// The token endpoint says no, so.
    pub error: Option<(u16, Value)>,
    /// Laid over the discovery document.
    pub document: Value,
    /// Requests seen, by path.
    pub seen: HashMap<String, usize>,
    keys: Vec<(String, EcdsaKeyPair)>,
    codes: HashMap<String, Code>,
}

#[derive(Clone)]
struct Code {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

/// One that runs.
pub struct Provider {
    pub url: String,
    pub script: Arc<Mutex<Script>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

type Shared = (Arc<Mutex<Script>>, String, Clock);

fn over(mut base: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base
}

fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn trouble(kind: Trouble) -> Response {
    match kind {
        Trouble::Html => ([(header::CONTENT_TYPE, "text/html")], "<script>alert(1)</script>").into_response(),
        Trouble::Slow => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
        // Two gigabytes, as fast as they are taken.
        Trouble::Endless => {
            let part = Bytes::from(vec![b' '; 64 << 10]);
            let parts =
                futures::stream::iter((0..32_768).map(move |_| Ok::<_, std::io::Error>(part.clone())));
            ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(parts)).into_response()
        }
        Trouble::ToMetadata => {
            (StatusCode::FOUND, [(header::LOCATION, "http://169.254.169.254/latest/meta-data")])
                .into_response()
        }
        Trouble::Broken => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn seen(shared: &Shared, path: &str) {
    *shared.0.lock().unwrap().seen.entry(path.to_owned()).or_default() += 1;
}

async fn discovery(State(shared): State<Shared>) -> Response {
    seen(&shared, "discovery");
    let (kind, changes) = {
        let script = shared.0.lock().unwrap();
        (script.discovery, over(script.document.clone(), &json!({})))
    };
    if let Some(kind) = kind {
        return trouble(kind).await;
    }
    let url = &shared.1;
    let userinfo = shared.0.lock().unwrap().userinfo.is_some().then(|| format!("{url}/userinfo"));
    let document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize?kept=1"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "none", "HS256"],
        "scopes_supported": ["openid", "profile"],
    });
    let document = over(document, &json!({"userinfo_endpoint": userinfo}));
    json(&over(document, &changes))
}

async fn jwks(State(shared): State<Shared>) -> Response {
    seen(&shared, "jwks");
    let script = shared.0.lock().unwrap();
    let keys = script.keys.iter().map(|(kid, key)| {
        let point = key.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid,
               "x": part(&point[1..33]), "y": part(&point[33..65])})
    });
    json(&json!({"keys": keys.collect::<Vec<_>>()}))
}

async fn token(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    seen(&shared, "token");
    let kind = shared.0.lock().unwrap().token;
    if let Some(kind) = kind {
        return trouble(kind).await;
    }
    let mut script = shared.0.lock().unwrap();
    let refuse = |status: StatusCode, error: &str| {
        let mut response = json(&json!({"error": error, "error_description": "<b>no</b>"}));
        *response.status_mut() = status;
        response
    };
    if let Some((status, body)) = &script.error {
        let mut response = json(body);
        *response.status_mut() = StatusCode::from_u16(*status).unwrap();
        return response;
    }
    let form: HashMap<String, String> =
        openidconnect::url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let encode =
        |text: &str| openidconnect::url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(CLIENT), encode(SECRET))));
    if headers.get(header::AUTHORIZATION).is_none_or(|shown| shown != basic.as_str()) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let Some(code) = form.get("code").and_then(|code| script.codes.remove(code)) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    if challenge != code.challenge || form.get("redirect_uri") != Some(&code.redirect_uri) {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
    }
    let now = shared.2.now().0 / 1000;
    let claims = json!({
        "iss": shared.1, "sub": "sub-1", "aud": CLIENT, "iat": now, "exp": now + 300,
        "nonce": code.nonce, "preferred_username": "ann", "groups": ["ops"],
    });
    let id_token = sign(&script, &over(claims, &script.claims));
    json(
        &json!({"access_token": "access-1", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}),
    )
}

fn sign(script: &Script, claims: &Value) -> String {
    let (kid, shown) = script.keys.last().unwrap();
    let header = over(json!({"alg": "ES256", "kid": kid, "typ": "JWT"}), &script.header);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    if header["alg"] == "none" {
        return format!("{signed}.");
    }
    if header["alg"] == "HS256" {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        return format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()))
        );
    }
    let own = key();
    let key = if script.forge { &own } else { shown };
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn userinfo(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    seen(&shared, "userinfo");
    if headers.get(header::AUTHORIZATION).is_none_or(|shown| shown != "Bearer access-1") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    json(shared.0.lock().unwrap().userinfo.as_ref().unwrap())
}

impl Provider {
    pub async fn start(clock: &Clock) -> Provider {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            claims: json!({}),
            userinfo: None,
            header: json!({}),
            forge: false,
            discovery: None,
            token: None,
            error: None,
            document: json!({}),
            seen: HashMap::new(),
            keys: vec![("k1".into(), key())],
            codes: HashMap::new(),
        }));
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state((script.clone(), url.clone(), clock.clone()));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Provider { url, script, server }
    }

    /// Changes what it does.
    pub fn plays(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// From now on another key signs; only that one is shown.
    pub fn rotate(&self) {
        self.plays(|script| {
            script.keys = vec![(format!("k{}", script.seen.len() + script.keys.len() + 1), key())]
        });
    }

    /// How often a path was asked.
    pub fn seen(&self, path: &str) -> usize {
        self.script.lock().unwrap().seen.get(path).copied().unwrap_or_default()
    }

    /// Somebody signed in here: a code, for where the browser was sent.
    pub fn code(&self, sent: &openidconnect::url::Url) -> String {
        let query: HashMap<String, String> = sent.query_pairs().into_owned().collect();
        assert_eq!(query["kept"], "1", "{sent}");
        assert_eq!((query["response_type"].as_str(), query["client_id"].as_str()), ("code", CLIENT));
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"), "{sent}");
        let code = Code {
            nonce: query["nonce"].clone(),
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
        };
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("code-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.script.lock().unwrap().codes.insert(name.clone(), code);
        name
    }
}
