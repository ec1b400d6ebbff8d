// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checking archived discs: are they what they were?

use std::sync::Arc;

use super::archive::Archived;
use crate::disc::shelf::Shelved;
use crate::disc::verify::{Checked, State};
use crate::error::{ErrorKind, Result};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::tui::ending::Ending;
use crate::tui::look::Tone;
use crate::tui::running::{Running, Stop};
use crate::tui::screen::{Next, Shared};
use crate::tui::trouble::sentence;

/// One that was checked, by its name.
type Verdict = (String, Result<Checked>);

/// Checks one of them, or all.
pub(super) fn start(session: &Shared, found: &Arc<Archived>, which: Option<usize>) -> Next {
    let (session, found) = (session.clone(), Arc::clone(found));
    let what = match which {
        Some(number) => found.place_of(&found.discs[number]).display().to_string(),
        None => format!("all {} discs", found.discs.len()),
    };
    session.log.add(&format!("disc: check {what}: began"));
    let about = [format!("Check: {what}"), "Nothing is written.".to_owned()];
    let stop = Stop { question: "", is_harmless: true };
    Next::push(Running::new(
        "Disc",
        &about,
        stop,
        move |cancel, progress| {
            let discs: Vec<&Shelved> = match which {
                Some(number) => vec![&found.discs[number]],
                None => found.discs.iter().collect(),
            };
            let verdicts = check_all(&discs, cancel, progress)?;
            let failures = found.failures.iter().filter(|_| which.is_none());
            Ok((verdicts, failures.map(ToString::to_string).collect()))
        },
        move |result, _| {
            let ending = ending(result);
            session.log.add(&format!("disc: check {what}: {}", ending.in_short()));
            ending
        },
    ))
}

/// Tells the progress of all discs as that of one job.
struct Whole<'a> {
    progress: &'a dyn Progress,
    title: String,
}

impl Progress for Whole<'_> {
    fn stage(&self, _: &str, _: u64) {
        self.progress.note(&Event::Position(self.title.clone()));
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }

    fn note(&self, event: &Event) {
        self.progress.note(event);
    }
}

fn check_all(discs: &[&Shelved], cancel: &Cancel, progress: &dyn Progress) -> Result<Vec<Verdict>> {
    let len = |disc: &&Shelved| disc.image.metadata().map_or(0, |it| it.len());
    progress.stage("checking", discs.iter().map(len).sum());
    let mut verdicts = Vec::new();
    for (number, disc) in (1..).zip(discs) {
        let title = format!("{number} of {}: {}", discs.len(), disc.name());
        match disc.check(cancel, &Whole { progress, title }) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            checked => verdicts.push((disc.name(), checked)),
        }
    }
    Ok(verdicts)
}

/// What is said of discs that were checked, and of folders that could not be
/// looked into.
fn ending(result: Result<(Vec<Verdict>, Vec<String>)>) -> Ending {
    let (verdicts, failures) = match result {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            return Ending::new(Tone::Warning, "Stopped. Not all was checked.");
        }
        Err(error) => return Ending::of_error(&error),
    };
    match &verdicts[..] {
        [verdict] if failures.is_empty() => of_one(verdict),
        _ => of_all(&verdicts, &failures),
    }
}

fn of_one((name, checked): &Verdict) -> Ending {
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => return Ending::of_error(error),
    };
    let mut ending = match (checked.check(), checked.state) {
        (Err(error), _) => Ending::of_error(&error),
        (Ok(()), State::Unknown) => {
            let mut ending = Ending::new(
                Tone::Warning,
                format!("{name} can be read, but nothing says what it should be."),
            );
            ending.text(
                "There is no .json beside it, and no checksum in it. If you still have the disc, \
                 read it again: what is made here can be checked.",
            );
            return ending;
        }
        (Ok(()), _) => Ending::new(Tone::Good, format!("{name} is good: it is what it was.")),
    };
    ending.text(sentence(&format!("checked: {}", checked.evidence())));
    ending
}

