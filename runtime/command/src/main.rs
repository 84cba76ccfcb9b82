//! The `tidegate` binary. The code is in the library, so that tests can use it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::main()
}
