//! Errors of the service, and programs that cannot be used.

use std::os::unix::fs::{MetadataExt as _, symlink};

use crate::fake_api::{Script, limited, overloaded, refused, report};
use crate::fixture::Ran;
use crate::site::{Site, claude, plan, skipped};

#[test]
fn a_key_that_is_refused_stops_the_run() {
    let script = Script::new()
        .session(
            "1",
            [refused(401, "authentication_error", "invalid x-api-key")],
        )
        .session("2", [report("completed", "never")]);
    let site = Site::new(
        &claude!(),
        &plan(&[("1", ""), ("2", "depends_on: []")]),
        script,
    );
    site.run(["run"])
        .exits(8)
        .says("authentication")
        .says("Invalid API key");
    assert!(site.end("1").starts_with("auth: "), "{}", site.end("1"));
    assert_eq!(
        site.f.status("1")["attempts_spent"],
        0,
        "it is not the task's fault"
    );
    assert_eq!(
        site.openings("2").len(),
        0,
        "the next session would end the same"
    );
    site.f.orch(["status"]).exits(0).says("Invalid API key");
    site.f.assert_tidy();
}

#[test]
fn an_account_that_cannot_pay_stops_the_run() {
    let broke = "Your credit balance is too low to access the Anthropic API.";
    let script = Script::new().session("1", [refused(400, "invalid_request_error", broke)]);
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(8).says("billing");
    assert!(site.end("1").starts_with("billing: "), "{}", site.end("1"));
}

#[test]
fn errors_of_the_service_are_told_apart_and_shown() {
    let kinds = [
        ("busy", overloaded(), "throttled: API Error: 529"),
        (
            "broken",
            refused(500, "api_error", "Internal server error"),
            "throttled: API Error: 500",
        ),
        (
            "fast",
            refused(
                429,
                "rate_limit_error",
                "over your organization's rate limit",
            ),
            "throttled: API Error: Request rejected (429)",
        ),
        (
            "long",
            refused(
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            "context: Prompt is too long",
        ),
    ];
    let mut script = Script::new();
    for (id, reply, _) in &kinds {
        // Some of them the program tries again in another way.
        script = script.session(id, std::iter::repeat_n(reply.clone(), 6));
    }
    let tasks = kinds
        .each_ref()
        .map(|(id, ..)| (*id, "depends_on: []\nmax_attempts: 1"));
    let site = Site::new(&claude!(), &plan(&tasks), script);
    let run = site.command(["run", "--parallel"]).spawn().expect("orch");
    // What may be over soon is waited for; here nobody waits so long.
    site.f.await_that("each has ended once", || {
        let ended = |(id, ..): &(&str, _, _)| site.f.count("collected", id) > 0;
        kinds.iter().all(ended).then_some(())
    });
    site.f.orch(["stop"]).exits(0);
    Ran::of(run.wait_with_output().expect("its end")).exits(3);
    let shown = site.f.orch(["status"]).exits(0).stdout;
    for (id, _, wanted) in &kinds {
        assert!(site.end(id).starts_with(wanted), "{id}: {}", site.end(id));
        let (_, detail) = wanted.split_once(": ").expect("a detail");
        assert!(shown.contains(detail), "{detail} in {shown}");
    }
}

#[test]
fn a_request_that_the_service_cannot_read_is_shown_and_tried_again() {
    let odd = refused(400, "invalid_request_error", "messages: odd");
    // The program sends it again several times by itself.
    let script = Script::new()
        .session("1", std::iter::repeat_n(odd, 6))
        .session("1", [report("completed", "nothing to do")]);
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    assert_eq!(site.openings("1").len(), 2);
    site.f
        .orch(["show", "1"])
        .exits(0)
        .says("refused: API Error: 400 messages: odd");
}

#[test]
fn the_usage_limit_of_a_subscription_is_shown_with_its_end() {
    let script = Script::new().session("1", [limited(4_102_444_800)]);
    let site = Site::new(&claude!(), &plan(&[("1", "max_attempts: 1")]), script);
    let mut command = site.command(["run"]);
    command
        .env_remove("ANTHROPIC_API_KEY")
        .env("CLAUDE_CODE_OAUTH_TOKEN", "dummy");
    // Farther away than any wait may last.
    Ran::of(command.output().expect("orch"))
        .exits(5)
        .says("usage limit");
    let end = site.end("1");
    assert!(
        end.starts_with("usage_limit: ") && end.contains("until 2100-01-01 00:00:00 UTC"),
        "{end}"
    );
}

#[test]
fn without_the_program_nothing_begins() {
    let site = Site::new("claude".as_ref(), &plan(&[("1", "")]), Script::new());
    let bin = site.f.root().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    let path = std::env::var_os("PATH").expect("a PATH");
    let git = std::env::split_paths(&path)
        .map(|dir| dir.join("git"))
        .find(|file| file.is_file());
    symlink(git.expect("git"), bin.join("git")).expect("a link");
    let output = site
        .command(["run"])
        .env("PATH", &bin)
        .output()
        .expect("orch");
    Ran::of(output)
        .exits(8)
        .says("there is no program `claude`")
        .says("npm install");
    assert_nothing_began(&site);
}

#[test]
fn root_is_told_the_ways_out_before_anything_begins() {
    let program = claude!();
    let site = Site::new(&program, &plan(&[("1", "")]), Script::new());
    if std::fs::metadata(site.f.root()).expect("the root").uid() != 0 {
        skipped("the tests do not run as root");
        return;
    }
    site.settings(&format!("claude: {{binary: '{}'}}\n", program.display()));
    site.run(["run"])
        .exits(8)
        .says("root")
        .says("ordinary user")
        .says("claude.permission")
        .says("claude.allow_root: true");
    assert_nothing_began(&site);
}

fn assert_nothing_began(site: &Site) {
    assert!(
        !site.f.root().join("state/orch").exists(),
        "no slot was made"
    );
    assert_eq!(
        site.f.git(["for-each-ref", "--format=%(refname)"]),
        "refs/heads/main\n"
    );
    assert_eq!(site.f.git(["worktree", "list"]).lines().count(), 1);
    assert_eq!(site.f.git(["status", "--porcelain"]), "");
    assert_eq!(site.api.requests().len(), 0);
}
