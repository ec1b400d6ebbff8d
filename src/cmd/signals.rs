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

/// The stack of the thread of a command: what the first thread has by itself.
const STACK: usize = 8 << 20;

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

    /// Runs a command on a thread of its own. Of the threads that would take a signal
    /// the kernel wakes the first one of the program (kernel/signal.c,
    /// `complete_signal`), also if that hangs in the middle of a read, so that nothing
    /// would heed it: that thread only waits.
    ///
    /// # Errors
    /// Those of the command, or if there are no more threads.
    pub(crate) fn run<T: Send>(command: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("command".into()).stack_size(STACK);
            let running = thread
                .spawn_scoped(scope, command)
                .context(|| "starting the thread of the command".into())?;
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
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
