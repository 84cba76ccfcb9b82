//! The client identifiers in use: a broker closes the connection of one client when another connects
//! with its identifier.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

/// An identifier in use.
#[derive(Debug)]
struct Use {
    /// The client or caller whose connection has it.
    client: ByteString,
    /// A connection that is being closed may have the identifier of its successor.
    count: u32,
}

/// The numbers of the further connections of one client.
#[derive(Debug, Default)]
struct Numbers {
    last: u32,
    /// Those up to `last` that are free again.
    free: BTreeSet<u32>,
}

/// The identifiers of all connections. An identifier is found in logarithmic time, however many
/// connections there are.
#[derive(Debug, Default)]
pub(super) struct ClientIds {
    used: BTreeMap<ByteString, Use>,
    /// By the identifier before the suffix.
    numbers: BTreeMap<ByteString, Numbers>,
}

impl ClientIds {
    /// Whether a connection of another client or caller has the identifier.
    pub(super) fn is_of_another(&self, client_id: &str, client: &str) -> bool {
        let used = self.used.get(client_id);
        used.is_some_and(|used| *used.client != *client)
    }

    /// The first free identifier with a suffix: `gate_2`.
    pub(super) fn further(&mut self, base: &ByteString) -> ByteString {
        let numbers = self.numbers.entry(base.clone()).or_default();
        loop {
            let number = numbers.free.pop_first().unwrap_or_else(|| {
                numbers.last += 1;
                numbers.last
            });
            let client_id: ByteString = format!("{base}_{}", number + 1).into();
            if !self.used.contains_key(&client_id) {
                return client_id;
            }
        }
    }

    /// A connection has the identifier.
    pub(super) fn take(&mut self, client_id: &ByteString, client: &ByteString) {
        let used = self.used.entry(client_id.clone()).or_insert_with(|| Use {
            client: client.clone(),
            count: 0,
        });
        used.count += 1;
    }

    /// A connection with the identifier is over.
    pub(super) fn free(&mut self, client_id: &ByteString) {
        let Some(used) = self.used.get_mut(client_id) else {
            return;
        };
        used.count -= 1;
        if used.count > 0 {
            return;
        }
        self.used.remove(client_id);
        let Some((base, number)) = client_id.rsplit_once('_') else {
            return;
        };
        let number = number.parse::<u32>().ok().and_then(|it| it.checked_sub(1));
        if let Some(numbers) = self.numbers.get_mut(base)
            && let Some(number) = number.filter(|it| (1..=numbers.last).contains(it))
        {
            numbers.free.insert(number);
            if numbers.free.len() == usize::try_from(numbers.last).unwrap_or(usize::MAX) {
                self.numbers.remove(base);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn further(ids: &mut ClientIds) -> String {
        let client_id = ids.further(&"gate".into());
        ids.take(&client_id, &"gate".into());
        client_id.to_string()
    }

    #[test]
    fn the_first_free_suffix_is_used_and_nothing_is_kept_after_the_last() {
        let mut ids = ClientIds::default();
        assert_eq!(further(&mut ids), "gate_2");
        ids.take(&"gate_3".into(), &"other".into());
        assert_eq!(further(&mut ids), "gate_4", "another client is called so");
        ids.free(&"gate_2".into());
        assert_eq!(further(&mut ids), "gate_2");
        assert!(ids.is_of_another("gate_3", "gate") && !ids.is_of_another("gate_4", "gate"));
        for client_id in ["gate_2", "gate_3", "gate_4", "unknown"] {
            ids.free(&client_id.into());
        }
        assert!(ids.used.is_empty() && ids.numbers.is_empty());
    }

    #[test]
    fn an_identifier_is_free_when_its_last_connection_is_over() {
        let mut ids = ClientIds::default();
        ids.take(&"a".into(), &"a".into());
        ids.take(&"a".into(), &"a".into());
        ids.free(&"a".into());
        assert!(ids.is_of_another("a", "b"));
        ids.free(&"a".into());
        assert!(!ids.is_of_another("a", "b"));
    }
}
