//! Uevents: the kernel creates or releases a lockspace, or gfs2 withdraws (spec/kernel-interfaces.md section 2,
//! spec/gfs-control.md section 2).
//!
//! Each of them waits in the kernel for an answer, so none may be lost: when the socket has overrun, sysfs is read again
//! and lockspaces nobody told of are reported. (A lost *offline* leaves no trace there; the large buffer is what guards
//! against it.) Each life of a lockspace's directory has exactly one `online`; where a scan has reported it first, the
//! uevent that comes later is not reported a second time.

use crate::feed::Feed;
use crate::kernel::LogSink;
use crate::kernel::error::KernelError;
use crate::kernel::root::Root;
use crate::kernel::scan::{self, Life};
use crate::reactor::{Registry, Watched};
use dlm_core::effect::{Level, LogLine};
use dlm_core::event::Event;
use dlm_core::types::LockspaceName;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::task::{Context, Poll, ready};

/// What the kernel says about a lockspace or a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uevent {
    /// A lockspace is created.
    Online {
        /// Which.
        lockspace: LockspaceName,
    },
    /// A lockspace is released.
    Offline {
        /// Which.
        lockspace: LockspaceName,
        /// RELEASE_RECOVER; 0 where the kernel has none.
        release_recover: u32,
    },
    /// A gfs2 withdraws.
    Withdraw {
        /// Lock table, `cluster:name`.
        table: String,
        /// The part after the colon.
        lockspace: LockspaceName,
    },
}

/// The variables that count, each as it first occurs.
#[derive(Default)]
struct Variables<'a> {
    action: Option<&'a [u8]>,
    devpath: Option<&'a [u8]>,
    subsystem: Option<&'a [u8]>,
    release_recover: Option<&'a [u8]>,
    lock_table: Option<&'a [u8]>,
    lock_protocol: Option<&'a [u8]>,
    /// Somebody wrote to the object's `uevent` file: nothing has happened to it.
    synthetic: Option<&'a [u8]>,
}

impl<'a> Variables<'a> {
    fn of(datagram: &'a [u8]) -> Self {
        let mut variables = Self::default();
        // The first string is `action@path`, a headline without the variables' names.
        for string in datagram.split(|byte| *byte == 0).skip(1) {
            let mut parts = string.splitn(2, |byte| *byte == b'=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            let variable = match name {
                b"ACTION" => &mut variables.action,
                b"DEVPATH" => &mut variables.devpath,
                b"SUBSYSTEM" => &mut variables.subsystem,
                b"RELEASE_RECOVER" => &mut variables.release_recover,
                b"LOCKTABLE" => &mut variables.lock_table,
                b"LOCKPROTO" => &mut variables.lock_protocol,
                b"SYNTH_UUID" => &mut variables.synthetic,
                _ => continue,
            };
            variable.get_or_insert(value);
        }
        variables
    }
}

/// The meaning of a datagram; `None` for all that is not about us. The name of a lockspace is that of its directory, where
/// a `/` is a `!`: all its paths are made of that.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Uevent> {
    let variables = Variables::of(datagram);
    if variables.synthetic.is_some() {
        return None;
    }
    match (variables.subsystem?, variables.action?) {
        (b"dlm", action) => {
            let lockspace = LockspaceName::new(variables.devpath?.strip_prefix(b"/kernel/dlm/")?)?;
            match action {
                b"online" => Some(Uevent::Online { lockspace }),
                b"offline" => {
                    let release_recover = variables.release_recover.and_then(number).unwrap_or(0);
                    Some(Uevent::Offline { lockspace, release_recover })
                }
                _ => None,
            }
        }
        (b"gfs2", b"offline") => withdraw(&variables),
        _ => None,
    }
}

