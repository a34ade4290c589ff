//! Lines and words of the kernel's debug files.

/// The lines of a file without their newlines; an empty file has none.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let empty = bytes.is_empty();
    text.split(|byte| *byte == b'\n').filter(move |_| !empty)
}

/// Words between blanks.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Reads words of a line one after the other, and counts those that made sense.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    understood: usize,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(line: &'a [u8]) -> Self {
        Self { rest: line, understood: 0 }
    }

    pub(crate) fn word(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.trim_ascii_start();
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        self.understood = self.understood.saturating_add(1);
        Some(word)
    }

    pub(crate) fn parsed<T>(&mut self, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let (rest, understood) = (self.rest, self.understood);
        let value = self.word().and_then(read);
        if value.is_none() {
            (self.rest, self.understood) = (rest, understood);
        }
        value
    }

    pub(crate) fn decimal<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.parsed(|word| std::str::from_utf8(word).ok()?.parse().ok())
    }

    pub(crate) fn hex(&mut self) -> Option<u32> {
        self.parsed(hex)
    }

    /// How many words made sense, the first of the line included.
    pub(crate) const fn understood(&self) -> usize {
        self.understood
    }

    /// What is left behind the one blank that ends the last word.
    pub(crate) fn tail(&self) -> &'a [u8] {
        self.rest.get(1..).unwrap_or_default()
    }
}

/// Hex digits, at most 32 bits; kernels print some of these fields as `unsigned long`.
pub(crate) fn hex(word: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(word).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_no_lines() {
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"\n").count(), 1);
        assert_eq!(lines(b"a\n\nb").count(), 3);
    }
}
