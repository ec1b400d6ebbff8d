// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a disc: what will be done, going on with what is missing, and what is
//! said at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::{Discs, named};
use crate::cmd::save::SHOWN_FILES;
use crate::device::RAW_SECTOR;
use crate::disc::read::{About, Done, Options, begun_in, free_path};
use crate::disc::{self, Contents, Drive, drive, raw, record};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Needs;
use crate::store::room_at;
use crate::tui::ending::Ending;
use crate::tui::keys::Key;
use crate::tui::load::Load;
use crate::tui::look::{Look, Tone};
use crate::tui::running::{Running, Stop};
use crate::tui::save::{OpenPlace, Place};
use crate::tui::screen::{Hint, Next, Screen, Shared};
use crate::tui::trouble::sentence;
use crate::tui::widgets::{Item, List, Page, Scroll, draw_lines, split};
use crate::units::human;

/// How often bad sectors are tried again, as the command does unless it is told
/// otherwise.
const RETRIES: u32 = 1;

/// What is told of a reading that has ended early.
const WAY_ON: &str = "what was read is kept: choose Disc again, with the same disc and the same \
                      place, and it is offered to go on";

/// A disc that is to be kept.
#[derive(Debug)]
pub(crate) struct Wish {
    path: PathBuf,
    contents: Contents,
    is_raw: bool,
}

impl Wish {
    /// The disc at a path, which has this on it.
    pub(crate) fn new(path: &Path, contents: &Contents, is_raw: bool) -> Self {
        Self { path: path.to_owned(), contents: contents.clone(), is_raw }
    }

    /// What its file needs. What the drive cannot give at its end is a hole, as
    /// with the command.
    pub(crate) fn needs(&self) -> Needs {
        match &self.contents.toc {
            Some(toc) if self.is_raw => {
                let len = u64::from(toc.lead_out) * RAW_SECTOR as u64;
                Needs { room: len, len }
            }
            _ => {
                let len = self.contents.len();
                Needs { room: len.min(self.contents.sizes.capacity), len }
            }
        }
    }

    const fn extension(&self) -> &'static str {
        if self.is_raw { "bin" } else { "iso" }
    }
}

/// All that has to be known before a disc is read. The drive is open, so that
/// nobody takes the disc out.
struct Ready {
    drive: Box<dyn Drive>,
    contents: Contents,
    place: OpenPlace,
    /// Where it would be read to anew.
    path: PathBuf,
    /// What there is of this disc already, and is not complete.
    begun: Vec<PathBuf>,
    room: u64,
}

/// What will be done.
pub(crate) struct Plan {
    session: Shared,
    wish: Arc<Wish>,
    place: Arc<Place>,
    about: About,
    ready: Load<Ready>,
    scroll: Scroll,
    list: List,
}

