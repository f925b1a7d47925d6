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
                (r"verify/(\d+)-(\d+)-\d+/", "verify/$1-$2-[epoch]/"),
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
fn what_an_agent_says_forges_no_line_and_commands_no_terminal() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "max_attempts: 1\nrun: printf 'no\\n00:00:00  1  landed as 0123456789\\n\\033[2Jwiped' >&2; exit 3",
    )]));
    let ran = f.orch(["run"]).exits(1).says("landed as 0123456789");
    let why = f.orch(["why", "1"]).exits(0).stdout;
    assert_eq!(why.lines().count(), 1, "{why}");
    let status = f.orch(["status"]).exits(0).stdout;
    let show = f.orch(["show", "1"]).exits(0).stdout;
    for text in [ran.stderr, ran.stdout, why, status, show] {
        assert!(!text.contains('\x1b'), "{text}");
        assert!(!text.contains("\n00:00:00"), "{text}");
    }
}

#[test]
fn what_a_red_gate_printed_is_in_the_account_and_not_among_the_lines() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "max_attempts: 1\nrun: touch a\nverify: 'printf \"fir%s\\nsec%s\\n\" st ond; exit 1'",
    )]));
    let ran = f.orch(["run"]).exits(1).says("; no attempts left");
    let why = f.orch(["why", "1"]).exits(0).stdout;
    for line in [&ran.stderr, &why] {
        assert!(!line.contains("second"), "{line}");
    }
    let show = f.orch(["show", "1"]).exits(0).stdout;
    for account in [&ran.stdout, &show] {
        assert!(account.contains("\n        second\n"), "{account}");
    }
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

/// A task that its gates refuse once, one that lands at once, a decision, and a tag that somebody makes meanwhile.
fn judged() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "description: |\n  Make the sums right.\n\n  Done when the suite is green.\nrun: if [ \"$ORCH_ATTEMPT\" = 1 ]; then sed -i 's/^ok 2/not ok 2/' suite.tap; else git checkout -q suite.tap 2>/dev/null || sed -i 's/^not ok 2/ok 2/' suite.tap; echo fine > a.txt; fi; git -C \"$GATE/../repo\" tag seen 2>/dev/null; true",
        ),
        ("2", "run: touch b"),
        ("3", "run: 'false'\nmax_attempts: 1"),
    ]));
    f.write("suite.tap", "1..2\nok 1 - adds\nok 2 - subtracts\n");
    f.write(
        "orch.yaml",
        "verify:\n  commands:\n    - {name: suite, run: \"cat suite.tap; ! grep -q '^not ok' suite.tap\"}\n    - {name: style, run: test ! -e b, required: false}\n  env_probe: [echo tools 1.0]\n",
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a suite"]);
    f.orch(["run"]).exits(1);
    f.orch(["skip", "3", "--note", "not worth it"]).exits(0);
    f
}

#[test]
fn the_account_of_a_run_with_gates() {
    let f = judged();
    let text = f.orch(["report"]).exits(0).stdout;
    assert_screen!(f, without_durations(&text));
    let page = f.orch(["report", "--format", "html"]).exits(0).stdout;
    let body = page.split_once("<body>").expect("a body").1;
    assert_screen!(
        f,
        Some("the_page_of_a_run_with_gates".to_owned()),
        without_durations(&body.replace("&#x2f;", "/"))
    );
}

#[test]
fn the_account_as_data_has_what_was_verified() {
    let f = judged();
    let data = f.orch(["report", "--format", "json"]).exits(0).stdout;
    let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(
        data["numbers"],
        serde_json::json!({"tasks": 3, "done": 3, "landed": 2, "verified": 2, "failed": 0, "waiting": 0})
    );
    assert_eq!(data["baseline"][0]["verdict"], "passed");
    let judged = data["tasks"][0]["judged"].as_array().expect("judgements");
    let verdicts: Vec<_> = judged.iter().map(|j| &j["verdict"]).collect();
    assert_eq!(verdicts, ["failed", "passed"]);
    assert_eq!(judged[0]["gates"][0]["exit"], 1);
    assert_eq!(judged[0]["gates"][0]["failures"][0], "subtracts");
    assert_eq!(judged[1]["landed"], true);
    assert_eq!(
        judged[1]["tree"].as_str().expect("a tree"),
        f.git(["rev-parse", "orch/plan~1^{tree}"]).trim()
    );
    let told = &data["tasks"][0]["attempts"][0]["meanwhile"][0];
    assert!(
        told.as_str().expect("text").contains("refs/tags/seen"),
        "{told}"
    );
    assert_eq!(data["tasks"][2]["decided"][0]["note"], "not worth it");
}

/// Times that commands took, and where bars stand, differ from run to run.
fn without_durations(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.contains("class=\"bar\"") {
            out.push_str("[bars]\n");
            continue;
        }
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            let unit = ["ms", "s"].iter().find_map(|unit| {
                let rest = word.strip_prefix(unit)?;
                (!rest.starts_with(char::is_alphanumeric)).then_some(rest)
            });
            let number = words.last().and_then(|last| {
                let at = last.find(|c: char| c.is_ascii_digit())?;
                last[at..].parse::<f64>().is_ok().then_some(at)
            });
            match (unit, number) {
                (Some(rest), Some(at)) => {
                    let before = words.pop().expect("it was just looked at");
                    words.push(format!("{}[took]{rest}", &before[..at]));
                }
                _ => words.push(word.to_owned()),
            }
        }
        out.push_str(&words.join(" "));
        out.push('\n');
    }
    out
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
