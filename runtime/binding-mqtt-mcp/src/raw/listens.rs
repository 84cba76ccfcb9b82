//! All `subscriptions/listen` of raw routes: which there are, and how many a device may have.

use std::collections::BTreeMap;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{BindingId, CallContext, Context};
use tidegate_jsonrpc::Id;

use super::listen::{CONFIRM, Listen};
use super::request::Wanted;
use crate::exchange::GRACE;
use crate::options::Options;
use crate::request::{Content, Envelope, Fingerprint, Key};

/// Most resources that the listens of one device have.
const STREAMS_PER_DEVICE: usize = 100;
/// Most resources that all listens have.
const STREAMS_MAX: usize = 1_000;

/// All listens.
#[derive(Debug)]
pub(crate) struct Listens {
    all: Slab<Listen>,
    by_key: BTreeMap<Key, usize>,
    by_device: BTreeMap<ByteString, Load>,
    /// Number of streams of all listens.
    streams: usize,
    max: usize,
    max_per_device: usize,
}

/// What a device has.
#[derive(Debug, Default)]
struct Load {
    listens: usize,
    /// Streams at the exit.
    streams: usize,
}

/// Whether a listen is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// It came again.
    Renewed(usize),
    /// Another request has its correlation.
    Other,
}

impl Listens {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            all: Slab::new(),
            by_key: BTreeMap::new(),
            by_device: BTreeMap::new(),
            streams: 0,
            max: options.max_listens.size(),
            max_per_device: options.max_listens_per_device.size(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Listen> {
        self.all.get_mut(index)
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn indexes(&self) -> Vec<usize> {
        self.all.iter().map(|(index, _)| index).collect()
    }

    pub(crate) fn find(&self, key: &Key, content: &Content) -> Known {
        match self.by_key.get(key) {
            None => Known::New,
            Some(index) => match self.all.get(*index) {
                Some(listen) if listen.content == *content => Known::Renewed(*index),
                _ => Known::Other,
            },
        }
    }

    /// The limit that has no room for a further listen of a device.
    pub(crate) fn full(&self, device: &str, wanted: &Wanted) -> Option<&'static str> {
        let streams = wanted.streams();
        let load = self.by_device.get(device);
        let (listens, of_device) = load.map_or((0, 0), |it| (it.listens, it.streams));
        if self.all.len() >= self.max {
            Some("maxListens")
        } else if listens >= self.max_per_device {
            Some("maxListensPerDevice")
        } else if of_device + streams > STREAMS_PER_DEVICE {
            Some("100 resources for each device")
        } else {
            (self.streams + streams > STREAMS_MAX).then_some("1000 resources in all")
        }
    }

    /// Begins a listen: asks the exit for all that it wants. Returns its index. `call`: the context of its streams.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        exit: BindingId,
        envelope: Envelope,
        fingerprint: Fingerprint,
        wanted: Wanted,
        call: CallContext,
    ) -> usize {
        let entry = self.all.vacant_entry();
        let index = entry.key();
        let key = fingerprint.key;
        if let Some(key) = &key {
            self.by_key.insert(key.clone(), index);
        }
        let streams = wanted.streams();
        self.streams += streams;
        let load = self.by_device.entry(envelope.device.clone()).or_default();
        load.listens += 1;
        load.streams += streams;
        let timeout = call.deadline.map(|it| it.since(cx.now()));
        let content = fingerprint.content;
        let listen = entry.insert(Listen::new(envelope, key, content, call, streams));
        listen.open(cx, exit, index, wanted);
        let after = timeout.unwrap_or_default() + GRACE;
        listen.set_timer(cx, index, after, CONFIRM);
        index
    }

    /// Cancels the listen of a request with this key and id, and returns it.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>, key: &Key, id: &Id) -> Option<Listen> {
        let index = self.by_key.get(key).copied()?;
        self.all.get(index).filter(|it| it.is_of(id))?;
        self.remove(cx, index)
    }

    /// Ends the streams of a listen and removes it.
    pub(crate) fn remove(&mut self, cx: &mut Context<'_>, index: usize) -> Option<Listen> {
        let mut listen = self.all.try_remove(index)?;
        listen.close(cx);
        if let Some(key) = &listen.key {
            self.by_key.remove(key);
        }
        self.streams = self.streams.saturating_sub(listen.streams);
        if let Some(load) = self.by_device.get_mut(&listen.envelope.device) {
            load.listens = load.listens.saturating_sub(1);
            load.streams = load.streams.saturating_sub(listen.streams);
            if load.listens == 0 {
                self.by_device.remove(&listen.envelope.device);
            }
        }
        Some(listen)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_jsonrpc::notification::List;

    use super::*;

    #[test]
    fn listens_and_their_resources_are_limited() {
        let mut listens = Listens::new(&Options::default());
        let wanted = |count: usize| Wanted {
            lists: vec![List::Tools],
            resources: (1..count).map(|it| it.to_string().into()).collect(),
        };
        assert_eq!(listens.full("d", &wanted(100)), None);
        let reason = listens.full("d", &wanted(101));
        assert_eq!(reason, Some("100 resources for each device"));
        let load = |listens, streams| Load { listens, streams };
        listens.by_device.insert("d".into(), load(2, 60));
        listens.by_device.insert("e".into(), load(10, 10));
        listens.streams = 950;
        assert_eq!(listens.full("d", &wanted(40)), None);
        assert!(listens.full("d", &wanted(41)).is_some());
        assert_eq!(listens.full("e", &wanted(1)), Some("maxListensPerDevice"));
        assert_eq!(
            listens.full("f", &wanted(51)),
            Some("1000 resources in all")
        );
    }
}
