// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which features are understood: exactly those in the lists below. The names
//! are those of `xfs_format.h`.

use crate::ondisk::FormatError;

pub(super) const VERSION_NUMBITS: u16 = 0x000F;
const VERSION_SHAREDBIT: u16 = 0x0200;
const VERSION_LOGV2BIT: u16 = 0x0400;
const VERSION_EXTFLGBIT: u16 = 0x1000;
const VERSION_DIRV2BIT: u16 = 0x2000;
const VERSION_MOREBITSBIT: u16 = 0x8000;

const VERSION2_LAZYSBCOUNT: u32 = 0x2;
const VERSION2_ATTR2: u32 = 0x8;
const VERSION2_PROJID32: u32 = 0x80;
const VERSION2_CRC: u32 = 0x100;
const VERSION2_FTYPE: u32 = 0x200;
const VERSION2_KNOWN: u32 =
    VERSION2_LAZYSBCOUNT | VERSION2_ATTR2 | VERSION2_PROJID32 | VERSION2_FTYPE;

const RO_COMPAT_FINOBT: u32 = 0x1;
const RO_COMPAT_RMAPBT: u32 = 0x2;
const RO_COMPAT_REFLINK: u32 = 0x4;
const RO_COMPAT_INOBTCNT: u32 = 0x8;
const RO_COMPAT_KNOWN: u32 =
    RO_COMPAT_FINOBT | RO_COMPAT_RMAPBT | RO_COMPAT_REFLINK | RO_COMPAT_INOBTCNT;

const INCOMPAT_FTYPE: u32 = 0x1;
const INCOMPAT_SPINODES: u32 = 0x2;
const INCOMPAT_META_UUID: u32 = 0x4;
const INCOMPAT_BIGTIME: u32 = 0x8;
const INCOMPAT_NEEDSREPAIR: u32 = 0x10;
const INCOMPAT_NREXT64: u32 = 0x20;
const INCOMPAT_EXCHRANGE: u32 = 0x40;
const INCOMPAT_PARENT: u32 = 0x80;
const INCOMPAT_KNOWN: u32 = INCOMPAT_FTYPE
    | INCOMPAT_SPINODES
    | INCOMPAT_META_UUID
    | INCOMPAT_BIGTIME
    | INCOMPAT_NEEDSREPAIR
    | INCOMPAT_NREXT64
    | INCOMPAT_EXCHRANGE
    | INCOMPAT_PARENT;

const LOG_INCOMPAT_XATTRS: u32 = 0x1;
const LOG_INCOMPAT_KNOWN: u32 = LOG_INCOMPAT_XATTRS;

/// What the feature words mean for the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Features {
    /// Version 5: checksums everywhere.
    pub(super) has_crc: bool,
    /// `agf_btreeblks` is kept up to date.
    pub(super) has_lazy_count: bool,
    pub(super) has_log_v2: bool,
    pub(super) has_finobt: bool,
    pub(super) has_rmapbt: bool,
    pub(super) has_reflink: bool,
    /// Names in folders say what they name.
    pub(super) has_file_types: bool,
    /// Structures carry an identifier of their own, not the one shown.
    pub(super) has_meta_uuid: bool,
    pub(super) needs_repair: bool,
    /// What of the log a program must know to replay it.
    pub(super) log_incompat: u32,
}

/// The feature words of a superblock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) versionnum: u16,
    /// With `sb_bad_features2`, where some kernels wrote it.
    pub(super) features2: u32,
    pub(super) compat: u32,
    pub(super) ro_compat: u32,
    pub(super) incompat: u32,
    pub(super) log_incompat: u32,
}

impl Words {
    /// The features, all of which are known.
    pub(super) fn features(self) -> Result<Features, FormatError> {
        let version = self.versionnum & VERSION_NUMBITS;
        let unknown = |word: &str, bits: u32| {
            Err(FormatError::unsupported(format!("it has an unknown feature ({word} {bits:#x})")))
        };
        if version != 4 && version != 5 {
            return Err(FormatError::unsupported(format!("its format has version {version}")));
        }
        if self.versionnum & VERSION_SHAREDBIT != 0 {
            return unknown("sb_versionnum", VERSION_SHAREDBIT.into());
        }
        let wanted = VERSION_DIRV2BIT | VERSION_EXTFLGBIT;
        if version == 4 && self.versionnum & wanted != wanted {
            return Err(FormatError::unsupported(
                "it has directories or extents of a format that nothing mounts any more",
            ));
        }
        let has_more_bits = version == 5 || self.versionnum & VERSION_MOREBITSBIT != 0;
        let features2 = if has_more_bits { self.features2 } else { 0 };
        let known = if version == 5 { VERSION2_KNOWN | VERSION2_CRC } else { VERSION2_KNOWN };
        if features2 & !known != 0 {
            return unknown("sb_features2", features2 & !known);
        }
        if version == 4 {
            return Ok(Features {
                has_lazy_count: features2 & VERSION2_LAZYSBCOUNT != 0,
                has_log_v2: self.versionnum & VERSION_LOGV2BIT != 0,
                has_file_types: features2 & VERSION2_FTYPE != 0,
                ..Features::default()
            });
        }
        for (word, bits, known) in [
            ("sb_features_compat", self.compat, 0),
            ("sb_features_ro_compat", self.ro_compat, RO_COMPAT_KNOWN),
            ("sb_features_incompat", self.incompat, INCOMPAT_KNOWN),
            ("sb_features_log_incompat", self.log_incompat, LOG_INCOMPAT_KNOWN),
        ] {
            if bits & !known != 0 {
                return unknown(word, bits & !known);
            }
        }
        Ok(Features {
            has_crc: true,
            has_lazy_count: true,
            has_log_v2: true,
            has_finobt: self.ro_compat & RO_COMPAT_FINOBT != 0,
            has_rmapbt: self.ro_compat & RO_COMPAT_RMAPBT != 0,
            has_reflink: self.ro_compat & RO_COMPAT_REFLINK != 0,
            has_file_types: self.incompat & INCOMPAT_FTYPE != 0,
            has_meta_uuid: self.incompat & INCOMPAT_META_UUID != 0,
            needs_repair: self.incompat & INCOMPAT_NEEDSREPAIR != 0,
            log_incompat: self.log_incompat,
        })
    }
}
