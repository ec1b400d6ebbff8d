// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a disc, and what it can be kept as.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::read::Wish;
use super::{look_at, named};
use crate::cmd::disc::info;
use crate::cmd::output::plain;
use crate::cmd::terminal::wrap;
use crate::disc::{Contents, raw};
use crate::error::ErrorKind;
use crate::tui::destinations::{Destinations, Keep};
use crate::tui::keys::Key;
use crate::tui::load::Load;
use crate::tui::look::{Look, Tone};
use crate::tui::screen::{Hint, Next, Screen, Shared};
use crate::tui::trouble::{add_error, sentence};
use crate::tui::widgets::{Item, List, Page, Scroll, draw_lines, split};

/// Where the values stand.
const INDENT: usize = 16;

/// A disc.
pub(crate) struct OnDisc {
    session: Shared,
    path: PathBuf,
    contents: Load<Contents>,
    scroll: Scroll,
    list: List,
}

impl OnDisc {
    /// One that was looked at.
    pub(crate) fn new(session: &Shared, path: PathBuf, contents: Contents) -> Self {
        let contents = Load::Ready(contents);
        let (scroll, list) = (Scroll::default(), List::default());
        Self { session: session.clone(), path, contents, scroll, list }
    }

    /// One that is in a drive whose path was typed.
    pub(crate) fn open(session: &Shared, path: PathBuf) -> Self {
        Self { contents: look_at(&path), ..Self::new(session, path, Contents::default()) }
    }

    fn page(contents: &Contents, width: usize) -> Page {
        let mut page = Page::default();
        page.row(Tone::Strong, named(contents)).blank();
        match (contents.check_plain(), is_kept_raw(contents)) {
            (Ok(()), _) => {
                if contents.volume.formats.is_empty() {
                    page.add(
                        Tone::Warning,
                        "No filesystem is known on it. It is kept as it is, all the same.",
                    );
                }
                page.text(
                    "It becomes one file, bit for bit as the disc is, which every program can \
                     mount or burn again.",
                );
            }
            (Err(error), Some(true)) => {
                page.add(Tone::Warning, sentence(&error.to_string()));
                page.text(
                    "It can be stored raw instead: a file with all bytes of its sectors (.bin) \
                     and a cue sheet (.cue), from which programs play or burn it.",
                );
            }
            (Err(error), _) if contents.has_sound() => match raw::check(contents) {
                // Not that there is sound is in the way, but this.
                Err(why) if why.kind() != ErrorKind::Unsupported => add_error(&mut page, &why),
                Err(why) => {
                    page.add(Tone::Bad, sentence(&error.to_string()));
                    page.blank().text(sentence(&why.to_string()));
                }
                Ok(_) => add_error(&mut page, &error),
            },
            (Err(error), _) => add_error(&mut page, &error),
        }
        page.blank();
        for (name, value) in info::lines(contents, None) {
            for (number, line) in wrap(&plain(&value), width, INDENT).iter().enumerate() {
                let name = if number == 0 { name } else { "" };
                page.row(Tone::Plain, format!("{name:<INDENT$}{}", line.trim_start()));
            }
        }
        page
    }
}

/// Whether it is kept raw; none if it cannot be kept.
fn is_kept_raw(contents: &Contents) -> Option<bool> {
    match contents.check_plain() {
        Ok(()) => Some(false),
        Err(_) => (contents.has_sound() && raw::check(contents).is_ok()).then_some(true),
    }
}

fn choices(contents: &Contents) -> Vec<Item> {
    let name = match is_kept_raw(contents) {
        None => return Vec::new(),
        Some(false) => "Read it to a file",
        Some(true) => "Store it raw, with a cue sheet",
    };
    vec![Item::new(name)]
}

impl Screen for OnDisc {
    fn title(&self) -> String {
        "Disc > what is on it".into()
    }

    fn hints(&self) -> Vec<Hint> {
        let mut hints =
            self.contents.hints(|contents| (!choices(contents).is_empty()).then_some("choose"));
        if self.scroll.is_needed() {
            hints.push(("Up/Down", "scroll"));
        }
        hints
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.contents.draw("Looking at the disc", area, buffer, look) {
            return None;
        }
        let contents = self.contents.ready()?;
        let choices = choices(contents);
        let foot = if choices.is_empty() { 0 } else { choices.len() + 1 };
        let (body, foot) = split(area, usize::from(area.height).saturating_sub(foot));
        let width = usize::from(body.width);
        let lines = Self::page(contents, width).lines(width, look);
        self.scroll.draw(&lines, body, buffer, look);
        let (blank, list) = split(foot, 1);
        draw_lines(&[], blank, buffer);
        self.list.draw(&choices, list, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.scroll.key(key) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => {
                let Some(contents) = self.contents.ready() else { return Next::Stay };
                let Some(is_raw) = is_kept_raw(contents) else { return Next::Stay };
                let wish = Wish::new(&self.path, contents, is_raw);
                Next::push(Destinations::new(&self.session, Keep::Disc(Arc::new(wish))))
            }
            _ if key.is('r') && self.contents.is_failed() => {
                self.contents = look_at(&self.path);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.contents.tick() { Next::Draw } else { Next::Stay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples;

    fn text(contents: &Contents) -> String {
        let look = Look { unicode: false, colour: false };
        let lines = OnDisc::page(contents, 78).lines(78, &look);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn what_a_disc_can_be_kept_as_is_said_and_offered() {
        let data = samples::disc();
        assert!(text(&data).contains("It becomes one file"), "{}", text(&data));
        assert_eq!(choices(&data)[0].title, "Read it to a file");
        let mixed = samples::disc_with_sound(1);
        assert!(text(&mixed).contains("Of the 2 tracks of this disc 1 are sound"));
        assert_eq!(choices(&mixed)[0].title, "Store it raw, with a cue sheet");
        let audio = samples::disc_with_sound(2);
        assert!(text(&audio).contains("This is an audio disc with 2 tracks"));
        // No words of the command line where there is none.
        assert!(!text(&audio).contains("dacapo disc"), "{}", text(&audio));
        // The toc of a DVD is made up, and it has no raw sectors.
        let odd = Contents { medium: Some("DVD-ROM".into()), ..audio };
        assert!(choices(&odd).is_empty());
        assert!(text(&odd).contains("Only CDs in a drive") && !text(&odd).contains("--raw"));
        // What keeps a disc from being stored raw is said, not that it should be.
        let mut damaged = mixed;
        damaged.toc.as_mut().unwrap().lead_out = u32::MAX;
        let shown = text(&damaged);
        assert!(shown.contains("The table of contents of the disc is damaged"), "{shown}");
        assert!(shown.contains("Another drive may read it") && !shown.contains("--raw"), "{shown}");
        assert!(choices(&damaged).is_empty());
        let protected = Contents { protection: Some("CSS".into()), ..data };
        assert!(
            text(&protected).contains("keep the disc itself")
                || text(&protected).contains("Keep the disc itself")
        );
        assert!(choices(&protected).is_empty());
        let session = samples::session(true);
        let mut screen = OnDisc::new(&session, "/dev/sr0".into(), protected);
        assert!(matches!(screen.key(Key::Enter), Next::Stay));
    }
}
