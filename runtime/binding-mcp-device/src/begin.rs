//! The beginning of requests: which operation each is, and the answers of those that need no params.

use std::rc::Rc;

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, StreamId, Token};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpEnd, McpLifecycle, McpReset, McpResetKind, McpResourcesList,
    McpResourcesRead, McpResourcesSubscribe, McpResourcesTemplatesList, McpToolsCall, McpToolsList,
};
use tidegate_streams::{BeginEx, Identity, shown};

use crate::exchange::Exchange;
use crate::model::{Model, Models};
use crate::operation::Operation;
use crate::options::ToolsOption;
use crate::params::Call;
use crate::proxy::{McpDevice, Settings};
use crate::registry::Registry;
use crate::result::{Answer, uncached};
use crate::state::State;
use crate::tools;
use crate::typed;

impl McpDevice {
    /// The state of a request at its beginning, with the operation.
    pub(crate) fn request(
        &self,
        caller: Option<&Identity>,
        begin: &McpBeginEx,
    ) -> Result<(Operation, State), McpReset> {
        Ok(match begin {
            McpBeginEx::Lifecycle(_) if self.sessions.len() >= self.settings.sessions_max => {
                return Err(McpReset::new(
                    McpResetKind::Unavailable,
                    format!(
                        "Session limit reached ({}, maxSessions); end a session or retry later.",
                        self.settings.sessions_max
                    ),
                ));
            }
            McpBeginEx::Lifecycle(_) => (Operation::Session, State::Session(ByteString::new())),
            McpBeginEx::ToolsList(_) => (Operation::List, State::Answered),
            McpBeginEx::ToolsCall(call) => {
                let operation = self.operation(caller, &call.name)?;
                let bound = self.settings.params_bound;
                (operation, State::Params(Call::new(call.clone(), bound)?))
            }
            McpBeginEx::ResourcesList(_) | McpBeginEx::ResourcesTemplatesList(_) => {
                (Operation::List, State::Answered)
            }
            McpBeginEx::ResourcesRead(read) => {
                self.resource(caller, &read.uri)?;
                (Operation::Read, State::Answered)
            }
            McpBeginEx::ResourcesSubscribe(subscribe) => {
                self.subscription(caller, &subscribe.uri)?;
                (
                    Operation::Subscribe,
                    State::Subscribe(subscribe.uri.clone()),
                )
            }
            McpBeginEx::PromptsList(_) | McpBeginEx::PromptsGet(_) => {
                return Err(not_found("Prompts are not supported."));
            }
            McpBeginEx::CompletionComplete(_) => {
                return Err(not_found("Completion is not supported."));
            }
        })
    }

    /// The operation of a tool that the caller may use.
    fn operation(&self, caller: Option<&Identity>, name: &str) -> Result<Operation, McpReset> {
        match name {
            tools::LIST_DEVICES => return Ok(Operation::List),
            tools::GET_DEVICE_STATUS => return Ok(Operation::Status),
            tools::SUBSCRIBE_SENSOR if self.has_readings(caller) => return Ok(Operation::Sensor),
            name if self.is_command(caller, name) => return Ok(Operation::Control),
            _ => {}
        }
        let names = self.tool_values(caller);
        let names: Vec<&str> = names
            .iter()
            .filter_map(|tool| tool["name"].as_str())
            .collect();
        let list = names
            .iter()
            .take(10)
            .map(|it| format!("'{it}'"))
            .collect::<Vec<_>>();
        Err(not_found(format!(
            "Unknown tool '{}'; available tools: {}.",
            shown(name),
            list.join(", ")
        )))
    }

    fn has_readings(&self, caller: Option<&Identity>) -> bool {
        let mut visible = self
            .models
            .types
            .values()
            .filter(|it| it.is_visible(caller));
        self.settings.declares || visible.any(|model| model.reading().is_some())
    }

    /// Whether a tool that the caller may use sends commands.
    pub(crate) fn is_command(&self, caller: Option<&Identity>, name: &str) -> bool {
        let typed = self.settings.tools == ToolsOption::Typed;
        if typed && typed::grouping(&self.models) != typed::Grouping::All {
            let generic = self.settings.declares && name == tools::CONTROL_DEVICE;
            return generic || typed::find(&self.models, caller, name).is_some();
        }
        let mut visible = self
            .models
            .types
            .values()
            .filter(|it| it.is_visible(caller));
        name == tools::CONTROL_DEVICE
            && (self.settings.declares || visible.any(|it| it.may_be_commanded(caller)))
    }

    fn tool_values(&self, caller: Option<&Identity>) -> Vec<serde_json::Value> {
        tool_values(&self.models, &self.settings, caller, &self.registry)
    }

