//! Random frames in random order: no rule of streams is violated, and nothing remains.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tidegate_engine::streams::Severity;
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::line::LineBegin;
use tidegate_streams::mcp::{
    McpChallenge, McpProgress, McpReset, McpResetKind, McpResourcesUpdated, McpToolsListChanged,
};
use tidegate_streams::{BeginEx, Frame};

use super::{Harness, harness_with, legacy_headers, notification, request, with_meta};
use crate::server::Options;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request over HTTP: method, id, and whether it is modern.
    Post(usize, i64, bool),
    /// The same on the line.
    Say(usize, i64, bool),
    /// A batch, preceded by this many pings.
    Batch(i64, usize),
    Cancel(i64, bool),
    Get,
    Delete,
    EndLine,
    Leave(Index),
    /// The client acknowledges what it has received on a stream.
    Read(Index),
    Begin(Index),
    Data(Index, usize),
    Tell(Index, usize),
    End(Index),
    Refuse(Index),
    BreakOff(Index),
    Wait(u64),
    ShutDown,
}

/// None, or more than are processed in one turn.
fn pings() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0), 1 => Just(17)]
}

fn step() -> impl Strategy<Value = Step> {
    use Step as S;
    let index = any::<Index>;
    prop_oneof![
        6 => (0usize..9, 0i64..4, any::<bool>()).prop_map(|(m, id, era)| S::Post(m, id, era)),
        6 => (0usize..9, 0i64..4, any::<bool>()).prop_map(|(m, id, era)| S::Say(m, id, era)),
        1 => (0i64..4, pings()).prop_map(|(id, pings)| S::Batch(id, pings)),
        2 => (0i64..4, any::<bool>()).prop_map(|(id, line)| S::Cancel(id, line)),
        2 => Just(S::Get),
        1 => Just(S::Delete),
        1 => Just(S::EndLine),
        2 => index().prop_map(S::Leave),
        3 => index().prop_map(S::Read),
        8 => index().prop_map(S::Begin),
        6 => (index(), 0usize..60_000).prop_map(|(at, length)| S::Data(at, length)),
        4 => (index(), 0usize..5).prop_map(|(at, what)| S::Tell(at, what)),
        4 => index().prop_map(S::End),
        2 => index().prop_map(S::Refuse),
        1 => index().prop_map(S::BreakOff),
        2 => (1u64..70_000).prop_map(S::Wait),
        1 => Just(S::ShutDown),
    ]
}

struct Play {
    harness: Harness,
    session: String,
    line: Option<StreamId>,
    /// The client's streams, and the unacknowledged bytes of each.
    clients: BTreeMap<StreamId, usize>,
    exits: Vec<(StreamId, BeginEx)>,
}

const METHODS: [&str; 9] = [
    "tools/call",
    "tools/list",
    "server/discover",
    "subscriptions/listen",
    "resources/subscribe",
    "resources/unsubscribe",
    "initialize",
    "ping",
    "no/such",
];

fn message(method: usize, id: i64, modern: bool) -> Value {
    let params = json!({
        "name": "t", "uri": "u", "protocolVersion": "2025-03-26",
        "notifications": { "resourceSubscriptions": ["u", "v"] },
        "_meta": { "progressToken": id },
    });
    let params = if modern { with_meta(params) } else { params };
    request(&json!(id), METHODS[method], &params)
}

impl Play {
    /// Records new output.
    fn look(&mut self) {
        for output in self.harness.rig.outputs(self.harness.client) {
            match output.frame {
                Frame::Data(data) => {
                    if let Some(taken) = self.clients.get_mut(&output.at.stream) {
                        *taken += data.payload.len();
                    }
                }
                Frame::Begin(begin) => {
                    if let BeginEx::Http(tidegate_streams::http_stream::HttpBeginEx::Response(head)) =
                        begin.into_inner()
                        && let Some(session) = head.headers.get("mcp-session-id")
                    {
                        session
                            .to_str()
                            .expect("ASCII")
                            .clone_into(&mut self.session);
                    }
                }
                _ => {}
            }
        }
        for output in self.harness.rig.outputs(self.harness.exit) {
            if let Frame::Begin(begin) = output.frame {
                self.exits.push((output.at.stream, begin.into_inner()));
            }
        }
    }

    fn client(&self, at: Index) -> Option<StreamId> {
        let streams: Vec<_> = self.clients.keys().copied().collect();
        (!streams.is_empty()).then(|| *at.get(&streams))
    }

    fn post(&mut self, modern: bool, body: &Value) {
        let method = body["method"].as_str().unwrap_or_default();
        let name = if method == "tools/call" { "t" } else { "" };
        let session = self.session.clone();
        let mut pairs = if modern {
            super::modern_headers(method, name)
        } else {
            legacy_headers(&session)
        };
        if method == "initialize" {
            pairs.truncate(2);
        }
        let stream = self.harness.post(&pairs, body);
        self.clients.insert(stream, 0);
    }

    fn send_line(&mut self, message: &Value) {
        let harness = &mut self.harness;
        let line = *self.line.get_or_insert_with(|| {
            harness
                .rig
                .open(harness.client, harness.server, LineBegin {})
        });
        self.clients.entry(line).or_default();
        let message = Bytes::from(message.to_string());
        harness.rig.turn(harness.client, |cx| {
            if cx.is_sending(line) && cx.credit(line) >= message.len() {
                cx.send(line, Frame::data(message));
            }
        });
    }

