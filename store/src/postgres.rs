//! PostgreSQL's own programs, which write and read its dumps.
//!
//! Addresses go by the environment and the password by a file only we can read: neither shows among the processes.

use quantix_model::fault::{Fault, FaultCode};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr as _;
use std::time::Duration;
use tokio::process::Command;

/// What a dump or a load may take. At 25,000 hosts either takes seconds.
const DEADLINE: Duration = Duration::from_secs(1800);
/// Kept of what a program says when it fails.
const WORDS_BYTES_MAX: usize = 2000;

/// A server and a database on it.
pub(crate) struct Server {
    environment: Vec<(&'static str, String)>,
    password: Option<String>,
}

impl Server {
    /// As the vDC's settings name it.
    pub(crate) fn of(url: &str) -> Result<Server, Fault> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            // The library's own words would repeat the URL, password and all.
            Fault::invalid(
                "database_url",
                "The database's address cannot be read.",
                "Write it as postgres://user@host/name.",
            )
        })?;
        let socket = options.get_socket().map(|path| path.display().to_string());
        let mut environment = vec![
            ("PGHOST", socket.unwrap_or_else(|| options.get_host().to_owned())),
            ("PGPORT", options.get_port().to_string()),
            ("PGUSER", options.get_username().to_owned()),
            ("PGDATABASE", options.get_database().unwrap_or(options.get_username()).to_owned()),
            ("PGAPPNAME", "quantix-vdc".to_owned()),
            ("PGCONNECT_TIMEOUT", "10".to_owned()),
        ];
        if let Some(more) = options.get_options() {
            environment.push(("PGOPTIONS", more.to_owned()));
        }
        let canonical = options.to_url_lossy();
        for (key, value) in canonical.query_pairs() {
            let variable = match &*key {
                "sslmode" => "PGSSLMODE",
                "sslrootcert" => "PGSSLROOTCERT",
                "sslcert" => "PGSSLCERT",
                "sslkey" => "PGSSLKEY",
                _ => continue,
            };
            environment.push((variable, value.into_owned()));
        }
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        Ok(Server { environment, password: canonical.password().map(decode) })
    }

    /// Dumps these tables into `into`, as they are at one moment.
    pub(crate) async fn dump(&self, namespace: &str, tables: &[String], into: &Path) -> Result<(), Fault> {
        let secret = self.secret(into)?;
        let mut command = self.command("pg_dump", secret.as_ref());
        command.args(["--format=custom", "--no-owner", "--no-privileges", "--no-password"]);
        for table in tables {
            command.arg(format!("--table=\"{}\".\"{table}\"", namespace.replace('"', "\"\"")));
        }
        command.arg("--file").arg(into);
        run("pg_dump", command).await
    }

    /// Runs `before`, what `copy` holds, and `after` in one transaction.
    pub(crate) async fn load(&self, copy: &Path, before: &str, after: &str) -> Result<(), Fault> {
        let [first, script, last] =
            ["before.sql", "copy.sql", "after.sql"].map(|name| copy.with_file_name(name));
        write(&first, before)?;
        write(&last, after)?;
        write(&script, "")?;
        let mut command = self.command("pg_restore", None);
        command.args(["--no-owner", "--no-privileges", "--file"]).arg(&script).arg(copy);
        run("pg_restore", command).await?;
        let secret = self.secret(copy)?;
        let mut command = self.command("psql", secret.as_ref());
        command.args(["--no-psqlrc", "--quiet", "--no-password", "--single-transaction"]);
        command.args(["--set=ON_ERROR_STOP=1", "--output=/dev/null"]);
        for file in [&first, &script, &last] {
            command.arg("--file").arg(file);
        }
        run("psql", command).await
    }

    /// The file with the password, beside `near`; gone when dropped.
    fn secret(&self, near: &Path) -> Result<Option<Secret>, Fault> {
        let Some(password) = &self.password else { return Ok(None) };
        let file = near.with_extension("pgpass");
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let _ = std::fs::remove_file(&file);
        write(&file, &format!("*:*:*:*:{escaped}\n"))?;
        Ok(Some(Secret(file)))
    }

    fn command(&self, program: &str, secret: Option<&Secret>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("LC_ALL", "C.UTF-8");
        if let Some(Secret(file)) = secret {
            command.env("PGPASSFILE", file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// A file with a password in it.
struct Secret(PathBuf);

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|err| {
        let message = format!("{} cannot be written.", path.display());
        Fault::new(FaultCode::StoreUnavailable, message, "Check free space and permissions of its folder.")
            .because(err)
    })
}

async fn run(program: &str, mut command: Command) -> Result<(), Fault> {
    let ended = match tokio::time::timeout(DEADLINE, command.output()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(err)) if err.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::new(
                FaultCode::HostProgramMissing,
                format!("{program} is not installed."),
                "Install PostgreSQL's client programs of the server's release: apt-get install -y postgresql-client.",
            ));
        }
        Ok(Err(err)) => return Err(Fault::internal(format!("{program}: {err}"))),
        Err(_) => {
            let message = format!("{program} did not end within {} min.", DEADLINE.as_secs() / 60);
            let remedy = "Look whether the database server is overloaded, then try again.";
            return Err(Fault::new(FaultCode::DeadlineExceeded, message, remedy));
        }
    };
    if ended.status.success() {
        return Ok(());
    }
    let words =
        String::from_utf8_lossy(&ended.stderr[..ended.stderr.len().min(WORDS_BYTES_MAX)]).into_owned();
    Err(Fault::new(
        FaultCode::StoreUnavailable,
        format!("{program} failed; the database was left as it is."),
        "Read its own words below. The client programs must be of the server's release or later, the role must own \
         the tables and may create schemas, and no other vDC may use the database.",
    )
    .because(words.trim()))
}
