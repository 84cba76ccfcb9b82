//! Any text as an address template, and any texts as topics and parts: nothing panics, a part that is read has the length
//! of whole levels, what is built is read back, and its filter matches it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_binding_mcp_device::{Address, filled, filter};
use tidegate_streams::mqtt::topic::{TopicFilter, check_name};

fuzz_target!(|texts: (String, String, [String; 4])| {
    let (template, topic, [location, kind, device, action]) = texts;
    let Ok(address) = Address::parse(&template) else {
        return;
    };
    assert_eq!(address.text(), template);
    if let Some(parts) = address.read(&topic) {
        assert!(!parts.device.is_empty() && !parts.device.contains('/'));
        assert!(!parts.action.is_empty() && topic.contains(parts.action));
        for level in [parts.location, parts.kind].into_iter().flatten() {
            assert!(!level.is_empty() && !level.contains('/'));
        }
    }
    let parts = [&location, &kind, &device, &action];
    // What `check_level` refuses is never a part.
    if parts.iter().any(|it| it.contains(['/', '{', '}']) || check_name(it).is_err()) {
        return;
    }
    let declared = address.topic(&kind, &action);
    let built = filled(&declared, &location, &device);
    // A wildcard at the beginning does not match topics that begin with '$' (MQTT 5.0, 4.7.2).
    if check_name(&built).is_err() || built.starts_with('$') {
        return;
    }
    let read = address.read(&built).expect("what is built is read back");
    assert_eq!((read.device, read.action), (&*device, &*action));
    assert!(read.location.is_none_or(|it| it == location) && read.kind.is_none_or(|it| it == kind));
    let matching = TopicFilter::parse(filter(&declared)).expect("a filter");
    assert!(matching.is_shared() || matching.matches(&built), "{matching:?} {built}");
});
