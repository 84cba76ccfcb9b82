//! Seals the `requestState` of an operation that waits for input (2026-07-28, multi round-trip
//! requests).
//!
//! The state passes through the client, so it is encrypted and authenticated (AES-256-GCM) with a key
//! that never leaves the worker. It opens only for the caller, the operation and the arguments that it
//! was made for ([`Bound`]), and it names a secret of the waiting operation, which is valid once.
//!
//! A gateway may be behind another one, so a client may send a state of either. Each state therefore
//! has an id of its key. A worker takes no state for its own that has another id: it may be a server's.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_engine::{Context, Time};
use tidegate_streams::Identity;

use crate::jsonrpc::Method;

/// What every state of tidegate begins with; the number of the worker, the id of its key and the sealed
/// text follow.
const PREFIX: &str = "tidegate.";

/// Length of the id of a key, in bytes.
const KEY_ID: usize = 12;

/// Length of the plain text: key of the request, secret and expiry.
const LENGTH: usize = 20;

/// What a state is valid for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) caller: Option<&'a Identity>,
    pub(super) method: Method,
    /// Name or URI of the operation's subject.
    pub(super) subject: &'a str,
    /// The `arguments` of the operation, as received.
    pub(super) arguments: &'a [u8],
}

/// What a state says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Key of the waiting request.
    pub(super) request: u32,
    /// Its secret.
    pub(super) secret: u64,
    /// When it is over.
    pub(super) expires: Time,
}

/// Seals and opens states.
#[derive(Default)]
pub(super) struct Seal {
    /// Made with the first state.
    key: Option<Keyed>,
}

/// A key.
struct Keyed {
    key: LessSafeKey,
    /// Its id, as text.
    id: String,
}

impl Keyed {
    fn new(bytes: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        let id = digest(
            &SHA256,
            &[b"id of a key of tidegate: ", &bytes[..]].concat(),
        );
        Some(Self {
            key: LessSafeKey::new(key),
            id: URL_SAFE_NO_PAD.encode(id.as_ref().get(..KEY_ID)?),
        })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// The worker of its gateway that made a state. Whether that is this gateway, the worker knows
/// ([`Seal::is_ours`]).
pub(super) fn worker(state: &str) -> Option<u16> {
    let (worker, _) = state.strip_prefix(PREFIX)?.split_once('.')?;
    u16::from_str_radix(worker, 16).ok()
}

impl Seal {
    /// Whether a `requestState` was made by this worker. Its other parts may have been changed.
    pub(super) fn is_ours(&self, state: &str) -> bool {
        self.sealed(state).is_some()
    }

    /// The sealed part of a state of this worker.
    fn sealed<'s>(&self, state: &'s str) -> Option<&'s str> {
        let key = self.key.as_ref()?;
        let (_, rest) = state.strip_prefix(PREFIX)?.split_once('.')?;
        let (id, sealed) = rest.split_once('.')?;
        (id == key.id).then_some(sealed)
    }

    /// The text of a state; `None` if the cryptography fails.
    pub(super) fn seal(
        &mut self,
        cx: &mut Context<'_>,
        bound: &Bound<'_>,
        state: State,
    ) -> Option<String> {
        let Keyed { key, id } = self.key(cx)?;
        let mut nonce = [0; NONCE_LEN];
        cx.random(&mut nonce);
        let aad = Aad::from(bound.bytes(cx.worker()));
        let mut sealed = state.bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, aad, &mut sealed)
            .ok()?;
        sealed.splice(..0, nonce);
        let sealed = URL_SAFE_NO_PAD.encode(&sealed);
        Some(format!("{PREFIX}{:x}.{id}.{sealed}", cx.worker()))
    }

    /// What a text says, if it is a state of this worker, is valid for `bound`, and has not expired.
    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_>,
        bound: &Bound<'_>,
        text: &str,
    ) -> Option<State> {
        let Keyed { key, .. } = self.key.as_ref()?;
        let sealed = self.sealed(text)?;
        if worker(text)? != cx.worker() {
            return None;
        }
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(bound.bytes(cx.worker()));
        let plain = key.open_in_place(nonce, aad, sealed).ok()?;
        let state = State::of(plain)?;
        (cx.now() < state.expires).then_some(state)
    }

    fn key(&mut self, cx: &mut Context<'_>) -> Option<&Keyed> {
        if self.key.is_none() {
            let mut bytes = [0; 32];
            cx.random(&mut bytes);
            self.key = Keyed::new(&bytes);
        }
        self.key.as_ref()
    }
}

