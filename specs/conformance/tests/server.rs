//! The server of the fixtures starts with its config, answers over HTTP, and stops.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn it_lists_its_fixtures() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/server.yaml");
    let mut server = Command::new(env!("CARGO_BIN_EXE_tidegate-conformance"))
        .args(["start", "--config", config])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(server.stdout.take().expect("its output"));
    let address = output.lines().find_map(|line| {
        let line = line.expect("text");
        let (_, url) = line.split_once("http://")?;
        Some(url.split('/').next()?.to_owned())
    });
    let mut connection = TcpStream::connect(address.expect("an address")).expect("it listens");
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).expect("sent");
    let mut response = String::new();
    connection.read_to_string(&mut response).expect("text");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    for tool in [
        "test_simple_text",
        "test_sampling",
        "json_schema_2020_12_tool",
    ] {
        assert!(response.contains(&format!("\"{tool}\"")), "{response}");
    }
}
