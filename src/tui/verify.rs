// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verifying an image.

use std::sync::Arc;

use super::ending::Ending;
use super::look::Tone;
use super::running::{Running, Stop};
use super::screen::{Next, Shared};
use super::shelf::Picked;
use crate::error::{ErrorKind, Result};
use crate::job::verify::{self, Checked};

/// Starts it.
pub(crate) fn start(session: &Shared, picked: &Arc<Picked>) -> Next {
    let (session, picked) = (session.clone(), Arc::clone(picked));
    let (name, path) = (picked.name(), picked.path().to_owned());
    session.log.add(&format!("verify: {name}: began"));
    let stop = Stop { question: "", is_harmless: true };
    let about = [format!("Image: {name}"), "It is only read.".to_owned()];
    Next::push(Running::new(
        "Verify",
        &about,
        stop,
        move |cancel, progress| {
            picked.with_image(|image| verify::run(image, false, cancel, progress))
        },
        move |result, _| {
            let ending = ending(&result, &path);
            session.log.add(&format!("verify: {name}: {}", ending.in_short()));
            ending
        },
    ))
}

fn ending(result: &Result<Checked>, path: &std::path::Path) -> Ending {
    let checked = match result {
        Ok(checked) => checked,
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            return Ending::new(Tone::Warning, "Stopped. Nothing can be said of the image.");
        }
        Err(error) => {
            let mut ending = Ending::of_error(error);
            if error.kind() == ErrorKind::Damaged {
                ending.text(
                    "If there is another copy of this image, use that. If the disk still works, \
                     save it again.",
                );
            }
            return ending;
        }
    };
    let mut ending = match checked.finding(path) {
        Ok(()) => Ending::new(Tone::Good, "The image is good."),
        Err(error) => Ending::of_error(&error),
    };
    ending.text("All of it was read, unpacked and checked.");
    ending
}
