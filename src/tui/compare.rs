// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparing a disk with an image.

use std::path::Path;
use std::sync::Arc;

use super::ending::Ending;
use super::look::Tone;
use super::running::{Running, Stop};
use super::screen::{Next, Shared};
use super::shelf::Picked;
use super::widgets::short;
use crate::device::Source;
use crate::error::{ErrorKind, Result};
use crate::job::compare::{self, Found};
use crate::units::human;

/// Starts it.
pub(crate) fn start(session: &Shared, picked: &Arc<Picked>, disk: &Path) -> Next {
    let (session, picked, disk) = (session.clone(), Arc::clone(picked), disk.to_owned());
    let what = format!("{} with {}", picked.name(), disk.display());
    session.log.add(&format!("compare: {what}: began"));
    let stop = Stop { question: "", is_harmless: true };
    let about = [
        format!("Image: {}", picked.name()),
        format!("Disk:  {}", disk.display()),
        "Both are only read.".to_owned(),
    ];
    let shown = disk.clone();
    Next::push(Running::new(
        "Compare",
        &about,
        stop,
        move |cancel, progress| {
            let source = Source::open(&disk)?;
            picked.with_image(|image| compare::run(image, None, &source, cancel, progress))
        },
        move |result, _| {
            let ending = ending(&result, &shown);
            session.log.add(&format!("compare: {what}: {}", ending.in_short()));
            ending
        },
    ))
}

fn ending(result: &Result<Found>, disk: &Path) -> Ending {
    let found = match result {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            return Ending::new(Tone::Warning, "Stopped. Not all of the disk was compared.");
        }
        Err(error) => return Ending::of_error(error),
    };
    let mut ending = match found.finding(disk) {
        Ok(()) => Ending::new(Tone::Good, "The disk has all that is in the image."),
        Err(error) => Ending::of_error(&error),
    };
    for region in &found.regions {
        ending.text(format!(
            "{} ({}): {} differ in {} places",
            region.title,
            short(&region.content, 20),
            human(region.bytes),
            region.ranges
        ));
    }
    ending.text(format!("{} were compared.", human(found.compared.bytes)));
    ending
}
