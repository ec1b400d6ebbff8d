// SPDX-License-Identifier: MIT OR Apache-2.0
//! The question before a target is overwritten.
//!
//! What it takes is said in [`crate::job::Target`]. A person types it; a script
//! says the same with `--yes --confirm SERIAL`.

use std::io::{self, BufRead, Write};

use crate::error::{Context, Error, Result};
use crate::job::{Confirmed, Kind, Target};

use super::output::{Output, plain};
use super::target::ConfirmArgs;

/// How often a wrong answer is taken before giving up.
const ATTEMPTS: u32 = 3;

/// What the command line says about it.
#[derive(Debug, Clone, Copy, Default)]
struct Given<'a> {
    yes: bool,
    confirm: Option<&'a str>,
    /// True if only what was named is changed, and nothing else overwritten.
    repair: bool,
}

impl<'a> Given<'a> {
    fn of(answer: &'a ConfirmArgs, repair: bool) -> Self {
        Self { yes: answer.yes, confirm: answer.confirm.as_deref(), repair }
    }
}

/// Somebody at a terminal.
struct Person<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

/// Returns if `target` may be overwritten.
///
/// # Errors
/// Refused, unless the options or the person at the terminal confirm it.
pub fn confirm(target: &Target, answer: &ConfirmArgs, output: &Output) -> Result<Confirmed> {
    ask(target, Given::of(answer, false), output)
}

/// Returns if the steps that were shown may be run on `target`.
///
/// # Errors
/// As [`confirm`].
pub fn confirm_repair(target: &Target, answer: &ConfirmArgs, output: &Output) -> Result<Confirmed> {
    ask(target, Given::of(answer, true), output)
}

fn ask(target: &Target, given: Given<'_>, output: &Output) -> Result<Confirmed> {
    let Some(mut input) = output.person() else {
        return decide(target, given, None);
    };
    output.while_asking(|| {
        let mut output = io::stderr().lock();
        decide(target, given, Some(Person { input: &mut *input, output: &mut output }))
    })
}

fn decide(target: &Target, given: Given<'_>, person: Option<Person<'_>>) -> Result<Confirmed> {
    match (&target.kind, given.confirm) {
        (Kind::NewFile | Kind::File { .. }, Some(named)) => Err(Error::refused(format!(
            "--confirm names the disk '{named}', but {} is no disk",
            target.path
        ))
        .hint("'dacapo disks' lists the disks; for a file, leave --confirm out")),
        (Kind::NewFile, None) => target.confirm_new(),
        (Kind::File { .. }, None) => file(target, given, person),
        (Kind::Device { .. }, Some(named)) => match target.confirm_by_name(named) {
            Some(confirmed) if given.yes => Ok(confirmed),
            Some(_) => device(target, given, person),
            None => Err(Error::refused(format!(
                "--confirm names the disk '{named}', but {}",
                target.identity()
            ))
            .hint("make sure that TARGET is the disk you mean; 'dacapo disks' lists all")),
        },
        (Kind::Device { .. }, None) => device(target, given, person),
    }
}

fn file(target: &Target, given: Given<'_>, person: Option<Person<'_>>) -> Result<Confirmed> {
    let verb = if given.repair { "change" } else { "overwrite" };
    let is_yes = if given.yes {
        true
    } else if let Some(mut person) = person {
        person.show(target, given)?;
        let question = if given.repair { "Change it? [y/N] " } else { "Overwrite it? [y/N] " };
        let answer = person.ask(question)?;
        ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
    } else {
        return Err(Error::refused(format!(
            "{} exists and holds data, and there is no terminal to ask on",
            target.path
        ))
        .hint(format!("add --yes to {verb} it")));
    };
    target.confirm_by_yes().filter(|_| is_yes).ok_or_else(not_confirmed)
}

fn device(target: &Target, given: Given<'_>, person: Option<Person<'_>>) -> Result<Confirmed> {
    let Some(mut person) = person else {
        let what = if given.yes { "--yes is not enough for a disk" } else { "not confirmed" };
        return Err(Error::refused(format!("{what}: {}", target.identity())).hint(format!(
            "if this is the disk you mean, add --yes --confirm '{}'",
            plain(&target.name())
        )));
    };
    person.show(target, given)?;
    let question = if target.serial().is_some() {
        "Type its serial number to go on: ".to_owned()
    } else {
        format!("It has no serial number. Type its size, {}, to go on: ", target.name())
    };
    for _ in 0..ATTEMPTS {
        let answer = person.ask(&question)?;
        if let Some(confirmed) = target.confirm_by_name(&answer) {
            return Ok(confirmed);
        }
        if answer.is_empty() {
            break;
        }
        person.say(&format!("'{}' is not it.", plain(&answer)))?;
    }
    Err(not_confirmed())
}

