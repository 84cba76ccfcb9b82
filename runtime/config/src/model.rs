//! A config that was checked.

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use crate::decode::decode;
use crate::fault::{Faults, Findings};

/// A config without faults.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the deployment is called.
    pub name: String,
    /// How many workers; absent: one for each core.
    pub workers: Option<u16>,
    /// How long a stop waits for what is under way, in milliseconds.
    pub shutdown_timeout: u64,
    /// The bindings, in the order of the text.
    pub bindings: Vec<Binding>,
    /// What is no fault and yet worth a look.
    pub warnings: Vec<String>,
}

/// One binding.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Its type: `mcp_mqtt`.
    pub r#type: String,
    /// Its kind: `proxy`.
    pub kind: String,
    /// Where its streams go, as an index into [`Config::bindings`].
    pub exit: Option<usize>,
    /// Where its streams go under conditions.
    pub routes: Vec<Route>,
    pub(crate) options: Value,
    pub(crate) from_environment: Vec<Vec<String>>,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// The toolkit whose tools and resources it takes; absent: everything.
    pub toolkit: Option<String>,
    /// Where to, as an index into [`Config::bindings`].
    pub exit: usize,
}

impl Binding {
    /// The options. They were checked when the config was loaded, so only the wrong type fails.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, Faults> {
        let mut findings = Findings::new(&self.name, "");
        decode(
            self.options.clone(),
            &[],
            &self.from_environment,
            &mut findings,
        )
        .ok_or_else(|| findings.into_faults())
    }
}

impl Config {
    /// The indices of the bindings, each behind its exits: the order in which they can be attached.
    pub fn exits_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.bindings.len());
        for index in 0..self.bindings.len() {
            self.place(index, &mut order);
        }
        order
    }

    /// The config has no circle of exits: that was checked.
    fn place(&self, index: usize, order: &mut Vec<usize>) {
        if order.contains(&index) {
            return;
        }
        if let Some(binding) = self.bindings.get(index) {
            let exits = binding
                .routes
                .iter()
                .map(|route| route.exit)
                .chain(binding.exit);
            for exit in exits {
                self.place(exit, order);
            }
            order.push(index);
        }
    }
}
