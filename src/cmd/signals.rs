// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C and SIGTERM: the first asks the job to stop, the second ends the
//! program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Context, ErrorKind, Result};
use crate::pipeline::Cancel;

/// How long a job may take to stop by itself.
const PATIENCE: Duration = Duration::from_millis(800);

/// The two flags the signal handlers know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    cancel: Arc<AtomicBool>,
    exit_at_once: Arc<AtomicBool>,
}

impl Signals {
    /// Installs the handlers and returns the flag for the jobs.
    pub(crate) fn install(&self) -> Result<Cancel> {
        let code = i32::from(ErrorKind::Interrupted.exit_code());
        for signal in [SIGINT, SIGTERM] {
            // In this order: what the first signal arms acts on the second.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&self.exit_at_once))
                .and_then(|_| flag::register(signal, Arc::clone(&self.exit_at_once)))
                .and_then(|_| flag::register(signal, Arc::clone(&self.cancel)))
                .context(|| "installing the handler for Ctrl-C".into())?;
        }
        Ok(Cancel::from_flag(Arc::clone(&self.cancel)))
    }

    /// Ends the program soon after the first signal, even if the job hangs in a
    /// pipe that nobody serves or a drive that does not answer. Every job may
    /// be killed at any time, so this loses nothing but the wait.
    pub(crate) fn end_soon(&self, cancel: Cancel, last_words: impl FnOnce() + Send + 'static) {
        // Detached on purpose: it has to outlive whatever hangs.
        thread::spawn(move || {
            while !cancel.is_cancelled() {
                thread::sleep(Duration::from_millis(50));
            }
            thread::sleep(PATIENCE);
            if !cancel.is_finishing() {
                last_words();
                std::process::exit(ErrorKind::Interrupted.exit_code().into());
            }
        });
    }

    /// Runs `ask`, during which the first Ctrl-C already ends the program: a
    /// read from the terminal goes on after a signal and would not notice.
    pub(crate) fn while_asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.exit_at_once.store(true, Ordering::SeqCst);
        let answer = ask();
        self.exit_at_once.store(false, Ordering::SeqCst);
        answer
    }
}
