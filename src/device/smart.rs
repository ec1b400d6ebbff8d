// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a drive says it is: SMART, as `smartctl --json` of smartmontools reports
//! it, if that is installed.
//!
//! What smartctl prints comes from the drive, so that its length is bounded and
//! nothing but numbers and a few words are taken of it.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The program.
const PROGRAM: &str = "smartctl";
/// The most that is read of what it prints.
const MAX_OUTPUT: u64 = 1 << 20;
/// How long it may take: a dying drive must not hold up everything else.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a drive says of its health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// False if the drive expects to fail; none if it does not say.
    pub passed: Option<bool>,
    /// In degrees Celsius.
    pub temperature: Option<i64>,
    /// For how many hours it was on.
    pub hours: Option<u64>,
    /// Sectors that were replaced by spare ones.
    pub reallocated: Option<u64>,
    /// Sectors that could not be read, and may be replaced.
    pub pending: Option<u64>,
    /// Sectors that could not be read even in the drive's own test.
    pub uncorrectable: Option<u64>,
    /// Of NVMe: errors of the medium.
    pub media_errors: Option<u64>,
    /// Of SSDs: how much of its expected life is used, in per cent.
    pub used_life: Option<u64>,
}

impl Health {
    /// "healthy", "failing", or "unknown".
    ///
    /// A drive that passes its own test and has sectors that it cannot read is
    /// failing all the same: they say so long before the drive does.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let bad = [self.pending, self.uncorrectable, self.media_errors];
        if self.passed == Some(false) || bad.into_iter().flatten().any(|count| count > 0) {
            return "failing";
        }
        if self.passed == Some(true) { "healthy" } else { "unknown" }
    }

    /// It in a line: "failing, 41 C, 8 sectors reallocated, 3 pending".
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = vec![self.word().to_owned()];
        if self.passed == Some(false) {
            parts.push("it expects to fail".into());
        }
        parts.extend(self.temperature.map(|degrees| format!("{degrees} C")));
        let s = |count: u64| if count == 1 { "" } else { "s" };
        parts.extend(self.hours.map(|hours| format!("{hours} hour{}", s(hours))));
        let some = |count: Option<u64>| count.filter(|count| *count > 0);
        let reallocated = some(self.reallocated);
        parts.extend(reallocated.map(|count| format!("{count} sector{} reallocated", s(count))));
        parts.extend(some(self.pending).map(|count| format!("{count} pending")));
        parts.extend(some(self.uncorrectable).map(|count| format!("{count} uncorrectable")));
        let errors = some(self.media_errors);
        parts.extend(errors.map(|count| format!("{count} media error{}", s(count))));
        parts.extend(self.used_life.map(|used| format!("{used} % of its life used")));
        parts.join(", ")
    }
}

/// Asks a drive; none if there is no smartctl, or it knows nothing of it.
#[must_use]
pub fn health(path: &Path) -> Option<Health> {
    health_by(PROGRAM, path)
}

