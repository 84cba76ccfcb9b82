//! Any bytes as the lines of an audit file: nothing panics, and a line that is accepted has the hash of
//! its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_audit::{Hash, Verifier, parse};

fuzz_target!(|bytes: &[u8]| {
    let mut verifier = Verifier::new(None);
    for line in bytes.split(|byte| *byte == b'\n') {
        verifier.line(line);
        if let Ok(found) = parse(line) {
            let text = line.len() - r#","hash":""}"#.len() - 64;
            assert_eq!(Hash::of(&line[..text]), found.hash);
        }
    }
    let report = verifier.finish();
    assert!(report.lines > 0);
});
