//! What outside input makes the gateway hold, without sockets: bodies that cost more than they say, and
//! sessions with their subscriptions. Held to `limits.toml`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it expects"
)]

use allocation_counter::measure;
use serde::Deserialize;
use tidegate_benches::{Crowd, Furniture, House, bodies};

/// The gateway takes up to four times as much by default: a debug build is slow.
const SIZE: usize = 1024 * 1024;
/// What a body of whatever size may take beside it: a message's list, an exchange, answers.
const BESIDE: u64 = 64 * 1024;
/// What stays when all is over: room in slabs and buffers, as much as 100 calls at a time needed.
const LEFT: i64 = 512 * 1024;

#[derive(Debug, Deserialize)]
struct Limits {
    body: OfBody,
    session: OfSession,
}

#[derive(Debug, Deserialize)]
struct OfBody {
    /// How many times its size, itself included.
    held: u64,
}

#[derive(Debug, Deserialize)]
struct OfSession {
    /// Bytes of a session.
    bytes: u64,
    /// Bytes of one of its first ten subscriptions.
    subscription: u64,
}

fn limits() -> Limits {
    toml::from_str(include_str!("../limits.toml")).expect("limits")
}

#[test]
fn no_body_makes_the_gateway_hold_many_times_its_size() {
    let limit = limits().body.held;
    for part in [64 * 1024, 1_000] {
        for body in bodies(SIZE) {
            let size = body.text.len() as u64;
            let mut house = House::new(&Furniture::default());
            let session = house.session();
            let held = measure(|| {
                house.body(&body, part, &session);
            });
            let percent = 100 * (size + held.bytes_max) / size;
            println!("{}, in parts of {part}: {percent} % of its size", body.name);
            assert!(
                held.bytes_max + size <= limit * size + BESIDE,
                "{} makes the gateway hold {percent} % of its size",
                body.name
            );
            let left = held.bytes_current;
            assert!(left < LEFT, "{left} bytes are left of {}", body.name);
        }
    }
}

#[test]
fn a_session_and_a_subscription_cost_what_they_should() {
    const SESSIONS: u64 = 200;
    const SUBSCRIPTIONS: u64 = 10;
    let mut crowd = Crowd::default();
    // What grows by doubling is looked at when it has just grown the least, and the most.
    let warm = crowd.session();
    crowd.subscribe(&warm, "mqtt://warm");
    let uri = |session: u64, of: u64| format!("mqtt://plant/{session:04}/sensor/{of:04}");
    let mut sessions = Vec::with_capacity(256);
    let alone = measure(|| {
        (0..SESSIONS).for_each(|_| sessions.push(crowd.session()));
    });
    let with_them = measure(|| {
        for (number, session) in (0..SESSIONS).zip(&sessions) {
            (0..SUBSCRIPTIONS).for_each(|of| crowd.subscribe(session, &uri(number, of)));
        }
    });
    let each = |bytes: i64, count: u64| u64::try_from(bytes).expect("more than before") / count;
    let session = each(alone.bytes_current, SESSIONS);
    let of_one = each(with_them.bytes_current, SESSIONS);
    let subscription = of_one / SUBSCRIPTIONS;
    println!(
        "a session: {session} bytes; with ten subscriptions {of_one} more, {subscription} each"
    );
    let limits = limits().session;
    assert!(session <= limits.bytes, "a session takes {session} bytes");
    assert!(
        subscription <= limits.subscription,
        "a subscription takes {subscription} bytes"
    );
}
