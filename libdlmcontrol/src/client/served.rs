//! A daemon for the tests of this folder.

use super::Client;
use crate::proto::{Command, Header};
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread::{self, JoinHandle};
use zerocopy::IntoBytes as _;

/// A daemon that answers one connection with fixed bytes, and returns what it was sent.
pub(super) fn daemon(name: &str, expect: usize, answer: Vec<u8>) -> (Client, JoinHandle<Vec<u8>>) {
    let name = format!("dlmcontrol-test-{name}-{}", std::process::id());
    let listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; expect];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(&answer).unwrap();
        request
    });
    (Client::with_sockets(name.as_bytes(), name.as_bytes()), server)
}

pub(super) fn reply(command: Command, data: i32, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::new(command).followed_by(payload.len());
    header.data = data;
    [header.as_bytes(), payload].concat()
}
