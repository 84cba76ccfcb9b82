//! Limits for each caller: requests per second, and requests at the same time.
//!
//! A caller is its identity (guard and subject), or without one its address; over lines, and where the
//! address is unknown, all anonymous callers are one. Each worker counts for itself.
//!
//! The number of callers that are told apart is bounded. At the limit, callers that have not used
//! anything lately are forgotten, which changes nothing for them; if there are none, further callers
//! share one count. Anonymous callers, who may have as many addresses as they like, and authenticated
//! ones are counted apart, so the former cannot take that from the latter.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_engine::{Context, Time};
use tidegate_streams::Identity;

use super::errors::Refusal;
use super::options::{Options, Rate};

/// Most callers that are told apart, of the authenticated and of the anonymous ones each.
const CALLERS_MAX: usize = 10_000;

/// Who a request counts for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    /// By guard and subject.
    Identity(bytestring::ByteString, bytestring::ByteString),
    Address(IpAddr),
    /// Anonymous callers without an address.
    Anonymous,
    /// Those beyond [`CALLERS_MAX`].
    Others,
}

impl Caller {
    fn of(identity: Option<&Identity>, peer: Option<IpAddr>) -> Self {
        match (identity, peer) {
            (Some(caller), _) => Self::Identity(caller.guard.clone(), caller.subject.clone()),
            (None, Some(address)) => Self::Address(network(address)),
            (None, None) => Self::Anonymous,
        }
    }
}

/// The network of one client: an IPv6 client has a /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6(((address.to_bits() >> 64) << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// A request that counts as running until this is dropped.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
pub(super) struct InFlight(Arc<AtomicU64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a caller has used.
#[derive(Debug)]
struct Usage {
    /// Millionths of requests that it may send now.
    tokens: u64,
    at: Time,
    running: Arc<AtomicU64>,
}

/// The limits of a worker.
#[derive(Debug)]
pub(super) struct Limits {
    rate: Option<Rate>,
    concurrency: Option<u64>,
    authenticated: Callers,
    anonymous: Callers,
    /// Number of requests refused.
    refused: u64,
}

/// Callers of one kind.
#[derive(Debug)]
struct Callers {
    all: BTreeMap<Caller, Usage>,
    max: usize,
    /// When they were last looked through for idle ones.
    swept: Time,
}

impl Default for Callers {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            max: CALLERS_MAX,
            swept: Time::START,
        }
    }
}

impl Limits {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            rate: options.rate,
            concurrency: options.concurrency.map(tidegate_options::Bounded::get),
            authenticated: Callers::default(),
            anonymous: Callers::default(),
            refused: 0,
        }
    }

    /// Number of requests refused.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Counts a request of the caller, or refuses it. It counts as running while the result exists. One
    /// that `continues` another takes its place.
    pub(super) fn admit(
        &mut self,
        cx: &Context<'_>,
        peer: Option<SocketAddr>,
        continues: bool,
    ) -> Result<Option<InFlight>, Refusal> {
        if self.rate.is_none() && self.concurrency.is_none() {
            return Ok(None);
        }
        let caller = Caller::of(cx.identity().map(|it| &**it), peer.map(|it| it.ip()));
        let concurrency = self.concurrency.filter(|_| !continues);
        let admitted = self.count_within(cx.now(), caller, concurrency);
        self.refused += u64::from(admitted.is_err());
        admitted
    }

    #[cfg(test)]
    fn count(&mut self, now: Time, caller: Caller) -> Result<Option<InFlight>, Refusal> {
        self.count_within(now, caller, self.concurrency)
    }

    fn count_within(
        &mut self,
        now: Time,
        caller: Caller,
        concurrency: Option<u64>,
    ) -> Result<Option<InFlight>, Refusal> {
        let rate = self.rate;
        let callers = match caller {
            Caller::Identity(..) => &mut self.authenticated,
            _ => &mut self.anonymous,
        };
        let caller = callers.known(now, caller, rate);
        let usage = callers.all.entry(caller).or_insert_with(|| Usage {
            tokens: rate.map_or(0, Rate::capacity),
            at: now,
            running: Arc::new(AtomicU64::new(0)),
        });
        if let Some(rate) = rate {
            usage.refill(now, rate);
            if usage.tokens < REQUEST {
                let missing = REQUEST - usage.tokens;
                let seconds = missing.div_ceil(rate.per_second.get() * REQUEST).max(1);
                return Err(Refusal::too_many(
                    "rate",
                    &format!(
                        "Rate limit reached (perSecond: {}); retry in {seconds} s.",
                        rate.per_second.get()
                    ),
                    seconds,
                ));
            }
        }
        let running = usage.running.load(Ordering::Relaxed);
        if let Some(limit) = concurrency.filter(|limit| running >= *limit) {
            return Err(Refusal::too_many(
                "concurrency",
                &format!(
                    "Too many requests at once (concurrency: {limit}); wait for a response first."
                ),
                1,
            ));
        }
        if rate.is_some() {
            usage.tokens -= REQUEST;
        }
        if concurrency.is_none() {
            return Ok(None);
        }
        usage.running.fetch_add(1, Ordering::Relaxed);
        Ok(Some(InFlight(Arc::clone(&usage.running))))
    }
}

impl Callers {
    /// The caller, or the one that it shares a count with because there are too many.
    fn known(&mut self, now: Time, caller: Caller, rate: Option<Rate>) -> Caller {
        if self.all.len() < self.max || self.all.contains_key(&caller) {
            return caller;
        }
        // At most once a second: it looks at every caller.
        if now.since(self.swept).as_millis() >= 1_000 {
            self.swept = now;
            self.all.retain(|_, usage| !usage.is_idle(now, rate));
        }
        if self.all.len() < self.max {
            return caller;
        }
        Caller::Others
    }
}

