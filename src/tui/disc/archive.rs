// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archived discs: the drives on which they may be, and those of one of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::check;
use crate::disc::Record;
use crate::disc::shelf::{self, Shelf, Shelved};
use crate::error::Error;
use crate::media::{self, Medium, Readable};
use crate::tui::drives::Drives;
use crate::tui::keys::Key;
use crate::tui::load::Load;
use crate::tui::look::{Look, Tone};
use crate::tui::screen::{Hint, Next, Screen, Shared};
use crate::tui::trouble::sentence;
use crate::tui::typed::{Typed, Wanted};
use crate::tui::widgets::{Item, List, Page, draw_lines, short, split};
use crate::units::human;

/// Where archived discs are.
#[derive(Debug, Clone)]
pub(crate) enum At {
    /// On a drive, which is mounted to be read if it is not.
    Drive(Box<Medium>),
    /// In a folder.
    Folder(PathBuf),
}

impl At {
    fn shown(&self) -> String {
        match self {
            Self::Drive(medium) => medium.to_string(),
            Self::Folder(folder) => folder.display().to_string(),
        }
    }

    fn item(&self) -> Item {
        match self {
            Self::Drive(medium) => {
                let label = medium.label.as_deref().unwrap_or("drive without a name");
                let size = if medium.size == 0 { String::new() } else { human(medium.size) };
                let model = medium.disk.model.as_deref().map(|model| format!("{model}, "));
                let point = medium.point.as_ref().map(|it| format!(", at {}", it.display()));
                let title = format!("{:<28}  {size:>10}  {}", short(label, 28), medium.filesystem);
                Item::new(title).below(format!(
                    "{}{}{}",
                    model.unwrap_or_default(),
                    medium.device.display(),
                    point.unwrap_or_default()
                ))
            }
            Self::Folder(folder) => Item::new(folder.display().to_string()),
        }
    }
}

/// The drives.
pub(crate) struct Archives {
    session: Shared,
    found: Load<Vec<At>>,
    list: List,
    drives: Drives,
}

fn search(session: &Shared) -> Load<Vec<At>> {
    let folders = session.folders.clone();
    Load::start(move |_, _| {
        if folders.is_empty() {
            return Ok(media::drives().into_iter().map(|it| At::Drive(Box::new(it))).collect());
        }
        Ok(folders.into_iter().map(At::Folder).collect())
    })
}

impl Archives {
    pub(crate) fn new(session: &Shared) -> Self {
        // Before the search: a drive that comes meanwhile is not missed.
        let (drives, list) = (Drives::default(), List::default());
        Self { session: session.clone(), found: search(session), list, drives }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, found: Vec<At>) -> Self {
        Self { found: Load::Ready(found), ..Self::new(session) }
    }

    fn look_again(&mut self) -> Next {
        let found = self.found.ready().map_or(&[][..], Vec::as_slice);
        self.drives.remember(self.list.chosen(found.len()).map(|n| found[n].shown()));
        self.found = search(&self.session);
        Next::Draw
    }
}

impl Screen for Archives {
    fn title(&self) -> String {
        "Disc > where are the archived ones?".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "choose"), ("Esc", "back"), ("P", "type a folder"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.found.draw("Looking for drives", area, buffer, look) {
            return None;
        }
        let found = self.found.ready()?;
        let mut page = Page::default();
        page.row(Tone::Strong, "Where are the archived discs? Nothing is written there.");
        if found.is_empty() {
            page.blank().add(Tone::Warning, "No drive was found whose files can be read.");
            page.blank().text("Plug in the drive that holds them, or press P and type a folder.");
        }
        page.blank();
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let items: Vec<Item> = found.iter().map(At::item).collect();
        self.list.draw(&items, rest, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let found = self.found.ready().map_or(&[][..], Vec::as_slice);
        if self.list.key(key, found.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.list.chosen(found.len()) {
                Some(number) => Next::push(Archive::new(&self.session, found[number].clone())),
                None => Next::Stay,
            },
            _ if key.is('p') => Next::push(Typed::new(&self.session, Wanted::Archive)),
            _ if key.is('r') => self.look_again(),
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let names = |found: &Vec<At>| found.iter().map(At::shown).collect();
        let next = self.drives.tick(&mut self.found, &mut self.list, names);
        next.unwrap_or_else(|| self.look_again())
    }
}

/// The archived discs of a place. They can be read as long as this is held.
#[derive(Debug)]
pub(super) struct Archived {
    /// The folder that was searched.
    pub(super) folder: PathBuf,
    pub(super) discs: Vec<Shelved>,
    /// Folders in it that cannot be read.
    pub(super) failures: Vec<Error>,
    /// Holds the mount.
    _drive: Option<Readable>,
}

impl Archived {
    /// Where one is, seen from the folder that was searched.
    pub(super) fn place_of<'a>(&self, disc: &'a Shelved) -> &'a Path {
        disc.image.strip_prefix(&self.folder).unwrap_or(&disc.image)
    }
}

/// The archived discs of a place, to be chosen from.
pub(crate) struct Archive {
    session: Shared,
    at: At,
    found: Load<Arc<Archived>>,
    list: List,
}

