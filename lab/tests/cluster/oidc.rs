//! Signing in at a real provider (`lab/oidc`) over TLS, as a browser does it: forms, redirects, cookies and all.

use quantix_lab::cluster::Cluster;
use quantix_lab::process::{Process, free_port};
use quantix_lab::rig::PASSWORD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SECRET: &str = "CanaryOf:Lab%Secret";

/// The provider, and where its accounts are kept.
struct Provider {
    url: String,
    ca_pem: String,
    accounts: PathBuf,
    _process: Process,
}

impl Provider {
    fn start(folder: &Path, redirect_uri: &str) -> Provider {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        assert!(
            home.join("node_modules/oidc-provider").is_dir(),
            "the provider's packages are missing: npm ci --prefix {}",
            home.display()
        );
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let file = |name: &str| folder.join(name);
        std::fs::write(file("provider.pem"), &ca_pem).unwrap();
        std::fs::write(file("provider.key"), key.serialize_pem()).unwrap();
        let (accounts, port) = (file("accounts.json"), free_port());
        let mut node = Command::new("node");
        node.arg(home.join("provider.mjs")).arg(port.to_string());
        node.args([file("provider.pem"), file("provider.key"), accounts.clone()]).arg(redirect_uri);
        let process = Process::start("provider", node);
        process.wait_for("ready ", Duration::from_secs(60));
        Provider { url: format!("https://localhost:{port}"), ca_pem, accounts, _process: process }
    }

    fn accounts(&self, accounts: &Value) {
        std::fs::write(&self.accounts, accounts.to_string()).unwrap();
    }
}

struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
    strict: bool,
}

/// A browser, as far as signing in needs one: it keeps cookies by host and path, sends `SameSite=Strict` ones only on ways
/// that began on the same site, follows redirects and the refresh of a page.
struct Agent {
    http: reqwest::Client,
    jar: Vec<Cookie>,
}

struct Page {
    url: reqwest::Url,
    body: String,
}

impl Page {
    fn between(&self, before: &str, after: &str) -> Option<&str> {
        self.body.split_once(before)?.1.split_once(after).map(|(found, _)| found)
    }

    fn title(&self) -> &str {
        self.between("<title>", "</title>").unwrap_or_default().trim()
    }
}

impl Agent {
    fn new(trusted: &[&str]) -> Agent {
        let roots = trusted.iter().map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only(roots)
            .build()
            .unwrap();
        Agent { http, jar: Vec::new() }
    }

    fn cookies(&self, url: &reqwest::Url, cross_site: bool) -> String {
        let fits = |c: &&Cookie| {
            let host = c.host == url.host_str().unwrap_or_default();
            host && url.path().starts_with(&c.path) && !(c.strict && cross_site)
        };
        let sent = self.jar.iter().filter(fits).map(|c| format!("{}={}", c.name, c.value));
        sent.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, url: &reqwest::Url, response: &reqwest::Response) {
        for line in response.headers().get_all("set-cookie") {
            let mut parts = line.to_str().unwrap().split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let (mut path, mut strict, mut gone) = ("/", false, false);
            for part in parts {
                match part.split_once('=').unwrap_or((part, "")) {
                    (key, value) if key.eq_ignore_ascii_case("path") => path = value,
                    (key, value) if key.eq_ignore_ascii_case("samesite") => {
                        strict = value.eq_ignore_ascii_case("strict");
                    }
                    (key, "0") if key.eq_ignore_ascii_case("max-age") => gone = true,
                    (key, value) if key.eq_ignore_ascii_case("expires") => gone = value.contains(" 1970 "),
                    _ => {}
                }
            }
            let host = url.host_str().unwrap();
            self.jar.retain(|c| !(c.host == host && c.name == name && c.path == path));
            if !gone {
                let (host, path) = (host.to_owned(), path.to_owned());
                self.jar.push(Cookie { host, path, name: name.into(), value: value.into(), strict });
            }
        }
    }

