//! The guards of a config, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::{Challenge, Check, Credential, Refusal};

/// One guard. All workers share it.
pub trait Guard: Send + Sync {
    /// Checks a credential at a time given in milliseconds since the Unix epoch. Never blocks.
    fn check(&self, credential: Credential<'_>, now: u64) -> Check;

    /// What it stands for in `WWW-Authenticate`.
    fn challenge(&self) -> Challenge;
}

/// The guards of a config.
#[derive(Clone, Default)]
pub struct Guards(Arc<BTreeMap<String, Arc<dyn Guard>>>);

impl Guards {
    /// These guards, by name.
    pub fn new(named: BTreeMap<String, Arc<dyn Guard>>) -> Self {
        Self(Arc::new(named))
    }

    /// The guard of a name. An edge looks its guards up once, when it is attached.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Guard>> {
        self.0.get(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Checks a credential with the guard of a name, and waits for the answer.
    pub async fn decide(
        &self,
        name: &str,
        credential: Credential<'_>,
        now: u64,
    ) -> Result<Arc<tidegate_streams::Identity>, Refusal> {
        let Some(guard) = self.get(name) else {
            return Err(Refusal::Unavailable("there is no such guard"));
        };
        guard.check(credential, now).answer().await
    }
}
