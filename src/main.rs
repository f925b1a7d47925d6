//! Parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = orch::process::shim::dispatch() {
        return code;
    }
    ExitCode::SUCCESS
}
