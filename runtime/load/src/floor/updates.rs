//! Updates: an event for each listener and message, over one subscription.
//!
//! A listener is a request whose response is a stream of server-sent events: an acknowledgement, and then an
//! event as long as that of tidegate for each message. The events of one turn for a listener are written
//! together.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use slab::Slab;
use tidegate_binding_mqtt::codec::{Decoder, Packet, REMAINING_LENGTH_MAX, Version};
use tokio::io::AsyncReadExt as _;

use crate::fanout::RING;
use crate::socket::Socket;
use crate::target::UPDATES;

const FRONT: &str = r#"data: {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1000000000},"uri":"mqtt://"#;
const BACK: &str = "\"}}\n\n";
/// Most bytes that wait for a listener that does not read; more end its stream.
const UNREAD_MAX: usize = 1 << 20;

/// The listeners of the floor.
#[derive(Debug, Default)]
pub(super) struct Updates {
    listeners: RefCell<Slab<Unread>>,
}

/// What a listener has not read yet.
#[derive(Debug, Default)]
struct Unread {
    events: BytesMut,
    waker: Option<Waker>,
    is_over: bool,
}

/// The response of a listener.
#[derive(Debug)]
pub(super) struct Events {
    updates: Rc<Updates>,
    key: usize,
}

impl Updates {
    /// Adds a listener. The acknowledgement names each topic of the ring.
    pub(super) fn listen(self: &Rc<Self>) -> Events {
        let mut events = BytesMut::new();
        for topic in 0..RING {
            push_event(&mut events, &format!("{UPDATES}{topic}"));
        }
        let unread = Unread {
            events,
            ..Unread::default()
        };
        Events {
            updates: Rc::clone(self),
            key: self.listeners.borrow_mut().insert(unread),
        }
    }

    /// Runs the subscribed connection to the broker until it fails.
    pub(super) async fn serve(&self, mut socket: Socket, quickack: bool) -> io::Result<()> {
        let mut decoder = Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
        let mut input = BytesMut::new();
        loop {
            input.reserve(64 << 10);
            if socket.read_buf(&mut input).await? == 0 {
                return Err(io::Error::other("connection closed by the broker"));
            }
            if quickack {
                // The kernel resets the option with every acknowledgement.
                socket.set_quickack()?;
            }
            decoder.push(input.split().freeze());
            while let Some(packet) = decoder.next().map_err(io::Error::other)? {
                if let Packet::Publish(publish) = packet {
                    self.tell(&publish.topic);
                }
            }
        }
    }

    fn tell(&self, topic: &str) {
        for (_, unread) in &mut *self.listeners.borrow_mut() {
            push_event(&mut unread.events, topic);
            unread.is_over |= unread.events.len() > UNREAD_MAX;
            if let Some(waker) = unread.waker.take() {
                waker.wake();
            }
        }
    }
}

fn push_event(out: &mut BytesMut, topic: &str) {
    for part in [FRONT, topic, BACK] {
        out.extend_from_slice(part.as_bytes());
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut listeners = self.updates.listeners.borrow_mut();
        let Some(unread) = listeners.get_mut(self.key).filter(|it| !it.is_over) else {
            return Poll::Ready(None);
        };
        if unread.events.is_empty() {
            unread.waker = Some(task.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(unread.events.split().freeze()))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.updates.listeners.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(events: &mut Events) -> String {
        let frame = events.frame().await.expect("events").expect("infallible");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn each_listener_is_told_of_each_message_once() {
        let updates = Rc::new(Updates::default());
        let (mut first, mut second) = (updates.listen(), updates.listen());
        for events in [&mut first, &mut second] {
            let acknowledged = text(events).await;
            assert_eq!(acknowledged.matches(UPDATES).count() as u64, RING);
        }
        let topic = format!("{UPDATES}3");
        updates.tell(&topic);
        updates.tell(&topic);
        assert_eq!(text(&mut first).await.matches(&topic).count(), 2);
        drop(first);
        updates.tell(&topic);
        assert_eq!(text(&mut second).await.matches(&topic).count(), 3);
        assert_eq!(updates.listeners.borrow().len(), 1);
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_ended() {
        let updates = Rc::new(Updates::default());
        let mut events = updates.listen();
        for _ in 0..=UNREAD_MAX / FRONT.len() {
            updates.tell(UPDATES);
        }
        assert!(events.frame().await.is_none());
    }
}
