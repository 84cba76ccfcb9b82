//! Definition pins: an operator accepts the definitions of tools, and a changed one is noticed.
//!
//! A toolkit can change what a tool says to a model after it was approved. With `pins`, the proxy compares
//! the definition of each listed tool, by its SHA-256, with the one that was accepted. A new or changed
//! definition is reported (`warn`), or the tool is withheld as well (`block`), until it is accepted.
//!
//! [`Pins`] is shared by the workers and by the edge that reads and writes files: the proxy takes the
//! accepted hashes from it and puts the definitions that are not accepted into it, without any I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod definition;

pub use definition::{Definition, Digest, hex};

/// What happens with a tool whose definition is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum PinMode {
    /// It is reported.
    Warn,
    /// It is reported, absent from lists, and cannot be called.
    Block,
}

/// Most definitions that wait to be accepted. Further ones are reported, and not kept.
const WAITING_MAX: usize = 20_000;

/// The accepted hash of each tool, by its toolkit and its name there.
pub type Accepted = BTreeMap<(ByteString, ByteString), Digest>;

/// Definitions that are not accepted, by toolkit and tool.
pub type Waiting = BTreeMap<(ByteString, ByteString), Definition>;

#[derive(Debug, Default)]
struct State {
    accepted: Arc<Accepted>,
    waiting: Waiting,
    /// Whether the definitions that wait have changed since they were last read.
    changed: bool,
}

/// The definitions of the tools of one proxy, on all workers.
#[derive(Debug, Default)]
pub struct Pins(Mutex<State>);

impl Pins {
    /// Pins with these accepted hashes.
    pub fn new(accepted: Accepted) -> Self {
        let state = State {
            accepted: Arc::new(accepted),
            ..State::default()
        };
        Self(Mutex::new(state))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accepted hashes.
    pub fn accepted(&self) -> Arc<Accepted> {
        Arc::clone(&self.lock().accepted)
    }

    /// Replaces the accepted hashes. Definitions that are accepted by this do not wait any more.
    pub fn replace(&self, accepted: Accepted) {
        let mut state = self.lock();
        let before = state.waiting.len();
        let is_accepted =
            |key: &(ByteString, ByteString), it: &Definition| accepted.get(key) == Some(&it.digest);
        state.waiting.retain(|key, it| !is_accepted(key, it));
        state.changed |= state.waiting.len() < before;
        state.accepted = Arc::new(accepted);
    }

    /// A tool has a definition that is not accepted.
    pub(super) fn wait(&self, toolkit: &ByteString, tool: &ByteString, definition: Definition) {
        let mut state = self.lock();
        let key = (toolkit.clone(), tool.clone());
        let has_room = state.waiting.len() < WAITING_MAX || state.waiting.contains_key(&key);
        if has_room {
            let digest = definition.digest;
            let before = state.waiting.insert(key, definition);
            state.changed |= before.is_none_or(|before| before.digest != digest);
        }
    }

    /// A tool has the definition that is accepted.
    pub(super) fn settle(&self, toolkit: &ByteString, tool: &ByteString) {
        let mut state = self.lock();
        let removed = state.waiting.remove(&(toolkit.clone(), tool.clone()));
        state.changed |= removed.is_some();
    }

    /// The definitions that wait to be accepted, if they have changed since the last call.
    pub fn waiting(&self) -> Option<Waiting> {
        let mut state = self.lock();
        std::mem::take(&mut state.changed).then(|| state.waiting.clone())
    }

    /// What [`Pins::waiting`] has returned could not be kept: it is returned again.
    pub fn retry(&self) {
        self.lock().changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(digest: u8) -> Definition {
        Definition {
            digest: [digest; 32],
            text: "{}".into(),
        }
    }

    #[test]
    fn a_definition_waits_until_it_is_accepted() {
        let pins = Pins::default();
        let (toolkit, tool) = (ByteString::from("plant"), ByteString::from("publish"));
        assert_eq!(pins.waiting(), None);
        pins.wait(&toolkit, &tool, definition(1));
        let key = (toolkit.clone(), tool.clone());
        let waiting = pins.waiting().expect("it has changed");
        assert_eq!(waiting.get(&key), Some(&definition(1)));
        pins.wait(&toolkit, &tool, definition(1));
        assert_eq!(pins.waiting(), None, "nothing has changed");
        pins.replace(Accepted::from([(key.clone(), [2; 32])]));
        assert_eq!(pins.waiting(), None, "another one was accepted");
        pins.replace(Accepted::from([(key.clone(), [1; 32])]));
        assert_eq!(pins.waiting(), Some(Waiting::new()));
        assert_eq!(pins.accepted().get(&key), Some(&[1; 32]));
        // The toolkit has returned to what was accepted.
        pins.wait(&toolkit, &tool, definition(3));
        pins.settle(&toolkit, &tool);
        assert_eq!(pins.waiting(), Some(Waiting::new()));
    }
}
