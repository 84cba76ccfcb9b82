//! How many requests run at once: in all, and of each device. The others wait in line, within limits,
//! and devices take turns, so that one with many requests does not hold up the others.

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;

/// Bytes that a waiting request counts beside its payload.
const OVERHEAD: usize = 1_024;

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) concurrency: usize,
    pub(crate) per_device: usize,
    pub(crate) waiting: usize,
    pub(crate) waiting_per_device: usize,
    pub(crate) waiting_bytes: usize,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It runs now.
    Run,
    /// It waits: [`Lanes::next`] returns it.
    Wait,
    /// Too many wait; the option with the limit.
    Full(&'static str),
}

/// The requests that run and wait.
#[derive(Debug)]
pub(crate) struct Lanes {
    limits: Limits,
    running: usize,
    waiting: usize,
    bytes: usize,
    devices: BTreeMap<ByteString, Lane>,
    /// The devices with a waiting request that may run as soon as there is room, in order.
    ready: VecDeque<ByteString>,
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    /// Number and size of each waiting request.
    waiting: VecDeque<(usize, usize)>,
    /// Size of these requests.
    bytes: usize,
    /// It is in the line of ready devices.
    is_ready: bool,
}

impl Limits {
    /// Bytes of the requests of one device that wait: its part of `waiting_bytes` is as large as its part of
    /// `waiting`, so that a few devices with large requests leave room for the others.
    const fn share(&self) -> usize {
        let most = self.waiting_bytes.saturating_mul(self.waiting_per_device);
        match most.checked_div(self.waiting) {
            Some(share) if share < self.waiting_bytes => share,
            _ => self.waiting_bytes,
        }
    }
}

