//! Command line words as GNU `getopt` sorts them: single-letter options anywhere, operands in their order, `--` ends the
//! options. Only what the C tools use: letters without and with a required argument.

use std::collections::VecDeque;

/// One thing found, in the order of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A letter of the specification, with its argument if it takes one.
    Option(u8, Option<Vec<u8>>),
    /// A letter that is not in the specification.
    Invalid(u8),
    /// The last word of the line, which lacks its argument.
    MissingArgument(u8),
}

impl Found {
    /// The line that `getopt` writes to stderr for it, without a newline; `None` for a good option.
    #[must_use]
    pub fn complaint(&self, program: &[u8]) -> Option<Vec<u8>> {
        let (text, letter) = match self {
            Self::Option(..) => return None,
            Self::Invalid(letter) => (": invalid option -- '", *letter),
            Self::MissingArgument(letter) => (": option requires an argument -- '", *letter),
        };
        Some([program, text.as_bytes(), &[letter, b'\'']].concat())
    }
}

/// Options and operands of a command line without its program name. `spec` names the letters; a colon after a letter
/// says that it takes an argument: the rest of its word, or else the next word whatever that is.
#[must_use]
pub fn split(spec: &str, words: &[Vec<u8>]) -> (Vec<Found>, Vec<Vec<u8>>) {
    let mut rest: VecDeque<&Vec<u8>> = words.iter().collect();
    let mut found = Vec::new();
    let mut operands = Vec::new();
    while let Some(word) = rest.pop_front() {
        match word.as_slice() {
            b"--" => operands.extend(rest.drain(..).cloned()),
            [b'-', letters @ ..] if !letters.is_empty() => {
                take_letters(spec.as_bytes(), letters, &mut rest, &mut found);
            }
            _ => operands.push(word.clone()),
        }
    }
    (found, operands)
}

/// One word of bundled letters.
fn take_letters(
    spec: &[u8],
    mut letters: &[u8],
    rest: &mut VecDeque<&Vec<u8>>,
    found: &mut Vec<Found>,
) {
    while let Some((letter, behind)) = letters.split_first() {
        letters = behind;
        match kind(spec, *letter) {
            Kind::Unknown => found.push(Found::Invalid(*letter)),
            Kind::Plain => found.push(Found::Option(*letter, None)),
            Kind::WithArgument => {
                let argument = if behind.is_empty() {
                    rest.pop_front().cloned()
                } else {
                    Some(behind.to_vec())
                };
                found.push(match argument {
                    Some(argument) => Found::Option(*letter, Some(argument)),
                    None => Found::MissingArgument(*letter),
                });
                return;
            }
        }
    }
}

enum Kind {
    Unknown,
    Plain,
    WithArgument,
}

fn kind(spec: &[u8], letter: u8) -> Kind {
    let position = spec.iter().position(|byte| *byte == letter && letter != b':');
    match position {
        None => Kind::Unknown,
        Some(at) if spec.get(at.saturating_add(1)) == Some(&b':') => Kind::WithArgument,
        Some(_) => Kind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn option(letter: u8, argument: Option<&str>) -> Found {
        Found::Option(letter, argument.map(|text| text.as_bytes().to_vec()))
    }

    #[test]
    fn options_may_follow_operands() {
        let (found, operands) = split("nm:", &words("ls -n fs -m 7 x"));
        assert_eq!(found, [option(b'n', None), option(b'm', Some("7"))]);
        assert_eq!(operands, words("ls fs x"));
    }

    #[test]
    fn arguments_may_be_attached_and_letters_bundled() {
        let (found, operands) = split("nvm:", &words("-nvm077 -"));
        assert_eq!(found, [option(b'n', None), option(b'v', None), option(b'm', Some("077"))]);
        assert_eq!(operands, words("-"));
    }

    #[test]
    fn two_dashes_end_the_options() {
        let (found, operands) = split("n", &words("run -- lvs -n"));
        assert_eq!(found, []);
        assert_eq!(operands, words("run lvs -n"));
    }

    #[test]
    fn complaints_read_as_those_of_getopt() {
        let (found, _) = split("e:", &words("--x -e"));
        let lines: Vec<_> = found.iter().filter_map(|item| item.complaint(b"dlm_tool")).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], b"dlm_tool: invalid option -- '-'");
        assert_eq!(lines[1], b"dlm_tool: invalid option -- 'x'");
        assert_eq!(lines[2], b"dlm_tool: option requires an argument -- 'e'");
    }
}
