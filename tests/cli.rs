// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line itself: help, exit codes, colours, JSON, closed pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{
    Ran, dacapo, dacapo_command, finish, json_lines, junk_file, requires, temp_dir, try_run, wait,
};

/// The names of all commands.
fn commands() -> Vec<String> {
    dacapo::cmd::definition().get_subcommands().map(|c| c.get_name().to_owned()).collect()
}

/// Every help there is: of the program and of each command, short and long.
fn every_help() -> Vec<Ran> {
    let mut all = vec![dacapo(&["-h"]), dacapo(&["--help"])];
    for command in commands() {
        all.push(dacapo(&[&command, "-h"]));
        all.push(dacapo(&[&command, "--help"]));
    }
    all.into_iter().map(Ran::success).collect()
}

#[test]
fn help_fits_eighty_columns_and_is_plain_ascii() {
    let all = every_help();
    assert!(all.len() >= 24, "only {} helps", all.len());
    for help in all {
        for line in help.out().lines() {
            assert!(line.len() <= 80, "{} columns: {line}\n{help}", line.len());
            assert!(line.is_ascii(), "{line}\n{help}");
        }
        assert!(help.stderr.is_empty(), "{help}");
    }
}

#[test]
fn every_help_ends_with_an_example_that_is_a_valid_command() {
    for help in every_help() {
        let (_, examples) = help
            .out()
            .split_once("Example:\n")
            .or_else(|| help.out().split_once("Examples:\n"))
            .unwrap_or_else(|| panic!("no example\n{help}"));
        let lines: Vec<&str> =
            examples.lines().filter_map(|line| line.strip_prefix("  dacapo ")).collect();
        assert!(!lines.is_empty(), "no example\n{help}");
        for line in lines {
            // What stands behind two blanks is a remark, behind > a file.
            let command = line.split("  ").next().unwrap().split(" > ").next().unwrap();
            let words = command.split(' ').collect::<Vec<_>>().join("\n").replace('\'', "");
            let words: Vec<&str> = words.lines().collect();
            // The words of a quoted text are no arguments of their own.
            let quoted = command.split_once('\'').map(|(before, _)| before.split(' ').count());
            let words = &words[..quoted.map_or(words.len(), |count| count)];
            let args = std::iter::once("dacapo").chain(words.iter().copied());
            let parsed = dacapo::cmd::definition().try_get_matches_from(args);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn every_option_and_argument_is_described() {
    let mut definition = dacapo::cmd::definition();
    definition.build();
    let mut seen = 0;
    for command in definition.get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} is not described");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() >= 8, "{name} {}: '{help}'", argument.get_id());
            assert!(!help.ends_with('.'), "{name} {}: '{help}'", argument.get_id());
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn each_command_has_the_options_that_were_promised() {
    let promised = [
        ("disks", "--json --quiet"),
        ("save", "--label --note --level --dry-run --raw --resume --json --quiet --sector-size"),
        (
            "restore",
            "--partition --free --no-verify --dry-run --yes --confirm --fit --json --quiet",
        ),
        ("verify", "--quick --json --quiet"),
        ("compare", "--all --partition --json --quiet"),
        ("clone", "--free --no-verify --dry-run --yes --confirm --fit --json --quiet"),
        ("info", "--json --quiet"),
        ("map", "--partition --output --json --quiet"),
        ("demo", "--json --quiet"),
        ("completions", "--json --quiet"),
    ];
    for (command, options) in promised {
        let help = dacapo(&[command, "--help"]).success();
        for option in options.split(' ') {
            let listed =
                help.out().lines().any(|line| line.split([' ', ',']).any(|word| word == option));
            assert!(listed, "{option} is missing\n{help}");
        }
    }
}

#[test]
fn wrong_use_ends_with_2_and_says_what_is_wrong() {
    for (args, part) in [
        (vec![], "Usage: dacapo"),
        (vec!["sav"], "unrecognized subcommand 'sav'"),
        (vec!["save"], "<SOURCE>"),
        (vec!["save", "/dev/zero"], "<IMAGE>"),
        (vec!["save", "a", "b", "--level", "0"], "1..=19"),
        (vec!["save", "a", "b", "--level", "20"], "1..=19"),
        (vec!["save", "a", "b", "--sector-size", "520"], "write 512 or 4096"),
        (vec!["save", "a", "b", "--chunk-size", "3K"], "power of two"),
        (vec!["restore", "a", "b", "--free", "maybe"], "auto, leave, discard, zero"),
        (vec!["restore", "a", "b", "--partition", "0"], "--partition"),
        (vec!["verify", "a", "--force"], "--force"),
        (vec!["completions", "tcsh"], "bash"),
    ] {
        let ran = dacapo(&args).exits(2).says(part);
        assert!(ran.stdout.is_empty(), "{ran}");
        // With --json a program can read it, too.
        if !args.is_empty() {
            let args: Vec<&str> = args.into_iter().chain(["--json"]).collect();
            let ran = dacapo(&args).exits(2);
            let lines = ran.json_lines();
            assert_eq!(lines.len(), 1, "{ran}");
            assert_eq!(lines[0]["message_type"], "exit_error");
            assert_eq!(lines[0]["code"], 2);
            assert!(lines[0]["message"].as_str().unwrap().len() > 5, "{ran}");
        }
    }
}

#[test]
fn help_and_version_are_no_error() {
    for args in [["--help"], ["-h"], ["--version"], ["-V"]] {
        let ran = dacapo(&args).success();
        assert!(ran.stderr.is_empty(), "{ran}");
    }
    let version = format!("dacapo {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(dacapo(&["--version"]).out(), version);
}

#[test]
fn an_error_is_one_line_on_stderr_and_one_object_with_json() {
    let folder = temp_dir();
    let file = folder.join("file");
    junk_file(&file, 10);
    let below = format!("{file}/below");
    let ran = dacapo(&["man", &below]).exits(1);
    assert!(ran.stdout.is_empty(), "{ran}");
    assert!(ran.err().starts_with("error: making the folder "), "{ran}");
    assert_eq!(ran.err().lines().count(), 1, "{ran}");
    // Even when quiet.
    assert_eq!(dacapo(&["man", &below, "--quiet"]).exits(1).err(), ran.err());

    let json = dacapo(&["--json", "man", &below]).exits(1);
    assert!(json.stderr.is_empty(), "{json}");
    let lines = json.json_lines();
    assert_eq!(lines.len(), 1, "{json}");
    assert_eq!(lines[0]["message_type"], "exit_error");
    assert_eq!(lines[0]["code"], 1);
    assert_eq!(format!("error: {}\n", lines[0]["message"].as_str().unwrap()), ran.err());
}

#[test]
fn quiet_silences_what_is_no_result() {
    let folder = temp_dir();
    let loud = dacapo(&["man", folder.path().to_str().unwrap()]).success();
    assert!(loud.out().lines().count() >= 12, "{loud}");
    let quiet = dacapo(&["man", folder.path().to_str().unwrap(), "-q"]).success();
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let usage_error = |set: &[(&str, &str)]| {
        let mut command = dacapo_command(&["man", "/dev/null/x"]);
        command.envs(set.iter().copied());
        finish(command, &[]).exits(1)
    };
    let no_terminal = usage_error(&[]);
    assert!(!no_terminal.err().contains('\u{1b}'), "{no_terminal}");
    let forced = usage_error(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.err().contains('\u{1b}'), "{forced}");
    let forbidden = usage_error(&[("NO_COLOR", "1")]);
    assert!(!forbidden.err().contains('\u{1b}'), "{forbidden}");

    // On a terminal, made by script(1).
    if !requires(&["script"]) {
        return;
    }
    let on_terminal = |prefix: &str| {
        let program = env!("CARGO_BIN_EXE_dacapo");
        let line = format!("{prefix} {program} man /dev/null/x");
        try_run("script", &["-q", "-e", "-c", &line, "/dev/null"]).exits(1)
    };
    let plain = on_terminal("TERM=xterm NO_COLOR=1");
    assert!(plain.out().contains("error: making the folder"), "{plain}");
    assert!(!plain.out().contains('\u{1b}'), "{plain}");
    let coloured = on_terminal("env -u NO_COLOR TERM=xterm");
    assert!(coloured.out().contains("\u{1b}[1m\u{1b}[31merror:"), "{coloured}");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    for args in [["completions", "bash"], ["save", "--help"], ["man", "FOLDER"]] {
        let folder = temp_dir();
        let args = args.map(|arg| arg.replace("FOLDER", folder.path().to_str().unwrap()));
        let mut command = dacapo_command(&args);
        // Nobody reads.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let code = wait(&mut child, Duration::from_secs(60)).unwrap();
        assert!(!errors.contains("panicked"), "{args:?}: {errors}");
        // A script that was not written whole is a failure, a report that
        // nobody wants to read is none.
        let expected = if args[0] == "completions" { 1 } else { 0 };
        assert_eq!(code, expected, "{args:?}: {errors}");
    }
}

#[test]
fn a_result_that_could_not_be_written_is_a_failure() {
    let folder = temp_dir();
    for args in [["completions", "bash"], ["man", folder.path().to_str().unwrap()]] {
        let mut command = dacapo_command(&args);
        let full = File::options().write(true).open("/dev/full").unwrap();
        command.stdout(full).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let line = BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
        assert!(line.starts_with("error: writing to standard output: "), "{line}");
        assert_eq!(wait(&mut child, Duration::from_secs(60)), Some(8), "{args:?}");
    }
}

#[test]
fn a_report_of_a_command_is_json_lines_only() {
    let folder = temp_dir();
    let ran = dacapo(&["man", "--json", folder.path().to_str().unwrap()]).success();
    assert!(ran.stderr.is_empty(), "{ran}");
    let summary = ran.messages("summary");
    assert_eq!(summary.len(), 1, "{ran}");
    // A page for each, also for commands of commands.
    fn pages(command: &clap::Command) -> usize {
        let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
        1 + shown.map(pages).sum::<usize>()
    }
    let wanted = pages(&dacapo::cmd::definition());
    assert_eq!(summary[0]["files"].as_array().unwrap().len(), wanted);
    assert_eq!(json_lines(ran.out()).len(), 1);
}
