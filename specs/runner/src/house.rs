//! Who can make a binding from its config: the one thing that the runner does not know.

use std::collections::BTreeMap;

use tidegate_config::{Binding, Registry};
use tidegate_engine::{BindingId, Worker};

/// Makes bindings.
pub trait House {
    /// Every kind of binding that a config may name.
    fn registry(&self) -> &Registry;

    /// Attaches the binding as declared. `exits` holds, by the index of the exit's binding in the
    /// config, what stands in its place.
    fn attach(
        &self,
        binding: &Binding,
        exits: &BTreeMap<usize, BindingId>,
        worker: &mut Worker,
    ) -> Result<BindingId, String>;
}
