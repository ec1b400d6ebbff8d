// SPDX-License-Identifier: MIT OR Apache-2.0
//! The screens, used by a person: keys are typed, and what is on the screen is
//! read. What comes of it is judged by the files.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::screen::{Program, Screen, key};
use crate::support::{
    HttpServer, Loop, Mount, TempDir, assert_same, dacapo, dacapo_command, hash_of, junk,
    junk_file, requires, run, temp_dir,
};

const MIB: u64 = 1 << 20;
/// For what is there at once, on a machine that does other things, too.
const SOON: Duration = Duration::from_secs(60);

/// The screens on a terminal of 80 columns.
fn start(folder: &TempDir, rows: u16) -> Program {
    let folder = folder.path().to_str().unwrap();
    let program = Program::start(&dacapo_command(&["tui", folder]), 80, rows);
    program.screen.wait_for("What do you want to do?", SOON);
    program
}

/// Answers a screen that is known by a text.
#[track_caller]
fn on(screen: &Screen, text: &str, keys: &str) {
    screen.wait_for(text, SOON);
    screen.type_keys(keys);
}

/// Chooses from the menu.
#[track_caller]
fn choose(screen: &Screen, letter: &str) {
    on(screen, "What do you want to do?", letter);
}

/// Types a path where one can be.
#[track_caller]
fn type_path(screen: &Screen, at: &str, path: &str) {
    on(screen, at, "p");
    screen.wait_for("> type ", SOON);
    screen.type_keys(path);
    screen.type_keys(key::ENTER);
}

/// A folder with a disk that has a table and a FAT, and its image.
fn saved() -> (TempDir, String, String) {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    fs::write(&disk, junk(6 << 20, 4)).unwrap();
    let partition = ["mklabel", "msdos", "mkpart", "primary", "1MiB", "5MiB"];
    run("parted", &[&["--script", &disk][..], &partition].concat());
    let image = folder.join("disk.img.zst");
    let _ = dacapo(&["save", &disk, &image, "--label", "the studio"]).success();
    (folder, disk, image)
}

/// Goes to the plan of a restore of the only image to a target.
#[track_caller]
fn plan_restore(screen: &Screen, target: &str) {
    choose(screen, "r");
    on(screen, "the studio", key::ENTER);
    type_path(screen, "Which disk is to be overwritten?", target);
}

#[test]
fn a_disk_is_saved_verified_and_restored_with_a_few_keys() {
    if !requires(&["setsid", "parted"]) {
        return;
    }
    let (folder, disk, image) = saved();
    fs::remove_file(&image).unwrap();
    let before = hash_of(&disk);
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "s");
    type_path(screen, "Which disk is to be saved?", &disk);
    type_path(screen, "Where is the image to be kept?", folder.path().to_str().unwrap());
    on(screen, "What do you want to call this image?", "the studio\r");
    let plan = screen.wait_for("> Save it", SOON);
    assert!(plan.contains("6.00 MiB are to be read"), "{plan}");
    screen.type_keys(key::ENTER);
    screen.wait_for("Done. The disk is saved.", SOON);
    screen.wait_for("> Verify the image now", SOON);
    screen.type_keys(key::ENTER);
    screen.wait_for("The image is good.", SOON);
    screen.type_keys(key::ENTER);
    assert_eq!(hash_of(&disk), before, "the source was written to");
    let image = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .find(|name| name.starts_with("the-studio-") && name.ends_with(".img.zst"))
        .unwrap();
    let _ = dacapo(&["verify", &folder.join(&image)]).success();

    // A new file needs no confirmation.
    let target = folder.join("target.raw");
    plan_restore(screen, &target);
    let plan = screen.wait_for("Enter goes on", SOON);
    assert!(plan.contains("will be made") && plan.contains("the studio"), "{plan}");
    screen.type_keys(key::ENTER);
    screen.wait_for("Done. The disk is as it was", SOON);
    assert_same(&disk, &target);
    screen.type_keys(key::ESC);

    choose(screen, "c");
    on(screen, "the studio", key::ENTER);
    type_path(screen, "Which disk is to be compared", &target);
    screen.wait_for("The disk has all that is in the image.", SOON);
    screen.type_keys(key::ESC);

    // The log has all of it.
    choose(screen, "l");
    let log = screen.wait_for("compare:", SOON);
    for part in ["save:", "verify:", "restore:", "Done."] {
        assert!(log.contains(part), "{log}");
    }
    on(screen, "save it to a drive", "s");
    type_path(screen, "Where is the log to be kept?", folder.path().to_str().unwrap());
    screen.wait_for("The log is saved.", SOON);
    screen.type_keys(key::ENTER);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
    let is_log = |name: &str| name.starts_with("dacapo-log-") && name.ends_with(".txt");
    let log = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| is_log(&path.file_name().unwrap().to_string_lossy()))
        .unwrap();
    assert!(fs::read_to_string(log).unwrap().contains("restore:"));
    assert_given_back(&program.screen);
}

