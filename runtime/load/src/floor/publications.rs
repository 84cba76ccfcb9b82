//! Pending publications and their output.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};
use slab::Slab;

use super::acks::{Ack, AckKind};

/// Payloads of up to this many bytes are copied into the output buffer; longer ones are written without a
/// copy.
const COPIED: usize = 4 << 10;

/// The publications of the floor.
#[derive(Debug)]
pub(super) struct Publications {
    /// The PUBLISH up to its payload; at `QoS` 0 without packet identifier.
    packet: Vec<u8>,
    payload: Bytes,
    /// Offset of the packet identifier.
    id_at: Option<usize>,
    /// Receive Maximum of the broker.
    window: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<Bytes>,
    /// Output after the parts.
    tail: BytesMut,
    queued: u64,
    written: u64,
    writer: Option<Waker>,
    /// Pending publications; the key is the packet identifier minus one.
    under_way: Slab<Publication>,
    /// Callers that wait because Receive Maximum is reached.
    waiting: VecDeque<Waker>,
    /// At `QoS` 0: publications that are not written yet, in order.
    unwritten: VecDeque<usize>,
}

#[derive(Debug)]
struct Publication {
    met: Option<bool>,
    /// Of the output, behind its packet.
    end: u64,
    caller: Option<Waker>,
    /// The caller closed its connection: the outcome is dropped.
    left: bool,
}

/// Removes the publication of a caller that closed its connection.
struct Entry<'a>(&'a Publications, usize);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        match state.under_way.get_mut(self.1) {
            Some(publication) if publication.met.is_none() => publication.left = true,
            Some(_) => self.0.remove(&mut state, self.1),
            None => {}
        }
    }
}

impl Publications {
    pub(super) fn new(packet: Vec<u8>, payload: Bytes, qos: u8, receive_maximum: u16) -> Self {
        // The topic's length, the topic, the identifier, and no properties, behind the fixed header.
        let id_at = (qos > 0).then(|| packet.len() - 3);
        let window = if qos > 0 { receive_maximum } else { u16::MAX };
        Self {
            packet,
            payload,
            id_at,
            window: usize::from(window.min(u16::MAX - 1)),
            state: RefCell::default(),
        }
    }

