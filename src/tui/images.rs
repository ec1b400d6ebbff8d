// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choosing an image: from those that were found, or by its path.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::choose::{Choose, Goal};
use super::drives::Drives;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::{self, Offer, Picked, Shelf, date_of};
use super::trouble::sentence;
use super::typed::{Typed, Wanted};
use super::verify;
use super::widgets::{Item, List, Page, draw_lines, picture, short, split};
use crate::media::FoundImage;
use crate::units::human;

/// What an image is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Restore,
    Verify,
    Compare,
}

impl Purpose {
    /// The name of what is being done.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Restore => "Restore",
            Self::Verify => "Verify",
            Self::Compare => "Compare",
        }
    }

    /// The screen that comes after an image was chosen.
    fn go_on(self, session: &Shared, picked: Picked) -> Next {
        let picked = Arc::new(picked);
        let next = match self {
            Self::Restore => Next::push(Choose::new(session, Goal::Restore(picked))),
            Self::Compare => Next::push(Choose::new(session, Goal::Compare(picked))),
            Self::Verify => verify::start(session, &picked),
        };
        // In place of the one that said that it is opened.
        match next {
            Next::Push(screen) => Next::Replace(screen),
            other => other,
        }
    }
}

/// The images that were found.
pub(crate) struct Images {
    session: Shared,
    purpose: Purpose,
    shelf: Load<Shelf>,
    list: List,
    drives: Drives,
}

impl Images {
    pub(crate) fn new(session: &Shared, purpose: Purpose) -> Self {
        // Before the search: a drive that comes meanwhile is not missed.
        let drives = Drives::default();
        let shelf = search(session);
        Self { session: session.clone(), purpose, shelf, list: List::default(), drives }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, shelf: Shelf) -> Self {
        let (shelf, purpose) = (Load::Ready(shelf), Purpose::Restore);
        let (list, drives) = (List::default(), Drives::default());
        Self { session: session.clone(), purpose, shelf, list, drives }
    }

    fn look_again(&mut self) -> Next {
        let images = self.shelf.ready().map_or(&[][..], |shelf| &shelf.images);
        self.drives.remember(self.list.chosen(images.len()).map(|n| name_of(&images[n])));
        self.shelf = search(&self.session);
        Next::Draw
    }

    fn draw_detail(image: &FoundImage, area: Rect, buffer: &mut Buffer, look: &Look) {
        let mut page = Page::default();
        let width = usize::from(area.width);
        page.row(Tone::Faint, look.rule().to_string().repeat(width));
        let path = image.path_on_medium.display();
        page.row(Tone::Plain, format!("File: {path}, {}", human(image.size)));
        page.row(Tone::Plain, format!("Drive: {}", image.medium));
        if let Some(error) = &image.error {
            page.add(Tone::Bad, sentence(error));
        }
        let mut lines = page.lines(width, look);
        if let Some(facts) = &image.facts {
            let mut page = Page::default();
            let model = facts.disk.model.as_deref().unwrap_or("a disk without a name");
            let serial = facts.disk.serial.as_deref().map(|it| format!(", serial {it}"));
            page.row(Tone::Plain, format!("Was: {model}{}", serial.unwrap_or_default()));
            if let Some(note) = &facts.note {
                page.row(Tone::Plain, format!("Note: {note}"));
            }
            lines.extend(page.lines(width, look));
            lines.extend(picture(&facts.layout, facts.disk_len, width, look));
        }
        draw_lines(&lines, area, buffer);
    }
}

fn search(session: &Shared) -> Load<Shelf> {
    let folders = session.folders.clone();
    Load::start(move |cancel, progress| shelf::find(&folders, cancel, progress))
}

/// What an image is known by in another list.
fn name_of(image: &FoundImage) -> String {
    let id = image.facts.as_ref().map(|facts| facts.image_id);
    format!("{} {} {id:?}", image.medium, image.path_on_medium.display())
}

