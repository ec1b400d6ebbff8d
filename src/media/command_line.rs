// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel command line: what the boot loader, or the person at it, asks of
//! the rescue system.

use std::fs;
use std::path::Path;

/// The words of a kernel command line, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<(String, Option<String>)>,
}

impl CommandLine {
    /// That of the running kernel; empty if there is none to be read.
    #[must_use]
    pub fn of_kernel() -> Self {
        Self::read(Path::new("/proc/cmdline"))
    }

    fn read(path: &Path) -> Self {
        // Bytes that are no text cannot be one of our words.
        fs::read(path).map(|text| Self::parse(&String::from_utf8_lossy(&text))).unwrap_or_default()
    }

    /// Splits at blanks outside of double quotes. As the kernel does, quotes
    /// around a value or around the whole word are taken away.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
        for c in text.chars() {
            if c == '"' {
                is_quoted = !is_quoted;
            }
            if c.is_ascii_whitespace() && !is_quoted {
                words.push(std::mem::take(&mut word));
            } else {
                word.push(c);
            }
        }
        words.push(word);
        let words = words
            .iter()
            .map(|word| unquoted(word))
            .filter(|word| !word.is_empty())
            .map(|word| match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(unquoted(value).to_owned())),
                None => (word.to_owned(), None),
            })
            .collect();
        Self { words }
    }

    /// The value of `name=value`; the last counts, an empty one is none.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.pairs().filter(|(word, _)| *word == name);
        values.last().map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// The values of every `name=value`, in their order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs().filter(move |(word, _)| *word == name).map(|(_, value)| value)
    }

    /// Every `name=value`, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
    }
}

/// Without the quotes around it, if there are some.
fn unquoted(word: &str) -> &str {
    let Some(inside) = word.strip_prefix('"') else { return word };
    inside.strip_suffix('"').unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_and_the_last_counts() {
        let line = CommandLine::parse(
            "BOOT_IMAGE=/vmlinuz quiet console=ttyS0,115200 console=tty0 dacapo.after= a=b=c\n",
        );
        assert_eq!(line.value("console"), Some("tty0"));
        assert_eq!(line.values("console").collect::<Vec<_>>(), ["ttyS0,115200", "tty0"]);
        assert_eq!(line.value("dacapo.after"), None);
        assert_eq!(line.value("quiet"), None);
        assert_eq!(line.value("a"), Some("b=c"));
        assert_eq!(line.value("nothing"), None);
        assert_eq!(CommandLine::parse(""), CommandLine::default());
    }

    #[test]
    fn quotes_hold_a_value_with_blanks_together() {
        // The kernel takes them around the value and around the whole word.
        for text in [
            r#"x dacapo.restore="Studio 1, before" dacapo.target=S1"#,
            r#"x "dacapo.restore=Studio 1, before" dacapo.target=S1"#,
        ] {
            let line = CommandLine::parse(text);
            assert_eq!(line.value("dacapo.restore"), Some("Studio 1, before"), "{text}");
            assert_eq!(line.value("dacapo.target"), Some("S1"), "{text}");
        }
        // One that is never closed goes to the end.
        let line = CommandLine::parse(r#"a="b c d=e"#);
        assert_eq!(line.value("a"), Some("b c d=e"));
        assert_eq!(line.value("d"), None);
    }
}
