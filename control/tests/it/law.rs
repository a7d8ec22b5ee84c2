//! Whole-API laws: every call has its row in the authorisation table, and the table is obeyed.

use crate::house::House;
use quantix_control::api::table::{Audit, Need, ROUTES, RPCS};
use quantix_model::FaultCode;
use serde_json::json;
use std::collections::BTreeSet;

/// Served by hosts, not by the vDC.
const ELSEWHERE: &str = "quantix.node.v1.NodeService";

fn contract_rpcs() -> BTreeSet<String> {
    let pool = prost_reflect::DescriptorPool::decode(quantix_contract::DESCRIPTOR_SET).unwrap();
    let services: Vec<_> = pool.services().filter(|s| s.full_name().starts_with("quantix.")).collect();
    assert!(services.len() > 8);
    let served = services.iter().filter(|s| s.full_name() != ELSEWHERE);
    served
        .flat_map(|s| s.methods().map(|m| format!("/{}/{}", s.full_name(), m.name())).collect::<Vec<_>>())
        .collect()
}

#[test]
fn every_rpc_of_the_contract_has_a_row_and_no_row_is_left_over() {
    let rows: BTreeSet<String> = RPCS.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(rows.len(), RPCS.len(), "a row stands twice");
    assert_eq!(rows, contract_rpcs());
}

#[test]
fn what_is_public_is_short_and_reviewed() {
    let rpcs = RPCS.iter().filter(|(_, need, _)| *need == Need::Public).map(|(path, ..)| *path);
    let routes = ROUTES.iter().filter(|(_, _, need, _)| *need == Need::Public).map(|(_, path, ..)| *path);
    let public: Vec<&str> = rpcs.chain(routes).collect();
    let sessions = "/quantix.session.v1.SessionService";
    let [login, passkey, confirm] =
        ["Login", "BeginPasskeyLogin", "ConfirmLogin"].map(|method| format!("{sessions}/{method}"));
    let join = "/quantix.join_token.v1.JoinTokenService/Join";
    // What the sign-in page shows before anybody is known.
    let ways = "/quantix.identity.v1.IdentityService/ListSignInWays";
    let fault = "/quantix.identity.v1.IdentityService/GetSignInFault";
    let [callback, provider] = ["callback", "{source_id}"].map(|end| format!("/api/v1/sign-in/oidc/{end}"));
    assert_eq!(
        public,
        [login.as_str(), &passkey, &confirm, ways, fault, join, "/healthz", "/readyz", &callback, &provider]
    );
}

#[tokio::test]
async fn nobody_gets_in_unasked() {
    let house = House::new().await;
    let first = crate::house::token(&house.login(&house.one_time_password()).await);
    for (path, need, _) in RPCS {
        let method = path.trim_start_matches("/quantix.");
        let (stranger, newcomer) =
            (house.call(method, json!({}), "").await, house.call(method, json!({}), &first).await);
        match need {
            // What is asked for may not be there; the call is.
            Need::Public => {
                assert!(stranger.status != 404 || stranger.code() == FaultCode::NotFound, "{path}");
            }
            Need::Newcomer => assert_eq!(stranger.code(), FaultCode::NotSignedIn, "{path}"),
            Need::Own | Need::Person | Need::Right(_) | Need::Within(_) => {
                assert_eq!(stranger.code(), FaultCode::NotSignedIn, "{path}");
                // Signing out ends the session on the way.
                let refused = [FaultCode::PasswordChangeRequired, FaultCode::NotSignedIn];
                assert!(refused.contains(&newcomer.code()), "{path}");
            }
            Need::Scraper => unreachable!("figures are no RPC"),
            Need::Host => {
                assert_eq!(stranger.code(), FaultCode::Forbidden, "{path}");
                assert_eq!(newcomer.code(), FaultCode::Forbidden, "{path}");
            }
        }
    }
    for (methods, pattern, need, _) in ROUTES.iter().filter(|(_, _, need, _)| *need != Need::Public) {
        let path = pattern
            .replace("{image_id}", "x")
            .replace("{ticket}", "x")
            .replace("{pool_id}", "x")
            .replace("{host_id}", "x");
        for method in *methods {
            let request = house.http.request(method.clone(), house.url(&path));
            assert_eq!(house.send(request).await.status, 401, "{method} {pattern} {need:?}");
        }
    }
    house.vdc.stop().await;
}

/// Every endpoint with what it needs and whether it is written down, for people to read; and the short list of those that
/// never are, with the reason.
#[test]
fn every_endpoint_is_accounted_for() {
    let rpcs = RPCS.iter().map(|(path, need, audit)| (format!("RPC {path}"), *need, *audit));
    let routes = ROUTES.iter().map(|(methods, path, need, audit)| {
        let methods: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
        (format!("{} {path}", methods.join(",")), *need, *audit)
    });
    let all: Vec<_> = rpcs.chain(routes).collect();
    let mut lines = Vec::new();
    for (endpoint, need, audit) in &all {
        let need = match need {
            Need::Right(permission) => format!("{permission} on everything"),
            Need::Within(permission) => format!("{permission} on each thing"),
            other => format!("{other:?}").to_lowercase(),
        };
        let audit = match audit {
            Audit::Yes => "audited".to_owned(),
            Audit::Refusals(why) => format!("refusals audited: {why}"),
            Audit::No(why) => format!("not audited: {why}"),
        };
        lines.push(format!("{endpoint:<72} {need:<36} {audit}"));
        let changes = !["/List", "/Get", "/Look", "/Watch", "/Beat", "/BeginPasskeyLogin"]
            .iter()
            .any(|verb| endpoint.contains(verb));
        if endpoint.starts_with("RPC") && changes {
            assert!(audit == "audited", "{endpoint} may change something and is not audited");
        }
    }
    let never = all.iter().filter(|(_, _, audit)| matches!(audit, Audit::No(_))).count();
    assert!(never <= 8, "{never} endpoints are never audited");
    let text = lines.join("\n");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/artefacts");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("endpoints.txt"), text + "\n").unwrap();
}
