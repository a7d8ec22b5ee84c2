//! Whole-API laws: every call has its row in the authorisation table, and the table is obeyed.

use crate::house::House;
use quantix_control::api::auth::{Need, ROUTES, RPCS};
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
    let rows: BTreeSet<String> = RPCS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(rows.len(), RPCS.len(), "a row stands twice");
    assert_eq!(rows, contract_rpcs());
}

#[test]
fn what_is_public_is_short_and_reviewed() {
    let rpcs = RPCS.iter().filter(|(_, need)| *need == Need::Public).map(|(path, _)| *path);
    let routes = ROUTES.iter().filter(|(_, _, need)| *need == Need::Public).map(|(_, path, _)| *path);
    let public: Vec<&str> = rpcs.chain(routes).collect();
    let sessions = "/quantix.session.v1.SessionService";
    let wanted = [&format!("{sessions}/Login"), &format!("{sessions}/ConfirmLogin"), "/healthz", "/readyz"];
    assert_eq!(public, wanted);
}

#[tokio::test]
async fn nobody_gets_in_unasked() {
    let house = House::new().await;
    let first = crate::house::token(&house.login(&house.one_time_password()).await);
    for (path, need) in RPCS {
        let method = path.trim_start_matches("/quantix.");
        let (stranger, newcomer) =
            (house.call(method, json!({}), "").await, house.call(method, json!({}), &first).await);
        match need {
            Need::Public => assert_ne!(stranger.status, 404, "{path}"),
            Need::SessionAnyPassword => assert_eq!(stranger.code(), FaultCode::NotSignedIn, "{path}"),
            Need::Session => {
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
    for (methods, pattern, need) in ROUTES.iter().filter(|(_, _, need)| *need != Need::Public) {
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
