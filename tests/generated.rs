// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is generated and committed is what the program would generate now.
//! `scripts/check --generate` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{dacapo, requires, temp_dir, try_run};

const AGAIN: &str = "out of date; run scripts/check --generate";

fn docs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))
}

fn files_in(folder: &Path) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn manual_pages_are_up_to_date() {
    let folder = temp_dir();
    dacapo(&["man", folder.path().to_str().unwrap()]).success();
    let (now, committed) = (files_in(folder.path()), files_in(&docs().join("man")));
    for name in ["dacapo", "dacapo-save", "dacapo-rescue-build", "dacapo-network-connect"] {
        assert!(now.contains_key(&format!("{name}.1")), "{name}: {:?}", now.keys());
    }
    assert!(!now.keys().any(|name| name.contains("help") || name.contains("auto")));
    assert!(now.keys().eq(committed.keys()), "docs/man is {AGAIN}");
    for (name, text) in now {
        assert!(committed[&name] == text, "docs/man/{name} is {AGAIN}");
    }
}

#[test]
fn completions_are_up_to_date() {
    let committed = files_in(&docs().join("completions"));
    let files = [("bash", "dacapo.bash"), ("fish", "dacapo.fish"), ("zsh", "_dacapo")];
    assert_eq!(committed.len(), files.len());
    for (shell, name) in files {
        let now = dacapo(&["completions", shell]).success();
        assert!(now.out() == committed[name], "docs/completions/{name} is {AGAIN}");
    }
}

#[test]
fn man_reads_the_manual_pages_without_a_warning() {
    if !requires(&["groff"]) {
        return;
    }
    for name in files_in(&docs().join("man")).keys() {
        let page = docs().join("man").join(name);
        let args = ["-man", "-ww", "-z", "-Tutf8", page.to_str().unwrap()];
        let ran = try_run("groff", &args).success();
        assert!(ran.stderr.is_empty(), "{ran}");
    }
}

#[test]
fn bash_takes_the_completions() {
    if requires(&["bash"]) {
        let script = docs().join("completions/dacapo.bash");
        let script = script.to_str().unwrap();
        try_run("bash", &["-n", script]).success();
        let ask = format!(
            "source {script}; COMP_WORDS=(dacapo res); COMP_CWORD=1; \
             _dacapo dacapo res dacapo; echo \"${{COMPREPLY[@]}}\""
        );
        assert_eq!(try_run("bash", &["-c", &ask]).success().out(), "restore rescue\n");
    }
}
