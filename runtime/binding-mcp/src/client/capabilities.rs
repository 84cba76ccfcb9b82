//! Capabilities on the wire and as flags.

use tidegate_json::{Kind, Value};
use tidegate_streams::mcp::McpCapabilities;

type C = McpCapabilities;

/// The capabilities of a server, from the member `capabilities` of its answer.
pub(super) fn of_server(capabilities: Option<Value<'_>>) -> McpCapabilities {
    let Some(capabilities) = capabilities else {
        return C::NONE;
    };
    let object = |name: &str| {
        let found = capabilities.get(name).ok().flatten();
        found.filter(|it| it.kind() == Kind::Object)
    };
    let mut all = C::NONE;
    for (name, has, changes) in [
        ("tools", C::SERVER_TOOLS, C::SERVER_TOOLS_LIST_CHANGED),
        ("prompts", C::SERVER_PROMPTS, C::SERVER_PROMPTS_LIST_CHANGED),
        (
            "resources",
            C::SERVER_RESOURCES,
            C::SERVER_RESOURCES_LIST_CHANGED,
        ),
    ] {
        let Some(offered) = object(name) else {
            continue;
        };
        all = all.with(has);
        let is_set = |member: &str| {
            let member = offered.get(member).ok().flatten();
            member.and_then(|it| it.as_bool()) == Some(true)
        };
        if is_set("listChanged") {
            all = all.with(changes);
        }
        if name == "resources" && is_set("subscribe") {
            all = all.with(C::SERVER_RESOURCES_SUBSCRIBE);
        }
    }
    if object("completions").is_some() {
        all = all.with(C::SERVER_COMPLETIONS);
    }
    if object("logging").is_some() {
        all = all.with(C::SERVER_LOGGING);
    }
    all
}

/// The capabilities of a client, as JSON.
pub(super) fn of_client(capabilities: McpCapabilities) -> String {
    let mut members = Vec::new();
    if capabilities.contains(C::CLIENT_ROOTS) {
        members.push("\"roots\":{}".to_owned());
    }
    if capabilities.contains(C::CLIENT_SAMPLING) {
        members.push("\"sampling\":{}".to_owned());
    }
    let form = capabilities.contains(C::CLIENT_ELICITATION_FORM);
    let url = capabilities.contains(C::CLIENT_ELICITATION_URL);
    if form || url || capabilities.contains(C::CLIENT_ELICITATION) {
        let modes = [("form", form), ("url", url)];
        let modes = modes.iter().filter(|(_, has)| *has);
        let modes: Vec<String> = modes.map(|(mode, _)| format!("\"{mode}\":{{}}")).collect();
        members.push(format!("\"elicitation\":{{{}}}", modes.join(",")));
    }
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Document, Limits, Parts};

    use super::*;

    #[test]
    fn what_a_server_offers_is_read_leniently() {
        let read = |text: &'static str| {
            let parts = Parts::from(Bytes::from_static(text.as_bytes()));
            let document = Document::parse(parts, Limits::default()).expect("JSON");
            of_server(Some(document.root()))
        };
        let all = read(
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":false},"completions":{},"logging":{},"x":7}"#,
        );
        let expected = C::SERVER_TOOLS
            .with(C::SERVER_TOOLS_LIST_CHANGED)
            .with(C::SERVER_RESOURCES)
            .with(C::SERVER_RESOURCES_SUBSCRIBE)
            .with(C::SERVER_COMPLETIONS)
            .with(C::SERVER_LOGGING);
        assert_eq!(all, expected);
        assert_eq!(read("7"), C::NONE);
        assert_eq!(read(r#"{"tools":null,"prompts":7}"#), C::NONE);
        assert_eq!(of_server(None), C::NONE);
    }

    #[test]
    fn a_client_states_what_it_can_be_asked_for() {
        let all = C::CLIENT_ROOTS
            .with(C::CLIENT_SAMPLING)
            .with(C::CLIENT_ELICITATION)
            .with(C::CLIENT_ELICITATION_FORM);
        let expected = r#"{"roots":{},"sampling":{},"elicitation":{"form":{}}}"#;
        assert_eq!(of_client(all), expected);
        assert_eq!(of_client(C::NONE), "{}");
    }
}
