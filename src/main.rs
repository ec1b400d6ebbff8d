// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program: arguments in, exit code out; all else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(dacapo::cmd::run(std::env::args_os()))
}
