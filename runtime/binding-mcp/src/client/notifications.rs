//! Notifications of the server.

use bytestring::ByteString;
use tidegate_json::{Kind, Value};
use tidegate_streams::FlushEx;
use tidegate_streams::mcp::{
    McpLog, McpProgress, McpPromptsListChanged, McpResourcesListChanged, McpResourcesUpdated,
    McpToolsListChanged,
};

use crate::jsonrpc::Params;

/// Name in `_meta` of the subscription that a notification belongs to.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a notification is about.
#[derive(Debug, PartialEq)]
pub(super) enum Notification {
    /// Progress of the request with this token.
    Progress(u64, McpProgress),
    /// A log message.
    Log(McpLog),
    /// A list has changed.
    ListChanged(FlushEx),
    /// A resource has changed.
    Updated(ByteString),
    /// `subscriptions/listen` has begun; whether it covers the resource that was asked for.
    Acknowledged { resources: bool },
    /// Nothing that anybody here needs.
    Other,
}

/// A notification, and the `subscriptions/listen` it belongs to, if it names one.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) notification: Notification,
    pub(super) subscription: Option<u64>,
}

/// Reads a notification.
pub(super) fn read(method: &str, params: Params) -> Told {
    let member = |name: &str| params.get(name).ok().flatten();
    let meta = member("_meta");
    let subscription = meta.and_then(|it| it.get(SUBSCRIPTION).ok()?);
    let subscription = subscription.and_then(|it| it.as_u64());
    let number = |value: Value<'_>| {
        let text = String::from_utf8(value.raw().into_owned()).ok();
        text.filter(|_| value.kind() == Kind::Number)
            .map(ByteString::from)
    };
    let notification = match method {
        "notifications/progress" => {
            let token = member("progressToken").and_then(|it| it.as_u64());
            match token.zip(member("progress").and_then(number)) {
                Some((token, progress)) => {
                    let told = McpProgress {
                        progress,
                        total: member("total").and_then(number),
                        message: member("message").and_then(|it| it.string()),
                    };
                    Notification::Progress(token, told)
                }
                None => Notification::Other,
            }
        }
        "notifications/message" => {
            let (params, _) = params.into_payload();
            return Told {
                notification: Notification::Log(McpLog {
                    params: params.contiguous(),
                }),
                subscription,
            };
        }
        "notifications/tools/list_changed" => {
            Notification::ListChanged(McpToolsListChanged {}.into())
        }
        "notifications/prompts/list_changed" => {
            Notification::ListChanged(McpPromptsListChanged {}.into())
        }
        "notifications/resources/list_changed" => {
            Notification::ListChanged(McpResourcesListChanged {}.into())
        }
        "notifications/resources/updated" => match member("uri").and_then(|it| it.string()) {
            Some(uri) => Notification::Updated(uri),
            None => Notification::Other,
        },
        "notifications/subscriptions/acknowledged" => {
            let accepted = member("notifications");
            let resources = accepted.and_then(|it| it.get("resourceSubscriptions").ok()?);
            let some = resources.is_some_and(|it| it.elements().next().is_some());
            Notification::Acknowledged { resources: some }
        }
        _ => Notification::Other,
    };
    Told {
        notification,
        subscription,
    }
}

/// The FLUSH for an update of a resource.
pub(super) fn updated(uri: ByteString) -> FlushEx {
    McpResourcesUpdated { uri }.into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Document, Limits, Parts};

    use super::*;

    fn told(method: &str, params: &str) -> Told {
        let parts = Parts::from(Bytes::copy_from_slice(params.as_bytes()));
        let document = Document::parse(parts, Limits::default()).expect("JSON");
        read(method, Params::of(Some(document)))
    }

    #[test]
    fn progress_is_that_of_a_request() {
        let of = |params| told("notifications/progress", params).notification;
        let expected = McpProgress {
            progress: "0.50".into(),
            total: Some("1".into()),
            message: Some("half".into()),
        };
        let params = r#"{"progressToken":7,"progress":0.50,"total":1,"message":"half"}"#;
        assert_eq!(of(params), Notification::Progress(7, expected));
        for params in [
            r#"{"progress":1}"#,
            r#"{"progressToken":"7","progress":1}"#,
            r#"{"progressToken":7,"progress":"1"}"#,
        ] {
            assert_eq!(of(params), Notification::Other);
        }
    }

    #[test]
    fn an_update_names_its_resource_and_its_subscription() {
        let params = r#"{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":3}}"#;
        let expected = Told {
            notification: Notification::Updated("a:b".into()),
            subscription: Some(3),
        };
        assert_eq!(told("notifications/resources/updated", params), expected);
        let acknowledged =
            |params| told("notifications/subscriptions/acknowledged", params).notification;
        assert_eq!(
            acknowledged(r#"{"notifications":{"resourceSubscriptions":["a:b"]}}"#),
            Notification::Acknowledged { resources: true }
        );
        assert_eq!(
            acknowledged(r#"{"notifications":{"toolsListChanged":true}}"#),
            Notification::Acknowledged { resources: false }
        );
    }
}
