//! The one call that makes a TAP device, which no safe interface has.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use libc::{IFF_NO_PI, IFF_TAP, IFF_TUN_EXCL, TUNSETIFF, ifreq};

/// Makes `file`, an open `/dev/net/tun`, the other end of a new TAP device of this name: what is read from it are the
/// frames that the kernel sends there, what is written to it are those that it receives. The device goes with the file.
///
/// # Errors
/// `InvalidInput` for a name that is empty or has 16 bytes or more, else what the kernel says: `EPERM` without
/// CAP_NET_ADMIN, `EBUSY` for a name that is taken.
pub fn attach_tap(file: &File, name: &str) -> io::Result<()> {
    // SAFETY: an ifreq is plain old data, for which zeroes are valid.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0, which ends the name.
    let room = request.ifr_name.len() - 1;
    if name.is_empty() || name.len() > room || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a device's name has 1 to {room} bytes")));
    }
    for (to, &from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL) as libc::c_short;
    // SAFETY: the descriptor is open while `file` is borrowed, and the kernel reads and writes no more than an ifreq.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let file = File::open("/dev/null").unwrap_or_else(|error| panic!("{error}"));
        for name in ["", "sixteen-bytes-no", "a\0b"] {
            let kind = attach_tap(&file, name).map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::InvalidInput), "{name:?}");
        }
        // Not a TUN device: the kernel's word.
        assert!(attach_tap(&file, "fifteen-bytes-0").is_err());
    }
}
