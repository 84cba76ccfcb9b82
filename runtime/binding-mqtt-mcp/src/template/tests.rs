use super::*;

fn variables(json: serde_json::Value) -> Variables {
    let serde_json::Value::Object(members) = json else {
        panic!("an object")
    };
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.into(), from_json(value)))
        .collect()
}

fn rendered(template: &Template, variables: &Variables) -> Result<String, String> {
    let mut output = Vec::new();
    template.render_json(variables, &mut output)?;
    Ok(String::from_utf8(output).expect("JSON"))
}

fn json(source: &str, given: serde_json::Value) -> Result<String, String> {
    rendered(&Template::json(source).expect(source), &variables(given))
}

#[test]
fn an_expression_keeps_its_type() {
    let given = serde_json::json!({ "payload": { "n": 7, "list": [1, "a"], "o": { "k": null } } });
    for (source, expected) in [
        ("{{ payload.n }}", "7"),
        ("{{ payload.list }}", r#"[1,"a"]"#),
        (" {{ payload.o }} ", r#"{"k":null}"#),
        ("{{ payload.n > 3 }}", "true"),
        ("{{ {'a': {'b': payload.n}} }}", r#"{"a":{"b":7}}"#),
    ] {
        assert_eq!(
            json(source, given.clone()).as_deref(),
            Ok(expected),
            "{source}"
        );
    }
}

#[test]
fn a_value_cannot_leave_its_place_in_json() {
    let given = serde_json::json!({ "name": "a\", \"admin\": true, \"x\": \"" });
    let rendered = json(r#"{"name": {{ name }}}"#, given.clone()).expect("JSON");
    let value: serde_json::Value = serde_json::from_str(&rendered).expect("JSON");
    assert_eq!(value, serde_json::json!({ "name": given["name"] }));
    let error = json(r#"{"name": "{{ name }}"}"#, given).expect_err("quoted twice");
    assert!(error.contains("invalid JSON"), "{error}");
}

#[test]
fn what_does_not_exist_is_an_error() {
    for source in [
        "{{ missing }}",
        "{{ payload.missing }}",
        "{{ payload.a.b }}",
    ] {
        let template = Template::text(source).expect(source);
        let given = variables(serde_json::json!({ "payload": {} }));
        assert!(template.render(&given).is_err(), "{source}");
        assert!(rendered(&template, &given).is_err(), "{source}");
    }
    let defined = Template::text("{{ payload is defined and missing is not defined }}");
    let given = variables(serde_json::json!({ "payload": {} }));
    let rendered = rendered(&defined.expect("valid"), &given);
    assert_eq!(rendered.as_deref(), Ok("true"));
}

#[test]
fn what_counts_as_true() {
    let given = variables(serde_json::json!({ "level": 7, "name": "", "list": [] }));
    for (source, expected) in [
        ("{{ level < 10 }}", true),
        ("{{ level > 10 }}", false),
        ("{{ name }}", false),
        ("{{ list }}", false),
        ("{% if level > 10 %}yes{% endif %}", false),
        ("{% if level < 10 %}yes{% endif %}", true),
        (" {{ level > 10 }} {# a comment #}", false),
        ("true", true),
    ] {
        let template = Template::text(source).expect(source);
        assert_eq!(template.is_true(&given), Ok(expected), "{source}");
    }
    assert!(
        Template::text("{{ no }}")
            .expect("valid")
            .is_true(&given)
            .is_err()
    );
}

#[test]
fn a_template_that_loops_or_grows_fails() {
    for source in [
        "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
        "{% for i in range(9999) %}{{ text }}{% endfor %}",
        "{{ text * 100000 }}",
        "{{ range(99999) | list | join('xxxxxxxx') }}",
    ] {
        let template = Template::text(source).expect(source);
        let given = variables(serde_json::json!({ "text": "x".repeat(100) }));
        assert!(template.render(&given).is_err(), "{source}");
    }
}

#[test]
fn a_path_is_looked_up_as_the_engine_does() {
    let given = serde_json::json!({
        "payload": { "a": { "b": [1.50, 1e3, -0.0, null] }, "n": u64::MAX, "items": 1 },
        "text": "x\u{7f}",
    });
    let given = variables(given);
    for (path, same) in [
        ("payload.a.b", "(payload.a.b)"),
        ("payload.n", "(payload.n)"),
        ("payload.items", "payload['items']"),
        ("payload", "payload | default(1)"),
        ("text", "(text)"),
        ("true", "(true)"),
    ] {
        let of = |source: &str| {
            let template = Template::text(&format!("{{{{ {source} }}}}")).expect("valid");
            (
                rendered(&template, &given),
                template.render(&given),
                template.is_true(&given),
            )
        };
        assert_eq!(of(path), of(same), "{path}");
        assert!(of(path).0.is_ok(), "{path}");
    }
    let path = |source| path(source).len();
    assert_eq!(
        ["a", "a.b", "a.b()", "a[0]", "1", "a b", "none"].map(path),
        [1, 2, 0, 0, 0, 0, 0]
    );
}

#[test]
fn a_payload_is_never_a_template() {
    let given = variables(serde_json::json!({ "payload": "{{ secret }}", "secret": "x" }));
    let template = Template::text("{{ payload }}").expect("valid");
    assert_eq!(template.render(&given), Ok("{{ secret }}".into()));
}

#[test]
fn the_variables_of_a_template_are_known() {
    let of = |source| {
        let found = Template::text(source).expect(source).variables();
        found.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("plain"), "");
    assert_eq!(of("{{ topic.robot }}"), "topic.robot");
    assert_eq!(
        of("a {{ payload.x.y }} {% for i in range(3) %}{{ i }}{{ b }}{% endfor %}"),
        "b payload.x.y"
    );
}

#[test]
fn errors_of_the_author_are_found_at_once() {
    for source in ["{{ a", "{% if %}", "{{ a }} {{ | }}"] {
        assert!(Template::text(source).is_err(), "{source}");
    }
    assert!(Template::text(&"x".repeat(SOURCE_MAX + 1)).is_err());
}

/// A list is repeated without being copied: only what is written of it takes room, and that is bounded.
#[test]
fn a_list_that_is_repeated_by_a_payload_is_not_written_without_end() {
    let text = "x".repeat(60_000);
    // 12 GB, and 6 TB.
    for n in [200_000, 100_000_000] {
        let given = serde_json::json!({ "payload": { "t": text, "n": n } });
        for source in [
            "{{ [payload.t] * payload.n }}",
            "{{ {'x': [payload.t] * payload.n} }}",
            "{{ [[[payload.t] * payload.n] * payload.n] }}",
            "a {{ [payload.t] * payload.n }}",
            "a {{ {'x': [payload.t] * payload.n} }}",
        ] {
            let template = Template::text(source).expect(source);
            assert_eq!(
                template.render(&variables(given.clone())),
                Err(too_long()),
                "{source}"
            );
            assert_eq!(json(source, given.clone()), Err(too_long()), "{source}");
        }
        let document = "{\"n\": {{ [payload.t] * payload.n }}}";
        assert_eq!(json(document, given), Err(too_long()));
    }
    let given = serde_json::json!({ "payload": { "t": "ab", "n": 3 } });
    assert_eq!(
        json("{{ [payload.t] * payload.n }}", given).as_deref(),
        Ok(r#"["ab","ab","ab"]"#)
    );
}

#[test]
fn a_value_that_is_nested_too_deep_is_not_written() {
    let nested = |depth| (0..depth).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
    assert!(fits(&nested(DEPTH_MAX)));
    assert!(!fits(&nested(DEPTH_MAX + 1)));
}

proptest::proptest! {
    #[test]
    fn any_source_is_parsed_or_refused(source in "[{}%#a-z .'\"|()0-9*-]{0,60}") {
        if let Ok(template) = Template::json(&source) {
            let _ = template.variables();
            if let Ok(rendered) = rendered(&template, &Variables::default()) {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&rendered).is_ok());
            }
        }
    }
}
