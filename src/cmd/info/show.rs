// SPDX-License-Identifier: MIT OR Apache-2.0
//! The facts of an image in words, and as JSON.

use serde::Serialize;
use serde_json::Value;

use crate::browse::lost::{self, LostVolume};
use crate::device::{DiskIdentity, Health};
use crate::extent::Extent;
use crate::image::Head;
use crate::image::format::{About, VERSION};
use crate::units::human;

use super::super::bars;
use super::super::output::plain;
use super::super::save::SHOWN_FILES;
use super::super::terminal::{FAINT, TITLE, Terminal, WHOLE, wrap};
use super::super::text::{hex, ratio};
use super::facts::Facts;

/// Where the values stand; a hash behind it still fits 80 columns.
const INDENT: usize = 16;
/// How many unreadable ranges are listed.
const LISTED: usize = 10;

/// Lines of names and values.
struct Sheet<'a> {
    lines: Vec<String>,
    terminal: &'a Terminal,
}

impl Sheet<'_> {
    /// A value, which may come from the disk or from hostile hands.
    fn add(&mut self, name: &str, value: &str) {
        let text = plain(value);
        for (n, line) in wrap(&text, self.terminal.width, INDENT).into_iter().enumerate() {
            let name = if n == 0 { format!("  {FAINT}{name:<14}{FAINT:#}") } else { String::new() };
            self.lines.push(name + &line);
        }
    }

    /// A value, if there is one.
    fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.trim().is_empty()) {
            self.add(name, value);
        }
    }
}

/// What a person wants to know of an image.
pub(super) fn lines(name: &str, facts: &Facts, terminal: &Terminal) -> Vec<String> {
    let head = &facts.head;
    let mut sheet = Sheet { lines: vec![format!("{TITLE}{}{TITLE:#}", plain(name))], terminal };
    origin(&mut sheet, facts);
    sheet.lines.push(String::new());
    sheet.lines.extend(bars::lines(&head.about.layout, terminal));
    sheet.lines.push(String::new());
    sizes(&mut sheet, facts);
    losses(&mut sheet, facts);
    sheet.lines
}

fn origin(sheet: &mut Sheet<'_>, facts: &Facts) {
    let about = &facts.head.about;
    sheet.add_some("label", about.label.as_deref());
    sheet.add_some("note", about.note.as_deref());
    let host = about.host.as_deref().map(|host| format!(" on {host}")).unwrap_or_default();
    sheet.add("saved", &format!("{}{host} by dacapo {}", about.created, about.dacapo));
    if let Some(report) = &facts.report {
        let resumed = if report.resumed { ", interrupted and resumed" } else { "" };
        let finished = if report.finished.is_empty() { "unknown" } else { &report.finished };
        sheet.add("finished", &format!("{finished}{resumed}"));
    }
    sheet.add_some("command", Some(&about.command.join(" ")));
    imported(sheet, about);
    for (n, text) in disk(&about.disk).iter().enumerate() {
        sheet.add(if n == 0 { "disk" } else { "" }, text);
    }
    health(sheet, facts);
    let Some(table) = &about.layout.table else {
        return sheet.add("table", "none");
    };
    sheet.add("table", &format!("{} {}", table.kind, table.id.as_deref().unwrap_or_default()));
    for note in &table.notes {
        sheet.add("", note);
    }
}

/// How the drive said it was, before and after.
fn health(sheet: &mut Sheet<'_>, facts: &Facts) {
    let before = facts.head.about.health.as_ref();
    let after = facts.report.as_ref().and_then(|report| report.health.as_ref());
    sheet.add_some("drive health", before.map(Health::line).as_deref());
    if let Some(after) = after.filter(|after| Some(*after) != before) {
        sheet.add("", &format!("afterwards: {}", after.line()));
    }
}

/// What another tool had saved.
fn imported(sheet: &mut Sheet<'_>, about: &About) {
    let Some(imported) = &about.imported else { return };
    sheet.add("imported", &imported.title());
    sheet.add_some("", imported.content.as_deref());
    sheet.add("", &format!("was {}", imported.path));
    for note in &imported.notes {
        sheet.add("", note);
    }
}

/// The disk: what it says of itself, how large it is, how it was attached.
fn disk(disk: &DiskIdentity) -> Vec<String> {
    let named = |name: &str, value: &Option<String>| Some(format!("{name} {}", value.as_ref()?));
    let names: Vec<String> =
        [disk.model.clone(), named("serial", &disk.serial), named("WWN", &disk.wwn)]
            .into_iter()
            .flatten()
            .collect();
    let sectors = if disk.physical_sector == disk.logical_sector {
        disk.logical_sector.to_string()
    } else {
        format!("{} (physical {})", disk.logical_sector, disk.physical_sector)
    };
    let size = format!("{} ({} bytes), sectors of {sectors} bytes", human(disk.size), disk.size);
    let kind = match disk.rotational {
        Some(true) => Some("spinning".to_owned()),
        Some(false) if disk.bus.as_deref() != Some("file") => Some("SSD".to_owned()),
        _ => None,
    };
    let was = Some(format!("was {}", disk.path)).filter(|_| !disk.path.is_empty());
    let place: Vec<String> = [disk.bus.clone(), kind, was].into_iter().flatten().collect();
    [names.join(", "), size, place.join(", ")].into_iter().filter(|it| !it.is_empty()).collect()
}