fn withdraw(variables: &Variables<'_>) -> Option<Uevent> {
    if variables.lock_protocol.is_some_and(|protocol| protocol != b"lock_dlm") {
        return None;
    }
    let table = std::str::from_utf8(variables.lock_table?).ok()?;
    let (_, name) = table.split_once(':')?;
    let lockspace = LockspaceName::new(name.replace('/', "!").as_bytes())?;
    Some(Uevent::Withdraw { table: table.to_owned(), lockspace })
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// For fuzzing: no datagram may panic the parser.
pub fn fuzz_uevent(datagram: &[u8]) {
    let _ = (parse(datagram), headline(datagram), unusable(datagram));
}

/// The line of the log for a lockspace that [`parse`] passes over because of its name: its kernel waits for an answer.
fn unusable(datagram: &[u8]) -> Option<String> {
    let Variables { action, devpath, subsystem, synthetic: None, .. } = Variables::of(datagram)
    else {
        return None;
    };
    let action = action.filter(|action| [&b"online"[..], b"offline"].contains(action))?;
    (subsystem? == b"dlm" && parse(datagram).is_none()).then(|| {
        format!(
            "{} uevent ignored, which names no lockspace that there can be: {}",
            action.escape_ascii(),
            devpath.unwrap_or(b"no DEVPATH").escape_ascii()
        )
    })
}

/// The event of a datagram. What concerns the dlm goes to the log.
fn heard(
    datagram: &[u8],
    watch: &mut LockspaceWatch,
    line: impl Fn(Level, String),
) -> Option<Event> {
    if let Some(text) = headline(datagram) {
        line(Level::Debug, format!("uevent: {text}"));
    }
    if let Some(text) = unusable(datagram) {
        line(Level::Error, text);
    }
    parse(datagram).and_then(|uevent| watch.uevent(uevent))
}

/// The first string of a datagram that mentions the dlm, for the log.
fn headline(datagram: &[u8]) -> Option<String> {
    let line = datagram.split(|byte| *byte == 0).next()?;
    line.windows(3).any(|part| part == b"dlm").then(|| String::from_utf8_lossy(line).into_owned())
}

/// The kernel's multicast group (group 2 is udev's).
const KERNEL_GROUP: u32 = 1;

/// Receive buffer in bytes: a storm of uevents (thousands of devices at once) must not push out one of ours.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// Datagrams that mean nothing, after which it is others' turn: devices may come by the thousand.
const LOOK: usize = 64;

/// Largest datagram; the kernel's own buffer for the variables has 2 KiB (`UEVENT_BUFFER_SIZE` in linux/kobject.h).
const DATAGRAM_MAX: usize = 8 * 1024;

/// What came from the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A datagram of the kernel.
    Datagram(&'a [u8]),
    /// A datagram that is not the kernel's.
    Foreign,
    /// Datagrams were lost: look into sysfs for what they said.
    Overrun,
    /// Nothing is left.
    Nothing,
}

/// The socket for the kernel's uevents. It must be open before the kernel can create a lockspace, that is before any
/// entry of `comms` is local.
#[derive(Debug)]
pub struct UeventSocket {
    socket: Watched,
    buffer: Vec<u8>,
}

impl UeventSocket {
    /// Open and bind; `registry` will watch it.
    ///
    /// # Errors
    /// The call that failed. A receive buffer that cannot be enlarged is no failure.
    pub fn open(registry: &Registry) -> Result<Self, KernelError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)
            .map_err(failed("socket"))?;
        // NETLINK_NO_ENOBUFS stays off: an overrun has to be heard of. Without CAP_NET_ADMIN the forced size is refused
        // and the system's limit holds.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)
                .map_err(failed("setsockopt SO_RCVBUF"))?;
        }
        // Port 0: the kernel chooses one, so that several sockets of one process do not collide.
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP)).map_err(failed("bind"))?;
        let socket = registry.watch(socket).map_err(|source| KernelError::Uevents {
            operation: "register with the event loop",
            source,
        })?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM_MAX] })
    }

    /// What is there.
    ///
    /// # Errors
    /// The socket cannot be read any more.
    pub fn receive(&mut self) -> Result<Received<'_>, KernelError> {
        loop {
            match receive(self.socket.get(), &mut self.buffer) {
                Ok(Some(length)) => {
                    return Ok(Received::Datagram(self.buffer.get(..length).unwrap_or_default()));
                }
                Ok(None) => return Ok(Received::Foreign),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ENOBUFS) => return Ok(Received::Overrun),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("receive")(errno)),
            }
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(Errno) -> KernelError {
    move |errno| KernelError::Uevents { operation, source: errno.into() }
}

/// One datagram; `None` where it is not the kernel's (any process may send to the group) or too long to be one.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Option<usize>> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
    let from_kernel = message.address.is_some_and(|address| address.pid() == 0);
    let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    Ok((from_kernel && whole).then_some(message.bytes))
}

/// How we came to know of a lockspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Its `online` has come.
    Uevent,
    /// By a scan; its `online` may still be in the socket.
    Scan,
}

