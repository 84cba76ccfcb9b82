//! `mcp · proxy`: combines several toolkits into one server.
//!
//! Each route leads to a toolkit. Its tools and prompts are offered as `<toolkit>__<name>`, its
//! resources as `<toolkit>+<uri>`. Lists are merged in the order of the routes. A proxy whose only
//! route has no toolkit is transparent: every frame passes unchanged.
//!
//! Routes are an allow list (`routing.rs`). What a caller may not use is absent from its lists, and
//! refused like something that does not exist; a caller whose roles are scopes is told which it needs.
//!
//! - **One session per hop.** The proxy assigns its own session identity and keeps one session with
//!   each toolkit. A toolkit session that fails is omitted, and reopened when it is next used.
//! - **Toolkits are isolated.** A list or a new session waits for each toolkit until its deadline
//!   (`deadline`), and goes on without it. A toolkit that is known not to answer is not waited for
//!   (`health.rs`); its return is told to the sessions.
//! - **Lists are shared and kept.** Callers of equal rights share the request for a toolkit's list,
//!   and its result until it expires or changes (`cache.rs`). A client gets them in pages (`page.rs`).
//! - **No re-encoding.** A prefix is inserted in front of a name or URI; all other bytes are slices
//!   of the input.
//! - **End-to-end flow control.** The proxy requests from a toolkit only what the caller has
//!   consumed. Only results whose URIs get a prefix are buffered first, up to `maxResultSize`.

mod binding;
mod cache;
mod clean;
mod completion;
mod condition;
mod cursor;
mod deadline;
mod deferred;
mod edit;
pub mod events;
mod explain;
mod fetch;
mod health;
mod list;
mod list_kind;
mod listed;
mod listing;
mod names;
mod options;
mod page;
pub mod pins;
mod questions;
mod relay;
mod routing;
mod session;
mod short_name;
mod splice;
#[cfg(test)]
mod tests;

pub use binding::McpProxy;
pub use condition::{Condition, Toolkit};
pub use explain::{Explainer, Explanation};
pub use options::Options;
pub use routing::Route;
