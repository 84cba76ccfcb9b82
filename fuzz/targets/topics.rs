//! Any text as topic names and filters: what covers matches whatever the covered one matches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_streams::mqtt::topic::{TopicFilter, check_name};

fuzz_target!(|texts: (String, String, String)| {
    let (one, other, name) = texts;
    let name_is_legal = check_name(&name).is_ok();
    let (Ok(one), Ok(other)) = (TopicFilter::parse(one), TopicFilter::parse(other)) else {
        return;
    };
    assert!(one.covers(&one) && one.overlaps(&one));
    assert_eq!(one.overlaps(&other), other.overlaps(&one));
    if !name_is_legal {
        return;
    }
    let (first, second) = (one.matches(&name), other.matches(&name));
    if one.covers(&other) {
        assert!(first || !second, "{one:?} covers {other:?}, and {name:?} is its alone");
    }
    if first && second {
        assert!(one.overlaps(&other), "{one:?} and {other:?} both match {name:?}");
    }
});