#[test]
fn a_disk_is_overwritten_after_its_size_was_typed_only() {
    if !requires(&["root", "loop", "losetup", "setsid", "parted"]) {
        return;
    }
    let (folder, disk, _) = saved();
    let file = folder.join("target.raw");
    fs::write(&file, junk(6 << 20, 9)).unwrap();
    let before = hash_of(&file);
    let device = Loop::new(&file, &[]);
    // 24 rows, as over a serial line.
    let mut program = start(&folder, 24);
    let screen = &program.screen;
    plan_restore(screen, device.device());
    let plan = screen.wait_for("ALL DATA on this disk will be lost", SOON);
    assert!(plan.contains("Nothing is written yet"), "{plan}");
    screen.type_keys(key::ENTER);
    let question = screen.wait_for("type its size", SOON);
    assert!(question.contains("6.00 MiB") && question.contains(device.device()), "{question}");
    for wrong in ["y", "yes", "6291457", device.device()] {
        screen.type_keys(&format!("{wrong}\r"));
        screen.wait_for(&format!("'{wrong}' is not it. Nothing is written."), SOON);
    }
    // Enter alone, and going back, are a no.
    screen.type_keys(key::ENTER);
    screen.type_keys(key::ESC);
    screen.wait_for("Nothing is written yet", SOON);
    assert_eq!(hash_of(&file), before);
    screen.type_keys(key::ENTER);
    on(screen, "type its size", "6.00 MiB\r");
    screen.wait_for("Done. The disk is as it was", SOON);
    assert_same(&disk, &file);
    // What else can be done, each only when it is chosen.
    on(screen, "If it does not start", key::ENTER);
    screen.wait_for("mostly needs nothing more", SOON);
    screen.type_keys(key::ESC);
    on(screen, "The result", key::ESC);
    choose(screen, key::CTRL_C);
    assert_eq!(program.wait(SOON), 0);
    assert_same(&disk, &file);
}

#[test]
fn every_step_of_a_restore_leads_back_to_the_one_before() {
    if !requires(&["setsid", "parted"]) {
        return;
    }
    let (folder, _, _) = saved();
    let target = folder.join("target.raw");
    junk_file(&target, 6 * MIB);
    let before = hash_of(&target);
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    plan_restore(screen, &target);
    on(screen, "Enter goes on", key::ENTER);
    on(screen, "file you mean, type:", "no\r");
    on(screen, "'no' is not it", key::ESC);
    on(screen, "Enter goes on", key::ESC);
    on(screen, "Type the path of a disk", key::ESC);
    on(screen, "Which disk is to be overwritten?", key::ESC);
    on(screen, "choose the image", key::ESC);
    on(screen, "What do you want to do?", key::ESC);
    // Arrows lead to the same places as letters, also the other way round.
    on(screen, "> R  Restore", key::UP);
    on(screen, "> Q  Quit", key::UP);
    on(screen, "> L  Log", key::DOWN);
    on(screen, "> Q  Quit", key::ENTER);
    assert_eq!(program.wait(SOON), 0);
    assert_eq!(hash_of(&target), before);
}

#[test]
fn trouble_is_said_in_a_sentence_and_leads_back() {
    if !requires(&["setsid", "parted"]) {
        return;
    }
    let (folder, _, image) = saved();
    let mut bytes = fs::read(&image).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 64].fill(0x55);
    fs::write(&image, bytes).unwrap();
    let small = folder.join("small.raw");
    junk_file(&small, MIB);
    let before = hash_of(&small);
    let mut program = start(&folder, 25);
    let screen = &program.screen;

    // A target that is too small.
    plan_restore(screen, &small);
    let shown = screen.wait_for("is too small", SOON);
    assert!(shown.contains("What to do: ") && shown.contains("Esc back"), "{shown}");
    screen.type_keys(key::ESC);
    screen.wait_for("Type the path of a disk", SOON);
    // A target that is the image.
    screen.type_keys(key::CTRL_U);
    screen.type_keys(&format!("{image}\r"));
    screen.wait_for("is the image itself", SOON);
    for _ in 0..3 {
        screen.type_keys(key::ESC);
    }

    // An image that is damaged in the middle.
    choose_until_menu(screen);
    choose(screen, "v");
    on(screen, "the studio", key::ENTER);
    let shown = screen.wait_for("The image is damaged", SOON);
    assert!(shown.contains("If there is another copy of this image"), "{shown}");
    screen.type_keys(key::ESC);

    // An image that is not there.
    choose(screen, "v");
    type_path(screen, "choose the image", "/nonexistent/studio.img.zst");
    let shown = screen.wait_for("No such file", SOON);
    assert!(shown.contains("R try again"), "{shown}");
    screen.type_keys(key::ESC);
    choose_until_menu(screen);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
    assert_eq!(hash_of(&small), before);
}

