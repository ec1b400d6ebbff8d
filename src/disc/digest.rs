// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three hashes of a disc, made while it is read: BLAKE3 and SHA-256 to
//! rely on, MD5 because that is what archives list. Each has its own thread.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, bounded};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::units::MIB;

/// How much is read and hashed at once.
pub(super) const PIECE: u64 = MIB;
/// Pieces that may wait for a hash that is slower than the drive.
const WAITING: usize = 8;

/// The hashes of a disc, as hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// BLAKE3.
    pub blake3: String,
    /// SHA-256.
    pub sha256: String,
    /// MD5.
    pub md5: String,
}

/// Takes the bytes of a disc front to back.
#[derive(Debug)]
pub struct Feed {
    hashes: [Sender<Arc<Vec<u8>>>; 3],
}

impl Feed {
    /// The next bytes.
    ///
    /// # Errors
    /// If a hash has stopped, which none does.
    pub fn bytes(&self, bytes: Vec<u8>) -> Result<()> {
        let bytes = Arc::new(bytes);
        for hash in &self.hashes {
            let sent = hash.send(Arc::clone(&bytes));
            sent.map_err(|_| Error::failed("a thread that makes a hash has ended"))?;
        }
        Ok(())
    }
}

/// Hashes all that `work` feeds.
///
/// # Errors
/// Those of `work`.
pub fn hash<T>(work: impl FnOnce(&Feed) -> Result<T>) -> Result<(T, Digests)> {
    thread::scope(|scope| {
        let (blake_sender, blake_bytes) = bounded::<Arc<Vec<u8>>>(WAITING);
        let (sha_sender, sha_bytes) = bounded::<Arc<Vec<u8>>>(WAITING);
        let (md5_sender, md5_bytes) = bounded::<Arc<Vec<u8>>>(WAITING);
        let blake = scope.spawn(move || {
            let mut hash = blake3::Hasher::new();
            blake_bytes.iter().for_each(|bytes| {
                hash.update(&bytes);
            });
            hash.finalize().to_hex().to_string()
        });
        let sha = scope.spawn(move || {
            let mut hash = Sha256::new();
            sha_bytes.iter().for_each(|bytes| hash.update(bytes.as_slice()));
            hex(&hash.finalize())
        });
        let md5 = scope.spawn(move || {
            let mut hash = Md5::new();
            md5_bytes.iter().for_each(|bytes| hash.update(bytes.as_slice()));
            hex(&hash.finalize())
        });
        let feed = Feed { hashes: [blake_sender, sha_sender, md5_sender] };
        let done = work(&feed);
        drop(feed);
        let ended = |_| Error::failed("a thread that makes a hash has ended");
        let digests = Digests {
            blake3: blake.join().map_err(ended)?,
            sha256: sha.join().map_err(ended)?,
            md5: md5.join().map_err(ended)?,
        };
        Ok((done?, digests))
    })
}

/// Hashes all of a reader.
///
/// # Errors
/// If it cannot be read.
pub fn hash_all(reader: &dyn ReadAt, cancel: &Cancel, progress: &dyn Progress) -> Result<Digests> {
    let ((), digests) = hash(|feed| {
        let mut position = 0;
        while position < reader.len() {
            cancel.check()?;
            let len = PIECE.min(reader.len() - position);
            // At most PIECE.
            let mut bytes = vec![0; len as usize];
            reader.read_at(position, &mut bytes)?;
            feed.bytes(bytes)?;
            progress.advance(len);
            position += len;
        }
        Ok(())
    })?;
    Ok(digests)
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;
    use crate::progress::Silent;

    #[test]
    fn the_hashes_are_those_of_everybody() {
        // RFC 1321, FIPS 180-2 and the test vectors of BLAKE3.
        let ((), abc) = hash(|feed| {
            feed.bytes(b"a".to_vec())?;
            feed.bytes(b"bc".to_vec())
        })
        .unwrap();
        assert_eq!(abc.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(abc.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(abc.blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        let large = Memory::new((0..3 * PIECE + 5).map(|n| (n % 251) as u8).collect());
        let all = hash_all(&large, &Cancel::default(), &Silent).unwrap();
        let ((), same) = hash(|feed| feed.bytes(large.into_bytes())).unwrap();
        assert_eq!(all, same);
    }

    #[test]
    fn an_error_of_the_reader_is_that_of_the_hash() {
        let error = hash(|_| Err::<(), _>(Error::failed("unplugged"))).unwrap_err();
        assert_eq!(error.to_string(), "unplugged");
    }
}
