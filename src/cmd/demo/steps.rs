// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of the demonstration.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::device::{Source, Target};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::Reader;
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::Silent;
use crate::restore::{self, FreeSpace, Indexed, TargetFacts};
use crate::save;
use crate::store::Partial;
use crate::units::{MIB, human};
use crate::verify;

use super::super::bars;
use super::super::output::Output;
use super::super::terminal::{TITLE, Terminal, wrap};
use super::super::text::ratio;
use super::folder::Folder;

/// The disk, compressed by the zstd program: made by scripts/make-images/demo.
static DISK: &[u8] = include_bytes!("../../../images/demo.img.zst");
/// Files are compared in pieces of this size.
const PIECE: u64 = MIB;

/// The demonstration.
#[derive(Debug)]
pub(super) struct Demo<'a> {
    folder: &'a Folder,
    output: &'a Output,
    cancel: &'a Cancel,
    terminal: Terminal,
    step: Cell<u32>,
}

/// What a comparison of the restored disk has found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// The bytes in use, all of them the same.
    pub(super) same: u64,
    /// The unused bytes that still are the target's junk.
    pub(super) left_alone: u64,
}

impl<'a> Demo<'a> {
    pub(super) fn new(folder: &'a Folder, output: &'a Output, cancel: &'a Cancel) -> Self {
        Self { folder, output, cancel, terminal: Terminal::of_stdout(), step: Cell::new(0) }
    }

    /// Begins a step with what it is about.
    fn begin(&self, title: &str, text: &str) -> Result<()> {
        self.cancel.check()?;
        self.step.set(self.step.get() + 1);
        if self.step.get() > 1 {
            self.output.info("");
        }
        self.output.info(&format!("{TITLE}{}. {title}{TITLE:#}", self.step.get()));
        self.say(text);
        Ok(())
    }

    fn say(&self, text: &str) {
        for (n, line) in wrap(text, self.terminal.width, 3).iter().enumerate() {
            self.output.info(&format!("{}{line}", if n == 0 { "   " } else { "" }));
        }
    }

    /// Writes the disk that comes with the program to a file.
    pub(super) fn unpack(&self) -> Result<Source> {
        self.begin(
            "A disk",
            "A small disk that comes with the program: a partition table, three filesystems and \
             swap, with files in them and junk everywhere else.",
        )?;
        let path = self.folder.disk();
        let doing = || format!("unpacking the disk to {}", path.display());
        let file = File::create_new(&path).context(doing)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        zstd::stream::copy_decode(DISK, &mut out).and_then(|()| out.flush()).context(doing)?;
        Source::open(&path)
    }

    /// Saves it, and checks that this has not changed it.
    pub(super) fn save(&self, disk: &Source) -> Result<Reader<Source>> {
        self.begin("Save", "Only what is proven to be free is left out. This is 'dacapo save'.")?;
        let before = hash(disk, self.cancel)?;
        let options = save::Options {
            label: Some("demonstration".into()),
            command: std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect(),
            ..save::Options::default()
        };
        let plan = save::Plan::new(disk, disk.identity(), &options)?;
        let narrower = Terminal { width: self.terminal.width - 1, ..self.terminal };
        for line in bars::lines(plan.layout(), &narrower) {
            self.output.info(&format!(" {line}"));
        }
        let path = self.folder.image();
        let out = BufWriter::with_capacity(64 << 10, Partial::create(&path)?);
        let writer = save::start(&plan, out)?;
        let (out, saved) = save::run(&plan, disk, writer, false, self.cancel, &Silent)?;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .context(|| "writing the image".into())?
            .commit()?;
        save::check_losses(&saved.losses)?;
        if hash(disk, self.cancel)? != before {
            return Err(Error::damaged("saving has changed the disk"));
        }
        self.say(&format!(
            "{} of {} are in use and take {} in the image. The disk was not changed.",
            human(saved.used),
            human(disk.len()),
            human(saved.written.len)
        ));
        Reader::open(Source::open(&path)?)
    }

