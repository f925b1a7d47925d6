//! Parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

use orch::{agent, cli, process};

fn main() -> ExitCode {
    // The hidden subcommands come first: they start once per attempt, and need nothing of the command line.
    process::shim::dispatch()
        .or_else(agent::rehearsal::dispatch)
        .unwrap_or_else(cli::main)
}
