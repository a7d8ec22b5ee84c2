//! `quantix-node`: the host daemon, and what an administrator asks of it on its own machine.

mod settings;

use clap::{Args, Parser, Subcommand};
use quantix_host::program::SystemRunner;
use quantix_hypervisor::accelerator::AcceleratorOptions;
use quantix_hypervisor::libvirt::{LibvirtDriver, LibvirtOptions};
use quantix_model::Fault;
use quantix_node::join::JoinWish;
use quantix_node::log::Logs;
use quantix_node::{Node, NodeOptions, clock, socket};
use quantix_storage::worker::ProcessLauncher;
use settings::Settings;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Little runs at once on an idle host; what blocks has threads of its own.
const WORKER_THREADS: usize = 2;
/// /proc readings, libvirt calls that hang, worker starts.
const BLOCKING_THREADS_MAX: usize = 64;

/// A token file with line ends and blanks is a fraction of that.
const TOKEN_BYTES_MAX: u64 = 4 << 10;

/// The Quantix host daemon.
#[derive(Parser)]
#[command(name = "quantix-node", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon.
    Run(Run),
    /// Asks the running daemon for a new registration token; the one before stops working.
    Token(Token),
    /// Makes the running daemon join a vDC by a token made there (Hosts, Join tokens).
    Join(Join),
    /// Serves one pool over standard input; started by the daemon.
    #[command(hide = true)]
    PoolWorker,
}

/// Each of these may also stand in the configuration file, or as QUANTIX_NODE_… in the environment.
#[derive(Args, Default)]
struct Run {
    /// Where key and ledger are kept [default: /var/lib/quantix/node].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Address and port to listen on [default: 0.0.0.0:9443].
    #[arg(long)]
    listen: Option<String>,
    /// Which libvirt to use [default: qemu:///system].
    #[arg(long)]
    libvirt_uri: Option<String>,
    /// auto, kvm or tcg: how guests run. `auto` takes KVM only when a guest was seen to run under it [default: auto].
    #[arg(long)]
    accelerator: Option<String>,
    /// Kernel to boot when proving KVM [default: this machine's own].
    #[arg(long)]
    kvm_probe_kernel: Option<PathBuf>,
    /// Configuration file [default: /etc/quantix/node.toml, if there is one].
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct Token {
    /// State folder of the running daemon [default: /var/lib/quantix/node].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Configuration file [default: /etc/quantix/node.toml, if there is one].
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct Join {
    /// `https://…` of the vDC; port 8443 unless it names one.
    #[arg(long)]
    vdc: String,
    /// The join token. Other users may see what stands on a command line: better use --token-file.
    #[arg(long, conflicts_with = "token_file", required_unless_present = "token_file")]
    token: Option<String>,
    /// File that holds the join token, or `-` for standard input.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Where the vDC reaches this host [default: the address it sees, on the daemon's port].
    #[arg(long, default_value = "", hide_default_value = true)]
    url: String,
    /// What the host is to be called [default: its host name].
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// State folder of the running daemon [default: /var/lib/quantix/node].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Configuration file [default: /etc/quantix/node.toml, if there is one].
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // An error means that it is set already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let logs = Logs::new();
    write_down(&cli.command, &logs);
    let result = match cli.command {
        Command::PoolWorker => return pool_worker(),
        Command::Run(run) => settings_of(run).and_then(|settings| runtime()?.block_on(serve(settings, logs))),
        Command::Token(token) => {
            let flags = Run { state_dir: token.state_dir, config: token.config, ..Run::default() };
            settings_of(flags).and_then(|settings| runtime()?.block_on(print_token(settings)))
        }
        Command::Join(join) => {
            let flags =
                Run { state_dir: join.state_dir.clone(), config: join.config.clone(), ..Run::default() };
            settings_of(flags).and_then(|settings| runtime()?.block_on(ask_to_join(settings, join)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            complain(&fault);
            ExitCode::FAILURE
        }
    }
}

fn settings_of(run: Run) -> Result<Settings, Fault> {
    let mut flags = figment::value::Dict::new();
    let path = |p: PathBuf| p.to_string_lossy().into_owned();
    let given = [
        ("state_dir", run.state_dir.map(path)),
        ("listen", run.listen),
        ("libvirt_uri", run.libvirt_uri),
        ("accelerator", run.accelerator),
        ("kvm_probe_kernel", run.kvm_probe_kernel.map(path)),
    ];
    flags.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))));
    settings::load(run.config, flags)
}

