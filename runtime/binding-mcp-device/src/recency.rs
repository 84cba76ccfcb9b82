//! Which device has been silent for longest: a list in the order of the last message, in which a device
//! moves to the end in constant time.

/// No neighbour.
const NONE: u32 = u32::MAX;

/// The neighbours of a device in the list.
#[derive(Debug, Clone, Copy)]
struct Links {
    before: u32,
    behind: u32,
    listed: bool,
}

const UNLISTED: Links = Links {
    before: NONE,
    behind: NONE,
    listed: false,
};

/// Devices by their last message, the oldest first. Devices are indexes of a slab.
#[derive(Debug)]
pub(crate) struct Recency {
    links: Vec<Links>,
    oldest: u32,
    newest: u32,
}

impl Recency {
    pub(crate) const fn new() -> Self {
        Self {
            links: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Adds a device as the newest.
    pub(crate) fn insert(&mut self, device: u32) {
        let index = device as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, UNLISTED);
        }
        self.remove(device);
        let newest = self.newest;
        self.set(device, |links| {
            *links = Links {
                before: newest,
                behind: NONE,
                listed: true,
            };
        });
        self.set(newest, |links| links.behind = device);
        self.newest = device;
        if self.oldest == NONE {
            self.oldest = device;
        }
    }

    /// Makes a listed device the newest; nothing happens to others.
    pub(crate) fn touch(&mut self, device: u32) {
        if device != self.newest && self.get(device).listed {
            self.insert(device);
        }
    }

    /// Removes a device, if it is listed.
    pub(crate) fn remove(&mut self, device: u32) {
        let links = self.get(device);
        if !links.listed {
            return;
        }
        self.set(device, |links| *links = UNLISTED);
        self.set(links.before, |before| before.behind = links.behind);
        self.set(links.behind, |behind| behind.before = links.before);
        if self.oldest == device {
            self.oldest = links.behind;
        }
        if self.newest == device {
            self.newest = links.before;
        }
    }

    /// The device that was silent for longest.
    pub(crate) const fn oldest(&self) -> Option<u32> {
        if self.oldest == NONE {
            None
        } else {
            Some(self.oldest)
        }
    }

    fn get(&self, device: u32) -> Links {
        self.links.get(device as usize).copied().unwrap_or(UNLISTED)
    }

    fn set(&mut self, device: u32, change: impl FnOnce(&mut Links)) {
        if let Some(links) = self.links.get_mut(device as usize) {
            change(links);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(mut list: Recency) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(oldest) = list.oldest() {
            order.push(oldest);
            list.remove(oldest);
        }
        assert_eq!(list.newest, NONE);
        order
    }

    fn list(devices: &[u32]) -> Recency {
        let mut list = Recency::new();
        for device in devices {
            list.insert(*device);
        }
        list
    }

    #[test]
    fn a_message_makes_a_device_the_newest() {
        let mut touched = list(&[3, 0, 5]);
        touched.touch(3);
        touched.touch(3);
        touched.touch(9);
        assert_eq!(drained(touched), [0, 5, 3]);
    }

    #[test]
    fn a_device_leaves_from_anywhere() {
        for (removed, expected) in [(3, [0, 5]), (0, [3, 5]), (5, [3, 0])] {
            let mut list = list(&[3, 0, 5]);
            list.remove(removed);
            list.remove(removed);
            assert_eq!(drained(list), expected);
        }
    }
}