    /// Tells how to look into an image.
    pub(super) fn show(&self, image: &Reader<Source>) {
        let head = image.head();
        self.say(&format!(
            "The image knows its disk ({}, {}), and 'dacapo info' shows it; 'dacapo map' lists \
             the {} ranges that are in use.",
            head.about.layout.table.as_ref().map_or("no table", |table| &table.kind),
            human(head.disk_len),
            head.used.count()
        ));
    }

    /// Decodes and hashes everything in the image.
    pub(super) fn verify(&self, image: &Reader<Source>) -> Result<()> {
        self.begin("Verify", "Every piece is unpacked and checked. This is 'dacapo verify'.")?;
        if let Some(damage) = image.index_damage() {
            return Err(Error::damaged(damage));
        }
        let verified = verify::run(&Indexed::new(image), self.cancel, &Silent)?;
        self.say(&format!("{} pieces are good.", verified.pieces));
        Ok(())
    }

    /// Restores it over junk.
    pub(super) fn restore(&self, image: &Reader<Source>) -> Result<restore::Plan> {
        self.begin(
            "Restore",
            "Another disk of the same size, full of junk, is overwritten; unused ranges are left \
             as they are. What was written is read back and compared. This is 'dacapo restore \
             --free leave'.",
        )?;
        let path = self.folder.restored();
        let len = image.head().disk_len;
        self.fill_with_junk(len)?;
        let facts = TargetFacts {
            name: path.display().to_string(),
            len,
            sector_size: image.sector_size(),
            is_device: false,
            is_new: false,
            can_discard: true,
        };
        let options = restore::Options { free: FreeSpace::Leave, ..restore::Options::default() };
        let plan =
            restore::Plan::new(image.head(), Some((image, image.entries())), &facts, &options)?;
        let target = Target::open(&path, None)?;
        let feed = Indexed::new(image);
        let restored = restore::run(&plan, &feed, &target, &options, self.cancel, &Silent)?;
        restore::check_losses(&restored.losses, options.fill)?;
        self.say(&format!("{} were written, the first MiB last.", human(restored.written)));
        Ok(plan)
    }

    fn fill_with_junk(&self, len: u64) -> Result<()> {
        let path = self.folder.restored();
        let doing = || format!("filling {} with junk", path.display());
        let file = File::create_new(&path).context(doing)?;
        let mut buffer = Vec::new();
        for piece in Extent::new(0, len).pieces(PIECE) {
            self.cancel.check()?;
            junk(piece, &mut buffer);
            file.write_all_at(&buffer, piece.start()).context(doing)?;
        }
        Ok(())
    }

    /// Compares the restored disk with the first one: what is in use must be
    /// the same, and what is not must still be junk.
    pub(super) fn compare(
        &self,
        disk: &Source,
        image: &Reader<Source>,
        plan: &restore::Plan,
    ) -> Result<Found> {
        self.begin(
            "Compare",
            "Both disks, byte by byte: what is in use has to be the same, and the rest has to be \
             the junk that was there before.",
        )?;
        let restored = Source::open(self.folder.restored())?;
        let used = &image.head().used;
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        let mut result = Found::default();
        for extent in used.iter().flat_map(|extent| extent.pieces(PIECE)) {
            self.cancel.check()?;
            read(disk, extent, &mut wanted)?;
            read(&restored, extent, &mut found)?;
            if wanted != found {
                return Err(differs(format!("the restored disk differs at {extent}")));
            }
            result.same += extent.len();
        }
        let unused = used.complement(disk.len()).subtract(&plan.wiped);
        for extent in unused.iter().flat_map(|extent| extent.pieces(PIECE)) {
            self.cancel.check()?;
            junk(extent, &mut wanted);
            read(&restored, extent, &mut found)?;
            if wanted != found {
                return Err(differs(format!("unused bytes were written at {extent}")));
            }
            result.left_alone += extent.len();
        }
        // What proves nothing must not look like a proof.
        if result.same == 0 || result.left_alone == 0 {
            return Err(Error::failed("there was nothing to compare"));
        }
        self.say(&format!(
            "{} in use are the same ({} of the disk), and {} that nothing needs are still junk.",
            human(result.same),
            ratio(result.same, disk.len()),
            human(result.left_alone)
        ));
        Ok(result)
    }

