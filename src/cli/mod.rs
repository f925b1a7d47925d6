//! The command line: argument structs by theme; one file a command: read, call, print.

mod agents;
pub mod args;
mod asked;
mod audit;
pub mod bounds;
pub mod check;
mod control;
mod costs;
mod demo;
mod doctor;
mod dry_run;
mod du;
mod ending;
mod events;
mod gates;
mod gc;
pub mod graph;
mod init;
mod locate;
mod logs;
mod out;
mod propose;
mod protected;
mod rehearse;
mod report;
mod roles;
mod run;
mod salvage;
mod show;
mod site;
mod stall;
mod status;
mod why;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::engine::event::Verb;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Strictness;
use crate::report::paint::Paint;
use args::{AgentsCommand, Cli, ColorChoice, Command};
use out::Out;

/// Parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            return match error.print() {
                Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(8),
                Ok(()) | Err(_) => ExitCode::from(code),
            };
        }
    };
    let colour = |stream_is_terminal: bool| match cli.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            stream_is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    let (paint, talk) = (
        Paint::new(colour(std::io::stdout().is_terminal())),
        Paint::new(colour(std::io::stderr().is_terminal())),
    );
    let mut stdout = std::io::stdout();
    let mut out = Out {
        is_terminal: stdout.is_terminal(),
        data: &mut stdout,
        paint,
        talk,
    };
    match dispatch(cli, &mut out) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out.talk(&error.render());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// A reader that has seen enough, like `head`, is not an error.
fn is_broken_pipe(error: &Error) -> bool {
    error
        .root_io()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn dispatch(cli: Cli, out: &mut Out<'_>) -> Result<u8> {
    if let Some(directory) = &cli.directory {
        std::env::set_current_dir(directory).map_err(|e| {
            Error::new(
                ErrorKind::Usage,
                anyhow::anyhow!("cannot go to {}: {e}", directory.display()),
            )
        })?;
    }
    // Which looks for such objects itself, and may take long.
    if !matches!(cli.command, Command::Doctor(_)) {
        stall::watch();
    }
    match cli.command {
        Command::Init(args) => init::init(&args, out),
        Command::Check(args) => {
            let strictness = if args.strict {
                Strictness::Strict
            } else {
                Strictness::AsWritten
            };
            let ok = check::check(
                &locate::plan_to_read(args.plan)?,
                strictness,
                args.format,
                out.paint.is_coloured(),
                asked::problems,
                out.data,
            )?;
            Ok(if ok { 0 } else { ErrorKind::Usage.exit_code() })
        }
        Command::Graph(args) => {
            let mut talk = std::io::stderr();
            graph::graph(
                &locate::plan_to_read(args.plan)?,
                args.format,
                out.talk.is_coloured(),
                out.data,
                &mut talk,
            )
            .map(|()| 0)
        }
        Command::Run(args) => run::run(&args, out),
        Command::Status(args) => status::status(&args, out),
        Command::Logs(args) => logs::logs(&args, out),
        Command::Events(args) => events::events(&args, out),
        Command::Why(args) => why::why(&args, out),
        Command::Show(args) => show::show(&args, out),
        Command::Audit(args) => audit::audit(&args, out),
        Command::Gates(args) => gates::gates(&args, out),
        Command::Approve(args) => control::approve(&args, out),
        Command::Reject(args) => control::reject(&args, out),
        Command::Report(args) => report::report(&args, out),
        Command::Gc(args) => gc::gc(&args, out),
        Command::Du(args) => du::du(&args, out),
        Command::Salvage(args) => salvage::salvage(&args.command, out),
        Command::Doctor(args) => doctor::doctor(&args, out),
        Command::Stop(args) => control::stop(&args, out),
        Command::Cancel(args) => control::of_task(&args, |task| Verb::Cancel { task }, out),
        Command::Retry(args) => control::retry(&args, out),
        Command::Skip(args) => control::of_task(&args, |task| Verb::Skip { task }, out),
        Command::Done(args) => control::done(&args, out),
        Command::Pause(args) => control::of_run(&args, Verb::Pause, out),
        Command::Resume(args) => control::of_run(&args, Verb::Resume, out),
        Command::Hold(args) => control::of_task(&args, |task| Verb::Hold { task }, out),
        Command::Release(args) => control::of_task(&args, |task| Verb::Release { task }, out),
        Command::Priority(args) => control::priority(&args, out),
        Command::Jobs(args) => control::jobs(&args, out),
        Command::Costs(args) => costs::costs(&args, out),
        Command::Agents(args) => match args.command {
            AgentsCommand::List { format } => agents::list(format, out),
            AgentsCommand::Show { role, format } => agents::show(&role, format, out),
        },
        Command::Demo(args) => demo::demo(&args, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "orch", &mut script);
            out.print(&String::from_utf8_lossy(&script)).map(|()| 0)
        }
    }
}
