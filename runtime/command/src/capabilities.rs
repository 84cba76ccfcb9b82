//! The tests that docs/capabilities.md names exist.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::path::Path;

/// A row of a table: its line, and the tests in its last column.
struct Row<'a> {
    line: usize,
    proofs: Vec<&'a str>,
}

/// The rows of all tables, without their heads.
fn rows(page: &str) -> Vec<Row<'_>> {
    let is_row = |line: &str| line.starts_with('|');
    let lines: Vec<&str> = page.lines().collect();
    let rows = lines.iter().enumerate().filter(|(index, line)| {
        let is_head = lines
            .get(index + 1)
            .is_some_and(|next| next.starts_with("|---"));
        is_row(line) && !line.starts_with("|---") && !is_head
    });
    let rows = rows.map(|(index, line)| {
        let cells = line.trim_end().trim_end_matches('|');
        let last = cells.rsplit_once('|').map_or("", |(_, last)| last);
        Row {
            line: index + 1,
            proofs: last.split('`').skip(1).step_by(2).collect(),
        }
    });
    rows.collect()
}

fn has_suffix(file: &str, suffix: &str) -> bool {
    Path::new(file).extension().is_some_and(|it| it == suffix)
}

/// Whether there is such a test: a scenario, a test of a Python file, or one of a Rust file.
fn exists(root: &Path, proof: &str) -> bool {
    let Some((file, name)) = proof.split_once("::") else {
        return has_suffix(proof, "spec") && root.join("specs").join(proof).is_file();
    };
    let python = has_suffix(file, "py");
    let folder = if python { "specs/clients/python" } else { "" };
    let Ok(source) = std::fs::read_to_string(root.join(folder).join(file)) else {
        return false;
    };
    if python {
        let definitions = [format!("def {name}("), format!("async def {name}(")];
        let mut lines = source.lines();
        return name.starts_with("test_")
            && lines.any(|line| definitions.iter().any(|it| line.starts_with(it)));
    }
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let definitions = [format!("fn {name}("), format!("async fn {name}(")];
    let found = lines
        .iter()
        .position(|line| definitions.iter().any(|it| line.starts_with(it)));
    let above = lines.get(..found.unwrap_or(0)).unwrap_or_default();
    let mut attributes = above.iter().rev().take_while(|line| line.starts_with("#["));
    attributes.any(|line| line.contains("test]") || line.contains("::test("))
}

#[test]
fn each_capability_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = root.join("docs/capabilities.md");
    let page = std::fs::read_to_string(page).expect("docs/capabilities.md");
    let rows = rows(&page);
    assert!(rows.len() > 70, "{} rows", rows.len());
    let mut faults = Vec::new();
    for row in rows {
        if row.proofs.is_empty() {
            faults.push(format!("line {}: no test", row.line));
        }
        let missing = row.proofs.iter().filter(|proof| !exists(&root, proof));
        faults.extend(missing.map(|proof| format!("line {}: there is no {proof}", row.line)));
    }
    assert!(faults.is_empty(), "docs/capabilities.md: {faults:#?}");
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let this = "runtime/command/src/capabilities.rs";
    for (proof, expected) in [
        ("binding-mcp-device.spec/list-all.spec", true),
        ("binding-mcp-device.spec/list-none.spec", false),
        ("binding-mcp-device.spec/plant.yaml", false),
        ("test_demo.py::test_the_tour_is_walked_to_its_end", true),
        ("test_demo.py::test_the_tour", false),
        ("conftest.py::free_port", false),
        (
            &format!("{this}::a_test_that_does_not_exist_is_noticed"),
            true,
        ),
        (&format!("{this}::exists"), false),
        (&format!("{this}::gone"), false),
        ("runtime/command/src/gone.rs::gone", false),
    ] {
        assert_eq!(exists(&root, proof), expected, "{proof}");
    }
    let table = "| a | proof |\n|---|---|\n| x | `one.spec`, `two.spec` |\n| y | |\n";
    let found: Vec<_> = rows(table)
        .into_iter()
        .map(|it| (it.line, it.proofs))
        .collect();
    assert_eq!(found, [(3, vec!["one.spec", "two.spec"]), (4, vec![])]);
}
