//! `ringkeeper serve`: loads the configuration, says what is worth saying about it, and runs the server.

use std::io;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{self, ServeArgs};
use crate::config::Config;

/// The configuration cannot be used; ZooKeeper exits with the same code.
const BAD_CONFIGURATION: u8 = 2;

/// Runs a server as the command line asks. Notices and errors go to standard error.
pub fn main(args: &ServeArgs) -> ExitCode {
    let overrides = match args.overrides() {
        Ok(overrides) => overrides,
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let config = match cli::load_config(args.file.as_deref(), &overrides) {
        Ok((config, notices)) => {
            notices.iter().for_each(|notice| eprintln!("{notice}"));
            config
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if !config.unservable.is_empty() {
        config.unservable.iter().for_each(|error| eprintln!("{error}"));
        return ExitCode::from(BAD_CONFIGURATION);
    }
    start_messages();
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The server's messages go to standard error; the variable `RUST_LOG` filters them, by default to `info`.
fn start_messages() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// Serves until the process is told to stop.
///
/// # Errors
///
/// Why the server could not start or had to end.
pub fn run(config: &Config) -> Result<(), String> {
    Err(format!("{}: this build has no network layer", config.listen.address))
}
