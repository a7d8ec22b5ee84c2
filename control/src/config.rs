//! What the vDC is started with: defaults, then a file, then the environment (`QUANTIX_…`), then the command line.

use crate::services::password::Cost;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use quantix_model::fault::Fault;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Read when it exists and no other file is named.
pub const FILE_DEFAULT: &str = "/etc/quantix/vdc.toml";

/// All settings of the vDC.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the database and the certificates.
    pub data_dir: PathBuf,
    /// HTTPS for browsers, tools and hosts.
    pub listen: SocketAddr,
    /// Plain HTTP for browsers on this machine; loopback only.
    #[serde(default)]
    pub dev_listen: Option<SocketAddr>,
    /// `https://…` under which hosts reach us; found out from `listen` when left out.
    #[serde(default)]
    pub host_facing_url: Option<String>,
    /// `https://…` under which browsers reach us, for what another site sends back here; `host_facing_url` when left out.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Serve the web app from this folder instead of the one built in.
    #[serde(default)]
    pub web_dir: Option<PathBuf>,
    /// More names and addresses for our certificate.
    #[serde(default)]
    pub names: Vec<String>,
    /// The key for secrets at rest; `seal.key` in the data folder when left out.
    #[serde(default)]
    pub seal_key_file: Option<PathBuf>,
    /// Rows of the audit log are kept so many days.
    #[serde(default = "audit_keep_days")]
    pub audit_keep_days: u32,
    /// `postgres://…` instead of the embedded database.
    #[serde(default)]
    pub database_url: Option<String>,
    /// Where daemons may listen that are offered for adding while they are not registered.
    #[serde(default)]
    pub host_offer_urls: Vec<String>,
    /// Hosts should report so often.
    #[serde(default = "beat_interval_ms")]
    pub beat_interval_ms: u64,
    /// Memory that hashing a password takes.
    #[serde(default = "password_hash_mib")]
    pub password_hash_mib: u32,
    /// How often that memory is gone through: what makes a sign-in slow for who guesses.
    #[serde(default = "password_hash_passes")]
    pub password_hash_passes: u32,
}

fn password_hash_mib() -> u32 {
    Cost::DEFAULT.mib
}

fn password_hash_passes() -> u32 {
    Cost::DEFAULT.passes
}

fn audit_keep_days() -> u32 {
    crate::services::audit::KEEP_DAYS
}

fn beat_interval_ms() -> u64 {
    u64::try_from(quantix_model::host::BEAT_INTERVAL.as_millis()).unwrap_or(30_000)
}

/// Without the database's address, which may carry a password.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .field("dev_listen", &self.dev_listen)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Defaults over a data folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Config {
        Config {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            dev_listen: None,
            host_facing_url: None,
            public_url: None,
            web_dir: None,
            names: Vec::new(),
            seal_key_file: None,
            audit_keep_days: audit_keep_days(),
            database_url: None,
            host_offer_urls: vec!["https://127.0.0.1:9443".into()],
            beat_interval_ms: beat_interval_ms(),
            password_hash_mib: password_hash_mib(),
            password_hash_passes: password_hash_passes(),
        }
    }

    /// Puts the sources together. `arguments`: what the command line said, by field name.
    pub fn load(file: Option<&Path>, arguments: &serde_json::Value) -> Result<Config, Fault> {
        let mut figment = Figment::from(Serialized::defaults(Config::new("/var/lib/quantix/vdc")));
        figment = match file {
            Some(path) => figment.merge(Toml::file_exact(path)),
            None => figment.merge(Toml::file(FILE_DEFAULT)),
        };
        let env = Env::prefixed("QUANTIX_").only(&[
            "data_dir",
            "listen",
            "dev_listen",
            "host_facing_url",
            "public_url",
            "web_dir",
            "seal_key_file",
            "audit_keep_days",
            "database_url",
            "beat_interval_ms",
            "password_hash_mib",
            "password_hash_passes",
        ]);
        let config: Config =
            figment.merge(env).merge(Serialized::defaults(arguments)).extract().map_err(|err| {
                Fault::invalid("config", "The settings cannot be read.", "Correct the setting named below.")
                    .because(err)
            })?;
        config.check()?;
        Ok(config)
    }

    /// Where the key for secrets at rest is.
    pub fn seal_key(&self) -> PathBuf {
        self.seal_key_file.clone().unwrap_or_else(|| self.data_dir.join(crate::seal::FILE))
    }

    /// What hashing a password costs.
    pub fn password_cost(&self) -> Cost {
        Cost { mib: self.password_hash_mib, passes: self.password_hash_passes }
    }

    /// Refuses what cannot work or would be unsafe.
    pub fn check(&self) -> Result<(), Fault> {
        if let Some(dev) = self.dev_listen
            && !dev.ip().is_loopback()
        {
            return Err(Fault::invalid(
                "dev_listen",
                format!("Plain HTTP would be open to the network on {dev}."),
                "Use a loopback address such as 127.0.0.1:8080, or HTTPS through `listen`.",
            ));
        }
        if let Some(url) = &self.host_facing_url
            && !url.starts_with("https://")
        {
            return Err(Fault::invalid(
                "host_facing_url",
                format!("Hosts cannot report to {url:?}."),
                "Give an address that starts with https://.",
            ));
        }
        if let Some(url) = &self.public_url {
            check_public(url)?;
        }
        if !(1..=36_500).contains(&self.audit_keep_days) {
            return Err(Fault::invalid(
                "audit_keep_days",
                format!("The audit log cannot be kept {} days.", self.audit_keep_days),
                "Choose from 1 to 36500.",
            ));
        }
        if !(100..=600_000).contains(&self.beat_interval_ms) {
            return Err(Fault::invalid(
                "beat_interval_ms",
                format!("Hosts cannot report every {} ms.", self.beat_interval_ms),
                "Choose from 100 to 600000.",
            ));
        }
        check_password_cost(self.password_cost())
    }
}

