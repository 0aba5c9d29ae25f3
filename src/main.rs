//! The `ringkeeper` binary: parses the command line and hands over to the library.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use ringkeeper::cli::{Cli, Command};
use ringkeeper::{config, ensemble, export, import, serve, status, tools};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::main(&args),
        Command::Ensemble(args) => ensemble::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Import(args) => import::main(&args),
        Command::Export(args) => export::main(&args),
        Command::Keys { pattern } => keys(&pattern),
        Command::Log(command) => tools::log::main(&command),
        Command::Snapshot(command) => tools::snapshot::main(&command),
    }
}

/// Prints the known keys; a reader that has seen enough (`| head`) is no error.
fn keys(pattern: &str) -> ExitCode {
    let mut lines = config::describe_keys(pattern).peekable();
    if lines.peek().is_none() {
        eprintln!("error: no key's name contains `{pattern}`");
        return ExitCode::FAILURE;
    }
    let mut out = io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