/// Goes back until the menu is there.
#[track_caller]
fn choose_until_menu(screen: &Screen) {
    for _ in 0..6 {
        if screen.shows("What do you want to do?", Duration::from_millis(700)) {
            return;
        }
        screen.type_keys(key::ESC);
    }
    screen.wait_for("What do you want to do?", SOON);
}

/// A server from which an image comes very slowly, once it is told to.
fn slow_server() -> (TempDir, HttpServer) {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    fs::write(&disk, junk(48 << 20, 4)).unwrap();
    let _ = dacapo(&["save", &disk, &folder.join("slow.img.zst"), "--label", "slow"]).success();
    let server = HttpServer::start(folder.path());
    (folder, server)
}

#[test]
fn a_restore_is_stopped_after_a_question_and_leaves_no_disk() {
    if !requires(&["setsid"]) {
        return;
    }
    let (folder, server) = slow_server();
    let target = folder.join("target.raw");
    junk_file(&target, 48 * MIB);
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "r");
    type_path(screen, "choose the image", &server.url("slow.img.zst"));
    type_path(screen, "Which disk is to be overwritten?", &target);
    on(screen, "Enter goes on", key::ENTER);
    screen.wait_for("file you mean, type:", SOON);
    server.manners().delay.store(1500, Ordering::SeqCst);
    screen.type_keys("yes\r");
    screen.wait_for("Restore > running", SOON);
    let shown = screen.wait_for(" MiB of 4", SOON);
    assert!(shown.contains('%') && shown.contains("Esc stop"), "{shown}");
    screen.type_keys(key::CTRL_C);
    on(screen, "Y stops it, N goes on.", "n");
    screen.wait_until_gone("Y stops it", SOON);
    screen.type_keys(key::ESC);
    on(screen, "Y stops it, N goes on.", "y");
    screen.wait_for("Stopped. The disk is not complete.", SOON);
    screen.type_keys(key::ESC);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
    let bytes = fs::read(&target).unwrap();
    assert!(bytes[..MIB as usize].iter().all(|byte| *byte == 0), "half a disk has a beginning");
}

#[test]
fn a_signal_ends_it_and_gives_the_terminal_back() {
    if !requires(&["setsid"]) {
        return;
    }
    let (folder, server) = slow_server();
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "v");
    type_path(screen, "choose the image", &server.url("slow.img.zst"));
    server.manners().delay.store(3000, Ordering::SeqCst);
    screen.wait_for("Verify > running", SOON);
    program.signal(Signal::SIGTERM);
    assert_eq!(program.wait(SOON), 130);
    assert_given_back(&program.screen);
}

/// The terminal shows its main screen and its cursor again.
#[track_caller]
fn assert_given_back(screen: &Screen) {
    let output = screen.output();
    for (on, off) in [("\u{1b}[?1049l", "\u{1b}[?1049h"), ("\u{1b}[?25h", "\u{1b}[?25l")] {
        assert!(output.rfind(on) > output.rfind(off), "{}", screen.dump());
    }
}

#[test]
fn an_interrupted_save_is_offered_to_be_gone_on_with() {
    if !requires(&["setsid"]) {
        return;
    }
    let folder = temp_dir();
    let (disk, images) = (folder.join("disk.raw"), folder.join("images"));
    fs::create_dir(&images).unwrap();
    fs::write(&disk, junk(24 << 20, 8)).unwrap();
    let image = format!("{images}/half.img.zst");
    let _ = dacapo(&["save", &disk, &image, "--label", "half"]).success();
    // What a save leaves that was killed: a head, some chunks, no end.
    let bytes = fs::read(&image).unwrap();
    fs::write(format!("{image}.partial"), &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(&image).unwrap();
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "s");
    type_path(screen, "Which disk is to be saved?", &disk);
    type_path(screen, "Where is the image to be kept?", &images);
    on(screen, "What do you want to call this image?", key::ENTER);
    on(screen, "> Go on with the image of this disk", key::ENTER);
    screen.wait_for("Done. The disk is saved.", SOON);
    screen.type_keys(key::ESC);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
    assert!(!Path::new(&format!("{image}.partial")).exists());
    let _ = dacapo(&["compare", &image, &disk]).success();
}