/// Which lockspaces were reported, so that a scan reports just the others.
#[derive(Debug)]
pub struct LockspaceWatch {
    root: Root,
    known: BTreeMap<LockspaceName, (Option<Life>, Source)>,
}

impl LockspaceWatch {
    /// Nothing was reported yet.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self { root, known: BTreeMap::new() }
    }

    /// The event to report; `None` where a scan has reported it already.
    pub fn uevent(&mut self, uevent: Uevent) -> Option<Event> {
        match uevent {
            Uevent::Online { lockspace } => self.online(lockspace),
            Uevent::Offline { lockspace, release_recover } => {
                Some(Event::Offline { lockspace, release_recover })
            }
            Uevent::Withdraw { table, lockspace } => Some(Event::Withdraw { table, lockspace }),
        }
    }

    fn online(&mut self, lockspace: LockspaceName) -> Option<Event> {
        let root = &self.root;
        // Released lockspaces are forgotten here, so that the map does not outgrow the kernel's.
        self.known.retain(|name, (life, _)| life.is_some() && *life == scan::life(root, name));
        if let Some((_, source @ Source::Scan)) = self.known.get_mut(&lockspace) {
            *source = Source::Uevent;
            return None;
        }
        let life = scan::life(root, &lockspace);
        self.known.insert(lockspace.clone(), (life, Source::Uevent));
        Some(Event::Online { lockspace })
    }

    /// After an overrun: an `Online` for each lockspace of the kernel that was not reported in its present life.
    ///
    /// # Errors
    /// sysfs cannot be read.
    pub fn rescan(&mut self) -> Result<Vec<Event>, KernelError> {
        let found = scan::lockspaces(&self.root)?;
        self.known.retain(|name, (life, _)| {
            found.get(name).is_some_and(|now| life.is_none_or(|then| then == *now))
        });
        let mut events = Vec::new();
        for (lockspace, life) in found {
            if !self.known.contains_key(&lockspace) {
                self.known.insert(lockspace.clone(), (Some(life), Source::Scan));
                events.push(Event::Online { lockspace });
            }
        }
        Ok(events)
    }
}

/// Uevents as events, in the driver's own turn.
pub struct Uevents {
    socket: UeventSocket,
    watch: LockspaceWatch,
    log: LogSink,
    /// What a scan has found and nobody has taken yet: no more than the kernel has lockspaces.
    told: VecDeque<Event>,
    /// The socket cannot be read any more, and this has been said.
    over: bool,
}

impl Uevents {
    /// What `socket` brings; sysfs is below `root`, lines go to `log`.
    #[must_use]
    pub fn new(socket: UeventSocket, root: Root, log: LogSink) -> Self {
        let watch = LockspaceWatch::new(root);
        Self { socket, watch, log, told: VecDeque::new(), over: false }
    }

    /// Read until something has happened, or it is others' turn.
    fn look(&mut self) {
        let line = |level, text| (self.log)(LogLine { level, lockspace: None, text });
        for _ in 0..LOOK {
            match self.socket.receive() {
                Ok(Received::Datagram(datagram)) => {
                    self.told.extend(heard(datagram, &mut self.watch, line));
                }
                Ok(Received::Foreign) => {}
                Ok(Received::Overrun) => {
                    line(
                        Level::Error,
                        "uevents were lost: reading the lockspaces again".to_owned(),
                    );
                    match self.watch.rescan() {
                        Ok(found) => self.told.extend(found),
                        Err(error) => line(Level::Error, error.to_string()),
                    }
                }
                Ok(Received::Nothing) => break,
                // The daemon would miss lockspaces: its end is the daemon's.
                Err(error) => {
                    self.over = true;
                    self.told.push_back(Event::ClusterLost { why: format!("uevents: {error}") });
                }
            }
            if !self.told.is_empty() {
                return;
            }
        }
        self.socket.socket.leave();
    }
}

