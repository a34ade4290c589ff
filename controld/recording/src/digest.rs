//! What of a step's effects is recorded: two numbers. Effects about POSIX locks have their own, as they can only be
//! reproduced where the locks are part of the recording.

use dlm_core::effect::Effect;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// An odd number without a pattern, from the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the effects of a step come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// All but those about POSIX locks.
    #[serde(with = "postcard::fixint::le")]
    pub decisions: u32,
    /// Those about POSIX locks, lines of the log about single ones left out.
    #[serde(with = "postcard::fixint::le")]
    pub locks: u32,
}

/// Bytes of an encoded [`Digest`].
pub(crate) const DIGEST_BYTES: usize = 8;

impl Digest {
    /// Of effects in their order.
    #[must_use]
    pub fn of(effects: &[Effect]) -> Self {
        let (mut decisions, mut locks) = (Sum::NOTHING, Sum::NOTHING);
        for effect in effects {
            // What these say of a single lock is in its request and its result.
            if matches!(effect, Effect::LogPlock { level: None, .. }) {
                continue;
            }
            let sum = if effect.is_about_plocks() { &mut locks } else { &mut decisions };
            *sum = sum.with(effect);
        }
        Self { decisions: decisions.end(), locks: locks.end() }
    }
}

/// A checksum against accident, not against intent, of what an encoding would be, which is never written anywhere: up to eight
/// bytes at a time, each step invertible, so that one difference always shows in the 64 bits.
#[derive(Clone, Copy)]
struct Sum(u64);

impl Sum {
    /// Not 0, which zeros would leave as it is: the first kind of effect would be like none.
    const NOTHING: Self = Self(MULTIPLIER);

    fn with(self, effect: &Effect) -> Self {
        // No such value fails to be encoded where there is room for all; if one did, both sides would see the same.
        postcard::serialize_with_flavor(effect, self).unwrap_or(self)
    }

    const fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }

    fn end(self) -> u32 {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// The encoding says how long each of its parts is, so that nothing is lost where the last word of a part is not full.
impl Flavor for Sum {
    type Output = Self;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.word(u64::from(byte));
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(word.try_into().map_or(0, u64::from_le_bytes));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            self.word(rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}
