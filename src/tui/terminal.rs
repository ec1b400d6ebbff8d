// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminal: taken over while the screens are shown, and given back as it
//! was however that ends.

use std::io::{self, Stdout, Write, stdout};
use std::sync::Once;
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event};
use crossterm::terminal::{
    Clear, ClearType as Cleared, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};

use super::keys::Keyboard;
use crate::error::{Context, Error, Result};

/// The size of a terminal that does not know its own, as at the other end of a
/// serial line.
const UNKNOWN: Size = Size { width: 80, height: 24 };

/// The terminal, given back when dropped.
#[derive(Debug)]
pub(crate) struct Guard;

impl Guard {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn take() -> Result<Self> {
        give_back_on_panic();
        enable_raw_mode().context(|| "taking over the terminal".into())?;
        // From here on it is given back.
        let guard = Self;
        execute!(stdout(), EnterAlternateScreen, Clear(Cleared::All), Hide)
            .context(|| "writing to the terminal".into())?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // A terminal that is gone needs nothing.
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// A message that is written to a terminal that has been taken over is seen
/// by nobody.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            hook(info);
        }));
    });
}

/// The keyboard of the terminal.
#[derive(Debug)]
pub(crate) struct TerminalKeyboard;

impl Keyboard for TerminalKeyboard {
    fn next(&mut self, within: Duration) -> io::Result<Option<Event>> {
        if event::poll(within)? { event::read().map(Some) } else { Ok(None) }
    }
}

/// Draws to standard output, also where nobody knows the size.
#[derive(Debug)]
pub(crate) struct Canvas {
    backend: CrosstermBackend<Stdout>,
}

impl Canvas {
    pub(crate) fn new() -> Self {
        Self { backend: CrosstermBackend::new(stdout()) }
    }
}

fn size() -> Size {
    let known = terminal_size::terminal_size_of(stdout());
    known
        .map(|(width, height)| Size { width: width.0, height: height.0 })
        .filter(|size| size.width > 0 && size.height > 0)
        .unwrap_or(UNKNOWN)
}

impl Backend for Canvas {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        self.backend.draw(content)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        queue!(self.backend, Hide)
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        queue!(self.backend, Show)
    }

    /// Never asked: the answer would come through the keyboard, and over a
    /// serial line late or not at all.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.backend.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.backend.clear()
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.backend.clear_region(clear_type)
    }

    fn size(&self) -> io::Result<Size> {
        Ok(size())
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: size(), pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.backend)
    }
}

/// The error where no screen can be shown.
pub(crate) fn check_is_terminal() -> Result<()> {
    use std::io::IsTerminal as _;
    if stdout().is_terminal() && io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Error::usage("the screen needs a terminal, and there is none here")
        .hint("the other commands do the same without one: dacapo --help"))
}