    /// Reads the image with the zstd program, if this machine has it. False
    /// if it has not.
    pub(super) fn plain_zstd(&self, disk: &Source, image: &Reader<Source>) -> Result<bool> {
        self.begin(
            "Without dacapo",
            "An image is an ordinary .zst file: 'zstd -dc disk.img.zst' gives the disk, with \
             zeros where it was unused.",
        )?;
        let path = self.folder.image();
        let test = Command::new("zstd").args(["-t", "-q"]).arg(&path).output();
        match test {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.say("There is no zstd on this machine: skipped.");
                return Ok(false);
            }
            Err(error) => return Err(Error::io("starting zstd", error)),
            Ok(done) if !done.status.success() => {
                let text = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                return Err(differs(format!("'zstd -t' refuses the image: {text}")));
            }
            Ok(_) => {}
        }
        self.compare_with_zstd(path, disk, image)?;
        self.say("'zstd -t' finds no fault, and 'zstd -dc' gives that disk.");
        Ok(true)
    }

    fn compare_with_zstd(
        &self,
        path: PathBuf,
        disk: &Source,
        image: &Reader<Source>,
    ) -> Result<()> {
        let mut program = Command::new("zstd")
            .arg("-dcq")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "starting zstd".into())?;
        let stdout = program.stdout.take();
        let compared = stdout
            .ok_or_else(|| Error::failed("starting zstd"))
            .and_then(|mut stdout| self.compare_stream(&mut stdout, disk, image));
        // Its output is closed by now, so it ends, whatever was found.
        let status = program.wait().context(|| "waiting for zstd".into())?;
        compared?;
        if status.success() {
            return Ok(());
        }
        Err(differs(format!("'zstd -dc' failed: {status}")))
    }

    fn compare_stream(
        &self,
        stream: &mut dyn Read,
        disk: &Source,
        image: &Reader<Source>,
    ) -> Result<()> {
        let doing = || "reading what zstd gives".to_owned();
        let used = &image.head().used;
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        for piece in Extent::new(0, disk.len()).pieces(PIECE) {
            self.cancel.check()?;
            read(disk, piece, &mut wanted)?;
            for unused in used.holes_within(piece) {
                wanted[save::range(piece.start(), unused)].fill(0);
            }
            found.clear();
            (&mut *stream).take(piece.len()).read_to_end(&mut found).context(doing)?;
            if wanted != found {
                return Err(differs(format!("what 'zstd -dc' gives differs at {piece}")));
            }
        }
        if stream.read(&mut [0]).context(doing)? != 0 {
            return Err(differs("'zstd -dc' gives more than the disk".into()));
        }
        Ok(())
    }
}

fn differs(what: String) -> Error {
    Error::damaged(what).hint("--keep FOLDER keeps the files to be looked at; please report this")
}

/// The bytes of a range, into `buffer`.
fn read(disk: &Source, extent: Extent, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.resize(extent.len() as usize, 0);
    disk.read_at(extent.start(), buffer)
}

fn hash(disk: &Source, cancel: &Cancel) -> Result<blake3::Hash> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), Vec::new());
    for piece in Extent::new(0, disk.len()).pieces(PIECE) {
        cancel.check()?;
        read(disk, piece, &mut buffer)?;
        hasher.update(&buffer);
    }
    Ok(hasher.finalize())
}

/// Junk that depends on its place alone, so that it can be known again.
fn junk(extent: Extent, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend((extent.start()..extent.end()).map(|at| {
        // The top byte of a product with an odd constant mixes well enough;
        // a byte that is never zero is never taken for unused.
        ((at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_known_again_and_never_zero() {
        let (mut whole, mut part) = (Vec::new(), Vec::new());
        junk(Extent::new(0, 100_000), &mut whole);
        junk(Extent::new(777, 5000), &mut part);
        assert_eq!(whole[777..5000], part[..]);
        assert!(whole.iter().all(|byte| *byte != 0));
        let values: std::collections::BTreeSet<u8> = whole.iter().copied().collect();
        assert!(values.len() > 100);
    }

    #[test]
    fn the_disk_in_the_program_is_small() {
        assert!(DISK.len() < 300 << 10, "{}", DISK.len());
    }
}
