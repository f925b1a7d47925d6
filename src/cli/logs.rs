//! `orch logs`: what an agent did and said, from its stream; of a command, all that it printed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::anyhow;

use super::args::LogsArgs;
use super::locate;
use super::out::Out;
use crate::agent::transcript::Transcript;
use crate::driver::attempt::Sheet;
use crate::driver::watch::Watch;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::process::{self, Adoption};
use crate::store::{AttemptDir, SessionPart};

/// Bytes read from a stream at once.
const CHUNK: u64 = 1 << 20;
/// How long `--follow` trusts the file watch before it looks by itself.
const LOOK_ANYWAY: std::time::Duration = std::time::Duration::from_secs(2);

/// `orch logs`.
pub(super) fn logs(args: &LogsArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let engine = locate::engine(&chosen)?;
    let task = locate::task(&engine, &args.task)?;
    let attempt = args
        .attempt
        .or_else(|| engine.view(&task).map(|v| v.attempt))
        .filter(|n| *n > 0);
    let Some(attempt) = attempt else {
        return Err(Error::new(
            ErrorKind::Negative,
            anyhow!("task {task} has not been started"),
        )
        .hint(format!("orch why {task}")));
    };
    let dir = chosen.state.run(&chosen.run.run).attempt(&task, attempt);
    if !dir.path().exists() {
        return Err(Error::new(
            ErrorKind::Negative,
            anyhow!("nothing is kept of attempt {attempt} of task {task}"),
        ));
    }
    // An attempt without a sheet never started its agent.
    let structured = Sheet::load(&dir).is_ok_and(|s| s.speaks_stream_json());
    let mut printer = Printer::new(&dir, structured, args.raw);
    printer.print_new(out)?;
    if args.follow {
        follow(&dir, &mut printer, out)?;
    }
    printer.finish(out).map(|()| 0)
}

fn follow(dir: &AttemptDir, printer: &mut Printer, out: &mut Out<'_>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment()?;
    runtime.block_on(async {
        let mut watch = Watch::over(&[dir.session(SessionPart::Work).stream()]);
        while let Adoption::Alive(_) = process::adopt(dir.session(SessionPart::Work).path())
            .await
            .or_environment()?
        {
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep(LOOK_ANYWAY) => {}
            }
            printer.print_new(out)?;
        }
        Ok(())
    })
}

/// Prints what an attempt's sessions write, as it grows.
struct Printer {
    streams: Vec<(std::path::PathBuf, u64)>,
    raw: bool,
    transcript: Transcript,
}

impl Printer {
    fn new(dir: &AttemptDir, structured: bool, raw: bool) -> Self {
        let mut streams = Vec::new();
        for session in dir.sessions() {
            streams.push((session.stream(), 0));
            if !structured && !raw {
                streams.push((session.stderr(), 0));
            }
        }
        Self {
            streams,
            raw: raw || !structured,
            transcript: Transcript::default(),
        }
    }

    fn print_new(&mut self, out: &mut Out<'_>) -> Result<()> {
        for (path, offset) in &mut self.streams {
            loop {
                let new = read_from(path, *offset).or_environment()?;
                if new.is_empty() {
                    break;
                }
                *offset += new.len() as u64;
                let text = if self.raw {
                    String::from_utf8_lossy(&new).into_owned()
                } else {
                    self.transcript.push(&new)
                };
                out.print(&text)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, out: &mut Out<'_>) -> Result<()> {
        self.print_new(out)?;
        out.print(&self.transcript.finish())
    }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes)?;
    Ok(bytes)
}
