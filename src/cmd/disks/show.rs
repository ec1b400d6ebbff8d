// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks in words: a paragraph for each, a line for each of its partitions.

use crate::device::{Use, User};
use crate::layout::Region;
use crate::units::human;

use super::super::output::plain;
use super::super::terminal::{TITLE, Terminal, WHOLE, wrap};
use super::super::verdict;
use super::content::{Part, Shown};

/// Where the lines beneath a disk's name begin.
const INDENT: usize = 2;
/// The longest label or filesystem that is shown in full.
const LONGEST: usize = 20;

/// The lines of all disks.
pub(super) fn lines(disks: &[Shown], terminal: &Terminal) -> Vec<String> {
    if disks.is_empty() {
        return vec!["this machine has no disks".into()];
    }
    let mut lines = Vec::new();
    for (n, disk) in disks.iter().enumerate() {
        if n > 0 {
            lines.push(String::new());
        }
        add_disk(&mut lines, disk, terminal);
    }
    lines
}

fn add_disk(lines: &mut Vec<String>, shown: &Shown, terminal: &Terminal) {
    let identity = &shown.disk.identity;
    let model = identity.model.as_deref().map(|model| format!("  {}", shortened(model, 50)));
    lines.push(format!(
        "{TITLE}{}{TITLE:#}  {}{}",
        plain(&identity.path),
        human(identity.size),
        model.unwrap_or_default()
    ));
    let named = |name: &str, value: &Option<String>| Some(format!("{name} {}", value.as_ref()?));
    let kind = match (identity.bus.as_deref(), identity.rotational) {
        (Some(bus), Some(true)) if bus != "loop" => format!("{bus}, spinning"),
        (Some(bus), Some(false)) if bus != "loop" => format!("{bus}, SSD"),
        (Some(bus), _) => bus.to_owned(),
        (None, _) => "unknown bus".into(),
    };
    let sectors = match (identity.logical_sector, identity.physical_sector) {
        (logical, physical) if logical == physical => format!("sectors of {logical}"),
        (logical, physical) => format!("sectors of {logical} (physical {physical})"),
    };
    let identities: Vec<String> = [named("serial", &identity.serial), named("WWN", &identity.wwn)]
        .into_iter()
        .flatten()
        .collect();
    add(lines, terminal, &identities.join(", "));
    let table = shown.content.table.as_ref().map(|table| table.kind.clone());
    let flag = |is: bool, name: &str| is.then(|| name.to_owned());
    let facts: Vec<String> = [
        Some(kind),
        Some(sectors),
        Some(format!("{} bytes", identity.size)),
        table,
        flag(shown.disk.removable, "removable"),
        flag(shown.disk.read_only, "read-only"),
        flag(shown.disk.zoned, "written in zones (not supported as a target)"),
    ]
    .into_iter()
    .flatten()
    .collect();
    add(lines, terminal, &facts.join(", "));
    if let Some(health) = &shown.health {
        let line = health.line();
        match health.word() {
            "failing" => add_styled(lines, terminal, &line),
            _ => add(lines, terminal, &line),
        }
    }
    if shown.booted {
        add_styled(lines, terminal, "this system was started from it");
    }
    for user in &shown.disk.users {
        add_styled(lines, terminal, &use_of(user, &identity.path));
    }
    for note in shown.content.table.iter().flat_map(|table| &table.notes) {
        add(lines, terminal, note);
    }
    add_partitions(lines, shown, terminal);
}

fn add(lines: &mut Vec<String>, terminal: &Terminal, text: &str) {
    for (n, line) in wrap(&plain(text), terminal.width, INDENT).iter().enumerate() {
        lines.push(format!("{}{line}", if n == 0 { "  " } else { "" }));
    }
}

fn add_styled(lines: &mut Vec<String>, terminal: &Terminal, text: &str) {
    for (n, line) in wrap(&plain(text), terminal.width, INDENT).iter().enumerate() {
        lines.push(format!("{}{WHOLE}{line}{WHOLE:#}", if n == 0 { "  " } else { "" }));
    }
}

/// The cells of one line, and what stands beneath it.
struct Row<'a> {
    cells: [String; 4],
    users: Vec<String>,
    region: Option<&'a Region>,
}

