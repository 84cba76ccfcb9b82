//! The factory of bindings, which the user of the runner provides.

use tidegate_config::Declared;
use tidegate_engine::{Binding, BindingId};

/// Creates bindings of one kind; each entry of the registry has one.
pub trait Factory {
    /// Creates the declared binding. Its exits are sides played by the script.
    fn make(&self, declared: &Declared<'_, BindingId>) -> Result<Box<dyn Binding>, String>;
}
