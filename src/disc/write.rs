// SPDX-License-Identifier: MIT OR Apache-2.0
//! An archived disc back onto a disc: burnt by xorriso or cdrskin, read back
//! by this program.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::contents::Contents;
use super::digest::{self, Digests, PIECE};
use super::drive::{self, Drive};
use super::{missing, record};
use crate::device::{RAW_SECTOR, Source};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// The programs that burn discs, the better one first: what to call, and the
/// arguments that make them speak as cdrecord does.
const PROGRAMS: [(&str, &[&str]); 2] = [("xorriso", &["-as", "cdrecord"]), ("cdrskin", &[])];
/// How much of what a program says is kept for messages.
const MOST_SAID: u64 = 64 << 10;

/// What to do with an image that has rotted.
const ANOTHER: &str = "nothing was written; take another copy of the image, or read the disc again";

/// A program that burns discs.
#[derive(Debug, Clone)]
pub struct Burner {
    program: PathBuf,
    arguments: &'static [&'static str],
}

impl Burner {
    /// The best that is installed.
    ///
    /// # Errors
    /// Unsupported if there is none, with what to install.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        for (name, arguments) in PROGRAMS {
            let all = std::env::split_paths(&path).map(|folder| folder.join(name));
            if let Some(program) = all.into_iter().find(|it| it.is_file()) {
                return Ok(Self { program, arguments });
            }
        }
        Err(Error::unsupported("neither xorriso nor cdrskin is installed, which burn discs")
            .hint("each is a package of that name; any other burning program takes the .iso, too"))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// An archived disc that can be written to a disc.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    source: Source,
    /// The hashes that it had when it was read.
    digests: Option<Digests>,
    /// Sectors that were missing when it was read.
    pub missing_sectors: u64,
    /// How films on it are encrypted.
    pub protection: Option<String>,
}

impl Image {
    /// Opens the file of a disc.
    ///
    /// # Errors
    /// Refused if it is no disc; unsupported if it is one of raw sectors.
    pub fn open(path: &Path) -> Result<Self> {
        let file = drive::open(path)?;
        let contents = Contents::of(&*file);
        let record = record::beside(path)?;
        if record.as_ref().is_some_and(|it| it.sector_size as usize == RAW_SECTOR) {
            return Err(Error::unsupported("discs of raw sectors are not written by dacapo")
                .hint("cdrdao and others write them by their cue sheet"));
        }
        contents.check_plain()?;
        if contents.is_in_drive {
            return Err(Error::usage("IMAGE is a drive, and has to be a file")
                .hint("read the disc to a file first"));
        }
        let source = Source::open(path)?;
        let lacks = missing::of(path, source.len(), record.as_ref())?;
        let missing_sectors = missing::count(&lacks, record.as_ref());
        if let Some(record) = &record
            && record.bytes != source.len()
        {
            let (shown, len) = (path.display(), source.len());
            return Err(Error::damaged(format!(
                "{shown} has {len} bytes, and had {} when the disc was read",
                record.bytes
            ))
            .hint(ANOTHER));
        }
        let digests = record.map(|record| record.digests);
        let protection = contents.encryption().map(str::to_owned);
        Ok(Self { path: path.to_owned(), source, digests, missing_sectors, protection })
    }

    /// Checks that it is what it was when the disc was read, if that is known.
    ///
    /// # Errors
    /// Damaged if it is not; if it cannot be read.
    pub fn check_content(&self, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        let Some(digests) = &self.digests else { return Ok(()) };
        progress.stage("checking", self.len());
        if digest::hash_all(&self.source, cancel, progress)? == *digests {
            return Ok(());
        }
        let text = "is not what was read: its hashes differ from those of its record";
        Err(Error::damaged(format!("{} {text}", self.path.display())).hint(ANOTHER))
    }

    /// Refuses to write to the image itself or to anything that is archived.
    ///
    /// # Errors
    /// Refused, with what the target is.
    pub fn check_target(&self, target: &Path) -> Result<()> {
        let shown = target.display();
        let id = |it: &Path| it.metadata().map(|it| (it.dev(), it.ino())).ok();
        let Some(found) = id(target) else { return Ok(()) };
        let image = record::followed(&self.path);
        for own in [record::path_of(&image), record::map_of(&image), image] {
            if id(&own) == Some(found) {
                return Err(Error::refused(format!("{shown} is {} itself", own.display()))
                    .hint("name the drive, or another file that stands for one"));
            }
        }
        let has_map = record::map_of(&record::followed(target)).exists();
        if has_map || !matches!(record::beside(target), Ok(None)) {
            return Err(Error::refused(format!("{shown} is an archived disc"))
                .hint("an archived disc is never overwritten: name the drive, or another file"));
        }
        Ok(())
    }

