use serde_json::json;

use crate::template::{Template, TemplateError};

fn render(source: &str, value_json: &serde_json::Value) -> Result<String, TemplateError> {
    let context = json!({ "value": value_json.to_string(), "value_json": value_json });
    Template::home_assistant(source)?.render(&context)
}

#[test]
fn templates_of_devices_render_as_in_home_assistant() {
    let message = json!({
        "temperature": 21.46, "mode": "heat", "on": true, "nothing": null, "t": "12.5", "hex": "1f",
        "color": "255,0,64,10", "list": [3, 1, 2], "time": 1_764_446_400, "flags": 6,
        "nested": { "a": { "b": 1 } }, "text": "{\"a\": [1, 2]}"
    });
    for (source, expected) in [
        ("{{ value_json.temperature | round(1) }}", "21.5"),
        ("{{ value_json.temperature | round }}", "21"),
        ("{{ value_json.temperature | round(1, 'floor') }}", "21.4"),
        ("{{ value_json.temperature | round(0, 'ceil') }}", "22"),
        ("{{ value_json.t | float }}", "12.5"),
        ("{{ value_json.t | int }}", "12"),
        ("{{ value_json.hex | int(0, 16) }}", "31"),
        ("{{ value_json.missing | float(0) }}", "0"),
        ("{{ value_json.mode | int(-1) }}", "-1"),
        ("{{ float(value_json.t) * 2 }}", "25.0"),
        ("{{ value_json.t | multiply(2) }}", "25.0"),
        ("{{ value_json.flags | add(1) }}", "7"),
        ("{{ value_json.flags | bitwise_and(4) }}", "4"),
        ("{{ value_json.on }}", "True"),
        ("{{ value_json.nothing }}", "None"),
        ("{{ value_json.missing }}", ""),
        ("{{ value_json.on | iif('ON', 'OFF') }}", "ON"),
        ("{{ iif(value_json.flags > 9, 'high', 'low') }}", "low"),
        ("{{ value_json.nested.a | to_json }}", "{\"b\":1}"),
        ("{{ (value_json.text | from_json).a[1] }}", "2"),
        (
            "{{ value_json.color.split(',')[0:3] | join(',') }}",
            "255,0,64",
        ),
        ("{{ value_json.mode.upper() }}", "HEAT"),
        ("{{ is_number(value_json.t) }}", "True"),
        ("{{ is_number('x') }}", "False"),
        ("{{ max(value_json.list) - min(1, 0) }}", "3"),
        ("{{ value_json.list | contains(2) }}", "True"),
        (
            "{{ value_json.time | timestamp_utc }}",
            "2025-11-29T20:00:00+00:00",
        ),
        (
            "{{ value_json.time | timestamp_custom('%Y-%m-%d %H:%M') }}",
            "2025-11-29 20:00",
        ),
        (
            "{{ as_timestamp('2025-11-29T20:00:00Z') | int }}",
            "1764446400",
        ),
        (
            "{{ as_timestamp('2025-11-29 20:00:00') | int }}",
            "1764446400",
        ),
        ("{{ as_timestamp('2025-11-29') | int }}", "1764374400"),
        (
            "{% set values = {None:None,'heat':'heating'} %}{{ values[value_json.mode] }}",
            "heating",
        ),
        (
            "{{ {'off':0, 'heat':1}[value_json['mode']] | default('None') }}",
            "1",
        ),
        ("{%if value_json.on%}white{%else%}hs{%endif %}", "white"),
    ] {
        assert_eq!(
            render(source, &message).as_deref(),
            Ok(expected),
            "{source}"
        );
    }
}

#[test]
fn what_is_not_a_number_is_an_error_without_a_default() {
    for source in [
        "{{ value_json.missing | float }}",
        "{{ value_json.mode | int }}",
        "{{ value_json.missing | is_defined }}",
        "{{ value_json.mode | timestamp_utc }}",
        "{{ 1e300 | timestamp_utc }}",
        "{{ value_json.mode | round(1, 'up') }}",
        "{{ '{' | from_json }}",
        "{{ as_timestamp('tomorrow') }}",
        "{{ 0 | timestamp_custom('%') }}",
    ] {
        let result = render(source, &json!({ "mode": "heat" }));
        let as_expected = match &result {
            Err(TemplateError::Undefined { .. }) => source.contains("missing"),
            Err(TemplateError::Failed { .. }) => !source.contains("missing"),
            _ => false,
        };
        assert!(as_expected, "{source}: {result:?}");
    }
}

#[test]
fn what_does_not_exist_here_is_refused_before_a_message_comes() {
    for source in [
        "{{ now().strftime('%Y') }}",
        "{{ states('sensor.a') }}",
        "{% if is_state(entity_id, 'on') %}OFF{% endif %}",
        "{{ value | regex_findall('x') }}",
        "{{ no_such_function(value) }}",
        "{{ value is no_such_test }}",
        "{{ value",
        "{% for x in y %}",
    ] {
        let result = Template::home_assistant(source);
        assert!(
            matches!(result, Err(TemplateError::Invalid { .. })),
            "{source}: {result:?}"
        );
    }
}

#[test]
fn a_loop_ends_and_a_text_does_not_grow_without_limit() {
    for source in [
        "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
        "{{ ('x' * 100000).split('x') | join('yy') | length }}",
        "{{ ('[' * 60000) | from_json }}",
        "{{ 0 | timestamp_custom('%Y' * 100) }}",
    ] {
        let result = render(source, &json!({}));
        assert!(result.is_err(), "{source}: {result:?}");
    }
}
