//! The `tidegate` binary; what it does stands in the library beside it, where tests reach it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::main()
}