fn find(at: &At) -> Load<Arc<Archived>> {
    let at = at.clone();
    Load::start(move |cancel, progress| {
        progress.stage(&at.shown(), 0);
        let (folder, drive) = match &at {
            At::Folder(folder) => (folder.clone(), None),
            At::Drive(medium) => {
                let drive = media::mount_readable(medium)?;
                (drive.path().to_owned(), Some(drive))
            }
        };
        let Shelf { discs, failures } = shelf::find(&folder, cancel)?;
        Ok(Arc::new(Archived { folder, discs, failures, _drive: drive }))
    })
}

impl Archive {
    pub(crate) fn new(session: &Shared, at: At) -> Self {
        let (found, list) = (find(&at), List::default());
        Self { session: session.clone(), at, found, list }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, discs: Vec<Shelved>) -> Self {
        let (folder, at) = (PathBuf::from("/mnt"), At::Folder("/mnt".into()));
        let failures = vec![Error::failed("reading the folder \u{1b}[2J")];
        let found = Load::Ready(Arc::new(Archived { folder, discs, failures, _drive: None }));
        Self { session: session.clone(), at, found, list: List::default() }
    }

    /// All of them, if there are several, and each.
    fn count(found: &Archived) -> usize {
        found.discs.len() + usize::from(found.discs.len() > 1)
    }

    /// What stands in a line of the list: one of them, or all.
    fn disc_at(found: &Archived, number: usize) -> Option<usize> {
        number.checked_sub(usize::from(found.discs.len() > 1))
    }

    fn items(found: &Archived) -> Vec<Item> {
        let all = (found.discs.len() > 1)
            .then(|| Item::new(format!("Check all {} discs", found.discs.len())));
        all.into_iter().chain(found.discs.iter().map(item)).collect()
    }

    fn draw_detail(found: &Archived, disc: &Shelved, area: Rect, buffer: &mut Buffer, look: &Look) {
        let mut page = Page::default();
        let width = usize::from(area.width);
        page.row(Tone::Faint, look.rule().to_string().repeat(width));
        page.row(Tone::Plain, format!("File: {}", found.place_of(disc).display()));
        if let Some(record) = &disc.record {
            let label = record.volume.label.as_deref().unwrap_or("none");
            let formats = record.volume.formats.join(", ");
            page.row(Tone::Plain, format!("Label: {label}  ({formats})"));
            for (name, text) in [
                ("Serial number", &record.serial),
                ("Note", &record.note),
                ("Publisher", &record.volume.publisher),
            ] {
                if let Some(text) = text {
                    page.row(Tone::Plain, format!("{name}: {text}"));
                }
            }
        } else if disc.trouble.is_none() {
            page.text("There is no .json beside it, so that little can be said of it.");
        }
        draw_lines(&page.lines(width, look), area, buffer);
    }
}

/// A disc as something to choose.
fn item(disc: &Shelved) -> Item {
    let record = disc.record.as_ref();
    let date = record.and_then(|it| it.read_at.get(..10)).unwrap_or("-");
    let size = record.map_or_else(String::new, |it| human(it.bytes));
    let item = Item::new(format!("{:<44}  {date:<10}  {size:>10}", short(&disc.name(), 44)));
    let missing = record.map_or(0, Record::missing_sectors);
    item.below(if !disc.is_there() {
        "Its file is missing.".to_owned()
    } else if let Some(trouble) = &disc.trouble {
        sentence(&trouble.to_string())
    } else if missing > 0 {
        format!("Not complete: {missing} sectors could not be read.")
    } else if record.is_some_and(|it| it.protection.is_some()) {
        "Its films are encrypted: keep the disc.".to_owned()
    } else {
        String::new()
    })
}

impl Screen for Archive {
    fn title(&self) -> String {
        "Disc > archived discs".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "check"), ("Esc", "back"), ("Up/Down", "move"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.found.draw("Looking for archived discs", area, buffer, look) {
            return None;
        }
        let found = self.found.ready()?;
        let mut page = Page::default();
        page.row(Tone::Strong, "Which disc is to be checked? It is only read.");
        if found.discs.is_empty() {
            page.blank().add(Tone::Warning, format!("No archived disc is in {}.", self.at.shown()));
            page.blank().text(
                "Files of discs end in .iso. They are made here by Disc, from a disc in a drive.",
            );
        }
        for failure in found.failures.iter().take(3) {
            page.row(Tone::Warning, format!("Not searched: {failure}"));
        }
        page.blank();
        let lines = page.lines(area.width.into(), look);
        let (head, area) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let detail = if area.height >= 12 { 6 } else { 0 };
        let (list, below) = split(area, usize::from(area.height) - detail);
        self.list.draw(&Self::items(found), list, buffer, look);
        let chosen = self.list.chosen(Self::count(found));
        if let Some(number) = chosen.and_then(|number| Self::disc_at(found, number)) {
            Self::draw_detail(found, &found.discs[number], below, buffer, look);
        }
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let count = self.found.ready().map_or(0, |found| Self::count(found));
        if self.list.key(key, count) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match (self.found.ready(), self.list.chosen(count)) {
                (Some(found), Some(number)) => {
                    check::start(&self.session, found, Self::disc_at(found, number))
                }
                _ => Next::Stay,
            },
            _ if key.is('r') => {
                self.found = find(&self.at);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.found.tick() { Next::Draw } else { Next::Stay }
    }
}
