//! Tests with a stream whose writes are scripted.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A stream whose writes follow instructions: accept at most N bytes, or fail. It blocks without one.
struct Scripted {
    instructions: Receiver<io::Result<usize>>,
    taken: Sender<Vec<u8>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // After the test, the thread parks.
        let instruction = self.instructions.recv().unwrap_or_else(|_| {
            loop {
                std::thread::park();
            }
        });
        let length = instruction?.min(bytes.len());
        let _ = self.taken.send(bytes[..length].to_vec());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Harness {
    writer: BackgroundWriter,
    instructions: Sender<io::Result<usize>>,
    taken: Receiver<Vec<u8>>,
}

fn report(gap: &Gap) -> String {
    match &gap.error {
        None => format!("{} dropped\n", gap.lines),
        Some(error) => format!("{} dropped: {error}\n", gap.lines),
    }
}

impl Harness {
    fn new() -> Self {
        let (instructions, received) = channel();
        let (tell, taken) = channel();
        let stream = Scripted {
            instructions: received,
            taken: tell,
        };
        let writer = BackgroundWriter::write_to("test", stream, Box::new(report));
        Self {
            writer: writer.expect("a thread"),
            instructions,
            taken,
        }
    }

    fn accept(&self, bytes: usize) {
        self.instructions.send(Ok(bytes)).expect("the thread runs");
    }

    fn fail(&self, kind: io::ErrorKind) {
        self.instructions
            .send(Err(kind.into()))
            .expect("the thread runs");
    }

    /// The next `length` bytes written to the stream.
    fn written(&self, length: usize) -> String {
        let mut all = Vec::new();
        while all.len() < length {
            all.extend(self.taken.recv_timeout(TIMEOUT).expect("a write"));
        }
        String::from_utf8(all).expect("text")
    }

    fn expect(&self, expected: &str) {
        assert_eq!(self.written(expected.len()), expected);
    }
}

#[test]
fn lines_are_written_in_order() {
    let harness = Harness::new();
    harness.writer.push(b"one\n");
    harness.accept(usize::MAX);
    harness.expect("one\n");
    harness.writer.push(b"two\n");
    for _ in 0..4 {
        harness.accept(1);
    }
    harness.expect("two\n");
}

#[test]
fn lines_beyond_the_queue_are_dropped_and_counted() {
    let harness = Harness::new();
    let line = format!("{}\n", "x".repeat(1_023));
    // The first line is being written, and `fit` more lines fit into the queue.
    harness.writer.push(b"first\n");
    harness.accept(1);
    harness.expect("f");
    let fit = QUEUE_MAX / line.len();
    for _ in 0..fit + 7 {
        harness.writer.push(line.as_bytes());
    }
    // Dropped although it would fit: the gap is contiguous.
    harness.writer.push(b"\n");
    for _ in 0..3 {
        harness.accept(usize::MAX);
    }
    let expected = format!("irst\n{}8 dropped\n", line.repeat(fit));
    harness.expect(&expected);
    // There is room again, and the gap was reported once.
    harness.writer.push(b"next\n");
    harness.accept(usize::MAX);
    harness.expect("next\n");
}

#[test]
fn a_line_larger_than_the_queue_is_dropped() {
    let harness = Harness::new();
    harness.writer.push(&vec![b'\n'; QUEUE_MAX + 1]);
    harness.accept(usize::MAX);
    harness.expect(&format!("{} dropped\n", QUEUE_MAX + 1));
}

#[test]
fn lines_lost_to_write_errors_are_counted_and_reported_before_the_next_line() {
    let harness = Harness::new();
    harness.writer.push(b"one\ntwo\nthree\n");
    harness.accept(4);
    harness.fail(io::ErrorKind::StorageFull);
    harness.expect("one\n");
    harness.writer.flush(Instant::now() + TIMEOUT);
    // Writing the report fails too, and so does the line after it.
    harness.writer.push(b"four\n");
    harness.fail(io::ErrorKind::StorageFull);
    harness.writer.flush(Instant::now() + TIMEOUT);
    harness.writer.push(b"five\n");
    harness.accept(usize::MAX);
    harness.accept(usize::MAX);
    harness.expect("3 dropped: no storage space\nfive\n");
}

#[test]
fn a_report_starts_on_a_new_line_after_a_partial_line() {
    let harness = Harness::new();
    harness.writer.push(b"one\ntwo\n");
    harness.accept(6);
    harness.fail(io::ErrorKind::BrokenPipe);
    harness.expect("one\ntw");
    harness.writer.flush(Instant::now() + TIMEOUT);
    harness.writer.push(b"three\n");
    harness.accept(usize::MAX);
    harness.accept(usize::MAX);
    harness.expect("\n1 dropped: broken pipe\nthree\n");
}

#[test]
fn interrupted_and_would_block_are_retried() {
    let harness = Harness::new();
    harness.writer.push(b"one\n");
    harness.fail(io::ErrorKind::Interrupted);
    harness.fail(io::ErrorKind::WouldBlock);
    harness.accept(usize::MAX);
    harness.expect("one\n");
}

#[test]
fn a_flush_waits_until_the_lines_are_written_or_the_deadline_passes() {
    let harness = Harness::new();
    harness.writer.push(b"one\n");
    // The stream blocks: the deadline ends the wait.
    harness.writer.flush(Instant::now());
    harness.accept(usize::MAX);
    harness.writer.flush(Instant::now() + TIMEOUT);
    assert_eq!(harness.taken.try_recv().expect("it is written"), b"one\n");
    // The queue is empty.
    harness.writer.flush(Instant::now() + TIMEOUT);
}

#[test]
fn memory_is_freed_after_a_burst() {
    let shared = Shared::default();
    let mut batch = Vec::new();
    for size in [QUEUE_MAX, 1, 1] {
        shared.queue().lines = vec![b'\n'; size];
        shared.take(&mut batch);
        assert_eq!(batch.len(), size);
    }
    assert!(batch.capacity() <= BUFFER_KEEP_MAX);
    assert!(shared.queue().lines.capacity() <= BUFFER_KEEP_MAX);
}
