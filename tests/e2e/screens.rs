//! What people see, word for word. Times, ids and paths are replaced.

use clap::CommandFactory;
use orch::cli::args::Cli;

use crate::fixture::Fixture;
use crate::runs::plan;

/// Compares with the stored text, in which everything that differs from run to run has a name.
macro_rules! assert_screen {
    ($fixture:expr, $text:expr) => {
        assert_screen!($fixture, None::<String>, $text)
    };
    ($fixture:expr, $name:expr, $text:expr) => {{
        let name: Option<String> = $name;
        insta::with_settings!({
            filters => vec![
                (format!("(/private)?{}", $fixture.root().display()).as_str(), "[root]"),
                (r"\d{8}-\d{6}-[0-9a-z]{4}", "[run]"),
                (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC(, \d+ (ms|s))?", "[when]"),
                (r"\d\d-\d\d \d\d:\d\d:\d\d", "[date and time]"),
                (r"\d\d:\d\d:\d\d", "[time]"),
                (r"\b[0-9a-f]{40}\b", "[commit]"),
                (r"\b[0-9a-f]{10}\b", "[commit]"),
            ],
            omit_expression => true,
        }, {
            match name {
                Some(name) => insta::assert_snapshot!(name, $text),
                None => insta::assert_snapshot!($text),
            }
        });
    }};
}

/// One task fails for good, one waits for it, one lands; by commands, so that the order is known.
fn mixed() -> Fixture {
    Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "max_attempts: 2\nrun: echo no such luck >&2; exit 3"),
        ("3", "run: echo c > c.txt"),
        (
            "4",
            "depends_on: ['1']\nkind: report\nrun: mkdir -p .orch && echo all is well > .orch/report.md",
        ),
        ("5", "status: skipped\nrun: 'true'"),
    ]))
}

#[test]
fn help_of_every_command() {
    let f = Fixture::new();
    let mut cli = Cli::command();
    cli.build();
    let mut shown = f.orch(["--help"]).exits(0).stdout;
    for command in cli.get_subcommands() {
        let name = command.get_name();
        if name == "help" {
            continue;
        }
        let help = f.orch([name, "--help"]).exits(0).stdout;
        shown.push_str(&format!("\n-------- orch {name}\n\n{help}"));
    }
    assert_screen!(f, shown);
}

#[test]
fn a_plan_with_problems() {
    let f = Fixture::new();
    f.write(
        "plan.yaml",
        "orch: 1\nsections:\n  - id: s\n    name: Work\n    tasks:\n      - id: '1'\n        name: First\n        depend_on: ['2']\n      - id: '1'\n        name: Second\n        depends_on: [nobody]\n        status: done\n",
    );
    let ran = f.orch(["check", "plan.yaml"]).exits(2);
    assert_screen!(f, format!("{}{}", ran.stdout, ran.stderr));
}

#[test]
fn a_dry_run() {
    let f = mixed();
    let ran = f.orch(["run", "--dry-run", "-j", "2"]).exits(0);
    assert_screen!(f, format!("{}{}", ran.stdout, ran.stderr));
}

#[test]
fn the_lines_of_a_run_and_its_end() {
    let f = mixed();
    let ran = f.orch(["run"]).exits(1);
    assert_screen!(f, format!("{}-------- stdout\n{}", ran.stderr, ran.stdout));
}

#[test]
fn the_account_of_a_run() {
    let f = mixed();
    f.orch(["run"]).exits(1);
    f.orch(["skip", "2", "--note", "not worth it"]).exits(0);
    let ran = f.orch(["report"]).exits(0);
    assert_screen!(f, ran.stdout);
}

#[test]
fn the_page_of_a_run_loads_nothing_and_what_others_wrote_is_only_text_on_it() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "description: '<script>alert(1)</script> & ```'\nrun: echo a > a.txt",
    )]));
    f.orch(["run"]).exits(0);
    let page = f.orch(["report", "--format", "html"]).exits(0).stdout;
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    for forbidden in ["<script", "src=", "@import", "url(", "http"] {
        assert!(!page.contains(forbidden), "{forbidden}: {page}");
    }
    let data = f.orch(["report", "--format", "json"]).exits(0).stdout;
    let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(data["tasks"][0]["asked"], "<script>alert(1)</script> & ```");
}

#[test]
fn status_why_and_show_of_a_failure() {
    let f = mixed();
    f.orch(["run"]).exits(1);
    let mut shown = String::new();
    for args in [
        &["status"][..],
        &["why", "3"],
        &["show", "2"],
        &["show", "4"],
        &["logs", "2"],
    ] {
        let output = f.command([]).args(args).output().expect("orch");
        let ran = crate::fixture::Ran::of(output).exits(0);
        shown.push_str(&format!("$ orch {}\n{}\n", args.join(" "), ran.stdout));
    }
    assert_screen!(f, shown);
}
