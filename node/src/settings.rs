//! Settings of the daemon: defaults, then the file, then the environment, then the command line.

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::Dict;
use quantix_model::host::AcceleratorChoice;
use quantix_model::{Fault, FaultCode};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Read when there; another one must be there.
const USUAL_FILE: &str = "/etc/quantix/node.toml";

/// How the daemon is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Key and ledger.
    pub state_dir: PathBuf,
    /// Address and port.
    pub listen: SocketAddr,
    /// Which libvirt.
    pub libvirt_uri: String,
    /// How guests run.
    pub accelerator: AcceleratorChoice,
    /// Kernel for the proof of KVM.
    pub kvm_probe_kernel: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            state_dir: PathBuf::from("/var/lib/quantix/node"),
            listen: SocketAddr::from(([0, 0, 0, 0], 9443)),
            libvirt_uri: "qemu:///system".into(),
            accelerator: AcceleratorChoice::Auto,
            kvm_probe_kernel: None,
        }
    }
}

/// Reads all sources; the later ones win.
pub fn load(file: Option<PathBuf>, flags: Dict) -> Result<Settings, Fault> {
    let toml = match file {
        Some(path) => Toml::file_exact(path),
        None => Toml::file(USUAL_FILE),
    };
    Figment::from(Serialized::defaults(Settings::default()))
        .merge(toml)
        .merge(Env::prefixed("QUANTIX_NODE_").ignore(&["log"]))
        .merge(Serialized::defaults(flags))
        .extract()
        .map_err(|err| {
            Fault::new(
                FaultCode::InvalidArgument,
                "The settings of quantix-node cannot be used.",
                "Correct the flag, variable or line named below; `quantix-node run --help` lists them.",
            )
            .because(err)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\naccelerator = \"tcg\"\n").unwrap();
        let flags = Dict::from([("listen".to_owned(), "127.0.0.1:2".into())]);
        let settings = load(Some(path), flags).unwrap();
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.accelerator, AcceleratorChoice::Tcg);
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, "listne = 1\n").unwrap();
        assert!(load(Some(path.clone()), Dict::new()).unwrap_err().cause.contains("listne"));
        assert!(load(Some(dir.path().join("absent.toml")), Dict::new()).is_err());
        std::fs::write(&path, "").unwrap();
        let flags = Dict::from([("accelerator".to_owned(), "warp".into())]);
        assert!(load(Some(path), flags).unwrap_err().cause.contains("warp"));
    }
}
