//! How many devices a caller sees, without looking at each: they are counted by who may see them.

use std::rc::Rc;

use tidegate_options::Guarded;
use tidegate_streams::Identity;

use crate::model::Model;

/// Numbers of devices by their guards. There are as many entries as guards of types, and one for devices that
/// announced themselves.
#[derive(Debug, Default)]
pub(crate) struct Visible(Vec<(Option<Rc<Guarded>>, usize)>);

fn is_same(one: Option<&Rc<Guarded>>, other: Option<&Rc<Guarded>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Rc::ptr_eq(one, other),
        _ => false,
    }
}

impl Visible {
    /// A device with this model is added.
    pub(crate) fn add(&mut self, model: &Model) {
        model.devices.update(|count| count + 1);
        let guarded = model.guarded.as_ref();
        let mut entries = self.0.iter_mut();
        match entries.find(|(it, _)| is_same(it.as_ref(), guarded)) {
            Some((_, count)) => *count += 1,
            None => self.0.push((guarded.cloned(), 1)),
        }
    }

    /// A device with this model is removed.
    pub(crate) fn remove(&mut self, model: &Model) {
        model.devices.update(|count| count.saturating_sub(1));
        let guarded = model.guarded.as_ref();
        let mut entries = self.0.iter_mut();
        if let Some((_, count)) = entries.find(|(it, _)| is_same(it.as_ref(), guarded)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Number of the devices that a caller sees.
    pub(crate) fn count(&self, caller: Option<&Identity>) -> usize {
        let permits = |guarded: &Option<Rc<Guarded>>| {
            guarded
                .as_ref()
                .is_none_or(|guarded| guarded.permits(caller))
        };
        let visible = self.0.iter().filter(|(guarded, _)| permits(guarded));
        visible.map(|(_, count)| count).sum()
    }
}
