//! How a Java ZooKeeper is started, where that differs from a bare `java -cp`: with a logging configuration,
//! as its own distribution starts it. Without one, logback logs everything at DEBUG, which costs the server
//! a multiple of its work; log4j without one warns and logs nothing.

use crate::failure::Failure;
use std::fs;
use std::path::{Path, absolute};

/// What each binding of SLF4J looks for on the class path: everything from INFO on to the standard output.
const LOGGING: [(&str, &str); 2] = [
    (
        "logback.xml",
        "<configuration>\n\
         \x20 <appender name=\"OUT\" class=\"ch.qos.logback.core.ConsoleAppender\">\n\
         \x20   <encoder><pattern>%date %level %logger: %msg%n</pattern></encoder>\n\
         \x20 </appender>\n\
         \x20 <root level=\"INFO\"><appender-ref ref=\"OUT\"/></root>\n\
         </configuration>\n",
    ),
    (
        "log4j.properties",
        "log4j.rootLogger=INFO, OUT\n\
         log4j.appender.OUT=org.apache.log4j.ConsoleAppender\n\
         log4j.appender.OUT.layout=org.apache.log4j.PatternLayout\n\
         log4j.appender.OUT.layout.ConversionPattern=%d %p %c: %m%n\n",
    ),
];

/// Writes the logging configurations into a server's home.
///
/// # Errors
/// A file cannot be written.
pub fn write_logging(home: &Path) -> Result<(), Failure> {
    LOGGING.iter().try_for_each(|(name, text)| {
        fs::write(home.join(name), text)
            .map_err(|error| Failure::system("writing a server's logging configuration", error))
    })
}

/// The class path of a server that runs in its home: first the home, so that no configuration in a jar comes
/// before it. The given entries are meant from where this program runs.
///
/// # Errors
/// The current directory is gone.
pub fn class_path(given: &str) -> Result<String, Failure> {
    let entries = given.split(':').filter(|entry| !entry.is_empty()).map(|entry| {
        let entry = absolute(entry).map_err(|error| Failure::system("looking for the class path", error))?;
        Ok(entry.to_string_lossy().into_owned())
    });
    let entries: Vec<String> =
        std::iter::once(Ok(".".to_owned())).chain(entries).collect::<Result<_, _>>()?;
    Ok(entries.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{Kind, Server};
    use std::io::{self, Write};

    #[test]
    fn the_home_is_first_and_the_rest_is_found_from_there() {
        let here = std::env::current_dir().unwrap();
        let found = class_path("zookeeper-3.9.5/lib/*:/usr/share/java/zookeeper.jar").unwrap();
        let wanted = format!(".:{}/zookeeper-3.9.5/lib/*:/usr/share/java/zookeeper.jar", here.display());
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_zookeeper_with_a_binding_for_its_log_logs_from_info_on() {
        const JARS: [&str; 3] = ["zookeeper.jar", "slf4j-log4j12.jar", "log4j-1.2.jar"];
        let jars = JARS.map(|jar| format!("/usr/share/java/{jar}"));
        if jars.iter().any(|jar| !Path::new(jar).exists()) {
            // Past the capture of a passing test's output: `tests/run` counts these lines.
            const SKIPPED: &[u8] = b"SKIPPED a_zookeeper_with_a_binding_for_its_log_logs_from_info_on: \
                Debian's zookeeper or log4j is not installed\n";
            return io::stderr().write_all(SKIPPED).unwrap();
        }
        let kind = Kind::ZooKeeper { class_path: jars.join(":"), heap_mb: 128 };
        let parent = tempfile::tempdir().unwrap();
        let mut server = Server::prepare(kind, parent.path(), &[]).unwrap();
        server.start("/").unwrap();
        server.kill();
        let log = server.output();
        assert!(log.contains(" INFO org.apache.zookeeper.") && !log.contains("DEBUG"), "{log}");
    }
}
