//! `ringkeeper serve`: loads the configuration, says what is worth saying about it, and runs the server.

use std::process::ExitCode;

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
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process is told to stop.
///
/// # Errors
///
/// Why the server could not start or had to end.
pub fn run(config: &Config) -> Result<(), String> {
    Err(format!("{}: this build has no network layer", config.listen.address))
}
