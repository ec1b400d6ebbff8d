// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of a volume beneath its name: its identity, whether it is
//! clean, what was decided, and what the user can do. The same words stand in
//! the plan of a save, in `info` and in `disks`.

use anstyle::Style;

use crate::fs::Identity;
use crate::layout::{Inner, Region};
use crate::units::human;

use super::output::plain;
use super::terminal::{FAINT, WHOLE, wrap};

/// What is known of a volume, whether it is a region of a disk or inside one.
struct Known<'a> {
    filesystem: Option<&'a Identity>,
    whole: Option<&'a str>,
    advice: Option<&'a str>,
    notes: &'a [String],
}

impl<'a> Known<'a> {
    fn of_region(region: &'a Region) -> Self {
        Self {
            filesystem: region.filesystem.as_ref(),
            whole: region.whole.as_deref(),
            advice: region.advice.as_deref(),
            notes: &region.notes,
        }
    }

    fn of_inner(inner: &'a Inner) -> Self {
        Self {
            filesystem: inner.filesystem.as_ref(),
            whole: inner.whole.as_deref(),
            advice: inner.advice.as_deref(),
            notes: &inner.notes,
        }
    }

    /// The sentences about it, each with its style.
    fn sentences(&self) -> Vec<(Style, String)> {
        let identity = self.filesystem.map(|identity| facts(identity, self.whole.is_none()));
        let decision = match (self.whole, self.advice) {
            (Some(why), Some(advice)) => Some((WHOLE, format!("stored whole: {why}; {advice}"))),
            (Some(why), None) => Some((WHOLE, format!("stored whole: {why}"))),
            (None, Some(advice)) => Some((FAINT, advice.to_owned())),
            (None, None) => None,
        };
        let notes = self.notes.iter().map(|note| (FAINT, note.clone()));
        let identity = identity.filter(|text| !text.is_empty()).map(|text| (FAINT, text));
        identity.into_iter().chain(decision).chain(notes).collect()
    }

    fn lines(&self, width: usize, margin: usize) -> Vec<String> {
        let sentences = self.sentences();
        sentences.iter().flat_map(|(style, text)| styled(text, *style, width, margin)).collect()
    }
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

/// The sentences about a region, in lines that all stand behind a margin, and
/// beneath them the volumes inside it.
pub(super) fn lines(region: &Region, width: usize, margin: usize) -> Vec<String> {
    let mut lines = Known::of_region(region).lines(width, margin);
    add_inner(&mut lines, &region.volumes, width, margin);
    lines
}

/// A line for each volume inside, with its sentences beneath.
fn add_inner(lines: &mut Vec<String>, volumes: &[Inner], width: usize, margin: usize) {
    /// Deeper than this there is no room to the right.
    const DEEPEST: usize = 24;
    let margin = margin.saturating_add(2).min(DEEPEST);
    for inner in volumes {
        let label = inner.filesystem.as_ref().and_then(|it| it.label.as_deref());
        let label = label.map(|label| format!(" {label}")).unwrap_or_default();
        let text = format!(
            "{}: {}{label}, {} of {}",
            inner.name,
            inner.content(),
            human(inner.used),
            human(inner.size)
        );
        lines.extend(styled(&text.replace('\n', "?"), Style::new(), width, margin));
        lines.extend(Known::of_inner(inner).lines(width, margin.saturating_add(2)));
        add_inner(lines, &inner.volumes, width, margin.saturating_add(2));
    }
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
        Known::of_region(region).sentences().into_iter().map(|(_, text)| text).collect()
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

    #[test]
    fn volumes_inside_stand_beneath_and_further_to_the_right() {
        let mut group = region(Identity { clean: true, ..Identity::default() });
        let root = Inner {
            name: "vg0/root".into(),
            size: 40 << 20,
            used: 4 << 20,
            filesystem: Some(Identity {
                name: "ext4".into(),
                label: Some("sys\u{1b}tem".into()),
                clean: true,
                ..Identity::default()
            }),
            ..Inner::default()
        };
        let guest = Inner {
            name: "vg0/guest".into(),
            whole: Some("why".into()),
            volumes: vec![root.clone()],
            ..Inner::default()
        };
        group.volumes = vec![root, guest];
        let lines: Vec<String> = lines(&group, 80, 4)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        let wanted = [
            "    clean; only what is in use is stored",
            "      vg0/root: ext4 sys?tem, 4.00 MiB of 40.0 MiB",
            "        clean; only what is in use is stored",
            "      vg0/guest: -, 0 B of 0 B",
            "        stored whole: why",
            "          vg0/root: ext4 sys?tem, 4.00 MiB of 40.0 MiB",
            "            clean; only what is in use is stored",
        ];
        assert_eq!(lines, wanted);
    }
}
