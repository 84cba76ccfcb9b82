//! Who connects to the broker: which streams share a connection, and with whose credentials it is
//! opened.
//!
//! By default each session has a connection, with the credentials of the options. With `connections:
//! identity`, each authenticated caller has connections of its own, with the *account* that `accounts`
//! gives it at the broker: a user name and a password, a client certificate, or both. So the access list
//! and the log of the broker know the caller, and the broker is a second line of defence.
//!
//! - The first entry of `accounts` that applies counts. A caller without one is refused before a
//!   connection is opened, unless `withoutAccount` says otherwise.
//! - Streams without an identity use the connection of the gateway: those of anonymous callers, and
//!   those that a binding opens for all callers, such as the feed of `mcp_device`.
//! - A connection is shared only by callers with the same subject of the same guard, the same entry and
//!   the same attributes in it.
//! - The broker's refusal of an account holds off that account alone (see `link`).
//! - `maxConnections` bounds the connections, and `idleTimeout` closes unused ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytestring::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_engine::Context;
use tidegate_options::{CallerText, Glob, GuardReference, Guarded, OptionConflict};
use tidegate_streams::{Identity, shown};

use super::authentication::Authentication;
use super::credentials::Password;
use super::events::AccountMissing;
use super::failure::Failure;
use super::options::{Name, Options};
use crate::codec::ReasonCode;

/// Most entries of `accounts`.
const ACCOUNTS_MAX: usize = 10_000;
/// Most characters of a subject in a client identifier.
const SUBJECT_MAX: usize = 64;

/// Which streams share a connection to the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Connections {
    /// Those of a session; those without a session share another one.
    #[default]
    Session,
    /// All.
    One,
    /// Those of an authenticated caller, with its account.
    Identity,
}

/// What applies to an authenticated caller without an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WithoutAccount {
    /// It is refused.
    #[default]
    Refuse,
    /// It uses the connection and the credentials of the gateway.
    Gateway,
}

/// The account of some callers at the broker.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AccountEntry {
    /// Callers that it is for: for each guard, the roles that its identities need.
    guarded: Guarded,
    /// Subject of the callers, as a glob in which `*` stands for any text. Absent: every subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Glob>,
    /// Attributes that the callers must have: for each name, a glob.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, Glob>,
    /// Client identifier of their connections. It may contain the caller, as
    /// `${guarded['GUARD'].identity}`; workers beyond the first append their number. Absent: that of the
    /// gateway and the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<CallerText>,
    /// User name. It may contain the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<CallerText>,
    /// Password: text, `{ base64: … }` or `{ file: … }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Password>,
    /// Enhanced authentication, which requires MQTT 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authentication: Option<Authentication>,
    /// Name of the client certificate in `certificates` of the `tls · client`. It may contain the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CallerText>,
}

/// Reads `accounts`, and checks each.
pub(super) fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<AccountEntry>, D::Error> {
    let accounts = Vec::<AccountEntry>::deserialize(deserializer)?;
    for entry in &accounts {
        entry.check().map_err(de::Error::custom)?;
    }
    Ok(accounts)
}

/// Who a connection is for, and what it presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// The subject of the caller.
    pub(super) subject: ByteString,
    /// Client identifier, without what makes it unique.
    pub(super) client_id: ByteString,
    pub(super) username: Option<ByteString>,
    /// Name of the client certificate; empty: that of the `tls · client`.
    pub(super) certificate: ByteString,
    /// Index of its entry, for the password.
    pub(super) entry: usize,
}

impl AccountEntry {
    fn texts(&self) -> impl Iterator<Item = &CallerText> {
        let texts = [&self.client_id, &self.username, &self.certificate];
        texts.into_iter().filter_map(Option::as_ref)
    }

