// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bar of a running job.

use crate::tui::look::Look;

/// A bar of `width` columns, of which `part` (0 to 1) is filled. It is full
/// only when all is done.
pub(crate) fn gauge(part: f64, width: usize, look: &Look) -> String {
    let (fill, rest) = look.blocks();
    let inside = width.saturating_sub(2);
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    let filled = (part * inside as f64) as usize;
    let text = |c: char, count: usize| c.to_string().repeat(count);
    format!("[{}{}]", text(fill, filled.min(inside)), text(rest, inside.saturating_sub(filled)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_only_at_the_end() {
        let look = Look { unicode: false, colour: false };
        assert_eq!(gauge(0.0, 12, &look), "[----------]");
        assert_eq!(gauge(0.999, 12, &look), "[#########-]");
        assert_eq!(gauge(1.0, 12, &look), "[##########]");
        for part in [f64::NAN, -1.0, 2.0] {
            assert_eq!(gauge(part, 5, &look).len(), 5);
        }
        assert_eq!(gauge(0.5, 0, &look), "[]");
    }
}
