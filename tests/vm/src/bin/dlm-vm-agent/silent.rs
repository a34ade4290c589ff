//! A file that answers nobody: whoever opens it waits in the kernel, and not even SIGKILL ends that wait.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

/// `FUSE_INIT` of linux/fuse.h.
const FUSE_INIT: u32 = 26;
/// Size of `struct fuse_in_header`.
const REQUEST_HEADER: usize = 40;
/// Size of `struct fuse_out_header` and `struct fuse_init_out`.
const GREETING: usize = 80;

/// Mounts such a file over another one (FUSE), takes the first request for it, says so on standard output, and stays.
pub(crate) fn silent(file: &Path) -> Result<()> {
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .context("open /dev/fuse (modprobe fuse)")?;
    let options = format!("fd={},rootmode=100600,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("silent"), file, Some("fuse"), flags, Some(options.as_str()))
        .with_context(|| format!("mount over {}", file.display()))?;
    println!("mounted");
    let mut request = vec![0; 1 << 17];
    loop {
        let length = device.read(&mut request).context("read a request")?;
        ensure!(length >= REQUEST_HEADER, "a request of {length} bytes");
        let operation: [u8; 4] = request[4..8].try_into().context("a word")?;
        if u32::from_ne_bytes(operation) != FUSE_INIT {
            break;
        }
        // Version 7.31, writes of 4 KiB, all else off.
        let mut answer = vec![0; GREETING];
        for (at, word) in [(0, 80_u32), (16, 7), (20, 31), (36, 4096)] {
            answer[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        answer[8..16].copy_from_slice(&request[8..16]);
        device.write_all(&answer).context("answer the greeting")?;
    }
    println!("somebody waits");
    loop {
        std::thread::park();
    }
}
