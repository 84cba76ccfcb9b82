//! Reads a retained message: SUBSCRIBE, the first PUBLISH with its PUBACK, and UNSUBSCRIBE when no caller
//! is waiting.
//!
//! Callers that arrive in the same turn share a SUBSCRIBE. Each SUBSCRIBE has its own subscription
//! identifier, which identifies its message (MQTT 5.0, 3.8.2.1.2).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};
use tidegate_binding_mqtt::codec::{
    self, Ack, Decoder, Packet, Publish, REMAINING_LENGTH_MAX, Subscribe, SubscribeFilter,
    SubscribeProperties, Unsubscribe, Version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::answer::Answer;
use crate::plan::Operation;
use crate::socket::Socket;

/// Payloads of up to this many bytes are copied into the response; longer ones are sent without a copy.
const COPIED: usize = 4 << 10;
/// The same as that of tidegate.
const QOS: u8 = 1;

/// The retained message of a topic, and the callers that wait for it.
#[derive(Debug)]
pub(super) struct Retained {
    topic: String,
    /// The parts around the payload in a response, which contains it once or twice.
    around: Vec<Bytes>,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Callers without a pending SUBSCRIBE.
    new: Vec<Caller>,
    /// Waiting callers by subscription identifier.
    waiting: BTreeMap<u16, Vec<Caller>>,
    last_id: u16,
    writer: Option<Waker>,
}

type Caller = oneshot::Sender<codec::Parts>;

impl Retained {
    /// Responses are as long as those of tidegate: for `receive` the payload as text and as structured
    /// content; for `read` as text only.
    pub(super) fn new(topic: String, operation: Operation) -> Self {
        let front =
            r#"{"jsonrpc":"2.0","id":1000000000,"result":{"resultType":"complete","content"#;
        let around = if operation == Operation::Receive {
            vec![
                format!(r#"{front}":[{{"type":"text","text":""#),
                format!(
                    r#""}}],"structuredContent":{{"messages":[{{"topic":"{topic}","qos":1,"retain":true,"payload":""#
                ),
                r#""}]}}}"#.to_owned(),
            ]
        } else {
            vec![
                format!(r#"{front}s":[{{"uri":"mqtt://{topic}","mimeType":"text/plain","text":""#),
                r#""}]}}"#.to_owned(),
            ]
        };
        Self {
            topic,
            around: around.into_iter().map(Bytes::from).collect(),
            state: RefCell::default(),
        }
    }

    /// The response with the message; `None` if the connection fails.
    pub(super) async fn receive(&self) -> Option<Answer> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            state.new.push(sender);
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
        }
        Some(self.answer(&receiver.await.ok()?))
    }

    fn answer(&self, payload: &codec::Parts) -> Answer {
        let small = payload.iter().map(Bytes::len).sum::<usize>() <= COPIED;
        let (mut copy, mut parts) = (BytesMut::new(), VecDeque::new());
        let mut push = |bytes: &Bytes| {
            if small {
                copy.extend_from_slice(bytes);
            } else {
                parts.push_back(bytes.clone());
            }
        };
        for (index, around) in self.around.iter().enumerate() {
            if index > 0 {
                payload.iter().for_each(&mut push);
            }
            push(around);
        }
        if small {
            return copy.freeze().into();
        }
        Answer::parts(parts)
    }

    /// Runs the connection to the broker until it fails.
    pub(super) async fn serve(&self, mut socket: Socket, quickack: bool) -> io::Result<()> {
        let mut decoder = Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
        let mut input = BytesMut::new();
        let mut out = BytesMut::new();
        loop {
            input.reserve(64 << 10);
            tokio::select! {
                () = self.asked() => {}
                read = socket.read_buf(&mut input) => {
                    if read? == 0 {
                        return Err(io::Error::other("connection closed by the broker"));
                    }
                    if quickack {
                        // The kernel resets the option with every acknowledgement.
                        socket.set_quickack()?;
                    }
                    decoder.push(input.split().freeze());
                    while let Some(packet) = decoder.next().map_err(io::Error::other)? {
                        self.handle(packet, &mut out)?;
                    }
                }
            }
            self.subscribe(&mut out)?;
            if !out.is_empty() {
                socket.write_all(&out).await?;
                socket.flush().await?;
                out.clear();
            }
        }
    }

    /// Waits for a caller.
    async fn asked(&self) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if !state.new.is_empty() {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Sends one SUBSCRIBE for all new callers.
    fn subscribe(&self, out: &mut BytesMut) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.new.is_empty() {
            return Ok(());
        }
        let packet_id = state.next_id();
        let callers = std::mem::take(&mut state.new);
        state.waiting.insert(packet_id, callers);
        let filter = SubscribeFilter {
            filter: self.topic.as_str().into(),
            qos: QOS,
            ..SubscribeFilter::default()
        };
        let subscribe = Subscribe {
            packet_id,
            properties: SubscribeProperties {
                subscription_id: Some(packet_id.into()),
                ..SubscribeProperties::default()
            },
            filters: vec![filter],
        };
        encode(&Packet::Subscribe(subscribe), out)
    }

    /// Handles a packet of the broker.
    fn handle(&self, packet: Packet, out: &mut BytesMut) -> io::Result<()> {
        match packet {
            Packet::Publish(publish) => self.arrived(&publish, out),
            Packet::Suback(suback) if suback.reasons.iter().any(|reason| reason.is_error()) => {
                Err(io::Error::other("subscription rejected by the broker"))
            }
            _ => Ok(()),
        }
    }

    fn arrived(&self, publish: &Publish, out: &mut BytesMut) -> io::Result<()> {
        if publish.qos > 0 {
            let ack = Ack {
                packet_id: publish.packet_id,
                ..Ack::default()
            };
            encode(&Packet::Puback(ack), out)?;
        }
        let mut state = self.state.borrow_mut();
        for id in &publish.properties.subscription_ids {
            let callers = u16::try_from(*id)
                .ok()
                .and_then(|id| state.waiting.remove(&id));
            for caller in callers.into_iter().flatten() {
                // The caller may have closed its connection.
                let _ = caller.send(publish.payload.clone());
            }
        }
        if state.waiting.is_empty() && state.new.is_empty() {
            let unsubscribe = Unsubscribe {
                packet_id: state.next_id(),
                filters: vec![self.topic.as_str().into()],
                ..Unsubscribe::default()
            };
            encode(&Packet::Unsubscribe(unsubscribe), out)?;
        }
        Ok(())
    }
}

impl State {
    /// The next packet and subscription identifier; there are more of them than callers.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

fn encode(packet: &Packet, out: &mut BytesMut) -> io::Result<()> {
    codec::encode(packet, Version::V5, REMAINING_LENGTH_MAX, out).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn message(id: u16, payload: &'static [u8]) -> Packet {
        let mut publish = Publish {
            qos: 1,
            retain: true,
            topic: "a/b".into(),
            packet_id: 7,
            payload: vec![Bytes::from_static(payload)].into(),
            ..Publish::default()
        };
        publish.properties.subscription_ids = vec![id.into()];
        Packet::Publish(publish)
    }

    fn packets(out: &mut BytesMut) -> Vec<Packet> {
        let mut decoder = Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
        decoder.push(out.split().freeze());
        std::iter::from_fn(|| decoder.next().expect("legal")).collect()
    }

    /// The numbers of what was sent, by type.
    fn shown(out: &mut BytesMut) -> Vec<(&'static str, u16)> {
        let number = |packet: &Packet| match packet {
            Packet::Subscribe(subscribe) => {
                let id = subscribe.properties.subscription_id;
                assert_eq!(id, Some(subscribe.packet_id.into()));
                subscribe.packet_id
            }
            Packet::Unsubscribe(unsubscribe) => unsubscribe.packet_id,
            Packet::Puback(ack) => ack.packet_id,
            _ => 0,
        };
        let packets = packets(out);
        let shown = |packet| (Packet::packet_type(packet).word(), number(packet));
        packets.iter().map(shown).collect()
    }

    #[tokio::test]
    async fn callers_of_a_turn_share_a_subscription_that_ends_with_the_last() {
        let retained = Retained::new("a/b".to_owned(), Operation::Read);
        let mut out = BytesMut::new();
        let calls = async {
            tokio::join!(retained.receive(), retained.receive(), async {
                retained.subscribe(&mut out).expect("encodes");
                assert_eq!(shown(&mut out), [("SUBSCRIBE", 1)]);
                let (later, ()) = tokio::join!(retained.receive(), async {
                    retained.subscribe(&mut out).expect("encodes");
                    assert_eq!(shown(&mut out), [("SUBSCRIBE", 2)]);
                    // The first message is that of the first two.
                    retained
                        .handle(message(1, b"21.5"), &mut out)
                        .expect("legal");
                    assert_eq!(shown(&mut out), [("PUBACK", 7)]);
                    retained
                        .handle(message(2, b"21.5"), &mut out)
                        .expect("legal");
                    assert_eq!(shown(&mut out), [("PUBACK", 7), ("UNSUBSCRIBE", 3)]);
                });
                later
            })
        };
        let (first, second, later) = calls.await;
        assert!(first.is_some() && second.is_some() && later.is_some());
    }

    #[tokio::test]
    async fn answers_are_json_with_the_payload_however_long_it_is() {
        for (operation, places) in [
            (
                Operation::Receive,
                &[
                    "/result/content/0/text",
                    "/result/structuredContent/messages/0/payload",
                ][..],
            ),
            (Operation::Read, &["/result/contents/0/text"]),
        ] {
            let retained = Retained::new("a/b".to_owned(), operation);
            for size in [0, 100, COPIED + 1] {
                let payload = "x".repeat(size);
                let answer = retained.answer(&vec![Bytes::from(payload.clone())].into());
                let length = hyper::body::Body::size_hint(&answer).exact();
                let body = answer.collect().await.expect("a body").to_bytes();
                assert_eq!(length, Some(body.len() as u64));
                let value: Value = serde_json::from_slice(&body).expect("JSON");
                for place in places {
                    let text = value.pointer(place).and_then(Value::as_str);
                    assert_eq!(text, Some(payload.as_str()), "{place}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_broker_that_refuses_ends_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let socket = TcpStream::connect(address).await.expect("connected");
        let (mut broker, _) = listener.accept().await.expect("a connection");
        let retained = Retained::new("a/b".to_owned(), Operation::Read);
        let refusal = async {
            let mut asked = [0; 64];
            let length = broker.read(&mut asked).await.expect("read");
            assert!(length > 0);
            // SUBACK of packet 1: not authorized.
            broker
                .write_all(&[0x90, 4, 0, 1, 0, 0x87])
                .await
                .expect("written");
        };
        let (ended, (), ()) =
            tokio::join!(retained.serve(Socket::Tcp(socket), true), refusal, async {
                let call = std::pin::pin!(retained.receive());
                // No response comes: the connection has ended.
                let waited = tokio::time::timeout(std::time::Duration::ZERO, call).await;
                assert!(waited.is_err());
            });
        assert!(
            ended
                .expect_err("rejected")
                .to_string()
                .contains("rejected")
        );
    }
}