fn not_confirmed() -> Error {
    Error::refused("not confirmed; nothing was written")
}

impl Person<'_> {
    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.output, "{line}").context(|| "writing to the terminal".into())
    }

    fn show(&mut self, target: &Target, given: Given<'_>) -> Result<()> {
        self.say(if given.repair {
            "This disk will be changed in what is said above, and in nothing else:"
        } else {
            "ALL DATA on this target will be lost:"
        })?;
        self.say("")?;
        self.say(&format!("  {}", plain(&target.identity())))?;
        for line in target.contents() {
            self.say(&format!("    {}", plain(&line)))?;
        }
        self.say("")
    }

    /// The answer without the blanks around it; empty at the end of input.
    fn ask(&mut self, question: &str) -> Result<String> {
        let mut answer = String::new();
        write!(self.output, "{question}")
            .and_then(|()| self.output.flush())
            .and_then(|()| self.input.read_line(&mut answer))
            .context(|| "asking for the confirmation".into())?;
        Ok(answer.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::extent::Extent;
    use crate::fs::Identity;
    use crate::layout::{Layout, Region, RegionKind};

    fn volume(label: &str) -> Region {
        Region {
            extent: Extent::at(0, 500_107_862_016),
            kind: RegionKind::Volume,
            partition: None,
            filesystem: Some(Identity {
                name: "ext4".into(),
                label: Some(label.into()),
                ..Identity::default()
            }),
            used: 0,
            whole: None,
            notes: Vec::new(),
            advice: None,
            volumes: Vec::new(),
        }
    }

    fn disk(serial: Option<&str>) -> Target {
        Target {
            path: "/dev/sdb".into(),
            kind: Kind::Device {
                model: Some("Samsung SSD 870 EVO ".into()),
                serial: serial.map(str::to_owned),
                size: 500_107_862_016,
            },
            layout: Layout { table: None, regions: vec![volume("STUDIO")] },
        }
    }

    fn file(size: u64) -> Target {
        Target { path: "disk.raw".into(), kind: Kind::File { size }, layout: Layout::default() }
    }

    fn new_file(path: &str) -> Target {
        Target { path: path.into(), kind: Kind::NewFile, layout: Layout::default() }
    }

    fn scripted(target: &Target, yes: bool, confirm: Option<&str>) -> Result<Confirmed> {
        decide(target, Given { yes, confirm, repair: false }, None)
    }

    /// The result and what was shown.
    fn asked(target: &Target, given: Given<'_>, typed: &str) -> (Result<Confirmed>, String) {
        let (mut input, mut shown) = (typed.as_bytes(), Vec::new());
        let person = Person { input: &mut input, output: &mut shown };
        let result = decide(target, given, Some(person));
        (result, String::from_utf8(shown).unwrap())
    }

    fn refused(result: Result<Confirmed>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        format!("{error} / {}", error.hint_text().unwrap_or_default())
    }

    #[test]
    fn a_script_needs_yes_and_the_right_serial() {
        let target = disk(Some("S5Y1NX0 "));
        assert!(scripted(&target, true, Some("S5Y1NX0")).is_ok());
        assert!(scripted(&target, true, Some("s5y1nx0")).is_ok());
        refused(scripted(&target, false, Some("S5Y1NX0")));
        refused(scripted(&target, true, Some("S5Y1NX")));
        refused(scripted(&target, true, Some("")));
        // The size does not do where there is a serial number.
        refused(scripted(&target, true, Some("500107862016")));
        let text = refused(scripted(&target, true, None));
        assert!(text.contains("Samsung SSD 870 EVO, serial S5Y1NX0, 466 GiB"), "{text}");
        assert!(text.contains("--yes --confirm 'S5Y1NX0'"), "{text}");
        refused(scripted(&target, false, None));
    }

    #[test]
    fn a_wrong_confirmation_says_which_disk_it_is() {
        let text = refused(scripted(&disk(Some("S5Y1NX0")), true, Some("WD-1")));
        assert!(text.contains("'WD-1'") && text.contains("serial S5Y1NX0"), "{text}");
    }

    #[test]
    fn a_disk_without_a_serial_is_named_by_its_size() {
        for serial in [None, Some(""), Some("  ")] {
            let target = disk(serial);
            assert!(scripted(&target, true, Some("500107862016")).is_ok());
            assert!(scripted(&target, true, Some("466 GiB")).is_ok());
            for wrong in ["", " ", "500107862015", "465 GiB", "S5Y1NX0"] {
                refused(scripted(&target, true, Some(wrong)));
            }
            assert!(asked(&target, Given::default(), "466gib\n").0.is_ok());
            refused(asked(&target, Given::default(), "\n").0);
        }
    }

    #[test]
    fn a_person_sees_the_disk_and_types_its_serial() {
        let target = disk(Some("S5Y1NX0"));
        let (result, shown) = asked(&target, Given::default(), " S5Y1NX0 \n");
        assert!(result.is_ok());
        for part in ["/dev/sdb", "Samsung SSD 870 EVO", "S5Y1NX0", "466 GiB", "ext4 'STUDIO'"] {
            assert!(shown.contains(part), "{part} is missing in:\n{shown}");
        }
        // Each option alone only leads to the question.
        assert!(asked(&target, Given { yes: true, ..Given::default() }, "S5Y1NX0\n").0.is_ok());
        let given = Given { confirm: Some("S5Y1NX0"), ..Given::default() };
        refused(asked(&target, given, "y\n").0);
    }

    #[test]
    fn a_wrong_answer_is_asked_again_but_not_for_ever() {
        let target = disk(Some("S5Y1NX0"));
        assert!(asked(&target, Given::default(), "yes\nS5Y1\nS5Y1NX0\n").0.is_ok());
        refused(asked(&target, Given::default(), "a\nb\nc\nS5Y1NX0\n").0);
        // The end of input and an empty line are a no.
        refused(asked(&target, Given::default(), "").0);
        refused(asked(&target, Given::default(), "\nS5Y1NX0\n").0);
    }

    #[test]
    fn a_wrong_option_is_refused_even_with_a_person_there() {
        let given = Given { yes: true, confirm: Some("WD-1"), repair: false };
        let (result, shown) = asked(&disk(Some("S5Y1NX0")), given, "S5Y1NX0\n");
        refused(result);
        assert_eq!(shown, "");
    }

    #[test]
    fn a_file_needs_a_yes_if_it_holds_data() {
        assert!(scripted(&file(1), true, None).is_ok());
        let text = refused(scripted(&file(1), false, None));
        assert!(text.contains("add --yes"), "{text}");
        assert!(asked(&file(1), Given::default(), "y\n").0.is_ok());
        for no in ["\n", "n\n", "", "disk.raw\n"] {
            refused(asked(&file(1), Given::default(), no).0);
        }
        assert!(scripted(&new_file("disk.raw"), false, None).is_ok());
    }

    #[test]
    fn a_repair_does_not_say_that_all_will_be_lost() {
        let repair = Given { repair: true, ..Given::default() };
        let (result, shown) = asked(&disk(Some("S5Y1NX0")), repair, "S5Y1NX0\n");
        assert!(result.is_ok());
        assert!(shown.contains("changed in what is said above"), "{shown}");
        let (result, more) = asked(&file(1), repair, "y\n");
        assert!(result.is_ok());
        assert!(!shown.contains("ALL DATA") && !more.contains("ALL DATA"), "{shown}{more}");
        assert!(more.contains("Change it?"), "{more}");
    }

    #[test]
    fn a_script_that_means_a_disk_does_not_write_a_file() {
        for target in [file(4096), new_file("disk.raw"), new_file("/dev/sdq")] {
            refused(scripted(&target, true, Some("S5Y1NX0")));
        }
        refused(scripted(&new_file("/dev/sdq"), true, None));
    }

    #[test]
    fn what_a_disk_says_of_itself_cannot_steer_the_terminal() {
        let mut target = disk(Some("S5\u{1b}[2J"));
        target.layout.regions.push(volume("\u{1b}]0;x\u{7}"));
        let (_, shown) = asked(&target, Given::default(), "\n");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