fn health_by(program: &str, path: &Path) -> Option<Health> {
    // Its exit code is made of bits that say more than whether it worked.
    let mut child = Command::new(program)
        .args(["--json", "--all", "--nocheck=standby"])
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(MAX_OUTPUT).read_to_end(&mut text);
        read.ok().map(|_| text)
    });
    let began = Instant::now();
    while !reader.is_finished() {
        if began.elapsed() >= PATIENCE {
            // One that waits for a dead drive cannot even be killed: it is left
            // behind, with the thread that reads of it.
            let _ = child.kill();
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    // All was read, or more than is wanted.
    let _ = child.kill();
    let _ = child.wait();
    parse(&reader.join().ok()??)
}

/// What smartctl prints, as far as it is of interest (its JSON schema 1.0).
#[derive(Deserialize)]
struct Printed {
    smart_status: Option<Status>,
    temperature: Option<Temperature>,
    power_on_time: Option<PowerOnTime>,
    ata_smart_attributes: Option<Attributes>,
    nvme_smart_health_information_log: Option<NvmeLog>,
}

#[derive(Deserialize)]
struct Status {
    passed: Option<bool>,
}

#[derive(Deserialize)]
struct Temperature {
    current: Option<i64>,
}

#[derive(Deserialize)]
struct PowerOnTime {
    hours: Option<u64>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    table: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    id: u32,
    raw: Option<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    value: Option<u64>,
}

#[derive(Deserialize)]
struct NvmeLog {
    media_errors: Option<u64>,
    percentage_used: Option<u64>,
}

fn parse(text: &[u8]) -> Option<Health> {
    let printed: Printed = serde_json::from_slice(text).ok()?;
    let table = printed.ata_smart_attributes.map(|it| it.table).unwrap_or_default();
    let raw = |id: u32| table.iter().find(|it| it.id == id)?.raw.as_ref()?.value;
    let nvme = printed.nvme_smart_health_information_log;
    let health = Health {
        passed: printed.smart_status.and_then(|it| it.passed),
        temperature: printed.temperature.and_then(|it| it.current),
        hours: printed.power_on_time.and_then(|it| it.hours),
        // The raw values of these are counts with all makers.
        reallocated: raw(5),
        pending: raw(197),
        uncorrectable: raw(198),
        media_errors: nvme.as_ref().and_then(|it| it.media_errors),
        used_life: nvme.as_ref().and_then(|it| it.percentage_used),
    };
    (health != Health::default()).then_some(health)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SATA: &str = r#"{
        "json_format_version": [1, 0], "smartctl": {"exit_status": 64},
        "smart_status": {"passed": true}, "temperature": {"current": 41},
        "power_on_time": {"hours": 31234},
        "ata_smart_attributes": {"revision": 16, "table": [
            {"id": 5, "name": "Reallocated_Sector_Ct", "raw": {"value": 8, "string": "8"}},
            {"id": 9, "name": "Power_On_Hours", "raw": {"value": 31234, "string": "31234"}},
            {"id": 197, "name": "Current_Pending_Sector", "raw": {"value": 3, "string": "3"}},
            {"id": 198, "name": "Offline_Uncorrectable", "raw": {"value": 0, "string": "0"}}
        ]}
    }"#;
    const NVME: &str = r#"{
        "smart_status": {"passed": true, "nvme": {"value": 0}},
        "nvme_smart_health_information_log": {
            "critical_warning": 0, "temperature": 33, "percentage_used": 4, "media_errors": 0
        },
        "temperature": {"current": 33}, "power_on_time": {"hours": 1200}
    }"#;

    #[test]
    fn drives_are_judged_by_what_they_say() {
        let sata = parse(SATA.as_bytes()).unwrap();
        assert_eq!(sata.word(), "failing", "it has pending sectors");
        assert_eq!(sata.line(), "failing, 41 C, 31234 hours, 8 sectors reallocated, 3 pending");
        let nvme = parse(NVME.as_bytes()).unwrap();
        assert_eq!(nvme.line(), "healthy, 33 C, 1200 hours, 4 % of its life used");
        let new = Health { hours: Some(1), reallocated: Some(1), media_errors: Some(1), ..nvme };
        let line = new.line();
        assert!(line.contains("1 hour, 1 sector reallocated, 1 media error, "), "{line}");
        let dying = parse(br#"{"smart_status": {"passed": false}}"#).unwrap();
        assert_eq!(dying.line(), "failing, it expects to fail");
        let silent = parse(br#"{"temperature": {"current": 20}}"#).unwrap();
        assert_eq!(silent.word(), "unknown");
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in [
            "",
            "{}",
            "[1]",
            "smartctl 7.3",
            r#"{"smart_status": 7}"#,
            r#"{"ata_smart_attributes": {"table": [{"id": -5}]}}"#,
            r#"{"temperature": {"current": "hot"}}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_program_that_prints_without_end_or_is_not_there_does_no_harm() {
        assert_eq!(health_by("/nowhere/smartctl", Path::new("/dev/sda")), None);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("smartctl");
        let write = |text: &str| {
            std::fs::write(&program, text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).unwrap();
            // By another program, so that it is not open for writing here.
            health_by(program.to_str().unwrap(), Path::new("/dev/sda"))
        };
        assert_eq!(write("#!/bin/sh\nwhile :; do echo '{}{}{}{}{}{}{}{}{}'; done\n"), None);
        let found = write(&format!("#!/bin/sh\ncat <<'X'\n{NVME}\nX\nexit 4\n")).unwrap();
        assert_eq!(found.used_life, Some(4));
    }
}
