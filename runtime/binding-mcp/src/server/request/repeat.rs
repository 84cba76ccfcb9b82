//! Repeats an operation with the input that it ended with (`input_required`), for a legacy client.
//!
//! A legacy client does not know this outcome. It is asked for each input, and the operation begins
//! anew with the answers, as a modern client would repeat it.

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_engine::{CallContext, Context};
use tidegate_json::write::push_string;
use tidegate_json::{Document, Kind, Limits, Parts, Value};
use tidegate_streams::mcp::{CHALLENGES_MAX, McpAnswer, McpBeginEx, McpChallenge, McpResponse};
use tidegate_streams::{BeginEx, Data, Frame};

use super::{RequestEvent, Requests};
use crate::jsonrpc::Era;
use crate::server::deadline;
use crate::server::errors::Refusal;
use crate::server::key::Key;
use crate::server::result::Passing;

/// Maximum number of times that an operation may ask for input.
const ROUNDS_MAX: usize = 16;

/// The input that an operation ended with.
#[derive(Debug)]
pub(super) struct Round {
    /// The `requestState`, as JSON.
    state: Option<Bytes>,
    /// What it asks for, in order.
    inputs: Vec<Input>,
    /// The context of the operation.
    call: CallContext,
}

/// Something that the operation asks for. Its index is the id of the request to the client.
#[derive(Debug)]
struct Input {
    /// Its key, as JSON.
    key: BytesMut,
    answer: Option<Bytes>,
}

