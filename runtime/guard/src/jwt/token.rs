//! The compact form of a signed token: `header.claims.signature`, each base64url without padding.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;

/// A token whose signature has not been verified.
pub(crate) struct Token<'t> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads a token of a bounded length; says what is wrong with it.
    pub(crate) fn parse(text: &'t str) -> Result<Self, &'static str> {
        let (signed, signature) = text.rsplit_once('.').ok_or("a token has three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("a token has three parts")?;
        // Five parts are an encrypted token.
        if claims.contains('.') {
            return Err("a token has three parts");
        }
        let header = object(header).ok_or("its header is not a JSON object in base64url")?;
        if header.contains_key("crit") {
            return Err("its header has extensions (crit)");
        }
        let kid = header.get("kid");
        if !header.get("alg").is_some_and(Value::is_string) || kid.is_some_and(|it| !it.is_string())
        {
            return Err("its header has no valid alg and kid");
        }
        let claims = object(claims).ok_or("its claims are not a JSON object in base64url")?;
        let signature = decoded(signature).ok_or("its signature is not base64url")?;
        Ok(Self {
            header,
            claims,
            signed,
            signature,
        })
    }

    /// The algorithm, if it is supported. `none` and those with shared secrets (HS256) are not.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::named(self.header.get("alg")?.as_str()?)
    }

    /// Id of the key that it says it is signed with.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    /// The claims. They mean nothing until the signature is verified.
    pub(crate) const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(crate) const fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn object(text: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&decoded(text)?).ok()? {
        Unique(Value::Object(members)) => Some(members),
        Unique(_) => None,
    }
}

/// JSON of which no object has a member twice: readers differ in which one they take.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unique, A::Error> {
        let mut elements = Vec::new();
        while let Some(Unique(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(Unique(Value::Array(elements)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unique(value))) = map.next_entry::<String, Unique>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Unique(Value::Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.AAAA", encode(header), encode(claims))
    }

    fn error(text: &str) -> &'static str {
        Token::parse(text).err().unwrap_or("it is a token")
    }

    #[test]
    fn a_token_is_read() {
        let text = token(
            " {\"alg\":\"RS256\",\r\n \"kid\":\"a\"}",
            r#"{"iss":"joe"}"#,
        );
        let token = Token::parse(&text).expect("a token");
        assert_eq!(token.algorithm(), Some(Algorithm::Rs256));
        assert_eq!(token.kid(), Some("a"));
        assert_eq!(token.claims().get("iss"), Some(&"joe".into()));
        assert_eq!(token.signature(), [0, 0, 0]);
        let signed = text.strip_suffix(".AAAA").expect("it ends so");
        assert_eq!(token.signed(), signed.as_bytes());
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let parts = "a token has three parts";
        for text in ["", "a", "a.b.c.d", "a.b.c.d.e", "Bearer x"] {
            assert_eq!(error(text), parts, "{text}");
        }
        let form = "its header is not a JSON object in base64url";
        for header in ["[]", "1", "{", r#"{"alg":"ES256","alg":"none"}"#] {
            assert_eq!(error(&token(header, "{}")), form, "{header}");
        }
        assert_eq!(error("e30=.e30.AA"), form);
        for header in ["{}", r#"{"alg":null}"#, r#"{"alg":"ES256","kid":1}"#] {
            let found = error(&token(header, "{}"));
            assert_eq!(found, "its header has no valid alg and kid", "{header}");
        }
        let critical = token(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "{}");
        assert_eq!(error(&critical), "its header has extensions (crit)");
        for claims in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"realm_access":{"roles":["viewer"],"roles":["admin"]}}"#,
            r#"{"a":[{"b":1,"\u0062":2}]}"#,
        ] {
            let twice = token(r#"{"alg":"ES256"}"#, claims);
            assert_eq!(
                error(&twice),
                "its claims are not a JSON object in base64url",
                "{claims}"
            );
        }
        // A last letter with bits that say nothing: two texts would be one signature.
        let loose = token(r#"{"alg":"ES256"}"#, "{}").replace("AAAA", "AB");
        assert_eq!(error(&loose), "its signature is not base64url");
    }

    #[test]
    fn algorithms_without_a_public_key_are_unsupported() {
        for name in ["none", "None", "HS256", "HS512", "RS1", "rs256", ""] {
            let text = token(&format!(r#"{{"alg":"{name}"}}"#), "{}");
            let token = Token::parse(&text).expect("a token");
            assert_eq!(token.algorithm(), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn json_is_read_as_serde_json_reads_it(text in r#"[\[\]{}:,"a0-9.e\-ntrufls ]{0,30}"#) {
            let expected: Option<Value> = serde_json::from_str(&text).ok();
            if let Ok(Unique(value)) = serde_json::from_str(&text) {
                prop_assert_eq!(Some(value), expected);
            } else if let Some(expected) = expected {
                // A member occurs twice.
                prop_assert!(expected.to_string().contains('{'), "an object");
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Token::parse(&text);
        }

        #[test]
        fn no_json_panics(
            header in r#"\{("alg":"[A-Z0-9]{0,5}",?)?("kid":"?[a-z]{0,3}"?)?\}"#,
            claims in r#"\{("[a-z]{0,3}":[0-9\[\]]{1,9})?\}"#,
        ) {
            let _ = Token::parse(&token(&header, &claims));
        }
    }
}