impl Lanes {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: 0,
            waiting: 0,
            bytes: 0,
            devices: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Number of requests that run.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Whether more than half as many wait as may.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.waiting > self.limits.waiting / 2
    }

    /// Number of requests that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// A request of a device comes: it runs, or waits under its number.
    /// Without `may_run`, it waits in any case.
    pub(crate) fn enter(
        &mut self,
        device: &ByteString,
        request: usize,
        size: usize,
        may_run: bool,
    ) -> Entry {
        let limits = self.limits;
        let lane = self.devices.get(device);
        let (running, waiting) = lane.map_or((0, 0), |it| (it.running, it.waiting.len()));
        let bytes = lane.map_or(0, |it| it.bytes);
        let is_first = waiting == 0 && self.ready.is_empty();
        let has_room = running < limits.per_device && self.running < limits.concurrency;
        if may_run && is_first && has_room {
            self.running += 1;
            self.devices.entry(device.clone()).or_default().running += 1;
            return Entry::Run;
        }
        let size = size + OVERHEAD;
        if waiting >= limits.waiting_per_device {
            return Entry::Full("maxWaitingPerDevice");
        }
        if self.waiting >= limits.waiting {
            return Entry::Full("maxWaiting");
        }
        // One request may wait, however large it is.
        let exceeds_share = waiting > 0 && bytes + size > limits.share();
        if exceeds_share || self.bytes + size > limits.waiting_bytes {
            return Entry::Full("maxWaitingBytes");
        }
        self.waiting += 1;
        self.bytes += size;
        let lane = self.devices.entry(device.clone()).or_default();
        lane.waiting.push_back((request, size));
        lane.bytes += size;
        self.line_up(device);
        Entry::Wait
    }

    /// A request that was accepted before a restart waits, whatever the limits are now.
    pub(crate) fn restore(&mut self, device: &ByteString, request: usize, size: usize) {
        let size = size + OVERHEAD;
        self.waiting += 1;
        self.bytes += size;
        let lane = self.devices.entry(device.clone()).or_default();
        lane.waiting.push_back((request, size));
        lane.bytes += size;
        self.line_up(device);
    }

    /// A request whose execution had begun before a restart has its place until its answer is published.
    pub(crate) fn occupy(&mut self, device: &ByteString) {
        self.running += 1;
        self.devices.entry(device.clone()).or_default().running += 1;
    }

    /// Whether [`Self::next`] returns a request.
    pub(crate) fn has_next(&self) -> bool {
        self.running < self.limits.concurrency && !self.ready.is_empty()
    }

    /// A request of a device that ran is done.
    pub(crate) fn leave(&mut self, device: &ByteString) {
        self.running = self.running.saturating_sub(1);
        if let Some(lane) = self.devices.get_mut(device) {
            lane.running = lane.running.saturating_sub(1);
        }
        self.line_up(device);
        self.forget(device);
    }

    /// A waiting request of a device is given up.
    pub(crate) fn cancel(&mut self, device: &ByteString, request: usize) {
        let Some(lane) = self.devices.get_mut(device) else {
            return;
        };
        let place = lane.waiting.iter().position(|(it, _)| *it == request);
        if let Some((_, size)) = place.and_then(|place| lane.waiting.remove(place)) {
            lane.bytes -= size;
            self.waiting -= 1;
            self.bytes -= size;
        }
        if lane.waiting.is_empty() && std::mem::take(&mut lane.is_ready) {
            self.ready.retain(|it| it != device);
        }
        self.forget(device);
    }

    /// The next request to run, if there is room. It counts as running.
    pub(crate) fn next(&mut self) -> Option<usize> {
        if self.running >= self.limits.concurrency {
            return None;
        }
        let device = self.ready.pop_front()?;
        let lane = self.devices.get_mut(&device)?;
        lane.is_ready = false;
        let (request, size) = lane.waiting.pop_front()?;
        lane.running += 1;
        lane.bytes -= size;
        self.running += 1;
        self.waiting -= 1;
        self.bytes -= size;
        self.line_up(&device);
        Some(request)
    }

    /// Adds a device to the line if its next request may run.
    fn line_up(&mut self, device: &ByteString) {
        if let Some(lane) = self.devices.get_mut(device)
            && !lane.is_ready
            && !lane.waiting.is_empty()
            && lane.running < self.limits.per_device
        {
            lane.is_ready = true;
            self.ready.push_back(device.clone());
        }
    }

    fn forget(&mut self, device: &ByteString) {
        let is_idle = |it: &Lane| it.running == 0 && it.waiting.is_empty();
        if self.devices.get(device).is_some_and(is_idle) {
            self.devices.remove(device);
        }
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.ready.is_empty() && self.running == 0 && self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        concurrency: 3,
        per_device: 2,
        waiting: 5,
        waiting_per_device: 3,
        waiting_bytes: 100_000,
    };

    #[test]
    fn a_device_with_many_requests_does_not_hold_up_others() {
        use Entry::{Full, Run, Wait};
        let mut lanes = Lanes::new(LIMITS);
        let (noisy, quiet) = (ByteString::from("noisy"), ByteString::from("quiet"));
        let entries: Vec<Entry> = (0..6).map(|it| lanes.enter(&noisy, it, 0, true)).collect();
        let full = Full("maxWaitingPerDevice");
        assert_eq!(entries, [Run, Run, Wait, Wait, Wait, full]);
        assert_eq!(lanes.enter(&quiet, 10, 0, true), Run);
        assert_eq!(lanes.enter(&quiet, 11, 0, true), Wait);
        assert_eq!(lanes.next(), None, "three run");
        lanes.leave(&noisy);
        assert_eq!(lanes.next(), Some(11), "it came first in the line");
        lanes.leave(&quiet);
        assert_eq!(lanes.next(), Some(2));
    }

    /// The rate makes requests wait while there is room, and what comes later does not overtake them.
    #[test]
    fn nobody_overtakes_a_request_that_the_rate_holds_up() {
        let mut lanes = Lanes::new(LIMITS);
        let (first, second) = (ByteString::from("first"), ByteString::from("second"));
        assert_eq!(lanes.enter(&first, 0, 0, false), Entry::Wait);
        assert_eq!(lanes.enter(&second, 1, 0, true), Entry::Wait);
        assert_eq!((lanes.next(), lanes.next()), (Some(0), Some(1)));
    }

    #[test]
    fn a_device_with_large_requests_leaves_room_for_others() {
        use Entry::{Full, Run, Wait};
        let limits = Limits {
            per_device: 1,
            waiting_bytes: 50_000,
            ..LIMITS
        };
        let mut lanes = Lanes::new(limits);
        let (large, small) = (ByteString::from("large"), ByteString::from("small"));
        let entries: Vec<Entry> = (0..3)
            .map(|it| lanes.enter(&large, it, 25_000, true))
            .collect();
        assert_eq!(
            entries,
            [Run, Wait, Full("maxWaitingBytes")],
            "3 of 5 parts"
        );
        assert_eq!(lanes.enter(&small, 10, 10, true), Run);
        assert_eq!(lanes.enter(&small, 11, 10, true), Wait);
        lanes.leave(&large);
        assert_eq!(lanes.next(), Some(1));
        assert_eq!(
            lanes.enter(&large, 4, 25_000, true),
            Wait,
            "the first one left"
        );
    }

    #[test]
    fn the_bytes_of_waiting_requests_are_limited() {
        let limits = Limits {
            waiting_bytes: 3_000,
            per_device: 1,
            ..LIMITS
        };
        let mut lanes = Lanes::new(limits);
        let device = ByteString::from("d");
        assert_eq!(lanes.enter(&device, 0, 5_000, true), Entry::Run);
        assert_eq!(lanes.enter(&device, 1, 1_000, true), Entry::Wait);
        assert_eq!(
            lanes.enter(&device, 2, 1_000, true),
            Entry::Full("maxWaitingBytes")
        );
        lanes.cancel(&device, 1);
        assert_eq!(lanes.enter(&device, 3, 1_000, true), Entry::Wait);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Enter(usize),
        Leave(usize),
        Cancel(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        (0..3_usize, 0..8_usize).prop_map(|(kind, number)| match kind {
            0 => Step::Enter(number % 3),
            1 => Step::Leave(number),
            _ => Step::Cancel(number),
        })
    }

    proptest! {
        #[test]
        fn limits_hold_and_nothing_is_lost(steps in prop::collection::vec(step(), 0..120)) {
            let mut lanes = Lanes::new(LIMITS);
            let device = |it: usize| ByteString::from(format!("d{it}"));
            let mut running: Vec<(usize, usize)> = Vec::new();
            let mut waiting: Vec<(usize, usize)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Enter(of) => match lanes.enter(&device(of), number, number, true) {
                        Entry::Run => running.push((number, of)),
                        Entry::Wait => waiting.push((number, of)),
                        Entry::Full(_) => {}
                    },
                    Step::Leave(at) if !running.is_empty() => {
                        let (_, of) = running.remove(at % running.len());
                        lanes.leave(&device(of));
                    }
                    Step::Cancel(at) if !waiting.is_empty() => {
                        let (request, of) = waiting.remove(at % waiting.len());
                        lanes.cancel(&device(of), request);
                    }
                    _ => {}
                }
                while let Some(next) = lanes.next() {
                    let place = waiting.iter().position(|(it, _)| *it == next);
                    let place = place.expect("a waiting request");
                    running.push(waiting.remove(place));
                }
                prop_assert!(running.len() <= LIMITS.concurrency);
                prop_assert_eq!((running.len(), waiting.len()), (lanes.running(), lanes.waiting()));
                for of in 0..3 {
                    let own = running.iter().filter(|(_, it)| *it == of).count();
                    prop_assert!(own <= LIMITS.per_device);
                    let queued = waiting.iter().any(|(_, it)| *it == of);
                    prop_assert!(!queued || own == LIMITS.per_device || running.len() == LIMITS.concurrency);
                }
            }
            for (_, of) in running.drain(..) {
                lanes.leave(&device(of));
            }
            for (request, of) in waiting.drain(..) {
                lanes.cancel(&device(of), request);
            }
            prop_assert!(lanes.is_empty());
        }
    }
}