    /// Goes somewhere, from a page or by hand, until a page is there that does not lead on.
    async fn go(&mut self, from: Option<&reqwest::Url>, to: &str, form: Option<&str>) -> Page {
        let mut url = reqwest::Url::parse(to).unwrap();
        let mut form = form.map(str::to_owned);
        let mut hosts: Vec<String> = from.iter().map(|url| url.host_str().unwrap().to_owned()).collect();
        for _ in 0..20 {
            hosts.push(url.host_str().unwrap().to_owned());
            let cross_site = hosts.iter().any(|host| host != url.host_str().unwrap());
            let request = match form.take() {
                Some(form) => self
                    .http
                    .post(url.clone())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form),
                None => self.http.get(url.clone()),
            };
            let cookies = self.cookies(&url, cross_site);
            let request = request.header("cookie", cookies).header("sec-fetch-mode", "navigate");
            let response = request.send().await.unwrap();
            self.keep(&url, &response);
            if let Some(next) = response.headers().get("location") {
                url = url.join(next.to_str().unwrap()).unwrap();
                continue;
            }
            let page = Page { body: response.text().await.unwrap(), url };
            let Some(next) = page.between("http-equiv=\"refresh\" content=\"0; url=", "\"") else {
                return page;
            };
            // Our own page leads on: a way that begins here.
            hosts = vec![page.url.host_str().unwrap().to_owned()];
            url = page.url.join(next).unwrap();
        }
        panic!("it leads on and on")
    }

    /// Calls the vDC as the app would, from its own page.
    async fn call(&self, vdc: &str, method: &str, body: Value, bearer: Option<&str>) -> (u16, Value) {
        let url = reqwest::Url::parse(&format!("{vdc}/quantix.{method}")).unwrap();
        let mut request = self.http.post(url.clone()).header("content-type", "application/json");
        request = match bearer {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request.header("cookie", self.cookies(&url, false)).header("origin", vdc),
        };
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }
}

/// A vDC, a provider, and who looks after both.
struct Scene {
    cluster: Cluster,
    vdc: String,
    provider: Provider,
    admin: String,
    plain: Agent,
    source: Value,
}

impl Scene {
    async fn new() -> Scene {
        let cluster = Cluster::apart().await;
        let vdc = cluster.vdc().core().public_url.clone();
        let provider = Provider::start(cluster.folder(), &cluster.vdc().core().redirect_uri());
        let plain = Agent::new(&[&cluster.vdc().ca_pem(), &provider.ca_pem]);
        let login = json!({"userName": "admin", "password": PASSWORD});
        let (_, login) = plain.call(&vdc, "session.v1.SessionService/Login", login, Some("")).await;
        let admin = login["token"].as_str().unwrap_or_else(|| panic!("{login}")).to_owned();
        let mut scene = Scene { cluster, vdc, provider, admin, plain, source: Value::Null };
        let made = scene.manage(
            "identity.v1.IdentityService/CreateIdentitySource",
            json!({"source": {
                "title": "Lab",
                "enabled": true,
                "oidc": {
                    "issuerUrl": scene.provider.url,
                    "clientId": "quantix",
                    "scopes": ["profile", "groups"],
                    "groupsClaim": "groups",
                    "caPem": scene.provider.ca_pem,
                },
                "secret": SECRET,
                "rules": [{"group": "ops", "role": "operator"}],
                "createUsers": true,
            }}),
        );
        scene.source = made.await;
        scene
    }

