//! The order in which endpoints are tried, and the connection to one of them.
//!
//! Endpoints are tried in the order of the config. One that failed is tried last until `returnAfter` has
//! passed, and then takes its place again: new connections return to the first endpoint once it is
//! back. Open connections stay where they are.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::connection::reason;
use crate::endpoint::Endpoint;
use crate::happy_eyeballs::{connect, interleave};
use crate::options::Options;
use crate::socket::Socket;

/// The endpoints of a binding on a worker.
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    /// When each one failed last.
    failed: RefCell<Vec<Option<Instant>>>,
}

impl Endpoints {
    pub(crate) fn new(options: &Options) -> Self {
        let all = options.endpoints();
        let failed = RefCell::new(vec![None; all.len()]);
        Self { all, failed }
    }

    /// All endpoints, for errors.
    pub(crate) fn remote(&self) -> String {
        let all: Vec<String> = self.all.iter().map(Endpoint::to_string).collect();
        all.join(", ")
    }

    /// The indices of the endpoints in the order in which they are tried at `now`.
    fn order(&self, now: Instant, return_after: Duration) -> Vec<usize> {
        let failed = self.failed.borrow();
        let is_out = |index: &usize| {
            let failed = failed.get(*index).copied().flatten();
            failed.is_some_and(|failed| now.duration_since(failed) < return_after)
        };
        let (last, mut first): (Vec<_>, Vec<_>) = (0..self.all.len()).partition(is_out);
        first.extend(last);
        first
    }

    fn note(&self, index: usize, failed: Option<Instant>) {
        if let Some(place) = self.failed.borrow_mut().get_mut(index) {
            *place = failed;
        }
    }

    /// Connects to the first endpoint that accepts, within `connectTimeout` for all of them together.
    pub(crate) async fn connect(&self, options: &Options) -> io::Result<(Endpoint, Socket)> {
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
            let socket = Socket::Tcp(socket);
            socket.set_quickack();
            Ok(socket)
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => Ok(Socket::Unix(tokio::net::UnixStream::connect(path).await?)),
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
        let options = serde_json::from_str(r#"{ "endpoints": ["a", "b", "c"] }"#);
        Endpoints::new(&options.expect("valid options"))
    }

    #[test]
    fn one_that_failed_is_last_until_its_time_has_passed() {
        let endpoints = endpoints();
        let (start, after) = (Instant::now(), Duration::from_mins(1));
        assert_eq!(endpoints.order(start, after), [0, 1, 2]);
        endpoints.note(0, Some(start));
        assert_eq!(endpoints.order(start, after), [1, 2, 0]);
        endpoints.note(2, Some(start + Duration::from_secs(1)));
        assert_eq!(
            endpoints.order(start + Duration::from_secs(2), after),
            [1, 0, 2]
        );
        assert_eq!(
            endpoints.order(start + after, after),
            [0, 1, 2].map(|it| [0, 1, 2][it])
        );
        endpoints.note(0, None);
        assert_eq!(endpoints.order(start, after), [0, 1, 2]);
        assert_eq!(endpoints.remote(), "a:1883, b:1883, c:1883");
    }
}
