//! A file system that refuses O_DIRECT (ramfs does): the log is written with O_DSYNC instead, which is said,
//! and is as durable.

use std::fs;

use crate::disk_full::{create, read, set, until};
use crate::own_disk::{on_own_disk, start_on};
use crate::run::Running;
use ringkeeper_tests::wire::op;
use rustix::fs::OFlags;

const SEGMENT: &[&str] = &["--set", "log.sync=direct", "--set", "log.segmentBytes=262144"];

/// How the server has its segment open for writes: the kernel's flags.
fn segment_flags(server: &Running) -> OFlags {
    let process = format!("/proc/{}", server.id().as_raw_nonzero());
    let files = fs::read_dir(format!("{process}/fd")).expect("the server's files").flatten();
    let flags = files.filter_map(|file| {
        let path = fs::read_link(file.path()).ok()?;
        let name = file.file_name().into_string().ok()?;
        let info = fs::read_to_string(format!("{process}/fdinfo/{name}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
        let flags = OFlags::from_bits_retain(u32::from_str_radix(&flags, 8).ok()?);
        (path.extension()? == "rklog" && flags.contains(OFlags::WRONLY)).then_some(flags)
    });
    // A segment that is being prepared is written to without syncs of its own.
    flags.max_by_key(|flags| flags.intersects(OFlags::DSYNC)).expect("a segment is open")
}

#[test]
fn a_file_system_without_direct_writes_gets_synced_ones_and_that_is_said() {
    let name = "no_direct::a_file_system_without_direct_writes_gets_synced_ones_and_that_is_said";
    on_own_disk("mount -t ramfs ramfs", name, |disk| {
        let server = start_on(disk, SEGMENT).serves();
        until(&server, "log.sync=dsync instead of direct: the file system of ");
        assert!(server.said().contains("refuses O_DIRECT"), "{}", server.said());
        let mut session = server.session().expect("a session");
        create(&mut session, "/n");
        // More than one segment holds.
        for number in 0..600 {
            let reply = session.request(op::SET_DATA, &set("/n", format!("{number:0900}").as_bytes()));
            assert_eq!(reply.expect("a reply").error, 0);
        }
        let flags = segment_flags(&server);
        let synced = flags.intersects(OFlags::DSYNC) && !flags.contains(OFlags::DIRECT);
        assert!(synced, "{flags:?}");
        let last = read(&mut session, "/n");
        // Nothing that a stop would still write.
        server.kill();
        let server = start_on(disk, SEGMENT).serves();
        assert_eq!(read(&mut server.session().expect("a session"), "/n"), last);
        assert_eq!(server.stop().0, Some(0));
    });
}
