//! Any text as a token and as a set of keys: nobody without a key makes a token that is accepted.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate_guard::jwt::{Jwt, KeySet, Options};
use tidegate_guard::{Check, Credential, Guard as _};

// RFC 7515, A.3.
const OPTIONS: &str = r#"{"issuer":"https://id.example","audience":"a","keys":[{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

static GUARD: LazyLock<Jwt> = LazyLock::new(|| {
    let options: Options = serde_json::from_str(OPTIONS).expect("options");
    Jwt::new("id", &options, None)
});

fuzz_target!(|text: &str| {
    let check = GUARD.check(Credential::Text(text), 1_800_000_000_000);
    assert!(matches!(check, Check::Refused(_)));
    let _ = KeySet::parse(text.as_bytes());
});
