//! Any text as a key, a hash of a key, and a moment: what is read prints as it was, or reads again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_guard::Moment;
use tidegate_guard::apikey::{Key, PasswordHash};

fuzz_target!(|text: &str| {
    if let Ok(key) = Key::parse(text) {
        assert_eq!(key.secret(), text);
    }
    if let Ok(hash) = PasswordHash::parse(text) {
        assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
    }
    if let Some(moment) = Moment::parse(text) {
        assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
    }
});
