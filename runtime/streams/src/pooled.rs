//! Boxes from a per-thread pool.
//!
//! Extensions are boxed to keep frames small, and every call creates several. Their memory is
//! reused on the same thread instead of being returned to the allocator.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Boxes of a type that a thread's pool keeps.
const KEPT: usize = 64;

const TAKEN: &str = "pooled value already taken";

/// The unused boxes of a thread.
pub type Pool<T> = RefCell<Vec<Box<Option<T>>>>;

/// A type with a per-thread pool.
pub trait Poolable: Sized + 'static {
    /// The pool of this thread.
    fn pool() -> &'static LocalKey<Pool<Self>>;
}

/// A box allocated from the thread's pool and returned to it on drop.
///
/// The outer `Option` is `Some` until drop, the inner one until the value is taken out.
pub struct Pooled<T: Poolable>(Option<Box<Option<T>>>);

impl<T: Poolable> Pooled<T> {
    /// Boxes a value.
    #[inline]
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
        // While the thread is exiting, the pool may be gone.
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

    fn pooled() -> usize {
        POOL.with_borrow(Vec::len)
    }

    #[test]
    fn memory_is_reused_and_the_value_is_dropped_at_once() {
        let value = Rc::new(());
        let first = Pooled::new(Held(Some(Rc::clone(&value))));
        let at = std::ptr::from_ref(&*first);
        drop(first);
        assert_eq!((Rc::strong_count(&value), pooled()), (1, 1));
        let second = Pooled::new(Held(Some(Rc::clone(&value))));
        assert_eq!((std::ptr::from_ref(&*second), pooled()), (at, 0));
        assert!(second.into_inner().0.is_some());
        assert_eq!(pooled(), 1);
    }

    #[test]
    fn the_pool_of_a_thread_is_bounded() {
        let many: Vec<_> = (0..2 * KEPT)
            .map(|_| Pooled::new(Held::default()))
            .collect();
        drop(many);
        assert_eq!(pooled(), KEPT);
    }
}
