// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choosing where a new image, or the log, is put: a drive with enough room.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::disc::{AboutForm, Wish};
use super::drives::Drives;
use super::keys::Key;
use super::load::Load;
use super::logbook;
use super::look::{Look, Tone};
use super::save::Place;
use super::screen::{Hint, Next, Screen, Shared};
use super::trouble::sentence;
use super::typed::{Typed, Wanted};
use super::widgets::{Item, List, Page, draw_lines, short, split};
use crate::device::{MountPoint, mount_points};
use crate::media::{self, Destination, Medium, Needs};
use crate::store::room_at;
use crate::units::human;

/// What is to be kept there.
#[derive(Debug, Clone)]
pub(crate) enum Keep {
    /// An image of this disk.
    Image(PathBuf),
    /// This disc.
    Disc(Arc<Wish>),
    /// The log.
    Log,
}

impl Keep {
    /// The name of what is being done.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Image(_) => "Save",
            Self::Disc(_) => "Disc",
            Self::Log => "Log",
        }
    }

    /// The screen that comes after a place was chosen.
    pub(crate) fn go_on(&self, session: &Shared, place: Place) -> Next {
        match self {
            Self::Image(source) => {
                let wanted = Wanted::Label(source.clone(), Arc::new(place));
                Next::push(Typed::new(session, wanted))
            }
            Self::Disc(wish) => Next::push(AboutForm::new(session, wish, place)),
            Self::Log => logbook::save_to(session, place),
        }
    }
}

/// The drives with room.
pub(crate) struct Destinations {
    session: Shared,
    keep: Keep,
    found: Load<Vec<Destination>>,
    list: List,
    told: Option<String>,
    drives: Drives,
}

impl Destinations {
    fn look_again(&mut self) -> Next {
        let found = self.found.ready().map_or(&[][..], Vec::as_slice);
        self.drives.remember(self.list.chosen(found.len()).map(|n| name_of(&found[n])));
        self.found = search(&self.keep);
        self.told = None;
        Next::Draw
    }

    pub(crate) fn new(session: &Shared, keep: Keep) -> Self {
        // Before the search: a drive that comes meanwhile is not missed.
        let (drives, list) = (Drives::default(), List::default());
        let found = search(&keep);
        Self { session: session.clone(), keep, found, list, told: None, drives }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, found: Vec<Destination>) -> Self {
        let (found, list) = (Load::Ready(found), List::default());
        let drives = Drives::default();
        Self { session: session.clone(), keep: Keep::Log, found, list, told: None, drives }
    }
}

/// What a drive is known by in another list.
fn name_of(destination: &Destination) -> String {
    format!("{} {}", destination.device.display(), destination.medium)
}

fn search(keep: &Keep) -> Load<Vec<Destination>> {
    let (source, needs) = match keep {
        Keep::Image(source) => (Some(source.clone()), Needs::default()),
        Keep::Disc(wish) => (None, wish.needs()),
        Keep::Log => (None, Needs::default()),
    };
    Load::start(move |_, _| {
        let mut found = media::destinations(source.as_deref(), needs)?;
        found.extend(network_folders(&mount_points()?));
        found.sort_by_key(|it| it.why_not.is_some());
        Ok(found)
    })
}

/// The folders of other machines that are connected.
fn network_folders(points: &[MountPoint]) -> Vec<Destination> {
    let is_one = |point: &&MountPoint| ["nfs", "nfs4", "cifs"].contains(&point.fstype.as_str());
    let folder = |point: &MountPoint| {
        let medium = Medium {
            device: point.source.clone(),
            point: Some(point.point.clone()),
            filesystem: point.fstype.clone(),
            ..Medium::default()
        };
        Destination {
            device: point.source.clone(),
            label: Some("folder of another machine".into()),
            filesystem: point.fstype.clone(),
            medium,
            free: room_at(&point.point.join("image")).ok(),
            largest_file: None,
            why_not: point.read_only.then(|| "it can only be read; choose another one".to_owned()),
            note: None,
        }
    };
    points.iter().filter(is_one).map(folder).collect()
}

/// A drive as something to choose.
fn item(destination: &Destination) -> Item {
    let label = destination.label.as_deref().unwrap_or("drive without a name");
    let free = match destination.free {
        Some(free) => format!("{} free", human(free)),
        None => "room unknown".into(),
    };
    let medium = &destination.medium;
    let title = format!("{:<28}  {free:>14}  {}", short(label, 28), destination.filesystem);
    let place = medium.point.as_ref().map(|point| format!(", at {}", point.display()));
    let model = medium.disk.model.as_deref().map(|model| format!("{model}, "));
    let mut item = Item::new(title).below(format!(
        "{}{}{}",
        model.unwrap_or_default(),
        destination.device.display(),
        place.unwrap_or_default()
    ));
    if let Some(why) = &destination.why_not {
        item = item.below(format!("Not possible: {why}"));
        item.refused = true;
    }
    if let Some(note) = &destination.note {
        item = item.below(sentence(note));
    }
    item
}

impl Screen for Destinations {
    fn title(&self) -> String {
        format!("{} > choose where to", self.keep.name())
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "choose"), ("Esc", "back"), ("P", "type a folder"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.found.draw("Looking for drives with room", area, buffer, look) {
            return None;
        }
        let found = self.found.ready()?;
        let mut page = Page::default();
        page.row(
            Tone::Strong,
            match self.keep {
                Keep::Image(_) => "Where is the image to be kept? Not on the disk that is saved.",
                Keep::Disc(_) => "Where is the disc to be kept?",
                Keep::Log => "Where is the log to be kept?",
            },
        );
        if found.is_empty() {
            page.blank().add(Tone::Warning, "No drive was found that could take it.");
            page.blank().text(
                "Plug in a USB drive with a filesystem (exFAT, NTFS, ext4 ...), or press P and type \
                 a folder.",
            );
        }
        page.blank();
        if let Some(told) = &self.told {
            page.add(Tone::Bad, sentence(told)).blank();
        }
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let items: Vec<Item> = found.iter().map(item).collect();
        self.list.draw(&items, rest, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let found = self.found.ready().map_or(&[][..], Vec::as_slice);
        if self.list.key(key, found.len()) {
            self.told = None;
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => {
                let Some(chosen) = self.list.chosen(found.len()).map(|n| &found[n]) else {
                    return Next::Stay;
                };
                if let Some(why) = &chosen.why_not {
                    self.told = Some(format!("It cannot be chosen: {why}"));
                    return Next::Draw;
                }
                self.keep.go_on(&self.session, Place::Drive(Box::new(chosen.clone())))
            }
            _ if key.is('p') => {
                Next::push(Typed::new(&self.session, Wanted::Folder(self.keep.clone())))
            }
            _ if key.is('r') => self.look_again(),
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let names = |found: &Vec<Destination>| found.iter().map(name_of).collect();
        let next = self.drives.tick(&mut self.found, &mut self.list, names);
        next.unwrap_or_else(|| self.look_again())
    }
}
