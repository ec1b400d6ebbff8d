// SPDX-License-Identifier: MIT OR Apache-2.0
//! A catalogue of archived discs for a browser: one file that needs nothing
//! else, with a search box. Names come from discs and may be anything; all of
//! them are escaped, and the page may load nothing.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::shelf::Shelved;
use crate::error::{Context, Error, Result};
use crate::store;
use crate::units::human;

/// By this a page is known that may be replaced.
const MARK: &str = "<meta name=\"generator\" content=\"dacapo disc list\">";

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
";

const STYLE: &str = "
<meta http-equiv=\"Content-Security-Policy\"
 content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Discs</title>
<style>
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .75rem }
input { box-sizing: border-box; font: inherit; padding: .5rem .75rem; width: 100% }
table { border-collapse: collapse; margin-top: 1rem; width: 100% }
th, td { border-bottom: 1px solid #8886; padding: .5rem .75rem .5rem 0; text-align: left;
 vertical-align: top }
td.size { white-space: nowrap }
small { color: #808080; display: block; overflow-wrap: anywhere }
.bad { color: #c0392b; font-weight: 600 }
</style>
</head>
<body>
";

const SCRIPT: &str = "<script>
const rows = [...document.querySelectorAll('tbody tr')];
const texts = rows.map(row => row.textContent.toLowerCase());
const count = document.getElementById('count');
document.getElementById('search').addEventListener('input', event => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  let shown = 0;
  rows.forEach((row, number) => {
    row.hidden = !words.every(word => texts[number].includes(word));
    shown += row.hidden ? 0 : 1;
  });
  count.textContent = shown;
});
</script>
</body>
</html>
";

/// The page for these discs of a folder.
#[must_use]
pub fn page(folder: &Path, discs: &[Shelved], date: &str) -> String {
    let mut html = format!("{HEAD}{MARK}{STYLE}");
    let _ = write!(
        html,
        "<h1>Discs</h1>\n<input id=\"search\" type=\"search\" autofocus \
         placeholder=\"Search titles, labels, notes, serial numbers, hashes\" \
         aria-label=\"Search\">\n<p><span id=\"count\">{}</span> of {} discs, as of {}</p>\n\
         <table>\n<thead><tr><th>Disc</th><th>Read</th><th>Size</th><th>File</th></tr></thead>\n\
         <tbody>\n",
        discs.len(),
        discs.len(),
        escaped(date)
    );
    for disc in discs {
        row(&mut html, folder, disc);
    }
    html.push_str("</tbody>\n</table>\n");
    html.push_str(SCRIPT);
    html
}

fn row(html: &mut String, folder: &Path, disc: &Shelved) {
    let path = disc.image.strip_prefix(folder).unwrap_or(&disc.image).display().to_string();
    let record = disc.record.as_ref();
    let name = record.map_or(path.as_str(), |record| record.name());
    let _ = write!(html, "<tr><td><b>{}</b>", escaped(name));
    if let Some(record) = record {
        let volume = &record.volume;
        let lines = [
            ("", volume.label.as_deref().filter(|label| *label != name)),
            ("Serial: ", record.serial.as_deref()),
            ("", record.note.as_deref()),
            ("Publisher: ", volume.publisher.as_deref()),
            ("Made: ", volume.created.as_deref().map(day)),
        ];
        for (what, text) in lines {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                let _ = write!(html, "<small>{what}{}</small>", escaped(text));
            }
        }
    }
    let mut problems: Vec<String> = Vec::new();
    if !disc.is_there() {
        problems.push("the file is missing".into());
    }
    problems.extend(disc.trouble.as_ref().map(ToString::to_string));
    let missing = record.map_or(0, |record| record.missing_sectors());
    if missing > 0 {
        problems.push(format!("{missing} sectors could not be read"));
    }
    if let Some(protection) = record.and_then(|record| record.protection.as_deref()) {
        problems.push(format!("its films are encrypted ({protection})"));
    }
    for problem in problems {
        let _ = write!(html, "<small class=\"bad\">{}</small>", escaped(&problem));
    }
    let read = record.map_or("", |record| day(&record.read_at));
    let size = record.map(|record| human(record.bytes)).unwrap_or_default();
    let formats = record.map(|record| record.volume.formats.join(", ")).unwrap_or_default();
    let medium = record.and_then(|record| record.medium.as_deref()).unwrap_or_default();
    let _ = write!(
        html,
        "</td><td>{}</td><td class=\"size\">{}<small>{}</small></td><td>{}<small>{}</small>",
        escaped(read),
        escaped(&size),
        escaped(medium),
        escaped(&path),
        escaped(&formats)
    );
    if let Some(record) = record {
        let _ = write!(html, "<small>SHA-256 {}</small>", escaped(&record.digests.sha256));
    }
    html.push_str("</td></tr>\n");
}

/// The day of a time.
fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

/// Text that is only text, in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Nothing that turns the text around it.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => html.push('?'),
            c if c.is_control() => html.push(' '),
            c => html.push(c),
        }
    }
    html
}

/// Writes a page; an older one is replaced, and nothing else.
///
/// # Errors
/// Refused if there is something else of that name; and if it cannot be
/// written.
pub fn write(path: &Path, html: &str) -> Result<()> {
    let what = || format!("writing {}", path.display());
    if path.symlink_metadata().is_ok() {
        let mut start = Vec::new();
        let file = fs::File::open(path).context(what)?;
        file.take(1024).read_to_end(&mut start).context(what)?;
        if !String::from_utf8_lossy(&start).contains(MARK) {
            return Err(Error::refused(format!(
                "{} exists, and is no catalogue made by dacapo",
                path.display()
            ))
            .hint("give another name"));
        }
    }
    store::replace(path, |out| out.write_all(html.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disc::Record;

    #[test]
    fn nothing_from_a_disc_is_taken_for_html() {
        let evil = "</td><script>alert('x')</script><img src=\"http://x\" onerror=a&b>\u{202e}";
        let record = Record {
            file: "a.iso".into(),
            title: Some(evil.into()),
            note: Some(evil.into()),
            serial: Some(evil.into()),
            protection: Some(evil.into()),
            ..Record::new()
        };
        let image = Path::new("/discs/<b>.iso").to_owned();
        let disc = Shelved { image, record: Some(record), trouble: None };
        let html = page(Path::new("/discs"), &[disc], "2026-11-27");
        assert_eq!(html.matches("<script>").count(), 1);
        assert!(!html.contains("<img") && !html.contains("onerror=a&b"), "{html}");
        assert!(!html.contains('\u{202e}'));
        assert!(html.contains("&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)"), "{html}");
        assert!(html.contains("its films are encrypted (&lt;/td&gt;"), "{html}");
        assert!(html.contains("&lt;b&gt;.iso") && html.contains("the file is missing"), "{html}");
        // It loads nothing from anywhere.
        for word in ["src=", "href=", "url(", "@import", "http:", "https:"] {
            assert!(!html.replace(&escaped(evil), "").contains(word), "{word}");
        }
    }

    #[test]
    fn only_a_page_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("discs.html");
        let html = page(folder.path(), &[], "2026-11-27");
        write(&path, &html).unwrap();
        write(&path, &html).unwrap();
        fs::write(&path, "my own page").unwrap();
        assert_eq!(write(&path, &html).unwrap_err().kind(), crate::error::ErrorKind::Refused);
        assert_eq!(fs::read(&path).unwrap(), b"my own page");
    }
}
