//! What it costs to know who calls and whether they may, in this process, on a store with rows in it.
//!
//! *Authorisation* is what the table and the rights take; *authentication* is finding session or token and person in the
//! store, which every call does anew so that a change counts at once.

use http::{HeaderMap, HeaderValue, Method, header};
use quantix_control::api::auth::{self, Caller};
use quantix_control::api::table::{self, Need};
use quantix_control::bus::Thing;
use quantix_control::clock::Clock;
use quantix_control::core::Core;
use quantix_control::services::api_token::{self, Wish};
use quantix_control::services::session::{Sessions, Step, Visitor};
use quantix_control::services::{App, password::one_time_password};
use quantix_control::{Config, Vdc, VdcOptions};
use quantix_model::id::VmId;
use quantix_model::right::{Permission, Permissions, Rights, Scope};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RUNS: usize = 5000;
const PATH: &str = "/quantix.vm.v1.VmService/ListVms";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Prints median and p99 of each part, warm and cold.
pub async fn rights(dir: &Path) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listen = SocketAddr::new(HERE, 0);
    let config = Config { listen, host_offer_urls: Vec::new(), ..Config::new(dir) };
    let vdc = Vdc::start(VdcOptions { config, clock: Clock::system() }).await.expect("a vDC starts");
    let core = Arc::clone(vdc.core());
    let sessions = Sessions::new(Arc::clone(&core));
    let app = App::new(Arc::clone(&core));
    let session = sign_in(&sessions, vdc.first_password().expect("a new vDC says a password")).await;
    let person = sessions.authenticate(&session).await.ok().flatten().expect("just signed in");
    let wish =
        Wish { name: "bench".into(), permissions: Permissions::all(), scope: Scope::Everything, days: 1 };
    let (_, token) = api_token::create(&app, &person, &wish).await.expect("a token is made");

    authorisation(&core, &app, &person.rights).await;
    for (name, bearer) in [("session", &session), ("API token", &token)] {
        let headers = bearer_headers(bearer);
        let mut warm = Vec::with_capacity(RUNS);
        let mut cold = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            warm.push(whole(&headers, &sessions, &core).await);
        }
        for _ in 0..RUNS {
            core.rights.forget();
            cold.push(whole(&headers, &sessions, &core).await);
        }
        print(&format!("{name}: whole, warm"), warm);
        print(&format!("{name}: whole, rights cold"), cold);
    }
    vdc.stop().await;
}

async fn sign_in(sessions: &Sessions, first: &str) -> String {
    let visitor = Visitor { address: HERE, browser: String::new(), site: None };
    let Ok(Step::Session(signed_in)) = sessions.login("admin", first, &visitor).await else {
        panic!("the first password opens")
    };
    let person = sessions.authenticate(&signed_in.token).await.ok().flatten().expect("just signed in");
    let new = one_time_password();
    sessions.change_password(&person, first, &new, HERE).await.expect("a password of one's own");
    signed_in.token
}

fn bearer_headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("letters of base64");
    headers.insert(header::AUTHORIZATION, value);
    headers
}

/// As the edge does it for each call.
async fn whole(headers: &HeaderMap, sessions: &Sessions, core: &Core) -> Duration {
    let begun = Instant::now();
    let (need, _) = table::row(&Method::POST, PATH).expect("the table has it");
    let caller = auth::authorise(need, headers, None, HERE, sessions, core).await;
    let took = begun.elapsed();
    assert!(matches!(caller, Ok(Caller::Person(_))), "{caller:?}");
    took
}

/// Row and rights alone, for who holds a right on everything; then for one VM, whose host must be looked up.
async fn authorisation(core: &Core, app: &App, everything: &Rights) {
    let scope = Scope::Vm(VmId(quantix_control::ids::plain()));
    let one = Rights::of(vec![(scope, Permissions::all())]);
    let Scope::Vm(id) = scope else { return };
    let (mut plain, mut thing, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        let row = table::row(&Method::POST, PATH);
        let may = matches!(row, Some((Need::Within(permission), _)) if everything.somewhere(permission));
        plain.push(begun.elapsed());
        let begun = Instant::now();
        let all = auth::may(app, everything, Permission::VmPower, Thing::Vm(id)).await;
        thing.push(begun.elapsed());
        let begun = Instant::now();
        let some = auth::may(app, &one, Permission::VmPower, Thing::Vm(id)).await;
        read.push(begun.elapsed());
        assert!(may && all.is_ok_and(|may| may) && some.is_ok_and(|may| may), "it is allowed");
    }
    print("authorisation: row and rights", plain);
    print("authorisation: one VM, right on all", thing);
    print("authorisation: one VM, right on it", read);
    let mut cold = Vec::with_capacity(RUNS);
    let user = core.store.user_find("admin").await.ok().flatten().expect("admin is there").id;
    for _ in 0..RUNS {
        core.rights.forget();
        let begun = Instant::now();
        let rights = core.rights.of(&core.store, user).await;
        cold.push(begun.elapsed());
        assert!(rights.is_ok(), "rights are read");
    }
    print("authorisation: rights read anew", cold);
}

#[allow(clippy::print_stdout, reason = "the figures are the output")]
fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at =
        |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
    println!("rights  {what:<38} median {:.1} µs, p99 {:.1} µs", at(50), at(99));
}
