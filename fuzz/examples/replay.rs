//! Runs inputs again, without the fuzzer: `replay TARGET FILE...`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((_, run)) = ringkeeper_fuzz::TARGETS.into_iter().find(|(target, _)| *target == name) else {
        let names: Vec<&str> = ringkeeper_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("unknown target `{name}`; the targets are: {}", names.join(" "));
        return ExitCode::from(2);
    };
    for path in arguments {
        match std::fs::read(&path) {
            Ok(input) => {
                run(&input);
                println!("{path}: {} bytes, no law of {name} is broken", input.len());
            }
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}
