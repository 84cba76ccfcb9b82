//! Splits a stream of server-sent events into messages, in bounded memory.
//!
//! The data of an event are slices of the received buffers, unless it comes in many small lines or pieces,
//! which are copied: a slice would cost more than its bytes. Comments, unknown fields and events of another
//! type than `message` are skipped, as the specification of event streams requires.

use bytes::Bytes;
use tidegate_json::{Gather, Parts};

/// An event.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) data: Parts,
}

/// An event is larger than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Maximum length of an event id that is kept, in bytes.
const ID_MAX: usize = 1_024;

/// The state of a stream of events.
#[derive(Debug)]
pub(super) struct Events {
    limit: usize,
    /// The beginning of a line.
    line: Gather,
    /// The data lines of the current event.
    data: Option<Gather>,
    /// The event has another type than `message`.
    other: bool,
    /// The last byte was a carriage return; a line feed after it belongs to it.
    after_return: bool,
    /// The id of the last event, if it has one.
    id: Option<Bytes>,
    /// How long to wait before the stream is opened again, in milliseconds.
    retry: Option<u64>,
}

impl Events {
    /// `limit`: maximum size of an event, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Gather::new(),
            data: None,
            other: false,
            after_return: false,
            id: None,
            retry: None,
        }
    }

    /// The id of the last event, which a stream is continued from.
    pub(super) const fn id(&self) -> Option<&Bytes> {
        self.id.as_ref()
    }

    /// How long to wait before the stream is opened again, in milliseconds.
    pub(super) const fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Adds what was received; calls `found` for each complete event.
    pub(super) fn push(
        &mut self,
        mut received: Bytes,
        mut found: impl FnMut(Event),
    ) -> Result<(), TooLarge> {
        loop {
            if std::mem::take(&mut self.after_return) && received.first() == Some(&b'\n') {
                received = received.slice(1..);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', &received) else {
                if received.is_empty() {
                    return Ok(());
                }
                self.line.push(received);
                return self.check();
            };
            self.line.push(received.split_to(end));
            self.after_return = received.first() == Some(&b'\r');
            received = received.slice(1..);
            self.check()?;
            let line = self.line.take();
            if let Some(event) = self.end_line(&line) {
                found(event);
            }
            if received.is_empty() {
                return Ok(());
            }
        }
    }

    fn check(&self) -> Result<(), TooLarge> {
        let data = self.data.as_ref().map_or(0, Gather::len);
        if self.line.len() + data > self.limit {
            return Err(TooLarge);
        }
        Ok(())
    }

    fn end_line(&mut self, line: &Parts) -> Option<Event> {
        if line.is_empty() {
            let data = self.data.take();
            let other = std::mem::take(&mut self.other);
            let data = data.filter(|_| !other);
            return data.map(|mut data| Event { data: data.take() });
        }
        if let Some(data) = value_of(line, b"data") {
            let is_first = self.data.is_none();
            let all = self.data.get_or_insert_default();
            if !is_first {
                all.push(Bytes::from_static(b"\n"));
            }
            data.into_iter().for_each(|part| all.push(part));
        } else if let Some(r#type) = value_of(line, b"event") {
            self.other = r#type.contiguous() != "message";
        } else if let Some(id) = value_of(line, b"id") {
            let id = id.contiguous();
            self.id = (id.len() <= ID_MAX && !id.is_empty() && !id.contains(&0))
                // Copied, because the id would otherwise keep its large buffer alive.
                .then(|| Bytes::copy_from_slice(&id));
        } else if let Some(retry) = value_of(line, b"retry") {
            let text = retry.contiguous();
            self.retry = std::str::from_utf8(&text)
                .ok()
                .and_then(|it| it.parse().ok());
        }
        None
    }
}

/// The value of a line, if its field has this name.
fn value_of(line: &Parts, name: &'static [u8]) -> Option<Parts> {
    let head = line.bytes(0..line.len().min(name.len() + 2));
    let rest = head.strip_prefix(name)?;
    let skipped = match rest {
        [] => 0,
        [b':', b' ', ..] => 2,
        [b':', ..] => 1,
        _ => return None,
    };
    Some(line.slice(name.len() + skipped..line.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]], limit: usize) -> Result<(Vec<String>, Events), TooLarge> {
        let mut events = Events::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            events.push(Bytes::copy_from_slice(chunk), |event| {
                let text = event.data.contiguous().to_vec();
                found.push(String::from_utf8(text).expect("text"));
            })?;
        }
        Ok((found, events))
    }

    #[test]
    fn data_is_what_stands_behind_the_field() {
        let (found, events) = read(
            &[b"id: 7\nretry: 250\ndata: {\"a\":1}\n\ndata:x\ndata\ndata: y\r\n\r\n: comment\n\nevent: ping\ndata: z\n\nevent: message\rdata: last\r\r"],
            100,
        )
        .expect("small");
        assert_eq!(found, ["{\"a\":1}", "x\n\ny", "last"]);
        assert_eq!(events.id(), Some(&Bytes::from_static(b"7")));
        assert_eq!(events.retry(), Some(250));
    }

    #[test]
    fn an_event_without_its_end_is_not_an_event() {
        let (found, _) = read(&[b"data: a\n"], 100).expect("small");
        assert!(found.is_empty());
    }

    #[test]
    fn an_event_is_bounded_in_one_line_and_in_many() {
        let long = [b"data: ".to_vec(), vec![b'x'; 100]].concat();
        assert!(read(&[&long], 50).is_err());
        let many = b"data: xxxxxxxx\n".repeat(20);
        assert!(read(&[&many], 50).is_err());
        let comments = b": xxxxxxxxxxxxxxxxxx\n".repeat(100);
        assert!(read(&[&comments], 50).is_ok());
    }

    #[test]
    fn an_event_of_many_small_lines_has_few_parts() {
        let mut events = Events::new(1 << 20);
        let mut found = Vec::new();
        let text = Bytes::from([b"data:x\n".repeat(10_000), b"\n".to_vec()].concat());
        events
            .push(text, |event| found.push(event.data))
            .expect("small");
        let bytes = b"data:".iter().chain(b"y\n\n");
        for byte in
            bytes.flat_map(|byte| std::iter::repeat_n(byte, if *byte == b'y' { 10_000 } else { 1 }))
        {
            events
                .push(Bytes::copy_from_slice(&[*byte]), |event| {
                    found.push(event.data);
                })
                .expect("small");
        }
        let shown: Vec<_> = found
            .iter()
            .map(|data| (data.len(), data.count() < 100))
            .collect();
        assert_eq!(shown, [(19_999, true), (10_000, true)]);
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_where_the_stream_is_cut(
            text in "((data|event|id|retry|x)?(: |:)?[a-z{}]{0,6}(\n|\r|\r\n)){0,12}",
            cuts in proptest::collection::vec(0_usize..200, 0..8),
        ) {
            let whole = read(&[text.as_bytes()], 10_000).expect("small").0;
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&chunks, 10_000).expect("small").0, whole);
        }
    }
}
