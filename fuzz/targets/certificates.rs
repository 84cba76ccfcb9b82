//! Any bytes as a certificate.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate_guard::x509::X509;
use tidegate_guard::{Credential, Guard as _};

const OPTIONS: &str = r#"{"identity":"subject.dn","roles":{"a":[{"san.uri":"*","issuer.dn":"*"}]},
    "attributes":{"b":"san.email"}}"#;

static GUARD: LazyLock<X509> =
    LazyLock::new(|| X509::new("machines", serde_json::from_str(OPTIONS).expect("options")));

fuzz_target!(|der: &[u8]| {
    let _ = GUARD.check(Credential::Certificate(der), 1_800_000_000_000);
});
