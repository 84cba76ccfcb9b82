//! Connects to one of several addresses of a host (RFC 8305).
//!
//! The addresses of both families are tried in turn, beginning with the one that the resolver prefers.
//! An attempt begins a quarter of a second after the one before it, or as soon as that has failed; the
//! first connection wins, and the other attempts are dropped.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

/// Time between the beginnings of two attempts (RFC 8305, 5: Connection Attempt Delay).
const DELAY: Duration = Duration::from_millis(250);
/// Most addresses that are tried.
const ADDRESSES_MAX: usize = 32;

/// The addresses in the order in which they are tried (RFC 8305, 4): families alternate.
pub(crate) fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut preferred = Vec::new();
    let mut others = Vec::new();
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        match preferred.first().map(SocketAddr::is_ipv4) {
            Some(is_ipv4) if is_ipv4 != address.is_ipv4() => others.push(address),
            _ => preferred.push(address),
        }
    }
    let mut ordered = Vec::with_capacity(preferred.len() + others.len());
    let mut others = others.into_iter();
    for address in preferred {
        ordered.push(address);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered
}

/// The first connection that opens; the first error if none does.
pub(crate) async fn connect<S, F>(
    addresses: Vec<SocketAddr>,
    open: impl Fn(SocketAddr) -> F,
) -> io::Result<S>
where
    F: Future<Output = io::Result<S>>,
{
    let mut addresses = addresses.into_iter();
    let mut attempts: Vec<Pin<Box<F>>> = Vec::new();
    let mut first_error = None;
    loop {
        match addresses.next() {
            Some(address) => attempts.push(Box::pin(open(address))),
            None if attempts.is_empty() => break,
            None => {}
        }
        let more = addresses.len() > 0;
        let mut delay = pin!(sleep(DELAY));
        // Until one is connected, one has failed, or the next one begins.
        let connected = poll_fn(|task| {
            let mut failed = false;
            let mut index = 0;
            while let Some(attempt) = attempts.get_mut(index) {
                match attempt.as_mut().poll(task) {
                    Poll::Ready(Ok(connection)) => return Poll::Ready(Some(connection)),
                    Poll::Ready(Err(error)) => {
                        failed = true;
                        first_error.get_or_insert(error);
                        drop(attempts.remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            if failed || (more && delay.as_mut().poll(task).is_ready()) {
                return Poll::Ready(None);
            }
            Poll::Pending
        });
        if let Some(connection) = connected.await {
            return Ok(connection);
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    Err(first_error.unwrap_or_else(none))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn v4(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 1883).into()
    }

    fn v6(last: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1883).into()
    }

    #[test]
    fn families_alternate_beginning_with_the_preferred_one() {
        let given = [v6(1), v6(2), v6(3), v4(1), v4(2)];
        assert_eq!(interleave(given), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(interleave([v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(interleave((0..=255).map(v4)).len(), ADDRESSES_MAX);
    }

    /// How an address behaves: after a time it connects, or fails.
    #[derive(Clone, Copy)]
    struct Host(u64, bool);

    /// Connects; returns the address, and when each attempt began, in milliseconds.
    async fn run(hosts: &[Host]) -> (io::Result<SocketAddr>, Vec<u64>, u64) {
        let start = Instant::now();
        let begun = RefCell::new(Vec::new());
        let millis = || u64::try_from(start.elapsed().as_millis()).expect("short");
        let addresses: Vec<_> = (0..hosts.len())
            .map(|index| v4(u8::try_from(index).expect("few")))
            .collect();
        let result = connect(addresses.clone(), |address| {
            begun.borrow_mut().push(millis());
            let index = addresses.iter().position(|it| *it == address);
            let Host(after, connects) = hosts[index.expect("known")];
            async move {
                sleep(Duration::from_millis(after)).await;
                if connects {
                    Ok(address)
                } else {
                    Err(io::Error::other(address.to_string()))
                }
            }
        });
        let result = result.await;
        (result, begun.take(), millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_address_is_tried_while_the_first_is_silent() {
        let (result, begun, took) = run(&[Host(60_000, false), Host(10, true)]).await;
        assert_eq!(result.expect("the second"), v4(1));
        assert_eq!((begun, took), (vec![0, 250], 260));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_may_still_win() {
        let (result, begun, took) = run(&[Host(300, true), Host(60_000, true)]).await;
        assert_eq!(result.expect("the first"), v4(0));
        assert_eq!((begun, took), (vec![0, 250], 300));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_address_is_tried_at_once() {
        let hosts = [Host(5, false), Host(5, false), Host(5, true)];
        let (result, begun, took) = run(&hosts).await;
        assert_eq!(result.expect("the third"), v4(2));
        assert_eq!((begun, took), (vec![0, 5, 10], 15));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_is_the_reason_if_all_fail() {
        let (result, begun, took) = run(&[Host(700, false), Host(1_000, false)]).await;
        let error = result.expect_err("none connects");
        assert_eq!(error.to_string(), v4(0).to_string());
        assert_eq!((begun, took), (vec![0, 250], 1_250));
        let (result, ..) = run(&[]).await;
        assert_eq!(result.expect_err("none").kind(), io::ErrorKind::NotFound);
    }
}
