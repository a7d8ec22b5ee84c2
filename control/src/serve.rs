//! Starting and stopping the vDC: store, authority, services, tasks, then the ports; and all of it back again.

use crate::api::auth::Line;
use crate::api::{self, Assembly};
use crate::backup;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::Core;
use crate::http;
use crate::ids;
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::port;
use crate::reconcilers;
use crate::roster::Rosters;
use crate::seal::Seal;
use crate::services::password::Passwords;
use crate::services::session::{self, Sessions};
use crate::services::{App, audit, pool_secret, right, summary};
use crate::tasks::Tasks;
use quantix_model::fault::{Fault, FaultCode};
use quantix_store::Store;
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What stopping may take before what is left is dropped.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Setting that names the key which seals.
const SEAL_KEY_ID: &str = "seal_key_id";
/// Ended sessions are forgotten so often.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// What a vDC is started with.
#[derive(Clone, Debug)]
pub struct VdcOptions {
    /// Settings.
    pub config: Config,
    /// The time; tests bring one they can move.
    pub clock: Clock,
}

impl VdcOptions {
    /// With the system's clock.
    pub fn new(config: Config) -> VdcOptions {
        VdcOptions { config, clock: Clock::system() }
    }
}

/// The vDC as a library.
#[derive(Debug)]
pub struct Vdc;

/// A vDC that runs.
#[derive(Debug)]
pub struct VdcHandle {
    core: Arc<Core>,
    address: SocketAddr,
    dev_address: Option<SocketAddr>,
    first_password: Option<String>,
    servers: Vec<JoinHandle<()>>,
    /// Held while this vDC runs.
    _lock: File,
}

impl Vdc {
    /// Starts a vDC; it answers when this returns.
    pub async fn start(options: VdcOptions) -> Result<VdcHandle, Fault> {
        let VdcOptions { config, clock } = options;
        config.check()?;
        let listener = bind("listen", config.listen).await?;
        let dev_listener = match config.dev_listen {
            Some(address) => Some(bind("dev_listen", address).await?),
            None => None,
        };
        let address = listener.local_addr().map_err(Fault::internal)?;
        make_private_folder(&config.data_dir)?;
        let lock = lock_folder(&config.data_dir)?;
        backup::settle(&config).await?;
        let metrics = Metrics::new()?;
        let mut store = open_store(&config).await?;
        store.observe(metrics.store_observer());
        let passwords = Passwords::new(config.password_cost());
        let first_password = session::first_admin(&store, &passwords, clock.now()).await?;
        let core = ground(config, clock, store, metrics, address).await?;

        let sessions = Arc::new(Sessions::new(core.clone()));
        let app = App::new(core.clone());
        let assembly = assemble(&core, &sessions, &app);
        let routes = http::routes(assembly, &core)?;
        pool_secret::close_all(&app).await?;
        core.tasks.resume().await?;
        core.spawn(sweep(core.clone(), sessions.clone()));
        let store = core.store.clone();
        core.spawn(async move {
            if let Err(err) = store.lists_read().await {
                tracing::warn!(%err, "the lists could not be read ahead; whoever asks for one first does it");
            }
        });
        reconcilers::host::start(&app);
        reconcilers::store::start(&app);
        reconcilers::pool::start(&app);
        reconcilers::event::start(&app);
        reconcilers::certificate::start(&app);
        reconcilers::identity::start(&sessions);

        let mut servers = Vec::new();
        let dev_address = dev_listener.as_ref().and_then(|l| l.local_addr().ok());
        if let Some(listener) = dev_listener {
            let app = http::guarded(routes.clone(), &core, &sessions, Line::Plain);
            servers.push(serve_plain(listener, app, core.stop.clone()));
        }
        let app = http::guarded(routes, &core, &sessions, Line::Tls);
        servers.push(serve_tls(listener, app, &core)?);
        tracing::info!(%address, "serving");
        Ok(VdcHandle { core, address, dev_address, first_password, servers, _lock: lock })
    }
}

impl VdcHandle {
    /// Where HTTPS answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where plain HTTP answers, if it does.
    pub fn dev_address(&self) -> Option<SocketAddr> {
        self.dev_address
    }

