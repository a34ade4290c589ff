//! Numbers as C's `atoi` and `sscanf` read them from a command line or a line of text.
//!
//! The C tools accept whatever these functions accept (`-e junk` is 0, `-m 77x` is 077), and scripts may rely on it.

/// Value of the decimal number at the start of `text`: white space and one sign may come first, the rest is ignored,
/// nothing readable is 0. Numbers beyond 64 bits stop at the border and the lower 32 bits are kept, as glibc does.
#[must_use]
pub fn atoi(text: &[u8]) -> i32 {
    let (sign, digits) = split_sign(text.trim_ascii_start());
    let mut value = 0_i64;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        let next = value.checked_mul(10).and_then(|tens| match sign {
            Sign::Plus => tens.checked_add(digit),
            Sign::Minus => tens.checked_sub(digit),
        });
        let Some(next) = next else {
            value = match sign {
                Sign::Plus => i64::MAX,
                Sign::Minus => i64::MIN,
            };
            break;
        };
        value = next;
    }
    low_half(value)
}

/// The mode of `-m`: octal, at most seven characters after leading white space, a sign included. `None` where there is
/// no digit, so that the default stays.
#[must_use]
pub fn octal_mode(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii_start();
    let text = text.get(..MODE_WIDTH).unwrap_or(text);
    let (sign, digits) = split_sign(text);
    let digits: Vec<u32> = digits
        .iter()
        .take_while(|byte| (b'0'..b'8').contains(*byte))
        .map(|byte| u32::from(byte.wrapping_sub(b'0')))
        .collect();
    if digits.is_empty() {
        return None;
    }
    let value =
        digits.iter().fold(0_u32, |value, digit| value.wrapping_mul(8).wrapping_add(*digit));
    Some(match sign {
        Sign::Plus => value,
        Sign::Minus => value.wrapping_neg(),
    })
}

/// Characters of a mode that the C tool looks at (seen: `-m 37777777777` is taken as 3777777).
const MODE_WIDTH: usize = 7;

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

fn split_sign(text: &[u8]) -> (Sign, &[u8]) {
    match text {
        [b'-', rest @ ..] => (Sign::Minus, rest),
        [b'+', rest @ ..] => (Sign::Plus, rest),
        _ => (Sign::Plus, text),
    }
}

/// The lower 32 bits: what a conversion from `long` to `int` keeps.
fn low_half(value: i64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoi_reads_the_leading_number() {
        let cases: [(&[u8], i32); 9] = [
            (b"", 0),
            (b"x", 0),
            (b" 12", 12),
            (b"7junk", 7),
            (b"-3", -3),
            (b"+4", 4),
            (b"0x5", 0),
            (b"4294967296", 0),
            (b"99999999999999999999", -1),
        ];
        for (text, value) in cases {
            assert_eq!(atoi(text), value, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn modes_are_octal_and_seven_characters_wide() {
        let cases: [(&[u8], Option<u32>); 8] = [
            (b"0600", Some(0o600)),
            (b"8", None),
            (b"", None),
            (b"78", Some(7)),
            (b" 77x", Some(0o77)),
            (b"-7", Some(0o37_777_777_771)),
            (b"37777777777", Some(0o3_777_777)),
            (b"0x1f", Some(0)),
        ];
        for (text, value) in cases {
            assert_eq!(octal_mode(text), value, "{}", text.escape_ascii());
        }
    }
}