fn prepare(wish: &Arc<Wish>, place: &Arc<Place>) -> Load<Ready> {
    let (wish, place) = (Arc::clone(wish), Arc::clone(place));
    Load::start(move |cancel, progress| {
        progress.stage(&wish.path.display().to_string(), 0);
        let drive = drive::open(&wish.path)?;
        let contents = Contents::of(&*drive);
        if !contents.is_as(&wish.contents) {
            return Err(Error::refused(format!(
                "another disc is in {} than the one that was chosen",
                wish.path.display()
            ))
            .hint("go back to the list of discs and choose it, or put the other one in again"));
        }
        cancel.check()?;
        progress.stage("looking at what is there already", 0);
        let place = place.open()?;
        let begun = begun_in(place.path(), &*drive, &contents, wish.is_raw, cancel)?;
        let path = free_path(place.path(), &contents, wish.extension());
        let room = room_at(&path)?;
        Ok(Ready { drive, contents, place, path, begun, room })
    })
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Plan {
    pub(crate) fn new(
        session: &Shared,
        wish: &Arc<Wish>,
        place: &Arc<Place>,
        about: About,
    ) -> Self {
        let ready = prepare(wish, place);
        let (wish, place) = (Arc::clone(wish), Arc::clone(place));
        let (scroll, list) = (Scroll::default(), List::default());
        Self { session: session.clone(), wish, place, about, ready, scroll, list }
    }

    fn has_room(&self, ready: &Ready) -> bool {
        self.wish.needs().room <= ready.room
    }

    /// What can be done, with the file it is done to.
    fn ways(&self, ready: &Ready) -> Vec<(Item, PathBuf)> {
        let go_on = |path: &PathBuf| {
            let text = format!("Go on with {}: read what is missing", name_of(path));
            (Item::new(text), path.clone())
        };
        let mut ways: Vec<(Item, PathBuf)> = ready.begun.iter().map(go_on).collect();
        if self.has_room(ready) {
            let name = if ways.is_empty() {
                "Read it".to_owned()
            } else {
                format!("Read all of it anew, to {}", name_of(&ready.path))
            };
            ways.push((Item::new(name), ready.path.clone()));
        }
        ways
    }

    fn page(&self, ready: &Ready) -> Page {
        let mut page = Page::default();
        page.row(Tone::Strong, named(&ready.contents)).blank();
        page.text(format!("To {}", self.place.shown()));
        for path in &ready.begun {
            page.text(format!(
                "{} is there already. It is of this disc, and not complete.",
                name_of(path)
            ));
        }
        let (name, beside) = (name_of(&ready.path), name_of(&record::path_of(&ready.path)));
        let is_first = name == format!("{}.{}", ready.contents.stem(), self.wish.extension());
        if !is_first && ready.begun.is_empty() {
            page.text("A disc of that name is there already. Nothing of it is overwritten.");
        }
        if self.has_room(ready) {
            let anew = if ready.begun.is_empty() { "The file" } else { "A new file" };
            page.text(format!(
                "{anew} is called {name}. Beside it comes {beside}, with what is known of the disc."
            ));
        }
        page.text(format!(
            "{} are needed; {} are free there.",
            human(self.wish.needs().room),
            human(ready.room)
        ));
        if !self.has_room(ready) {
            page.blank().add(
                Tone::Warning,
                "There is not enough room to read all of it. Go back and choose another place, \
                 or make room there.",
            );
        }
        let about = &self.about;
        let said = [("Title", &about.title), ("Serial", &about.serial), ("Note", &about.note)];
        if said.iter().any(|(_, text)| text.is_some()) {
            page.blank();
        }
        for (name, text) in said {
            if let Some(text) = text {
                page.text(format!("{name}: {text}"));
            }
        }
        page
    }

    fn start(&mut self, path: PathBuf) -> Next {
        let Load::Ready(ready) = std::mem::replace(&mut self.ready, Load::Empty) else {
            return Next::Stay;
        };
        let Ready { drive, contents, place, begun, .. } = ready;
        let is_raw = self.wish.is_raw;
        let options = Options {
            about: self.about.clone(),
            retries: RETRIES,
            resume: begun.contains(&path),
            others: Vec::new(),
            way_on: WAY_ON,
        };
        let what = format!("{} to {}", self.wish.path.display(), path.display());
        self.session.log.add(&format!("disc: read {what}: began"));
        let about = [
            format!("Disc: {}", named(&contents)),
            format!("File: {}", name_of(&path)),
            format!("To:   {}", self.place.shown()),
        ];
        let stop = Stop {
            question: "Stop? What was read is kept, and can be gone on with.",
            is_harmless: false,
        };
        let session = self.session.clone();
        Next::replace(Running::new(
            "Disc",
            &about,
            stop,
            move |cancel, progress| {
                let run = if is_raw { raw::run } else { disc::read::run };
                let done = run(&*drive, &contents, &path, &options, cancel, progress)?;
                // Part of the job: what cannot be unmounted may not be on the drive.
                let is_free = place.finish()?;
                Ok((done, is_free))
            },
            move |result, notices| {
                let ending = ending(&session, result, notices);
                session.log.add(&format!("disc: read {what}: {}", ending.in_short()));
                ending
            },
        ))
    }
}

/// What is said of a disc that was read.
fn ending(session: &Shared, result: Result<(Done, bool)>, notices: &[String]) -> Ending {
    let mut ending = match result {
        Ok((done, is_free)) => ending_of(&done, is_free, notices),
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            // Only then it was written down what was read.
            if error.hint_text().is_some_and(|hint| hint.contains(WAY_ON)) {
                let mut ending = Ending::new(Tone::Warning, "Stopped. What was read is kept.");
                ending.text(
                    "To go on, choose Disc again, with the same disc and the same place. Another \
                     drive may be used for that, too.",
                );
                ending
            } else {
                Ending::new(Tone::Warning, "Stopped. Nothing that was read now is kept.")
            }
        }
        Err(error) => {
            let mut ending = Ending::of_error(&error);
            if error.kind() == ErrorKind::NoSpace {
                ending.text("Make room there, or choose another place.");
            }
            ending
        }
    };
    let session = session.clone();
    let name = "Put in the next disc, or this one again";
    ending.choice(Item::new(name), move || Next::push(Discs::new(&session)));
    ending
}

