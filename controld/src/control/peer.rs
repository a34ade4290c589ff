//! Who asks, and may they? Any process of the network namespace can connect to an abstract socket, so commands that
//! change state need root or membership in a group that the administrator names. Queries are for everybody.

use super::ControlError;
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::BTreeSet;
use tokio::net::unix::UCred;

/// Who may send commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The group, if one is named.
    group: Option<Gid>,
    /// Its members. Looked up once: asking the name service for each client could block on the network, and the kernel
    /// tells a peer's primary group only.
    members: BTreeSet<u32>,
}

impl Access {
    /// Root alone.
    #[must_use]
    pub fn root_only() -> Self {
        Self::default()
    }

    /// Root, and who has this group as primary group or is listed in it now. May block on the name service: call it at
    /// start and on reload, not between events.
    ///
    /// # Errors
    /// The group does not exist or cannot be looked up.
    pub fn root_and_group(name: &str) -> Result<Self, ControlError> {
        let group = Group::from_name(name)
            .map_err(|source| ControlError::GroupLookup { group: name.to_owned(), source })?
            .ok_or_else(|| ControlError::NoGroup { group: name.to_owned() })?;
        // A listed member without an account has no process that could ask.
        let known = |member: &String| User::from_name(member).ok().flatten();
        let members = group.mem.iter().filter_map(known).map(|user| user.uid.as_raw()).collect();
        Ok(Self { group: Some(group.gid), members })
    }

    /// May a process with these credentials send commands?
    #[must_use]
    pub fn permits(&self, uid: u32, gid: u32) -> bool {
        is_root(uid)
            || self.group.is_some_and(|group| group.as_raw() == gid)
            || self.members.contains(&uid)
    }
}

fn is_root(uid: u32) -> bool {
    Uid::from_raw(uid).is_root()
}

/// A client, as the kernel vouches for it at the time of its connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    pub(crate) trust: Trust,
}

/// What a client may do, and with whom it shares a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Commands and queries.
    Commands,
    /// Queries.
    Queries,
}

impl Peer {
    /// `access` decides about commands; a query socket passes [`Access::root_only`], so that root is counted apart.
    pub(crate) fn new(credentials: &UCred, access: &Access) -> Self {
        let permitted = access.permits(credentials.uid(), credentials.gid());
        Self {
            uid: credentials.uid(),
            pid: credentials.pid().unwrap_or(0),
            trust: if permitted { Trust::Commands } else { Trust::Queries },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_alone_may_command_unless_a_group_is_named() {
        let access = Access::root_only();
        assert!(access.permits(0, 100));
        assert!(!access.permits(1000, 0));
        assert!(!access.permits(65534, 65534));
    }

    #[test]
    fn primary_group_and_listed_members_may_command() {
        let access = Access { group: Some(Gid::from_raw(500)), members: BTreeSet::from([7]) };
        assert!(access.permits(1000, 500));
        assert!(access.permits(7, 100));
        assert!(!access.permits(8, 100));
    }

    #[test]
    fn unknown_group_is_an_error_with_its_name() {
        let error = Access::root_and_group("no-such-group-here").unwrap_err();
        assert!(error.to_string().contains("no-such-group-here"));
        assert!(Access::root_and_group("root").unwrap().permits(1, 0));
    }
}
