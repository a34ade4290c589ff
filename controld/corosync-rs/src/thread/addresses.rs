//! Addresses of the cluster's nodes, asked for once while a node stays.

use std::collections::BTreeMap;
use std::net::SocketAddr;

#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<u32, Vec<SocketAddr>>);

impl Addresses {
    /// These nodes went: should they come back, they may have other addresses.
    pub(super) fn forget(&mut self, nodes: &[u32]) {
        self.0.retain(|node, _| !nodes.contains(node));
    }

    /// The addresses of `members`, asking for those not known. An answer without any address is none.
    pub(super) fn of<E>(
        &mut self,
        members: &[u32],
        ask: impl Fn(u32) -> Result<Vec<SocketAddr>, E>,
    ) -> BTreeMap<u32, Vec<SocketAddr>> {
        self.0.retain(|node, _| members.contains(node));
        for node in members {
            if self.0.contains_key(node) {
                continue;
            }
            match ask(*node) {
                Ok(addresses) if !addresses.is_empty() => {
                    self.0.insert(*node, addresses);
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn here() -> Vec<SocketAddr> {
        vec![([10, 0, 0, 1], 0).into()]
    }

    #[test]
    fn a_node_is_asked_for_once_while_it_stays_and_again_when_it_returns() {
        let asked = Cell::new(0);
        let ask = |_| {
            asked.set(asked.get() + 1);
            Ok::<_, ()>(here())
        };
        let mut addresses = Addresses::default();
        assert_eq!(addresses.of(&[1], ask).get(&1), Some(&here()));
        addresses.of(&[1], ask);
        assert_eq!(asked.get(), 1);
        addresses.forget(&[1]);
        addresses.of(&[1], ask);
        assert_eq!(asked.get(), 2);
        assert!(addresses.of(&[], ask).is_empty());
    }

    #[test]
    fn a_question_that_failed_is_asked_again() {
        let mut addresses = Addresses::default();
        assert!(addresses.of(&[1], |_| Err(())).is_empty());
        assert_eq!(addresses.of(&[1], |_| Ok::<_, ()>(here())).len(), 1);
    }
}
