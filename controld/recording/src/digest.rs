//! What of a step's effects is recorded: two numbers. Effects about POSIX locks have their own, as they can only be
//! reproduced where the locks are part of the recording.

use dlm_core::effect::Effect;
use serde::{Deserialize, Serialize};

/// Bytes of an effect that are encoded without asking for memory: nearly all.
const ORDINARY: usize = 512;

/// An odd number without a pattern, from the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the effects of a step come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
        let (mut decisions, mut locks) = (Sum::default(), Sum::default());
        let mut room = [0; ORDINARY];
        for effect in effects {
            // What these say of a single lock is in its request and its result.
            if matches!(effect, Effect::LogPlock { level: None, .. }) {
                continue;
            }
            let sum = if effect.is_about_plocks() { &mut locks } else { &mut decisions };
            sum.effect(effect, &mut room);
        }
        Self { decisions: decisions.end(), locks: locks.end() }
    }
}

/// A checksum against accident, not against intent: eight bytes at a time, each step invertible, so that one difference
/// always shows in the 64 bits.
#[derive(Clone, Copy, Default)]
struct Sum(u64);

impl Sum {
    fn effect(&mut self, effect: &Effect, room: &mut [u8]) {
        match postcard::to_slice(effect, room) {
            Ok(bytes) => self.bytes(bytes),
            // Only its length can be in the way; if not, both sides see the same nothing.
            Err(_) => self.bytes(&postcard::to_allocvec(effect).unwrap_or_default()),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(word.try_into().map_or(0, u64::from_le_bytes));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(words.remainder()) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(last));
        self.word(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    const fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }

    fn end(self) -> u32 {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}
