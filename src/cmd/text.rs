// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures as people read them.

/// "7 s", "3 min 5 s", "2 h 10 min".
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// What part of a whole something is: "41 %".
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    format!("{:.0} %", part as f64 / whole as f64 * 100.0)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(duration(0.04), "0.0 s");
        assert_eq!(duration(59.6), "1 min 0 s");
        assert_eq!(duration(7800.0), "2 h 10 min");
        assert_eq!(ratio(41, 100), "41 %");
        assert_eq!(ratio(1, 0), "-");
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
