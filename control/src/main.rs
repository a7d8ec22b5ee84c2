//! `quantix-vdc`: runs the control plane, or gives somebody a new one-time password.

use clap::{Args, Parser, Subcommand};
use quantix_control::clock::Clock;
use quantix_control::config::FILE_DEFAULT;
use quantix_control::services::password::Passwords;
use quantix_control::services::{audit, scraper, session};
use quantix_control::{Config, Vdc, VdcOptions, api, backup, pki, serve};
use quantix_model::{Fault, FaultCode};
use quantix_store::{AuditRecord, Store};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Gives pages back that nobody uses: with the system's allocator a large fleet took a fifth more (docs/decisions/021).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Quantix control plane.
#[derive(Parser)]
#[command(name = "quantix-vdc", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves API, web app and hosts until it is told to stop.
    Run(Settings),
    /// Gives a local user a new one-time password, ends their sessions and lets them sign in again.
    ResetPassword(Reset),
    /// Makes a token for Prometheus to read figures with; the one before stops working.
    MetricsToken(Settings),
    /// Makes a new certificate authority. It signs once all connected hosts trust it; a vDC that is not running does it at
    /// its next start.
    RotateCa(Settings),
    /// Reads the audit log; the vDC may be serving.
    #[command(subcommand)]
    Audit(Audit),
    /// Writes the whole state to a new file; the vDC may be serving. The file holds keys: keep it as safe as them.
    Backup(BackupTo),
    /// Makes a backup's state that of this vDC, which must not be running.
    Restore(RestoreFrom),
}

impl Command {
    fn settings(&self) -> &Settings {
        match self {
            Command::Run(settings)
            | Command::MetricsToken(settings)
            | Command::RotateCa(settings)
            | Command::Audit(Audit::Verify(settings) | Audit::Export(settings)) => settings,
            Command::ResetPassword(reset) => &reset.settings,
            Command::Backup(backup) => &backup.settings,
            Command::Restore(restore) => &restore.settings,
        }
    }
}

#[derive(Subcommand)]
enum Audit {
    /// Checks that no row was changed, taken away or put in; fails when one was.
    Verify(Settings),
    /// Writes every row as a line of JSON to standard output.
    Export(Settings),
}

#[derive(Args)]
struct Reset {
    /// Name of the user.
    #[arg(default_value = "admin")]
    user: String,
    /// Take authenticator apps, passkeys and recovery codes away, too.
    #[arg(long)]
    clear_mfa: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct BackupTo {
    /// New file.
    file: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct RestoreFrom {
    /// File that `quantix-vdc backup` wrote.
    file: PathBuf,
    /// Move aside the state that is there; it is not deleted.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Left out means: as in the file or the default.
#[derive(Args, Serialize)]
struct Settings {
    /// Settings file.
    #[arg(long)]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Folder of database and certificates.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// HTTPS for browsers, tools and hosts.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Plain HTTP for browsers on this machine; loopback only.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_listen: Option<SocketAddr>,
    /// `https://…` that hosts report to.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    host_facing_url: Option<String>,
    /// `https://…` that browsers open, when it is another.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
    /// Serve the web app from this folder.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    web_dir: Option<PathBuf>,
    /// Daemon that is offered for adding while it is not registered; may be given several times.
    #[arg(long = "host-offer-url")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    host_offer_urls: Vec<String>,
    /// Hosts should report so often.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    beat_interval_ms: Option<u64>,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("QUANTIX_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,memory_serve=warn,sea_orm_migration=warn,connectrpc=warn")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    // Fails only when a provider is there already, which then is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match work(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "{fault}\n{}", fault.remedy);
            ExitCode::FAILURE
        }
    }
}

fn work(arguments: Arguments) -> Result<(), Fault> {
    let settings = arguments.command.settings();
    let given = serde_json::to_value(settings).map_err(Fault::internal)?;
    let config = Config::load(settings.config.as_deref(), &given)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Fault::internal)?;
    match arguments.command {
        Command::Run(_) => runtime.block_on(run(config)),
        Command::ResetPassword(wish) => runtime.block_on(reset_password(config, &wish)),
        Command::MetricsToken(_) => runtime.block_on(metrics_token(config)),
        Command::RotateCa(_) => rotate_ca(&config),
        Command::Audit(Audit::Verify(_)) => runtime.block_on(verify_audit(&config)),
        Command::Audit(Audit::Export(_)) => runtime.block_on(export_audit(&config)),
        Command::Backup(wish) => runtime.block_on(make_backup(&config, &wish)),
        Command::Restore(wish) => runtime.block_on(restore(&config, &wish)),
    }
}

