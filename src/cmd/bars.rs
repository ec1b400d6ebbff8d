// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of a disk, with a bar for each: what of it is used, and why
//! anything is stored whole.

use crate::layout::{Layout, Region, RegionKind};
use crate::units::human;

use super::output::plain;
use super::terminal::{FAINT, Terminal, USED, WHOLE};
use super::verdict::{self, styled};

/// Labels and names longer than this are cut.
const LONGEST: usize = 20;
/// The shortest bar that says anything; there is no bar in less room.
const SHORTEST_BAR: usize = 8;

/// What stands in front of and behind a bar.
struct Row<'a> {
    region: &'a Region,
    number: String,
    content: String,
    label: String,
    sizes: String,
}

impl<'a> Row<'a> {
    fn new(region: &'a Region) -> Self {
        let partition = region.partition.as_ref();
        let label = region
            .filesystem
            .as_ref()
            .and_then(|it| it.label.as_deref())
            .or_else(|| partition.and_then(|it| it.name.as_deref()))
            .unwrap_or_default();
        Self {
            region,
            number: partition.map(|it| it.number.to_string()).unwrap_or_default(),
            content: cut(&line(region.content())),
            label: cut(&line(label)),
            sizes: format!("{} of {}", human(region.used), human(region.extent.len())),
        }
    }
}

/// The lines that show a layout; each fits the terminal, as far as a bar can
/// shrink.
pub(crate) fn lines(layout: &Layout, terminal: &Terminal) -> Vec<String> {
    let rows: Vec<Row<'_>> = layout
        .regions
        .iter()
        .filter(|region| matches!(region.kind, RegionKind::Partition | RegionKind::Volume))
        .map(Row::new)
        .collect();
    let widest = |text: for<'r> fn(&'r Row<'_>) -> &'r str| {
        rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0)
    };
    let number = widest(|row| &row.number);
    let content = widest(|row| &row.content);
    let label = widest(|row| &row.label);
    let sizes = widest(|row| &row.sizes);
    let margin = 2 + if number > 0 { number + 2 } else { 0 };
    let taken = margin + content + 2 + if label > 0 { label + 2 } else { 0 } + 2 + sizes;
    let bar = terminal.width.saturating_sub(taken);

    let mut lines = Vec::new();
    for row in &rows {
        let mut text = String::from("  ");
        if number > 0 {
            text.push_str(&format!("{:>number$}  ", row.number));
        }
        text.push_str(&format!("{:<content$}  ", row.content));
        if label > 0 {
            text.push_str(&format!("{:<label$}  ", row.label));
        }
        let region = row.region;
        if bar >= SHORTEST_BAR {
            let style = if region.whole.is_some() { WHOLE } else { USED };
            text.push_str(&terminal.bar(region.used, region.extent.len(), bar, style));
            text.push_str("  ");
        }
        text.push_str(&format!("{:>sizes$}", row.sizes));
        lines.push(text);
        lines.extend(verdict::lines(region, terminal.width, margin));
    }
    lines.extend(rest(layout, terminal.width));
    lines
}

/// The bytes of no partition, in one line.
fn rest(layout: &Layout, width: usize) -> Vec<String> {
    let sum = |kind| -> u64 {
        layout.regions.iter().filter(|it| it.kind == kind).map(|it| it.extent.len()).sum()
    };
    let (table, gaps) = (sum(RegionKind::Table), sum(RegionKind::Gap));
    let text = match (table, gaps) {
        (0, 0) => return Vec::new(),
        (_, 0) => format!("partition table {}", human(table)),
        (0, _) => format!("space of no partition {}", human(gaps)),
        _ => format!("partition table {}, space of no partition {}", human(table), human(gaps)),
    };
    styled(&format!("{text}: stored as it is"), FAINT, width, 2)
}

