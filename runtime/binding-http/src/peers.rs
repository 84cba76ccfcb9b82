//! How many connections each client address has.
//!
//! Bounded by the connections there are: an address without one is not kept.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// Refused connections are logged at most once in this time, with their number.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The connections of all addresses.
pub(crate) struct Peers {
    limit: usize,
    connections: RefCell<BTreeMap<IpAddr, usize>>,
    refused: Cell<u64>,
    logged: Cell<Option<Instant>>,
}

/// A connection that is counted until this is dropped.
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

    /// Counts one more connection; `None` where the address has as many as it may.
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

    /// Logs that a connection was refused, but not each of them.
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

    /// How many were refused since it was logged; `None` where that is not yet to be logged again.
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

/// A single IPv6 client has a /64 network of addresses.
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
    fn each_address_has_its_own_limit_and_none_is_kept_without_a_connection() {
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
    async fn refusals_are_logged_with_their_number_and_not_one_by_one() {
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
