//! A queue optimised for holding at most one element.

use std::collections::VecDeque;

/// A queue that stores its first element inline and allocates only for further ones.
#[derive(Debug, Clone)]
pub struct Fifo<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Fifo<T> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Whether the queue is empty.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Appends an element.
    pub fn push_back(&mut self, element: T) {
        if self.first.is_none() {
            self.first = Some(element);
        } else {
            self.rest.push_back(element);
        }
    }

    /// Removes and returns the first element.
    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        Some(first)
    }

    /// The first element.
    pub const fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    /// The first element, mutable.
    pub const fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    /// The element at `index`, mutable.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(behind) => self.rest.get_mut(behind),
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.first = None;
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec(any::<Option<u8>>(), 0..40)) {
            let (mut fifo, mut model) = (Fifo::new(), VecDeque::new());
            for step in steps {
                if let Some(element) = step {
                    fifo.push_back(element);
                    model.push_back(element);
                } else {
                    prop_assert_eq!(fifo.pop_front(), model.pop_front());
                }
                prop_assert_eq!((fifo.len(), fifo.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(fifo.front(), model.front());
                prop_assert_eq!(fifo.front_mut(), model.front_mut());
                prop_assert!(fifo.iter().eq(model.iter()));
                for index in 0..=model.len() {
                    prop_assert_eq!(fifo.get_mut(index), model.get_mut(index));
                }
            }
        }
    }
}
