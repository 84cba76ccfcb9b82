//! Hostile bodies, built to be expensive to parse: many values in few bytes, deep nesting and similar.

use bytes::Bytes;

/// A body, and how it is sent.
#[derive(Debug, Clone)]
pub struct Body {
    /// Name of the attack.
    pub name: &'static str,
    /// Content.
    pub text: Bytes,
    /// Method in the headers.
    pub method: &'static str,
    /// Whether it is a batch, sent in a session of 2025-03-26.
    pub batch: bool,
}

const LISTEN: &str = "a listen to many";
const HEAD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"publish","#;
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// Bodies of about `size` bytes.
#[expect(clippy::too_many_lines, reason = "a table of bodies")]
pub fn bodies(size: usize) -> Vec<Body> {
    let fill = |piece: &str| piece.repeat((size.saturating_sub(20_000) / piece.len()).max(1));
    // All but the last comma.
    let list = |piece: &str| {
        let mut all = fill(piece);
        all.truncate(all.len() - 1);
        all
    };
    let arguments = |inside: String| format!("{HEAD}\"arguments\":{{{inside}}},{META}");
    let payload = |inside: String| arguments(format!("\"topic\":\"a/b\",\"payload\":\"{inside}\""));
    let unlisted = |name: &str| {
        let member = |number| format!("\"{name}{number}\":{number},");
        (0..300).map(member).collect::<String>()
    };
    let every_level = format!(
        "{{{}\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{{}\"name\":\"publish\",\
         \"arguments\":{{{}}},{META}",
        unlisted("root"),
        unlisted("params"),
        list("\"topic\":1,"),
    );
    let meta = format!(
        "{HEAD}\"arguments\":{{}},\"_meta\":{{{},{}",
        list("\"a\":1,"),
        META.trim_start_matches("\"_meta\":{"),
    );
    let listen = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscriptions/listen\",\"params\":{{\"notifications\":\
         {{\"resourceSubscriptions\":[{}]}},{META}",
        list("\"\","),
    );
    let small_calls = {
        let call = r#"{"jsonrpc":"2.0","id":_,"method":"tools/call","params":{"name":"publish","arguments":{"topic":"a/b","payload":"#;
        let payload = "\\n".repeat(size / 200 - 80);
        let call = |id: usize| format!("{}\"{payload}\"}}}}}}", call.replace('_', &id.to_string()));
        let calls: Vec<String> = (0..100).map(call).collect();
        format!("[{}]", calls.join(","))
    };
    let modern = [
        ("a batch of numbers", format!("[{}]", list("1,"))),
        ("numbers", arguments(format!("\"a\":[{}]", list("1,")))),
        ("members", arguments(list("\"a\":1,"))),
        (
            "members whose names are escaped",
            arguments(list("\"\\n\":1,")),
        ),
        (
            "members of a name that is asked for",
            arguments(list("\"topic\":1,")),
        ),
        ("too many members at every level", every_level),
        ("members of _meta", meta),
        ("a long name", arguments(format!("\"{}\":1", fill("x")))),
        (
            "empty arrays",
            arguments(format!("\"a\":[{}]", list("[],"))),
        ),
        (
            "empty strings",
            arguments(format!("\"a\":[{}]", list("\"\","))),
        ),
        (
            "deep arrays",
            arguments(format!(
                "\"a\":[{}]",
                list(&format!("{}{},", "[".repeat(100), "]".repeat(100)))
            )),
        ),
        ("a long number", arguments(format!("\"qos\":{}", fill("1")))),
        ("a payload", payload(fill("x"))),
        ("a payload of short escapes", payload(fill("\\n"))),
        ("a payload of long escapes", payload(fill("\\u0001"))),
        (
            "a payload of surrogate pairs",
            payload(fill("\\ud83d\\ude00")),
        ),
        ("a payload beyond ASCII", payload(fill("ж"))),
        (
            "base64",
            payload(fill("AAAA")).replacen("\"payload\"", "\"encoding\":\"base64\",\"payload\"", 1),
        ),
        (
            "white space",
            format!("{}{}", fill(" "), arguments(String::new())),
        ),
        (
            "a long method",
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\",\"params\":{{{META}",
                fill("\\u0001")
            ),
        ),
        (
            "a long id",
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"method\":\"ping\"}}",
                fill("x")
            ),
        ),
        (LISTEN, listen),
        (
            "no JSON at the end",
            format!("{}1]", arguments(format!("\"a\":[{}]", list("1,")))),
        ),
    ];
    let batches = [
        (
            "a batch of numbers in a session that takes batches",
            format!("[{}]", list("1,")),
        ),
        (
            "a batch of one with numbers in it",
            format!("[[{}]]", list("1,")),
        ),
        ("a batch of 100 calls", small_calls),
    ];
    let body = |batch| {
        move |(name, text): (&'static str, String)| Body {
            name,
            method: match name {
                LISTEN => "subscriptions/listen",
                _ => "tools/call",
            },
            text: Bytes::from(text),
            batch,
        }
    };
    let modern = modern.map(body(false)).into_iter();
    modern.chain(batches.map(body(true))).collect()
}
