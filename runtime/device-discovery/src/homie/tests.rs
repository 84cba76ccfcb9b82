//! Lifecycle, limits and hostile payloads. What devices declare is in `tests/`.

use serde_json::{Value, json};

use super::*;

fn homie() -> Homie {
    Homie::new("homie", Limits::default())
}

fn state(homie: &mut Homie, id: &str, state: &str) -> Result<Change, Fault> {
    homie.take(&format!("homie/5/{id}/$state"), state.as_bytes())
}

fn description(homie: &mut Homie, id: &str, description: &Value) -> Result<Change, Fault> {
    let payload = description.to_string();
    homie.take(&format!("homie/5/{id}/$description"), payload.as_bytes())
}

fn property(datatype: &str, format: Option<&str>) -> Value {
    let mut property = json!({ "datatype": datatype, "settable": true });
    if let Some(format) = format {
        property["format"] = json!(format);
    }
    json!({ "homie": "5.0", "version": 1, "nodes": { "n": { "properties": { "p": property } } } })
}

#[test]
fn a_device_exists_while_it_has_a_state_and_a_description() -> Result<(), Fault> {
    let mut homie = homie();
    let described = property("float", None);
    assert!(state(&mut homie, "d", "init")?.is_empty());
    let change = description(&mut homie, "d", &described)?;
    assert_eq!(change.declared[0].id, "d");
    assert!(state(&mut homie, "d", "ready")?.is_empty());
    assert!(description(&mut homie, "d", &described)?.is_empty());
    let change = state(&mut homie, "d", "")?;
    assert_eq!(change.removed, ["d"]);
    let change = state(&mut homie, "d", "ready")?;
    assert_eq!(change.declared.len(), 1);
    let change = homie.take("homie/5/d/$description", b"")?;
    assert_eq!(change.removed, ["d"]);
    assert!(state(&mut homie, "d", "")?.is_empty());
    assert_eq!(
        (homie.devices.len(), homie.properties, homie.bytes),
        (0, 0, 0)
    );
    Ok(())
}

#[test]
fn what_is_not_valid_is_refused_and_what_is_known_stays() -> Result<(), Fault> {
    let mut homie = homie();
    let _ = state(&mut homie, "d", "ready")?;
    let _ = description(&mut homie, "d", &property("float", None))?;
    let bytes = homie.bytes;
    for payload in [
        "{",
        "[]",
        "{}",
        r#"{"homie":"4.0"}"#,
        r#"{"homie":"5.0","nodes":[]}"#,
    ] {
        assert!(
            homie
                .take("homie/5/d/$description", payload.as_bytes())
                .is_err(),
            "{payload}"
        );
    }
    assert!(state(&mut homie, "d", "alert").is_err());
    for topic in [
        "homie/5/D/$state",
        "homie/4/d/$state",
        "homie/5/d/$name",
        "homie/5/d/n/$state",
    ] {
        let fault = homie.take(topic, b"ready");
        assert_eq!(fault.err(), Some(Fault::NotAnAnnouncement), "{topic}");
    }
    let fault = homie.take("homie/5/d/$description", &vec![b' '; 1 << 20]);
    assert!(matches!(fault, Err(Fault::TooLarge { .. })));
    assert_eq!((homie.devices.len(), homie.bytes), (1, bytes));
    Ok(())
}

#[test]
fn a_property_with_an_illegal_value_is_ignored_alone() -> Result<(), Fault> {
    for (datatype, format) in [
        ("integer", Some("a:b")),
        ("integer", Some("1.5:2")),
        ("integer", Some("5")),
        ("float", Some("5:1")),
        ("float", Some("0:1:0")),
        ("float", Some("0:1:1:1")),
        ("float", Some("inf:")),
        ("enum", None),
        ("enum", Some("a,,b")),
        ("enum", Some("a,a")),
        ("enum", Some("a,\u{202e}b")),
        ("color", None),
        ("color", Some("cmyk")),
        ("boolean", Some("on")),
        ("tensor", None),
    ] {
        let mut homie = homie();
        let _ = state(&mut homie, "d", "ready")?;
        let change = description(&mut homie, "d", &property(datatype, format))?;
        assert_eq!(change.refused.len(), 1, "{datatype} {format:?}");
        assert!(change.declared[0].properties.is_empty());
    }
    Ok(())
}

#[test]
fn a_schema_of_a_device_is_used_if_it_is_harmless() -> Result<(), Fault> {
    let fallback = json!({ "type": ["array", "object"] });
    let good = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "not": deep });
    }
    for (schema, expected) in [
        (good.to_string(), &good),
        (
            json!({ "$ref": "http://example.com" }).to_string(),
            &fallback,
        ),
        (
            json!({ "properties": { "a": { "pattern": "(a*)*b" } } }).to_string(),
            &fallback,
        ),
        (json!({ "title": "a\u{0}b" }).to_string(), &fallback),
        (deep.to_string(), &fallback),
        ("{".to_owned(), &fallback),
        ("true".to_owned(), &fallback),
    ] {
        let mut homie = homie();
        let _ = state(&mut homie, "d", "ready")?;
        let change = description(&mut homie, "d", &property("json", Some(&schema)))?;
        let command = &change.declared[0].commands[0];
        assert_eq!(
            &command.arguments["properties"]["value"], expected,
            "{schema}"
        );
    }
    Ok(())
}

#[test]
fn devices_properties_and_bytes_are_limited() -> Result<(), Fault> {
    let limits = Limits {
        entities: 4,
        entities_of_a_device: 8,
        bytes: 5_000,
        ..Limits::default()
    };
    let mut homie = Homie::new("homie", limits);
    let _ = description(&mut homie, "a", &property("float", None))?;
    let _ = description(&mut homie, "b", &property("float", None))?;
    let bytes = homie.bytes;
    let fault = description(&mut homie, "c", &property("float", None));
    assert_eq!(
        fault.err(),
        Some(Fault::Full {
            what: "properties",
            limit: 4
        })
    );
    assert_eq!((homie.bytes, homie.devices.len()), (bytes, 2));
    for id in ["c", "d"] {
        let _ = state(&mut homie, id, "ready")?;
    }
    let fault = state(&mut homie, "e", "ready");
    assert_eq!(
        fault.err(),
        Some(Fault::Full {
            what: "devices",
            limit: 4
        })
    );

    let many: Value = (0..20)
        .map(|it| (format!("p{it}"), json!({ "datatype": "float" })))
        .collect();
    let many = json!({ "homie": "5.0", "nodes": { "n": { "properties": many } } });
    let fault = description(&mut homie, "a", &many);
    assert_eq!(
        fault.err(),
        Some(Fault::Full {
            what: "properties of a device",
            limit: 8
        })
    );

    let mut homie = Homie::new(
        "homie",
        Limits {
            bytes: 1_000,
            ..Limits::default()
        },
    );
    let fault = description(
        &mut homie,
        "a",
        &property("enum", Some(&"abcdefgh".repeat(30))),
    );
    assert_eq!(
        fault.err(),
        Some(Fault::Full {
            what: "bytes",
            limit: 1_000
        })
    );
    assert_eq!((homie.bytes, homie.devices.len()), (0, 0));
    Ok(())
}
