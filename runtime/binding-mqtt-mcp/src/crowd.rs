//! How many publications of a sort are on their way, and whether it was reported that they are too many.

/// Publications that no running request waits for.
#[derive(Debug)]
pub(crate) struct Crowd {
    count: usize,
    max: usize,
    /// It was reported that it is full.
    full: bool,
}

impl Crowd {
    pub(crate) const fn of_at_most(max: usize) -> Self {
        Self {
            count: 0,
            max,
            full: false,
        }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Whether there is no room for a further one.
    pub(crate) const fn is_full(&self) -> bool {
        self.count >= self.max
    }

    /// Whether it is full for the first time since half of it was free. One free place is not enough: the next refusal
    /// takes it, so there would be an event for each publication that ends.
    pub(crate) const fn is_newly_full(&mut self) -> bool {
        !std::mem::replace(&mut self.full, true)
    }

    /// A publication begins, also one for which there is no room.
    pub(crate) const fn enter(&mut self) {
        self.count += 1;
    }

    /// A publication has ended.
    pub(crate) const fn leave(&mut self) {
        self.count = self.count.saturating_sub(1);
        if self.count <= self.max / 2 {
            self.full = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_newly_full_once_half_of_it_was_free() {
        let mut crowd = Crowd::of_at_most(4);
        for _ in 0..4 {
            assert!(!crowd.is_full());
            crowd.enter();
        }
        assert!(crowd.is_full() && crowd.is_newly_full());
        assert!(!crowd.is_newly_full());
        crowd.leave();
        assert!(!crowd.is_full());
        crowd.enter();
        assert!(crowd.is_full() && !crowd.is_newly_full());
        crowd.leave();
        crowd.leave();
        crowd.enter();
        crowd.enter();
        assert!(crowd.is_full() && crowd.is_newly_full());
    }

    #[test]
    fn the_only_place_is_newly_taken_each_time() {
        let mut crowd = Crowd::of_at_most(1);
        for _ in 0..2 {
            crowd.enter();
            assert!(crowd.is_full() && crowd.is_newly_full());
            crowd.leave();
        }
    }
}
