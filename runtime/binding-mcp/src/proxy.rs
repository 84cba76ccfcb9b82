//! `mcp · proxy`: several toolkits behind one.
//!
//! Each route leads to a toolkit. Its tools and prompts are offered as `<toolkit>__<name>`, its
//! resources as `<toolkit>+<uri>`; lists are the toolkits' lists put together, in the order of the
//! routes. A proxy whose only route has no toolkit is transparent: every frame passes as it is.
//!
//! - **One hop, one session.** The proxy mints its own session identity and keeps one session with
//!   each toolkit. One that fails is left out, and tried again when it is next used.
//! - **One bad toolkit harms no other.** A list waits for a toolkit until its deadline, and is served
//!   without it.
//! - **Nothing is encoded anew.** A prefix is put in front of a name or URI where it stands; all
//!   other bytes are slices of what came.
//! - **Flow control passes through**: what the caller has not taken is not asked for. Only results
//!   whose URIs get a prefix are gathered first, up to `maxResultSize`.

mod binding;
mod condition;
mod events;
mod list;
mod names;
mod options;
mod patience;
mod relay;
mod session;
mod splice;
#[cfg(test)]
mod tests;

pub use binding::{McpProxy, Route};
pub use condition::{Condition, Toolkit};
pub use options::Options;
