//! Factories that create bindings from their declarations. Gateways and scenarios use the same entry of
//! the registry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_config::{Declared, MakeError};
use tidegate_driver::{Assembly, StartError};
use tidegate_engine::{Binding, BindingId};
use tidegate_guard::Guards;
use tidegate_streams::Identity;

use crate::pin_edge::AllPins;
use crate::tls_files::TlsFiles;

/// A sans-I/O binding.
pub type Machine = Box<dyn Binding>;

/// How bindings of a kind are created.
#[derive(Debug, Clone, Copy)]
pub enum Factory {
    /// A sans-I/O binding, for gateways and scenarios.
    Machine(fn(&Declared<'_, BindingId>) -> Result<Machine, MakeError>),
    /// A sans-I/O binding that works with files of its options.
    FileBacked {
        /// Makes it for a scenario; reads the files.
        make: fn(&Declared<'_, BindingId>) -> Result<Machine, String>,
        /// Attaches it to a worker, with the files that all workers share.
        attach: fn(&Declared<'_, BindingId>, &mut Site<'_>) -> Result<BindingId, AttachError>,
    },
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

/// Where the bindings of a gateway listen, by binding name.
#[derive(Debug, Clone, Default)]
pub struct Listening(Arc<Mutex<Listeners>>);

#[derive(Debug, Default)]
struct Listeners {
    /// What the workers of the http servers share. The first worker binds the addresses, and the others
    /// share them.
    http: BTreeMap<String, tidegate_binding_http::Listening>,
    /// Addresses of bindings that only one worker listens for.
    addresses: BTreeMap<String, SocketAddr>,
}

impl Listening {
    fn all(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an http server listens.
    pub fn of(&self, binding: &str) -> Option<tidegate_binding_http::Listening> {
        self.all().http.get(binding).cloned()
    }

    /// The first address and port of a binding.
    pub fn address(&self, binding: &str) -> Option<SocketAddr> {
        let all = self.all();
        let http = all
            .http
            .get(binding)
            .and_then(tidegate_binding_http::Listening::address);
        http.or_else(|| all.addresses.get(binding).copied())
    }

    /// Stores the address of a binding that only one worker listens for.
    pub(crate) fn note(&self, binding: &str, address: SocketAddr) {
        self.all().addresses.insert(binding.to_owned(), address);
    }

    /// Calls `listen` with what another worker returned, if any, and stores what it returns. Serialised
    /// across workers.
    pub(crate) fn listen<T, E>(
        &self,
        binding: &str,
        listen: impl FnOnce(
            Option<tidegate_binding_http::Listening>,
        ) -> Result<(T, tidegate_binding_http::Listening), E>,
    ) -> Result<T, E> {
        let mut all = self.all();
        let (listener, listening) = listen(all.http.get(binding).cloned())?;
        all.http.insert(binding.to_owned(), listening);
        Ok(listener)
    }
}

/// Who may enter: what edges check credentials with.
#[derive(Clone, Default)]
pub struct Admission {
    /// The guards of the config.
    pub guards: Guards,
    /// Identity of the client of each `stdio · server` that has an `authorization`, by binding name.
    pub identities: BTreeMap<String, Arc<Identity>>,
}

/// The place where an edge is attached.
pub struct Site<'a> {
    /// The worker under construction.
    pub assembly: &'a mut Assembly,
    /// Listen addresses of the engine.
    pub listening: &'a Listening,
    /// The guards of the config, and the identities of clients known at start.
    pub admission: &'a Admission,
    /// The files of each `tls · client`.
    pub tls_files: &'a TlsFiles,
    /// The definition pins of each `mcp · proxy`.
    pub pins: &'a AllPins,
}

impl tidegate_scenarios::Factory for Factory {
    fn make(&self, declared: &Declared<'_, BindingId>) -> Result<Machine, String> {
        match self {
            Self::Machine(make) => make(declared).map_err(|error| error.to_string()),
            Self::FileBacked { make, .. } => make(declared),
            Self::Edge(_) => Err(real_io(declared.name())),
            #[cfg(feature = "broker")]
            Self::Broker(_) => Err(real_io(declared.name())),
        }
    }
}

fn real_io(binding: &str) -> String {
    format!("binding '{binding}' does real I/O and cannot be used in a scenario")
}