    /// The admin's one-time password, when this was the first start.
    pub fn first_password(&self) -> Option<&str> {
        self.first_password.as_deref()
    }

    /// Whether admin's password is still a one-time one.
    pub async fn awaits_first_sign_in(&self) -> Result<bool, Fault> {
        Ok(self.core.store.user_find("admin").await?.is_some_and(|admin| admin.must_change_password))
    }

    /// The authorities that certify the vDC and its hosts.
    pub fn ca_pem(&self) -> String {
        self.core.pki.bundle().pem.clone()
    }

    /// The ground it stands on, for tests that look behind the API.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Stops within five seconds: what is under way is let go, tasks go on at the next start.
    pub async fn stop(self) {
        self.core.stop.cancel();
        self.core.background.close();
        let aborts: Vec<_> = self.servers.iter().map(JoinHandle::abort_handle).collect();
        let ended = tokio::time::timeout(STOP_DEADLINE, async {
            for server in self.servers {
                let _ = server.await;
            }
            self.core.background.wait().await;
        });
        if ended.await.is_err() {
            tracing::warn!("some work did not end in time and is dropped");
        }
        for abort in aborts {
            abort.abort();
        }
        self.core.store.clone().close().await;
    }
}

/// Opens the store as the settings say.
pub async fn open_store(config: &Config) -> Result<Store, Fault> {
    if let Some(url) = &config.database_url {
        return Ok(Store::open_postgres(url).await?);
    }
    make_private_folder(&config.data_dir)?;
    Ok(Store::open_file(&config.data_dir.join(backup::DATABASE)).await?)
}

pub(crate) fn make_private_folder(path: &Path) -> Result<(), Fault> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|err| {
        Fault::new(
            FaultCode::StoreUnavailable,
            format!("The data folder {} cannot be made.", path.display()),
            "Choose a folder that this user may write to.",
        )
        .because(err)
    })
}

/// Keeps a second vDC from working on the same data: two would carry out every task twice.
pub(crate) fn lock_folder(path: &Path) -> Result<File, Fault> {
    let file = path.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
    let lock = opened.map_err(|err| Fault::internal(format!("{}: {err}", file.display())))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(err) => Err(Fault::new(
            FaultCode::Conflict,
            format!("Another vDC works with {} already.", path.display()),
            "Stop it first, or choose another data folder.",
        )
        .because(err)),
    }
}

async fn bind(field: &str, address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|err| {
        Fault::invalid(
            field,
            format!("The vDC cannot listen on {address}."),
            "Stop what uses this port, or choose another address.",
        )
        .because(err)
    })
}

async fn ground(
    config: Config,
    clock: Clock,
    store: Store,
    metrics: Metrics,
    address: SocketAddr,
) -> Result<Arc<Core>, Fault> {
    let host_facing_url = config.host_facing_url.clone().unwrap_or_else(|| facing_url(address));
    let public_url = config.public_url.as_deref().unwrap_or(&host_facing_url);
    let public_url = public_url.trim_end_matches('/').to_owned();
    let mut names = config.names.clone();
    names.extend(host_of(&host_facing_url));
    names.extend(host_of(&public_url));
    let (data_dir, pki_clock) = (config.data_dir.clone(), clock.clone());
    let seal = Arc::new(open_seal(&config, &store).await?);
    let pki_seal = Arc::clone(&seal);
    let pki = tokio::task::spawn_blocking(move || Pki::open(&data_dir, &names, &pki_clock, &pki_seal))
        .await
        .map_err(Fault::internal)??;
    let (bus, stop, background) = (Bus::default(), CancellationToken::new(), TaskTracker::new());
    let tasks = Tasks::new(store.clone(), clock.clone(), bus.clone(), stop.clone(), background.clone());
    let audit = audit::Log::new(store.clone(), clock.clone(), &config.data_dir);
    Ok(Arc::new(Core {
        rights: right::Known::default(),
        audit,
        started_at: clock.now(),
        epoch: ids::plain().to_string(),
        rosters: Rosters::new(store.clone()),
        store_health: Arc::default(),
        store,
        clock,
        bus,
        tasks,
        seal,
        pki,
        config,
        metrics,
        host_facing_url,
        public_url,
        stop,
        background,
    }))
}

