//! `initialize`, which begins a legacy session, and its answer.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_json::write::push_string;
use tidegate_json::{Kind, Value};
use tidegate_streams::mcp::{McpCapabilities, McpLifecycle};

use super::binding::{Key, McpServer};
use super::capabilities;
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::http::{Caller, Owner};
use super::output::Sink;
use super::result::server_info;
use super::session::Session;
use crate::jsonrpc::LEGACY;
use crate::jsonrpc::response;
use crate::jsonrpc::{Id, Params};

const LETTERS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
/// Letters of the secret part of a session's id: 132 bits.
const SECRET: usize = 22;

impl McpServer {
    /// `initialize`: answered once the exit has begun its part of the session.
    pub(super) fn initialize(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        let line = match caller.sink {
            Sink::Line(line) => Some(line),
            Sink::Http(_) | Sink::Nowhere => None,
            Sink::Batch(_) => {
                return Err(Refusal::invalid_request(
                    "'initialize' cannot be part of a batch.",
                ));
            }
        };
        if line.is_some() && caller.session.is_some() {
            return Err(Refusal::invalid_request("There is a session here already."));
        }
        let version = params
            .get("protocolVersion")?
            .and_then(|version| version.string())
            .ok_or_else(|| Refusal::invalid_params("params.protocolVersion must be a string."))?;
        if self.sessions.len() >= self.options.max_sessions {
            let what = format!(
                "There are {} sessions already, the limit; end one first.",
                self.options.max_sessions
            );
            return Err(Refusal::unavailable(what));
        }
        let capabilities = client_capabilities(params)?;
        let secret = mint(cx);
        let entry = self.sessions.vacant_entry();
        let (key, token) = (entry.key(), Key::Session(entry.key()).token());
        let begin = McpLifecycle {
            session_id: None,
            capabilities,
        };
        let timeout = Duration::from_millis(self.options.timeout);
        let opened = cx.open_for(deadline::within(cx, timeout), self.exit, begin, token);
        let lifecycle = opened.map_err(Refusal::no_room)?;
        let session_id: ByteString = format!("{:x}.{secret}", cx.worker()).into();
        let timer = cx.timer(timeout + SLACK, token, 0, "mcp_server.initialize");
        let version = LEGACY.into_iter().find(|known| version == *known);
        entry.insert(Session::new(
            session_id.clone(),
            version.unwrap_or(LEGACY[0]),
            lifecycle,
            (caller.sink, id.clone()),
            timer,
        ));
        self.session_keys.insert(session_id, key);
        if let Some(line) = line.and_then(|line| self.lines.get_mut(line)) {
            line.session = Some(key);
        }
        self.own(caller.sink, Owner::Initialize(key));
        Ok(())
    }
}

/// A secret that nobody guesses.
fn mint(cx: &mut Context<'_>) -> String {
    let mut bytes = [0; SECRET];
    cx.random(&mut bytes);
    let letter = |byte: &u8| LETTERS.get(usize::from(byte & 63)).copied().unwrap_or(b'0');
    bytes.iter().map(letter).map(char::from).collect()
}

/// What the client says it can do.
fn client_capabilities(params: &Params) -> Result<McpCapabilities, Refusal> {
    type C = McpCapabilities;
    let refuse = |_| Refusal::invalid_params("A member of params.capabilities occurs twice.");
    let Some(told) = params.get("capabilities")? else {
        return Ok(C::NONE);
    };
    let has = |value: &Value<'_>, name: &str| -> Result<Option<()>, Refusal> {
        let member = value.get(name).map_err(refuse)?;
        Ok(member
            .filter(|member| member.kind() == Kind::Object)
            .map(|_| ()))
    };
    let mut all = C::NONE;
    for (name, flag) in [
        ("roots", C::CLIENT_ROOTS),
        ("sampling", C::CLIENT_SAMPLING),
        ("elicitation", C::CLIENT_ELICITATION),
    ] {
        if has(&told, name)?.is_some() {
            all = all.with(flag);
        }
    }
    if let Some(elicitation) = told.get("elicitation").map_err(refuse)? {
        for (name, flag) in [
            ("form", C::CLIENT_ELICITATION_FORM),
            ("url", C::CLIENT_ELICITATION_URL),
        ] {
            if has(&elicitation, name)?.is_some() {
                all = all.with(flag);
            }
        }
    }
    Ok(all)
}

/// The answer to `initialize`.
pub(super) fn answer(
    id: &Id,
    version: &str,
    capabilities: McpCapabilities,
    instructions: Option<&str>,
) -> Bytes {
    let mut members = BytesMut::with_capacity(256);
    members.extend_from_slice(b"\"protocolVersion\":");
    push_string(&mut members, version);
    members.extend_from_slice(b",\"capabilities\":");
    capabilities::write(&mut members, capabilities);
    members.extend_from_slice(b",\"serverInfo\":");
    server_info(&mut members);
    if let Some(instructions) = instructions {
        members.extend_from_slice(b",\"instructions\":");
        push_string(&mut members, instructions);
    }
    response(id, &members)
}
