//! Keeping the machine from falling asleep while a run goes on, by the system's own program for it.
//!
//! The program holds its lock for as long as orch lives, however orch ends: it waits for the end of a pipe, or of this
//! process. A system without such a program, or that does not let it, may sleep; that is no reason to say anything.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// A held sleep inhibitor. Dropping it releases the machine.
#[derive(Debug)]
pub struct Awake {
    holder: Child,
}

impl Awake {
    /// Holds one, if the system has one to hold.
    pub fn hold() -> Option<Self> {
        match start() {
            Ok(holder) => Some(Self { holder }),
            Err(error) => {
                tracing::debug!(%error, "the machine is not kept awake");
                None
            }
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Ok(Some(status)) = self.holder.try_wait() {
            tracing::debug!(%status, "the machine was not kept awake to the end");
            return;
        }
        // What it runs waits for the end of this pipe.
        drop(self.holder.stdin.take());
        let ended = self.holder.kill().and_then(|()| self.holder.wait());
        if let Err(error) = ended {
            tracing::debug!(%error, "the sleep inhibitor ends by itself");
        }
    }
}

fn start() -> io::Result<Child> {
    let mut command = if cfg!(target_os = "macos") {
        let mut command = Command::new("caffeinate");
        command
            .arg("-i")
            .arg("-w")
            .arg(std::process::id().to_string());
        command
    } else {
        let mut command = Command::new("systemd-inhibit");
        command.args([
            "--what=idle:sleep",
            "--mode=block",
            "--who=orch",
            "--why=a plan is being worked through",
            "cat",
        ]);
        command
    };
    command
        // A pipe also keeps it from asking for a password.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is for orch: what finishes after it still needs the machine.
        .process_group(0)
        .spawn()
}
