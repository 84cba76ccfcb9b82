//! The resources of the suite.

use serde_json::{Value, json};
use tidegate_streams::mcp::{McpReset, McpResetKind};

use crate::content;
use crate::plan::{Call, Plan, Reply, reply};

/// URI, name, type and description of each resource.
const ALL: [(&str, &str, &str, &str); 3] = [
    ("test://static-text", "static-text", "text/plain", "A text"),
    (
        "test://static-binary",
        "static-binary",
        "image/png",
        "An image",
    ),
    (
        "test://watched-resource",
        "watched-resource",
        "text/plain",
        "A text that changes",
    ),
];

pub(crate) fn list() -> Value {
    let resources = ALL.iter().map(|(uri, name, mime_type, description)| {
        json!({ "uri": uri, "name": name, "mimeType": mime_type, "description": description })
    });
    json!({ "resources": resources.collect::<Vec<_>>() })
}

pub(crate) fn templates() -> Value {
    json!({ "resourceTemplates": [{
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "A resource with a parameter",
        "mimeType": "application/json",
    }] })
}

/// The parameter in a URI of the template.
fn templated(uri: &str) -> Option<&str> {
    uri.strip_prefix("test://template/")?.strip_suffix("/data")
}

pub(crate) fn exists(uri: &str) -> bool {
    ALL.iter().any(|(known, ..)| *known == uri) || templated(uri).is_some()
}

/// What reading a resource does.
pub(crate) fn plan(_: &str) -> Plan {
    reply(read)
}

fn read(call: &Call) -> Reply {
    let uri = call.params["uri"].as_str().unwrap_or_default();
    let contents = match uri {
        "test://static-text" => json!({
            "uri": uri,
            "mimeType": "text/plain",
            "text": "This is the content of the static text resource.",
        }),
        "test://static-binary" => {
            json!({ "uri": uri, "mimeType": "image/png", "blob": content::IMAGE })
        }
        "test://watched-resource" => {
            json!({ "uri": uri, "mimeType": "text/plain", "text": "Watched resource content" })
        }
        _ => {
            let Some(id) = templated(uri) else {
                let why = format!("Resource '{uri}' not found.");
                let mut reset = McpReset::new(McpResetKind::NotFound, why);
                reset.data = Some(json!({ "uri": uri }).to_string().into());
                return Reply::Refused(reset);
            };
            let data = format!("Data for ID: {id}");
            let text = json!({ "id": id, "templateTest": true, "data": data }).to_string();
            json!({ "uri": uri, "mimeType": "application/json", "text": text })
        }
    };
    Reply::Result(json!({ "contents": [contents] }))
}