    /// Publishes; returns whether the broker accepted the message.
    pub(super) async fn publish(&self) -> bool {
        let entry = Entry(self, poll_fn(|cx| self.admit(cx.waker())).await);
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            let Some(publication) = state.under_way.get_mut(entry.1) else {
                return Poll::Ready(false);
            };
            if let Some(met) = publication.met {
                return Poll::Ready(met);
            }
            publication.caller = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn admit(&self, caller: &Waker) -> Poll<usize> {
        let mut state = self.state.borrow_mut();
        if state.under_way.len() >= self.window {
            state.waiting.push_back(caller.clone());
            return Poll::Pending;
        }
        let key = state.under_way.vacant_key();
        let start = state.tail.len();
        state.tail.extend_from_slice(&self.packet);
        if let Some(at) = self.id_at
            && let Ok(id) = u16::try_from(key + 1)
            && let Some(place) = state.tail.get_mut(start + at..start + at + 2)
        {
            place.copy_from_slice(&id.to_be_bytes());
        }
        if self.payload.len() <= COPIED {
            state.tail.extend_from_slice(&self.payload);
        } else {
            let head = state.tail.split().freeze();
            state.parts.extend([head, self.payload.clone()]);
        }
        state.queued += (self.packet.len() + self.payload.len()) as u64;
        let end = state.queued;
        if self.id_at.is_none() {
            state.unwritten.push_back(key);
        }
        state.under_way.insert(Publication {
            met: None,
            end,
            caller: None,
            left: false,
        });
        state.wake_writer();
        Poll::Ready(key)
    }

    /// Waits for output and takes it.
    pub(super) async fn gathered(&self, parts: &mut VecDeque<Bytes>) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.parts.is_empty() && state.tail.is_empty() {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(parts, &mut state.parts);
            let tail = state.tail.split().freeze();
            if !tail.is_empty() {
                parts.push_back(tail);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Records written bytes; at `QoS` 0 this completes publications.
    pub(super) fn written(&self, count: usize) {
        let mut state = self.state.borrow_mut();
        state.written += count as u64;
        while let Some(&key) = state.unwritten.front() {
            let end = state
                .under_way
                .get(key)
                .map_or(0, |publication| publication.end);
            if end > state.written {
                return;
            }
            state.unwritten.pop_front();
            self.over(&mut state, key, true);
        }
    }

    /// Handles an acknowledgement.
    pub(super) fn acknowledged(&self, ack: Ack) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let key = usize::from(ack.packet_id).wrapping_sub(1);
        let known = state
            .under_way
            .get(key)
            .is_some_and(|each| each.met.is_none());
        if !known {
            return Err(io::Error::other(
                "acknowledgement with an unknown packet identifier",
            ));
        }
        if ack.kind == AckKind::Pubrec && ack.reason < 0x80 {
            let [high, low] = ack.packet_id.to_be_bytes();
            state.tail.extend_from_slice(&[0x62, 2, high, low]);
            state.queued += 4;
            state.wake_writer();
        } else {
            self.over(&mut state, key, ack.reason < 0x80);
        }
        Ok(())
    }

    fn over(&self, state: &mut State, key: usize, met: bool) {
        let Some(publication) = state.under_way.get_mut(key) else {
            return;
        };
        publication.met = Some(met);
        if publication.left {
            self.remove(state, key);
        } else if let Some(caller) = publication.caller.take() {
            caller.wake();
        }
    }

    /// Wakes as many waiting callers as Receive Maximum allows; some may have closed their connection.
    fn remove(&self, state: &mut State, key: usize) {
        state.under_way.remove(key);
        for _ in state.under_way.len()..self.window {
            let Some(caller) = state.waiting.pop_front() else {
                return;
            };
            caller.wake();
        }
    }
}

impl State {
    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn publications(qos: u8, window: u16) -> Publications {
        // Fixed header, topic "t", identifier, no properties.
        let packet = if qos == 0 {
            vec![0x30, 5, 0, 1, b't', 0]
        } else {
            vec![0x30 | qos << 1, 7, 0, 1, b't', 0, 0, 0]
        };
        Publications::new(packet, Bytes::from_static(b"x"), qos, window)
    }

    fn gathered(publications: &Publications) -> Vec<u8> {
        let mut parts = VecDeque::new();
        {
            let waiting = pin!(publications.gathered(&mut parts));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = waiting.poll(&mut cx);
        }
        let bytes: Vec<u8> = parts.iter().flatten().copied().collect();
        publications.written(bytes.len());
        bytes
    }

    fn ack(kind: AckKind, packet_id: u16, reason: u8) -> Ack {
        Ack {
            kind,
            packet_id,
            reason,
        }
    }

    #[test]
    fn publications_of_a_turn_go_out_together_and_each_meets_its_own_acknowledgement() {
        let publications = publications(1, 10);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (pin!(publications.publish()), pin!(publications.publish()));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        let packet = |id| [0x32, 7, 0, 1, b't', 0, id, 0, b'x'];
        assert_eq!(gathered(&publications), [packet(1), packet(2)].concat());
        publications
            .acknowledged(ack(AckKind::Puback, 2, 0x97))
            .expect("known");
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(false));
        publications
            .acknowledged(ack(AckKind::Puback, 1, 0x10))
            .expect("known");
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(true));
        assert!(
            publications
                .acknowledged(ack(AckKind::Puback, 1, 0))
                .is_err()
        );
    }

    #[test]
    fn qos_0_is_met_when_it_is_written_and_qos_2_when_it_is_complete() {
        let mut cx = Context::from_waker(Waker::noop());
        let at_0 = publications(0, 1);
        let mut call = pin!(at_0.publish());
        assert!(call.as_mut().poll(&mut cx).is_pending());
        assert_eq!(gathered(&at_0).len(), 7);
        assert_eq!(call.as_mut().poll(&mut cx), Poll::Ready(true));

        let at_2 = publications(2, 1);
        let mut call = pin!(at_2.publish());
        assert!(call.as_mut().poll(&mut cx).is_pending());
        gathered(&at_2);
        at_2.acknowledged(ack(AckKind::Pubrec, 1, 0))
            .expect("known");
        assert!(call.as_mut().poll(&mut cx).is_pending());
        assert_eq!(gathered(&at_2), [0x62, 2, 0, 1]);
        at_2.acknowledged(ack(AckKind::Pubcomp, 1, 0))
            .expect("known");
        assert_eq!(call.as_mut().poll(&mut cx), Poll::Ready(true));
    }

    #[test]
    fn the_window_holds_also_for_callers_that_hang_up() {
        let publications = publications(1, 1);
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(publications.publish());
            assert!(first.as_mut().poll(&mut cx).is_pending());
        }
        let mut second = pin!(publications.publish());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert_eq!(gathered(&publications).len(), 9);
        publications
            .acknowledged(ack(AckKind::Puback, 1, 0))
            .expect("known");
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert_eq!(gathered(&publications).len(), 9);
        publications
            .acknowledged(ack(AckKind::Puback, 1, 0))
            .expect("known");
        assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(true));
    }
}