/// From now on what is traced goes to standard error, and of the daemon into what the vDC can ask for.
fn write_down(command: &Command, logs: &Logs) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("QUANTIX_NODE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match command {
        // The daemon reads it, and writes it down as its own (quantix_storage::worker).
        Command::PoolWorker => registry.with(to_stderr.json()).init(),
        _ => registry.with(to_stderr).with(logs.layer()).init(),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|err| Fault::internal(format!("the runtime could not start: {err}")))
}

fn pool_worker() -> ExitCode {
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => quantix_storage::worker::main(socket),
        Err(err) => {
            tracing::error!(%err, "a pool worker needs its socket as standard input");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings, logs: Logs) -> Result<(), Fault> {
    let signals = |kind| signal(kind).map_err(|err| Fault::internal(format!("signals: {err}")));
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let mut accelerator =
        AcceleratorOptions::new(settings.accelerator, settings.state_dir.join("accelerator.json"));
    accelerator.probe_kernel = settings.kvm_probe_kernel;
    // The folder is locked first: a second daemon must not even begin to prove an accelerator.
    let prepared = Node::prepare(&settings.state_dir)?;
    let driver = LibvirtDriver::start(LibvirtOptions { uri: settings.libvirt_uri, accelerator });
    let node = prepared
        .start(NodeOptions {
            listen: settings.listen,
            driver: Arc::new(driver),
            launcher: Arc::new(ProcessLauncher::this_program()?),
            pool_limits: Default::default(),
            runner: Arc::new(SystemRunner),
            machine_root: PathBuf::from("/"),
            state_dir: settings.state_dir,
            logs,
        })
        .await?;
    say(&format!("Serving https://{}", node.address()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending; VMs go on running");
    node.stop().await;
    Ok(())
}

async fn print_token(settings: Settings) -> Result<(), Fault> {
    let answer = socket::ask_token(&settings.state_dir).await?;
    let minutes = (answer.expires_at_unix_ms.0 - clock::now().0 + 30_000) / 60_000;
    say(&format!(
        "{}\n\nValid for {minutes} minutes and for one registration. In the vDC: Hosts, Add host.",
        answer.token
    ));
    Ok(())
}

async fn ask_to_join(settings: Settings, join: Join) -> Result<(), Fault> {
    let token = match (join.token, join.token_file) {
        (Some(token), _) => token,
        (None, Some(path)) => read_token(&path)?,
        (None, None) => String::new(),
    };
    let wish = JoinWish { vdc: join.vdc, token: token.trim().to_owned(), url: join.url, name: join.name };
    let joined = socket::ask_join(&settings.state_dir, &wish).await?;
    say(&format!("Joined as {}; this host reports to {} now.", joined.host_name, joined.vdc_url));
    Ok(())
}

fn read_token(path: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        }
    };
    read.map_err(|err| {
        let message = format!("The token cannot be read from {}.", path.display());
        Fault::invalid("token_file", message, "Name a file that holds the join token and nothing else.")
            .because(err)
    })?;
    Ok(text)
}

fn say(text: &str) {
    // Nobody may be reading; that is no reason to end.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn complain(fault: &Fault) {
    let mut text = format!("{}: {}\n", fault.code, fault.message);
    if !fault.cause.is_empty() {
        text.push_str(&format!("  cause:  {}\n", fault.cause));
    }
    text.push_str(&format!("  remedy: {}\n", fault.remedy));
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