    async fn manage(&self, method: &str, body: Value) -> Value {
        let (status, answer) = self.plain.call(&self.vdc, method, body, Some(&self.admin)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn browser(&self) -> Agent {
        Agent::new(&[&self.cluster.vdc().ca_pem(), &self.provider.ca_pem])
    }

    /// Follows the link of the sign-in page, as somebody who came by a link elsewhere.
    async fn follow(&self, agent: &mut Agent) -> Page {
        let link =
            format!("{}/api/v1/sign-in/oidc/{}?next=/vms", self.vdc, self.source["id"].as_str().unwrap());
        agent.go(None, &link, None).await
    }

    /// The whole of it, with the provider's forms.
    async fn sign_in(&self, agent: &mut Agent, name: &str) -> Page {
        let mut page = self.follow(agent).await;
        assert_eq!(page.title(), "Sign-in", "{}", page.body);
        for fields in [format!("prompt=login&login={name}&password=x"), "prompt=consent".to_owned()] {
            if page.url.host_str() != Some("localhost") {
                break;
            }
            let action =
                page.between("action=\"", "\"").unwrap_or_else(|| panic!("{}", page.body)).to_owned();
            let from = page.url.clone();
            page = agent.go(Some(&from), &action, Some(&fields)).await;
        }
        page
    }

    async fn who(&self, agent: &Agent) -> (u16, Value) {
        agent.call(&self.vdc, "session.v1.SessionService/GetSession", json!({}), None).await
    }
}

fn may(session: &Value, permission: &str) -> bool {
    session["permissions"].as_array().is_some_and(|all| all.contains(&json!(permission)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_at_a_real_provider_and_out_again() {
    let mut scene = Scene::new().await;
    scene.provider.accounts(&json!({
        "ann": {"preferred_username": "ann", "groups": ["ops", "everybody"]},
        "eve": {"preferred_username": "admin", "groups": ["ops"]},
    }));
    let id = scene.source["id"].clone();
    let tested = scene.manage("identity.v1.IdentityService/TestIdentitySource", json!({ "id": id })).await;
    assert_eq!(tested.get("fault"), None, "{tested}");
    let facts = tested["facts"].to_string();
    assert!(
        facts.contains("answers as https://localhost") && facts.contains("takes the client id"),
        "{facts}"
    );

    let mut ann = scene.browser();
    let page = scene.sign_in(&mut ann, "ann").await;
    assert_eq!((page.url.path(), page.url.host_str()), ("/vms", Some("127.0.0.1")), "{}", page.url);
    let (status, session) = scene.who(&ann).await;
    assert_eq!((status, &session["userName"]), (200, &json!("ann")), "{session}");
    assert!(may(&session, "vm.power") && !may(&session, "people.manage"), "{session}");

    // Groups and rules change: both count from the next sign-in on, which the provider remembers.
    scene.provider.accounts(&json!({"ann": {"preferred_username": "ann", "groups": ["Chiefs"]}}));
    let mut wish = scene.source.clone();
    for gone in ["id", "generation", "hasSecret", "people", "createdAt", "changedAt"] {
        wish.as_object_mut().unwrap().remove(gone);
    }
    wish["rules"] = json!([{"group": "chiefs", "role": "admin"}]);
    let change = json!({"id": id, "generation": "1", "source": wish});
    scene.source = scene.manage("identity.v1.IdentityService/UpdateIdentitySource", change).await;
    assert!(!may(&scene.who(&ann).await.1, "people.manage"));
    assert_eq!(scene.follow(&mut ann).await.url.path(), "/vms");
    let (_, session) = scene.who(&ann).await;
    assert!(may(&session, "people.manage"), "{session}");

    let (status, _) = ann.call(&scene.vdc, "session.v1.SessionService/Logout", json!({}), None).await;
    assert_eq!(status, 200);
    assert_eq!(scene.who(&ann).await.0, 401);
    let people = scene.manage("user.v1.UserService/ListUsers", json!({"filter": "ann"})).await;
    assert_eq!(people["users"][0]["identitySourceTitle"], json!("Lab"), "{people}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_has_the_name_of_somebody_here_does_not_get_in() {
    let scene = Scene::new().await;
    scene.provider.accounts(&json!({"eve": {"preferred_username": "admin", "groups": ["ops"]}}));
    let mut eve = scene.browser();
    let page = scene.sign_in(&mut eve, "eve").await;
    assert_eq!(page.url.path(), "/login", "{}", page.url);
    let (_, fault) = page.url.query_pairs().find(|(key, _)| key == "fault").unwrap();
    let method = "identity.v1.IdentityService/GetSignInFault";
    let (_, told) = eve.call(&scene.vdc, method, json!({ "id": fault }), None).await;
    assert_eq!(told["fault"]["code"], json!("FAULT_CODE_NAME_TAKEN"), "{told}");
    assert_eq!(scene.who(&eve).await.0, 401);
}
