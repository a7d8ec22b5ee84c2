//! Whether a server answers at all, asked in seconds: `mount.nfs` itself may try for minutes before it says so.

use crate::error::Result;
use crate::nfs::classify::{name_unknown, no_route, refused, silent};
use crate::nfs::options;
use quantix_model::Fault;
use quantix_model::pool::NfsSpec;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// For the name and all addresses together.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Where the portmapper listens (RFC 1833).
const PORTMAPPER_PORT: u16 = 111;

/// Connects to the server's NFS port, and hangs up. Answers every address of its name.
pub fn reach(spec: &NfsSpec) -> Result<Vec<IpAddr>> {
    let end = Instant::now() + PATIENCE;
    let port = options::port(spec);
    let addresses = resolve(&spec.server, end)?;
    let mut last = None;
    for (n, address) in addresses.iter().enumerate() {
        // A first address that is silent must leave time for the others.
        let left = end.saturating_duration_since(Instant::now());
        let end = Instant::now() + left / u32::try_from(addresses.len() - n).unwrap_or(1);
        let mut answer = connect(*address, port, end);
        let closed = matches!(&answer, Err(e) if e.kind() == ErrorKind::ConnectionRefused);
        if closed && options::asks_portmapper(spec) && connect(*address, PORTMAPPER_PORT, end).is_ok() {
            // It may serve NFS 3 on another port; mount.nfs will ask.
            answer = Ok(());
        }
        match answer {
            Ok(()) => return Ok(addresses),
            Err(err) => last = Some((*address, err)),
        }
    }
    let Some((address, err)) = last else { return Err(name_unknown(&spec.server)) };
    Err(fault(&spec.server, address, port, &err))
}

fn fault(server: &str, address: IpAddr, port: u16, err: &Error) -> Fault {
    let fault = match err.kind() {
        ErrorKind::ConnectionRefused => refused(server, port),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => silent(server),
        _ => no_route(server),
    };
    fault
        .because(format!("connecting to {}: {err}", SocketAddr::new(address, port)))
        .in_phase("reach the server")
}

fn connect(address: IpAddr, port: u16, end: Instant) -> std::io::Result<()> {
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(50));
    TcpStream::connect_timeout(&SocketAddr::new(address, port), left).map(drop)
}

/// The C library asks DNS for as long as it likes, so it does on a thread we leave behind.
fn resolve(server: &str, end: Instant) -> Result<Vec<IpAddr>> {
    if let Ok(address) = server.parse() {
        return Ok(vec![address]);
    }
    let (sender, answer) = mpsc::channel();
    let name = server.to_owned();
    let ask = move || {
        let found = (name.as_str(), options::NFS_PORT).to_socket_addrs();
        // Nobody listens after the deadline.
        let _ = sender.send(found.map(|all| all.map(|a| a.ip()).collect::<Vec<_>>()));
    };
    std::thread::Builder::new().name("resolve".into()).spawn(ask).map_err(Fault::internal)?;
    let unknown = |why: &str| name_unknown(server).because(why).in_phase("reach the server");
    match answer.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(Ok(mut addresses)) if !addresses.is_empty() => {
            addresses.dedup();
            Ok(addresses)
        }
        Ok(Ok(_)) => Err(unknown("the name has no address")),
        Ok(Err(err)) => Err(unknown(&err.to_string())),
        Err(_) => Err(unknown(&format!("no answer from DNS within {} ms", PATIENCE.as_millis()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::FaultCode;
    use quantix_model::pool::NfsVersion;
    use std::net::TcpListener;

    fn spec(server: &str, options: &str) -> NfsSpec {
        NfsSpec {
            server: server.into(),
            export: "/x".into(),
            version: NfsVersion::V41,
            options: options.into(),
            mount_path: String::new(),
        }
    }

    #[test]
    fn open_and_closed_ports() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let there = spec("127.0.0.1", &format!("port={port}"));
        assert_eq!(reach(&there).expect("it listens"), [IpAddr::from([127, 0, 0, 1])]);
        drop(listener);
        let fault = reach(&there).expect_err("nobody listens");
        assert_eq!(fault.code, FaultCode::PoolServerUnreachable);
        assert!(
            fault.message.contains(&format!("port {port}")) && fault.cause.contains("refused"),
            "{fault}"
        );
    }

    #[test]
    fn an_unknown_name() {
        let began = Instant::now();
        let fault = reach(&spec("no-such-server.invalid", "")).expect_err("RFC 6761 reserves .invalid");
        assert_eq!(fault.code, FaultCode::PoolServerUnreachable);
        assert!(fault.message.contains("does not know") && fault.field == "spec.nfs.server", "{fault}");
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(2));
    }

    #[test]
    fn errors_of_the_network() {
        let address = IpAddr::from([192, 0, 2, 1]);
        for (errno, word) in [(101, "no way"), (113, "no way"), (110, "not answer"), (111, "port 2049")] {
            let fault = fault("nas", address, 2049, &Error::from_raw_os_error(errno));
            assert!(fault.message.contains(word) && fault.cause.contains("192.0.2.1:2049"), "{fault}");
        }
    }
}
