//! Any text as a template, and any text as the payload that it reads: nothing panics, and the output is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_device::Template;

fuzz_target!(|texts: (String, String)| {
    let (source, payload) = texts;
    let context = match serde_json::from_str::<serde_json::Value>(&payload) {
        Ok(json) => serde_json::json!({ "value": payload, "value_json": json }),
        Err(_) => serde_json::json!({ "value": payload }),
    };
    for template in [Template::new(&source), Template::home_assistant(&source)] {
        if let Ok(Ok(text)) = template.map(|it| it.render(&context)) {
            assert!(text.len() <= 65_536);
        }
    }
});
