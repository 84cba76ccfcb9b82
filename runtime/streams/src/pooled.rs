//! Boxes that serve again.
//!
//! An extension is boxed so that its frame stays small, and every call makes several of them. Their
//! memory goes from one to the next on the same thread instead of back to the allocator.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// How many boxes of a type a thread keeps.
const KEPT: usize = 64;

const TAKEN: &str = "whoever takes the value or the box gives up the whole";

/// Boxes of a thread that hold nothing now.
pub type Pool<T> = RefCell<Vec<Box<Option<T>>>>;

/// What can be held in a [`Pooled`].
pub trait Poolable: Sized + 'static {
    /// The pool of this thread.
    fn pool() -> &'static LocalKey<Pool<Self>>;
}

/// A box whose memory comes from its thread's pool, and goes back there.
///
/// The box is there until the drop, and the value in it until it is taken out.
pub struct Pooled<T: Poolable>(Option<Box<Option<T>>>);

impl<T: Poolable> Pooled<T> {
    /// Boxes a value.
    pub fn new(value: T) -> Self {
        let taken = T::pool().try_with(|pool| pool.borrow_mut().pop());
        let Ok(Some(mut taken)) = taken else {
            return Self(Some(Box::new(Some(value))));
        };
        *taken = Some(value);
        Self(Some(taken))
    }

    /// The value.
    #[must_use]
    pub fn into_inner(mut self) -> T {
        match self.0.as_deref_mut().and_then(Option::take) {
            Some(value) => value,
            None => unreachable!("{TAKEN}"),
        }
    }
}

impl<T: Poolable> Drop for Pooled<T> {
    fn drop(&mut self) {
        let Some(mut left) = self.0.take() else {
            return;
        };
        *left = None;
        // Where the thread is about to end there is nothing to keep it for.
        let _ = T::pool().try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(left);
            }
        });
    }
}

impl<T: Poolable> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.0.as_deref() {
            Some(Some(value)) => value,
            _ => unreachable!("{TAKEN}"),
        }
    }
}

impl<T: Poolable> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        match self.0.as_deref_mut() {
            Some(Some(value)) => value,
            _ => unreachable!("{TAKEN}"),
        }
    }
}

impl<T: Poolable> From<T> for Pooled<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Poolable + Clone> Clone for Pooled<T> {
    fn clone(&self) -> Self {
        Self::new(T::clone(self))
    }
}

impl<T: Poolable + PartialEq> PartialEq for Pooled<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Poolable + fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[derive(Default)]
    struct Held(Option<Rc<()>>);

    thread_local! {
        static POOL: Pool<Held> = const { RefCell::new(Vec::new()) };
    }

    impl Poolable for Held {
        fn pool() -> &'static LocalKey<Pool<Self>> {
            &POOL
        }
    }

    fn waiting() -> usize {
        POOL.with_borrow(Vec::len)
    }

    #[test]
    fn the_memory_serves_again_and_the_value_does_not_linger() {
        let value = Rc::new(());
        let first = Pooled::new(Held(Some(Rc::clone(&value))));
        let at = std::ptr::from_ref(&*first);
        drop(first);
        assert_eq!((Rc::strong_count(&value), waiting()), (1, 1));
        let second = Pooled::new(Held(Some(Rc::clone(&value))));
        assert_eq!((std::ptr::from_ref(&*second), waiting()), (at, 0));
        assert!(second.into_inner().0.is_some());
        assert_eq!(waiting(), 1);
    }

    #[test]
    fn a_thread_keeps_so_many_and_no_more() {
        let many: Vec<_> = (0..2 * KEPT)
            .map(|_| Pooled::new(Held::default()))
            .collect();
        drop(many);
        assert_eq!(waiting(), KEPT);
    }
}
