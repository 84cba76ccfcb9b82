//! Checks of a whole binding: what they see, when they are made, and where their faults are.
#![allow(clippy::expect_used, reason = "tests")]

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_config::{
    Binding, BindingFault, Config, Declared, Descriptor, Faults, MakeError, Protocol, Registry,
    load,
};
use tidegate_options::Options;

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Pipe {
    width: u8,
}

impl Options for Pipe {}

/// A pipe must be as wide as the one behind it.
fn check(declared: &Declared<'_, &Binding>) -> Result<Vec<BindingFault>, MakeError> {
    let own: Pipe = declared.options()?;
    let next = declared.exit()?.options::<Pipe>();
    let wide = next.is_ok_and(|next| next.width > own.width);
    let fault = wide.then(|| BindingFault {
        path: vec!["options".to_owned(), "width".to_owned()],
        message: "it is too narrow".to_owned(),
        help: "widen it".to_owned(),
    });
    Ok(fault.into_iter().collect())
}

fn read(first: &str, last: &str) -> Result<Config, Faults> {
    let registry = Registry::new(vec![
        Descriptor::of::<Pipe>("pipe", "inlet", "")
            .exit(Protocol::Bytes)
            .checked_by(check),
        Descriptor::of::<Pipe>("pipe", "outlet", "").accepts(&[Protocol::Bytes]),
    ]);
    let text = format!(
        "name: test
bindings:
  pipe0: {{ type: pipe, kind: inlet, options: {{ width: {first} }}, exit: pipe1 }}
  pipe1: {{ type: pipe, kind: outlet, options: {{ width: {last} }} }}
"
    );
    load("test.yaml", &text, &registry, &|_| None)
}

#[test]
fn a_binding_must_fit_what_is_at_its_exit() {
    assert!(read("2", "2").is_ok());
    let faults = read("2", "3").expect_err("too narrow");
    assert_eq!(
        faults.to_string(),
        "test.yaml:3:55: bindings.pipe0.options.width: it is too narrow; widen it"
    );
}

#[test]
fn what_is_not_valid_alone_is_reported_alone() {
    let faults = read("2", "x").expect_err("not a number");
    assert_eq!(faults.iter().count(), 1, "{faults}");
    assert!(!faults.to_string().contains("narrow"), "{faults}");
}
