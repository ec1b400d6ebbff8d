// SPDX-License-Identifier: MIT OR Apache-2.0
//! What README.md says is so: tables against the program and the package,
//! commands against the command line, paths against the folders.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dacapo::error::ErrorKind;
use dacapo::fs::{FILESYSTEMS, Stored};
use dacapo::volume::VOLUMES;

fn readme() -> String {
    fs::read_to_string("README.md").unwrap()
}

/// The text under a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let rest = &text[start + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// The rows of all tables in a text, without their heads.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|--");
    lines
        .iter()
        .enumerate()
        .filter(|(n, line)| {
            let is_head = lines.get(n + 1).is_some_and(|next| is_rule(next));
            line.starts_with('|') && !is_rule(line) && !is_head
        })
        .map(|(_, line)| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The table as it follows from the drivers.
fn filesystems() -> String {
    let mut text = String::from("| what | saved | remarks |\n|---|---|---|\n");
    let filesystems = FILESYSTEMS.iter().flat_map(|driver| driver.support());
    for row in filesystems.chain(VOLUMES.iter().flat_map(|driver| driver.support())) {
        let saved = match row.stored {
            Stored::UsedBlocks => "used blocks",
            Stored::Whole => "whole",
        };
        let _ = writeln!(text, "| {} | {saved} | {} |", row.what, row.remark);
    }
    text
}

/// `DACAPO_GENERATE=1` writes the table anew; scripts/check --generate does.
#[test]
fn the_table_of_filesystems_is_that_of_the_drivers() {
    let text = readme();
    let (before, rest) = text.split_once("<!-- filesystems").unwrap();
    let (comment, rest) = rest.split_once("-->\n\n").unwrap();
    let (listed, after) = rest.split_once("\n<!-- end").unwrap();
    let wanted = filesystems();
    if std::env::var_os("DACAPO_GENERATE").is_some() {
        let text = format!("{before}<!-- filesystems{comment}-->\n\n{wanted}\n<!-- end{after}");
        return fs::write("README.md", text).unwrap();
    }
    assert_eq!(listed, wanted, "scripts/check --generate writes the table anew");
    for driver in FILESYSTEMS {
        assert!(!driver.support().is_empty(), "{}", driver.name());
    }
    for driver in VOLUMES {
        assert!(!driver.support().is_empty(), "{}", driver.name());
    }
}

#[test]
fn every_exit_code_is_in_the_table() {
    let text = readme();
    let listed: Vec<u8> =
        rows(section(&text, "Exit codes")).iter().map(|row| row[0].parse().unwrap()).collect();
    let wanted: Vec<u8> =
        std::iter::once(0).chain(ErrorKind::ALL.iter().map(|kind| kind.exit_code())).collect();
    assert_eq!(listed, wanted);
}

/// The names in a section of Cargo.toml.
fn dependencies(section: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let (_, rest) = manifest.split_once(&format!("\n[{section}]\n")).unwrap();
    let names = rest.lines().take_while(|line| !line.starts_with('['));
    names.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
}

#[test]
fn every_dependency_has_its_reason() {
    let text = readme();
    let section = section(&text, "What it is built on, and why");
    let (normal, rest) = section.split_once("Only for the tests:").unwrap();
    let (tests, left_out) = rest.split_once("Not in the program").unwrap();
    let listed = |part: &str| -> BTreeSet<String> {
        rows(part).iter().flat_map(|row| quoted(&row[0]).map(str::to_owned)).collect()
    };
    assert_eq!(listed(normal), dependencies("dependencies"));
    assert_eq!(listed(tests), dependencies("dev-dependencies"));
    for name in ["gpt", "mbrman", "block-utils"] {
        assert!(listed(left_out).contains(name), "{name}");
        assert!(!dependencies("dependencies").contains(name), "{name}");
    }
}

#[test]
fn every_folder_and_every_linked_file_is_there() {
    let text = readme();
    let folders = rows(section(&text, "Where things are"));
    assert!(folders.len() > 10);
    for row in &folders {
        let name = quoted(&row[0]).next().unwrap();
        assert!(Path::new(name).is_dir(), "{name}");
    }
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        let name = format!("`{}`", path.display());
        assert!(!path.is_dir() || text.contains(&name), "{name} is not in the map");
    }
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(Path::new(link).exists(), "{link}");
    }
    let commands = rows(section(&text, "Two commands"));
    assert_eq!(commands.len(), 2);
    for row in commands {
        assert!(Path::new(quoted(&row[0]).next().unwrap()).is_file(), "{row:?}");
    }
}

#[test]
fn every_command_is_a_valid_one() {
    let text = readme();
    let in_blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let in_text = quoted(&text).filter(|words| words.contains("dacapo restore "));
    let mut count = 0;
    for line in in_blocks.chain(in_text).filter(|line| line.starts_with("dacapo ")) {
        // A quoted text is one word.
        let words: Vec<String> = line
            .split('\'')
            .enumerate()
            .flat_map(|(n, part)| match n % 2 {
                1 => vec![part.to_owned()],
                _ => part.split_whitespace().map(str::to_owned).collect(),
            })
            .collect();
        let parsed = dacapo::cmd::definition().try_get_matches_from(&words);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        count += 1;
    }
    assert!(count >= 7, "{count}");
}

#[test]
fn every_module_is_on_the_map() {
    let map = fs::read_to_string("src/lib.rs").unwrap();
    let modules: Vec<&str> =
        map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 15);
    for module in modules {
        assert!(map.contains(&format!("//! - [`{module}`]: ")), "{module} is not on the map");
    }
}

/// The first command of the README ends in `cargo run`, which has to know which
/// of the two programs is meant.
#[test]
fn cargo_run_is_dacapo() {
    // Asked, not run: inside of a test cargo would build all of it once more.
    let ran = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--no-deps", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&ran.stderr);
    let metadata: serde_json::Value = serde_json::from_slice(&ran.stdout).expect(&err);
    assert_eq!(metadata["packages"][0]["default_run"], "dacapo", "{err}");
}
