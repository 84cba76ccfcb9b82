//! The scenario runner: the differences it detects, its messages, and blessing.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects"
)]

use std::path::PathBuf;
use std::process::Command;

use tidegate::registry::for_scenarios;
use tidegate_scenarios::{Failure, Mode, Script, ScriptError, bless, chart, play};

const HEAD: &str = "binding mcp_mqtt0 config=options.yaml\n\n";
const PUBLISH: &str = r#"> mcp.1   begin toolsCall sessionId="s-1" name="publish"
> mcp.1   data  {"name":"publish","arguments":{"topic":"commands/1/set","payload":"on"}}
< mqtt.1  begin publish clientId="s-1" topic="commands/1/set"
< mqtt.1  data  format=TEXT "on"
< mqtt.1  end
"#;
const ANSWER: &str = r#"> mqtt.1' begin publish
> mqtt.1' end
< mcp.1'  begin toolsCall
< mcp.1'  data  {"content":[],"structuredContent":{"outcome":"sent","reasonCode":null,"matched":null}}
< mcp.1'  end
> mcp.1   end
"#;

/// Parses a script as if it were in the folder of the real ones, beside their configs.
fn parse(text: &str) -> Result<Script, ScriptError> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../specs/binding-mcp-mqtt.spec/test.spec"
    );
    Script::parse(&PathBuf::from(path), text)
}

fn failure(text: &str) -> Failure {
    let script = parse(text).expect("a script");
    *play(&script, &for_scenarios(), Mode::Ordered).expect_err("it must fail")
}

/// The complete scenario with one part replaced.
fn changed(from: &str, to: &str) -> String {
    let whole = format!("{HEAD}{PUBLISH}{ANSWER}");
    assert!(whole.contains(from), "{from} is in the script");
    whole.replace(from, to)
}

#[test]
fn the_script_passes_in_every_mode() {
    let script = parse(&changed("on", "on")).expect("a script");
    for mode in [Mode::Ordered, Mode::Seeded(1), Mode::Seeded(2)] {
        assert!(play(&script, &for_scenarios(), mode).is_ok(), "{mode:?}");
    }
}

#[test]
fn a_difference_is_reported_with_its_line() {
    for (from, to, line, what) in [
        (
            "< mqtt.1  begin publish clientId=\"s-1\"",
            "< mqtt.1  begin publish",
            5,
            "unexpected field clientId=\"s-1\"",
        ),
        (
            "topic=\"commands/1/set\"\n<",
            "topic=\"commands/2/set\"\n<",
            5,
            "topic is \"commands/1/set\"",
        ),
        (
            "format=TEXT \"on\"",
            "format=TEXT \"off\"",
            6,
            "the payload differs",
        ),
        (
            "< mqtt.1  begin publish",
            "< mqtt.1  begin subscribe",
            5,
            "expected begin subscribe, got begin publish",
        ),
        (
            concat!(
                "< mcp.1'  data  {\"content\":[],\"structuredContent\":",
                "{\"outcome\":\"sent\",\"reasonCode\":null,\"matched\":null}}\n",
            ),
            "",
            11,
            "expected end, got data",
        ),
        (
            "\"content\":[],",
            "\"content\":[1],",
            11,
            "/content has 0 elements, not 1",
        ),
        (
            "\"matched\":null}}",
            "\"matched\":null},\"isError\":_}",
            11,
            "/isError is missing",
        ),
        (
            "< mcp.1'  end\n",
            "< mcp.1'  end outcome=ERROR\n",
            12,
            "outcome is OK",
        ),
    ] {
        let failure = failure(&changed(from, to));
        assert_eq!(
            (failure.line, failure.what.as_str()),
            (line, what),
            "{from:?} as {to:?}"
        );
        assert!(!failure.trace.is_empty());
    }
}

#[test]
fn an_event_counts_once_and_by_the_fields_that_are_stated() {
    let refused = r#"> mcp.1   begin toolsCall sessionId="s-1" name="publish" identity={subject="ann"}
> mcp.1   data  {"name":"publish","arguments":{"topic":"secret","payload":"on"}}
< mcp.1'  begin toolsCall
< mcp.1'  data  _
< mcp.1'  end outcome=ERROR
> mcp.1   end
"#;
    let event = "event binding.mcp_mqtt.access.refused topic=\"secret\" operation=_\n";
    let script = parse(&format!("{HEAD}{refused}{event}")).expect("a script");
    for mode in [Mode::Ordered, Mode::Seeded(1)] {
        let played = play(&script, &for_scenarios(), mode);
        assert!(played.is_ok(), "{}", played.expect_err("it failed"));
    }
    for (events, line) in [
        (format!("{event}{event}"), 10),
        (event.replace("secret", "other"), 9),
        (event.replace("operation", "nothing"), 9),
        (event.replace("refused", "permitted"), 9),
    ] {
        let failure = failure(&format!("{HEAD}{refused}{events}"));
        assert_eq!(failure.line, line, "{failure}");
        assert!(failure.what.starts_with("there was no"), "{failure}");
    }
}

