// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is imported, as bytes that come front to back: the pieces of a split
//! file one behind the other, unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::compression::Compression;
use super::partimage;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::pipeline::Cancel;
use crate::progress::{Progress, Silent};

/// How much of a file is read at once.
const BUFFER: usize = 1 << 20;

/// A file, or the pieces of one.
#[derive(Debug, Clone)]
pub struct Input {
    name: String,
    pieces: Vec<PathBuf>,
    len: u64,
}

impl Input {
    /// The file `path`; if its name is that of the first of several pieces -
    /// `.aa`, `.000`, `.001` - with all that follow.
    ///
    /// # Errors
    /// Damaged, if a piece is missing; if one is no regular file or cannot be
    /// looked at.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of_pieces(path.display().to_string(), with_followers(path)?)
    }

    /// These files, one behind the other, called `name` in messages.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub fn of_pieces(name: String, pieces: Vec<PathBuf>) -> Result<Self> {
        let mut len = 0_u64;
        for piece in &pieces {
            let shown = piece.display();
            let found = std::fs::metadata(piece).context(|| format!("looking at {shown}"))?;
            if !found.is_file() {
                return Err(Error::usage(format!("{shown} is no file")));
            }
            len = len.saturating_add(found.len());
        }
        Ok(Self { name, pieces, len })
    }

    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files.
    #[must_use]
    pub fn pieces(&self) -> &[PathBuf] {
        &self.pieces
    }

    /// The length of all pieces together.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// True if there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How it is compressed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn compression(&self) -> Result<Compression> {
        Ok(Compression::of(&self.head()?))
    }

    /// Its first bytes, as they are in the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn head(&self) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        Files::new(&self.pieces)
            .take(Compression::HEAD)
            .read_to_end(&mut head)
            .context(|| format!("reading {}", self.name))?;
        Ok(head)
    }

    /// Its bytes, unpacked. What is read of the files is told to `progress`.
    ///
    /// # Errors
    /// If it cannot be read; unsupported, if its compression is.
    pub fn stream<'a>(
        &'a self,
        cancel: &'a Cancel,
        progress: &'a dyn Progress,
    ) -> Result<Stream<'a>> {
        let inner = if self.pieces.len() > 1 && self.is_partimage(cancel)? {
            // Each is compressed alone, and has a head of its own.
            let volumes = (0..self.pieces.len()).map(move |number| {
                let piece = self.pieces.get(number..=number).unwrap_or_default();
                self.decoder(piece, cancel, progress)
            });
            Box::new(partimage::Volumes::new(volumes))
        } else {
            self.decoder(&self.pieces, cancel, progress)?
        };
        // A little of a file may unpack to very much.
        Ok(Stream::new(&self.name, Box::new(Stoppable { inner, cancel })))
    }

    fn is_partimage(&self, cancel: &Cancel) -> Result<bool> {
        let first = self.pieces.get(..1).unwrap_or_default();
        let mut stream = Stream::new(&self.name, self.decoder(first, cancel, &Silent)?);
        Ok(stream.peek(partimage::MAGIC.len())? == partimage::MAGIC)
    }

    /// What unpacks these files, one behind the other.
    fn decoder<'a>(
        &'a self,
        files: &'a [PathBuf],
        cancel: &'a Cancel,
        progress: &'a dyn Progress,
    ) -> Result<Box<dyn Read + 'a>> {
        let files = Watched { inner: Files::new(files), cancel, progress };
        let files = BufReader::with_capacity(BUFFER, files);
        self.compression()?.decoder(files).context(|| self.name.clone())
    }
}

/// The file with this name, and the later pieces of it if the name is that of
/// a first piece.
fn with_followers(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else { return Ok(vec![path.to_owned()]) };
    let folder = path.parent().unwrap_or(Path::new(""));
    let names = pieces_of(name, |name| folder.join(name).is_file())?;
    // As it was given, so that messages have it.
    Ok(names.iter().map(|it| path.with_file_name(it)).collect())
}

