// SPDX-License-Identifier: MIT OR Apache-2.0
//! Optical discs: the drives of this machine and what is in them. From here a
//! disc is read to a file, and those that were are checked.

mod about;
mod archive;
mod check;
mod contents;
mod read;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

pub(crate) use self::about::AboutForm;
pub(crate) use self::archive::{Archive, Archives, At};
pub(crate) use self::contents::OnDisc;
pub(crate) use self::read::Wish;

use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::screen::{Hint, Next, Screen, Shared};
use super::task::Task;
use super::trouble::{in_short, sentence};
use super::typed::{Typed, Wanted};
use super::widgets::{Item, List, Page, draw_lines, short, split};
use crate::cmd::disc::info;
use crate::device::{DiskIdentity, Tray, optical_drives};
use crate::disc::{Contents, drive};
use crate::units::human;

/// How often the drives are asked whether another disc was put in. Nobody has to
/// know that R looks again.
const INTERVAL: Duration = Duration::from_secs(1);

/// A drive, and what is in it. Each is asked by itself: one that is busy with a
/// bad disc may take long to answer.
struct InDrive {
    identity: DiskIdentity,
    /// None until it has answered for the first time.
    tray: Option<Tray>,
    asking: Option<Task<Tray>>,
    asked: Instant,
    contents: Load<Contents>,
}

impl InDrive {
    fn new(identity: DiskIdentity) -> Self {
        let (tray, asking, asked) = (None, Some(ask(&identity)), Instant::now());
        Self { identity, tray, asking, asked, contents: Load::Empty }
    }

    fn path(&self) -> &Path {
        self.identity.path.as_ref()
    }

    /// Takes what it has answered; true if that is something new.
    fn follow(&mut self, tray: Tray) -> bool {
        if self.tray == Some(tray) {
            return false;
        }
        self.tray = Some(tray);
        let is_there = tray.why_not().is_none();
        self.contents = if is_there { look_at(self.path()) } else { Load::Empty };
        true
    }

    /// Looks after it; true if there is something new to be seen.
    fn tick(&mut self) -> bool {
        let is_new = self.contents.tick();
        match self.asking.as_mut().map(Task::poll) {
            Some(Some(tray)) => {
                (self.asking, self.asked) = (None, Instant::now());
                return self.follow(tray.unwrap_or_default()) || is_new;
            }
            None if self.asked.elapsed() >= INTERVAL => self.asking = Some(ask(&self.identity)),
            Some(None) | None => {}
        }
        is_new
    }

    /// Why its disc cannot be chosen, and what to do.
    fn why_not(&self) -> Option<String> {
        if let Some((text, hint)) = self.tray.and_then(Tray::why_not) {
            return Some(format!("{text}: {hint}"));
        }
        match &self.contents {
            Load::Ready(_) => None,
            Load::Failed(error) => Some(in_short(error)),
            Load::Running(..) => Some("the disc is being looked at".into()),
            Load::Empty => Some("the drive is being asked what is in it".into()),
        }
    }

    fn item(&self) -> Item {
        let model = self.identity.model.as_deref().unwrap_or("drive without a name");
        let item = Item::new(format!("{:<32}  {}", short(model, 32), self.identity.path));
        match (self.contents.ready(), self.why_not()) {
            (Some(contents), _) => {
                let trouble = contents.check_plain().err().map(|it| sentence(&it.to_string()));
                item.below(named(contents)).below(trouble.unwrap_or_default())
            }
            (None, why_not) => {
                Item { refused: true, ..item.below(sentence(&why_not.unwrap_or_default())) }
            }
        }
    }
}

/// Asks a drive what is in it.
fn ask(drive: &DiskIdentity) -> Task<Tray> {
    let path = PathBuf::from(&drive.path);
    Task::start(move |_, _| Ok(Tray::of(&path)))
}

/// Looks at the disc in a drive, or at a file that stands for one.
fn look_at(path: &Path) -> Load<Contents> {
    let path = path.to_owned();
    Load::start(move |_, _| Ok(Contents::of(&*drive::open(&path)?)))
}

/// "CD-ROM, 'SYNTH_2', ISO 9660, Joliet, 612 MiB"
fn named(contents: &Contents) -> String {
    format!("{}, {}", info::title(contents), human(contents.len()))
}

/// The drives.
pub(crate) struct Discs {
    session: Shared,
    drives: Vec<InDrive>,
    /// When it was looked for drives the last time.
    looked: Instant,
    list: List,
    /// Why the chosen one was refused, once Enter was pressed on it.
    told: Option<String>,
}

impl Discs {
    pub(crate) fn new(session: &Shared) -> Self {
        let drives = optical_drives().into_iter().map(InDrive::new).collect();
        let (looked, list) = (Instant::now(), List::default());
        Self { session: session.clone(), drives, looked, list, told: None }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, found: Vec<(DiskIdentity, Option<Contents>)>) -> Self {
        let drive = |(identity, contents): (DiskIdentity, Option<Contents>)| {
            let missing = || crate::error::Error::failed("there is no disc").hint("put one in");
            let contents = contents.map_or_else(|| Load::Failed(missing()), Load::Ready);
            InDrive { tray: Some(Tray::default()), contents, ..InDrive::new(identity) }
        };
        Self { drives: found.into_iter().map(drive).collect(), ..Self::new(session) }
    }

    /// How many things can be chosen: the drives, and the archived discs.
    fn count(&self) -> usize {
        self.drives.len() + 1
    }

