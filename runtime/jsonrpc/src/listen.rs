//! What a `subscriptions/listen` (2026-07-28) asks to be told of.

use std::collections::BTreeSet;

use bytestring::ByteString;
use tidegate_json::{Kind, Value};

use crate::error::Error;
use crate::notification::List;
use crate::params::{Params, SUBJECT_MAX};

/// The most that one request may ask for. URIs have at most [`SUBJECT_MAX`] bytes.
#[derive(Debug, Clone, Copy)]
pub struct WantedLimits {
    /// Resources. Equal ones count, so that a long list is not read to its end.
    pub resources: usize,
    /// Bytes of all distinct URIs, and the name of the option that says so. Absent: the message bounds them.
    pub bytes: Option<(usize, &'static str)>,
}

/// The lists and resources whose changes a client wants to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Lists, in the order of [`List::ALL`].
    pub lists: Vec<List>,
    /// URIs. They share the memory of the request.
    pub resources: BTreeSet<ByteString>,
}

impl Wanted {
    /// Reads `params.notifications`.
    pub fn read(params: &Params, limits: WantedLimits) -> Result<Self, Error> {
        let wanted = params.get("notifications")?;
        let wanted = wanted.filter(|it| it.kind() == Kind::Object);
        let wanted = wanted.ok_or_else(|| invalid(" must be an object"))?;
        Ok(Self {
            resources: resources(&wanted, limits)?,
            lists: lists(&wanted)?,
        })
    }
}

/// An error; what is wrong with `params.notifications`.
fn invalid(what: &str) -> Error {
    Error::invalid_params(format!("params.notifications{what}."))
}

fn member<'d>(wanted: &Value<'d>, name: &str) -> Result<Option<Value<'d>>, Error> {
    let found = wanted.get(name);
    found.map_err(|_| invalid(&format!(".{name} occurs twice")))
}

fn lists(wanted: &Value<'_>) -> Result<Vec<List>, Error> {
    let mut lists = Vec::new();
    for list in List::ALL {
        let name = list.member();
        match member(wanted, name)?.map(|it| (it.as_bool(), it.kind())) {
            None | Some((Some(false), _) | (_, Kind::Null)) => {}
            Some((Some(true), _)) => lists.push(list),
            Some(_) => return Err(invalid(&format!(".{name} must be true or false"))),
        }
    }
    Ok(lists)
}

fn resources(wanted: &Value<'_>, limits: WantedLimits) -> Result<BTreeSet<ByteString>, Error> {
    const NAME: &str = "resourceSubscriptions";
    let invalid = |what: &str| invalid(&format!(".{NAME} {what}"));
    let mut found = BTreeSet::new();
    let Some(uris) = member(wanted, NAME)? else {
        return Ok(found);
    };
    if uris.kind() != Kind::Array {
        return Err(invalid("must be an array of URIs"));
    }
    let mut bytes = 0;
    for (before, uri) in uris.elements().enumerate() {
        if before >= limits.resources {
            let most = limits.resources;
            return Err(invalid(&format!("has more than {most} entries")));
        }
        let uri = uri.string();
        let uri = uri.ok_or_else(|| invalid("must contain strings"))?;
        let length = uri.len();
        if length > SUBJECT_MAX {
            return Err(invalid(&format!(
                "has a URI that exceeds {SUBJECT_MAX} bytes"
            )));
        }
        if !found.insert(uri) {
            continue;
        }
        bytes += length;
        if let Some((most, option)) = limits.bytes
            && bytes > most
        {
            return Err(invalid(&format!(
                "exceeds {most} bytes in total ({option})"
            )));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Document, Limits, Parts};

    use super::*;
    use crate::code;

    const LIMITS: WantedLimits = WantedLimits {
        resources: 3,
        bytes: Some((4, "maxBytes")),
    };

    fn read(text: &str) -> Result<Wanted, Error> {
        let parts = Parts::from(Bytes::copy_from_slice(text.as_bytes()));
        let document = Document::parse(parts, Limits::default()).expect("JSON");
        Wanted::read(&Params::of(Some(document)), LIMITS)
    }

    fn wanted(notifications: &str) -> Result<Wanted, Error> {
        read(&format!(r#"{{"notifications":{notifications}}}"#))
    }

    #[test]
    fn lists_and_distinct_resources_are_read() {
        let found = wanted(
            r#"{"toolsListChanged":true,"promptsListChanged":false,"resourcesListChanged":null,
                "resourceSubscriptions":["b","abc","b"],"other":7}"#,
        );
        let found = found.expect("valid");
        assert_eq!(found.lists, [List::Tools]);
        let resources: Vec<&str> = found.resources.iter().map(|it| &**it).collect();
        assert_eq!(resources, ["abc", "b"]);
        let all =
            r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;
        assert_eq!(wanted(all).expect("valid").lists, List::ALL);
        assert_eq!(wanted("{}").expect("valid"), Wanted::default());
    }

    #[test]
    fn what_is_not_valid_or_too_much_is_refused() {
        let of = |uris: &str| format!(r#"{{"resourceSubscriptions":{uris}}}"#);
        let long = format!(r#"["{}"]"#, "u".repeat(SUBJECT_MAX + 1));
        let uris = ".resourceSubscriptions";
        for (notifications, what) in [
            ("[]".to_owned(), " must be an object".to_owned()),
            ("null".to_owned(), " must be an object".to_owned()),
            (
                r#"{"toolsListChanged":1}"#.to_owned(),
                ".toolsListChanged must be true or false".to_owned(),
            ),
            (of(r#""a""#), format!("{uris} must be an array of URIs")),
            (of("[7]"), format!("{uris} must contain strings")),
            (
                of(r#"["a","a","a","a"]"#),
                format!("{uris} has more than 3 entries"),
            ),
            (
                of(r#"["abc","de"]"#),
                format!("{uris} exceeds 4 bytes in total (maxBytes)"),
            ),
            (
                of(&long),
                format!("{uris} has a URI that exceeds {SUBJECT_MAX} bytes"),
            ),
        ] {
            let error = wanted(&notifications).expect_err(&what);
            assert_eq!(error.code(), code::INVALID_PARAMS);
            assert_eq!(error.message(), format!("params.notifications{what}."));
        }
        assert!(read("{}").is_err(), "it is required");
        for name in ["toolsListChanged", "resourceSubscriptions"] {
            let twice = format!(r#"{{"{name}":null,"{name}":null}}"#);
            let error = wanted(&twice).expect_err("a duplicate");
            let expected = format!("params.notifications.{name} occurs twice.");
            assert_eq!(error.message(), expected);
        }
    }
}
