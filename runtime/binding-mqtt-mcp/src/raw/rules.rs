//! What a raw route allows: methods, and tools.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_jsonrpc::{Era, Method};
use tidegate_options::Glob;
use tidegate_streams::mcp::McpCapabilities;

/// What the messages of a route are, if they are not read by templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Raw {
    /// JSON-RPC messages of MCP.
    #[serde(rename = "json-rpc")]
    JsonRpc,
}

/// The older name of a subscription, which `allow` may contain.
const SUBSCRIBE: &str = "resources/subscribe";

/// The methods and tools that a route allows.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    methods: Vec<Glob>,
    /// Empty: all.
    tools: Vec<Glob>,
}

impl Rules {
    pub(crate) const fn new(methods: Vec<Glob>, tools: Vec<Glob>) -> Self {
        Self { methods, tools }
    }

    /// Whether a method may be called. What the server is may always be asked.
    pub(crate) fn allow(&self, method: Method) -> bool {
        method == Method::Discover || self.methods.iter().any(|it| matches(it, method))
    }

    /// Whether a tool may be called.
    pub(crate) fn allow_tool(&self, tool: &str) -> bool {
        self.tools.is_empty() || self.tools_matching(tool).is_some()
    }

    /// The first entry of `tools` that matches a tool.
    pub(crate) fn tools_matching(&self, tool: &str) -> Option<&Glob> {
        self.tools.iter().find(|it| it.matches(tool))
    }

    /// Whether some tools may not be called, so that lists are made shorter.
    pub(crate) const fn restrict_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    /// The part of the exit's capabilities that a client can use.
    pub(crate) fn capabilities(&self, exit: McpCapabilities) -> McpCapabilities {
        type C = McpCapabilities;
        let listens = self.allow(Method::Listen);
        let offers = [
            (C::SERVER_TOOLS, self.allow(Method::ToolsCall)),
            (C::SERVER_PROMPTS, self.allow(Method::PromptsGet)),
            (C::SERVER_RESOURCES, self.allow(Method::ResourcesRead)),
            (
                C::SERVER_COMPLETIONS,
                self.allow(Method::CompletionComplete),
            ),
            (
                C::SERVER_TOOLS_LIST_CHANGED,
                listens && self.allow(Method::ToolsList),
            ),
            (
                C::SERVER_PROMPTS_LIST_CHANGED,
                listens && self.allow(Method::PromptsList),
            ),
            (
                C::SERVER_RESOURCES_LIST_CHANGED,
                listens && self.allow(Method::ResourcesList),
            ),
            (
                C::SERVER_RESOURCES_SUBSCRIBE,
                listens && self.allow(Method::ResourcesRead),
            ),
            (C::SERVER_LOGGING, true),
        ];
        let offers = offers.iter();
        let offers = offers.filter(|(it, allowed)| *allowed && exit.contains(*it));
        offers.fold(C::NONE, |all, (it, _)| all.with(*it))
    }
}

fn matches(glob: &Glob, method: Method) -> bool {
    glob.matches(method.name()) || (method == Method::Listen && glob.matches(SUBSCRIBE))
}

/// The methods that can be allowed.
pub(crate) fn methods() -> impl Iterator<Item = Method> {
    let all = Method::ALL.iter().copied();
    all.filter(|method| Method::of(method.name(), Era::Modern).is_some())
}

/// Whether a pattern in `allow` matches any method.
pub(crate) fn is_of_a_method(glob: &Glob) -> bool {
    methods().any(|method| matches(glob, method))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(methods: &[&str], tools: &[&str]) -> Rules {
        let globs = |texts: &[&str]| {
            let globs = texts.iter().map(|it| Glob::new(it).expect("a glob"));
            globs.collect()
        };
        Rules::new(globs(methods), globs(tools))
    }

    #[test]
    fn what_is_not_listed_is_not_allowed() {
        let some = rules(&["tools/*", "resources/subscribe"], &["read_*"]);
        for (method, allowed) in [
            (Method::Discover, true),
            (Method::ToolsList, true),
            (Method::ToolsCall, true),
            (Method::Listen, true),
            (Method::ResourcesRead, false),
            (Method::PromptsGet, false),
        ] {
            assert_eq!(some.allow(method), allowed, "{method:?}");
        }
        assert!(some.allow_tool("read_level") && !some.allow_tool("open_valve"));
        assert!(rules(&[], &[]).allow_tool("any"));
    }

    #[test]
    fn a_client_is_offered_what_it_may_use() {
        type C = McpCapabilities;
        let all = C::SERVER_TOOLS
            .with(C::SERVER_TOOLS_LIST_CHANGED)
            .with(C::SERVER_PROMPTS)
            .with(C::SERVER_RESOURCES)
            .with(C::SERVER_RESOURCES_SUBSCRIBE);
        assert_eq!(rules(&["tools/*"], &[]).capabilities(all), C::SERVER_TOOLS);
        let listens = rules(&["tools/*", "subscriptions/listen"], &[]);
        let expected = C::SERVER_TOOLS.with(C::SERVER_TOOLS_LIST_CHANGED);
        assert_eq!(listens.capabilities(all), expected);
        assert_eq!(rules(&["*"], &[]).capabilities(all), all);
    }

    #[test]
    fn a_pattern_is_one_of_methods_of_the_revision() {
        let of = |text: &str| is_of_a_method(&Glob::new(text).expect("a glob"));
        assert!(of("tools/call") && of("*") && of("resources/subscribe"));
        assert!(!of("tool/call") && !of("initialize") && !of("ping"));
    }
}
