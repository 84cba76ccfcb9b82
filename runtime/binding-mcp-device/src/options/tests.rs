//! What the options refuse and warn of.

use tidegate_options::Options as _;

use super::*;

fn read(json: &str) -> Result<Options, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// The options with one type.
fn of_type(json: &str) -> Result<Options, String> {
    read(&format!(r#"{{"types":{{"light":{json}}}}}"#))
}

#[test]
fn defaults_are_as_specified() {
    let options = read("{}").expect("all is optional");
    assert_eq!(
        options.address.text(),
        "{location}/{type}/{device}/{action}"
    );
    assert_eq!(options.tools, ToolsOption::Generic);
    assert_eq!(options.status_timeout.get(), 5_000);
    assert_eq!(options.max_devices.get(), 10_000);
    assert_eq!(options.max_cache_bytes.get(), 16 << 20);
    assert_eq!(options.max_requests.get(), 4_096);
    assert_eq!(options.max_approvals.get(), 1_000);
    assert!(options.seen.is_empty() && options.devices.is_empty());
}

#[test]
fn a_fault_of_a_type_says_where_it_is() {
    for (json, expected) in [
        (
            r#"{"status":{"action":"a/b"}}"#,
            "type 'light': status: invalid action 'a/b': it contains '/'",
        ),
        (
            r#"{"status":{"action":"+"}}"#,
            "it contains '+', which is a wildcard of topic filters",
        ),
        (
            r#"{"status":{"action":"a","on":"ON"}}"#,
            "'on' and 'off' need format: boolean",
        ),
        (
            r#"{"status":{"action":"a","minimum":2,"maximum":1}}"#,
            "minimum 2 is above maximum 1",
        ),
        (
            r#"{"status":{"action":"a","value":"{{"}}"#,
            "status: invalid template",
        ),
        (
            r#"{"status":{"action":"a"},"commands":{"a":{}}}"#,
            "command 'a': it is published to the topic of 'status'",
        ),
        (
            r#"{"commands":{"a":{"confirm":{}}}}"#,
            "'confirm' needs a state",
        ),
        (
            r#"{"status":{"action":"s"},"commands":{"a":{"confirm":{}}}}"#,
            "compares the state with the arguments, and there are none",
        ),
        (
            r#"{"status":{"action":"s"},"commands":{"a":{"confirm":{"match":{"argument":"x"}}}}}"#,
            "names the argument 'x', which is not declared",
        ),
        (
            r#"{"status":{"action":"s"},"commands":{"a":{"confirm":{"match":{"argument":"x","equals":1}}}}}"#,
            "has both 'argument' and 'equals'",
        ),
        (
            r#"{"commands":{"a":{"arguments":7}}}"#,
            "'arguments' must be a JSON Schema",
        ),
        (
            r#"{"commands":{"a":{"arguments":{"type":"string"}}}}"#,
            "'arguments' must be a schema of type 'object'",
        ),
        (
            r#"{"commands":{"a":{"arguments":{"$ref":"https://example.com/a"}}}}"#,
            "invalid JSON Schema",
        ),
        (
            r#"{"commands":{"a":{"arguments":{"properties":{"x":{"pattern":"("}}}}}}"#,
            "invalid JSON Schema",
        ),
        (
            r#"{"commands":{"a":{"limits":{"step":{"x":1}}}}}"#,
            "limits.step names the argument 'x', which is not declared",
        ),
        (
            r#"{"commands":{"a":{"arguments":{"properties":{"x":{}}},"limits":{"step":{"x":0}}}}}"#,
            "limits.step of 'x' must be above 0",
        ),
        (
            r#"{"commands":{"a":{"interlocks":[{"topic":"a/+","equals":1,"reason":"r"}]}}}"#,
            "interlock on 'a/+': the wildcard '+'",
        ),
        (
            r#"{"commands":{"a":{"interlocks":[{"topic":"a/{x}","equals":1,"reason":"r"}]}}}"#,
            "the placeholders are {location} and {device}",
        ),
        (
            r#"{"commands":{"a":{"interlocks":[{"topic":"a","reason":"r"}]}}}"#,
            "it needs 'equals', or 'minimum' or 'maximum'",
        ),
        (
            r#"{"commands":{"a":{"approval":"none"}}}"#,
            "unknown variant `none`, expected `required`",
        ),
    ] {
        let error = of_type(json).expect_err(json);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_fault_of_a_device_says_where_it_is() {
    for (json, expected) in [
        (
            r#"{"types":{"light":{}},"devices":{"a":{"type":"lamp","location":"x"}}}"#,
            "device 'a': unknown type 'lamp'; types: light",
        ),
        (
            r#"{"types":{"light":{}},"devices":{"a":{"type":"light"}}}"#,
            "device 'a': it has no location",
        ),
        (
            r#"{"types":{"light":{}},"devices":{"a":{"type":"light","location":"x/y"}}}"#,
            "invalid location 'x/y'",
        ),
        (
            r#"{"types":{"light":{}},"devices":{"a+":{"type":"light","location":"x"}}}"#,
            "device 'a+': it contains '+'",
        ),
        (
            r##"{"address":"{device}/{action}","types":{"a":{},"b":{}},"seen":["#"]}"##,
            "'seen' cannot tell the types apart",
        ),
        (
            r#"{"types":{"light":{}},"seen":["a/${guarded['x'].identity}"]}"#,
            "depends on the caller; devices are the same for all callers",
        ),
        (
            r#"{"tools":"typed","types":{"a_b":{"commands":{"c":{}}},"a":{"commands":{"b_c":{}}}}}"#,
            "two commands make a tool 'a_b_c'",
        ),
        (
            r#"{"tools":"typed","types":{"control":{"commands":{"device":{}}}}}"#,
            "'control_device' is the name of another tool",
        ),
        (
            r#"{"tools":"typed","types":{"a b":{"commands":{"c":{}}}}}"#,
            "'a b_c' is no name of a tool",
        ),
        (r#"{"address":"x"}"#, "invalid address 'x'"),
        (r#"{"maxDevices":0}"#, "use 1 to"),
    ] {
        let error = read(json).expect_err(json);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_fault_of_a_rule_for_announced_devices_says_which_one_it_is() {
    for (json, expected) in [
        (
            r#"{"interlocks":[{"topic":"a/{location}/b","equals":1,"reason":"r"}]}"#,
            "declared.commands[1]: interlock on 'a/{location}/b': {location} is what the device says of itself",
        ),
        (
            r#"{"interlocks":[{"topic":"a/+","equals":1,"reason":"r"}]}"#,
            "declared.commands[1]: interlock on 'a/+': the wildcard '+'",
        ),
        (
            r#"{"limits":{"step":{"x":0}}}"#,
            "declared.commands[1]: limits.step of 'x' must be above 0",
        ),
        (
            r#"{"confirm":{"match":{"argument":"x","equals":1}}}"#,
            "declared.commands[1]: 'match' has both 'argument' and 'equals'",
        ),
        (
            r#"{"topic":"a/${guarded['x'].identity}"}"#,
            "declared.commands[1]: 'a/${guarded['x'].identity}' depends on the caller",
        ),
        (r#"{"device":""}"#, "invalid glob"),
        (r#"{"entity":"x"}"#, "unknown field `entity`"),
    ] {
        let declared = format!(r#"{{"homie":"homie","commands":[{{}},{json}]}}"#);
        let error = read(&format!(r#"{{"declared":{declared}}}"#)).expect_err(json);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn several_faults_are_reported_at_once() {
    let json = r##"{"types":{"a":{"status":{"action":"+"}},"b":{"status":{"action":"#"}}}}"##;
    let error = read(json).expect_err("two faults");
    assert!(
        error.contains("type 'a'") && error.contains("type 'b'"),
        "{error}"
    );
}

#[test]
fn options_without_devices_give_a_warning() {
    let keys = |json: &str| -> Vec<&str> {
        let warnings = read(json).expect(json).warnings();
        warnings.iter().map(|warning| warning.key).collect()
    };
    assert_eq!(keys("{}"), ["types"]);
    assert_eq!(keys(r#"{"types":{"a":{}}}"#), ["devices"]);
    assert!(keys(r##"{"types":{"a":{}},"seen":["#"]}"##).is_empty());
    let commands: Vec<String> = (0..38).map(|it| format!(r#""c{it}":{{}}"#)).collect();
    let commands = commands.join(",");
    let typed = format!(
        r##"{{"tools":"typed","seen":["#"],"types":{{"a":{{"commands":{{{commands}}}}}}}}}"##
    );
    assert_eq!(keys(&typed), ["tools"]);
}

#[test]
fn commands_without_a_state_that_confirms_them_give_a_warning() {
    let warnings = |status: &str, commands: &str| {
        let json = format!(
            r##"{{"seen":["#"],"types":{{"lamp":{{{status}"commands":{{{commands}}}}}}}}}"##
        );
        read(&json).expect(&json).warnings()
    };
    let status = r#""status":{"action":"state"},"#;
    let confirmed = r#""set":{"confirm":{"match":{"equals":1}}}"#;
    assert!(warnings(status, confirmed).is_empty());
    assert!(
        warnings("", r#""blink":{}"#).is_empty(),
        "it has no state that could confirm anything"
    );
    let [warning] = &warnings(status, &format!(r#"{confirmed},"blink":{{}}"#))[..] else {
        panic!("one warning")
    };
    assert_eq!(
        warning.message,
        "no state confirms 'blink' of 'lamp': without 'confirm' the outcome is always 'unconfirmed'"
    );
    assert!(warning.help.contains("e.g. confirm: {"), "{}", warning.help);
    let many: Vec<String> = (0..7).map(|it| format!(r#""c{it}":{{}}"#)).collect();
    let [warning] = &warnings(status, &many.join(","))[..] else {
        panic!("one warning")
    };
    assert!(
        warning.message.contains("'c4' of 'lamp' and 2 more:"),
        "{}",
        warning.message
    );
}

#[test]
fn the_guards_of_types_and_commands_are_listed() {
    let options = of_type(r#"{"guarded":{"a":[]},"commands":{"set":{"guarded":{"b":["x"]}}}}"#);
    let references = options.expect("valid").guards().into_iter();
    let references: Vec<String> = references
        .map(|it| format!("{} at {}", it.guard, it.path.join(".")))
        .collect();
    assert_eq!(
        references,
        [
            "a at types.light.guarded.a",
            "b at types.light.commands.set.guarded.b"
        ]
    );
    let options =
        read(r#"{"declared":{"guarded":{"a":[]},"commands":[{},{"guarded":{"b":["x"]}}]}}"#);
    let references = options.expect("valid").guards().into_iter();
    let references: Vec<String> = references.map(|it| it.path.join(".")).collect();
    assert_eq!(
        references,
        ["declared.guarded.a", "declared.commands.1.guarded.b"]
    );
}