async fn run(config: Config) -> Result<(), Fault> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Fault::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Fault::internal)?;
    let vdc = Vdc::start(VdcOptions::new(config)).await?;
    if let Some(password) = vdc.first_password() {
        say(&format!("First sign-in: user admin, one-time password {password}"));
    } else if vdc.awaits_first_sign_in().await? {
        say("Sign-in: user admin, one-time password, as printed before");
    }
    let mut urls = format!("https://{}", vdc.address());
    if let Some(dev) = vdc.dev_address() {
        urls.push_str(&format!(" http://{dev}"));
    }
    say(&format!("Serving {urls}"));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    vdc.stop().await;
    Ok(())
}

async fn reset_password(config: Config, wish: &Reset) -> Result<(), Fault> {
    let store = serve::open_store(&config).await?;
    let (now, passwords) = (Clock::system().now(), Passwords::new(config.password_cost()));
    let password = session::reset(&store, &passwords, &wish.user, wish.clear_mfa, now).await;
    if password.is_ok() {
        note(&config, &store, "reset-password", &wish.user).await?;
    }
    store.close().await;
    say(&format!("Next sign-in: user {}, one-time password {}", wish.user, password?));
    Ok(())
}

/// What the machine's root does stands in the audit log, too.
async fn note(config: &Config, store: &Store, action: &str, about: &str) -> Result<(), Fault> {
    let seal = serve::open_seal(config, store).await?;
    let log = audit::Log::new(store.clone(), Clock::system(), &config.data_dir);
    let row = AuditRecord {
        actor_kind: "root".into(),
        actor_name: "root".into(),
        action: format!("quantix-vdc {action}"),
        object_name: about.into(),
        result: "OK".into(),
        ..AuditRecord::default()
    };
    log.write(&seal, row).await
}

async fn verify_audit(config: &Config) -> Result<(), Fault> {
    let store = serve::open_store(config).await?;
    let seal = serve::open_seal(config, &store).await?;
    let verdict = audit::Log::new(store.clone(), Clock::system(), &config.data_dir).verify(&seal).await;
    store.close().await;
    let verdict = verdict?;
    match verdict.broken {
        None => {
            say(&format!("{} rows fit, from {} to {}.", verdict.rows, verdict.first, verdict.last));
            Ok(())
        }
        Some((at, why)) => Err(Fault::new(
            FaultCode::Conflict,
            format!("The audit log does not fit at row {at}; {} rows before it do.", verdict.rows),
            "Compare it with a backup, and look at who could write to the database.",
        )
        .because(why)),
    }
}

async fn export_audit(config: &Config) -> Result<(), Fault> {
    let store = serve::open_store(config).await?;
    let mut after = store.audit_cut().await?.unwrap_or_default().number;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    loop {
        let rows = store.audit_some(after, 1000).await?;
        let Some(last) = rows.last() else { break };
        after = last.number;
        let lines: String = rows.iter().map(api::audit::line).collect();
        if out.write_all(lines.as_bytes()).is_err() {
            break;
        }
    }
    // A closed pipe is no reason to die.
    let _ = out.flush();
    store.close().await;
    Ok(())
}

async fn metrics_token(config: Config) -> Result<(), Fault> {
    let store = serve::open_store(&config).await?;
    let token = scraper::make_token(&store).await;
    note(&config, &store, "metrics-token", "").await?;
    store.close().await;
    say(&token?);
    Ok(())
}

fn rotate_ca(config: &Config) -> Result<(), Fault> {
    pki::want_rotation(&config.data_dir)?;
    say(
        "A new certificate authority was asked for. It is made within seconds, or at the next start of the vDC.",
    );
    say("It signs once all connected hosts trust it; the certificates page shows how far that is.");
    Ok(())
}

async fn make_backup(config: &Config, wish: &BackupTo) -> Result<(), Fault> {
    let standard = Path::new(FILE_DEFAULT);
    let settings = wish.settings.config.as_deref().or(standard.exists().then_some(standard));
    backup::make(config, settings, &wish.file, Clock::system().now()).await?;
    say(&format!("Backup written to {}. It holds the keys of this vDC.", wish.file.display()));
    Ok(())
}

async fn restore(config: &Config, wish: &RestoreFrom) -> Result<(), Fault> {
    let now = Clock::system().now();
    let done = backup::restore(config, &wish.file, wish.replace, now, &mut |_| Ok(())).await?;
    let made = jiff::Timestamp::from_millisecond(done.manifest.made_at_ms.0).map_err(Fault::internal)?;
    say(&format!("Restored the state of {made:.0}, made by release {}.", done.manifest.version));
    if let Some(aside) = done.aside {
        say(&format!("The state before stands in {}.", aside.display()));
    }
    if let Some(schema) = done.aside_schema {
        say(&format!("The tables before stand in the schema {schema}."));
    }
    say("Everybody signs in anew. Start the vDC now.");
    Ok(())
}

/// A line for whoever started us; a closed pipe is no reason to die.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
