// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which consoles there are, and saying something on all of them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dacapo::media::command_line::CommandLine;
use nix::fcntl::OFlag;

/// The nodes of the consoles that get a screen: that of the machine itself,
/// and every serial one that the kernel's command line names.
pub(crate) fn present(command_line: &CommandLine) -> Vec<String> {
    let mut found: Vec<String> =
        wanted(command_line).into_iter().filter(|path| Path::new(path).exists()).collect();
    if found.is_empty() {
        found.push("/dev/console".into());
    }
    found
}

fn wanted(command_line: &CommandLine) -> Vec<String> {
    let mut paths = vec!["/dev/tty1".to_owned()];
    for value in command_line.values("console") {
        let name = value.split(',').next().unwrap_or_default();
        let path = format!("/dev/{name}");
        if !name.is_empty() && name != "null" && !is_virtual(name) && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// True for "tty0" and "tty3", which all are the one screen of the machine.
fn is_virtual(name: &str) -> bool {
    name.strip_prefix("tty").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// True if the console is the machine's own screen, not a line to elsewhere.
pub(crate) fn is_own_screen(path: &str) -> bool {
    path.strip_prefix("/dev/").is_some_and(is_virtual)
}

/// All consoles, to be written to.
#[derive(Debug)]
pub(crate) struct Consoles {
    files: Vec<File>,
}

impl Consoles {
    /// Opens them; one that cannot be opened is left out.
    pub(crate) fn open(paths: &[String]) -> Self {
        // A line that was stopped by its other end must not stop us.
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let open = |path: &String| {
            OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok()
        };
        Self { files: paths.iter().filter_map(open).collect() }
    }

    /// Writes a line to each of them.
    pub(crate) fn say(&mut self, line: &str) {
        for file in &mut self.files {
            let _ = file.write_all(format!("{line}\r\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_and_each_serial_line_get_one() {
        let wanted = |line: &str| wanted(&CommandLine::parse(line));
        assert_eq!(wanted("quiet"), ["/dev/tty1"]);
        assert_eq!(wanted("console=tty0 console=tty1 console=tty"), ["/dev/tty1"]);
        assert_eq!(
            wanted("console=ttyS0,115200n8 console=tty0 console=ttyS0 console=hvc0"),
            ["/dev/tty1", "/dev/ttyS0", "/dev/hvc0"]
        );
        assert_eq!(wanted("console= console=null"), ["/dev/tty1"]);
        assert!(is_own_screen("/dev/tty1") && !is_own_screen("/dev/ttyS0"));
        assert!(!is_own_screen("/dev/console"));
    }
}