fn add_partitions(lines: &mut Vec<String>, shown: &Shown, terminal: &Terminal) {
    let is_read = shown.unreadable.is_none();
    let mut rows: Vec<Row<'_>> =
        shown.content.partitions.iter().map(|part| row(part, is_read)).collect();
    if let Some(filesystem) = &shown.content.filesystem {
        let label = filesystem.label.as_deref().map(one_line).unwrap_or_default();
        let cells = [
            "whole disk".into(),
            one_line(&filesystem.name),
            label,
            size(shown.disk.identity.size, shown.content.region.as_ref()),
        ];
        rows.push(Row { cells, users: Vec::new(), region: shown.content.region.as_ref() });
    } else if rows.is_empty() && is_read {
        return add(lines, terminal, "no partition and no known filesystem");
    }
    let width =
        |column: usize| rows.iter().map(|row| row.cells[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let margin = INDENT + 2 + widths.iter().sum::<usize>() + 6 + 2;
    for row in &rows {
        let [name, filesystem, label, size] = &row.cells;
        let text = format!(
            "    {name:<0$}  {filesystem:<1$}  {label:<2$}  {size:>3$}",
            widths[0], widths[1], widths[2], widths[3]
        );
        let mut users = row.users.join(", ");
        // In a narrow terminal, or behind long labels, the use stands beneath.
        if margin + 20 > terminal.width && margin + users.chars().count() > terminal.width {
            lines.push(text.trim_end().to_owned());
            let margin = INDENT + 4;
            let wrapped = wrap(&users, terminal.width, margin).join("\n");
            lines.extend((!users.is_empty()).then(|| format!("      {WHOLE}{wrapped}{WHOLE:#}")));
            lines.extend(beneath(row, terminal));
            continue;
        }
        users = wrap(&users, terminal.width, margin).join("\n");
        let users = Some(users).filter(|users| !users.is_empty());
        let users = users.map(|users| format!("  {WHOLE}{users}{WHOLE:#}")).unwrap_or_default();
        lines.push(format!("{text}{users}").trim_end().to_owned());
        lines.extend(beneath(row, terminal));
    }
}

/// What a save would store, and why.
fn beneath(row: &Row<'_>, terminal: &Terminal) -> Vec<String> {
    row.region.map(|region| verdict::lines(region, terminal.width, INDENT + 4)).unwrap_or_default()
}

/// "12 GiB of 100 GiB", or the size alone if nobody knows what is in use.
fn size(size: u64, region: Option<&Region>) -> String {
    match region {
        Some(region) => format!("{} of {}", human(region.used), human(size)),
        None => human(size),
    }
}

fn row(part: &Part, is_read: bool) -> Row<'_> {
    let filesystem = match &part.filesystem {
        Some(filesystem) => one_line(&filesystem.name),
        None if is_read => "unknown".into(),
        None => "?".into(),
    };
    let label = part
        .filesystem
        .as_ref()
        .and_then(|it| it.label.as_deref())
        .or(part.label.as_deref())
        .or(part.type_name.as_deref())
        .map(one_line)
        .unwrap_or_default();
    let name = part.name.clone().unwrap_or_else(|| format!("partition {}", part.number));
    let path = part.path.as_deref().unwrap_or_default();
    let mut users: Vec<String> = part.users.iter().map(|user| use_of(user, path)).collect();
    if part.name.is_none() {
        users.push("not seen by the system".into());
    }
    let region = part.region.as_ref();
    Row { cells: [name, filesystem, label, size(part.size, region)], users, region }
}

/// "mounted at /home"; with the device's name if it is another one.
fn use_of(user: &User, path: &str) -> String {
    let text = plain(&user.to_string()).replace('\n', "?");
    match text.strip_prefix(&format!("{path} is ")) {
        Some(rest) if user.kind != Use::Claim => rest.to_owned(),
        _ => text,
    }
}

/// A label or name from a disk as one short harmless line.
fn one_line(text: &str) -> String {
    shortened(text, LONGEST)
}

fn shortened(text: &str, longest: usize) -> String {
    let text = plain(text).replace('\n', "?");
    let text = text.trim();
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 3).chain("...".chars()).collect()
}

