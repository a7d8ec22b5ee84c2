//! Network links, from /sys/class/net; addresses from /proc/net.
//!
//! /proc tells IPv4 addresses without their link (`fib_trie`) and networks with it (`route`): an address belongs to
//! the link of the narrowest directly connected network around it.

use crate::tree;
use quantix_model::host::Nic;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// All links but `lo`.
pub fn read(root: &Path) -> Vec<Nic> {
    let v4 = v4_addresses(&tree::text(root, "proc/net/fib_trie"), &tree::text(root, "proc/net/route"));
    let v6 = v6_addresses(&tree::text(root, "proc/net/if_inet6"));
    let names = tree::names(root, "sys/class/net");
    let links = names.into_iter().filter(|name| name != "lo" && name != "bonding_masters");
    links
        .map(|name| {
            let at = |file: &str| format!("sys/class/net/{name}/{file}");
            let of_this = v4.iter().chain(&v6).filter(|(link, _)| *link == name);
            Nic {
                mac: tree::line(root, &at("address")),
                // Reads as an error or -1 when the link is down or virtual.
                speed_mbps: tree::number(root, &at("speed")).unwrap_or(0),
                up: tree::number(root, &at("carrier")) == Some(1),
                addresses: of_this.map(|(_, address)| address.clone()).collect(),
                name,
            }
        })
        .collect()
}

struct Network {
    link: String,
    address: u32,
    prefix: u32,
}

fn networks(route: &str) -> Vec<Network> {
    let mut networks: Vec<Network> = route.lines().skip(1).filter_map(network).collect();
    networks.sort_by_key(|n| std::cmp::Reverse(n.prefix));
    networks
}

fn network(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let hex = |n: usize| u32::from_str_radix(fields.get(n)?, 16).ok().map(u32::swap_bytes);
    let (address, gateway, mask) = (hex(1)?, hex(2)?, hex(7)?);
    let direct = gateway == 0 && mask != 0;
    direct.then(|| Network { link: fields[0].to_owned(), address, prefix: mask.leading_ones() })
}

fn v4_addresses(fib_trie: &str, route: &str) -> Vec<(String, String)> {
    let networks = networks(route);
    let mut local = BTreeSet::new();
    let mut last = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            local.extend(last.filter(|a| !a.is_loopback()));
        }
    }
    let link_of = |address: Ipv4Addr| {
        let bits = u32::from(address);
        let mask = |prefix: u32| u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        let net = networks.iter().find(|n| bits & mask(n.prefix) == n.address)?;
        Some((net.link.clone(), format!("{address}/{}", net.prefix)))
    };
    local.into_iter().filter_map(link_of).collect()
}

fn v6_addresses(if_inet6: &str) -> Vec<(String, String)> {
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(fields.first()?, 16).ok()?;
        let prefix = u32::from_str_radix(fields.get(2)?, 16).ok()?;
        Some(((*fields.get(5)?).to_owned(), format!("{}/{prefix}", Ipv6Addr::from(bits))))
    };
    if_inet6.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        br1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
        br2\t0001000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const TRIE: &str = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
        |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     \
        |-- 10.0.1.5\n        /32 host LOCAL\n     |-- 10.9.9.9\n        /32 host LOCAL\n";

    #[test]
    fn addresses_find_the_narrowest_network() {
        let got: Vec<String> =
            v4_addresses(TRIE, ROUTE).into_iter().map(|(l, a)| format!("{l} {a}")).collect();
        assert_eq!(got, ["br2 10.0.1.5/24", "br1 10.9.9.9/8", "eth0 192.0.2.2/24"]);
    }

    #[test]
    fn v6() {
        let line = "fe80000000000000021122fffe334455 02 40 20 80     eth0\n";
        assert_eq!(v6_addresses(line), [("eth0".into(), "fe80::211:22ff:fe33:4455/64".into())]);
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(a in "(?s).{0,200}", b in "(?s).{0,200}") {
            let _ = v4_addresses(&a, &b);
            let _ = v6_addresses(&a);
        }
    }
}
