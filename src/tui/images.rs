// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choosing an image: from those that were found, or by its path.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::path::{PathScreen, Wanted};
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::{self, Offer, Picked, date_of, name_of};
use super::targets::Targets;
use super::widgets::{Item, List, Page, draw_lines, picture, short, split};
use crate::units::human;

/// What an image is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Restore,
}

impl Purpose {
    /// The name of what is being done.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Restore => "Restore",
        }
    }

    /// The screen that comes after an image was chosen.
    pub(crate) fn go_on(self, session: &Shared, picked: Picked) -> Next {
        let picked = Arc::new(picked);
        match self {
            Self::Restore => Next::replace(Targets::new(session, self, picked)),
        }
    }
}

/// The images that were found.
pub(crate) struct Images {
    session: Shared,
    purpose: Purpose,
    offers: Load<Vec<Offer>>,
    list: List,
}

impl Images {
    pub(crate) fn new(session: &Shared, purpose: Purpose) -> Self {
        let offers = search(session);
        Self { session: session.clone(), purpose, offers, list: List::default() }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, offers: Vec<Offer>) -> Self {
        let offers = Load::Ready(offers);
        let purpose = Purpose::Restore;
        Self { session: session.clone(), purpose, offers, list: List::default() }
    }

    fn draw_detail(offer: &Offer, area: Rect, buffer: &mut Buffer, look: &Look) {
        let mut page = Page::default();
        let width = usize::from(area.width);
        let rule = look.rule().to_string().repeat(width);
        page.row(Tone::Faint, rule);
        page.row(Tone::Plain, format!("File: {} ({})", offer.place, human(offer.len)));
        match &offer.head {
            Ok(about) => {
                let disk = &about.disk;
                let serial = disk.serial.as_deref().unwrap_or("none");
                let model = disk.model.as_deref().unwrap_or("unknown");
                page.row(Tone::Plain, format!("Disk: {model}, serial {serial}"));
                let host = about.host.as_deref().unwrap_or("unknown");
                page.row(Tone::Plain, format!("Computer: {host}"));
                let mut lines = page.lines(width, look);
                lines.extend(picture(&about.layout, offer.disk_len, width, look));
                draw_lines(&lines, area, buffer);
            }
            Err(why) => {
                page.add(Tone::Bad, format!("It cannot be used: {why}"));
                draw_lines(&page.lines(width, look), area, buffer);
            }
        }
    }
}

fn search(session: &Shared) -> Load<Vec<Offer>> {
    let folders = session.folders.clone();
    Load::start(move |cancel, progress| shelf::find(&folders, cancel, progress))
}

/// An image as something to choose.
fn item(offer: &Offer) -> Item {
    match &offer.head {
        Ok(about) => Item::new(format!(
            "{}  {:<32}  {:>8}  {}",
            date_of(about),
            short(&name_of(about), 32),
            human(offer.disk_len),
            about.host.as_deref().unwrap_or_default()
        )),
        Err(_) => {
            let name = offer.path.file_name().unwrap_or_default().to_string_lossy();
            Item { refused: true, ..Item::new(format!("(damaged)         {name}")) }
        }
    }
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
        if self.offers.draw("Looking for images", area, buffer, look) {
            return None;
        }
        let offers = self.offers.ready()?;
        if offers.is_empty() {
            let mut page = Page::default();
            page.blank().add(Tone::Warning, "No image was found.");
            page.blank().text(
                "Plug in the drive that holds your images and press R to look again. If they are \
                 elsewhere, press P and type where. Images are files whose names end in .img.zst.",
            );
            draw_lines(&page.lines(area.width.into(), look), area, buffer);
            return None;
        }
        let detail = if area.height >= 12 { 5 } else { 0 };
        let (list, below) = split(area, usize::from(area.height) - detail);
        let items: Vec<Item> = offers.iter().map(item).collect();
        self.list.draw(&items, list, buffer, look);
        if let Some(number) = self.list.chosen(offers.len()) {
            Self::draw_detail(&offers[number], below, buffer, look);
        }
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let offers = self.offers.ready().map_or(&[][..], Vec::as_slice);
        if self.list.key(key, offers.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.list.chosen(offers.len()) {
                Some(number) => {
                    Next::push(Opening::new(&self.session, self.purpose, offers[number].clone()))
                }
                None => Next::Stay,
            },
            _ if key.is('p') => {
                let wanted = Wanted::Image(self.purpose);
                Next::push(PathScreen::new(&self.session, wanted))
            }
            _ if key.is('r') => {
                self.offers = search(&self.session);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.offers.tick() { Next::Draw } else { Next::Stay }
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
        let path = offer.path.clone();
        Load::start(move |_, _| Picked::open(&path))
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
        self.picked.draw(&format!("Opening {}", self.offer.place), area, buffer, look);
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
