//! Memory held because of outside input, without sockets: hostile bodies, and sessions with subscriptions,
//! within the limits of `limits.toml`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it expects"
)]

use allocation_counter::measure;
use bytes::Bytes;
use serde::Deserialize;
use tidegate_benches::{Crowd, Federation, Fleet, Harness, HarnessOptions, Read, Upstream, bodies};

/// Size of the bodies; the default limit is four times larger, but a debug build is slow.
const SIZE: usize = 1024 * 1024;
/// Allowance per body independent of its size: lists, exchange, responses.
const BESIDE: u64 = 64 * 1024;
/// Allowance for memory kept at the end: capacity of slabs and buffers for 100 concurrent calls.
const LEFT: i64 = 512 * 1024;

#[derive(Debug, Deserialize)]
struct Limits {
    body: OfBody,
    session: OfSession,
    device: OfDevice,
    lists: OfLists,
}

#[derive(Debug, Deserialize)]
struct OfBody {
    /// Multiple of its size, body included.
    held: u64,
}

#[derive(Debug, Deserialize)]
struct OfSession {
    /// Bytes of a session.
    bytes: u64,
    /// Bytes of one of its first ten subscriptions.
    subscription: u64,
}

#[derive(Debug, Deserialize)]
struct OfDevice {
    /// Bytes of one that is seen.
    seen: u64,
    /// Bytes of one that announced itself.
    announced: u64,
}

#[derive(Debug, Deserialize)]
struct OfLists {
    /// What is kept of the lists of toolkits, in percent of their size.
    kept: u64,
    /// What a caller who reads them from the cache makes the proxy hold at a time, in bytes: a page and beside.
    read: u64,
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
            let mut harness = Harness::new(&HarnessOptions::default());
            let session = harness.session();
            let held = measure(|| {
                harness.body(&body, part, &session);
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
fn no_result_of_a_toolkit_makes_the_proxy_hold_many_times_its_size() {
    let many = |piece: &str| {
        piece
            .repeat(SIZE / piece.len())
            .trim_end_matches(',')
            .to_owned()
    };
    let list = |tools: String| format!("{{\"tools\":[{tools}]}}");
    let content = |content: String| format!("{{\"content\":[{content}]}}");
    let rows = [
        ("numbers for tools", true, list(many("1,"))),
        ("tools without a name", true, list(many("{},"))),
        (
            "tools of the shortest name",
            true,
            list(many("{\"name\":\"\"},")),
        ),
        (
            "one tool of many values",
            true,
            list(format!("{{\"name\":\"a\",\"b\":[{}]}}", many("1,"))),
        ),
        ("numbers for content", false, content(many("1,"))),
        (
            "links",
            false,
            content(many("{\"type\":\"resource_link\",\"uri\":\"\"},")),
        ),
        (
            "a text",
            false,
            content(format!("{{\"type\":\"text\",\"text\":\"{}\"}}", many("x"))),
        ),
    ];
    let limit = limits().body.held;
    for part in [64 * 1024, 1_000] {
        for (name, is_list, result) in &rows {
            let result = Bytes::from(result.clone());
            let size = result.len() as u64;
            let mut upstream = Upstream::default();
            let mut given = 0;
            let held = measure(|| {
                given = if *is_list {
                    upstream.list(&result, part)
                } else {
                    upstream.call(&result, part)
                };
            });
            let percent = 100 * (size + held.bytes_max) / size;
            println!("{name}, in parts of {part}: {percent} % of its size, {given} given");
            // A list is given in pages, without the elements that nobody can use.
            assert!(*is_list || given >= result.len(), "{name} passes");
            assert!(given > 0, "{name} passes");
            // Of a list, also the places of its elements are kept.
            let limit = limit + u64::from(*is_list);
            assert!(
                held.bytes_max + size <= limit * size + BESIDE,
                "{name} makes the proxy hold {percent} % of its size"
            );
            // A list is kept: `maxCacheSize` bounds all of them.
            let left = *is_list || held.bytes_current < LEFT;
            assert!(left, "{name} leaves something");
        }
    }
}

#[test]
fn many_toolkits_with_many_tools_are_kept_once_and_read_in_pages() {
    const TOOLKITS: usize = 20;
    const TOOLS: usize = 500;
    const PAGES: usize = 10;
    let schema =
        r#"{"type":"object","properties":{"text":{"type":"string","description":"Any text."}}}"#;
    let tools = (0..TOOLS).map(|number| {
        let about = "x".repeat(300);
        format!(r#"{{"name":"tool{number}","description":"{about}","inputSchema":{schema}}}"#)
    });
    let tools: Vec<String> = tools.collect();
    let result = Bytes::from(format!("{{\"tools\":[{}]}}", tools.join(",")));
    let size = (TOOLKITS * result.len()) as u64;
    let mut federation = Federation::new(TOOLKITS);
    let mut read = Read::default();
    let first = measure(|| read = federation.read(&result));
    assert_eq!((read.pages, read.asked), (PAGES, TOOLKITS));
    let kept = u64::try_from(first.bytes_current).expect("more than before");
    let percent = 100 * kept / size;
    let again = measure(|| read = federation.read(&result));
    println!(
        "10,000 tools of {size} bytes: {percent} % kept, at most {} % at a time; read again: {} bytes at a time",
        100 * first.bytes_max / size,
        again.bytes_max
    );
    assert_eq!(
        (read.pages, read.asked),
        (PAGES, 0),
        "nobody is asked again"
    );
    let limits = limits().lists;
    assert!(percent <= limits.kept, "{percent} % are kept");
    // The page that the caller holds is counted too.
    assert!(
        again.bytes_max <= limits.read,
        "{} bytes are held",
        again.bytes_max
    );
    assert!(again.bytes_current.unsigned_abs() < BESIDE);
}

#[test]
fn a_session_and_a_subscription_cost_what_they_should() {
    const SESSIONS: u64 = 200;
    const SUBSCRIPTIONS: u64 = 10;
    let mut crowd = Crowd::default();
    // Collections grow by doubling: check right before and after they grow.
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

#[test]
fn a_device_costs_what_it_should() {
    const DEVICES: usize = 1_000;
    let each = |fleet: fn(usize) -> Fleet| {
        let mut kept = None;
        let held = measure(|| kept = Some(fleet(DEVICES)));
        drop(kept);
        u64::try_from(held.bytes_current).expect("more than before") / DEVICES as u64
    };
    let (seen, announced) = (each(Fleet::seen), each(Fleet::announced));
    println!("a device: {seen} bytes if it is seen, {announced} if it announced itself");
    let limits = limits().device;
    assert!(seen <= limits.seen, "a seen device takes {seen} bytes");
    assert!(
        announced <= limits.announced,
        "a device that announced itself takes {announced} bytes"
    );
}