#[test]
fn a_difference_is_marked_in_its_line() {
    for (from, to, line, marked) in [
        (
            "begin publish clientId=\"s-1\" topic",
            "begin publish\n  clientId=\"s-2\"\n  topic",
            6,
            "clientId=\"s-2\"",
        ),
        ("format=TEXT \"on\"", "format=TEXT\n\t\"off\"", 7, "\"off\""),
        (
            "< mcp.1'  data  {",
            "< mcp.1'  data  json\n {\"more\":1,",
            11,
            "json",
        ),
        (
            "> mcp.1   begin toolsCall sessionId",
            "> mcp.1   begin toolsCall\n  nmae=7 sessionId",
            4,
            "nmae=7 sessionId=\"s-1\" name=\"publish\"",
        ),
    ] {
        let failure = failure(&changed(from, to));
        assert_eq!(failure.line, line, "{failure}");
        let shown = failure.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines.iter().position(|line| line.trim() == "^");
        let caret = caret.unwrap_or_else(|| panic!("{shown}"));
        let column = lines[caret].find('^').expect("a caret");
        assert!(lines[caret - 1][column..].starts_with(marked), "{shown}");
    }
    // Without a field or payload to point at, only the line is marked.
    let other = failure(&changed(
        "begin publish clientId",
        "begin subscribe clientId",
    ));
    assert!(
        other.offset.is_none()
            && other
                .to_string()
                .contains("  !   < mqtt.1  begin subscribe")
    );
}

#[test]
fn actual_frames_are_printed_as_lines_of_a_script() {
    let failure = failure(&changed(
        "< mqtt.1  data  format=TEXT \"on\"\n< mqtt.1  end\n",
        "",
    ));
    assert_eq!(failure.what, "unexpected frame before this line");
    assert_eq!(
        failure.instead,
        ["< mqtt.1 data format=TEXT \"on\"", "< mqtt.1 end"]
    );
    let pasted = failure.instead.join("\n") + "\n";
    let fixed = changed(
        "< mqtt.1  data  format=TEXT \"on\"\n< mqtt.1  end\n",
        &pasted,
    );
    let script = parse(&fixed).expect("a script");
    assert!(play(&script, &for_scenarios(), Mode::Ordered).is_ok());
}

#[test]
fn open_streams_and_frames_at_the_end_fail() {
    let stream = failure(&format!("{HEAD}{PUBLISH}"));
    assert!(
        stream.what.starts_with("streams still open at the end"),
        "{}",
        stream.what
    );
    let frame = failure(&changed(
        "< mcp.1'  end\n> mcp.1   end\n",
        "> mcp.1   end\n",
    ));
    assert_eq!(frame.what, "unexpected frame before this line");
}

#[test]
fn invalid_stimuli_are_rejected() {
    for (line, what) in [
        ("> mcp.7 end", "mcp.7 is not open"),
        ("> plant.1 end", "unknown side 'plant'; valid: mqtt, mcp"),
        (
            "> mcp.1' begin toolsCall",
            "wrong half for begin of this side; remove the trailing '",
        ),
        ("> mcp.1 begin toolCall", "unknown mcp begin 'toolCall'"),
        (
            "> mcp.1 begin toolsCall nmae=\"x\"",
            "unknown field 'nmae'; valid: sessionId, name, contentLength, headers, headersRequired, capabilities, logLevel",
        ),
        (
            "> mcp.1 begin toolsCall name=$n",
            "'$n' has no value yet; capture it in an earlier reaction",
        ),
        ("+next", "no timer is set"),
    ] {
        assert_eq!(failure(&format!("{HEAD}{line}\n")).what, what, "{line}");
    }
}

#[test]
fn syntax_errors_have_line_and_column() {
    for (line, column, what) in [
        (
            "> mcp.1 begin toolsCall name=\"abc",
            34,
            "expected a closing '\"'",
        ),
        ("> mcp.1 data {\"a\":[1,}", 21, "expected ',' or ']'"),
        ("> mcp begin", 6, "expected '.' and a number"),
        ("> mcp.1 begin toolsCall name=", 30, "expected a value"),
        ("+5 parsecs", 3, "expected 's', 'ms' or 'us'"),
        (
            "hello",
            1,
            "unknown keyword 'hello'; a line starts with '>', '<', '+', '#', 'binding', 'seed', 'window', 'faults', 'repeat', 'again', 'event', 'live' or 'ordered'",
        ),
    ] {
        let error = parse(&format!("{HEAD}{line}\n")).expect_err(line);
        assert_eq!(
            (error.line, error.column, error.what.as_str()),
            (3, column, what),
            "{line}"
        );
        let shown = error.to_string();
        let caret = shown
            .lines()
            .last()
            .expect("a line")
            .find('^')
            .expect("a caret");
        assert_eq!(caret, 2 + column - 1, "{shown}");
    }
}

