// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a volume of HFS or HFS+ is not clean, going by what its first block says.

/// Why a volume is not clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs) enum Unclean {
    NotUnmounted,
    HasErrors,
    ReplayFailed,
}

impl Unclean {
    /// In few words.
    pub(in crate::fs) const fn words(self) -> &'static str {
        match self {
            Self::NotUnmounted => "not unmounted",
            Self::HasErrors => "has errors",
            Self::ReplayFailed => "journal replay failed",
        }
    }

    /// What became of the volume, for who reads its files.
    pub(in crate::fs) const fn what(self) -> &'static str {
        match self {
            Self::NotUnmounted => "it was not ejected",
            Self::HasErrors => "it is marked as having errors",
            Self::ReplayFailed => "its journal could not be replayed",
        }
    }

    /// In a sentence.
    pub(in crate::fs) const fn sentence(self) -> &'static str {
        match self {
            Self::NotUnmounted => {
                "it was not ejected, so its bitmap may be behind its files: the image is exact and \
                 complete"
            }
            Self::HasErrors => {
                "it is marked as having errors, so its bitmap is not trusted: the image is exact \
                 and complete"
            }
            Self::ReplayFailed => {
                "its journal could not be replayed, so its bitmap is not trusted: the image is \
                 exact and complete"
            }
        }
    }
}