/// An image as something to choose.
fn item(image: &FoundImage) -> Item {
    let Some(facts) = &image.facts else {
        let name = image.path_on_medium.display();
        return Item { refused: true, ..Item::new(format!("(unusable)        {name}")) };
    };
    let damaged = if image.error.is_some() { " (damaged)" } else { "" };
    Item::new(format!(
        "{}  {:<32}  {:>8}  {}{damaged}",
        date_of(&facts.created),
        short(facts.title(), 32),
        human(facts.disk_len),
        facts.machine.as_deref().unwrap_or_default()
    ))
}

impl Screen for Images {
    fn title(&self) -> String {
        format!("{} > choose the image", self.purpose.name())
    }

    fn hints(&self) -> Vec<Hint> {
        vec![
            ("Enter", "choose"),
            ("Esc", "back"),
            ("P", "type a path or address"),
            ("R", "look again"),
        ]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.shelf.draw("Looking for images", area, buffer, look) {
            return None;
        }
        let Shelf { images, skipped } = self.shelf.ready()?;
        let mut page = Page::default();
        if images.is_empty() {
            page.blank().add(Tone::Warning, "No image was found.");
            page.blank().text(
                "Plug in the drive that holds your images. If they are elsewhere, press P and type where. Images are files whose names end in .img.zst.",
            );
            page.blank();
        }
        for skipped in skipped.iter().take(3) {
            page.row(Tone::Warning, format!("Not searched: {skipped}"));
        }
        let lines = page.lines(area.width.into(), look);
        let (head, area) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let chosen = self.list.chosen(images.len()).map(|number| &images[number]);
        let detail = if area.height >= 13 { 7 } else { 0 };
        let (list, below) = split(area, usize::from(area.height) - detail);
        let items: Vec<Item> = images.iter().map(item).collect();
        self.list.draw(&items, list, buffer, look);
        if let Some(chosen) = chosen {
            Self::draw_detail(chosen, below, buffer, look);
        }
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let images = self.shelf.ready().map_or(&[][..], |shelf| &shelf.images);
        if self.list.key(key, images.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.list.chosen(images.len()) {
                Some(number) => {
                    let offer = Offer::Found(Box::new(images[number].clone()));
                    Next::push(Opening::new(&self.session, self.purpose, offer))
                }
                None => Next::Stay,
            },
            _ if key.is('p') => Next::push(Typed::new(&self.session, Wanted::Image(self.purpose))),
            _ if key.is('r') => self.look_again(),
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let names = |shelf: &Shelf| shelf.images.iter().map(name_of).collect();
        let next = self.drives.tick(&mut self.shelf, &mut self.list, names);
        next.unwrap_or_else(|| self.look_again())
    }
}

/// An image that is being opened.
pub(crate) struct Opening {
    session: Shared,
    purpose: Purpose,
    offer: Offer,
    picked: Load<Picked>,
}

impl Opening {
    pub(crate) fn new(session: &Shared, purpose: Purpose, offer: Offer) -> Self {
        let picked = Self::open(&offer);
        Self { session: session.clone(), purpose, offer, picked }
    }

    fn open(offer: &Offer) -> Load<Picked> {
        let offer = offer.clone();
        Load::start(move |_, _| Picked::open(&offer))
    }
}

impl Screen for Opening {
    fn title(&self) -> String {
        format!("{} > open the image", self.purpose.name())
    }

    fn hints(&self) -> Vec<Hint> {
        let mut hints = vec![("Esc", "back")];
        if self.picked.is_failed() {
            hints.push(("R", "try again"));
        }
        hints
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        self.picked.draw(&format!("Opening {}", self.offer.shown()), area, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            _ if key.is('r') && self.picked.is_failed() => {
                self.picked = Self::open(&self.offer);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let changed = self.picked.tick();
        match std::mem::replace(&mut self.picked, Load::Empty) {
            Load::Ready(picked) => self.purpose.go_on(&self.session, picked),
            other => {
                self.picked = other;
                if changed { Next::Draw } else { Next::Stay }
            }
        }
    }
}