    fn at_exit(
        &mut self,
        at: Index,
        act: impl FnOnce(&mut tidegate_engine::Context<'_>, StreamId),
    ) {
        if !self.exits.is_empty() {
            let stream = at.get(&self.exits).0;
            self.harness
                .rig
                .turn(self.harness.exit, |cx| act(cx, stream));
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Post(method, id, modern) => self.post(modern, &message(method, id, modern)),
            Step::Say(method, id, modern) => self.send_line(&message(method, id, modern)),
            Step::Batch(id, pings) => {
                let mut batch = vec![message(7, id + 3, false); pings];
                batch.extend(
                    [0, 4, 1]
                        .into_iter()
                        .zip(id..)
                        .map(|(method, id)| message(method, id, false)),
                );
                let batch = json!(batch);
                self.post(false, &batch);
                self.send_line(&batch);
            }
            Step::Cancel(id, line) => {
                let params = json!({ "requestId": id });
                let message = notification("notifications/cancelled", &params);
                if line {
                    self.send_line(&message);
                } else {
                    self.post(false, &message);
                }
            }
            Step::Get | Step::Delete => {
                let verb = match step {
                    Step::Get => Method::GET,
                    _ => Method::DELETE,
                };
                let session = self.session.clone();
                let stream = self.harness.http(verb, &legacy_headers(&session), "");
                self.clients.insert(stream, 0);
            }
            Step::EndLine => {
                if let Some(line) = self.line.take() {
                    let client = self.harness.client;
                    self.harness
                        .rig
                        .turn(client, |cx| cx.end(line, Frame::end()));
                }
            }
            Step::Leave(at) => {
                if let Some(stream) = self.client(at) {
                    self.clients.remove(&stream);
                    self.line = self.line.filter(|line| *line != stream);
                    self.harness.disconnect(stream);
                }
            }
            Step::Read(at) => {
                if let Some(stream) = self.client(at) {
                    let taken = self.clients.insert(stream, 0).unwrap_or_default();
                    let client = self.harness.client;
                    self.harness
                        .rig
                        .turn(client, |cx| cx.acknowledge(stream, taken));
                }
            }
            Step::Begin(at) => {
                if !self.exits.is_empty() {
                    let (stream, begin) = self.exits.swap_remove(at.index(self.exits.len()));
                    let exit = self.harness.exit;
                    self.harness.rig.turn(exit, |cx| {
                        if !cx.is_over(stream) && !cx.is_sending(stream) {
                            cx.send(stream, Frame::begin(begin.clone()));
                        }
                    });
                    self.exits.push((stream, begin));
                }
            }
            Step::Data(at, length) => self.at_exit(at, |cx, stream| {
                if cx.is_sending(stream) && cx.credit(stream) >= length {
                    cx.send(stream, Frame::data(Bytes::from(vec![b'x'; length])));
                }
            }),
            Step::Tell(at, what) => self.at_exit(at, |cx, stream| {
                let told = match what {
                    0 => Frame::flush(McpToolsListChanged {}),
                    1 => Frame::flush(McpProgress::default()),
                    2 => Frame::challenge(McpChallenge::default()),
                    _ => Frame::flush(McpResourcesUpdated { uri: "u".into() }),
                };
                if cx.is_sending(stream) {
                    cx.send(stream, told);
                }
            }),
            Step::End(at) => self.at_exit(at, |cx, stream| cx.end(stream, Frame::end())),
            Step::Refuse(at) => self.at_exit(at, |cx, stream| {
                let reset = McpReset::new(McpResetKind::Unavailable, "Not now.");
                cx.terminate(stream, Some(reset.into()), None);
            }),
            Step::BreakOff(at) => self.at_exit(at, |cx, stream| cx.abort(stream, None)),
            Step::Wait(millis) => self.harness.rig.advance(Duration::from_millis(millis)),
            Step::ShutDown => self.harness.shut_down(),
        }
        self.look();
    }

    /// Every client and the exit disconnect, and time passes.
    fn finish(mut self) {
        while let Some(stream) = self.clients.pop_first() {
            self.harness.disconnect(stream.0);
        }
        self.look();
        for (stream, _) in std::mem::take(&mut self.exits) {
            let exit = self.harness.exit;
            self.harness
                .rig
                .turn(exit, |cx| cx.terminate(stream, None, None));
        }
        self.harness.rig.advance(Duration::from_millis(700_000));
        self.look();
        self.harness.rig.assert_idle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_frames_leave_nothing_behind(
        steps in proptest::collection::vec(step(), 0..80),
        order in proptest::option::of(any::<u64>()),
        listened in any::<bool>(),
        window in prop_oneof![Just(50u32), Just(100_000)],
    ) {
        let options = Options {
            max_sessions: 3,
            session_timeout: 100_000,
            ..Options::default()
        };
        let mut harness = harness_with(options, window);
        if listened {
            harness.rig.worker.listen_from(Severity::Debug);
        }
        if let Some(seed) = order {
            harness.rig.worker.reorder(seed);
        }
        let mut play = Play {
            harness,
            session: "0.none".to_owned(),
            line: None,
            clients: BTreeMap::new(),
            exits: vec![],
        };
        play.take(Step::Post(6, 0, false));
        for step in steps {
            play.take(step);
        }
        play.finish();
    }
}
