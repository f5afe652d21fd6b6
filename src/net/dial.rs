//! From a name to a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::Budget;
use super::policy::AddressPolicy;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};

/// How names become addresses, and addresses connections.
pub(super) trait Network: Send + Sync {
    /// The addresses of a name.
    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
    /// A connection to an address.
    fn connect(&self, address: &SocketAddr, time: Duration) -> io::Result<TcpStream>;
}

/// The operating system's ways.
pub(super) struct System;

impl Network for System {
    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }

    fn connect(&self, address: &SocketAddr, time: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(address, time)
    }
}

/// Connects to a site: its name is resolved once, and only addresses that the policy allows are tried.
///
/// # Errors
/// [`ErrorKind::ForbiddenAddress`], [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`], [`ErrorKind::Cancelled`].
pub(super) fn dial(network: &Arc<dyn Network>, url: &SiteUrl, policy: AddressPolicy, budget: &Budget) -> Result<TcpStream> {
    let addresses = policy.allowed(&url.authority(), resolve(network, url, budget)?)?;
    let late = || format!("no connection to {} was made", url.authority());
    let mut last = io::Error::other("its name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        budget.slice(&late)?;
        // An address that never answers leaves the others their share.
        let share = budget.left() / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let (network, address) = (Arc::clone(network), *address);
        let connect = move || network.connect(&address, share.max(Duration::from_millis(1)));
        match aside("rowferry-connect", budget, &late, connect)? {
            Ok(tcp) => {
                // Small requests should not wait for more to send; a connection without this is only slower.
                if let Err(error) = tcp.set_nodelay(true) {
                    log::debug!(target: "rowferry::client", "cannot set TCP_NODELAY: {error}");
                }
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    budget.slice(&late)?;
    Err(unreachable(url, last))
}

/// The addresses of the URL's host.
fn resolve(network: &Arc<dyn Network>, url: &SiteUrl, budget: &Budget) -> Result<Vec<SocketAddr>> {
    let late = || format!("the name of {} was not resolved", url.authority());
    budget.slice(&late)?;
    let (host, port) = (url.host().to_owned(), url.port());
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let network = Arc::clone(network);
    let resolved = aside("rowferry-resolve", budget, &late, move || network.lookup(&host, port))?;
    resolved.map_err(|error| unreachable(url, error))
}

/// Does something that the operating system cannot be told to end, on a thread of its own, which is left behind when it takes
/// too long or nobody waits for it any more. The inner error is that of the work.
fn aside<T: Send + 'static>(
    name: &str,
    budget: &Budget,
    late: &dyn Fn() -> String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>> {
    let (answer, answered) = sync_channel(1);
    let working = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = answer.send(work());
    });
    if let Err(error) = working {
        return Err(Error::new(ErrorKind::System, format!("no thread to connect on: {error}")).with_source(error));
    }
    loop {
        let slice = budget.slice(late)?;
        match answered.recv_timeout(slice.saturating_duration_since(Instant::now())) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(io::Error::other("the thread that connects panicked"))),
        }
    }
}