#[test]
fn a_drive_that_is_too_full_is_said_to_be() {
    if !requires(&["root", "kernel:tmpfs", "setsid"]) {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    fs::write(&disk, junk(8 << 20, 8)).unwrap();
    let full = Mount::new("tmpfs", "tmpfs", "size=2m");
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "s");
    type_path(screen, "Which disk is to be saved?", &disk);
    type_path(screen, "Where is the image to be kept?", full.path().to_str().unwrap());
    on(screen, "What do you want to call this image?", "studio\r");
    screen.wait_for("There may not be enough room", SOON);
    on(screen, "> Save it", key::ENTER);
    let shown = screen.wait_for("There is no room for", SOON);
    assert!(shown.contains("What to do: Free some space"), "{shown}");
    screen.type_keys(key::ESC);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 0);
}

/// A folder with a disc, as the file that stands for one in a drive, and its path.
fn with_disc() -> (TempDir, String) {
    let folder = temp_dir();
    let (tree, disc) = (folder.join("tree"), folder.join("disc.iso"));
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/setup.exe"), junk(1_500_000, 3)).unwrap();
    let _ =
        run("xorriso", &["-as", "mkisofs", "-quiet", "-J", "-V", "SYNTH_2", "-o", &disc, &tree]);
    (folder, disc)
}

/// Goes to what is on the disc at a path, and from there to the last question.
#[track_caller]
fn plan_disc(screen: &Screen, disc: &str, to: &str, about: &str) -> String {
    type_path(screen, "Which disc? It is only read.", disc);
    let shown = screen.wait_for("> Read it to a file", SOON);
    assert!(shown.contains("SYNTH_2") && shown.contains("Joliet"), "{shown}");
    screen.type_keys(key::ENTER);
    type_path(screen, "Where is the disc to be kept?", to);
    on(screen, "by which you find it again", about);
    screen.wait_for("The disc is only read. Nothing is overwritten.", SOON)
}

#[test]
fn a_disc_is_kept_gone_on_with_and_checked_with_a_few_keys() {
    if !requires(&["setsid", "xorriso"]) {
        return;
    }
    let (folder, disc) = with_disc();
    let (out, scratched) = (folder.join("out"), folder.join("scratched.iso"));
    fs::create_dir(&out).unwrap();
    // The same disc, where it cannot be read in the middle of its file.
    fs::copy(&disc, &scratched).unwrap();
    let (len, bad) = (fs::metadata(&disc).unwrap().len(), 500 * 2048);
    let map = format!(
        "0x0 + 1\n0x0 {bad:#x} +\n{bad:#x} 0x1800 -\n{:#x} {:#x} +\n",
        bad + 0x1800,
        len - bad - 0x1800
    );
    fs::write(folder.join("scratched.map"), map).unwrap();
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "i");
    let plan = plan_disc(screen, &scratched, &out, "Synth 2\r12-34\r\r");
    for part in ["SYNTH_2.iso", "SYNTH_2.json", "Title: Synth 2", "Serial: 12-34"] {
        assert!(plan.contains(part), "{part}\n{plan}");
    }
    screen.wait_for("> Read it", SOON);
    screen.type_keys(key::ENTER);
    // A screen comes in pieces, from the top.
    screen.wait_for("3 sectors of the disc could not be read: 500-502", SOON);
    let shown = screen.wait_for("soft cloth", SOON);
    assert!(shown.to_lowercase().contains("setup.exe"), "{shown}");

    // In a drive that can read it, only that is read; and what was typed is kept.
    on(screen, "> Put in the next disc, or this one again", key::ENTER);
    let _ = plan_disc(screen, &disc, &out, "\r\r\r");
    screen.wait_for("> Go on with SYNTH_2.iso: read what is missing", SOON);
    screen.wait_for("Read all of it anew, to SYNTH_2-2.iso", SOON);
    screen.type_keys(key::ENTER);
    screen.wait_for("Done. The disc is stored whole.", SOON);
    assert_same(&disc, format!("{out}/SYNTH_2.iso"));
    let record = fs::read_to_string(format!("{out}/SYNTH_2.json")).unwrap();
    assert!(record.contains("\"Synth 2\"") && record.contains("\"12-34\""), "{record}");

    // Another disc by that name does not take its place.
    on(screen, "> Put in the next disc, or this one again", key::ENTER);
    let plan = plan_disc(screen, &disc, &out, "\r\r\r");
    assert!(plan.contains("SYNTH_2-2.iso"), "{plan}");
    screen.wait_for("> Read it", SOON);
    screen.type_keys(key::ENTER);
    screen.wait_for("Done. The disc is stored whole.", SOON);
    let second = format!("{out}/SYNTH_2-2.iso");
    assert_same(&disc, &second);
    screen.type_keys(key::ESC);

    let check = |screen: &Screen| {
        choose(screen, "i");
        // The list goes round.
        on(screen, "Which disc? It is only read.", key::UP);
        on(screen, "> Check archived discs", key::ENTER);
        type_path(screen, "Where are the archived discs?", &out);
        on(screen, "> Check all 2 discs", key::ENTER);
    };
    check(screen);
    screen.wait_for("All 2 discs are good", SOON);
    screen.type_keys(key::ESC);
    let mut bytes = fs::read(&second).unwrap();
    bytes[900_000] ^= 1;
    fs::write(&second, bytes).unwrap();
    check(screen);
    screen.wait_for("1 of 2 discs is damaged or missing.", SOON);
    let shown = screen.wait_for("its hashes differ", SOON);
    assert!(shown.contains("1 of 2 are good"), "{shown}");
    screen.type_keys(key::ESC);
    choose(screen, "l");
    screen.wait_for("disc: check all 2 discs", SOON);
    screen.wait_for("disc: read", SOON);
    screen.type_keys(key::ESC);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
}

