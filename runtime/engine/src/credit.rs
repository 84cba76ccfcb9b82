//! Credit of one half-stream: how many bytes its sender may have in flight.

use tidegate_streams::Window;

/// The credit account of one half, for both ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Credit {
    /// Sender: bytes sent since the half began, including padding.
    sequence: u64,
    /// Sender: the latest WINDOW received.
    window: Window,
    /// Receiver: bytes delivered, including padding.
    delivered: u64,
    /// Receiver: bytes consumed.
    taken: u64,
    /// Receiver: the latest WINDOW sent.
    granted: Window,
}

impl Credit {
    /// Initial credit of `maximum` bytes, declared by the receiver before the stream is opened.
    pub(crate) const fn starting(maximum: u32) -> Self {
        let window = Window {
            acknowledge: 0,
            maximum,
            padding: 0,
        };
        Self {
            sequence: 0,
            window,
            delivered: 0,
            taken: 0,
            granted: window,
        }
    }

    /// Payload bytes the sender may put into one DATA now.
    pub(crate) const fn available(&self) -> usize {
        let under_way = self.sequence.saturating_sub(self.window.acknowledge);
        let room = (self.window.maximum as u64).saturating_sub(under_way);
        let room = room.saturating_sub(self.window.padding as u64);
        // A window has 32 bits, so the remainder fits into 32 bits too.
        #[allow(clippy::cast_possible_truncation)]
        let room = room as usize;
        room
    }

    /// Records that a DATA of `length` bytes is sent; returns whether the credit covers it.
    pub(crate) const fn send(&mut self, length: usize) -> bool {
        // An empty DATA marks a message without payload and uses no credit.
        if length == 0 {
            return true;
        }
        if length > self.available() {
            return false;
        }
        self.sequence += length as u64 + self.window.padding as u64;
        true
    }

    /// Records that a DATA of `length` bytes is delivered.
    pub(crate) const fn deliver(&mut self, length: usize) {
        if length > 0 {
            self.delivered += length as u64 + self.granted.padding as u64;
        }
    }

    /// Records that `bytes` of payload are consumed; returns a WINDOW once it is worth a frame.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<Window> {
        self.taken = (self.taken + bytes).min(self.delivered);
        let unannounced = self.taken - self.granted.acknowledge;
        // Half a window: often enough that the sender never stalls, rarely enough to be cheap.
        (unannounced > 0 && unannounced >= u64::from(self.granted.maximum / 2)).then(|| {
            self.granted.acknowledge = self.taken;
            self.granted
        })
    }

    /// Sets a new maximum and padding for the half; returns the WINDOW to send.
    pub(crate) const fn grant(&mut self, maximum: u32, padding: u32) -> Window {
        self.granted = Window {
            acknowledge: self.taken,
            maximum,
            padding,
        };
        self.granted
    }

    /// Records a WINDOW that the receiver sends unchanged.
    pub(crate) fn granted(&mut self, window: Window) {
        self.taken = self.taken.max(window.acknowledge);
        self.granted = window;
    }

    /// Records a WINDOW that the sender has received.
    pub(crate) const fn update(&mut self, window: Window) {
        self.window = window;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn data_beyond_the_credit_is_refused_and_not_recorded() {
        let mut credit = Credit::starting(10);
        assert!(credit.send(10));
        assert!(!credit.send(1));
        assert!(credit.send(0), "an empty DATA uses no credit");
        credit.update(Window {
            acknowledge: 4,
            maximum: 10,
            padding: 0,
        });
        assert_eq!(credit.available(), 4);
    }

    #[test]
    fn padding_counts_for_each_data() {
        let mut credit = Credit::starting(0);
        credit.update(Window {
            acknowledge: 0,
            maximum: 100,
            padding: 30,
        });
        assert_eq!(credit.available(), 70);
        assert!(credit.send(10));
        assert_eq!(credit.available(), 30);
        assert!(!credit.send(31));
    }

    proptest! {
        // For any sequence of send, take and grant: never more in flight than granted.
        #[test]
        fn the_sender_never_exceeds_what_the_receiver_granted(
            maximum in 0u32..2_000,
            steps in proptest::collection::vec((0usize..700, 0u64..900), 1..60),
        ) {
            let mut credit = Credit::starting(maximum);
            let mut under_way = 0u64;
            for (length, taken) in steps {
                if credit.send(length) {
                    under_way += length as u64;
                    credit.deliver(length);
                }
                prop_assert!(under_way <= u64::from(maximum));
                let before = credit.taken;
                if let Some(window) = credit.take(taken) {
                    credit.update(window);
                }
                under_way = credit.sequence - credit.window.acknowledge;
                prop_assert!(credit.taken >= before && credit.taken <= credit.delivered);
            }
        }
    }
}