    /// Its length.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// True if there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Burns an image. Once it has begun it is not stopped: half a disc is none.
///
/// # Errors
/// What the program says, if it fails.
pub fn burn(
    burner: &Burner,
    image: &Image,
    target: &Path,
    is_drive: bool,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    cancel.check()?;
    let name = burner.name();
    // Neither name must be taken for an option.
    let what = || "finding the current folder".to_owned();
    let absolute = |path: &Path| std::path::absolute(path).context(what);
    let mut device = std::ffi::OsString::from(if is_drive { "dev=" } else { "dev=stdio:" });
    device.push(absolute(target)?);
    progress.stage("burning", image.len());
    let mut command = Command::new(&burner.program);
    command
        .args(burner.arguments)
        .args(["-v", "padsize=0", "blank=as_needed"])
        .arg(device)
        .arg(absolute(&image.path)?)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    {
        // Ctrl-C at the terminal is not for it.
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
    }
    cancel.finish();
    let mut child = command.spawn().context(|| format!("starting {name}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, said) = thread::scope(|scope| {
        let quiet = scope.spawn(move || drop(said(stdout, &|_| {})));
        let loud = scope
            .spawn(move || said(stderr, &|line| progress.note(&Event::Position(line.to_owned()))));
        let status = child.wait();
        let _ = quiet.join();
        (status, loud.join().unwrap_or_default())
    });
    if status.context(|| format!("waiting for {name}"))?.success() {
        progress.advance(image.len());
        return Ok(());
    }
    let wrong: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| ["FATAL", "FAILURE", "SORRY"].iter().any(|word| line.contains(word)))
        .collect();
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let text = if wrong.is_empty() { last.unwrap_or("no reason").into() } else { wrong.join("; ") };
    Err(Error::failed(format!("{name} has failed: {text}"))
        .hint("a disc that was begun may be lost; take another one"))
}

/// What a program says, the end of it; each line is told. Lines end in a
/// carriage return where one is written over another.
fn said(stream: Option<impl Read>, tell: &dyn Fn(&str)) -> String {
    let mut said = String::new();
    let Some(stream) = stream else { return said };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.by_ref().take(MOST_SAID).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        for part in String::from_utf8_lossy(&line).split(['\r', '\n']) {
            if !part.trim().is_empty() {
                tell(part.trim());
                said.push_str(part);
                said.push('\n');
            }
        }
        if said.len() as u64 > MOST_SAID {
            let from = said.ceil_char_boundary(said.len() - (MOST_SAID / 2) as usize);
            said.drain(..from);
        }
        line.clear();
    }
    said
}

/// Compares a disc with the image that was written to it.
///
/// # Errors
/// Damaged where they differ or the disc cannot be read.
pub fn compare(
    image: &Image,
    disc: &dyn Drive,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    progress.stage("verifying", image.len());
    let hint = "throw this disc away, and write another one, perhaps more slowly";
    if disc.len() < image.len() {
        return Err(Error::damaged(format!(
            "the disc has {} bytes, and the image {}",
            disc.len(),
            image.len()
        ))
        .hint(hint));
    }
    let (mut wanted, mut found) = (vec![0; PIECE as usize], vec![0; PIECE as usize]);
    for piece in Extent::new(0, image.len()).pieces(PIECE) {
        cancel.check()?;
        let len = piece.len() as usize;
        image.source.read_at(piece.start(), &mut wanted[..len])?;
        match disc.read_at(piece.start(), &mut found[..len]) {
            Ok(()) => {}
            Err(error) if error.is_media_error() => {
                let text = format!("the disc cannot be read back: {error}");
                return Err(Error::damaged(text).hint(hint));
            }
            Err(error) => return Err(error),
        }
        let differs = wanted[..len].iter().zip(&found[..len]).position(|(one, two)| one != two);
        if let Some(place) = differs {
            let sector = (piece.start() + place as u64) / super::volume::SECTOR;
            return Err(Error::damaged(format!(
                "the disc differs from the image in sector {sector}"
            ))
            .hint(hint));
        }
        progress.advance(piece.len());
    }
    Ok(())
}