    fn check(&self) -> Result<(), String> {
        let mut foreign = self.texts().filter_map(CallerText::guard);
        if let Some(guard) = foreign.find(|guard| !self.guarded.names(guard)) {
            return Err(format!(
                "it contains the callers of guard '{guard}', which 'guarded' does not name; use \
                 guarded: {{ {guard}: [] }}"
            ));
        }
        let has_credentials = self.username.is_some()
            || self.password.is_some()
            || self.authentication.is_some()
            || self.certificate.is_some();
        if has_credentials {
            return Ok(());
        }
        let why = "an account without credentials; set username and password, authentication or certificate";
        Err(why.to_owned())
    }

    fn is_for(&self, caller: &Identity) -> bool {
        let has = |(name, glob): (&String, &Glob)| {
            caller.attribute(name).is_some_and(|it| glob.matches(it))
        };
        let subject = self.subject.as_ref();
        self.guarded.permits(Some(caller))
            && subject.is_none_or(|glob| glob.matches(&caller.subject))
            && self.attributes.iter().all(has)
            && self.texts().all(|text| text.is_for(caller))
    }

    /// What tells the connections of a caller from those of others. Each value is preceded by its
    /// length, so that no subject equals another with an attribute.
    fn key(&self, index: usize, caller: &Identity) -> ByteString {
        // The one allocation for a stream with `connections: identity`.
        let mut key = index.to_string();
        let mut push = |value: &str| {
            let _ = write!(key, " {}:{value}", value.len());
        };
        push(&caller.guard);
        push(&caller.subject);
        for name in self.texts().flat_map(CallerText::attributes) {
            push(caller.attribute(name).map_or("", |value| value));
        }
        key.into()
    }
}

/// Whose connections a stream uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// Those of the client with this identifier.
    Client(ByteString),
    /// Those of a caller, under this key, with the entry at this index.
    Caller(ByteString, usize),
}

impl Owner {
    /// Under which its connections are found.
    pub(super) const fn key(&self) -> &ByteString {
        match self {
            Self::Client(key) | Self::Caller(key, _) => key,
        }
    }
}

impl Options {
    /// Whose connections a stream uses that names the client `client_id`; `own` is the gateway's.
    pub(super) fn owner(
        &self,
        cx: &mut Context<'_>,
        client_id: Option<ByteString>,
        own: &ByteString,
    ) -> Result<Owner, Failure> {
        let gateway = || Owner::Client(own.clone());
        match self.connections {
            Connections::Session => Ok(match client_id {
                Some(client_id) if !client_id.is_empty() => Owner::Client(client_id),
                _ => gateway(),
            }),
            Connections::One => Ok(gateway()),
            Connections::Identity => {
                let Some(caller) = cx.identity() else {
                    return Ok(gateway());
                };
                let mut entries = self.accounts.iter().enumerate();
                match entries.find(|(_, entry)| entry.is_for(caller)) {
                    Some((index, entry)) => Ok(Owner::Caller(entry.key(index, caller), index)),
                    None if self.without_account == WithoutAccount::Gateway => Ok(gateway()),
                    None => Err(no_account(cx)),
                }
            }
        }
    }

