//! Who has the connections of a server. There are so many in all, and so many for one address; who waits for nothing but its own
//! next request gives way to who comes new. And who has the memory for large bodies.

use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::address::host_network;
use crate::limits::Limits;

/// How long who has just come need not give way: its first request may be on its way.
const BEGIN_TIME: Duration = Duration::from_secs(1);

/// After how long it is said again in the log that connections are refused.
const SAY_AFTER: Duration = Duration::from_secs(60);

/// All places of a server.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    per_address: usize,
    body_bytes: usize,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The places that are taken, by their numbers.
    taken: BTreeMap<u64, Taken>,
    /// The number of the next place, or of the next wait: later ones are larger.
    next: u64,
    /// Places that were not given back yet, those included that gave way.
    held: usize,
    refused: Unsaid,
}

#[derive(Debug)]
struct Taken {
    /// Whose it is. A trusted proxy's is nobody's while no request of it is answered.
    by: Option<IpAddr>,
    /// The bytes of a large body that it has.
    body: usize,
    /// Since when it waits for a request.
    waits: Option<u64>,
    /// Until when it need not give way.
    stays: Option<Instant>,
    socket: Arc<TcpStream>,
}

/// What may happen too often for the log: it is said once a minute at most.
#[derive(Debug, Default)]
pub(super) struct Unsaid {
    count: u64,
    said: Option<Instant>,
}