/// How many endings behind a missing one are tried: if there is one of them,
/// a piece is missing, and else the file has ended.
const TRIED: usize = 100;

/// The names of all pieces of the file whose first piece has this name, in
/// order; `exists` says which files there are.
///
/// # Errors
/// Damaged, if one in the middle is missing; usage, if it is not the first.
pub(crate) fn pieces_of(name: &str, exists: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut pieces = vec![name.to_owned()];
    let Some((stem, ending)) = name.rsplit_once('.') else { return Ok(pieces) };
    let named = |ending: &str| format!("{stem}.{ending}");
    if let Some(before) = ending_before(ending).map(|it| named(&it)).filter(|it| exists(it)) {
        return Err(Error::usage(format!("{name} is a later piece: in front of it is {before}"))
            .hint("give the first piece of a split file"));
    }
    if !is_first_ending(ending) && !is_first_number(ending) {
        return Ok(pieces);
    }
    let mut endings =
        std::iter::successors(next_ending(ending), |ending| next_ending(ending)).peekable();
    while let Some(next) = endings.next_if(|it| exists(&named(it))) {
        pieces.push(named(&next));
    }
    let Some(missing) = endings.next() else { return Ok(pieces) };
    let later = endings.take(TRIED).filter(|it| !NO_PIECES.contains(&it.as_str()));
    let Some(later) = later.map(|it| named(&it)).find(|it| exists(it)) else { return Ok(pieces) };
    Err(Error::damaged(format!("{} is missing: there is {later} behind it", named(&missing)))
        .hint(format!("look for the missing piece; if {later} is something else, move it away")))
}

/// Endings with a meaning of their own, among those that are tried.
const NO_PIECES: [&str; 5] = ["bz", "aac", "abw", "ace", "bz2"];

/// True for the ending of a first piece: `aa`, `aaa`, `000`.
#[must_use]
pub(crate) fn is_first_ending(ending: &str) -> bool {
    (2..=4).contains(&ending.len())
        && (ending.bytes().all(|b| b == b'a') || ending == "000" || ending == "00")
}

/// True for the ending of a first piece of those who count from one: `001`.
fn is_first_number(ending: &str) -> bool {
    ending == "001" || ending == "01"
}

/// The ending behind this one: `ab` behind `aa`, `ba` behind `az`, `001`
/// behind `000`; none behind the last.
#[must_use]
pub(crate) fn next_ending(ending: &str) -> Option<String> {
    let mut bytes = ending.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        match *byte {
            b'z' => *byte = b'a',
            b'9' => *byte = b'0',
            b'a'..=b'y' | b'0'..=b'8' => {
                *byte = byte.saturating_add(1);
                return String::from_utf8(bytes).ok();
            }
            _ => return None,
        }
    }
    None
}

/// The ending in front of this one, if both are of pieces.
fn ending_before(ending: &str) -> Option<String> {
    let is_one_kind = ending.bytes().all(|b| b.is_ascii_lowercase())
        || ending.bytes().all(|b| b.is_ascii_digit());
    if !(2..=4).contains(&ending.len()) || !is_one_kind {
        return None;
    }
    let mut bytes = ending.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        match *byte {
            b'a' => *byte = b'z',
            b'0' => *byte = b'9',
            _ => {
                *byte = byte.saturating_sub(1);
                return String::from_utf8(bytes).ok();
            }
        }
    }
    None
}

/// Files one behind the other.
struct Files<'a> {
    rest: std::slice::Iter<'a, PathBuf>,
    current: Option<File>,
}

impl<'a> Files<'a> {
    fn new(pieces: &'a [PathBuf]) -> Self {
        Self { rest: pieces.iter(), current: None }
    }
}

impl Read for Files<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                let read = file.read(buf)?;
                if read > 0 || buf.is_empty() {
                    return Ok(read);
                }
            }
            let Some(next) = self.rest.next() else { return Ok(0) };
            self.current = Some(File::open(next)?);
        }
    }
}

