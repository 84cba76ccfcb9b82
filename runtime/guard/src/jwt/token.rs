//! The compact form of a signed token: `header.claims.signature`, each base64url without padding.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
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
    let Unique(members) = serde_json::from_slice(&decoded(text)?).ok()?;
    Some(members)
}

/// A JSON object that has no member twice: readers differ in which one they take.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Unique(members))
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
        let twice = token(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#);
        assert_eq!(
            error(&twice),
            "its claims are not a JSON object in base64url"
        );
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
