//! The client of a connection: what is known of it before its first request.

use std::cell::RefCell;
use std::net::SocketAddr;

use bytestring::ByteString;
use rustls::pki_types::CertificateDer;

use crate::authorization::LastAccepted;

/// The address on which a connection was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// An address of this machine that other machines cannot reach.
    Loopback,
    Network,
    Unix,
}

impl Port {
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Network
        }
    }

    /// Whether clients may begin HTTP/2 without TLS: nothing in between can misunderstand it.
    pub(crate) const fn allows_prior_knowledge(self) -> bool {
        matches!(self, Self::Loopback | Self::Unix)
    }
}

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) port: Port,
    /// Its address; absent on a Unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// The certificate it presented, which was verified, followed by its chain; empty without one.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// The credential that was accepted last.
    pub(crate) accepted: RefCell<Option<LastAccepted>>,
}

impl Client {
    /// Its address and port; an IPv4 address also where the socket is one of IPv6.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let address = self.address?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Address and port, for events; empty on a Unix socket.
    pub(crate) fn shown(&self) -> ByteString {
        let address = self.peer().map(|address| address.to_string().into());
        address.unwrap_or_default()
    }
}
