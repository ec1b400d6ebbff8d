// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's command line, which asks for a restore without a question: raw
//! text, and the input as values of the words that are understood.
#![no_main]

use dacapo::cmd::unattended::understand;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let _ = understand(&text);
    let mut values = text.split('\n');
    let mut value = || values.next().unwrap_or_default();
    let line = format!(
        "quiet dacapo.restore={} dacapo.target={} dacapo.ip={} dacapo.wait={} {}",
        value(),
        value(),
        value(),
        value(),
        value()
    );
    let _ = understand(&line);
});
