// SPDX-License-Identifier: MIT OR Apache-2.0
//! The screens: everything that the commands do, for somebody who does not
//! know them; what the rescue system starts with.
//!
//! A screen is a file here that implements [`screen::Screen`]; screens stand on
//! a stack, on which Esc leads back. This file runs the one on top: it draws
//! it, hands it the keys, and lets it look after its work in the background.
//! The jobs themselves are those of [`crate::job`], as the commands run them.

mod choose;
mod compare;
mod confirm;
mod destinations;
mod disc;
mod disks;
mod drives;
mod ending;
mod images;
mod keys;
mod load;
mod log;
mod logbook;
mod look;
mod menu;
mod network;
mod power;
mod repair;
mod restore;
mod running;
#[cfg(test)]
mod samples;
mod save;
mod screen;
mod shelf;
mod task;
mod terminal;
#[cfg(test)]
mod tests;
mod trouble;
mod typed;
mod verify;
mod widgets;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::Backend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::error::{Context, Error, Result};
use crate::media::in_rescue;
use crate::pipeline::Cancel;

use self::keys::{Input, Keyboard, Keys};
use self::log::Log;
use self::look::{Look, Tone};
use self::menu::Menu;
use self::screen::{Hint, Next, Screen, Session, Stopping};
use self::terminal::{Canvas, Guard, TerminalKeyboard, check_is_terminal};
use self::widgets::{Page, draw_lines, short};

/// Between two looks at what runs in the background.
const TICK: Duration = Duration::from_millis(200);
/// A terminal smaller than this shows nothing that could be understood.
const SMALLEST: (u16, u16) = (40, 12);
/// How long what runs may take to stop when the program is told to end.
const PATIENCE: Duration = Duration::from_millis(600);

/// Shows the screens until somebody leaves them, and returns the exit code of
/// the program.
///
/// # Errors
/// If there is no terminal, or the program is told to end.
pub fn run(folders: &[PathBuf], cancel: &Cancel) -> Result<u8> {
    check_is_terminal()?;
    let rescue = in_rescue();
    let log = Log::new(rescue.then(|| Path::new(log::FILE)));
    let session = Arc::new(Session { rescue, folders: folders.to_vec(), log });
    let look = Look::of_environment();
    let guard = Guard::take()?;
    let mut terminal = Terminal::new(Canvas::new()).context(|| "starting the screen".into())?;
    let mut stack = Stack::new(Box::new(Menu::new(&session)));
    let mut keys = Keys::new(TerminalKeyboard);
    let code = stack.run(&mut terminal, &mut keys, &look, cancel);
    drop(guard);
    code
}

/// The screens on top of each other. The menu is at the bottom and stays.
struct Stack {
    screens: Vec<Box<dyn Screen>>,
}

impl Stack {
    fn new(menu: Box<dyn Screen>) -> Self {
        Self { screens: vec![menu] }
    }

    fn top(&mut self) -> &mut dyn Screen {
        // OK because the menu is never taken away.
        &mut **self.screens.last_mut().expect("the menu is always there")
    }

    /// Does what a screen wants; true if that is seen, and the exit code if it
    /// is the end.
    fn follow(&mut self, next: Next) -> (bool, Option<u8>) {
        match next {
            Next::Stay => return (false, None),
            Next::Draw => {}
            Next::Push(screen) => self.screens.push(screen),
            Next::Replace(screen) => {
                if self.screens.len() > 1 {
                    self.screens.pop();
                }
                self.screens.push(screen);
            }
            Next::Back => {
                if self.screens.len() > 1 {
                    self.screens.pop();
                }
                self.top().shown_again();
            }
            Next::Home => {
                self.screens.truncate(1);
                self.top().shown_again();
            }
            Next::Quit(code) => return (true, Some(code)),
        }
        (true, None)
    }

