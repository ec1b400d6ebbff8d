// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a screen is: something that is drawn, takes keys, and says what is to
//! be shown next. A screen is a file here, and a line where it is pushed.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keys::Key;
use super::log::Log;
use super::look::Look;
use crate::error::Request;

/// What all screens share.
#[derive(Debug)]
pub(crate) struct Session {
    /// True in the rescue system, which can be switched off.
    pub(crate) rescue: bool,
    /// Folders to look for images in, beside what is attached.
    pub(crate) folders: Vec<std::path::PathBuf>,
    /// What was done.
    pub(crate) log: Log,
}

/// The session, as screens hold it.
pub(crate) type Shared = Arc<Session>;

/// What is to be shown next.
pub(crate) enum Next {
    /// The same, and nothing has changed.
    Stay,
    /// The same, drawn again.
    Draw,
    /// Another screen; Back leads here again.
    Push(Box<dyn Screen>),
    /// Another screen in place of this one.
    Replace(Box<dyn Screen>),
    /// The one before.
    Back,
    /// The menu.
    Home,
    /// Nothing more; the program ends with this exit code.
    Quit(u8),
}

impl Next {
    /// The program ends, and the rescue system does this.
    pub(crate) const fn ask_for(request: Request) -> Self {
        Self::Quit(request.exit_code())
    }

    /// Another screen; Back leads here again.
    pub(crate) fn push(screen: impl Screen + 'static) -> Self {
        Self::Push(Box::new(screen))
    }

    /// Another screen in place of this one.
    pub(crate) fn replace(screen: impl Screen + 'static) -> Self {
        Self::Replace(Box::new(screen))
    }
}

/// A key and what it does, for the last line.
pub(crate) type Hint = (&'static str, &'static str);

/// A screen.
pub(crate) trait Screen {
    /// What stands above it.
    fn title(&self) -> String;

    /// The keys it takes, the most important ones first.
    fn hints(&self) -> Vec<Hint>;

    /// Draws it; returns where the cursor is, if something is typed.
    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position>;

    /// Takes a key.
    fn key(&mut self, key: Key) -> Next;

    /// Called several times a second: looks after what runs in the background.
    fn tick(&mut self) -> Next {
        Next::Stay
    }

    /// Called when the screen above it is gone.
    fn shown_again(&mut self) {}

    /// Called when the program is told to end: asks what runs to stop.
    fn stop(&mut self) -> Stopping {
        Stopping::Stopped
    }
}

/// What becomes of a screen's work when the program is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// There is none, or it has stopped.
    Stopped,
    /// It will soon; it may be killed, too.
    Soon,
    /// It is in its last steps, which must not be torn.
    Finishing,
}
