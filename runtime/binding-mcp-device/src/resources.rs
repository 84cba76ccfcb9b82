//! Devices as resources: `device://ID`, with the status as JSON.

use serde_json::{Value, json};
use tidegate_engine::Context;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{Identity, shown};

use crate::begin::not_found;
use crate::entry::Entry;
use crate::proxy::McpDevice;
use crate::registry::DeviceId;
use crate::result::{Answer, uncached};
use crate::tools::with;
use crate::view::{Now, StatusView};

/// The prefix of the URIs.
const PREFIX: &str = "device://";
/// Most devices that are listed one by one; the template stands for the others.
const LISTED_MAX: usize = 500;

fn template() -> Value {
    json!([{
        "uriTemplate": "device://{id}",
        "name": "device",
        "title": "A device",
        "description": "The status of a device as JSON, and an update for each of its messages. The tool list_devices has the ids.",
        "mimeType": "application/json",
    }])
}

impl McpDevice {
    /// The result of `resources/list`: the first devices, and the template for all.
    pub(crate) fn resources_list(&self, caller: Option<&Identity>) -> Answer {
        let devices = self.registry.sorted(caller, None).take(LISTED_MAX);
        let resources: Vec<Value> = devices.map(|(_, entry)| resource(entry)).collect();
        let list = json!({ "resources": resources, "resourceTemplates": template() });
        Answer::ok(list.to_string().into(), uncached())
    }

    /// The result of `resources/templates/list`.
    pub(crate) fn templates_list() -> Answer {
        let list = json!({ "resourceTemplates": template() });
        Answer::ok(
            list.to_string().into(),
            tidegate_streams::mcp::McpEnd::default(),
        )
    }

    /// The device of a URI.
    pub(crate) fn resource(
        &self,
        caller: Option<&Identity>,
        uri: &str,
    ) -> Result<(DeviceId, &Entry), McpReset> {
        let Some(id) = uri.strip_prefix(PREFIX) else {
            return Err(not_found(format!(
                "Unknown resource '{}'; resource URIs are '{PREFIX}' followed by the id of a device.",
                shown(uri)
            )));
        };
        if let Some(found) = self.registry.find_in_any_case(caller, id) {
            return Ok(found);
        }
        let why = self
            .device(caller, id)
            .map_or_else(|why| why, |_| String::new());
        Err(not_found(why))
    }

    /// The result of `resources/read`.
    pub(crate) fn read(&self, cx: &Context<'_>, uri: &str) -> Result<Answer, McpReset> {
        let caller = cx.identity().map(|it| &**it);
        let (_, entry) = self.resource(caller, uri)?;
        let status = StatusView::new(&self.registry, entry, caller, Now::of(cx), None);
        let text = serde_json::to_string(&status).unwrap_or_default();
        let contents = json!({
            "contents": [{ "uri": uri, "mimeType": "application/json", "text": text }],
        });
        Ok(Answer::ok(contents.to_string().into(), uncached()))
    }

    /// The device to subscribe to.
    pub(crate) fn subscription(
        &self,
        caller: Option<&Identity>,
        uri: &str,
    ) -> Result<DeviceId, McpReset> {
        let (device, _) = self.resource(caller, uri)?;
        if !self.feed.is_begun() {
            return Err(McpReset::new(
                McpResetKind::Unavailable,
                format!(
                    "'{}' cannot be subscribed to: the broker has not accepted the subscription to the \
                     devices' topics. Retry later.",
                    shown(uri)
                ),
            ));
        }
        Ok(device)
    }
}

fn resource(entry: &Entry) -> Value {
    let resource = json!({
        "uri": format!("{PREFIX}{}", entry.id),
        "name": &*entry.id,
        "mimeType": "application/json",
    });
    let name = entry.name().map(|it| json!(it.as_str()));
    let description = entry.description().map(|it| json!(it.as_str()));
    with(with(resource, "title", name), "description", description)
}
