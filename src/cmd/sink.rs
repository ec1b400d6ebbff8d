// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where lines go: standard output, standard error, or memory in tests.
//!
//! A reader that went away (`dacapo disks | head -1`) is not an error of the
//! job; every other failure is kept and told at the end, so that a report that
//! did not fit on a full disk is not taken for one that was written.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// A place for whole lines, shared by everything that prints.
#[derive(Debug)]
pub(crate) struct Sink {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    target: Target,
    failure: Option<io::Error>,
}

#[derive(Debug)]
enum Target {
    Stdout,
    Stderr,
    #[cfg(test)]
    Memory(Vec<u8>),
}

impl Sink {
    fn new(name: &'static str, target: Target) -> Self {
        Self { name, state: Mutex::new(State { target, failure: None }) }
    }

    pub(crate) fn stdout() -> Self {
        Self::new("standard output", Target::Stdout)
    }

    pub(crate) fn stderr() -> Self {
        Self::new("standard error", Target::Stderr)
    }

    #[cfg(test)]
    pub(crate) fn memory() -> Self {
        Self::new("memory", Target::Memory(Vec::new()))
    }

    /// Writes `line` and a newline at one go. Escape sequences for colours
    /// reach terminals only, and none if NO_COLOR is set.
    pub(crate) fn line(&self, line: &str) {
        let text = format!("{line}\n");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failure.is_some() {
            return;
        }
        let written = match &mut state.target {
            Target::Stdout => {
                let mut stream = anstream::stdout().lock();
                stream.write_all(text.as_bytes()).and_then(|()| stream.flush())
            }
            Target::Stderr => anstream::stderr().lock().write_all(text.as_bytes()),
            #[cfg(test)]
            Target::Memory(buffer) => buffer.write_all(text.as_bytes()),
        };
        state.failure = written.err();
    }

    /// The first failure, unless it was only that the reader went away.
    pub(crate) fn check(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.failure.take() {
            Some(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::io(format!("writing to {}", self.name), failure))
            }
            _ => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let state = self.state.lock().unwrap();
        let Target::Memory(buffer) = &state.target else { panic!("not in memory") };
        String::from_utf8(buffer.clone()).unwrap()
    }
}