fn of_all(verdicts: &[Verdict], failures: &[String]) -> Ending {
    let count = |state: State| {
        let is_it = |(_, it): &&Verdict| it.as_ref().is_ok_and(|it| it.state == state);
        verdicts.iter().filter(is_it).count()
    };
    let (good, unknown) = (count(State::Good), count(State::Unknown));
    let incomplete = count(State::Incomplete);
    let (all, bad) = (verdicts.len(), verdicts.len() - good - unknown - incomplete);
    let mut ending = if bad > 0 {
        let are = if bad == 1 { "is" } else { "are" };
        Ending::new(Tone::Bad, format!("{bad} of {all} discs {are} damaged or missing."))
    } else if !failures.is_empty() {
        Ending::new(Tone::Bad, "Not all folders could be looked into.")
    } else if incomplete + unknown > 0 {
        Ending::new(Tone::Warning, format!("No disc is damaged, but not all {all} are good."))
    } else {
        Ending::new(Tone::Good, format!("All {all} discs are good: they are what they were."))
    };
    let rows = |wanted: &dyn Fn(&Verdict) -> Option<String>| -> Vec<String> {
        verdicts.iter().filter_map(wanted).collect()
    };
    let damaged = rows(&|(name, checked)| match checked {
        Ok(checked) if checked.state == State::Damaged => {
            Some(format!("{name}: {}", checked.problems.join("; ")))
        }
        Ok(_) => None,
        Err(error) => Some(format!("{name}: {}", error)),
    });
    let named = |state: State| {
        rows(&|(name, checked)| {
            let checked = checked.as_ref().ok().filter(|it| it.state == state)?;
            Some(match checked.missing_sectors {
                0 if checked.protection.is_some() => format!("{name}: its films are encrypted"),
                0 => name.clone(),
                missing => format!("{name}: {missing} sectors are missing"),
            })
        })
    };
    ending.text(format!("{good} of {all} are good."));
    ending.listed("Damaged or missing:", damaged);
    ending.listed("As they were read, which was not all of the disc:", named(State::Incomplete));
    ending.listed("Nothing says what these should be:", named(State::Unknown));
    ending.listed("Not looked into:", failures.iter().cloned());
    if bad > 0 {
        ending.text(
            "What to do: read these discs again while you have them, or take other copies of \
             their files.",
        );
    }
    ending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::progress::Silent;

    /// An archived disc without a record.
    fn disc(folder: &std::path::Path, name: &str, len: usize) -> Shelved {
        let image = folder.join(name);
        std::fs::write(&image, vec![7; len]).unwrap();
        Shelved { image, record: None, trouble: None }
    }

    #[test]
    fn the_worst_of_several_is_said_first_and_each_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let one = disc(folder.path(), "one.iso", 4096);
        let two = Shelved { image: folder.path().join("gone.iso"), record: None, trouble: None };
        let check = |discs: &[&Shelved]| check_all(discs, &Cancel::default(), &Silent).unwrap();
        let text = ending(Ok((check(&[&one, &two]), Vec::new()))).contents();
        assert!(text.contains("1 of 2 discs is damaged or missing."), "{text}");
        assert!(text.contains("gone.iso: ") && text.contains("is missing"), "{text}");
        assert!(text.contains("Nothing says what these should be:"), "{text}");
        let text = ending(Ok((check(&[&one, &one]), Vec::new()))).contents();
        assert!(text.contains("No disc is damaged, but not all 2 are good."), "{text}");
        let text = ending(Ok((check(&[&one]), vec!["reading /x".into()]))).contents();
        assert!(text.contains("Not all folders") && text.contains("reading /x"), "{text}");
    }

    #[test]
    fn one_is_said_to_be_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let one = disc(folder.path(), "one.iso", 4096);
        let said = |disc: &Shelved| {
            let verdicts = check_all(&[disc], &Cancel::default(), &Silent).unwrap();
            ending(Ok((verdicts, Vec::new()))).contents()
        };
        let text = said(&one);
        assert!(text.contains("one.iso can be read, but nothing says"), "{text}");
        let trouble = Some(Error::damaged("its record is cut").hint("make it anew"));
        let text = said(&Shelved { trouble, ..one });
        assert!(text.contains("Its record is cut.") && text.contains("Make it anew."), "{text}");
    }

    #[test]
    fn a_check_that_is_stopped_says_nothing_of_the_discs() {
        let folder = tempfile::tempdir().unwrap();
        let (one, cancel) = (disc(folder.path(), "one.iso", 4096), Cancel::default());
        cancel.cancel();
        let result = check_all(&[&one], &cancel, &Silent);
        assert!(result.is_err());
        let text = ending(result.map(|it| (it, Vec::new()))).contents();
        assert!(text.contains("Stopped. Not all was checked."), "{text}");
    }
}
