//! Records of the durability workload: numbered, filled from their number, with a checksum.
//!
//! The writer in a guest appends them one after the other, each synced before it is acknowledged to
//! the host. A reader can thus tell, without having seen the writing, how many whole records a file
//! begins with.

/// Bytes of one record.
pub const RECORD_BYTES: usize = 512;
const MAGIC: [u8; 8] = *b"dlm-vm r";
const HEADER_BYTES: usize = 16;
const CHECKSUM_AT: usize = RECORD_BYTES - 8;

/// The record with this number; numbers count from 1.
pub fn encode(number: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&MAGIC);
    record[8..HEADER_BYTES].copy_from_slice(&number.to_le_bytes());
    let mut filler = number;
    for chunk in record[HEADER_BYTES..CHECKSUM_AT].chunks_mut(8) {
        filler = filler.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        chunk.copy_from_slice(&filler.to_le_bytes()[..chunk.len()]);
    }
    let sum = checksum(&record[..CHECKSUM_AT]);
    record[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
    record
}

/// How many records, numbered 1, 2, 3 and so on, the bytes begin with before anything else comes.
pub fn whole_records(bytes: &[u8]) -> u64 {
    let mut number = 0;
    for chunk in bytes.chunks(RECORD_BYTES) {
        if chunk != encode(number + 1) {
            break;
        }
        number += 1;
    }
    number
}

/// FNV-1a, 64 bits: enough to tell a torn or stale block from a whole one.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_last_record_is_not_counted() {
        let mut bytes = [encode(1), encode(2), encode(3)].concat();
        assert_eq!(whole_records(&bytes), 3);
        bytes.truncate(RECORD_BYTES * 3 - 1);
        assert_eq!(whole_records(&bytes), 2);
    }

    #[test]
    fn counting_ends_at_the_first_wrong_record() {
        let mut bytes = [encode(1), encode(2), encode(3)].concat();
        bytes[RECORD_BYTES + 100] ^= 1;
        assert_eq!(whole_records(&bytes), 1);
        assert_eq!(whole_records(&[encode(1), encode(3)].concat()), 1);
        assert_eq!(whole_records(&[]), 0);
    }
}