fn unreachable(url: &SiteUrl, why: io::Error) -> Error {
    Error::new(ErrorKind::Unreachable, format!("cannot connect to {}: {why}", url.authority()))
        .with_hint("Check the address, and that the other site is being served.")
        .with_source(why)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::cancel::CancelToken;

    /// A name server that answers each question with the next list, and a network on which nobody is there.
    #[derive(Default)]
    struct Stub {
        answers: Mutex<Vec<Vec<SocketAddr>>>,
        tried: Mutex<Vec<SocketAddr>>,
    }

    impl Network for Stub {
        fn lookup(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            Ok(self.answers.lock().unwrap().remove(0))
        }

        fn connect(&self, address: &SocketAddr, _time: Duration) -> io::Result<TcpStream> {
            self.tried.lock().unwrap().push(*address);
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    fn budget() -> Budget {
        Budget::new(Duration::from_secs(5), &[])
    }

    /// What dialling once for each policy fails with, and the addresses that were tried.
    fn dialled(url: &str, answers: &[&[&str]], policies: &[AddressPolicy]) -> (Vec<ErrorKind>, Vec<String>) {
        let list = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        let stub = Arc::new(Stub { answers: Mutex::new(answers.iter().map(list).collect()), ..Stub::default() });
        let (url, network): (_, Arc<dyn Network>) = (SiteUrl::parse(url).unwrap(), stub.clone());
        let kinds = policies.iter().map(|policy| dial(&network, &url, *policy, &budget()).unwrap_err().kind()).collect();
        let tried = stub.tried.lock().unwrap().iter().map(ToString::to_string).collect();
        (kinds, tried)
    }

    const PUBLIC: AddressPolicy = AddressPolicy::PublicOnly;

    #[test]
    fn a_name_that_leads_inside_a_moment_later_gains_nothing() {
        let answers: [&[&str]; 2] = [&["8.8.8.8:443"], &["127.0.0.1:443"]];
        let (kinds, tried) = dialled("https://shop.example", &answers, &[PUBLIC]);
        assert_eq!((kinds, tried), (vec![ErrorKind::Unreachable], vec!["8.8.8.8:443".to_owned()]));
        let (kinds, tried) = dialled("https://shop.example", &answers, &[PUBLIC, PUBLIC]);
        assert_eq!(kinds, [ErrorKind::Unreachable, ErrorKind::ForbiddenAddress]);
        assert_eq!(tried, ["8.8.8.8:443"]);
    }

    #[test]
    fn only_allowed_addresses_are_tried() {
        let mixed: &[&str] = &["10.0.0.1:80", "8.8.8.8:80", "[::ffff:192.168.0.1]:80", "[2606:4700::1]:80"];
        let (_, tried) = dialled("http://shop.example", &[mixed], &[PUBLIC]);
        assert_eq!(tried, ["8.8.8.8:80", "[2606:4700::1]:80"]);
        let (kinds, tried) = dialled("http://shop.example", &[mixed], &[AddressPolicy::CallersChoice]);
        assert_eq!((kinds, tried.len()), (vec![ErrorKind::Unreachable], 4));
        // Literals are looked at as names are, and nobody is asked about them.
        for literal in ["http://127.0.0.1:7171", "http://[::1]:80", "http://[::ffff:10.0.0.1]"] {
            let (kinds, tried) = dialled(literal, &[], &[PUBLIC]);
            assert_eq!((kinds, tried.len()), (vec![ErrorKind::ForbiddenAddress], 0), "{literal}");
        }
    }

    #[test]
    fn a_name_without_addresses_is_unreachable() {
        let (kinds, _) = dialled("http://shop.example", &[&[]], &[PUBLIC]);
        assert_eq!(kinds, [ErrorKind::Unreachable]);
    }

    #[test]
    fn a_connection_that_does_not_come_about_is_left_behind() {
        struct Silent(Mutex<()>, CancelToken);
        impl Network for Silent {
            fn lookup(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
                unreachable!("it is an address")
            }
            fn connect(&self, _address: &SocketAddr, _time: Duration) -> io::Result<TcpStream> {
                self.1.cancel();
                let _held = self.0.lock();
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let cancel = CancelToken::new();
        let silent = Arc::new(Silent(Mutex::new(()), cancel.clone()));
        let held = silent.0.lock();
        let (url, network): (_, Arc<dyn Network>) = (SiteUrl::parse("http://192.0.2.1").unwrap(), silent.clone());
        let budget = Budget::new(Duration::from_secs(60), &[&cancel]);
        let error = dial(&network, &url, AddressPolicy::CallersChoice, &budget).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        drop(held);
    }

    #[test]
    fn a_resolver_that_never_answers_is_left_behind() {
        struct Deaf(Mutex<()>);
        impl Network for Deaf {
            fn lookup(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
                let _held = self.0.lock();
                Ok(Vec::new())
            }
            fn connect(&self, _address: &SocketAddr, _time: Duration) -> io::Result<TcpStream> {
                unreachable!("there is no address")
            }
        }
        let deaf = Arc::new(Deaf(Mutex::new(())));
        let held = deaf.0.lock();
        let (url, network): (_, Arc<dyn Network>) = (SiteUrl::parse("http://shop.example").unwrap(), deaf.clone());
        let cancelled = CancelToken::new();
        cancelled.cancel();
        for (budget, kind) in [
            (Budget::new(Duration::from_millis(20), &[]), ErrorKind::Timeout),
            (Budget::new(Duration::from_secs(60), &[&cancelled]), ErrorKind::Cancelled),
        ] {
            assert_eq!(dial(&network, &url, PUBLIC, &budget).unwrap_err().kind(), kind);
        }
        drop(held);
    }
}
