//! What makes a binding of its declaration: the one thing that the runner does not know.

use tidegate_config::Declared;
use tidegate_engine::{Binding, BindingId};

/// Makes the bindings of one kind; the registry that a scenario is played with has one for each.
pub trait Factory {
    /// Makes the binding as declared. Its exits are sides that the script plays.
    fn make(&self, declared: &Declared<'_, BindingId>) -> Result<Box<dyn Binding>, String>;
}