/// What is said by [`Watched`] when the job is to stop, and understood by
/// [`Stream`]; decoders hand it through.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Stopped {}

/// A reader that tells how far it is, and stops when asked to.
struct Watched<'a, R> {
    inner: R,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(Stopped));
        }
        let read = self.inner.read(buf)?;
        self.progress.advance(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

/// A reader that stops when asked to.
struct Stoppable<'a, R> {
    inner: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(Stopped));
        }
        self.inner.read(buf)
    }
}

/// Unpacked bytes, front to back, with their position for messages.
pub struct Stream<'a> {
    name: String,
    inner: Box<dyn Read + 'a>,
    /// What was looked at and not yet taken.
    ahead: Vec<u8>,
    position: u64,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).field("at", &self.position).finish()
    }
}

impl<'a> Stream<'a> {
    /// The bytes of `inner`, called `name` in messages.
    pub fn new(name: &str, inner: Box<dyn Read + 'a>) -> Self {
        Self { name: name.to_owned(), inner, ahead: Vec::new(), position: 0 }
    }

    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes were taken.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next `len` bytes, or all that are left if they are fewer, without
    /// taking them.
    ///
    /// # Errors
    /// If they cannot be read; damaged, if they cannot be unpacked.
    pub fn peek(&mut self, len: usize) -> Result<&[u8]> {
        let have = self.ahead.len();
        if have < len {
            let mut more = vec![0; len.saturating_sub(have)];
            let read = self.read_inner(&mut more)?;
            self.ahead.extend_from_slice(more.get(..read).unwrap_or_default());
        }
        Ok(self.ahead.get(..len).unwrap_or(&self.ahead))
    }