#[test]
fn blessing_changes_only_reactions() {
    let script = r#"# What it proves.
binding mcp_mqtt0 config=options.yaml

> mcp.1   begin toolsCall sessionId="s-1" name="publish"
> mcp.1   data  {"name":"publish","arguments":{"topic":"commands/1/set","payload":"on"}}
< mqtt.1  begin publish clientId=$id topic=_
# The message itself.
< mqtt.1  data  format=BINARY "off"
< mqtt.1  end
> mqtt.1' begin publish
> mqtt.1' end
< mcp.1'  begin toolsCall
> mcp.1   end
"#;
    let blessed = bless(&parse(script).expect("a script"), &for_scenarios());
    let wanted = script
        .replace("< mqtt.1  data  format=BINARY \"off\"\n", "")
        .replace(
            "# The message itself.\n",
            "# The message itself.\n< mqtt.1 data format=TEXT \"on\"\n",
        )
        .replace(
            "< mcp.1'  begin toolsCall\n",
            concat!(
                "< mcp.1'  begin toolsCall\n< mcp.1' data {\"content\":[],\"structuredContent\":",
                "{\"matched\":null,\"outcome\":\"sent\",\"reasonCode\":null}}\n< mcp.1' end\n",
            ),
        );
    assert_eq!(blessed.as_deref(), Ok(wanted.as_str()));
    let again = bless(&parse(&wanted).expect("a script"), &for_scenarios());
    assert_eq!(
        again.as_deref(),
        Ok(wanted.as_str()),
        "matching lines are unchanged"
    );
}

#[test]
fn repeated_lines_have_their_own_captures() {
    let call = "> mcp.1 begin toolsCall name=\"none\"\n< mcp.1 reset kind=notFound message=_\n";
    let counted = |body: &str| format!("{HEAD}{call}< mcp.1' abort\n> mcp.1 end\n{body}");
    let ticks = "repeat 3\n+1s\nagain\n";
    assert!(
        play(
            &parse(&counted(ticks)).expect("a script"),
            &for_scenarios(),
            Mode::Ordered
        )
        .is_ok_and(|played| played.steps == 4 + 2 * 3 + 1)
    );
    let wrong = failure(&counted("repeat 3\n+next\nagain\n"));
    assert_eq!(wrong.what, "no timer is set");
    for (body, what) in [
        ("repeat 2\n+1s\n", "'repeat' without 'again'"),
        ("again\n", "'again' without 'repeat'"),
        ("repeat 2\nrepeat 2\nagain\n", "'repeat' cannot be nested"),
        ("repeat\nagain\n", "'repeat' needs a count"),
    ] {
        assert_eq!(parse(&counted(body)).expect_err(body).what, what);
    }
    let blessed = bless(&parse(&counted(ticks)).expect("a script"), &for_scenarios());
    assert!(blessed.is_err(), "{blessed:?}");
}

#[test]
fn a_capture_is_compared_at_later_occurrences() {
    let twice = changed("clientId=\"s-1\"", "clientId=$id").replace(
        "< mcp.1'  end\n",
        "< mcp.1'  end\n> mcp.2 begin toolsCall sessionId=$id name=\"none\"\n\
         < mcp.2 reset kind=notFound message=$why\n< mcp.2' abort\n> mcp.2 end\n\
         > mcp.3 begin toolsCall name=\"other\"\n< mcp.3 reset kind=notFound message=$why\n",
    );
    let failure = failure(&twice);
    assert!(failure.what.starts_with("message is "), "{}", failure.what);
}

#[test]
fn a_chart_shows_the_direction_of_each_frame() {
    let drawn = chart(&parse(&changed("on", "on")).expect("a script"));
    assert!(drawn.contains("─▶ │"), "{drawn}");
    assert!(
        drawn.contains("│─────────▶ mqtt.1 begin publish"),
        "{drawn}"
    );
    assert!(drawn.contains("│◀───────── mqtt.1' end"), "{drawn}");
}

#[test]
fn the_exit_code_is_the_result_and_bless_is_refused_in_ci() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/engine.spec");
    let run = |arguments: &[&str], ci: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["spec", "run"]).args(arguments).env("CI", ci);
        command.output().expect("the command runs")
    };
    let held = run(&[folder], "");
    assert!(held.status.success());
    let output = String::from_utf8_lossy(&held.stdout).into_owned();
    assert!(
        output.contains("shutdown.spec") && output.contains(" 0 failed in "),
        "{output}"
    );
    let refused = run(&[folder, "--bless"], "true");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--bless is not allowed"));
    assert!(!run(&["no/such/folder"], "").status.success());
}

#[test]
fn a_script_that_fails_after_blessing_is_reported() {
    let folder = std::env::temp_dir().join(format!("tidegate-bless-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let engine = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../specs/engine.spec/relay.yaml"
    );
    std::fs::copy(engine, folder.join("relay.yaml")).expect("the config is there");
    // The caller never ends its stream, which no reaction can fix.
    let open = "binding relay0 config=relay.yaml\n\n> mcp.1 begin toolsCall name=\"t\"\n";
    let file = folder.join("open.spec");
    std::fs::write(&file, open).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command
        .args(["spec", "run", "--bless"])
        .arg(&file)
        .env_remove("CI");
    let output = output.output().expect("the command runs");
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("still fails") && error.contains("streams still open"),
        "{error}"
    );
}