/// Refuses what is easily guessed, and what takes longer than anybody waits.
fn check_password_cost(cost: Cost) -> Result<(), Fault> {
    if cost.is_sound() {
        return Ok(());
    }
    let field = if Cost::MIB.contains(&cost.mib) { "password_hash_passes" } else { "password_hash_mib" };
    Err(Fault::invalid(
        field,
        format!("Passwords cannot be hashed with {} MiB in {} passes.", cost.mib, cost.passes),
        format!(
            "Choose {} to {} MiB and {} to {} passes, two at least with less than 38 MiB; `./x bench login` \
             says what a sign-in costs.",
            Cost::MIB.start(),
            Cost::MIB.end(),
            Cost::PASSES.start(),
            Cost::PASSES.end()
        ),
    ))
}

/// An origin: nothing after the port.
fn check_public(url: &str) -> Result<(), Fault> {
    let refuse = || {
        Fault::invalid(
            "public_url",
            format!("Browsers cannot be sent to {url:?}."),
            "Give https:// and the name the vDC is opened with, for example https://vdc.example.org:8443.",
        )
    };
    let uri: axum::http::Uri = url.parse().map_err(|_| refuse())?;
    let host = uri.host().ok_or_else(refuse)?;
    let here =
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|a| a.is_loopback());
    let ends = matches!(uri.path(), "" | "/") && uri.query().is_none() && !url.contains(['#', '@']);
    match uri.scheme_str() {
        Some("https") if ends => Ok(()),
        Some("http") if ends && here => Ok(()),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vdc.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\ndata_dir = \"/a\"\n").unwrap();
        let config = Config::load(Some(&file), &json!({"data_dir": "/b"})).unwrap();
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.data_dir, Path::new("/b"));
    }

    #[test]
    fn what_is_unsafe_or_unknown_is_refused() {
        let dev = json!({"dev_listen": "0.0.0.0:8080"});
        assert_eq!(Config::load(None, &dev).unwrap_err().field, "dev_listen");
        let plain = json!({"host_facing_url": "http://x"});
        assert_eq!(Config::load(None, &plain).unwrap_err().field, "host_facing_url");
        let cheap = json!({"password_hash_mib": 19, "password_hash_passes": 1});
        assert_eq!(Config::load(None, &cheap).unwrap_err().field, "password_hash_passes");
        let small = json!({"password_hash_mib": 8});
        assert_eq!(Config::load(None, &small).unwrap_err().field, "password_hash_mib");
        for public in
            ["http://vdc.example.org", "https://vdc.example.org/x", "vdc.example.org", "https://u@x"]
        {
            let fault = Config::load(None, &json!({"public_url": public})).expect_err(public);
            assert_eq!(fault.field, "public_url");
        }
        for public in ["https://vdc.example.org:8443", "http://127.0.0.1:8080/", "http://[::1]:1"] {
            assert!(Config::load(None, &json!({"public_url": public})).is_ok(), "{public}");
        }
        assert!(Config::load(None, &json!({"listne": "127.0.0.1:1"})).is_err());
        assert!(Config::load(Some(Path::new("/nowhere/vdc.toml")), &json!({})).is_err());
    }
}