fn ending_of(done: &Done, is_free: bool, notices: &[String]) -> Ending {
    let (record, lost) = (&done.record, done.check());
    let mut ending = match &lost {
        Ok(()) => Ending::new(Tone::Good, "Done. The disc is stored whole."),
        Err(error) => Ending::of_error(error),
    };
    let cue = record.cue.as_deref().map(|cue| format!(" with {cue}")).unwrap_or_default();
    ending.text(format!(
        "The file is called {}{cue}, and has {}. Beside it is {}, with what is known of the disc.",
        name_of(&done.path),
        human(record.bytes),
        name_of(&record::path_of(&done.path)),
    ));
    if !record.damaged_files.is_empty() {
        let files = &record.damaged_files;
        let more = files.len().saturating_sub(SHOWN_FILES);
        let more = (more > 0).then(|| format!("and {more} more, named in the .json"));
        let lines = files.iter().take(SHOWN_FILES).cloned().chain(more);
        ending.listed("Files that are not whole:", lines);
    } else if record.missing_sectors() > 0 && record.cue.is_none() {
        ending.text("No file is known to be in these sectors.");
    }
    for note in done.notes().iter().chain(notices) {
        ending.text(sentence(note));
    }
    ending.text(match &lost {
        Ok(()) => {
            "What now: check the file once a year, with Check archived discs, as long as there \
             is the disc to read it again."
        }
        Err(_) if record.missing_sectors() == 0 => {
            "What now: keep the disc. Check the file once a year, with Check archived discs."
        }
        Err(_) => {
            "What now: wipe the disc with a soft cloth, from the middle to the edge, or put it \
             into another drive. Then choose it again, with the same place: only what is missing \
             is read."
        }
    });
    if is_free {
        ending.text("The drive with the file can be pulled now.");
    }
    ending
}

impl Screen for Plan {
    fn title(&self) -> String {
        "Disc > what will be done".into()
    }