impl Bound<'_> {
    /// The authenticated data: each part with its length, so that none can be taken for another. The
    /// caller is bound with all its rights ([`Identity::has_same_rights`]): the operation was begun
    /// with them.
    fn bytes(&self, worker: u16) -> Vec<u8> {
        let arguments = digest(&SHA256, self.arguments);
        let parts = [
            &worker.to_be_bytes()[..],
            self.method.name().as_bytes(),
            self.subject.as_bytes(),
            arguments.as_ref(),
        ];
        let mut bytes = Vec::with_capacity(128);
        for part in parts {
            push_part(&mut bytes, part);
        }
        let Some(caller) = self.caller else {
            return bytes;
        };
        push_part(&mut bytes, caller.guard.as_bytes());
        push_part(&mut bytes, caller.subject.as_bytes());
        push_part(&mut bytes, &[u8::from(caller.step_up)]);
        push_part(&mut bytes, &(caller.roles.len() as u64).to_be_bytes());
        for role in &caller.roles {
            push_part(&mut bytes, role.as_bytes());
        }
        for attribute in &caller.attributes {
            push_part(&mut bytes, attribute.name.as_bytes());
            push_part(&mut bytes, attribute.value.as_bytes());
        }
        bytes
    }
}

fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

impl State {
    fn bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (request, rest) = bytes.split_at_mut(4);
        let (secret, expires) = rest.split_at_mut(8);
        request.copy_from_slice(&self.request.to_be_bytes());
        secret.copy_from_slice(&self.secret.to_be_bytes());
        let expires_at = self.expires.since(Time::START).as_millis();
        expires.copy_from_slice(&expires_at.to_be_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let (request, rest) = bytes.split_first_chunk()?;
        let (secret, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let expires = tidegate_engine::Duration::from_millis(u64::from_be_bytes(*expires));
        rest.is_empty().then_some(Self {
            request: u32::from_be_bytes(*request),
            secret: u64::from_be_bytes(*secret),
            expires: Time::START + expires,
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::Duration;

    use super::*;
    use crate::server::tests::part::Bench;

    const BOUND: Bound<'_> = Bound {
        caller: None,
        method: Method::ToolsCall,
        subject: "publish",
        arguments: b"{\"topic\":\"a\"}",
    };

    const fn bound(caller: &Identity) -> Bound<'_> {
        Bound {
            caller: Some(caller),
            ..BOUND
        }
    }

    fn state(millis: u64) -> State {
        State {
            request: 7,
            secret: 42,
            expires: Time::START + Duration::from_millis(millis),
        }
    }

    #[test]
    fn a_state_opens_for_what_it_was_made_for_and_nothing_else() {
        let mut bench = Bench::new();
        let mut seal = Seal::default();
        let text = bench.act(|cx| seal.seal(cx, &BOUND, state(1_000)).expect("sealed"));
        assert!(seal.is_ours(&text) && !text.contains("publish"), "{text}");
        let mut open = |bound: &Bound<'_>, text: &str| bench.act(|cx| seal.open(cx, bound, text));
        assert_eq!(open(&BOUND, &text), Some(state(1_000)));

        let alice = Identity {
            subject: "alice".into(),
            ..Identity::default()
        };
        for other in [
            Bound {
                caller: Some(&alice),
                ..BOUND
            },
            Bound {
                method: Method::PromptsGet,
                ..BOUND
            },
            Bound {
                subject: "receive",
                ..BOUND
            },
            Bound {
                arguments: b"{\"topic\":\"b\"}",
                ..BOUND
            },
        ] {
            assert_eq!(open(&other, &text), None, "{other:?}");
        }
        for other in [
            format!("{text}A"),
            text.replacen(".0.", ".1.", 1),
            text[..text.len() - 2].to_owned(),
            PREFIX.to_owned(),
            format!("{PREFIX}0."),
            String::new(),
        ] {
            assert_eq!(open(&BOUND, &other), None, "{other}");
        }
    }

    #[test]
    fn a_state_of_another_gateway_is_not_ours() {
        let mut bench = Bench::new();
        let (mut seal, mut other) = (Seal::default(), Seal::default());
        let theirs = bench.act(|cx| other.seal(cx, &BOUND, state(1_000)).expect("sealed"));
        assert!(!seal.is_ours(&theirs), "before the first state");
        let ours = bench.act(|cx| seal.seal(cx, &BOUND, state(1_000)).expect("sealed"));
        assert!(seal.is_ours(&ours) && other.is_ours(&theirs));
        assert!(!seal.is_ours(&theirs) && !other.is_ours(&ours));
        assert_eq!(worker(&theirs), Some(0), "its own worker");
        assert!(!seal.is_ours("state of a server") && !seal.is_ours("tidegate.0.AA"));
    }

    #[test]
    fn a_caller_with_other_rights_is_another_caller() {
        let mut bench = Bench::new();
        let mut seal = Seal::default();
        let alice = Identity {
            subject: "alice".into(),
            roles: vec!["operator".into()],
            expires: 7,
            ..Identity::default()
        };
        let text = bench.act(|cx| seal.seal(cx, &bound(&alice), state(1_000)).expect("sealed"));
        let mut opens =
            |caller: &Identity| bench.act(|cx| seal.open(cx, &bound(caller), &text).is_some());
        let renewed = Identity {
            expires: 8,
            ..alice.clone()
        };
        assert!(opens(&alice) && opens(&renewed));
        let attribute = tidegate_streams::IdentityAttribute {
            name: "site".into(),
            value: "north".into(),
        };
        for other in [
            Identity {
                roles: Vec::new(),
                ..alice.clone()
            },
            Identity {
                roles: vec!["operator".into(), "admin".into()],
                ..alice.clone()
            },
            Identity {
                attributes: vec![attribute],
                ..alice.clone()
            },
            Identity {
                guard: "staff".into(),
                ..alice.clone()
            },
        ] {
            assert!(!opens(&other), "{other:?}");
        }
    }

    #[test]
    fn a_changed_letter_is_found() {
        let mut bench = Bench::new();
        let mut seal = Seal::default();
        let text = bench.act(|cx| seal.seal(cx, &BOUND, state(1_000)).expect("sealed"));
        let begin = text.rfind('.').expect("a point") + 1;
        for at in begin..text.len() - 1 {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert_eq!(bench.act(|cx| seal.open(cx, &BOUND, &changed)), None);
        }
    }

    #[test]
    fn a_state_expires() {
        let mut bench = Bench::new();
        let mut seal = Seal::default();
        let text = bench.act(|cx| seal.seal(cx, &BOUND, state(10)).expect("sealed"));
        bench.rig.advance(Duration::from_millis(9));
        assert!(bench.act(|cx| seal.open(cx, &BOUND, &text)).is_some());
        bench.rig.advance(Duration::from_millis(1));
        assert!(bench.act(|cx| seal.open(cx, &BOUND, &text)).is_none());
    }

    #[test]
    fn the_bytes_of_a_state_can_be_read() {
        let state = state(5);
        assert_eq!(State::of(&state.bytes()), Some(state));
        assert_eq!(State::of(&state.bytes()[1..]), None);
        assert_eq!(State::of(&[0; LENGTH + 1]), None);
    }
}
