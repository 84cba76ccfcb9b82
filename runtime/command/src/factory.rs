//! What makes a binding of its declaration: for a gateway, and for scenarios, from the same entry of
//! the registry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_config::{Declared, MakeError};
use tidegate_driver::{Assembly, StartError};
use tidegate_engine::{Binding, BindingId};

/// A binding that does no I/O.
pub type Machine = Box<dyn Binding>;

/// Makes the bindings of one kind.
#[derive(Debug, Clone, Copy)]
pub enum Factory {
    /// A state machine: a gateway and a scenario make it alike.
    Machine(fn(&Declared<'_, BindingId>) -> Result<Machine, MakeError>),
    /// An edge attaches itself to each worker. It does real I/O, so no scenario can play both its
    /// sides.
    Edge(fn(&Declared<'_, BindingId>, &mut Site<'_>) -> Result<BindingId, AttachError>),
    /// A broker that runs beside the workers; each of them only keeps its place.
    #[cfg(feature = "broker")]
    Broker(fn(&tidegate_config::Binding) -> Result<tidegate_broker::Broker, BrokerError>),
}

/// An edge cannot be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Its declaration and its factory do not agree.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// It cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The embedded broker cannot be started.
#[cfg(feature = "broker")]
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Its declaration and its factory do not agree.
    #[error(transparent)]
    Options(#[from] tidegate_config::Faults),
    /// It cannot start.
    #[error(transparent)]
    Start(#[from] tidegate_broker::StartError),
}

/// Where the entries of an engine listen, by the name of their binding. The first worker binds a
/// socket, and the others share its address.
#[derive(Debug, Clone, Default)]
pub struct Listening(Arc<Mutex<BTreeMap<String, SocketAddr>>>);

impl Listening {
    /// Where a binding listens.
    pub fn address(&self, binding: &str) -> Option<SocketAddr> {
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(binding).copied()
    }

    /// Listens for a binding: `listen` is handed the address that other workers listen on, if there
    /// is one already, and returns its own. No two workers do this at a time.
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

/// What an edge is attached to.
pub struct Site<'a> {
    /// The worker, while it is put together.
    pub assembly: &'a mut Assembly,
    /// Where the entries of the engine listen.
    pub listening: &'a Listening,
}

impl tidegate_scenarios::Factory for Factory {
    fn make(&self, declared: &Declared<'_, BindingId>) -> Result<Machine, String> {
        match self {
            Self::Machine(make) => make(declared).map_err(|error| error.to_string()),
            _ => Err(format!(
                "the binding '{}' does real I/O, so a scenario cannot play both its sides",
                declared.name()
            )),
        }
    }
}