    /// The account of a caller with the entry at this index.
    pub(super) fn account(
        &self,
        caller: &Identity,
        index: usize,
        own: &str,
        worker: u16,
    ) -> Result<Account, Failure> {
        let Some(entry) = self.accounts.get(index) else {
            return Err(Failure::local("An account has no entry.".to_owned()));
        };
        let text = |text: &Option<CallerText>| text.as_ref().and_then(|it| it.of(caller));
        let client_id = match (text(&entry.client_id), worker) {
            (Some(client_id), 0) => client_id,
            (Some(client_id), worker) => format!("{client_id}:{worker}"),
            (None, _) => format!("{own}-{}", plain(&caller.subject)),
        };
        let username = text(&entry.username);
        for (what, text) in [
            ("user name", username.as_deref()),
            ("clientId", Some(&*client_id)),
        ] {
            if let Some(error) = text.and_then(|text| Name::check(text).err()) {
                let reason = format!(
                    "Invalid {what} of the account of '{}': {error}.",
                    shown(&caller.subject)
                );
                return Err(Failure::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD, reason));
            }
        }
        Ok(Account {
            subject: caller.subject.clone(),
            client_id: client_id.into(),
            username: username.map(ByteString::from),
            certificate: text(&entry.certificate).unwrap_or_default().into(),
            entry: index,
        })
    }

    /// The client certificates that accounts name, except those that depend on the caller.
    pub fn certificates(&self) -> impl Iterator<Item = &str> {
        let named = self
            .accounts
            .iter()
            .filter_map(|it| it.certificate.as_ref());
        named
            .filter(|it| it.guard().is_none())
            .map(CallerText::text)
    }

    /// Whether a connection uses enhanced authentication.
    pub(super) fn authenticates(&self) -> bool {
        let own = self.authentication.is_some();
        own || self.accounts.iter().any(|it| it.authentication.is_some())
    }

    /// The guards of the accounts.
    pub(super) fn guards_of_accounts(&self) -> Vec<GuardReference> {
        let references = self.accounts.iter().enumerate().flat_map(|(index, entry)| {
            let path = ["accounts", &index.to_string(), "guarded"];
            entry.guarded.references(&path)
        });
        references.collect()
    }

    /// Options of the accounts that contradict each other.
    pub(super) fn conflicts_of_accounts(&self) -> Vec<OptionConflict> {
        let conflict = |key, message: &str, help: &str| {
            vec![OptionConflict {
                key,
                message: message.to_owned(),
                help: help.to_owned(),
            }]
        };
        let is_for_each = self.connections == Connections::Identity;
        if self.accounts.len() > ACCOUNTS_MAX {
            let message = format!("too many accounts; at most {ACCOUNTS_MAX} are supported");
            let help = "use one entry for several callers, with the caller in 'username'";
            return conflict("accounts", &message, help);
        }
        if !is_for_each && !self.accounts.is_empty() {
            return conflict(
                "accounts",
                "'accounts' needs 'connections: identity'",
                "set connections: identity, or remove 'accounts'",
            );
        }
        if is_for_each && self.accounts.is_empty() && self.without_account == WithoutAccount::Refuse
        {
            return conflict(
                "connections",
                "'connections: identity' needs 'accounts': every authenticated caller would be refused",
                "add an account, e.g. accounts: [{ guarded: { GUARD: [] }, username: NAME, password: … }], \
                 or set withoutAccount: gateway",
            );
        }
        Vec::new()
    }
}

/// The characters of a subject that no broker takes for anything else.
fn plain(subject: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    let characters = subject.chars().take(SUBJECT_MAX);
    characters
        .map(|c| if is_plain(&c) { c } else { '_' })
        .collect()
}

fn no_account(cx: &mut Context<'_>) -> Failure {
    cx.event_with(|cx| {
        let caller = cx.identity();
        let (identity, guard) = caller.map_or_else(Default::default, |caller| {
            (caller.subject.clone(), caller.guard.clone())
        });
        AccountMissing {
            identity,
            guard,
            operation: ByteString::from_static("connecting to the broker"),
            rule: ByteString::from_static("accounts"),
        }
    });
    let subject = cx.identity().map_or("", |caller| &caller.subject);
    let reason = format!(
        "'{}' has no account at the broker (accounts of {}).",
        shown(subject),
        cx.name()
    );
    Failure::new(ReasonCode::NOT_AUTHORIZED, reason)
}

#[cfg(test)]
mod tests {
    use tidegate_options::Options as _;
    use tidegate_streams::IdentityAttribute;

    use super::*;

    fn read(json: &str) -> Result<Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn caller(subject: &str, site: &str) -> Identity {
        Identity {
            subject: subject.into(),
            guard: "keys".into(),
            attributes: vec![IdentityAttribute {
                name: "site".into(),
                value: site.into(),
            }],
            ..Identity::default()
        }
    }

