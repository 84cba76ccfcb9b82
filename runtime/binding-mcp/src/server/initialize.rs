//! Parses `initialize` and writes its result.

use bytes::{Bytes, BytesMut};
use tidegate_json::write::push_string;
use tidegate_json::{Kind, Value};
use tidegate_streams::mcp::McpCapabilities;

use super::calls::Client;
use super::capabilities;
use super::errors::Refusal;
use super::result::server_info;
use crate::jsonrpc::{Id, LEGACY, Params, response};

/// The parameters of `initialize`.
#[derive(Debug)]
pub(super) struct Requested {
    /// The negotiated protocol version.
    pub(super) version: &'static str,
    /// The client's capabilities.
    pub(super) capabilities: McpCapabilities,
    pub(super) client: Client,
}

/// Parses the `params` of `initialize`.
pub(super) fn requested(params: &Params) -> Result<Requested, Refusal> {
    let version = params
        .get("protocolVersion")?
        .and_then(|version| version.string())
        .ok_or_else(|| Refusal::invalid_params("params.protocolVersion must be a string."))?;
    let known = LEGACY.into_iter().find(|known| version == *known);
    Ok(Requested {
        version: known.unwrap_or(LEGACY[0]),
        capabilities: client_capabilities(params)?,
        client: Client::of(params),
    })
}

/// The capabilities of the client.
fn client_capabilities(params: &Params) -> Result<McpCapabilities, Refusal> {
    type C = McpCapabilities;
    let refuse = |_| Refusal::invalid_params("params.capabilities has a duplicate member.");
    let Some(capabilities) = params.get("capabilities")? else {
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
        if has(&capabilities, name)?.is_some() {
            all = all.with(flag);
        }
    }
    if let Some(elicitation) = capabilities.get("elicitation").map_err(refuse)? {
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

/// The result of `initialize`.
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
