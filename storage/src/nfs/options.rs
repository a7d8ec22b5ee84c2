//! What is asked of `mount.nfs`: the export's name and the option string, made from a checked spec.
//!
//! Ours, and why (see also `docs/decisions/009-nfs-mount-options.md`):
//!
//! | Option | Why |
//! |---|---|
//! | `hard` | a write the server has not taken is never dropped; a guest waits instead of losing data |
//! | `retry=0` | one try per start of the worker, which has a deadline; the daemon tries again |
//! | `noatime` | looking at a pool writes nothing |
//! | `nosuid,nodev,noexec` | nothing that lies on a server runs, or opens a device, on the host |
//! | `proto=tcp` or `tcp6` (NFS 3) | else the mount protocol beside it goes over UDP, which networks lose and block |
//! | `lookupcache=positive` | a volume another host just made is seen at once, not when a cache expires |

use quantix_model::pool::{NfsSpec, NfsVersion};
use std::net::{IpAddr, Ipv6Addr};

/// Where servers listen (RFC 8881, 2.9.3).
pub const NFS_PORT: u16 = 2049;
const OURS: &[&str] = &["hard", "retry=0", "noatime", "nosuid", "nodev", "noexec", "lookupcache=positive"];
/// Of each pair, only one can be in a string; the person's word wins.
const OPPOSITES: &[(&str, &str)] = &[("hard", "soft")];

/// `server:export` as the kernel shows it; an IPv6 address stands in brackets.
pub fn source(spec: &NfsSpec) -> String {
    match spec.server.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{}", spec.export),
        Err(_) => format!("{}:{}", spec.server, spec.export),
    }
}

/// What the person set, in order.
pub fn wished(spec: &NfsSpec) -> impl Iterator<Item = &str> {
    spec.options.split(',').filter(|option| !option.is_empty())
}

/// The whole string behind `-o`: the version, ours, then the person's. `addresses`: of the server.
pub fn string(spec: &NfsSpec, addresses: &[IpAddr]) -> String {
    let unwanted = |option: &str| {
        OPPOSITES.iter().any(|(ours, theirs)| *ours == option && wished(spec).any(|wish| wish == *theirs))
    };
    let version = format!("vers={}", spec.version.as_str());
    let ours = OURS.iter().copied().filter(|option| !unwanted(option) && !wished(spec).any(|w| w == *option));
    let transport = match spec.version {
        NfsVersion::V3 if wished(spec).any(|option| option.starts_with("proto=")) => None,
        NfsVersion::V3 if addresses.iter().any(IpAddr::is_ipv4) => Some("proto=tcp"),
        NfsVersion::V3 => Some("proto=tcp6"),
        NfsVersion::V4 | NfsVersion::V41 | NfsVersion::V42 => None,
    };
    let all: Vec<&str> =
        std::iter::once(version.as_str()).chain(ours).chain(transport).chain(wished(spec)).collect();
    all.join(",")
}

/// The port a person set, else the usual one.
pub fn port(spec: &NfsSpec) -> u16 {
    let set = wished(spec).filter_map(|option| option.strip_prefix("port=")?.parse().ok());
    set.last().filter(|port| *port > 0).unwrap_or(NFS_PORT)
}

/// Version 3 asks the portmapper for ports, unless a port was set.
pub fn asks_portmapper(spec: &NfsSpec) -> bool {
    spec.version == NfsVersion::V3 && !wished(spec).any(|option| option.starts_with("port="))
}

/// `NFS 4.1`; the kernel says `4.0`, older ones `4`.
pub fn protocol(version: &str) -> String {
    format!("NFS {}", canonical(version))
}

/// One way to write a version.
pub fn canonical(version: &str) -> &str {
    if version == "4" { "4.0" } else { version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::pool::PoolSpec;
    use quantix_model::pool::spec::NFS_OPTIONS;

    fn spec(server: &str, version: NfsVersion, options: &str) -> NfsSpec {
        NfsSpec {
            server: server.into(),
            export: "/srv/a b".into(),
            version,
            options: options.into(),
            mount_path: String::new(),
        }
    }

    #[test]
    fn ours_then_the_persons() {
        for (version, options, wanted) in [
            (NfsVersion::V41, "", "vers=4.1,hard,retry=0,noatime,nosuid,nodev,noexec,lookupcache=positive"),
            (
                NfsVersion::V3,
                "soft,,timeo=30,noatime",
                "vers=3,retry=0,nosuid,nodev,noexec,lookupcache=positive,proto=tcp,soft,timeo=30,noatime",
            ),
        ] {
            assert_eq!(string(&spec("nas", version, options), &[IpAddr::from([192, 0, 2, 1])]), wanted);
        }
        let v6 = string(&spec("nas", NfsVersion::V3, ""), &[IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        assert!(v6.contains("proto=tcp6"), "{v6}");
    }

    #[test]
    fn no_option_of_the_list_undoes_ours() {
        for legal in NFS_OPTIONS {
            let option = if legal.ends_with('=') { format!("{legal}7") } else { (*legal).to_owned() };
            let spec = spec("nas", NfsVersion::V42, &option);
            PoolSpec::Nfs(spec.clone()).check().expect("an option of the list");
            let string = string(&spec, &[]);
            assert!(string.starts_with("vers=4.2,") && string.contains(&option), "{string}");
            for kept in ["retry=0", "nosuid", "nodev", "noexec"] {
                assert!(string.split(',').any(|o| o == kept), "{string} lost {kept}");
            }
            let hard = string.split(',').any(|o| o == "hard");
            assert_ne!(hard, option == "soft", "{string}");
        }
    }

    #[test]
    fn sources_and_ports() {
        assert_eq!(source(&spec("nas", NfsVersion::V3, "")), "nas:/srv/a b");
        assert_eq!(source(&spec("2001:DB8:0::1", NfsVersion::V3, "")), "[2001:db8::1]:/srv/a b");
        assert_eq!(port(&spec("nas", NfsVersion::V3, "ro,port=20049")), 20049);
        assert_eq!(port(&spec("nas", NfsVersion::V3, "port=0")), NFS_PORT);
        assert!(asks_portmapper(&spec("nas", NfsVersion::V3, "")));
        assert!(!asks_portmapper(&spec("nas", NfsVersion::V3, "port=2049")));
        assert!(!asks_portmapper(&spec("nas", NfsVersion::V41, "")));
        assert_eq!((protocol("4"), protocol("4.2")), ("NFS 4.0".into(), "NFS 4.2".into()));
    }
}
