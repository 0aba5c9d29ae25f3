//! Why there is no ring.

use std::io;

/// What stands between this process and a ring.
pub(super) fn explain(error: io::Error) -> io::Error {
    const ENOSYS: i32 = 38;
    const ENOMEM: i32 = 12;
    let forbidden = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let why = match (error.raw_os_error(), forbidden.trim()) {
        (Some(ENOSYS), _) => {
            "this kernel has no io_uring, or a seccomp profile hides it: use Linux 5.11 or newer, and in a \
             container a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        (Some(ENOMEM), _) => {
            "the limit of locked memory is too low: raise it (ulimit -l, LimitMEMLOCK)".to_owned()
        }
        (_, "2") => {
            "kernel.io_uring_disabled is 2: set it to 0 (sysctl -w kernel.io_uring_disabled=0)".to_owned()
        }
        (_, "1") => {
            "kernel.io_uring_disabled is 1, so only privileged processes may use io_uring: set it to 0, \
                     or put the server's group into kernel.io_uring_group"
                .to_owned()
        }
        _ => "a seccomp profile or security module forbids it: in a container, allow io_uring_setup, \
              io_uring_enter and io_uring_register"
            .to_owned(),
    };
    io::Error::new(error.kind(), format!("the kernel refuses io_uring ({error}): {why}"))
}