    /// Creates the exchange of a request.
    pub(crate) fn start(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        begin: &McpBeginEx,
        operation: Operation,
        state: State,
    ) -> usize {
        let index = self.exchanges.vacant_key();
        let token = Token::from_index(index);
        let session = match begin {
            McpBeginEx::Lifecycle(_) => None,
            begin => begin.session_id().cloned(),
        };
        let caller = cx.identity().cloned();
        let caller = caller.as_deref();
        let (reply, answer): (BeginEx, Option<Answer>) = match begin {
            McpBeginEx::Lifecycle(_) => return self.start_session(cx, stream),
            McpBeginEx::ToolsList(_) => (
                McpToolsList::default().into(),
                Some(self.tools_list(caller)),
            ),
            McpBeginEx::ResourcesList(_) => {
                let list = self.resources_list(caller);
                (McpResourcesList::default().into(), Some(list))
            }
            McpBeginEx::ResourcesTemplatesList(_) => (
                McpResourcesTemplatesList::default().into(),
                Some(Self::templates_list()),
            ),
            McpBeginEx::ResourcesRead(read) => (
                McpResourcesRead::default().into(),
                self.read(cx, &read.uri).ok(),
            ),
            McpBeginEx::ResourcesSubscribe(_) => (McpResourcesSubscribe::default().into(), None),
            _ => (McpToolsCall::default().into(), None),
        };
        let mut exchange = Exchange::accept(cx, stream, token, reply, operation, state);
        exchange.session = session;
        if let Some(answer) = answer {
            exchange.answer(cx, answer);
        }
        self.exchanges.insert(exchange);
        if let McpBeginEx::ResourcesSubscribe(subscribe) = begin
            && let Ok(device) = self.subscription(caller, &subscribe.uri)
        {
            self.watch(index, device);
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.confirm(cx);
            }
        }
        index
    }

    fn start_session(&mut self, cx: &mut Context<'_>, stream: StreamId) -> usize {
        let entry = self.exchanges.vacant_entry();
        let index = entry.key();
        let identity = cx.mint_identity();
        let reply = McpLifecycle {
            session_id: Some(identity.clone()),
            capabilities: capabilities(self.settings.tools),
        };
        let state = State::Session(identity.clone());
        let token = Token::from_index(index);
        let mut exchange = Exchange::accept(cx, stream, token, reply, Operation::Session, state);
        exchange.confirm(cx);
        entry.insert(exchange);
        self.sessions.insert(identity, index);
        index
    }

    fn tools_list(&self, caller: Option<&Identity>) -> Answer {
        if let Some(list) = &self.settings.tools_list {
            return Answer::ok(list.clone(), McpEnd::default());
        }
        let list = tools_list(&self.models, &self.settings, caller, &self.registry);
        Answer::ok(list, uncached())
    }
}

fn capabilities(tools: ToolsOption) -> McpCapabilities {
    let capabilities = McpCapabilities::SERVER_TOOLS
        .with(McpCapabilities::SERVER_RESOURCES)
        .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE)
        .with(McpCapabilities::SERVER_RESOURCES_LIST_CHANGED);
    match tools {
        ToolsOption::Generic => capabilities,
        ToolsOption::Typed => capabilities.with(McpCapabilities::SERVER_TOOLS_LIST_CHANGED),
    }
}

/// The tools that a caller may use.
fn tool_values(
    models: &Models,
    settings: &Settings,
    caller: Option<&Identity>,
    registry: &Registry,
) -> Vec<serde_json::Value> {
    let ids = |model: &Model| -> Vec<String> {
        let count = model.devices.get();
        if count > typed::ENUM_MAX {
            // They are not listed, so that they need not be looked for among all devices.
            return Vec::new();
        }
        let devices = registry.sorted(caller, None);
        let of_type = devices.filter(|(_, entry)| std::ptr::eq(Rc::as_ptr(&entry.model), model));
        of_type
            .map(|(_, entry)| entry.id.to_string())
            .take(count)
            .collect()
    };
    tools::list(models, settings.tools, settings.declares, caller, &ids)
}

/// The result of `tools/list` for a caller.
pub(crate) fn tools_list(
    models: &Models,
    settings: &Settings,
    caller: Option<&Identity>,
    registry: &Registry,
) -> Bytes {
    let tools = tool_values(models, settings, caller, registry);
    serde_json::json!({ "tools": tools }).to_string().into()
}

pub(crate) fn not_found(message: impl Into<ByteString>) -> McpReset {
    McpReset::new(McpResetKind::NotFound, message)
}
