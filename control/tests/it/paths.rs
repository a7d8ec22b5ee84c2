//! What is behind which path: API, web app, and refusals that both people's and programs' clients can read.

use crate::house::House;
use quantix_control::{Config, Vdc, VdcOptions};
use quantix_model::FaultCode;
use std::net::SocketAddr;

#[tokio::test]
async fn unknown_api_paths_answer_json_whoever_asks() {
    let house = House::new().await;
    for accept in ["text/html,application/xhtml+xml", "application/json", "*/*"] {
        for path in [
            "/api",
            "/api/",
            "/api/v1/nothing",
            "/api/v9/pools",
            "/quantix.x.v1.Y/Z",
            "/quantix.vm.v1.VmService/",
        ] {
            let answer = house.send(house.http.get(house.url(path)).header("accept", accept)).await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.headers["content-type"], "application/json", "{path}");
            assert_eq!(answer.code(), FaultCode::UnknownPath, "{path}");
        }
    }
    let posted = house.send(house.http.post(house.url("/nothing")).body("x")).await;
    assert_eq!((posted.status, posted.code()), (404, FaultCode::UnknownPath));
    house.vdc.stop().await;
}

#[tokio::test]
async fn pages_of_the_app_get_the_app_under_a_strict_policy() {
    let house = House::new().await;
    for path in ["/", "/index.html", "/vms", "/pools/abc/files", "/../../etc/passwd", "/%2e%2e/etc/passwd"] {
        let page = house.send(house.http.get(house.url(path))).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        assert!(page.body.as_str().unwrap().contains("<html"), "{path}");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"));
        let own = format!("connect-src 'self' ws://{};", house.vdc.dev_address().unwrap());
        assert!(policy.contains(&own), "{policy}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
    }
    let health = house.send(house.http.get(house.url("/healthz"))).await;
    assert_eq!(health.body["status"], "ok");
    house.vdc.stop().await;
}

#[tokio::test]
async fn the_openapi_document_is_served_to_people_who_are_signed_in() {
    let house = House::new().await;
    let url = house.url("/api/v1/openapi.json");
    let token = house.signed_in().await;
    let document = house.send(house.http.get(url).bearer_auth(token)).await;
    assert_eq!(document.body["openapi"], "3.1.0");
    assert!(document.body["paths"]["/quantix.vm.v1.VmService/CreateVm"]["post"].is_object());
    house.vdc.stop().await;
}

#[tokio::test]
async fn a_folder_can_stand_in_for_the_built_in_app() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let web = dir.path().join("web");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: any,
        dev_listen: Some(any),
        web_dir: Some(web.clone()),
        ..Config::new(dir.path().join("vdc"))
    };
    let refused = Vdc::start(VdcOptions::new(config.clone())).await.unwrap_err();
    assert_eq!(refused.field, "web_dir");

    std::fs::create_dir_all(web.join("assets")).unwrap();
    std::fs::write(web.join("index.html"), "<html>mine</html>").unwrap();
    std::fs::write(web.join("assets/a.js"), "1").unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let vdc = Vdc::start(VdcOptions::new(config)).await.unwrap();
    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let url = format!("http://{}{path}", vdc.dev_address().unwrap());
        let answer = http.get(url).send().await.unwrap();
        (answer.headers()["content-type"].to_str().unwrap().to_owned(), answer.text().await.unwrap())
    };
    assert_eq!(get("/assets/a.js").await, ("text/javascript; charset=utf-8".into(), "1".into()));
    for path in ["/", "/vms/1", "/assets/none.js", "/..%2fsecret", "/assets/..%2f..%2fsecret"] {
        assert_eq!(get(path).await.1, "<html>mine</html>", "{path}");
    }
    vdc.stop().await;
}

#[tokio::test]
async fn plain_http_stays_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        dev_listen: Some(SocketAddr::from(([0, 0, 0, 0], 0))),
        ..Config::new(dir.path())
    };
    assert_eq!(Vdc::start(VdcOptions::new(config)).await.unwrap_err().field, "dev_listen");
}

#[tokio::test]
async fn one_data_folder_has_one_vdc() {
    let house = House::new().await;
    let config = house.vdc.core().config.clone();
    let refused = Vdc::start(VdcOptions::new(config)).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Conflict);
    assert!(refused.message.contains("Another vDC"), "{refused}");
    house.restart().await.vdc.stop().await;
}

#[tokio::test]
async fn a_panic_is_answered_as_a_mistake_of_ours() {
    use axum::routing::get;
    use quantix_control::api::auth::Line;
    use quantix_control::services::session::Sessions;
    use std::sync::Arc;
    use tower::ServiceExt as _;

    let house = House::new().await;
    let core = house.vdc.core();
    let sessions = Arc::new(Sessions::new(core.clone()));
    let broken = axum::Router::new().route("/healthz", get(async || -> &'static str { panic!("oh no") }));
    let app = quantix_control::http::guarded(broken, core, &sessions, Line::Tls);
    let request = http::Request::get("/healthz").body(axum::body::Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (body["fault"]["code"].as_str(), body["fault"]["cause"].as_str()),
        (Some("INTERNAL"), Some("oh no"))
    );
    house.vdc.stop().await;
}
