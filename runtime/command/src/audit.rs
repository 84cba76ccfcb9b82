//! `tidegate audit verify`: checks the chain of audit files.

use std::process::ExitCode;

use tidegate_audit::{Report, verify_files};

use crate::arguments::Verify;
use crate::console::print_line;
use crate::failure::Failure;

/// Checks files and prints the findings and the head of the chain.
pub(crate) fn verify(arguments: &Verify) -> Result<ExitCode, Failure> {
    let report = verify_files(&arguments.files, arguments.head)?;
    for finding in &report.findings {
        let file = arguments.files.get(finding.file).map(|file| file.display());
        let file = file.map_or_else(String::new, |file| file.to_string());
        print_line(format!("{file}:{}: {}", finding.line, finding.fault));
    }
    if report.further > 0 {
        print_line(format!("{} further findings", report.further));
    }
    let sealed = report.sealed || !arguments.sealed;
    print_line(summary(&report));
    // A gateway writes a line when it opens a file: one without lines has lost them.
    Ok(if report.is_intact() && sealed && report.lines > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn summary(report: &Report) -> String {
    let Report {
        lines,
        first,
        last,
        head,
        ..
    } = report;
    if *lines == 0 {
        return "NOT INTACT: no lines".to_owned();
    }
    let result = if report.is_intact() {
        "intact"
    } else {
        "NOT INTACT"
    };
    let from = if *first > 1 {
        "; the files before the first line were not checked"
    } else {
        ""
    };
    let end = if report.sealed {
        "sealed"
    } else {
        "not sealed: the gateway is running or did not stop in order, and lines at the end may be \
         missing"
    };
    format!("{result}: {lines} lines, numbers {first} to {last}{from}\n{end}\nhead: {head}")
}
