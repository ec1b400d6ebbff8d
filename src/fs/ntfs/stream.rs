// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading the content of an attribute.

use super::boot_sector::BootSector;
use super::record::{Attribute, Form};
use super::run_list::Run;
use crate::error::Context;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The most runs that are kept of one stream: 24 MiB of them. Only the streams
/// that this driver itself reads are kept, and none of them is that fragmented.
const MAX_RUNS: usize = 1 << 20;

/// The content of an attribute, all parts of it together.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    what: &'static str,
    position: u64,
    /// Compressed, encrypted, sparse.
    pub(super) flags: u16,
    /// The size.
    pub(super) bytes: u64,
    /// What is behind reads as zeros, whatever is in the clusters.
    pub(super) initialized_bytes: u64,
    /// The logarithm of the clusters that are compressed together.
    unit_shift: u8,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Resident(Vec<u8>),
    /// The runs, each with the first cluster of the stream that it holds, and
    /// the number of clusters in all.
    Clusters(Vec<(u64, Run)>, u64),
}

impl Stream {
    /// The stream that an attribute starts. `what` it is, for messages.
    pub(super) fn new(
        what: &'static str,
        boot: &BootSector,
        attribute: &Attribute,
    ) -> Result<Self, FormatError> {
        let mut stream = Self {
            what,
            position: attribute.position,
            flags: attribute.flags,
            bytes: 0,
            initialized_bytes: 0,
            unit_shift: 0,
            content: Content::Clusters(Vec::new(), 0),
        };
        match attribute.form {
            Form::Resident(value) => {
                stream.bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
                stream.initialized_bytes = stream.bytes;
                stream.content = Content::Resident(value.to_vec());
            }
            Form::Clusters(mapping) => {
                stream.bytes = mapping.data_bytes;
                stream.initialized_bytes = mapping.initialized_bytes;
                stream.unit_shift = mapping.unit_shift;
                stream.append(boot, attribute)?;
            }
        }
        Ok(stream)
    }

    /// Adds the next part.
    pub(super) fn append(
        &mut self,
        boot: &BootSector,
        attribute: &Attribute,
    ) -> Result<(), FormatError> {
        let (Content::Clusters(runs, clusters), Form::Clusters(mapping)) =
            (&mut self.content, attribute.form)
        else {
            return Err(FormatError::corrupt(
                self.what,
                attribute.position,
                "all parts in clusters",
                "one that is not",
            ));
        };
        if mapping.first != *clusters {
            return Err(FormatError::corrupt(
                self.what,
                attribute.position,
                format!("the part from cluster {clusters} on"),
                mapping.first,
            ));
        }
        let mut list = attribute.runs(&mapping, boot.clusters);
        while let Some(run) = list.next()? {
            if runs.len() >= MAX_RUNS {
                return Err(FormatError::unsupported(format!(
                    "the {} is in more than {MAX_RUNS} pieces",
                    self.what
                )));
            }
            runs.push((*clusters, run));
            *clusters = clusters.saturating_add(run.count);
        }
        if *clusters != mapping.end {
            return Err(FormatError::corrupt(
                self.what,
                attribute.position,
                format!("runs up to cluster {}", mapping.end),
                *clusters,
            ));
        }
        Ok(())
    }

    /// An error unless the stream is complete and plain: neither compressed nor
    /// encrypted nor sparse, and written to its end.
    pub(super) fn check_plain(&self, boot: &BootSector) -> Result<(), FormatError> {
        if self.flags != 0 {
            return Err(FormatError::unsupported(format!(
                "the {} has the flags {:#06x}",
                self.what, self.flags
            )));
        }
        if let Content::Clusters(runs, _) = &self.content
            && runs.iter().any(|(_, run)| run.cluster.is_none())
        {
            return Err(self.corrupt("no holes", "one"));
        }
        self.check_complete(boot)
    }

    /// An error unless all of the stream's bytes have clusters or holes.
    pub(super) fn check_complete(&self, boot: &BootSector) -> Result<(), FormatError> {
        if let Content::Clusters(_, clusters) = &self.content
            && clusters.saturating_mul(boot.cluster_bytes) < self.bytes
        {
            return Err(self.corrupt(format!("runs for {} bytes", self.bytes), *clusters));
        }
        Ok(())
    }

    pub(super) fn corrupt(&self, expected: impl ToString, found: impl ToString) -> FormatError {
        FormatError::corrupt(self.what, self.position, expected, found)
    }