    /// Fills as much of `buf` as there are bytes left, and says how much.
    ///
    /// # Errors
    /// As [`Stream::peek`].
    pub fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        let first = self.ahead.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(self.ahead.drain(..first)) {
            *to = from;
        }
        let rest = buf.get_mut(first..).unwrap_or_default();
        let filled = first.saturating_add(self.read_inner(rest)?);
        self.position = self.position.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        Ok(filled)
    }

    /// Fills all of `buf`, which is part of `what`.
    ///
    /// # Errors
    /// Damaged, if there are fewer bytes; and as [`Stream::peek`].
    pub fn exact(&mut self, buf: &mut [u8], what: &str) -> Result<()> {
        let start = self.position;
        if self.fill(buf)? == buf.len() {
            return Ok(());
        }
        Err(self.cut(what, start))
    }

    /// The next `N` bytes, which are part of `what`.
    ///
    /// # Errors
    /// As [`Stream::exact`].
    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.exact(&mut bytes, what)?;
        Ok(bytes)
    }

    /// An error unless all was taken.
    ///
    /// # Errors
    /// Damaged, if there is more; and as [`Stream::peek`].
    pub fn end(&mut self) -> Result<()> {
        if self.peek(1)?.is_empty() {
            return Ok(());
        }
        Err(self.damaged("there is more behind what should be its end"))
    }

    /// An error about what is at the current position.
    #[must_use]
    pub fn damaged(&self, what: &str) -> Error {
        self.damaged_at(self.position, what)
    }

    /// An error about what is at a position.
    #[must_use]
    pub fn damaged_at(&self, position: u64, what: &str) -> Error {
        Error::damaged(format!("{} is damaged: {what}, at byte {position}", self.name))
            .hint("no image was made; look for another copy of what you import")
    }

    fn cut(&self, what: &str, start: u64) -> Error {
        Error::damaged(format!(
            "{} ends at byte {}, inside of {what}, which began at byte {start}",
            self.name, self.position
        ))
        .hint("no image was made; it was cut off: look for a whole copy, or its missing pieces")
    }

    fn read_inner(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0_usize;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error, filled)),
            }
        }
        Ok(filled)
    }

    fn error(&self, error: io::Error, filled: usize) -> Error {
        if error.get_ref().is_some_and(|inner| inner.is::<Stopped>()) {
            return Error::interrupted();
        }
        if error.raw_os_error().is_some() {
            return Error::io(format!("reading {}", self.name), error);
        }
        let position = self
            .position
            .saturating_add(u64::try_from(self.ahead.len().saturating_add(filled)).unwrap_or(0));
        let cut = error.kind() == io::ErrorKind::UnexpectedEof;
        let what = if cut { "the compressed data is cut off".into() } else { error.to_string() };
        let hint = "no image was made; look for another copy of what you import";
        Error::new(
            ErrorKind::Damaged,
            format!("{} is damaged: {what}, behind byte {position} of its content", self.name),
        )
        .hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(bytes: &'static [u8]) -> Stream<'static> {
        Stream::new("test", Box::new(bytes))
    }

    #[test]
    fn endings_follow_each_other_as_split_and_partimage_count() {
        let pairs = [("aa", "ab"), ("az", "ba"), ("aaz", "aba"), ("000", "001"), ("099", "100")];
        for (before, after) in pairs {
            assert_eq!(next_ending(before).as_deref(), Some(after));
        }
        for last in ["zz", "999", "a-", ""] {
            assert_eq!(next_ending(last), None, "{last}");
        }
        for (before, after) in pairs {
            assert_eq!(ending_before(after).as_deref(), Some(before));
        }
        for other in ["aa", "000", "gz2", "a", "abcde"] {
            assert_eq!(ending_before(other), None, "{other}");
        }
        assert!(["aa", "aaa", "000"].into_iter().all(is_first_ending));
        assert!(!["a", "gz", "ab", "001", ""].into_iter().any(is_first_ending));
    }

    #[test]
    fn a_piece_that_is_missing_is_named() {
        let pieces = |name: &str, there: &[&str]| {
            pieces_of(name, |name| there.contains(&name)).map_err(|error| error.to_string())
        };
        for there in [&["x.aa", "x.ab", "x.ac"][..], &["x.001", "x.002"], &["x.aa"], &["x.img"]] {
            let others = ["y.ab", "x.bz", "x.txt"];
            assert_eq!(pieces(there[0], &[there, &others].concat()).unwrap(), there);
        }
        for (there, says) in [
            (&["x.aa", "x.ac"][..], "x.ab is missing: there is x.ac"),
            (&["x.aa", "x.ad", "x.ae"], "x.ab is missing: there is x.ad"),
            (&["x.001", "x.003"], "x.002 is missing: there is x.003"),
            (&["x.000", "x.001", "x.005"], "x.002 is missing: there is x.005"),
            (&["x.ab", "x.aa"], "x.ab is a later piece: in front of it is x.aa"),
            (&["x.001", "x.000"], "in front of it is x.000"),
        ] {
            let error = pieces(there[0], there).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn who_asks_to_stop_is_heard_in_the_middle_of_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        std::fs::write(&path, [7; 1000]).unwrap();
        let (input, cancel) = (Input::open(&path).unwrap(), Cancel::default());
        let mut stream = input.stream(&cancel, &Silent).unwrap();
        assert_eq!(stream.array::<2>("x").unwrap(), [7; 2]);
        cancel.cancel();
        assert_eq!(stream.array::<2>("x").unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn what_was_looked_at_is_taken_later() {
        let mut stream = stream(b"0123456789");
        assert_eq!(stream.peek(4).unwrap(), b"0123");
        assert_eq!(stream.array::<2>("x").unwrap(), *b"01");
        assert_eq!(stream.peek(4).unwrap(), b"2345");
        assert_eq!(stream.peek(1).unwrap(), b"2");
        assert_eq!(stream.array::<7>("x").unwrap(), *b"2345678");
        assert!(stream.end().unwrap_err().to_string().contains("at byte 9"));
        assert_eq!(stream.peek(10).unwrap(), b"9");
        let error = stream.array::<2>("the tail").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("ends at byte 10, inside of the tail"), "{error}");
        stream.end().unwrap();
    }
}
