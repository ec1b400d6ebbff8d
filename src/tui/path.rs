// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typing where something is.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::images::{Opening, Purpose};
use super::keys::Key;
use super::look::{Look, Tone};
use super::restore::Plan;
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::{Offer, Picked};
use super::widgets::{Input, Page, draw_lines, split};

/// What is being typed.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// An image, for this.
    Image(Purpose),
    /// A disk, partition or file to restore to.
    Target(Arc<Picked>),
}

impl Wanted {
    fn title(&self) -> String {
        match self {
            Self::Image(purpose) => format!("{} > type where the image is", purpose.name()),
            Self::Target(_) => "Restore > type the target".into(),
        }
    }

    const fn asks(&self) -> &'static str {
        match self {
            Self::Image(_) => {
                "Type the path of the image, as in /mnt/backup/studio.img.zst, or its address, as \
                 in http://server/studio.img.zst."
            }
            Self::Target(_) => {
                "Type the path of a disk, a partition or a file, as in /dev/sdb. A file that does \
                 not exist yet is made."
            }
        }
    }

    fn go_on(&self, session: &Shared, path: PathBuf) -> Next {
        match self {
            Self::Image(purpose) => Next::push(Opening::new(session, *purpose, Offer::Typed(path))),
            Self::Target(picked) => Next::push(Plan::new(session, picked, path, false)),
        }
    }
}

/// A path that is typed.
pub(crate) struct PathScreen {
    session: Shared,
    wanted: Wanted,
    input: Input,
}

impl PathScreen {
    pub(crate) fn new(session: &Shared, wanted: Wanted) -> Self {
        Self { session: session.clone(), wanted, input: Input::default() }
    }
}

impl Screen for PathScreen {
    fn title(&self) -> String {
        self.wanted.title()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "go on"), ("Esc", "back"), ("Ctrl-U", "clear the line")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let mut page = Page::default();
        page.add(Tone::Plain, self.wanted.asks()).blank();
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        self.input.draw(rest, buffer)
    }

    fn key(&mut self, key: Key) -> Next {
        if self.input.key(key) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => {
                let text = self.input.text();
                if text.trim().is_empty() {
                    return Next::Stay;
                }
                self.wanted.go_on(&self.session, text.trim().into())
            }
            _ => Next::Stay,
        }
    }
}
