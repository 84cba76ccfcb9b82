//! Credit of one half-stream: how much its sender may have under way.

use tidegate_streams::Window;

/// Both ends' accounts of one half.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Credit {
    /// Sender: bytes sent since the half began, padding included.
    sequence: u64,
    /// Sender: the newest WINDOW that has reached it.
    window: Window,
    /// Receiver: bytes delivered to it, padding included.
    delivered: u64,
    /// Receiver: bytes it is done with.
    taken: u64,
    /// Receiver: the newest WINDOW it has sent.
    granted: Window,
}

impl Credit {
    /// Credit that starts at `maximum`, as declared by the receiver ahead of the stream.
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

    /// How many bytes of payload the sender may put into one DATA now.
    pub(crate) const fn available(&self) -> usize {
        let under_way = self.sequence.saturating_sub(self.window.acknowledge);
        let room = (self.window.maximum as u64).saturating_sub(under_way);
        let room = room.saturating_sub(self.window.padding as u64);
        // A window is 32 bits wide, and so is what is left of it.
        #[allow(clippy::cast_possible_truncation)]
        let room = room as usize;
        room
    }

    /// Books a DATA of `length` bytes on its way; whether it was within the credit.
    pub(crate) const fn send(&mut self, length: usize) -> bool {
        // An empty DATA marks a message without payload: it takes no credit to say so.
        if length == 0 {
            return true;
        }
        if length > self.available() {
            return false;
        }
        self.sequence += length as u64 + self.window.padding as u64;
        true
    }

    /// Books a DATA of `length` bytes as delivered.
    pub(crate) const fn deliver(&mut self, length: usize) {
        if length > 0 {
            self.delivered += length as u64 + self.granted.padding as u64;
        }
    }

    /// Books `bytes` of payload as done with; the WINDOW to send, once it is worth a frame.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<Window> {
        self.taken = (self.taken + bytes).min(self.delivered);
        let unannounced = self.taken - self.granted.acknowledge;
        // Half a window: often enough that the sender never runs dry, seldom enough to cost little.
        (unannounced > 0 && unannounced >= u64::from(self.granted.maximum / 2)).then(|| {
            self.granted.acknowledge = self.taken;
            self.granted
        })
    }

    /// A new maximum and padding for the half; the WINDOW to send.
    pub(crate) const fn grant(&mut self, maximum: u32, padding: u32) -> Window {
        self.granted = Window {
            acknowledge: self.taken,
            maximum,
            padding,
        };
        self.granted
    }

    /// Books a WINDOW that the receiver sends as it stands.
    pub(crate) fn granted(&mut self, window: Window) {
        self.taken = self.taken.max(window.acknowledge);
        self.granted = window;
    }

    /// Books a WINDOW that has reached the sender.
    pub(crate) const fn update(&mut self, window: Window) {
        self.window = window;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_data_beyond_the_credit_is_refused_and_not_booked() {
        let mut credit = Credit::starting(10);
        assert!(credit.send(10));
        assert!(!credit.send(1));
        assert!(credit.send(0), "an empty DATA takes no credit");
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
        // Whatever is sent, taken and granted: never more under way than was granted.
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