/// What has to be said of disks that could not be read.
pub(super) fn unreadable(disks: &[Shown]) -> Vec<String> {
    let failed: Vec<&String> = disks.iter().filter_map(|disk| disk.unreadable.as_ref()).collect();
    if failed.is_empty() {
        return Vec::new();
    }
    if !nix::unistd::geteuid().is_root() {
        return vec![
            "filesystems and labels are not shown, because reading disks needs root: \
             sudo dacapo disks"
                .into(),
        ];
    }
    failed.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::content::Content;
    use super::*;
    use crate::device::{DeviceNumber, Disk, DiskIdentity};
    use crate::fs::Identity;
    use crate::layout::TableSummary;
    use crate::units::{GIB, MIB};

    fn part(number: u32, filesystem: &str, label: &str, size: u64) -> Part {
        Part {
            number,
            name: Some(format!("nvme0n1p{number}")),
            path: Some(format!("/dev/nvme0n1p{number}")),
            start: MIB,
            size,
            type_name: None,
            label: None,
            filesystem: Some(Identity {
                name: filesystem.into(),
                label: Some(label.into()),
                ..Identity::default()
            }),
            region: None,
            users: Vec::new(),
        }
    }

    fn disk(partitions: Vec<Part>) -> Shown {
        let identity = DiskIdentity {
            path: "/dev/nvme0n1".into(),
            model: Some("Samsung SSD 970 EVO Plus 500GB".into()),
            serial: Some("S4EVNX0M123456A".into()),
            wwn: Some("eui.0025385b11b4e0d1".into()),
            size: 500_107_862_016,
            logical_sector: 512,
            physical_sector: 4096,
            bus: Some("nvme".into()),
            rotational: Some(false),
        };
        Shown {
            disk: Disk {
                identity,
                name: "nvme0n1".into(),
                number: DeviceNumber::parse("259:0").unwrap(),
                read_only: false,
                removable: false,
                discard: true,
                zoned: false,
                users: Vec::new(),
                partitions: Vec::new(),
            },
            booted: true,
            content: Content {
                table: Some(TableSummary { kind: "GPT".into(), ..TableSummary::default() }),
                filesystem: None,
                region: None,
                partitions,
            },
            unreadable: None,
            health: None,
        }
    }

    fn text(disk: &Shown, width: usize) -> Vec<String> {
        lines(std::slice::from_ref(disk), &Terminal { width, unicode: false })
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }

    #[test]
    fn a_disk_is_shown_by_all_it_can_be_known_by() {
        let shown =
            disk(vec![part(1, "FAT32", "ESP", 512 * MIB), part(2, "ext4", "system", 465 * GIB)]);
        assert_eq!(
            text(&shown, 80),
            [
                "/dev/nvme0n1  466 GiB  Samsung SSD 970 EVO Plus 500GB",
                "  serial S4EVNX0M123456A, WWN eui.0025385b11b4e0d1",
                "  nvme, SSD, sectors of 512 (physical 4096), 500107862016 bytes, GPT",
                "  this system was started from it",
                "    nvme0n1p1  FAT32  ESP     512 MiB",
                "    nvme0n1p2  ext4   system  465 GiB",
            ]
        );
    }

    #[test]
    fn lines_fit_and_nothing_in_them_steers_the_terminal() {
        let mut shown = disk(vec![
            part(1, "FAT32", "\u{1b}[2J\n", 512 * MIB),
            part(2, &"long ".repeat(20), &"long ".repeat(20), 465 * GIB),
        ]);
        shown.disk.identity.model = Some("\u{1b}[31m evil".into());
        shown.content.table.as_mut().unwrap().notes = vec!["a long note ".repeat(20)];
        shown.content.partitions[1].name = None;
        for width in [40, 60, 80, 120] {
            for line in text(&shown, width) {
                assert!(!line.contains(['\u{1b}', '\n']), "{line:?}");
                // The cells of a partition have a width of their own.
                assert!(line.chars().count() <= width.max(80), "{width}: {line}");
            }
        }
        assert!(text(&shown, 80).iter().any(|line| line.contains("not seen by the system")));
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        let mut shown = vec![disk(Vec::new()), disk(Vec::new())];
        assert!(unreadable(&shown).is_empty());
        for disk in &mut shown {
            disk.unreadable = Some("opening /dev/nvme0n1: denied".into());
        }
        let count = if nix::unistd::geteuid().is_root() { 2 } else { 1 };
        assert_eq!(unreadable(&shown).len(), count);
        shown[0].content.partitions = vec![part(1, "", "", MIB)];
        shown[0].content.partitions[0].filesystem = None;
        let lines = text(&shown[0], 80);
        assert!(lines.last().unwrap().contains("nvme0n1p1  ?"), "{lines:?}");
    }
}
