// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the listeners without a terminal; tests/cli.rs has one with it.

use super::*;
use crate::units::MIB;

/// What a listener prints while `job` runs.
fn heard(face: fn(Arc<Sink>) -> Box<dyn Face>, job: impl FnOnce(&dyn Progress)) -> String {
    let sink = Arc::new(Sink::memory());
    let listener = Listener::with_face(face(Arc::clone(&sink)));
    job(&listener);
    drop(listener);
    // Whoever still holds it could draw behind the end of the job.
    assert_eq!(Arc::strong_count(&sink), 1);
    sink.text()
}

fn json(sink: Arc<Sink>) -> Box<dyn Face> {
    Box::new(Json { sink, quiet: false })
}

fn json_quiet(sink: Arc<Sink>) -> Box<dyn Face> {
    Box::new(Json { sink, quiet: true })
}

fn lines(sink: Arc<Sink>) -> Box<dyn Face> {
    Box::new(Lines { sink, quiet: false })
}

fn lines_quiet(sink: Arc<Sink>) -> Box<dyn Face> {
    Box::new(Lines { sink, quiet: true })
}

fn lossy(progress: &dyn Progress) {
    progress.stage("saving", 4 * MIB);
    progress.note(&Event::Position("partition 2, ext4".into()));
    progress.advance(MIB);
    progress.note(&Event::Notice("the backup GPT moves".into()));
    let extent = Extent::at(MIB, 4096);
    progress.note(&Event::Unreadable { extent, cause: "Input/output error".into() });
    progress.advance(MIB);
}

#[test]
fn json_lines_have_the_promised_fields() {
    let text = heard(json, lossy);
    let values: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> =
        values.iter().map(|value| value["message_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["status", "note", "error", "status"], "{text}");
    assert_eq!(values[0]["percent_done"], 0.0);
    assert_eq!(values[1]["message"], "the backup GPT moves");
    assert_eq!(values[2]["code"], 3);
    assert_eq!(values[2]["offset"], MIB);
    assert_eq!(values[2]["length"], 4096);
    assert_eq!(values[2]["message"], "Input/output error");
    assert_eq!(values[3]["percent_done"], 0.5);
    assert_eq!(values[3]["bytes_done"], 2 * MIB);
    assert_eq!(values[3]["total_bytes"], 4 * MIB);
    assert_eq!(values[3]["stage"], "saving");
    assert_eq!(values[3]["current"], "partition 2, ext4");
    assert_eq!(values[3]["unreadable_bytes"], 4096);
    assert_eq!(values[3]["seconds_elapsed"], 0);
}

#[test]
fn every_field_is_in_the_documentation() {
    let documented = include_str!("../../../docs/json-lines.md");
    let text = heard(json, |progress| {
        lossy(progress);
        // Long enough for speed and time left.
        thread::sleep(Duration::from_millis(1100));
    });
    let mut fields = 0;
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = value["message_type"].as_str().unwrap();
        assert!(documented.contains(&format!("\n## {name}\n")), "{name}");
        for field in value.as_object().unwrap().keys() {
            assert!(documented.contains(&format!("`{field}`")), "{field} of {name}");
            fields += 1;
        }
    }
    assert!(fields >= 30 && text.contains("seconds_remaining"), "{text}");
}

#[test]
fn every_stage_is_told_to_its_end() {
    let text = heard(json, |progress| {
        progress.stage("saving", 10);
        progress.advance(10);
        progress.stage("verifying", 20);
        progress.advance(20);
    });
    let told: Vec<(String, f64)> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|value| (value["stage"].to_string(), value["percent_done"].as_f64().unwrap()))
        .collect();
    let expected = [("saving", 0.0), ("saving", 1.0), ("verifying", 0.0), ("verifying", 1.0)];
    assert_eq!(told, expected.map(|(stage, part)| (format!("\"{stage}\""), part)));
}

#[test]
fn quiet_tells_losses_and_nothing_else() {
    let text = heard(json_quiet, lossy);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with(r#"{"message_type":"error""#), "{text}");
    let text = heard(lines_quiet, lossy);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("bytes 0x100000..0x101000 (4.00 KiB) cannot be read"), "{text}");
}

#[test]
fn without_a_terminal_a_short_job_tells_only_its_events() {
    let text = heard(lines, lossy);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("note:") && text.contains("the backup GPT moves"), "{text}");
}

#[test]
fn a_flood_of_losses_is_counted_not_told() {
    let flood = |progress: &dyn Progress| {
        for n in 0..1000 {
            let extent = Extent::at(n * 8192, 512);
            progress.note(&Event::Unreadable { extent, cause: "EIO".into() });
        }
    };
    let text = heard(lines, flood);
    assert_eq!(text.lines().count(), 21, "{text}");
    assert!(text.ends_with("from here on they are only counted\n"), "{text}");
    // A program gets all of them.
    assert_eq!(heard(json, flood).lines().count(), 1000);
}

#[test]
fn the_clock_draws_although_the_job_stands_still() {
    struct Often(Json);
    impl Face for Often {
        fn interval(&self) -> Duration {
            Duration::from_millis(5)
        }
        fn draw(&mut self, now: &Snapshot) {
            self.0.draw(now);
        }
        fn event(&mut self, event: &Event, now: &Snapshot) {
            self.0.event(event, now);
        }
        fn finish(&mut self, _: &Snapshot) {}
    }
    let often = |sink| -> Box<dyn Face> { Box::new(Often(Json { sink, quiet: false })) };
    let text = heard(often, |progress| {
        progress.stage("saving", MIB);
        thread::sleep(Duration::from_millis(200));
    });
    assert!(text.lines().count() >= 5, "{text}");
}

#[test]
fn the_bar_says_all_there_is_to_say_in_eighty_columns() {
    let now = Snapshot {
        stage: "saving".into(),
        current: "partition 2, ext4 STUDIO".into(),
        done: 13_207_024_435,
        total: 31_568_009_626,
        speed: Some(512.0 * MIB as f64),
        left: Some(Duration::from_secs(35)),
        ..Snapshot::default()
    };
    let (prefix, below) = bar_texts(&now);
    assert_eq!(prefix, "saving  41.8 %");
    assert_eq!(below, "12.3 GiB of 29.4 GiB, 512 MiB/s, 0:35 left; partition 2, ext4 STUDIO");
    assert!(below.len() <= 78);
}

#[test]
fn losses_are_told_in_words() {
    let mut meter = Meter::new(Instant::now());
    assert_eq!(losses(&meter.snapshot(Instant::now())), "");
    meter.unreadable(Extent::at(0, 512));
    meter.different(Extent::at(0, 4096));
    meter.different(Extent::at(8192, 4096));
    assert_eq!(
        losses(&meter.snapshot(Instant::now())),
        "1 range (512 B) unreadable, 2 ranges (8.00 KiB) different"
    );
}
