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

    /// Those of `members` that have to be asked for.
    pub(super) fn missing(&mut self, members: &[u32]) -> Vec<u32> {
        self.0.retain(|node, _| members.contains(node));
        members.iter().copied().filter(|node| !self.0.contains_key(node)).collect()
    }

    /// Answers; one without any address is none.
    pub(super) fn learn(&mut self, answers: BTreeMap<u32, Vec<SocketAddr>>) {
        self.0.extend(answers.into_iter().filter(|(_, addresses)| !addresses.is_empty()));
    }

    /// All that are known.
    pub(super) fn known(&self) -> BTreeMap<u32, Vec<SocketAddr>> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> BTreeMap<u32, Vec<SocketAddr>> {
        BTreeMap::from([(1, vec![([10, 0, 0, 1], 0).into()])])
    }

    #[test]
    fn a_node_is_asked_for_once_while_it_stays_and_again_when_it_returns() {
        let mut addresses = Addresses::default();
        assert_eq!(addresses.missing(&[1]), [1]);
        addresses.learn(here());
        assert_eq!((addresses.missing(&[1]), addresses.known()), (vec![], here()));
        addresses.forget(&[1]);
        assert_eq!(addresses.missing(&[1]), [1]);
        addresses.learn(here());
        assert_eq!(addresses.missing(&[]), [0; 0]);
        assert!(addresses.known().is_empty());
    }

    #[test]
    fn a_question_that_failed_is_asked_again() {
        let mut addresses = Addresses::default();
        addresses.learn(BTreeMap::from([(1, Vec::new())]));
        assert_eq!((addresses.missing(&[1]), addresses.known()), (vec![1], BTreeMap::new()));
    }
}
