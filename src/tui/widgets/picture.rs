// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk as a person imagines it: a strip with its partitions side by side,
//! and a table of them.

use ratatui::text::Line;

use super::short;
use crate::layout::{Layout, Region, RegionKind};
use crate::tui::look::{Look, Tone};
use crate::units::human;

/// Names of filesystems longer than this are cut.
const LONGEST: usize = 16;
/// And labels longer than this.
const LONGEST_LABEL: usize = 28;

/// What of a disk is drawn: its partitions, or what fills it as a whole.
fn volumes(layout: &Layout) -> impl Iterator<Item = &Region> {
    let is_volume =
        |region: &&Region| matches!(region.kind, RegionKind::Partition | RegionKind::Volume);
    // A disk that holds nothing that is known has no parts to be shown.
    let is_known = |region: &&Region| region.partition.is_some() || region.filesystem.is_some();
    layout.regions.iter().filter(is_volume).filter(is_known)
}

/// A strip of a disk of `len` bytes: each partition with its number, as wide
/// as it is long as far as there is room. What is nobody's is dots.
pub(crate) fn picture(layout: &Layout, len: u64, width: usize, look: &Look) -> Vec<Line<'static>> {
    /// Room for a number and an edge.
    const LEAST: usize = 3;
    /// A gap at the end of the disk that is worth seeing.
    const SEEN: u64 = 50;
    let parts: Vec<&Region> = volumes(layout).collect();
    if parts.is_empty() || width < LEAST * (parts.len() + 1) + 1 {
        return Vec::new();
    }
    let end = parts.iter().map(|part| part.extent.end()).max().unwrap_or(0);
    let tail = len.saturating_sub(end);
    let has_tail = tail > len / SEEN;
    // In a number without an end: of an image it is only what somebody wrote.
    let sizes = parts.iter().map(|part| part.extent.len()).chain(has_tail.then_some(tail));
    let sum = sizes.map(|bytes| bytes as f64).sum::<f64>().max(1.0);
    let room = width - 1 - LEAST * (parts.len() + usize::from(has_tail));
    let share = |bytes: u64| LEAST + (bytes as f64 / sum * room as f64) as usize;
    let edge = look.edge();
    let mut strip = String::from(edge);
    for part in &parts {
        let columns = share(part.extent.len()) - 1;
        let name = match &part.partition {
            Some(entry) if part.content() == "-" => entry.number.to_string(),
            Some(entry) => format!("{} {}", entry.number, part.content()),
            None => part.content().to_owned(),
        };
        let number = part.partition.as_ref().map(|entry| entry.number.to_string());
        // A number without its name, if there is not room for both.
        let name = if name.chars().count() <= columns { name } else { number.unwrap_or_default() };
        strip.push_str(&format!("{:<columns$}", short(&name, columns)));
        strip.push(edge);
    }
    if has_tail {
        strip.push_str(&".".repeat(share(tail) - 1));
        strip.push(edge);
    }
    vec![Line::styled(strip, look.style(Tone::Plain))]
}

/// A line for each partition: its number, what fills it, its label, its size
/// and what of it is in use.
pub(crate) fn table(layout: &Layout, len: u64, width: usize, look: &Look) -> Vec<Line<'static>> {
    let rows: Vec<[String; 5]> = volumes(layout)
        .map(|part| {
            let entry = part.partition.as_ref();
            let label = part
                .filesystem
                .as_ref()
                .and_then(|it| it.label.as_deref())
                .or_else(|| entry.and_then(|it| it.name.as_deref()))
                .unwrap_or_default();
            [
                entry.map(|it| it.number.to_string()).unwrap_or_default(),
                short(part.content(), LONGEST),
                short(label, LONGEST_LABEL),
                human(part.extent.len()),
                if part.whole.is_some() || part.filesystem.is_none() {
                    String::new()
                } else {
                    format!("{} in use", human(part.used))
                },
            ]
        })
        .collect();
    if rows.is_empty() {
        return vec![Line::styled("  nothing that is known", look.style(Tone::Faint))];
    }
    let widest =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(widest).collect();
    let mut lines: Vec<Line<'static>> = rows
        .iter()
        .map(|[number, content, label, size, used]| {
            let text = format!(
                "  {number:>0$}  {content:<1$}  {label:<2$}  {size:>3$}  {used:>4$}",
                widths[0], widths[1], widths[2], widths[3], widths[4]
            );
            // In little room the last columns go first.
            Line::styled(short_row(text.trim_end(), width), look.style(Tone::Plain))
        })
        .collect();
    let end = volumes(layout).map(|part| part.extent.end()).max().unwrap_or(0);
    let tail = len.saturating_sub(end);
    if tail > len / 50 {
        let text = format!("  {:>1$}  {2} not used", "", widths[0], human(tail));
        lines.push(Line::styled(short_row(&text, width), look.style(Tone::Faint)));
    }
    lines
}

fn short_row(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Extent;
    use crate::tui::samples;

    const LOOK: Look = Look { unicode: false, colour: false };

    fn text(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_disk_is_a_strip_with_its_partitions() {
        let layout = samples::layout();
        let len = samples::DISK_LEN;
        let strip = &text(&picture(&layout, len, 60, &LOOK))[0];
        assert!(strip.starts_with("|1") && strip.ends_with('|'), "{strip}");
        assert!(strip.contains("|3 NTFS"), "{strip}");
        assert!(strip.chars().count() <= 60, "{strip}");
        let larger = &text(&picture(&layout, 2 * len, 60, &LOOK))[0];
        assert!(larger.ends_with("....|"), "{larger}");
        for width in 0..80 {
            for line in text(&picture(&layout, len, width, &LOOK)) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            for line in text(&table(&layout, 2 * len, width, &LOOK)) {
                assert!(line.chars().count() <= width.max(24), "{width}: {line}");
            }
        }
    }

    #[test]
    fn an_image_that_lies_about_its_partitions_is_drawn_all_the_same() {
        let mut layout = samples::layout();
        for region in &mut layout.regions {
            region.extent = Extent::new(0, u64::MAX);
        }
        for line in text(&picture(&layout, 100, 60, &LOOK)) {
            assert!(line.chars().count() <= 60, "{line}");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each() {
        let layout = samples::layout();
        let rows = text(&table(&layout, samples::DISK_LEN * 2, 80, &LOOK));
        assert_eq!(rows.len(), 4, "{rows:?}");
        assert!(rows[0].contains("1  FAT32"), "{rows:?}");
        assert!(rows[3].contains("not used"), "{rows:?}");
        let none = text(&table(&Layout::default(), 100, 80, &LOOK));
        assert_eq!(none, ["  nothing that is known"]);
    }
}