    /// Fills `buf` with the bytes at `offset`.
    pub(super) fn read(
        &self,
        volume: &dyn ReadAt,
        boot: &BootSector,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), FormatError> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > self.bytes) {
            return Err(self.corrupt(format!("{len} bytes at {offset:#x}"), self.bytes));
        }
        let written = self.initialized_bytes.saturating_sub(offset).min(len);
        let written = usize::try_from(written).unwrap_or(buf.len());
        let (buf, unwritten) = buf.split_at_mut_checked(written).unwrap_or_default();
        unwritten.fill(0);
        match &self.content {
            Content::Resident(value) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let value = value.get(start..).and_then(|rest| rest.get(..buf.len()));
                buf.copy_from_slice(value.ok_or_else(|| self.corrupt("a value", "less"))?);
                Ok(())
            }
            Content::Clusters(runs, _) => self.read_runs(volume, boot, runs, offset, buf),
        }
    }

    /// Fills `buf` with what the clusters hold from `offset` on, whatever the
    /// size of the stream is.
    pub(super) fn read_clusters(
        &self,
        volume: &dyn ReadAt,
        boot: &BootSector,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), FormatError> {
        self.read_runs(volume, boot, self.runs(), offset, buf)
    }

    /// The runs, each with the first cluster of the stream that it holds; none
    /// if the content is in the record.
    pub(super) fn runs(&self) -> &[(u64, Run)] {
        match &self.content {
            Content::Resident(_) => &[],
            Content::Clusters(runs, _) => runs,
        }
    }

    pub(super) const fn is_resident(&self) -> bool {
        matches!(self.content, Content::Resident(_))
    }

    /// How many clusters are compressed together; 1 if none are.
    pub(super) fn unit_clusters(&self) -> Result<u64, FormatError> {
        // The lower byte is the method, of which there is one.
        match self.flags & 0x00ff {
            0 => return Ok(1),
            1 if self.is_resident() => return Ok(1),
            1 => {}
            other => {
                let what = format!("the {} is compressed by method {other}", self.what);
                return Err(FormatError::unsupported(what));
            }
        }
        // Windows knows units of 16 clusters only.
        match self.unit_shift {
            shift @ 0..=4 => Ok(1_u64.wrapping_shl(shift.into())),
            shift => Err(self.corrupt("a compression unit of up to 16 clusters", shift)),
        }
    }

    fn read_runs(
        &self,
        volume: &dyn ReadAt,
        boot: &BootSector,
        runs: &[(u64, Run)],
        mut offset: u64,
        mut buf: &mut [u8],
    ) -> Result<(), FormatError> {
        let cluster = offset.checked_div(boot.cluster_bytes).unwrap_or(0);
        let from = runs.partition_point(|(first, _)| *first <= cluster).saturating_sub(1);
        for (first, run) in runs.get(from..).unwrap_or_default() {
            if buf.is_empty() {
                return Ok(());
            }
            let start = first.saturating_mul(boot.cluster_bytes);
            let skip = offset.saturating_sub(start);
            let left = run.count.saturating_mul(boot.cluster_bytes).saturating_sub(skip);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut_checked(len).unwrap_or_default();
            match run.cluster {
                None => part.fill(0),
                Some(cluster) => {
                    let place = boot.extent(cluster, 0).start().saturating_add(skip);
                    volume
                        .read_at(place, part)
                        .context(|| format!("reading the {} at byte {place:#x}", self.what))?;
                }
            }
            offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            buf = rest;
        }
        if buf.is_empty() { Ok(()) } else { Err(self.corrupt("a run for each cluster", "none")) }
    }

    /// All of it, if it is not longer than `most`.
    pub(super) fn read_all(
        &self,
        volume: &dyn ReadAt,
        boot: &BootSector,
        most: u64,
    ) -> Result<Vec<u8>, FormatError> {
        if self.bytes > most {
            return Err(self.corrupt(format!("at most {most} bytes"), self.bytes));
        }
        let mut bytes = vec![0; usize::try_from(self.bytes).unwrap_or(0)];
        self.read(volume, boot, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Where a byte of the stream is on the volume, for messages.
    pub(super) fn place(&self, boot: &BootSector, offset: u64) -> u64 {
        let Content::Clusters(runs, _) = &self.content else { return self.position };
        let cluster = offset.checked_div(boot.cluster_bytes).unwrap_or(0);
        let index = runs.partition_point(|(first, _)| *first <= cluster).saturating_sub(1);
        let Some((first, Run { cluster: Some(start), .. })) = runs.get(index) else {
            return self.position;
        };
        let skip = offset.saturating_sub(first.saturating_mul(boot.cluster_bytes));
        boot.extent(*start, 0).start().saturating_add(skip)
    }
}