    /// Takes the drives that there are now; true if they are others.
    fn follow(&mut self, found: Vec<DiskIdentity>) -> bool {
        let is = |drive: &InDrive, other: &DiskIdentity| {
            let it = &drive.identity;
            (&it.path, &it.model, &it.serial) == (&other.path, &other.model, &other.serial)
        };
        let mut pairs = self.drives.iter().zip(&found);
        if self.drives.len() == found.len() && pairs.all(|(drive, other)| is(drive, other)) {
            return false;
        }
        let chosen = self.list.chosen(self.count());
        let chosen = chosen.map(|n| self.drives.get(n).map_or_else(String::new, name_of));
        let mut old = std::mem::take(&mut self.drives);
        self.drives = found
            .into_iter()
            .map(|identity| match old.iter().position(|drive| is(drive, &identity)) {
                Some(number) => old.swap_remove(number),
                None => InDrive::new(identity),
            })
            .collect();
        if let Some(chosen) = chosen {
            // The archived discs have no name, and are always there.
            let names = self.drives.iter().map(name_of).chain([String::new()]);
            self.list.follow(&chosen, names);
        }
        self.told = None;
        true
    }

    fn choose(&mut self) -> Next {
        let Some(number) = self.list.chosen(self.count()) else { return Next::Stay };
        let Some(drive) = self.drives.get(number) else {
            return Next::push(Archives::new(&self.session));
        };
        match (drive.contents.ready(), drive.why_not()) {
            (Some(contents), _) => {
                Next::push(OnDisc::new(&self.session, drive.path().to_owned(), contents.clone()))
            }
            (None, why_not) => {
                self.told = why_not;
                Next::Draw
            }
        }
    }
}

/// What a drive is known by in another list.
fn name_of(drive: &InDrive) -> String {
    drive.identity.path.clone()
}

impl Screen for Discs {
    fn title(&self) -> String {
        "Disc".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "choose"), ("Esc", "back"), ("P", "type a path"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let mut page = Page::default();
        page.row(Tone::Strong, "Which disc? It is only read.").blank();
        if self.drives.is_empty() {
            page.add(Tone::Warning, "No drive for discs was found.").blank();
            page.text("Plug one in: it appears here by itself.").blank();
        }
        if let Some(told) = &self.told {
            page.add(Tone::Bad, sentence(told)).blank();
        }
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let archived = Item::new("Check archived discs")
            .below("Are the files that discs were read to still what they were?");
        let items: Vec<Item> = self.drives.iter().map(InDrive::item).chain([archived]).collect();
        let rows: usize = items.iter().map(|item| item.height(rest.width.into())).sum();
        let (list, rest) = split(rest, rows);
        self.list.draw(&items, list, buffer, look);
        let mut page = Page::default();
        page.blank().text("A disc that is put in appears here by itself, after some seconds.");
        if self.session.rescue {
            page.text(
                "The disc or stick that this computer was started from is not needed any more, \
                 and can be taken out.",
            );
        }
        draw_lines(&page.lines(rest.width.into(), look), rest, buffer);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.list.key(key, self.count()) {
            self.told = None;
            return Next::Draw;
        }
        match key {
            // Also where it was reached from the end of a job.
            Key::Esc | Key::Interrupt => Next::Home,
            Key::Enter => self.choose(),
            _ if key.is('p') => Next::push(Typed::new(&self.session, Wanted::Disc)),
            _ if key.is('r') => {
                *self = Self { list: self.list, ..Self::new(&self.session) };
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let mut is_new = false;
        if self.looked.elapsed() >= INTERVAL {
            self.looked = Instant::now();
            is_new = self.follow(optical_drives());
        }
        for drive in &mut self.drives {
            is_new |= drive.tick();
        }
        if is_new { Next::Draw } else { Next::Stay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples;

    fn drives(paths: &[&str]) -> Vec<DiskIdentity> {
        paths.iter().map(|path| samples::drive(path)).collect()
    }

    #[test]
    fn a_drive_that_comes_is_seen_and_what_was_chosen_stays_chosen() {
        let mut discs = Discs::with(&samples::session(true), Vec::new());
        assert_eq!(discs.list.chosen(discs.count()), Some(0), "the archived discs");
        assert!(discs.follow(drives(&["/dev/sr0"])));
        assert!(!discs.follow(drives(&["/dev/sr0"])));
        assert_eq!(discs.list.chosen(discs.count()), Some(1), "the archived discs");
        discs.key(Key::Up);
        assert!(discs.follow(drives(&["/dev/sr0", "/dev/sr1"])));
        assert_eq!(discs.list.chosen(discs.count()), Some(0));
        assert!(discs.follow(drives(&["/dev/sr1"])));
        assert_eq!(discs.list.chosen(discs.count()), None, "it is gone");
    }

    #[test]
    fn another_answer_of_the_tray_is_another_disc() {
        let mut drive = InDrive::new(samples::drive("/nonexistent"));
        assert!(drive.why_not().unwrap().contains("being asked"));
        assert!(drive.follow(Tray::default()));
        assert!(drive.contents.is_running());
        drive.contents = Load::Ready(samples::disc());
        assert!(!drive.follow(Tray::default()));
        assert!(drive.contents.ready().is_some());
        assert!(drive.follow(Tray::with_size(7)));
        assert!(drive.contents.is_running());
    }

    #[test]
    fn a_drive_without_a_disc_says_what_to_do() {
        let found = vec![(samples::drive("/dev/sr0"), None)];
        let mut discs = Discs::with(&samples::session(true), found);
        assert!(matches!(discs.key(Key::Enter), Next::Draw));
        assert_eq!(discs.told.as_deref(), Some("there is no disc; put one in"));
        discs.key(Key::Down);
        assert!(matches!(discs.key(Key::Enter), Next::Push(_)));
    }
}