impl Unsaid {
    /// It happened. If it is to be said: how often it was not since it was said last.
    pub(super) fn happened(&mut self) -> Option<u64> {
        if self.said.is_some_and(|said| said.elapsed() < SAY_AFTER) {
            self.count += 1;
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    All,
    /// The address has its share of them.
    Address,
    /// The system gives no thread.
    Threads,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    /// Whether it is a trusted proxy's, and so another's with each request.
    is_proxys: bool,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        Places {
            most: limits.server.connections,
            per_address: limits.server.share_of_address(),
            body_bytes: limits.server.large_bodies_bytes,
            state: Mutex::default(),
            left: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of this address; of nobody, if it is a trusted proxy's. Where there is none, the connection that has
    /// waited longest for a request is closed: of the same address, if that has its share.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, is_proxys: bool, socket: &Arc<TcpStream>) -> Result<Place, Full> {
        let mut state = self.lock();
        let by = (!is_proxys).then(|| host_network(address));
        if by.is_some_and(|by| state.of(by) >= self.per_address) {
            state.give_way(by).ok_or(Full::Address)?;
        }
        if state.taken.len() >= self.most {
            state.give_way(None).ok_or(Full::All)?;
        }
        let number = state.number();
        state.taken.insert(
            number,
            Taken { by, body: 0, waits: None, stays: Some(Instant::now() + BEGIN_TIME), socket: Arc::clone(socket) },
        );
        state.held += 1;
        Ok(Place { places: Arc::clone(self), number, is_proxys })
    }

    /// Says in the log that a connection was refused, once a minute at most.
    pub(super) fn refused(&self, address: IpAddr, why: Full) {
        let Some(others) = self.lock().refused.happened() else { return };
        let why = match why {
            Full::All => format!("all {} connections are taken", self.most),
            Full::Address => format!(
                "one address may have {} connections, and it has them; if it is that of a proxy, trust the proxy",
                self.per_address
            ),
            Full::Threads => "the system gives no thread for it".to_owned(),
        };
        log::warn!(
            target: "rowferry::serve",
            "a connection from {address} is refused, as were {others} others since this was said last: {why}"
        );
    }

    /// Closes the connection that has waited longest for a request.
    pub(super) fn make_room(&self) {
        self.lock().give_way(None);
    }

    /// Waits until all places are given back, until this moment at most; says how many are not.
    pub(super) fn wait_until_left(&self, until: Instant) -> usize {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.left.wait_timeout_while(self.lock(), left, |state| state.held > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.held
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn of(&self, by: IpAddr) -> usize {
        self.taken.values().filter(|taken| taken.by == Some(by)).count()
    }

    /// Closes the connection that has waited longest for a request, of this address or of any; `None` if none waits.
    fn give_way(&mut self, by: Option<IpAddr>) -> Option<()> {
        let now = Instant::now();
        let may_go = |taken: &Taken| (by.is_none() || taken.by == by) && taken.stays.is_none_or(|until| until <= now);
        let waiting = self.taken.iter().filter(|(_, taken)| may_go(taken));
        let (_, number) = waiting.filter_map(|(number, taken)| Some((taken.waits?, *number))).min()?;
        let taken = self.taken.remove(&number)?;
        // Its thread reads that there is nothing more. One that is closed already ends, too.
        let _ = taken.socket.shutdown(Shutdown::Both);
        Some(())
    }
}

impl Place {
    /// From now on it waits for a request, and may have to give way.
    pub(super) fn waits(&self) {
        let mut state = self.places.lock();
        let since = state.number();
        if let Some(taken) = state.taken.get_mut(&self.number) {
            taken.waits = Some(since);
            if self.is_proxys {
                taken.by = None;
            }
        }
    }

    /// A request begins. Whether the place is still there.
    pub(super) fn works(&self) -> bool {
        self.places.lock().taken.get_mut(&self.number).is_some_and(|taken| {
            (taken.waits, taken.stays) = (None, None);
            true
        })
    }

    /// A trusted proxy's request is of this address, until the next one begins.
    ///
    /// # Errors
    /// The address has its share.
    pub(super) fn is_of(&self, origin: IpAddr) -> Result<(), Full> {
        if !self.is_proxys {
            return Ok(());
        }
        let (mut state, by) = (self.places.lock(), host_network(origin));
        let others = state.taken.iter().filter(|(number, taken)| **number != self.number && taken.by == Some(by)).count();
        if others >= self.places.per_address {
            return Err(Full::Address);
        }
        if let Some(taken) = state.taken.get_mut(&self.number) {
            taken.by = Some(by);
        }
        Ok(())
    }

    /// It has so many bytes of a large body, instead of those that it had. Whether there is room for them.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        let mut state = self.places.lock();
        let others: usize =
            state.taken.iter().filter(|(number, _)| **number != self.number).map(|(_, taken)| taken.body).sum();
        if bytes > self.places.body_bytes.saturating_sub(others) {
            return false;
        }
        if let Some(taken) = state.taken.get_mut(&self.number) {
            taken.body = bytes;
        }
        true
    }

    /// [`Places::refused`].
    pub(super) fn refused(&self, address: IpAddr, why: Full) {
        self.places.refused(address, why);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.taken.remove(&self.number);
        state.held -= 1;
        self.places.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn places(connections: usize, per_address: Option<usize>) -> Arc<Places> {
        Arc::new(Places::new(&Limits::with(|limits| {
            limits.server.connections = connections;
            limits.server.connections_per_address = per_address;
        })))
    }

    /// A connection, of which the places know one end.
    fn socket() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(listener.accept().unwrap().0), peer)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_closed(peer: &mut TcpStream) -> bool {
        peer.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        matches!(peer.read(&mut [0]), Ok(0))
    }

    #[test]
    fn an_address_has_its_share_and_others_have_theirs() {
        let (places, (socket, _peer)) = (places(6, Some(2)), socket());
        let take = |address: &str| places.take(ip(address), false, &socket);
        let mut taken = vec![take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap()];
        assert_eq!(take("192.0.2.1").unwrap_err(), Full::Address);
        taken.extend([take("2001:db8::1").unwrap(), take("2001:db8::2:0:0:1").unwrap()]);
        assert_eq!(take("2001:db8::ffff:0:0:1").unwrap_err(), Full::Address, "the same network");
        taken.extend([take("2001:db8:0:1::1").unwrap(), take("192.0.2.2").unwrap()]);
        assert_eq!(take("192.0.2.3").unwrap_err(), Full::All);
        drop(taken.remove(0));
        assert!(take("192.0.2.1").is_ok());
    }

    #[test]
    fn the_share_is_a_quarter_and_four_at_least() {
        let share = |connections| places(connections, None).per_address;
        assert_eq!((share(256), share(100), share(12), share(5), share(2)), (64, 25, 4, 4, 2));
        assert_eq!((places(8, Some(100)).per_address, places(8, Some(1)).per_address), (8, 1));
        assert_eq!(Limits::default().server.connections, 256);
    }

    #[test]
    fn who_waits_longest_gives_way() {
        let places = places(2, Some(2));
        let ((first, mut one), (second, mut other), (third, _peer)) = (socket(), socket(), socket());
        let place = |address: &str, socket| places.take(ip(address), false, socket);
        let older = place("192.0.2.1", &first).unwrap();
        let newer = place("192.0.2.2", &second).unwrap();
        assert_eq!(place("192.0.2.3", &third).unwrap_err(), Full::All, "both work");
        newer.waits();
        older.waits();
        assert_eq!(place("192.0.2.3", &third).unwrap_err(), Full::All, "they have just come");
        assert!(newer.works() && older.works());
        newer.waits();
        older.waits();
        let third_place = place("192.0.2.3", &third).unwrap();
        assert!((is_closed(&mut other), is_closed(&mut one)) == (true, false), "that which has waited longest");
        assert!(!newer.works() && older.works(), "it is over, whatever came meanwhile");
        assert_eq!(place("192.0.2.4", &third).unwrap_err(), Full::All);
        third_place.waits();
        if let Some(taken) = places.lock().taken.get_mut(&third_place.number) {
            taken.stays = Some(Instant::now());
        }
        assert!(place("192.0.2.4", &third).is_ok(), "its time to begin is over");
        assert_eq!(places.wait_until_left(Instant::now()), 3, "until its thread has ended");
        drop((older, newer, third_place));
        assert_eq!(places.wait_until_left(Instant::now()), 0);
    }

    #[test]
    fn within_its_share_an_address_gives_way_to_itself_only() {
        let places = places(9, Some(1));
        let ((first, mut one), (second, mut other), (third, _peer)) = (socket(), socket(), socket());
        let others = places.take(ip("192.0.2.1"), false, &first).unwrap();
        let its = places.take(ip("192.0.2.2"), false, &second).unwrap();
        assert!(others.works() && its.works());
        others.waits();
        assert_eq!(places.take(ip("192.0.2.2"), false, &third).unwrap_err(), Full::Address);
        its.waits();
        assert!(places.take(ip("192.0.2.2"), false, &third).is_ok());
        assert_eq!((is_closed(&mut one), is_closed(&mut other)), (false, true));
    }

    #[test]
    fn what_happens_often_is_said_rarely() {
        let mut unsaid = Unsaid::default();
        assert_eq!((unsaid.happened(), unsaid.happened(), unsaid.happened()), (Some(0), None, None));
        unsaid.said = unsaid.said.and_then(|said| said.checked_sub(SAY_AFTER));
        assert_eq!((unsaid.happened(), unsaid.happened()), (Some(2), None));
    }

    #[test]
    fn large_bodies_have_so_much_memory_together() {
        let limits = Limits::with(|limits| limits.server.large_bodies_bytes = 100);
        let (places, (socket, _peer)) = (Arc::new(Places::new(&limits)), socket());
        let (one, other) = (places.take(ip("192.0.2.1"), false, &socket), places.take(ip("192.0.2.2"), false, &socket));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.holds(60) && one.holds(80) && other.holds(20));
        assert!(!other.holds(21) && other.holds(0) && one.holds(100) && !other.holds(1));
        drop(one);
        assert!(other.holds(100));
    }

    #[test]
    fn a_request_through_a_proxy_is_of_the_address_behind_it() {
        let (places, (socket, _peer)) = (places(9, Some(2)), socket());
        let proxys: Vec<_> = (0..4).map(|_| places.take(ip("10.0.0.1"), true, &socket).unwrap()).collect();
        let peer = ip("192.0.2.1");
        assert_eq!((proxys[0].is_of(peer), proxys[1].is_of(peer), proxys[0].is_of(peer)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(proxys[2].is_of(peer), Err(Full::Address));
        assert_eq!(places.take(peer, false, &socket).unwrap_err(), Full::Address, "it comes past the proxy, too");
        assert_eq!(proxys[2].is_of(ip("192.0.2.2")), Ok(()));
        proxys[0].waits();
        assert!(proxys[0].works());
        assert_eq!(proxys[3].is_of(peer), Ok(()), "a request has ended");
    }
}