/// A request, in millionths.
const REQUEST: u64 = 1_000_000;

impl Rate {
    /// Millionths of requests that a caller may send at once.
    fn capacity(self) -> u64 {
        let burst = self.burst.unwrap_or(self.per_second);
        burst.get().saturating_mul(REQUEST)
    }
}

impl Usage {
    fn refill(&mut self, now: Time, rate: Rate) {
        // A millionth of a request for each microsecond and request per second. The clock counts
        // microseconds, so nothing is lost to rounding, however often it is asked.
        let earned = now
            .since(self.at)
            .as_micros()
            .saturating_mul(rate.per_second.get());
        self.tokens = self.tokens.saturating_add(earned).min(rate.capacity());
        self.at = now;
    }

    /// Whether a new count would be the same.
    fn is_idle(&mut self, now: Time, rate: Option<Rate>) -> bool {
        if let Some(rate) = rate {
            self.refill(now, rate);
        }
        self.running.load(Ordering::Relaxed) == 0
            && rate.is_none_or(|rate| self.tokens == rate.capacity())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::Duration;

    use super::*;

    fn limits(json: &str) -> Limits {
        Limits::new(&serde_json::from_str(json).expect("options"))
    }

    fn address(last: u8) -> Caller {
        Caller::of(None, Some(IpAddr::from([10, 0, 0, last])))
    }

    #[test]
    fn a_burst_is_followed_by_the_rate_for_each_caller() {
        let mut limits = limits(r#"{"rate":{"perSecond":2,"burst":3}}"#);
        let mut now = Time::START;
        for _ in 0..3 {
            assert!(limits.count(now, address(1)).is_ok());
        }
        let refused = limits
            .count(now, address(1))
            .expect_err("the burst is used");
        assert_eq!(refused.status(), 429);
        assert!(limits.count(now, address(2)).is_ok(), "another caller");
        now = now + Duration::from_millis(499);
        assert!(limits.count(now, address(1)).is_err());
        now = now + Duration::from_millis(1);
        assert!(limits.count(now, address(1)).is_ok());
        assert!(limits.count(now, address(1)).is_err());
    }

    #[test]
    fn a_caller_that_does_not_wait_earns_what_others_earn() {
        let mut limits = limits(r#"{"rate":{"perSecond":1000,"burst":1}}"#);
        let mut now = Time::START;
        let mut admitted = 0;
        for _ in 0..100_000 {
            admitted += u64::from(limits.count(now, address(1)).is_ok());
            now = now + Duration::from_micros(10);
        }
        assert_eq!(admitted, 1_000, "in a second");
    }

    #[test]
    fn the_refusal_names_the_limit_and_when_to_come_again() {
        let mut limits = limits(r#"{"rate":{"perSecond":2,"burst":1},"concurrency":1}"#);
        let running = limits.count(Time::START, address(1)).expect("room");
        let rate = limits.count(Time::START, address(1)).expect_err("the rate");
        let later = Time::START + Duration::from_secs(1);
        let concurrency = limits.count(later, address(1)).expect_err("concurrency");
        assert_eq!((rate.rule(), concurrency.rule()), ("rate", "concurrency"));
        let (_, seconds) = &**rate.advice().expect("Retry-After");
        assert_eq!(seconds, "1");
        drop(running);
    }

    #[test]
    fn a_running_request_counts_until_it_is_dropped() {
        let mut limits = limits(r#"{"concurrency":1}"#);
        let running = limits.count(Time::START, address(1)).expect("room");
        assert!(limits.count(Time::START, address(1)).is_err());
        drop(running);
        assert!(limits.count(Time::START, address(1)).is_ok());
    }

    #[test]
    fn at_the_limit_idle_callers_are_forgotten_and_others_share_a_count() {
        let mut limits = limits(r#"{"rate":{"perSecond":1}}"#);
        limits.anonymous.max = 2;
        let mut now = Time::START + Duration::from_secs(10);
        for last in 1..=2 {
            assert!(limits.count(now, address(last)).is_ok());
        }
        assert!(
            limits.count(now, address(3)).is_ok(),
            "the first of the others"
        );
        assert!(
            limits.count(now, address(4)).is_err(),
            "it shares their count"
        );
        now = now + Duration::from_secs(2);
        assert!(limits.count(now, address(5)).is_ok(), "the others are idle");
        assert_eq!(limits.anonymous.all.len(), 1);
    }

    #[test]
    fn anonymous_callers_do_not_take_the_count_of_authenticated_ones() {
        let mut limits = limits(r#"{"rate":{"perSecond":1}}"#);
        limits.anonymous.max = 1;
        for last in 1..=3 {
            let _ = limits.count(Time::START, address(last));
        }
        for subject in ["alice", "bob"] {
            let identity = Identity {
                subject: subject.into(),
                ..Identity::default()
            };
            let caller = Caller::of(Some(&identity), None);
            assert!(limits.count(Time::START, caller).is_ok(), "{subject}");
        }
    }

    #[test]
    fn clients_of_an_ipv6_network_are_one_caller() {
        let caller = |text: &str| Caller::of(None, Some(text.parse().expect("an address")));
        assert_eq!(caller("2001:db8::1"), caller("2001:db8::2"));
        assert_ne!(caller("2001:db8::1"), caller("2001:db8:0:1::1"));
    }
}
