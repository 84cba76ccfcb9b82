//! Parses `initialize` and writes its result.

use bytes::{Bytes, BytesMut};
use tidegate_json::write::push_string;
use tidegate_streams::mcp::McpCapabilities;

use super::calls::Client;
use super::client_capabilities;
use super::errors::Refusal;
use crate::jsonrpc::{Id, LEGACY, Params, push_capabilities, push_server_info, response};

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
    let declared = params.get("capabilities")?;
    let capabilities = declared.map(|declared| client_capabilities::read(&declared));
    let known = LEGACY.into_iter().find(|known| version == *known);
    Ok(Requested {
        version: known.unwrap_or(LEGACY[0]),
        capabilities: capabilities.transpose()?.unwrap_or_default(),
        client: Client::of(params),
    })
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
    push_capabilities(&mut members, capabilities);
    members.extend_from_slice(b",\"serverInfo\":");
    push_server_info(&mut members);
    if let Some(instructions) = instructions {
        members.extend_from_slice(b",\"instructions\":");
        push_string(&mut members, instructions);
    }
    response(id, &members)
}