    fn hints(&self) -> Vec<Hint> {
        let mut hints =
            self.ready.hints(|ready| (!self.ways(ready).is_empty()).then_some("choose"));
        if self.scroll.is_needed() {
            hints.push(("PgUp/PgDn", "scroll"));
        }
        hints
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.ready.draw("Looking at the disc and the place", area, buffer, look) {
            return None;
        }
        let ready = self.ready.ready()?;
        let choices: Vec<Item> = self.ways(ready).into_iter().map(|(item, _)| item).collect();
        let foot = choices.len() + 2;
        let (body, foot) = split(area, usize::from(area.height).saturating_sub(foot));
        let lines = self.page(ready).lines(body.width.into(), look);
        self.scroll.draw(&lines, body, buffer, look);
        let mut page = Page::default();
        page.blank().row(Tone::Strong, "The disc is only read. Nothing is overwritten.");
        let lines = page.lines(foot.width.into(), look);
        let (head, list) = split(foot, lines.len());
        draw_lines(&lines, head, buffer);
        self.list.draw(&choices, list, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let mut ways = self.ready.ready().map(|ready| self.ways(ready)).unwrap_or_default();
        let is_page = matches!(key, Key::PageUp | Key::PageDown);
        if is_page && self.scroll.key(key) || self.list.key(key, ways.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.list.chosen(ways.len()) {
                Some(number) => self.start(ways.swap_remove(number).1),
                None => Next::Stay,
            },
            _ if key.is('r') && self.ready.is_failed() => {
                self.ready = prepare(&self.wish, &self.place);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.ready.tick() { Next::Draw } else { Next::Stay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disc::Record;
    use crate::disc::record::Sectors;
    use crate::tui::samples;

    fn done(unreadable: Vec<Sectors>) -> Done {
        let record = Record {
            file: "SYNTH_2.iso".into(),
            bytes: 700 << 20,
            unreadable,
            damaged_files: vec!["setup\u{1b}[2J.exe".into()],
            ..Record::new()
        };
        Done { path: "/mnt/SYNTH_2.iso".into(), record, untold: None }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let missing = vec![Sectors { first: 100, count: 38 }];
        let result = Ok((done(missing), true));
        let text = ending(&samples::session(true), result, &[]).contents();
        for part in [
            "38 sectors of the disc could not be read: 100-137.",
            "The file is called SYNTH_2.iso, and has 700 MiB.",
            "Files that are not whole:",
            "soft cloth",
            "only what is missing is read",
            "can be pulled now",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("--") && !text.contains("dacapo "), "{text}");
    }

    #[test]
    fn of_encrypted_films_no_cleaning_is_asked_for() {
        let mut done = done(Vec::new());
        done.record.protection = Some("AACS".into());
        done.record.damaged_files.clear();
        let text = ending(&samples::session(true), Ok((done, false)), &[]).contents();
        assert!(text.contains("copy-protected (AACS)"), "{text}");
        assert!(text.contains("What now: keep the disc."), "{text}");
        assert!(!text.contains("cloth") && !text.contains("these sectors"), "{text}");
    }

    #[test]
    fn a_disc_that_was_stopped_can_be_gone_on_with() {
        let result = Err(Error::interrupted().hint(WAY_ON));
        let text = ending(&samples::session(true), result, &[]).contents();
        assert!(text.contains("What was read is kept.") && text.contains("same place"), "{text}");
        // Nothing was written down of it.
        let text = ending(&samples::session(true), Err(Error::interrupted()), &[]).contents();
        assert!(text.contains("Stopped. Nothing") && !text.contains("To go on"), "{text}");
    }

    #[test]
    fn a_place_without_room_is_no_dead_end_if_a_part_is_there() {
        let session = samples::session(true);
        let wish = Arc::new(Wish::new("/dev/sr0".as_ref(), &samples::disc(), false));
        let place = Arc::new(Place::Folder("/nonexistent".into()));
        let plan = Plan::new(&session, &wish, &place, About::default());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.iso");
        std::fs::write(&file, [0; 4096]).unwrap();
        let ready = |begun: &[&str], room: u64| Ready {
            drive: drive::open(&file).unwrap(),
            contents: samples::disc(),
            place: OpenPlace::Folder("/mnt".into()),
            path: "/mnt/SYNTH_2-2.iso".into(),
            begun: begun.iter().map(PathBuf::from).collect(),
            room,
        };
        let ways = |ready: &Ready| -> Vec<String> {
            plan.ways(ready).into_iter().map(|(item, _)| item.title).collect()
        };
        let needed = wish.needs().room;
        assert_eq!(ways(&ready(&[], needed)), ["Read it"]);
        assert!(ways(&ready(&[], needed - 1)).is_empty());
        let begun = ["/mnt/SYNTH_2.iso"];
        assert_eq!(
            ways(&ready(&begun, needed)),
            [
                "Go on with SYNTH_2.iso: read what is missing",
                "Read all of it anew, to SYNTH_2-2.iso"
            ]
        );
        assert_eq!(ways(&ready(&begun, 0)).len(), 1);
        // Sectors of a raw disc have more bytes.
        let raw = Wish::new("/dev/sr0".as_ref(), &samples::disc_with_sound(1), true);
        assert_eq!((raw.needs().room, raw.needs().len), (200_000 * 2352, 200_000 * 2352));
        // What the drive stops short of takes no room.
        let mut short = samples::disc();
        short.sizes.capacity = 400 << 20;
        let short = Wish::new("/dev/sr0".as_ref(), &short, false).needs();
        assert_eq!((short.room, short.len), (400 << 20, 600 << 20));
    }
}
