//! The order in which endpoints are tried, and the connection to one of them.
//!
//! Endpoints are tried in the order of the config. One that failed is tried last until `returnAfter` has
//! passed, and then takes its place again: new connections return to the first endpoint once it is
//! back. Of several that failed, the one that failed first is tried first. Open connections stay where
//! they are.
//!
//! An endpoint also counts as failed when the caller says that the protocol above has failed there
//! (`avoid` of BEGIN): TLS was refused, or the broker is busy. A caller may state other endpoints, to
//! which a broker has referred; what becomes of those is not remembered.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tidegate_streams::bytes_stream::{BytesBegin, BytesEndpoint};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::connection::reason;
use crate::endpoint::Endpoint;
use crate::happy_eyeballs::{connect, interleave};
use crate::options::{MQTT_PORT, Options};
use crate::socket::Socket;

/// The endpoints of a binding on a worker.
pub(crate) struct Endpoints {
    configured: Rc<Places>,
    /// The port of an endpoint that a caller states without one.
    port: u16,
}

impl Endpoints {
    pub(crate) fn new(options: &Options) -> Self {
        let all = options.endpoints();
        let port = all.iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp { port, .. } => Some(*port),
            Endpoint::Unix(_) => None,
        });
        Self {
            configured: Rc::new(Places::new(all)),
            port: port.unwrap_or(MQTT_PORT),
        }
    }

    /// Where a connection goes, as its BEGIN states.
    pub(crate) fn journey(&self, begin: &BytesBegin) -> Journey {
        self.configured.avoid(&begin.avoid, Instant::now());
        let places = if begin.endpoints.is_empty() {
            Rc::clone(&self.configured)
        } else {
            let stated = begin.endpoints.iter().map(|it| self.stated(it));
            Rc::new(Places::new(stated.collect()))
        };
        let certificate = &begin.certificate;
        Journey {
            places,
            without_tls: (!certificate.is_empty()).then(|| certificate.to_string()),
        }
    }

    fn stated(&self, endpoint: &BytesEndpoint) -> Endpoint {
        Endpoint::Tcp {
            host: endpoint.host.to_string(),
            port: match endpoint.port {
                0 => self.port,
                port => port,
            },
        }
    }
}

/// Where a connection goes.
pub(crate) struct Journey {
    places: Rc<Places>,
    /// Name of the client certificate that no `tls · client` has taken from BEGIN.
    without_tls: Option<String>,
}

impl Journey {
    /// All endpoints, for errors.
    pub(crate) fn remote(&self) -> String {
        self.places.remote()
    }

    /// Connects to the first endpoint that accepts, within `connectTimeout` for all of them together.
    pub(crate) async fn connect(&self, options: &Options) -> io::Result<(Endpoint, Socket)> {
        if let Some(certificate) = &self.without_tls {
            return Err(io::Error::other(format!(
                "the client certificate '{certificate}' cannot be presented without TLS; use a tls · client"
            )));
        }
        self.places.connect(options).await
    }
}

/// Endpoints, with what became of them.
struct Places {
    all: Vec<Endpoint>,
    /// When each one failed last.
    failed: RefCell<Vec<Option<Instant>>>,
}

impl Places {
    fn new(all: Vec<Endpoint>) -> Self {
        let failed = RefCell::new(vec![None; all.len()]);
        Self { all, failed }
    }

    fn remote(&self) -> String {
        let all: Vec<String> = self.all.iter().map(Endpoint::to_string).collect();
        all.join(", ")
    }

    /// The endpoint of this name has failed; an empty name stands for none.
    fn avoid(&self, remote: &str, now: Instant) {
        if remote.is_empty() {
            return;
        }
        let index = self.all.iter().position(|it| it.to_string() == remote);
        if let Some(index) = index {
            self.note(index, Some(now));
        }
    }

    /// The indices of the endpoints in the order in which they are tried at `now`.
    fn order(&self, now: Instant, return_after: Duration) -> Vec<usize> {
        let failed = self.failed.borrow();
        let failed = |index: &usize| {
            let failed = failed.get(*index).copied().flatten();
            failed.filter(|failed| now.saturating_duration_since(*failed) < return_after)
        };
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        // Those that have not failed are before all others, in their order.
        order.sort_by_key(failed);
        order
    }

    fn note(&self, index: usize, failed: Option<Instant>) {
        if let Some(place) = self.failed.borrow_mut().get_mut(index) {
            *place = failed;
        }
    }

    async fn connect(&self, options: &Options) -> io::Result<(Endpoint, Socket)> {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(options.connect_timeout);
        let order = self.order(start, Duration::from_millis(options.return_after.get()));
        let mut errors: Vec<(&Endpoint, io::Error)> = Vec::new();
        for (number, index) in order.iter().enumerate() {
            let Some(endpoint) = self.all.get(*index) else {
                continue;
            };
            // What is left is shared by the endpoints that are left.
            let left = u32::try_from(order.len() - number).unwrap_or(u32::MAX);
            let now = if number == 0 { start } else { Instant::now() };
            let within = deadline.saturating_duration_since(now) / left;
            let error = match timeout(within, open(endpoint, options)).await {
                Ok(Ok(socket)) => {
                    self.note(*index, None);
                    return Ok((endpoint.clone(), socket));
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    let within = within.as_millis();
                    let why = format!("no answer within {within} ms (connectTimeout)");
                    io::Error::new(io::ErrorKind::TimedOut, why)
                }
            };
            self.note(*index, Some(Instant::now()));
            errors.push((endpoint, error));
        }
        Err(summary(errors))
    }
}

