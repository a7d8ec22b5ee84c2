//! What the vDC does, one file per noun: check with the rules, write intent and task, tell watchers.
//!
//! `live` holds what hosts said last, `lines` the connections to them. Nothing here reads a request or a cookie;
//! that is `api/`'s.

pub mod alert;
pub mod api_token;
pub mod audit;
pub mod browser;
pub mod ceremony;
pub mod certificate;
pub mod challenge;
pub mod console;
pub mod device;
pub mod device_work;
pub mod event;
pub mod explore;
pub mod factor;
pub mod file;
pub mod file_upload;
pub mod file_work;
mod hash;
pub mod host;
pub mod host_enrol;
pub mod identity;
pub mod identity_admit;
pub mod identity_check;
pub mod image;
pub mod image_work;
pub mod join_token;
pub mod ldap;
pub mod ldap_id;
pub mod ldap_sign_in;
pub mod life;
pub mod lines;
pub mod live;
pub mod log;
pub mod oidc;
pub mod oidc_provider;
pub mod oidc_state;
pub mod oidc_token;
pub mod orphan;
pub mod pace;
pub mod passkey;
pub mod password;
pub mod pool;
pub mod pool_change;
pub mod pool_prepare;
pub mod pool_secret;
pub mod pool_unknown;
pub mod pool_work;
pub mod report;
pub mod report_read;
pub mod right;
pub mod role;
pub mod scraper;
pub mod session;
pub mod sign_in;
pub mod sign_in_fault;
pub mod site;
pub mod snapshot;
pub mod summary;
pub mod throttle;
pub mod turn;
pub mod upload;
pub mod upload_wait;
pub mod user;
pub mod vm;
pub mod vm_adopt;
pub mod vm_create;
pub mod vm_work;
pub mod volume;
pub mod volume_change;
pub mod volume_flatten;
pub mod volume_work;

use crate::core::Core;
use crate::services::console::Tickets;
use crate::services::host::Probes;
use crate::services::lines::Lines;
use crate::services::live::Live;
use crate::services::upload::Uploads;
use quantix_model::Fault;
use std::sync::{Arc, Weak};

/// What every service reaches: the ground, and what is kept in memory only and may be lost with the process.
pub struct App {
    /// Store, clock, bus, tasks, certificates, settings.
    pub core: Arc<Core>,
    /// What hosts said last.
    pub live: Live,
    /// Lives of their daemons.
    pub lives: life::Lives,
    /// Connections to hosts.
    pub lines: Lines,
    /// Hosts that were probed and may be added.
    pub probes: Probes,
    /// Hosts that join.
    pub joins: join_token::Joins,
    /// Places for whole beats.
    pub turns: turn::Turns,
    /// How many renewals of hosts are let through.
    pub renewals: pace::Pace,
    /// Uploads under way.
    pub uploads: Uploads,
    /// Console tickets not used yet.
    pub tickets: Tickets,
    /// What was told last of each thing.
    pub told: event::Told,
    /// Things that have or had alerts.
    pub alerted: alert::Alerted,
    /// Counts for the dashboard as they were last.
    pub summaries: summary::Summaries,
    /// Held while the place of a pool is compared with the others' and written.
    pub placing: tokio::sync::Mutex<()>,
    /// Held while it is looked who may do everything, and a grant is taken away.
    pub granting: tokio::sync::Mutex<()>,
}

impl App {
    /// The services on their ground, with nothing known of any host yet.
    pub fn new(core: Arc<Core>) -> Arc<App> {
        let live = Live::new(core.started_at);
        let app = Arc::new(App {
            core,
            live,
            lives: life::Lives::default(),
            lines: Lines::default(),
            probes: Probes::default(),
            joins: join_token::Joins::default(),
            turns: turn::Turns::default(),
            renewals: pace::Pace::default(),
            uploads: Uploads::default(),
            tickets: Tickets::default(),
            told: event::Told::default(),
            alerted: alert::Alerted::default(),
            summaries: summary::Summaries::default(),
            placing: tokio::sync::Mutex::default(),
            granting: tokio::sync::Mutex::default(),
        });
        pool_work::register(&app);
        device_work::register(&app);
        image_work::register(&app);
        volume_work::register(&app);
        volume_change::register(&app);
        volume_flatten::register(&app);
        orphan::register(&app);
        snapshot::register(&app);
        file_work::register(&app);
        file_upload::register(&app);
        vm_work::register(&app);
        app
    }
}

/// A kind of task holds the services weakly, because the services hold the tasks.
fn upgrade(app: &Weak<App>) -> Result<Arc<App>, Fault> {
    app.upgrade().ok_or_else(|| Fault::internal("the vDC is stopping"))
}