impl Requests {
    /// The operation of a legacy client has ended with `input_required`: ask the client.
    pub(super) fn input_required(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<RequestEvent> {
        let request = self.get_mut(key)?;
        debug_assert_eq!(request.era, Era::Legacy, "modern clients are told");
        let call = cx.call_of(request.stream).cloned().unwrap_or_default();
        cx.end(request.stream, Frame::end());
        cx.terminate(request.stream, None, None);
        let last = request.passing.last(Era::Legacy);
        let result: Parts = request.result.take().into_iter().chain([last]).collect();
        request.passing = Passing::default();
        if request.streaming {
            // A part of the result has been sent.
            return self.fail(cx, key, Refusal::internal());
        }
        let read = match &request.asking {
            Some(_) => read(result),
            None => Err(Refusal::no_input(
                "the client has not declared what it can be asked for",
            )),
        };
        match read {
            Ok((state, inputs)) => self.ask_for(cx, key, call, state, inputs),
            Err(refusal) => self.fail(cx, key, refusal),
        }
    }

    /// Asks the client for each input; without any, the operation is repeated at once.
    fn ask_for(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        call: CallContext,
        state: Option<Bytes>,
        wanted: Vec<(BytesMut, McpChallenge)>,
    ) -> Option<RequestEvent> {
        let asking = self.get_mut(key)?.asking.as_mut()?;
        asking.rounds += 1;
        if asking.rounds > ROUNDS_MAX {
            let why = format!("it has asked {ROUNDS_MAX} times");
            return self.fail(cx, key, Refusal::no_input(&why));
        }
        let mut inputs = Vec::with_capacity(wanted.len());
        let mut ids = Vec::with_capacity(wanted.len());
        for (index, (name, mut challenge)) in wanted.into_iter().enumerate() {
            challenge.id = index as u64;
            if let Err(why) = asking.check(&challenge) {
                let why = format!("'{}': {why}", crate::shown::shown(&challenge.method));
                return self.fail(cx, key, Refusal::no_input(&why));
            }
            ids.push(challenge.id);
            asking.push(challenge);
            inputs.push(Input {
                key: name,
                answer: None,
            });
        }
        let none = inputs.is_empty();
        asking.round = Some(Round {
            state,
            inputs,
            call,
        });
        if none {
            return self.repeat(cx, key);
        }
        self.wait_for_client(cx, key);
        Some(RequestEvent::Ask(ids))
    }

    /// The client has given an input, or does not.
    pub(super) fn input(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        asked: &McpChallenge,
        response: McpResponse,
    ) -> Option<RequestEvent> {
        let asking = self.get_mut(key)?.asking.as_mut()?;
        let round = asking.round.as_mut()?;
        if response.answer != McpAnswer::Result {
            let what = match response.answer {
                McpAnswer::Error => "the client answered with an error",
                _ => "the client cannot be asked",
            };
            let why = format!("'{}': {what}", crate::shown::shown(&asked.method));
            return self.fail(cx, key, Refusal::no_input(&why));
        }
        let index = usize::try_from(response.id).unwrap_or(usize::MAX);
        if let Some(input) = round.inputs.get_mut(index) {
            input.answer = Some(response.content);
        }
        if round.inputs.iter().any(|input| input.answer.is_none()) {
            return None;
        }
        self.repeat(cx, key)
    }

    /// Begins the operation anew, with the input.
    fn repeat(&mut self, cx: &mut Context<'_>, key: usize) -> Option<RequestEvent> {
        let (exit, timeout) = (self.exit, self.timeout);
        let request = self.get_mut(key)?;
        let asking = request.asking.as_mut()?;
        let round = asking.round.take()?;
        let params = round.params(&asking.params);
        let mut begin = asking.begin.clone();
        set_length(&mut begin, i64::try_from(params.len()).unwrap_or(-1));
        let call = CallContext {
            deadline: None,
            ..round.call
        };
        cx.work_with(call);
        let call = deadline::within(cx, timeout);
        let token = Key::Request(key).token();
        match cx.open_for(call, exit, BeginEx::Mcp(begin), token) {
            Ok(stream) => request.stream = stream,
            Err(error) => return self.fail(cx, key, Refusal::no_room(error)),
        }
        request.params.clear();
        for data in Data::of_message(params) {
            request.params.send(cx, request.stream, data);
        }
        self.continue_with_deadline(cx, key);
        None
    }
}

impl Round {
    /// The `params` of the operation with the input.
    fn params(&self, params: &Parts) -> Parts {
        let document = Document::parse(params.clone(), Limits::default()).ok();
        let empty = document.is_none_or(|it| it.root().members().next().is_none());
        let text = params.contiguous();
        let end = text.trim_ascii_end().len().saturating_sub(1);
        let mut added = BytesMut::with_capacity(256);
        if !empty {
            added.put_u8(b',');
        }
        added.put_slice(b"\"inputResponses\":{");
        for (index, input) in self.inputs.iter().enumerate() {
            if index > 0 {
                added.put_u8(b',');
            }
            added.put_slice(&input.key);
            added.put_u8(b':');
            added.put_slice(input.answer.as_deref().unwrap_or(b"{}"));
        }
        added.put_u8(b'}');
        if let Some(state) = &self.state {
            added.put_slice(b",\"requestState\":");
            added.put_slice(state);
        }
        added.put_u8(b'}');
        [text.slice(..end), added.freeze()].into_iter().collect()
    }
}

/// A `requestState` as JSON, and what is asked for, with the keys as JSON.
type Wanted = (Option<Bytes>, Vec<(BytesMut, McpChallenge)>);

/// Reads a result with `input_required`.
fn read(result: Parts) -> Result<Wanted, Refusal> {
    let invalid = || Refusal::no_input("the server's request for it is invalid");
    let document = Document::parse(result, Limits::default()).map_err(|_| invalid())?;
    let member = |name: &str| document.root().get(name).map_err(|_| invalid());
    let state = member("requestState")?.map(|state| state.bytes());
    let requests = member("inputRequests")?;
    let mut wanted = Vec::new();
    for (name, request) in requests.iter().flat_map(Value::members) {
        if wanted.len() >= CHALLENGES_MAX {
            return Err(Refusal::no_input("it is asked for too much"));
        }
        let mut key = BytesMut::new();
        push_string(&mut key, &name.text());
        wanted.push((key, challenge(&request).ok_or_else(invalid)?));
    }
    if wanted.is_empty() && state.is_none() {
        return Err(invalid());
    }
    Ok((state, wanted))
}

fn challenge(request: &Value<'_>) -> Option<McpChallenge> {
    let params = request.get("params").ok()?;
    let params = params.filter(|params| params.kind() == Kind::Object);
    Some(McpChallenge {
        method: request.get("method").ok()??.string()?,
        params: params.map_or_else(Bytes::new, |params| params.bytes()),
        ..McpChallenge::default()
    })
}

fn set_length(begin: &mut McpBeginEx, length: i64) {
    match begin {
        McpBeginEx::ToolsCall(it) => it.content_length = length,
        McpBeginEx::PromptsGet(it) => it.content_length = length,
        McpBeginEx::ResourcesRead(it) => it.content_length = length,
        _ => {}
    }
}
