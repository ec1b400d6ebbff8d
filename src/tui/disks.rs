// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of this machine: a list, and each in detail. Also how a disk is
//! shown wherever one is to be chosen.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::confirm::Confirm;
use super::drives::Drives;
use super::ending::Ending;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::repair::Repair;
use super::screen::{Hint, Next, Screen, Shared};
use super::widgets::{Item, List, Page, Scroll, short};
use crate::cmd::disks::{Shown, describe, look};
use crate::cmd::terminal::Terminal;
use crate::device::{DiskIdentity, Seen};
use crate::job::Target;
use crate::media::trouble::no_disks;
use crate::units::human;

/// Says why there may be no disk at all.
pub(crate) fn add_no_disk(page: &mut Page) {
    page.add(Tone::Warning, "No disk was found.");
    for text in no_disks() {
        page.blank().text(text);
    }
}

/// A disk as something to choose.
pub(crate) fn item(shown: &Shown) -> Item {
    let identity = &shown.disk.identity;
    let mut item = Item::new(title(identity)).below(place(identity));
    let contents = contents(shown);
    if !contents.is_empty() {
        item = item.below(format!("On it: {contents}"));
    }
    item
}

/// "Samsung SSD 970 EVO Plus   466 GiB   serial S4EVNX0M123456A"
fn title(identity: &DiskIdentity) -> String {
    let model = identity.model.as_deref().unwrap_or("disk without a name");
    let serial = match identity.serial.as_deref() {
        Some(serial) => format!("serial {serial}"),
        None => "no serial number".to_owned(),
    };
    format!("{:<32}  {:>8}  {serial}", short(model, 32), human(identity.size))
}

/// "nvme, SSD, /dev/nvme0n1"
fn place(identity: &DiskIdentity) -> String {
    let kind = match (identity.bus.as_deref(), identity.rotational) {
        (Some("loop"), _) => Some("a file that stands for a disk"),
        (_, Some(true)) => Some("spinning disk"),
        (_, Some(false)) => Some("SSD or stick"),
        _ => None,
    };
    let bus = identity.bus.as_deref().filter(|bus| *bus != "loop");
    [bus, kind, Some(&identity.path)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// "FAT32 ESP, NTFS Windows"
fn contents(shown: &Shown) -> String {
    let named = |filesystem: &crate::fs::Identity| match filesystem.label.as_deref() {
        Some(label) => format!("{} '{}'", short(&filesystem.name, 16), short(label, 16)),
        None => short(&filesystem.name, 16),
    };
    let partitions = &shown.content.partitions;
    let known: Vec<String> = partitions
        .iter()
        .filter_map(|part| part.filesystem.as_ref())
        .chain(shown.content.filesystem.as_ref())
        .map(named)
        .collect();
    match (known.is_empty(), partitions.len()) {
        (true, 0) if shown.unreadable.is_some() => "it cannot be read".into(),
        (true, 0) => "nothing that is known".into(),
        (true, 1) => "one partition".into(),
        (true, count) => format!("{count} partitions"),
        (false, _) => known.join(", "),
    }
}

/// The list of disks.
pub(crate) struct Disks {
    session: Shared,
    disks: Load<Vec<Shown>>,
    list: List,
    drives: Drives,
}

impl Disks {
    fn look_again(&mut self) -> Next {
        let disks = self.disks.ready().map_or(&[][..], Vec::as_slice);
        self.drives.remember(self.list.chosen(disks.len()).map(|n| name_of(&disks[n])));
        self.disks = search();
        Next::Draw
    }

    pub(crate) fn new(session: &Shared) -> Self {
        // Before the search: a disk that comes meanwhile is not missed.
        let (drives, list) = (Drives::default(), List::default());
        Self { session: session.clone(), disks: search(), list, drives }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, disks: Vec<Shown>) -> Self {
        let (list, drives) = (List::default(), Drives::default());
        Self { session: session.clone(), disks: Load::Ready(disks), list, drives }
    }
}

/// What a disk is known by in another list.
fn name_of(shown: &Shown) -> String {
    let identity = &shown.disk.identity;
    let (model, serial) = (&identity.model, &identity.serial);
    format!("{} {model:?} {serial:?} {}", identity.path, identity.size)
}

fn search() -> Load<Vec<Shown>> {
    Load::start(|cancel, progress| look(cancel, progress))
}

impl Screen for Disks {
    fn title(&self) -> String {
        "Disks".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "more"), ("Esc", "back"), ("Up/Down", "move"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.disks.draw("Looking at the disks", area, buffer, look) {
            return None;
        }
        let disks = self.disks.ready()?;
        if disks.is_empty() {
            let mut page = Page::default();
            page.blank();
            add_no_disk(&mut page);
            super::widgets::draw_lines(&page.lines(area.width.into(), look), area, buffer);
            return None;
        }
        let items: Vec<Item> = disks.iter().map(item).collect();
        self.list.draw(&items, area, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let disks = self.disks.ready().map_or(&[][..], Vec::as_slice);
        if self.list.key(key, disks.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.list.chosen(disks.len()) {
                Some(number) => Next::push(Detail::new(&self.session, &disks[number])),
                None => Next::Stay,
            },
            _ if key.is('r') => self.look_again(),
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let names = |disks: &Vec<Shown>| disks.iter().map(name_of).collect();
        let next = self.drives.tick(&mut self.disks, &mut self.list, names);
        next.unwrap_or_else(|| self.look_again())
    }
}

/// One disk, as `dacapo disks` shows it.
pub(crate) struct Detail {
    session: Shared,
    shown: Shown,
    scroll: Scroll,
}

impl Detail {
    pub(crate) fn new(session: &Shared, shown: &Shown) -> Self {
        Self { session: session.clone(), shown: shown.clone(), scroll: Scroll::default() }
    }

    /// Leads to the steps that make it start, for whoever confirms the disk.
    fn repair(&self) -> Next {
        match Seen::new(self.shown.disk.identity.path.as_ref()) {
            Ok(seen) => {
                let (session, target) = (self.session.clone(), Target::seen(&seen));
                let warning = "What is chosen next changes this disk:";
                Next::push(Confirm::new("Make it start", warning, target, move |_| {
                    Next::replace(Repair::new(&session, &seen))
                }))
            }
            Err(error) => Next::push(Ending::of_error(&error).screen()),
        }
    }
}

impl Screen for Detail {
    fn title(&self) -> String {
        let identity = &self.shown.disk.identity;
        format!("Disks > {}", short(identity.model.as_deref().unwrap_or(&identity.path), 40))
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Esc", "back"), ("M", "make it start"), ("Up/Down", "scroll")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let terminal = Terminal { width: area.width.into(), unicode: look.unicode };
        let mut page = Page::default();
        for line in describe(&self.shown, &terminal) {
            page.row(Tone::Plain, anstream::adapter::strip_str(&line).to_string());
        }
        self.scroll.draw(&page.lines(area.width.into(), look), area, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.scroll.key(key) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Enter | Key::Interrupt => Next::Back,
            _ if key.is('m') => self.repair(),
            _ => Next::Stay,
        }
    }
}
