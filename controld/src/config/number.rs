//! Numbers as the C library reads them, because every number of dlm.conf and of the command line has always been read
//! that way: leading white space, a sign, then as many digits as there are; what follows is not looked at.

/// A number read from the start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading<T> {
    /// The value that C would use; 0 where there is no number.
    pub(crate) value: T,
    /// How good the text was.
    pub(crate) quality: Quality,
}

/// How much of a text was a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// All of it.
    Whole,
    /// Something that is not part of the number follows it.
    Trailing,
    /// It does not begin with a number.
    Missing,
    /// The number does not fit and was cut to 32 bits, as C cuts it.
    Cut,
}

/// Sign and magnitude as `strtol` and `strtoul` find them.
struct Scan {
    negative: bool,
    magnitude: u128,
    digits: usize,
    rest: bool,
}

fn scan(text: &str, base: Base) -> Scan {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits_text) = match base {
        Base::Ten => (10, text),
        Base::Prefixed => prefixed(text),
    };
    let mut scan = Scan { negative, magnitude: 0, digits: 0, rest: false };
    for c in digits_text.chars() {
        let Some(digit) = c.to_digit(radix) else {
            scan.rest = true;
            break;
        };
        scan.digits = scan.digits.saturating_add(1);
        scan.magnitude =
            scan.magnitude.saturating_mul(u128::from(radix)).saturating_add(u128::from(digit));
    }
    scan
}

/// Which digits count.
#[derive(Clone, Copy)]
enum Base {
    /// Decimal, as `atoi`.
    Ten,
    /// `0x` is hexadecimal and a leading `0` octal, as `strtoul` with base 0.
    Prefixed,
}

fn prefixed(text: &str) -> (u32, &str) {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, digits),
        _ if text.starts_with('0') => (8, text),
        _ => (10, text),
    }
}

/// The low 32 bits.
fn low_bits(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default()
}

fn quality(scan: &Scan, fits: bool) -> Quality {
    match (scan.digits, fits, scan.rest) {
        (0, _, _) => Quality::Missing,
        (_, false, _) => Quality::Cut,
        (_, true, true) => Quality::Trailing,
        (_, true, false) => Quality::Whole,
    }
}

/// `atoi`: through a 64-bit number that saturates, then cut to 32 bits.
pub(crate) fn decimal(text: &str) -> Reading<i32> {
    let scan = scan(text, Base::Ten);
    let magnitude = i64::try_from(scan.magnitude).unwrap_or(i64::MAX);
    let wide = match (scan.negative, magnitude) {
        (true, i64::MAX) => i64::MIN,
        (true, magnitude) => magnitude.saturating_neg(),
        (false, magnitude) => magnitude,
    };
    let value = i32::from_ne_bytes(low_bits(u64::from_ne_bytes(wide.to_ne_bytes())).to_ne_bytes());
    Reading { value, quality: quality(&scan, i64::from(value) == wide) }
}

/// `strtoul` with base 0: through a 64-bit number that saturates, then cut to 32 bits.
pub(crate) fn unsigned(text: &str) -> Reading<u32> {
    let scan = scan(text, Base::Prefixed);
    let magnitude = u64::try_from(scan.magnitude).unwrap_or(u64::MAX);
    let wide = match scan.negative && magnitude != u64::MAX {
        true => magnitude.wrapping_neg(),
        false => magnitude,
    };
    let value = low_bits(wide);
    Reading { value, quality: quality(&scan, !scan.negative && u64::from(value) == wide) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_reads_as_atoi() {
        for (text, value, quality) in [
            ("10", 10, Quality::Whole),
            (" +5", 5, Quality::Whole),
            ("10x", 10, Quality::Trailing),
            ("0x10", 0, Quality::Trailing),
            ("-3", -3, Quality::Whole),
            ("=12", 0, Quality::Missing),
            ("", 0, Quality::Missing),
            ("+", 0, Quality::Missing),
            ("2147483648", i32::MIN, Quality::Cut),
            ("99999999999", 1_215_752_191, Quality::Cut),
            ("99999999999999999999", -1, Quality::Cut),
        ] {
            assert_eq!(decimal(text), Reading { value, quality }, "{text}");
        }
    }

    #[test]
    fn unsigned_reads_as_strtoul_of_base_0() {
        for (text, value, quality) in [
            ("0x10", 16, Quality::Whole),
            ("010", 8, Quality::Whole),
            ("08", 0, Quality::Trailing),
            ("0x", 0, Quality::Trailing),
            ("0xg", 0, Quality::Trailing),
            ("7foo", 7, Quality::Trailing),
            ("x", 0, Quality::Missing),
            ("-1", u32::MAX, Quality::Cut),
            ("4294967296", 0, Quality::Cut),
            ("99999999999", 1_215_752_191, Quality::Cut),
            ("99999999999999999999", u32::MAX, Quality::Cut),
        ] {
            assert_eq!(unsigned(text), Reading { value, quality }, "{text}");
        }
    }
}
