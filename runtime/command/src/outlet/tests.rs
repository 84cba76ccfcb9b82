//! Streams that take what the test lets them.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A stream that takes, for each order, so many bytes or this error; without an order, it blocks.
struct Scripted {
    orders: Receiver<io::Result<usize>>,
    taken: Sender<Vec<u8>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A test that is over lets the thread rest.
        let order = self.orders.recv().unwrap_or_else(|_| {
            loop {
                std::thread::park();
            }
        });
        let length = order?.min(bytes.len());
        let _ = self.taken.send(bytes[..length].to_vec());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct House {
    outlet: Outlet,
    orders: Sender<io::Result<usize>>,
    taken: Receiver<Vec<u8>>,
}

fn report(gap: &Gap) -> String {
    match &gap.error {
        None => format!("{} dropped\n", gap.lines),
        Some(error) => format!("{} dropped: {error}\n", gap.lines),
    }
}

impl House {
    fn new() -> Self {
        let (orders, ordered) = channel();
        let (tell, taken) = channel();
        let stream = Scripted {
            orders: ordered,
            taken: tell,
        };
        let outlet = Outlet::write_to("test", stream, Box::new(report));
        Self {
            outlet: outlet.expect("a thread"),
            orders,
            taken,
        }
    }

    fn take(&self, bytes: usize) {
        self.orders.send(Ok(bytes)).expect("the thread runs");
    }

    fn refuse(&self, kind: io::ErrorKind) {
        self.orders.send(Err(kind.into())).expect("the thread runs");
    }

    /// What the stream has taken at last, where this many bytes are expected.
    fn taken(&self, length: usize) -> String {
        let mut all = Vec::new();
        while all.len() < length {
            all.extend(self.taken.recv_timeout(PATIENCE).expect("a write"));
        }
        String::from_utf8(all).expect("text")
    }

    fn takes(&self, expected: &str) {
        assert_eq!(self.taken(expected.len()), expected);
    }
}

#[test]
fn lines_are_written_in_order() {
    let house = House::new();
    house.outlet.push(b"one\n");
    house.take(usize::MAX);
    house.takes("one\n");
    house.outlet.push(b"two\n");
    for _ in 0..4 {
        house.take(1);
    }
    house.takes("two\n");
}

#[test]
fn what_a_stream_that_blocks_does_not_take_is_dropped_and_counted() {
    let house = House::new();
    let line = format!("{}\n", "x".repeat(1_023));
    // The first one is being written, and so many fit behind it.
    house.outlet.push(b"first\n");
    house.take(1);
    house.takes("f");
    let fit = QUEUE_MAX / line.len();
    for _ in 0..fit + 7 {
        house.outlet.push(line.as_bytes());
    }
    // Even where it would fit: the gap is in one place.
    house.outlet.push(b"\n");
    for _ in 0..3 {
        house.take(usize::MAX);
    }
    let expected = format!("irst\n{}8 dropped\n", line.repeat(fit));
    house.takes(&expected);
    // From here on there is room again, and the gap is reported once.
    house.outlet.push(b"next\n");
    house.take(usize::MAX);
    house.takes("next\n");
}

#[test]
fn a_line_that_is_larger_than_the_queue_is_dropped() {
    let house = House::new();
    house.outlet.push(&vec![b'\n'; QUEUE_MAX + 1]);
    house.take(usize::MAX);
    house.takes(&format!("{} dropped\n", QUEUE_MAX + 1));
}

#[test]
fn what_a_stream_refuses_is_counted_and_reported_before_the_next_line() {
    let house = House::new();
    house.outlet.push(b"one\ntwo\nthree\n");
    house.take(4);
    house.refuse(io::ErrorKind::StorageFull);
    house.takes("one\n");
    house.outlet.flush(Instant::now() + PATIENCE);
    // The report is refused as well; what comes meanwhile is lost too.
    house.outlet.push(b"four\n");
    house.refuse(io::ErrorKind::StorageFull);
    house.outlet.flush(Instant::now() + PATIENCE);
    house.outlet.push(b"five\n");
    house.take(usize::MAX);
    house.take(usize::MAX);
    house.takes("3 dropped: no storage space\nfive\n");
}

#[test]
fn a_line_that_was_torn_does_not_run_into_the_report() {
    let house = House::new();
    house.outlet.push(b"one\ntwo\n");
    house.take(6);
    house.refuse(io::ErrorKind::BrokenPipe);
    house.takes("one\ntw");
    house.outlet.flush(Instant::now() + PATIENCE);
    house.outlet.push(b"three\n");
    house.take(usize::MAX);
    house.take(usize::MAX);
    house.takes("\n1 dropped: broken pipe\nthree\n");
}

#[test]
fn a_stream_that_is_interrupted_or_not_ready_is_tried_again() {
    let house = House::new();
    house.outlet.push(b"one\n");
    house.refuse(io::ErrorKind::Interrupted);
    house.refuse(io::ErrorKind::WouldBlock);
    house.take(usize::MAX);
    house.takes("one\n");
}

#[test]
fn a_flush_waits_for_what_is_written_and_not_for_what_is_not() {
    let house = House::new();
    house.outlet.push(b"one\n");
    // Nobody takes it: the time ends the wait.
    house.outlet.flush(Instant::now());
    house.take(usize::MAX);
    house.outlet.flush(Instant::now() + PATIENCE);
    assert_eq!(house.taken.try_recv().expect("it is written"), b"one\n");
    // Nothing waits.
    house.outlet.flush(Instant::now() + PATIENCE);
}

#[test]
fn the_memory_of_a_burst_is_given_back() {
    let shared = Shared::default();
    let mut batch = Vec::new();
    for size in [QUEUE_MAX, 1, 1] {
        shared.queue().lines = vec![b'\n'; size];
        shared.take(&mut batch);
        assert_eq!(batch.len(), size);
    }
    assert!(batch.capacity() <= KEPT);
    assert!(shared.queue().lines.capacity() <= KEPT);
}