#[test]
fn trouble_with_discs_is_said_and_leads_back() {
    if !requires(&["root", "kernel:tmpfs", "setsid", "xorriso"]) {
        return;
    }
    let (folder, disc) = with_disc();
    let full = Mount::new("tmpfs", "tmpfs", "size=1m");
    let mut program = start(&folder, 25);
    let screen = &program.screen;
    choose(screen, "i");
    // What is no disc, and what is none any more.
    type_path(screen, "Which disc? It is only read.", folder.path().to_str().unwrap());
    screen.wait_for("is a folder", SOON);
    screen.wait_for("R try again", SOON);
    screen.type_keys(key::ESC);
    screen.wait_for("Type the path of a drive", SOON);
    let junk = folder.join("junk.bin");
    junk_file(&junk, MIB);
    screen.type_keys(&format!("{}{junk}\r", key::CTRL_U));
    let shown = screen.wait_for("holds no filesystem of a disc", SOON);
    assert!(!shown.contains("> Read it"), "{shown}");
    screen.type_keys(key::ESC);
    on(screen, "Type the path of a drive", key::ESC);
    // A place without room, from which every step leads back.
    let plan = plan_disc(screen, &disc, full.path().to_str().unwrap(), "\r\r\r");
    assert!(plan.contains("There is not enough room to read all of it."), "{plan}");
    assert!(!plan.contains("> Read it"), "{plan}");
    screen.type_keys(key::ENTER);
    screen.type_keys(key::ESC);
    on(screen, "by which you find it again", key::ESC);
    on(screen, "Type the path of a folder", key::ESC);
    on(screen, "Where is the disc to be kept?", key::ESC);
    on(screen, "> Read it to a file", key::ESC);
    on(screen, "Type the path of a drive", key::ESC);
    on(screen, "Which disc? It is only read.", key::ESC);
    choose(screen, "q");
    assert_eq!(program.wait(SOON), 0);
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 0);
}

#[test]
fn without_a_terminal_there_is_no_screen() {
    let _ = dacapo(&["tui"]).exits(2).says("needs a terminal");
    let _ = dacapo(&["tui", "--json"]).exits(2).says("for people");
}

#[test]
fn the_rescue_system_is_switched_off_by_exit_codes() {
    if !requires(&["setsid"]) {
        return;
    }
    let rescue = |keys: &str| {
        let mut command = dacapo_command(&["tui"]);
        command.env("DACAPO_RESCUE", "1").env("TERM", "vt220").env_remove("LANG");
        let mut program = Program::start_as_serial(&command);
        let shown = program.screen.wait_for("P  Power off", SOON);
        assert!(shown.is_ascii(), "{shown}");
        assert!(shown.lines().nth(23).unwrap().contains("Enter choose"), "{shown}");
        program.screen.type_in_pieces(key::DOWN);
        program.screen.wait_for("> S  Save", SOON);
        assert!(!shown.contains("Quit"), "{shown}");
        program.screen.type_keys(key::CTRL_C);
        program.screen.type_keys(keys);
        program.wait(SOON)
    };
    assert_eq!(rescue("h"), 12);
    assert_eq!(rescue("p\r"), 10);
    assert_eq!(rescue(&format!("p{}\r", key::DOWN)), 11);
}