/// The error of the only endpoint, or those of all with their names.
fn summary(mut errors: Vec<(&Endpoint, io::Error)>) -> io::Error {
    if errors.len() <= 1 {
        let none = || io::Error::other("there is no endpoint");
        return errors.pop().map_or_else(none, |(_, error)| error);
    }
    let all = errors
        .iter()
        .map(|(endpoint, error)| format!("{endpoint}: {}", reason(error)));
    io::Error::other(all.collect::<Vec<_>>().join("; "))
}

async fn open(endpoint: &Endpoint, options: &Options) -> io::Result<Socket> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let addresses = lookup_host((host.as_str(), *port)).await?;
            let socket = connect(interleave(addresses), TcpStream::connect).await?;
            configure(&socket, options)?;
            let socket = Socket::from(socket);
            socket.set_quickack();
            Ok(socket)
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => Ok(tokio::net::UnixStream::connect(path).await?.into()),
        #[cfg(not(unix))]
        Endpoint::Unix(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no Unix sockets",
        )),
    }
}

fn configure(socket: &TcpStream, options: &Options) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let idle = Duration::from_millis(options.keep_alive.get());
    if !idle.is_zero() {
        // Lost after as long again: four probes.
        let keep_alive = TcpKeepalive::new().with_time(idle.max(Duration::from_secs(1)));
        #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
        let keep_alive = keep_alive.with_interval((idle / 4).max(Duration::from_secs(1)));
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        let keep_alive = keep_alive.with_retries(4);
        socket.set_tcp_keepalive(&keep_alive)?;
    }
    #[cfg(target_os = "linux")]
    if options.user_timeout.get() > 0 {
        let within = Duration::from_millis(options.user_timeout.get());
        socket.set_tcp_user_timeout(Some(within))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        let options = serde_json::from_str(r#"{ "endpoints": ["a", "b:1884", "c"] }"#);
        Endpoints::new(&options.expect("valid options"))
    }

    #[test]
    fn one_that_failed_is_last_until_its_time_has_passed() {
        let places = endpoints().configured;
        let (start, after) = (Instant::now(), Duration::from_mins(1));
        assert_eq!(places.order(start, after), [0, 1, 2]);
        places.note(0, Some(start));
        assert_eq!(places.order(start, after), [1, 2, 0]);
        places.note(2, Some(start + Duration::from_secs(1)));
        assert_eq!(
            places.order(start + Duration::from_secs(2), after),
            [1, 0, 2]
        );
        assert_eq!(places.order(start + after, after), [0, 1, 2]);
        places.note(0, None);
        assert_eq!(places.order(start, after), [0, 1, 2]);
        assert_eq!(places.remote(), "a:1883, b:1884, c:1883");
    }

    #[test]
    fn one_that_the_caller_avoids_has_failed_and_all_take_turns() {
        let places = endpoints().configured;
        let (start, after) = (Instant::now(), Duration::from_mins(1));
        let second = Duration::from_secs(1);
        places.avoid("a:1883", start);
        places.avoid("unknown:1", start);
        places.avoid("", start);
        assert_eq!(places.order(start, after), [1, 2, 0]);
        places.avoid("b:1884", start + second);
        places.avoid("c:1883", start + second * 2);
        assert_eq!(places.order(start + second * 3, after), [0, 1, 2]);
        places.avoid("a:1883", start + second * 3);
        assert_eq!(places.order(start + second * 4, after), [1, 2, 0]);
    }

    #[test]
    fn a_caller_may_state_other_endpoints() {
        let endpoints = endpoints();
        let stated = |host: &str, port| BytesEndpoint {
            host: host.into(),
            port,
        };
        let begin = BytesBegin {
            endpoints: vec![stated("other", 0), stated("::1", 1)],
            avoid: "a:1883".into(),
            ..BytesBegin::default()
        };
        assert_eq!(endpoints.journey(&begin).remote(), "other:1883, [::1]:1");
        let own = endpoints.journey(&BytesBegin::default());
        let order = own.places.order(Instant::now(), Duration::from_mins(1));
        assert_eq!(order, [1, 2, 0], "what the caller avoids is noted");
    }

    #[tokio::test]
    async fn a_client_certificate_needs_tls() {
        let options = serde_json::from_str(r#"{ "host": "127.0.0.1" }"#).expect("options");
        let begin = BytesBegin {
            certificate: "line-1".into(),
            ..BytesBegin::default()
        };
        let refused = Endpoints::new(&options)
            .journey(&begin)
            .connect(&options)
            .await;
        let error = refused.err().expect("refused").to_string();
        assert!(
            error.contains("'line-1' cannot be presented without TLS"),
            "{error}"
        );
    }
}