/// Text from a disk as one harmless line.
fn line(text: &str) -> String {
    plain(text).replace('\n', "?").trim().to_owned()
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Extent;
    use crate::fs::Identity;
    use crate::table::Partition;
    use crate::units::{GIB, MIB};

    const TERMINAL: Terminal = Terminal { width: 80, unicode: false };

    fn partition(number: u32, name: &str, len: u64, used: u64) -> Region {
        let extent = Extent::at(MIB, len);
        Region {
            extent,
            kind: RegionKind::Partition,
            partition: Some(Partition {
                number,
                extent,
                type_id: String::new(),
                type_name: None,
                id: None,
                name: Some(name.into()),
                container: false,
            }),
            filesystem: Some(Identity { name: "ext4".into(), clean: true, ..Identity::default() }),
            used,
            whole: None,
            notes: Vec::new(),
            advice: None,
            volumes: Vec::new(),
        }
    }

    fn shown(regions: Vec<Region>) -> Vec<String> {
        let layout = Layout { table: None, regions };
        lines(&layout, &TERMINAL)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }

    #[test]
    fn each_partition_has_a_line_with_a_bar_that_fits() {
        let lines = shown(vec![
            partition(1, "EFI system", 512 * MIB, 5 * MIB),
            partition(2, "system", 465 * GIB, 400 * GIB),
        ]);
        assert_eq!(lines.len(), 4);
        for line in lines.iter().step_by(2) {
            assert_eq!(line.chars().count(), 80, "{line}");
        }
        assert!(lines[0].starts_with("  1  ext4  EFI system  #---"), "{}", lines[0]);
        assert!(lines[2].ends_with("400 GiB of 465 GiB"), "{}", lines[2]);
        assert!(lines[2].contains("###-"), "{}", lines[2]);
        assert_eq!(lines[3], "     clean; only what is in use is stored");
    }

    #[test]
    fn a_reason_stands_beneath_and_is_wrapped() {
        let mut region = partition(1, "", 512 * MIB, 512 * MIB);
        region.whole = Some("free space is not proven because of ".to_owned() + &"x ".repeat(60));
        let lines = shown(vec![region]);
        assert!(lines[1].trim_start().starts_with("stored whole: free space"), "{}", lines[1]);
        assert!(lines.len() >= 3);
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
    }

    #[test]
    fn a_filesystem_that_is_not_clean_is_told_whatever_was_decided() {
        let mut region = partition(1, "", 512 * MIB, 5 * MIB);
        region.filesystem.as_mut().unwrap().clean = false;
        let lines = shown(vec![region.clone()]);
        assert!(lines[1].contains("not clean; only what is in use"), "{lines:?}");
        region.filesystem.as_mut().unwrap().unclean = Some("hibernated".into());
        region.whole = Some("it holds a hibernated system".into());
        let lines = shown(vec![region]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("not clean (hibernated)"), "{lines:?}");
    }

    #[test]
    fn hostile_names_are_cut_and_harmless() {
        let mut region = partition(1, "", 512 * MIB, 5 * MIB);
        region.filesystem = Some(Identity {
            name: "ext4".into(),
            label: Some("\u{1b}[2J\nx\u{202e}".repeat(50)),
            clean: true,
            ..Identity::default()
        });
        region.notes = vec!["\u{1b}]0;gone\u{7}".into()];
        let lines = shown(vec![region]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for line in lines {
            assert!(!line.contains(['\u{1b}', '\n', '\u{7}', '\u{202e}']), "{line:?}");
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn what_is_of_no_partition_is_summed_up() {
        let mut table = partition(1, "", 17 * 1024, 17 * 1024);
        (table.partition, table.filesystem, table.kind) = (None, None, RegionKind::Table);
        let mut gap = table.clone();
        gap.kind = RegionKind::Gap;
        gap.extent = Extent::at(MIB, MIB);
        let lines = shown(vec![table, gap.clone(), gap]);
        let wanted = "  partition table 17.0 KiB, space of no partition 2.00 MiB: stored as it is";
        assert_eq!(lines, [wanted]);
    }
}
