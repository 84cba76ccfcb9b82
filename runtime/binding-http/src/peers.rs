//! Counts the connections of each client address.
//!
//! Bounded by the number of open connections: addresses without one are removed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// Interval at which refused connections are logged, with their number.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The connection counts of all addresses.
pub(crate) struct Peers {
    limit: usize,
    connections: RefCell<BTreeMap<IpAddr, usize>>,
    refused: Cell<u64>,
    logged: Cell<Option<Instant>>,
}

/// Counts a connection until it is dropped.
pub(crate) struct Peer {
    peers: Rc<Peers>,
    network: IpAddr,
}

impl Peers {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            connections: RefCell::default(),
            refused: Cell::new(0),
            logged: Cell::new(None),
        })
    }

    /// Counts another connection; `None` if the address has reached the limit.
    pub(crate) fn admit(self: &Rc<Self>, address: IpAddr) -> Option<Peer> {
        let network = network(address);
        let mut connections = self.connections.borrow_mut();
        let count = connections.entry(network).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Peer {
            peers: Rc::clone(self),
            network,
        })
    }

    /// Records a refused connection, and logs at most once per [`LOG_INTERVAL`].
    pub(crate) fn refused(&self, address: IpAddr) {
        if let Some(refused) = self.to_log() {
            tracing::warn!(
                %address,
                refused,
                limit = self.limit,
                "too many connections from one address; see maxConnectionsPerAddress"
            );
        }
    }

    /// Number of refusals to log now; `None` within [`LOG_INTERVAL`] of the last log line.
    fn to_log(&self) -> Option<u64> {
        self.refused.set(self.refused.get().saturating_add(1));
        let due = |logged: Instant| logged.elapsed() >= LOG_INTERVAL;
        self.logged.get().is_none_or(due).then(|| {
            self.logged.set(Some(Instant::now()));
            self.refused.take()
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut connections = self.peers.connections.borrow_mut();
        if let Entry::Occupied(mut entry) = connections.entry(self.network) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// A single IPv6 client usually has a /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(((address.to_bits() >> 64) << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn admit(peers: &Rc<Peers>, address: &str) -> Option<Peer> {
        peers.admit(address.parse().expect("an address"))
    }

    #[test]
    fn each_address_has_its_own_limit_and_is_removed_with_its_last_connection() {
        let peers = Peers::new(2);
        let first = admit(&peers, "192.0.2.1");
        let second = admit(&peers, "::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(admit(&peers, "192.0.2.1").is_none());
        let other = admit(&peers, "192.0.2.2");
        assert!(other.is_some());
        drop(first);
        let third = admit(&peers, "192.0.2.1");
        assert!(third.is_some());
        drop((second, third, other));
        assert!(peers.connections.borrow().is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let peers = Peers::new(1);
        let first = admit(&peers, "2001:db8:0:1::1");
        assert!(first.is_some());
        assert!(admit(&peers, "2001:db8:0:1:ffff::2").is_none());
        assert!(admit(&peers, "2001:db8:0:2::1").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_logged_in_aggregate() {
        let peers = Peers::new(1);
        assert_eq!(peers.to_log(), Some(1));
        for _ in 0..100 {
            assert_eq!(peers.to_log(), None);
        }
        advance(LOG_INTERVAL).await;
        assert_eq!(peers.to_log(), Some(101));
        assert_eq!(peers.to_log(), None);
    }
}