/// Opens the key for secrets at rest; which one it is stands in the store, so that a lost file is noticed at the start.
pub async fn open_seal(config: &Config, store: &Store) -> Result<Seal, Fault> {
    let known = store.setting_get(SEAL_KEY_ID).await?;
    let (path, is_new) = (config.seal_key(), known.is_none());
    let opened = tokio::task::spawn_blocking(move || Seal::open(&path, is_new)).await;
    let seal = opened.map_err(Fault::internal)??;
    if known.as_deref().is_some_and(|id| !seal.has(id)) {
        return Err(seal.is_another());
    }
    if known.as_deref() != Some(seal.key_id()) {
        store.setting_put(SEAL_KEY_ID, seal.key_id()).await?;
    }
    Ok(seal)
}

fn assemble(core: &Arc<Core>, sessions: &Arc<Sessions>, app: &Arc<App>) -> Assembly {
    let mut assembly = Assembly::default();
    api::session::mount(&mut assembly, sessions.clone());
    api::factor::mount(&mut assembly, sessions.clone());
    api::user::mount(&mut assembly, sessions.clone());
    api::identity::mount(&mut assembly, sessions);
    api::oidc::mount(&mut assembly, sessions);
    api::task::mount(&mut assembly, app);
    api::host::mount(&mut assembly, app);
    api::join_token::mount(&mut assembly, app);
    api::certificate::mount(&mut assembly, app);
    api::report::mount(&mut assembly, app);
    api::pool::mount(&mut assembly, app);
    api::image::mount(&mut assembly, app);
    api::file::mount(&mut assembly, app);
    api::volume::mount(&mut assembly, app);
    api::vm::mount(&mut assembly, app);
    api::console::mount(&mut assembly, app);
    api::event::mount(&mut assembly, app);
    api::metrics::mount(&mut assembly, app);
    api::role::mount(&mut assembly, app);
    api::api_token::mount(&mut assembly, app);
    api::audit::mount(&mut assembly, app);
    let counted = app.clone();
    assembly.summary = Some(Arc::new(move || {
        let app = counted.clone();
        Box::pin(async move { summary::counts(&app).await })
    }));
    // Last: these look at what the others have added.
    api::system::mount(&mut assembly, core);
    api::watch::mount(&mut assembly, app, sessions);
    assembly
}

fn serve_tls(listener: TcpListener, app: axum::Router, core: &Arc<Core>) -> Result<JoinHandle<()>, Fault> {
    let tls = port::Tls::new(core)?;
    Ok(tokio::spawn(port::serve(listener, app, tls, core.stop.clone())))
}

fn serve_plain(listener: TcpListener, app: axum::Router, stop: CancellationToken) -> JoinHandle<()> {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::spawn(async move {
        if let Err(err) = serving.await {
            tracing::error!(%err, "the plain HTTP port closed");
        }
    })
}

async fn sweep(core: Arc<Core>, sessions: Arc<Sessions>) {
    loop {
        if let Err(fault) = sessions.sweep().await {
            tracing::warn!(%fault, "ended sessions were not forgotten");
        }
        if let Err(fault) = core.audit.prune(core.config.audit_keep_days).await {
            tracing::warn!(%fault, "old rows of the audit log were not forgotten");
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = core.stop.cancelled() => return,
        }
    }
}

/// How hosts can probably reach us: the address listened on, or the one this machine goes out with.
fn facing_url(address: SocketAddr) -> String {
    let ip = if address.ip().is_unspecified() { outgoing_ip() } else { address.ip() };
    format!("https://{}", SocketAddr::new(ip, address.port()))
}

/// Connecting a UDP socket sends nothing; it only makes the kernel choose a source address.
fn outgoing_ip() -> IpAddr {
    let chosen = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Reserved for documentation (RFC 5737): never ours, always routed by default.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    chosen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip())
}

/// Host part of an `https://` URL.
fn host_of(url: &str) -> Option<String> {
    let uri: axum::http::Uri = url.parse().ok()?;
    uri.host().map(|h| h.trim_matches(['[', ']']).to_owned())
}