impl Feed for Uevents {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Poll::Ready(Some(event));
            }
            if self.over {
                return Poll::Pending;
            }
            ready!(self.socket.socket.poll_readable(context));
            self.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::TestTree;
    use crate::reactor::Reactor;
    use nix::sys::epoll::EpollTimeout;
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    fn datagram(strings: &[&[u8]]) -> Vec<u8> {
        strings.iter().flat_map(|string| [string, &b"\0"[..]].concat()).collect()
    }

    fn lockspace_uevent(action: &str, name: &[u8], more: &[&[u8]]) -> Vec<u8> {
        let path = [b"/kernel/dlm/", name].concat();
        let headline = [action.as_bytes(), b"@", &path].concat();
        let action = format!("ACTION={action}");
        let devpath = [b"DEVPATH=", &path[..]].concat();
        let lockspace = [b"LOCKSPACE=", name].concat();
        let mut strings: Vec<&[u8]> =
            vec![&headline, action.as_bytes(), &devpath, b"SUBSYSTEM=dlm"];
        strings.extend(more);
        strings.extend([&lockspace[..], b"SEQNUM=812"]);
        datagram(&strings)
    }

    fn name(name: &[u8]) -> LockspaceName {
        LockspaceName::new(name).unwrap()
    }

    #[test]
    fn creation_and_release_are_told_apart() {
        let online = parse(&lockspace_uevent("online", b"fs", &[]));
        assert_eq!(online, Some(Uevent::Online { lockspace: name(b"fs") }));
        let offline = parse(&lockspace_uevent("offline", b"fs", &[]));
        assert_eq!(offline, Some(Uevent::Offline { lockspace: name(b"fs"), release_recover: 0 }));
        let recover = parse(&lockspace_uevent("offline", b"fs", &[b"RELEASE_RECOVER=1"]));
        assert_eq!(recover, Some(Uevent::Offline { lockspace: name(b"fs"), release_recover: 1 }));
        for action in ["add", "remove", "change"] {
            assert_eq!(parse(&lockspace_uevent(action, b"fs", &[])), None);
        }
    }

    #[test]
    fn a_name_is_the_directorys_and_need_not_be_text() {
        let long = [0xff; 64];
        assert_eq!(
            parse(&lockspace_uevent("online", &long, &[])),
            Some(Uevent::Online { lockspace: name(&long) })
        );
        let slash = datagram(&[
            b"online@/kernel/dlm/a!b",
            b"ACTION=online",
            b"DEVPATH=/kernel/dlm/a!b",
            b"SUBSYSTEM=dlm",
            b"LOCKSPACE=a/b",
        ]);
        assert_eq!(parse(&slash), Some(Uevent::Online { lockspace: name(b"a!b") }));
    }

    #[test]
    fn other_objects_are_not_lockspaces() {
        let module: &[&[u8]] =
            &[b"add@/module/dlm", b"ACTION=online", b"DEVPATH=/module/dlm", b"SUBSYSTEM=module"];
        let misc: &[&[u8]] = &[
            b"add@/devices/virtual/misc/dlm_fs",
            b"ACTION=online",
            b"DEVPATH=/devices/virtual/misc/dlm_fs",
            b"SUBSYSTEM=misc",
        ];
        let deeper: &[&[u8]] =
            &[b"x", b"ACTION=online", b"DEVPATH=/kernel/dlm/a/b", b"SUBSYSTEM=dlm"];
        let dots: &[&[u8]] = &[b"x", b"ACTION=online", b"DEVPATH=/kernel/dlm/..", b"SUBSYSTEM=dlm"];
        let synthetic: &[&[u8]] =
            &[b"x", b"ACTION=online", b"DEVPATH=/kernel/dlm/fs", b"SUBSYSTEM=dlm", b"SYNTH_UUID=0"];
        for strings in [module, misc, deeper, dots, synthetic] {
            assert_eq!(parse(&datagram(strings)), None);
        }
    }

    #[test]
    fn a_lockspace_with_an_unusable_name_is_named_in_the_log() {
        let tree = TestTree::new();
        let lines = |datagram: &[u8]| {
            let errors = std::cell::RefCell::new(Vec::new());
            let event =
                heard(datagram, &mut LockspaceWatch::new(tree.root().clone()), |level, text| {
                    if level == Level::Error {
                        errors.borrow_mut().push(text);
                    }
                });
            (event, errors.into_inner())
        };
        let ignored = |action: &str, path: &str| {
            let text = "uevent ignored, which names no lockspace that there can be:";
            (None, vec![format!("{action} {text} {path}")])
        };
        assert_eq!(
            lines(&lockspace_uevent("online", b"a/b\xff\n", &[])),
            ignored("online", r"/kernel/dlm/a/b\xff\n")
        );
        assert_eq!(
            lines(&lockspace_uevent("offline", b"..", &[])),
            ignored("offline", "/kernel/dlm/..")
        );
        let long = "n".repeat(65);
        assert_eq!(
            lines(&lockspace_uevent("online", long.as_bytes(), &[])),
            ignored("online", &format!("/kernel/dlm/{long}"))
        );
        let nameless: &[&[u8]] = &[b"x", b"ACTION=online", b"SUBSYSTEM=dlm"];
        assert_eq!(lines(&datagram(nameless)), ignored("online", "no DEVPATH"));
        // Nobody waits for these.
        assert_eq!(lines(&lockspace_uevent("change", b"..", &[])), (None, Vec::new()));
        assert_eq!(
            lines(&lockspace_uevent("online", b"..", &[b"SYNTH_UUID=0"])),
            (None, Vec::new())
        );
        let known = Event::Online { lockspace: name(b"fs") };
        assert_eq!(lines(&lockspace_uevent("online", b"fs", &[])), (Some(known), Vec::new()));
    }

    #[test]
    fn a_withdraw_names_table_and_lockspace() {
        let strings = |action: &'static [u8], protocol: &'static [u8]| {
            datagram(&[
                b"offline@/fs/gfs2/lab:fs",
                action,
                b"DEVPATH=/fs/gfs2/lab:fs",
                b"SUBSYSTEM=gfs2",
                b"LOCKTABLE=lab:fs",
                protocol,
            ])
        };
        let expected = Uevent::Withdraw { table: "lab:fs".to_owned(), lockspace: name(b"fs") };
        assert_eq!(parse(&strings(b"ACTION=offline", b"LOCKPROTO=lock_dlm")), Some(expected));
        assert_eq!(parse(&strings(b"ACTION=online", b"LOCKPROTO=lock_dlm")), None);
        assert_eq!(parse(&strings(b"ACTION=offline", b"LOCKPROTO=lock_nolock")), None);
    }

    /// Several times what the kernel has room for, with what counts at the end.
    #[test]
    fn a_datagram_as_long_as_the_buffer_is_understood() {
        let filling = [b"FILLING=".as_slice(), &[b'x'; 200]].concat();
        let mut more: Vec<&[u8]> = vec![&filling; 37];
        more.push(b"RELEASE_RECOVER=1");
        let lockspace = name(&[b'n'; 64]);
        let long = lockspace_uevent("offline", &[b'n'; 64], &more);
        assert!(long.len() <= DATAGRAM_MAX && long.len() > DATAGRAM_MAX - 200, "{}", long.len());
        assert_eq!(parse(&long), Some(Uevent::Offline { lockspace, release_recover: 1 }));
    }

    #[test]
    fn no_cut_or_changed_datagram_panics() {
        let whole = lockspace_uevent("offline", b"fs", &[b"RELEASE_RECOVER=1"]);
        for length in 0..whole.len() {
            fuzz_uevent(&whole[..length]);
            let mut changed = whole.clone();
            changed[length] ^= 0x3d;
            fuzz_uevent(&changed);
        }
    }

    #[test]
    fn defect_23_scan_reports_what_no_uevent_told_and_its_late_uevent_is_dropped() {
        let tree = TestTree::new();
        let mut watch = LockspaceWatch::new(tree.root().clone());
        let online = |of: &[u8]| Event::Online { lockspace: name(of) };
        tree.lockspace("told");
        assert_eq!(
            watch.uevent(Uevent::Online { lockspace: name(b"told") }),
            Some(online(b"told"))
        );
        tree.lockspace("lost");
        assert_eq!(watch.rescan().unwrap(), [online(b"lost")]);
        assert_eq!(watch.rescan().unwrap(), []);
        assert_eq!(watch.uevent(Uevent::Online { lockspace: name(b"lost") }), None);
        // A second one in the same life is for the core to refuse.
        assert_eq!(
            watch.uevent(Uevent::Online { lockspace: name(b"lost") }),
            Some(online(b"lost"))
        );
    }

    #[test]
    fn a_lockspace_made_again_is_reported_again() {
        let tree = TestTree::new();
        let mut watch = LockspaceWatch::new(tree.root().clone());
        tree.lockspace("fs");
        assert_eq!(watch.rescan().unwrap().len(), 1);
        // Moved away rather than removed, so that the inode number is not given to the next directory.
        std::fs::rename(tree.path("sys/kernel/dlm/fs"), tree.path("old")).unwrap();
        tree.lockspace("fs");
        assert!(watch.uevent(Uevent::Online { lockspace: name(b"fs") }).is_some());
        std::fs::rename(tree.path("sys/kernel/dlm/fs"), tree.path("older")).unwrap();
        tree.lockspace("fs");
        assert_eq!(watch.rescan().unwrap().len(), 1);
    }

    fn lines() -> (LogSink, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        (Arc::new(move |line: LogLine| kept.lock().unwrap().push(line.text)), lines)
    }

    /// What is there now, without waiting.
    fn ready(uevents: &mut Uevents) -> Option<Event> {
        match uevents.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_real_socket_opens_and_drops_what_processes_send() {
        let reactor = Reactor::new().unwrap();
        let mut socket = UeventSocket::open(reactor.registry()).unwrap();
        let descriptor = socket.socket.get().as_raw_fd();
        let ours = nix::sys::socket::getsockname::<NetlinkAddr>(descriptor).unwrap();
        let from = nix::sys::socket::socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .unwrap();
        let forged = lockspace_uevent("online", b"fs", &[]);
        let to = NetlinkAddr::new(ours.pid(), 0);
        nix::sys::socket::sendto(from.as_raw_fd(), &forged, &to, MsgFlags::empty()).unwrap();
        loop {
            let received = socket.receive().unwrap();
            assert_ne!(received, Received::Datagram(&forged));
            if received == Received::Nothing {
                return;
            }
        }
    }

    /// A process that sends without end, as one may that is root, must not keep the driver from its work.
    #[test]
    fn a_flood_of_datagrams_that_mean_nothing_leaves_others_their_turn() {
        const FLOOD: usize = 2 * LOOK + 1;
        let flood = std::thread::spawn(|| {
            if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
                crate::skipped::skipped("this environment gives no network namespace");
                return;
            }
            let mut reactor = Reactor::new().unwrap();
            let ours = UeventSocket::open(reactor.registry()).unwrap();
            let from = UeventSocket::open(reactor.registry()).unwrap();
            let group = NetlinkAddr::new(0, KERNEL_GROUP);
            for _ in 0..FLOOD {
                let descriptor = from.socket.get().as_raw_fd();
                nix::sys::socket::sendto(descriptor, b"x\0", &group, MsgFlags::empty()).unwrap();
            }
            let mut ours = Uevents::new(ours, TestTree::new().root().clone(), lines().0);
            let mut turns = 0;
            while reactor.look(EpollTimeout::ZERO) > 0 && ours.socket.socket.is_readable() {
                assert_eq!(ready(&mut ours), None);
                turns += 1;
            }
            assert_eq!(turns, 3);
        });
        flood.join().unwrap();
    }

    /// In a network namespace of its own, where nobody else hears what is sent to the group.
    #[test]
    fn defect_23_after_an_overrun_lockspaces_are_read_again_and_the_socket_goes_on() {
        let overrun = std::thread::spawn(|| {
            if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
                crate::skipped::skipped("this environment gives no network namespace");
                return;
            }
            let mut reactor = Reactor::new().unwrap();
            let ours = UeventSocket::open(reactor.registry()).unwrap();
            setsockopt(ours.socket.get(), sockopt::RcvBuf, &4096).unwrap();
            let from = UeventSocket::open(reactor.registry()).unwrap();
            let group = NetlinkAddr::new(0, KERNEL_GROUP);
            for _ in 0..100 {
                let descriptor = from.socket.get().as_raw_fd();
                let filling = [b'x'; 1024];
                nix::sys::socket::sendto(descriptor, &filling, &group, MsgFlags::empty()).unwrap();
            }
            let tree = TestTree::new();
            tree.lockspace("fs");
            let (log, lines) = lines();
            let mut ours = Uevents::new(ours, tree.root().clone(), log);
            reactor.look(EpollTimeout::ZERO);
            assert_eq!(ready(&mut ours), Some(Event::Online { lockspace: name(b"fs") }));
            assert_eq!(*lines.lock().unwrap(), ["uevents were lost: reading the lockspaces again"]);
            assert_eq!(ready(&mut ours), None);
            assert!(!ours.socket.socket.is_readable(), "it is asked again when something comes");
        });
        overrun.join().unwrap();
    }
}
