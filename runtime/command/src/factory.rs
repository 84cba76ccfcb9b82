//! Factories that create bindings from their declarations. Gateways and scenarios use the same entry of
//! the registry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_config::{Declared, MakeError};
use tidegate_driver::{Assembly, StartError};
use tidegate_engine::{Binding, BindingId};

/// A sans-I/O binding.
pub type Machine = Box<dyn Binding>;

/// How bindings of a kind are created.
#[derive(Debug, Clone, Copy)]
pub enum Factory {
    /// A sans-I/O binding, for gateways and scenarios.
    Machine(fn(&Declared<'_, BindingId>) -> Result<Machine, MakeError>),
    /// An edge, which attaches itself to each worker. It does real I/O, so scenarios cannot use it.
    Edge(fn(&Declared<'_, BindingId>, &mut Site<'_>) -> Result<BindingId, AttachError>),
    /// A broker that runs beside the workers; on a worker it is attached as an empty binding.
    #[cfg(feature = "broker")]
    Broker(fn(&tidegate_config::Binding) -> Result<tidegate_broker::Broker, BrokerError>),
}

/// Attaching an edge failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Descriptor and factory of the kind disagree.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// Starting it failed, such as binding its socket.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starting the embedded broker failed.
#[cfg(feature = "broker")]
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Descriptor and factory of the kind disagree.
    #[error(transparent)]
    Options(#[from] tidegate_config::Faults),
    /// Starting it failed, such as binding its socket.
    #[error(transparent)]
    Start(#[from] tidegate_broker::StartError),
}

/// Listen addresses of the entry bindings, by binding name. The first worker binds the address, and the
/// others share it.
#[derive(Debug, Clone, Default)]
pub struct Listening(Arc<Mutex<BTreeMap<String, SocketAddr>>>);

impl Listening {
    /// Listen address of a binding.
    pub fn address(&self, binding: &str) -> Option<SocketAddr> {
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(binding).copied()
    }

    /// Stores the address of a binding that only one worker listens for.
    pub(crate) fn note(&self, binding: &str, address: SocketAddr) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.insert(binding.to_owned(), address);
    }

    /// Calls `listen` with the address that other workers already listen on, if any, and stores the
    /// address it returns. Serialised across workers.
    pub(crate) fn listen<T, E>(
        &self,
        binding: &str,
        listen: impl FnOnce(Option<SocketAddr>) -> Result<(T, SocketAddr), E>,
    ) -> Result<T, E> {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (listener, address) = listen(addresses.get(binding).copied())?;
        addresses.insert(binding.to_owned(), address);
        Ok(listener)
    }
}

/// The place where an edge is attached.
pub struct Site<'a> {
    /// The worker under construction.
    pub assembly: &'a mut Assembly,
    /// Listen addresses of the engine.
    pub listening: &'a Listening,
}

impl tidegate_scenarios::Factory for Factory {
    fn make(&self, declared: &Declared<'_, BindingId>) -> Result<Machine, String> {
        match self {
            Self::Machine(make) => make(declared).map_err(|error| error.to_string()),
            _ => Err(format!(
                "binding '{}' does real I/O and cannot be used in a scenario",
                declared.name()
            )),
        }
    }
}