    const ACCOUNTS: &str = r#"{ "connections": "identity", "accounts": [
        { "guarded": { "keys": ["admin"] }, "username": "root", "password": "x" },
        { "guarded": { "keys": [] }, "subject": "line-*", "attributes": { "site": "north" },
          "username": "${guarded['keys'].attributes.site}.${guarded['keys'].identity}",
          "clientId": "agent-${guarded['keys'].identity}", "password": "y" },
        { "guarded": { "keys": [] }, "subject": "ca", "certificate": "${guarded['keys'].identity}" } ] }"#;

    #[test]
    fn the_first_entry_that_applies_gives_the_account() {
        let options = read(ACCOUNTS).expect("options");
        assert!(options.conflicts().is_empty());
        let entry_of = |caller: &Identity| options.accounts.iter().position(|it| it.is_for(caller));
        let line = caller("line-1", "north");
        assert_eq!(entry_of(&line), Some(1));
        let account = options.account(&line, 1, "gate", 0).expect("an account");
        assert_eq!(
            (&*account.client_id, account.username.as_deref()),
            ("agent-line-1", Some("north.line-1"))
        );
        let second = options.account(&line, 1, "gate", 2).expect("an account");
        assert_eq!(&*second.client_id, "agent-line-1:2");
        assert_eq!(entry_of(&caller("line-1", "south")), None);
        assert_eq!(entry_of(&caller("line-1/#", "north")), None, "no level");
        let by_certificate = options
            .account(&caller("ca", ""), 2, "gate", 0)
            .expect("one");
        assert_eq!(
            (&*by_certificate.client_id, &*by_certificate.certificate),
            ("gate-ca", "ca")
        );
        let admin = Identity {
            roles: vec!["admin".into()],
            ..line
        };
        assert_eq!(entry_of(&admin), Some(0));
    }

    #[test]
    fn keys_tell_callers_apart_whatever_their_subjects_are() {
        let options = read(ACCOUNTS).expect("options");
        let entry = &options.accounts[1];
        let key = |subject: &str, site: &str| entry.key(1, &caller(subject, site));
        assert_eq!(key("a", "b"), key("a", "b"));
        assert_ne!(key("a", "b"), key("a 1:b", ""));
        assert_ne!(key("a", "b"), key("a", "c"), "the user name contains it");
        let other = Identity {
            guard: "tokens".into(),
            ..caller("a", "b")
        };
        assert_ne!(entry.key(1, &other), key("a", "b"));
        assert_eq!(plain("Zoë/+#x@y.z"), "Zo____x@y.z");
    }

    #[test]
    fn contradictions_are_reported_with_a_remedy() {
        for (json, expected) in [
            (
                r#"{"accounts":[{"guarded":{"keys":[]}}]}"#,
                "an account without credentials",
            ),
            (
                r#"{"accounts":[{"guarded":{"keys":[]},"username":"${guarded['other'].identity}"}]}"#,
                "guarded: { other: [] }",
            ),
            (
                r#"{"accounts":[{"username":"a"}]}"#,
                "missing field `guarded`",
            ),
            (r#"{"connections":"all"}"#, "unknown variant `all`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
        let account = r#""accounts":[{"guarded":{"keys":[]},"username":"a"}]"#;
        for (json, expected) in [
            (
                format!("{{{account}}}"),
                Some("'accounts' needs 'connections: identity'"),
            ),
            (
                r#"{"connections":"identity"}"#.to_owned(),
                Some("every authenticated caller would be refused"),
            ),
            (
                r#"{"connections":"identity","withoutAccount":"gateway"}"#.to_owned(),
                None,
            ),
            (format!(r#"{{"connections":"identity",{account}}}"#), None),
        ] {
            let options = read(&json).expect("options");
            let conflicts = options.conflicts();
            let found = conflicts.first().map(|it| &*it.message);
            assert_eq!(found.is_some(), expected.is_some(), "{json}: {found:?}");
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(found.contains(expected), "{found}");
            }
        }
        let options = read(&format!(r#"{{"connections":"identity",{account}}}"#)).expect("options");
        let guards = options.guards();
        assert_eq!(guards[0].guard, "keys");
        assert_eq!(guards[0].path.join("."), "accounts.0.guarded.keys");
    }
}