fn sizes(sheet: &mut Sheet<'_>, facts: &Facts) {
    let head = &facts.head;
    let used = head.used.bytes();
    sheet.add(
        "size",
        &format!(
            "{}, {} in use ({})",
            human(head.disk_len),
            human(used),
            ratio(used, head.disk_len)
        ),
    );
    if let Some(len) = facts.image_len {
        let part = ratio(len, used);
        sheet.add("image", &format!("{} ({len} bytes), {part} of what is in use", human(len)));
    }
    let pieces = facts.pieces.map(|count| format!(" in {count} pieces")).unwrap_or_default();
    sheet.add(
        "format",
        &format!(
            "version {VERSION}, {} chunks of {}{pieces}, level {}",
            head.chunk_count(),
            human(head.chunk_size.into()),
            head.about.level
        ),
    );
    sheet.add("image id", &head.image_id.to_string());
    if let Some(hash) = facts.content_hash {
        sheet.add("content hash", &hex(&hash));
    }
    if let Some(there) = facts.chunks_there.filter(|_| facts.is_cut_off()) {
        let end = head.chunk_extent(there).start();
        sheet.add(
            "missing",
            &format!(
                "{} of {} chunks: the disk from {end:#x} on, {} of it in use",
                head.chunk_count() - there,
                head.chunk_count(),
                human(bytes_in_use(head, Extent::new(end, head.disk_len)))
            ),
        );
    }
}

fn bytes_in_use(head: &Head, extent: Extent) -> u64 {
    head.used.within(extent).map(|part| part.len()).sum()
}

fn losses(sheet: &mut Sheet<'_>, facts: &Facts) {
    let Some(report) = &facts.report else {
        return sheet.add("losses", "unknown: only the head was read");
    };
    if report.losses.is_empty() {
        return sheet.add("losses", if facts.is_cut_off() { "none so far" } else { "none" });
    }
    let bytes: u64 = report.losses.iter().map(Extent::len).sum();
    sheet.add(
        "losses",
        &format!(
            "{} in {} places could not be read and are zero in the image:",
            human(bytes),
            report.losses.len()
        ),
    );
    let text = |loss: &Extent| {
        format!("{WHOLE}{loss} ({}){WHOLE:#}{}", human(loss.len()), place(facts, loss))
    };
    let listed = report.losses.iter().take(LISTED).map(text);
    sheet.lines.extend(listed.map(|text| format!("{}{text}", " ".repeat(INDENT))));
    if report.losses.len() > LISTED {
        let more = report.losses.len() - LISTED;
        sheet.add("", &format!("and {more} more; --json lists all"));
    }
    for (n, line) in lost::lines(&facts.lost, SHOWN_FILES).iter().enumerate() {
        sheet.add(if n == 0 { "lost files" } else { "" }, line);
    }
}

/// Where a range of the disk is: " in partition 2 (ext4)".
fn place(facts: &Facts, loss: &Extent) -> String {
    let Some(region) = facts.head.about.layout.region_at(loss.start()) else {
        return String::new();
    };
    match &region.filesystem {
        Some(filesystem) => format!(" in {} ({})", region.title(), plain(&filesystem.name)),
        None => format!(" in {}", region.title()),
    }
}

/// All of it for programs.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    image: &'a str,
    format_version: u16,
    image_id: String,
    #[serde(flatten)]
    about: &'a About,
    size: u64,
    used: u64,
    chunk_size: u32,
    chunks: u64,
    /// The size of the file; null for standard input, as all below it.
    image_size: Option<u64>,
    pieces: Option<usize>,
    chunks_there: Option<u64>,
    content_hash: Option<String>,
    finished: Option<&'a str>,
    resumed: Option<bool>,
    health_after: Option<&'a Health>,
    losses: Option<Vec<Value>>,
    lost_files: &'a [LostVolume],
    damage: &'a [String],
}

/// The facts as JSON.
pub(super) fn summary<'a>(name: &'a str, facts: &'a Facts) -> Summary<'a> {
    let head = &facts.head;
    let report = facts.report.as_ref();
    let loss = |loss: &Extent| {
        serde_json::json!({
            "offset": loss.start(),
            "length": loss.len(),
            "partition": head
                .about
                .layout
                .region_at(loss.start())
                .and_then(|region| Some(region.partition.as_ref()?.number)),
        })
    };
    Summary {
        image: name,
        format_version: VERSION,
        image_id: head.image_id.to_string(),
        about: &head.about,
        size: head.disk_len,
        used: head.used.bytes(),
        chunk_size: head.chunk_size,
        chunks: head.chunk_count(),
        image_size: facts.image_len,
        pieces: facts.pieces,
        chunks_there: facts.chunks_there,
        content_hash: facts.content_hash.map(|hash| hex(&hash)),
        finished: report.map(|it| it.finished.as_str()).filter(|it| !it.is_empty()),
        resumed: report.map(|it| it.resumed),
        health_after: report.and_then(|it| it.health.as_ref()),
        losses: report.map(|it| it.losses.iter().map(loss).collect()),
        lost_files: &facts.lost,
        damage: &facts.damage,
    }
}
