// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log on a screen, and on a drive.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::destinations::{Destinations, Keep};
use super::ending::Ending;
use super::keys::Key;
use super::look::{Look, Tone};
use super::running::{Running, Stop};
use super::save::Place;
use super::screen::{Hint, Next, Screen, Shared};
use super::widgets::{Page, Scroll};

/// The log.
pub(crate) struct Logbook {
    session: Shared,
    lines: Vec<String>,
    scroll: Scroll,
}

impl Logbook {
    pub(crate) fn new(session: &Shared) -> Self {
        let mut scroll = Scroll::default();
        scroll.go_to_end();
        Self { session: session.clone(), lines: session.log.lines(), scroll }
    }
}

impl Screen for Logbook {
    fn title(&self) -> String {
        "Log".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Esc", "back"), ("S", "save it to a drive"), ("Up/Down, PgUp/PgDn", "scroll")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let mut page = Page::default();
        if self.lines.is_empty() {
            page.blank().text("Nothing was done yet.");
        }
        for line in &self.lines {
            page.text(line);
        }
        self.scroll.draw(&page.lines(area.width.into(), look), area, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.scroll.key(key) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            _ if key.is('s') => Next::push(Destinations::new(&self.session, Keep::Log)),
            _ => Next::Stay,
        }
    }
}

/// Saves the log to a place.
pub(crate) fn save_to(session: &Shared, place: Place) -> Next {
    let session = session.clone();
    let stop = Stop { question: "", is_harmless: true };
    Next::push(Running::new(
        "Log",
        &["The log is being saved.".to_owned()],
        stop,
        move |_, _| {
            let opened = place.open()?;
            let time: String = crate::save::now().chars().take(19).collect();
            let name = format!("dacapo-log-{}.txt", time.replace(':', "-"));
            session.log.save(&opened.path().join(&name))?;
            Ok((name, opened.finish()?))
        },
        |result, _| match result {
            Ok((name, is_free)) => {
                let mut ending = Ending::new(Tone::Good, "The log is saved.");
                let pull = if is_free { " The drive can be pulled now." } else { "" };
                ending.text(format!("The file is called {name}.{pull}"));
                ending
            }
            Err(error) => Ending::of_error(&error),
        },
    ))
}