    fn run<B, K>(
        &mut self,
        terminal: &mut Terminal<B>,
        keys: &mut Keys<K>,
        look: &Look,
        cancel: &Cancel,
    ) -> Result<u8>
    where
        B: Backend,
        B::Error: std::fmt::Display,
        K: Keyboard,
    {
        let mut is_new = true;
        let mut ticked = Instant::now();
        loop {
            if is_new {
                self.draw(terminal, look)?;
            }
            if cancel.is_cancelled() {
                return Err(self.end(cancel));
            }
            let left = TICK.saturating_sub(ticked.elapsed());
            let input = keys.next(left).context(|| "reading the keyboard".into())?;
            let (seen, code) = match input {
                Some(Input::Key(key)) => {
                    let next = self.top().key(key);
                    self.follow(next)
                }
                Some(Input::Resized) => (true, None),
                None => (false, None),
            };
            is_new = seen;
            if let Some(code) = code {
                return Ok(code);
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                let next = self.top().tick();
                let (seen, code) = self.follow(next);
                is_new |= seen;
                if let Some(code) = code {
                    return Ok(code);
                }
            }
        }
    }

    fn draw<B>(&mut self, terminal: &mut Terminal<B>, look: &Look) -> Result<()>
    where
        B: Backend,
        B::Error: std::fmt::Display,
    {
        terminal
            .draw(|frame| {
                let area = frame.area();
                let cursor = draw_screen(self.top(), area, frame.buffer_mut(), look);
                if let Some(cursor) = cursor {
                    frame.set_cursor_position(cursor);
                }
            })
            .map(|_| ())
            .map_err(|error| Error::failed(format!("writing to the terminal: {error}")))
    }

    /// Stops what runs, when the program was told to end from outside.
    fn end(&mut self, cancel: &Cancel) -> Error {
        let began = Instant::now();
        loop {
            match self.top().stop() {
                Stopping::Stopped => break,
                Stopping::Soon if began.elapsed() > PATIENCE => break,
                Stopping::Soon => {}
                Stopping::Finishing => cancel.finish(),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Error::interrupted()
    }
}

/// Draws a screen with its title and its keys; returns where the cursor is.
fn draw_screen(
    screen: &mut dyn Screen,
    area: Rect,
    buffer: &mut Buffer,
    look: &Look,
) -> Option<Position> {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let mut page = Page::default();
        page.text(format!(
            "The terminal is too small. It needs {} columns and {} rows.",
            SMALLEST.0, SMALLEST.1
        ));
        draw_lines(&page.lines(area.width.into(), look), area, buffer);
        return None;
    }
    let inner = Rect { x: area.x + 1, width: area.width - 2, ..area };
    let row = |y: u16| Rect { y, height: 1, ..inner };
    let width = usize::from(inner.width);
    let title = match screen.title() {
        title if title.is_empty() => "dacapo".to_owned(),
        title => format!("dacapo > {title}"),
    };
    let bottom = area.bottom() - 1;
    let rule = look.rule().to_string().repeat(usize::from(area.width));
    let faint = look.style(Tone::Faint);
    buffer.set_stringn(inner.x, area.y, short(&title, width), width, look.style(Tone::Strong));
    buffer.set_string(area.x, area.y + 1, &rule, faint);
    buffer.set_string(area.x, bottom - 1, &rule, faint);
    let body = Rect { y: area.y + 2, height: area.height - 4, ..inner };
    // Drawn before its keys: only then it is known whether it scrolls.
    let cursor = screen.draw(body, buffer, look);
    let hints = hint_line(&screen.hints(), width);
    buffer.set_stringn(inner.x, row(bottom).y, hints, width, look.style(Tone::Plain));
    cursor
}

/// The keys in one line; those that do not fit are left out, the last ones
/// first.
fn hint_line(hints: &[Hint], width: usize) -> String {
    let mut line = String::new();
    for (key, does) in hints {
        let gap = if line.is_empty() { "" } else { "   " };
        let text = format!("{gap}{key} {does}");
        if line.chars().count() + text.chars().count() > width {
            break;
        }
        line.push_str(&text);
    }
    line
}
