// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of a volume beneath its name: its identity, whether it is
//! clean, what was decided, and what the user can do. The same words stand in
//! the plan of a save, in `info` and in `disks`.

use anstyle::Style;

use crate::fs::Identity;
use crate::layout::Region;

use super::output::plain;
use super::terminal::{FAINT, WHOLE, wrap};

/// The sentences about a region, each with its style.
pub(super) fn sentences(region: &Region) -> Vec<(Style, String)> {
    let whole = region.whole.as_deref();
    let identity = region.filesystem.as_ref().map(|identity| facts(identity, whole.is_none()));
    let decision = match (whole, region.advice.as_deref()) {
        (Some(why), Some(advice)) => Some((WHOLE, format!("stored whole: {why}; {advice}"))),
        (Some(why), None) => Some((WHOLE, format!("stored whole: {why}"))),
        (None, Some(advice)) => Some((FAINT, advice.to_owned())),
        (None, None) => None,
    };
    let notes = region.notes.iter().map(|note| (FAINT, note.clone()));
    let identity = identity.filter(|text| !text.is_empty()).map(|text| (FAINT, text));
    identity.into_iter().chain(decision).chain(notes).collect()
}

/// "UUID 1234-5678, clean; only what is in use is stored"
fn facts(identity: &Identity, has_map: bool) -> String {
    let uuid = identity.uuid.as_ref().map(|uuid| format!("UUID {uuid}"));
    // Of what is stored whole, nobody may know whether it is clean; that it is
    // not, is known.
    let state = match (&identity.unclean, identity.clean) {
        (Some(why), _) => Some(format!("not clean ({why})")),
        (None, false) => Some("not clean".to_owned()),
        (None, true) => has_map.then(|| "clean".to_owned()),
    };
    let text = [uuid, state].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if has_map { format!("{text}; only what is in use is stored") } else { text }
}

/// The sentences in lines that all stand behind a margin.
pub(super) fn lines(region: &Region, width: usize, margin: usize) -> Vec<String> {
    sentences(region).iter().flat_map(|(style, text)| styled(text, *style, width, margin)).collect()
}

/// Text in lines that all stand behind a margin.
pub(super) fn styled(text: &str, style: Style, width: usize, margin: usize) -> Vec<String> {
    wrap(&plain(text), width, margin)
        .iter()
        .map(|line| format!("{}{style}{}{style:#}", " ".repeat(margin), line.trim_start()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Extent;
    use crate::layout::RegionKind;

    fn region(identity: Identity) -> Region {
        Region {
            extent: Extent::new(0, 100),
            kind: RegionKind::Volume,
            partition: None,
            filesystem: Some(identity),
            used: 10,
            whole: None,
            notes: Vec::new(),
            advice: None,
            volumes: Vec::new(),
        }
    }

    fn said(region: &Region) -> Vec<String> {
        sentences(region).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_clean_filesystem_takes_one_line() {
        let uuid = Some("0123ABCD".into());
        let clean = region(Identity { uuid, clean: true, ..Identity::default() });
        assert_eq!(said(&clean), ["UUID 0123ABCD, clean; only what is in use is stored"]);
    }

    #[test]
    fn the_reason_and_what_the_user_can_do_are_one_sentence() {
        let mut hibernated =
            region(Identity { unclean: Some("hibernated".into()), ..Identity::default() });
        hibernated.whole = Some("Windows is hibernated".into());
        hibernated.advice = Some("to make it smaller, shut down with Shift held".into());
        hibernated.notes = vec!["a note".into()];
        let wanted = [
            "not clean (hibernated)",
            "stored whole: Windows is hibernated; to make it smaller, shut down with Shift held",
            "a note",
        ];
        assert_eq!(said(&hibernated), wanted);
    }

    #[test]
    fn of_what_is_stored_whole_nobody_says_that_it_is_clean() {
        let mut locked = region(Identity { clean: true, ..Identity::default() });
        locked.whole = Some("it is encrypted".into());
        assert_eq!(said(&locked), ["stored whole: it is encrypted"]);
        locked.filesystem = None;
        assert_eq!(said(&locked), ["stored whole: it is encrypted"]);
    }
}
