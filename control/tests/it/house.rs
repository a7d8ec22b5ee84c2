//! A vDC to test against, and how to talk to it.

use quantix_control::clock::Clock;
use quantix_control::services::password::Passwords;
use quantix_control::{Config, Vdc, VdcHandle, VdcOptions};
use quantix_model::{Fault, FaultCode};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A password that passes the rules.
pub const PASSWORD: &str = "correct horse battery";

/// A running vDC with its own data folder.
pub struct House {
    pub dir: tempfile::TempDir,
    pub clock: Clock,
    pub vdc: VdcHandle,
    pub http: reqwest::Client,
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Code of the fault inside an RPC error or a REST error.
    pub fn code(&self) -> FaultCode {
        self.fault().code
    }

    /// The fault inside an RPC error or a REST error.
    pub fn fault(&self) -> Fault {
        if let Some(fault) = self.body.get("fault") {
            return serde_json::from_value(fault.clone()).unwrap();
        }
        let detail = serde_json::from_value(self.body["details"][0].clone());
        let mut error = connectrpc::ConnectError::internal("x");
        error.details.push(detail.unwrap_or_else(|err| panic!("{err}: {}", self.body)));
        quantix_contract::fault::from_connect(&error).unwrap()
    }
}

fn options(dir: &tempfile::TempDir, clock: &Clock, names: &[&str]) -> VdcOptions {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: any,
        dev_listen: Some(any),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        // As cheap as is taken: tests sign in over and over.
        password_hash_mib: 19,
        password_hash_passes: 2,
        ..Config::new(dir.path().join("vdc"))
    };
    VdcOptions { config, clock: clock.clone() }
}

impl House {
    /// A vDC at its first start.
    pub async fn new() -> House {
        House::with_names(&[]).await
    }

    /// One that is called so, too.
    pub async fn with_names(names: &[&str]) -> House {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let vdc = Vdc::start(options(&dir, &clock, names)).await.unwrap();
        House { dir, clock, vdc, http: reqwest::Client::new() }
    }

    /// The same vDC after a stop and a start.
    pub async fn restart(self) -> House {
        self.restart_with(|_| ()).await
    }

    /// The same with other settings.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> House {
        self.vdc.stop().await;
        let mut options = options(&self.dir, &self.clock, &[]);
        change(&mut options.config);
        let vdc = Vdc::start(options).await.unwrap();
        House { vdc, ..self }
    }

    /// Hashing as this vDC does it.
    pub fn passwords(&self) -> Passwords {
        Passwords::new(self.vdc.core().config.password_cost())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.vdc.dev_address().unwrap())
    }

    pub fn one_time_password(&self) -> String {
        self.vdc.first_password().unwrap().to_owned()
    }

    /// A Connect call in JSON, with a bearer token when there is one.
    pub async fn call(&self, method: &str, body: Value, token: &str) -> Answer {
        let path = format!("/quantix.{method}");
        let mut request = self.http.post(self.url(&path)).json(&body);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        self.send(request).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, headers, body }
    }

    pub async fn login(&self, password: &str) -> Answer {
        self.login_as("admin", password).await
    }

    pub async fn login_as(&self, name: &str, password: &str) -> Answer {
        let body = json!({"userName": name, "password": password});
        self.call("session.v1.SessionService/Login", body, "").await
    }

    /// Makes a person who has chosen [`PASSWORD`]; their id and a token of theirs.
    pub async fn user(&self, admin: &str, name: &str) -> (String, String) {
        let made = self.call("user.v1.UserService/CreateUser", json!({"name": name}), admin).await;
        let id = made.body["user"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.body)).to_owned();
        let first = made.body["oneTimePassword"].as_str().unwrap().to_owned();
        let token = token(&self.login_as(name, &first).await);
        assert_eq!(self.change_password(&token, &first, PASSWORD).await.status, 200);
        (id, token)
    }

    pub async fn change_password(&self, token: &str, current: &str, new: &str) -> Answer {
        let body = json!({"currentPassword": current, "newPassword": new});
        self.call("session.v1.SessionService/ChangePassword", body, token).await
    }

    /// Signs in for the first time, sets [`PASSWORD`]; a token that may do everything.
    pub async fn signed_in(&self) -> String {
        let first = self.one_time_password();
        let token = token(&self.login(&first).await);
        let changed = self.change_password(&token, &first, PASSWORD).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        token
    }
}

pub fn token(answer: &Answer) -> String {
    let token = answer.body["token"].as_str().unwrap_or_else(|| panic!("{}", answer.body));
    assert!(token.starts_with("qxs_"), "{token}");
    token.to_owned()
}
