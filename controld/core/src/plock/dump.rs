//! What `dlm_tool plocks` shows, as plain data (spec/plocks.md section 8).

use crate::plock::record::TransferEntry;
use crate::plock::resource::Lock;
use crate::plock::space::Plocks;
use crate::plock::transfer::transfer_entry;
use crate::types::Instant;
use alloc::vec::Vec;

/// One resource with everybody's locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlockResource {
    /// Inode number.
    pub number: u64,
    /// -1 while it is not known who owns it, 0 nobody, else the node (`rown`).
    pub owner: i64,
    /// Since its last use, milliseconds.
    pub unused_millis: u64,
    /// Granted, then waiting (`waiter`), each in list order.
    pub entries: Vec<TransferEntry>,
    /// Own requests that wait until the owner is known.
    pub pending: Vec<TransferEntry>,
}

impl Plocks {
    /// All resources, oldest first; each is made when it is asked for.
    pub(crate) fn dump(&self, now: Instant) -> impl Iterator<Item = PlockResource> {
        self.resources.in_order().into_iter().map(move |(number, entry)| {
            let locks = entry.resource.locks().map(|(lock, _)| transfer_entry(lock, false));
            let waiters = entry.resource.waiters();
            let waiters = waiters.map(|(info, _)| transfer_entry(&Lock::of(info), true));
            let pending = entry.pending.iter();
            PlockResource {
                number,
                owner: entry.owner.number(),
                unused_millis: now.millis_since(entry.used),
                entries: locks.chain(waiters).collect(),
                pending: pending
                    .map(|asked| transfer_entry(&Lock::of(&asked.info), true))
                    .collect(),
            }
        })
    }
}
