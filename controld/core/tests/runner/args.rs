//! The words of a line: some before the first keyword, then keywords with their words.

use dlm_core::types::{Group, LockspaceName, NodeId, Version};
use std::collections::BTreeMap;
use std::str::FromStr;

/// The words of one line.
pub(crate) struct Args<'a> {
    line: &'a str,
    words: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Args<'a> {
    /// Words before the first keyword are those of the keyword "".
    pub(crate) fn new(line: &'a str, keywords: &[&str]) -> Self {
        let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut keyword = "";
        for word in line.split_whitespace().skip(1) {
            if keywords.contains(&word) {
                keyword = word;
                words.entry(keyword).or_default();
            } else {
                words.entry(keyword).or_default().push(word);
            }
        }
        Self { line, words }
    }

    pub(crate) fn has(&self, keyword: &str) -> bool {
        self.words.contains_key(keyword)
    }

    pub(crate) fn list(&self, keyword: &str) -> Vec<&'a str> {
        self.words.get(keyword).cloned().unwrap_or_default()
    }

    pub(crate) fn text(&self, keyword: &str) -> String {
        self.list(keyword).join(" ")
    }

    pub(crate) fn one(&self, keyword: &str) -> &'a str {
        let line = self.line;
        self.list(keyword)
            .first()
            .copied()
            .unwrap_or_else(|| panic!("`{line}` needs a word after `{keyword}`"))
    }

    pub(crate) fn number<T: FromStr>(&self, keyword: &str) -> T {
        self.one(keyword).parse().unwrap_or_else(|_| panic!("`{}`: no number", self.line))
    }

    pub(crate) fn number_or<T: FromStr>(&self, keyword: &str, default: T) -> T {
        if self.has(keyword) { self.number(keyword) } else { default }
    }

    pub(crate) fn version_or(&self, keyword: &str, default: Version) -> Version {
        if !self.has(keyword) {
            return default;
        }
        let parts: Vec<u16> = self.one(keyword).split('.').filter_map(|n| n.parse().ok()).collect();
        match parts.as_slice() {
            [major, minor, patch] => Version::new(*major, *minor, *patch),
            _ => panic!("`{}`: no version", self.line),
        }
    }

    pub(crate) fn node(&self, keyword: &str) -> NodeId {
        node(self.one(keyword))
    }

    pub(crate) fn nodes(&self, keyword: &str) -> Vec<NodeId> {
        self.list(keyword).into_iter().map(node).collect()
    }

    pub(crate) fn lockspace(&self) -> LockspaceName {
        lockspace(self.one(""))
    }

    pub(crate) fn group(&self) -> Group {
        match self.one("") {
            "daemon" => Group::Daemon,
            name => Group::Lockspace(lockspace(name)),
        }
    }
}

pub(crate) fn node(word: &str) -> NodeId {
    let number = word.parse().ok().and_then(NodeId::new);
    number.unwrap_or_else(|| panic!("`{word}` is no node"))
}

pub(crate) fn lockspace(word: &str) -> LockspaceName {
    LockspaceName::new(word.as_bytes()).unwrap_or_else(|| panic!("`{word}` is no lockspace"))
}
