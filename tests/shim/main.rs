//! What the shim promises, tried with real processes.

mod attempt;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attempt::{Attempt, ORCH, gone, is_running, patiently};
use orch::process::{
    Adoption, Cause, Changes, Exit, Line, LineFollower, RunError, ShimSpec, SpawnError, adopt,
    alive, end, run_to_end, spawn, sweep,
};
use rustix::process::Signal;

#[tokio::test]
async fn the_exit_code_is_reported() {
    let run = Attempt::with_script("exit 7").run().await;
    assert_eq!((run.cause, run.exit), (Cause::Exited, Exit::Code(7)));
    assert_eq!((run.swept, run.survivors), (0, 0));
}

#[tokio::test]
async fn the_signal_that_killed_the_agent_is_reported() {
    let run = Attempt::with_script("kill -SEGV $$").run().await;
    assert_eq!((run.cause, run.exit), (Cause::Exited, Exit::Signal(11)));
}

#[tokio::test]
async fn cpu_time_and_memory_of_the_whole_tree_are_reported() {
    let burn = "(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done) & wait";
    let usage = Attempt::with_script(burn).run().await.usage;
    assert!(usage.user_ms + usage.system_ms > 0, "{usage:?}");
    assert!(usage.max_rss_kib > 0, "{usage:?}");
}

#[tokio::test]
async fn the_prompt_is_the_standard_input_and_the_outputs_are_files() {
    let attempt = Attempt::with_script("cat; echo complaint >&2; pwd");
    let run = attempt.run().await;
    let slot = attempt.spec.launch.cwd.display();
    assert_eq!(attempt.stdout(), format!("do it\n{slot}\n"));
    let stderr = fs::read_to_string(&attempt.spec.stderr).expect("readable");
    assert_eq!(stderr, "complaint\n");
    assert_eq!(run.stdout_bytes, attempt.stdout().len() as u64);
    assert_eq!(run.stderr_bytes, 10);
}

#[tokio::test]
async fn the_environment_is_exactly_the_given_one_and_the_markers() {
    let mut attempt = Attempt::with_command("/usr/bin/env", &["-0"]);
    let odd = "two\nlines = \"quoted\" ä";
    attempt.spec.launch.env = BTreeMap::from([("ODD".to_owned(), odd.to_owned())]);
    attempt.run().await;
    let stdout = attempt.stdout();
    let found: BTreeSet<&str> = stdout.split_terminator('\0').collect();
    let run = attempt.path().file_name().expect("named").to_string_lossy();
    let expected = [
        format!("ODD={odd}"),
        format!("ORCH_RUN={run}"),
        "ORCH_TASK=1.10".to_owned(),
        "ORCH_ATTEMPT=2".to_owned(),
        format!("ORCH_MARK={run}/1.10/2/3"),
    ];
    assert_eq!(found, expected.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn no_value_of_the_environment_is_written_to_the_attempt_directory() {
    let mut attempt = Attempt::with_script("true");
    let secret = "sesame-open-up";
    let env = &mut attempt.spec.launch.env;
    env.insert("API_KEY".to_owned(), secret.to_owned());
    attempt.run().await;
    for entry in fs::read_dir(attempt.path()).expect("listed").flatten() {
        if entry.file_type().expect("known").is_file() {
            let text = fs::read_to_string(entry.path()).expect("read");
            assert!(!text.contains(secret), "{:?}", entry.path());
        }
    }
}

#[tokio::test]
async fn the_agent_gets_its_own_session_and_none_of_the_shims_descriptors_and_blocked_signals() {
    let script =
        "ls -l /proc/self/fd; grep SigBlk /proc/self/status; cut -d' ' -f1,5,6 /proc/$$/stat";
    let attempt = Attempt::with_script(script);
    attempt.run().await;
    let stdout = attempt.stdout();
    assert!(!stdout.contains("shim."), "{stdout}");
    assert!(!stdout.contains("orch-environment"), "{stdout}");
    assert!(!stdout.contains("socket:"), "{stdout}");
    assert!(stdout.contains("SigBlk:\t0000000000000000"), "{stdout}");
    let ids = stdout.lines().last().expect("a line");
    let ids: BTreeSet<&str> = ids.split(' ').collect();
    assert_eq!(ids.len(), 1, "pid, group and session: {stdout}");
}

#[tokio::test]
async fn an_agent_that_cannot_be_started_is_reported_with_the_reason() {
    let missing = Attempt::with_command("/no/such/program", &[]);
    let error = missing.not_started().await;
    assert!(error.contains("/no/such/program"), "{error}");

    let mut homeless = Attempt::with_script("true");
    homeless.spec.launch.cwd = PathBuf::from("/no/such/slot");
    let error = homeless.not_started().await;
    assert!(error.contains("/no/such/slot"), "{error}");

    let mut speechless = Attempt::with_script("true");
    speechless.spec.stdin = speechless.path().join("no-prompt");
    let error = speechless.not_started().await;
    assert!(error.contains("no-prompt"), "{error}");

    let mut foreign = Attempt::with_script("true");
    foreign.spec.version += 1;
    let error = foreign.not_started().await;
    assert!(error.contains("version"), "{error}");
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_may_end_in_its_own_way() {
    let script = "trap 'exit 3' TERM; echo ready > $MESSAGES; while :; do sleep 0.01; done";
    let mut attempt = Attempt::with_script(script);
    let mut messages = attempt.messages();
    let running = attempt.spawn();
    assert_eq!(messages.next().await, "ready");
    end(attempt.path()).await.expect("told");
    let run = attempt.ended(running).await;
    assert_eq!((run.cause, run.exit), (Cause::Ended, Exit::Code(3)));
}

#[tokio::test]
async fn an_agent_that_tells_its_shim_to_end_is_told_from_orch_that_does() {
    // `kill` is the shell's own, so that who sent it still lives when the shim looks.
    let attempt = Attempt::with_script("kill -TERM $PPID; while :; do sleep 600; done");
    let running = attempt.spawn();
    let run = attempt.ended(running).await;
    assert_eq!(
        (run.cause, run.exit),
        (Cause::EndedFromBelow, Exit::Signal(15))
    );
}

#[tokio::test]
async fn an_agent_that_ignores_sigterm_is_killed_after_the_grace_time() {
    let script = "trap '' TERM; echo ready > $MESSAGES; while :; do sleep 600; done";
    let mut attempt = Attempt::with_script(script);
    attempt.spec.grace_ms = 100;
    let mut messages = attempt.messages();
    let running = attempt.spawn();
    assert_eq!(messages.next().await, "ready");
    end(attempt.path()).await.expect("told");
    let run = attempt.ended(running).await;
    assert_eq!((run.cause, run.exit), (Cause::Ended, Exit::Signal(9)));
    end(attempt.path()).await.expect("nothing to do any more");
}

#[tokio::test]
async fn being_told_twice_to_end_skips_the_grace_time() {
    let script = "trap 'echo told > $MESSAGES' TERM; echo ready > $MESSAGES
        while :; do sleep 0.01; done";
    let mut attempt = Attempt::with_script(script);
    let mut messages = attempt.messages();
    let running = attempt.spawn();
    assert_eq!(messages.next().await, "ready");
    end(attempt.path()).await.expect("told");
    assert_eq!(messages.next().await, "told");
    end(attempt.path()).await.expect("told again");
    let run = attempt.ended(running).await;
    assert_eq!((run.cause, run.exit), (Cause::Ended, Exit::Signal(9)));
}

#[tokio::test]
async fn the_time_limit_ends_the_agent() {
    let mut attempt = Attempt::with_script("exec sleep 600");
    attempt.spec.timeout_ms = 50;
    let run = attempt.run().await;
    assert_eq!((run.cause, run.exit), (Cause::Timeout, Exit::Signal(15)));
    assert!(run.wall_ms >= 50, "{run:?}");
}

#[tokio::test]
async fn a_flood_of_output_ends_the_agent() {
    for flood in ["exec yes", "exec yes >&2"] {
        let mut attempt = Attempt::with_script(flood);
        attempt.spec.output_bytes_max = 100_000;
        let run = attempt.run().await;
        assert_eq!(run.cause, Cause::OutputFlood);
        assert!(run.stdout_bytes.max(run.stderr_bytes) > 100_000);
    }
}

#[tokio::test]
async fn an_agent_without_orch_is_ended_after_its_time() {
    let mut attempt = Attempt::with_script("exec sleep 600");
    attempt.orch_lock = None;
    attempt.spec.unsupervised_ms_max = 100;
    let run = attempt.run().await;
    assert_eq!(run.cause, Cause::Unsupervised);
    assert!(run.wall_ms >= 100, "{run:?}");
}

#[tokio::test]
async fn an_agent_with_orch_runs_longer_than_it_could_without() {
    let mut attempt = Attempt::with_script("sleep 0.3");
    attempt.spec.unsupervised_ms_max = 100;
    let run = attempt.run().await;
    assert_eq!((run.cause, run.exit), (Cause::Exited, Exit::Code(0)));
}

#[tokio::test]
async fn daemons_of_every_kind_end_with_the_agent() {
    let daemon = "trap \"\" TERM HUP INT; echo $$ > $MESSAGES; while :; do sleep 600; done";
    let script = format!(
        "D='{daemon}'
        sh -c \"$D\" &
        nohup sh -c \"$D\" > /dev/null 2>&1 &
        setsid sh -c \"$D\" &
        (setsid sh -c \"$D\" > /dev/null 2>&1 < /dev/null &)
        (setsid sh -c \"(sh -c '$D' &)\" &)
        env -i PATH=$PATH MESSAGES=$MESSAGES setsid -f sh -c \"$D\"
        read all_started < $GO"
    );
    let mut attempt = Attempt::with_script(&script);
    attempt.spec.grace_ms = 50;
    let mut messages = attempt.messages();
    let go = attempt.fifo("GO");
    let running = attempt.spawn();
    let mut daemons = Vec::new();
    for _ in 0..6 {
        daemons.push(messages.next_pid().await);
    }
    tokio::fs::write(go, "go\n").await.expect("written");
    let run = attempt.ended(running).await;
    assert_eq!((run.cause, run.exit), (Cause::Exited, Exit::Code(0)));
    assert!(run.swept >= 6, "{run:?}");
    assert_eq!(run.survivors, 0);
    for daemon in daemons {
        assert!(!is_running(daemon), "{daemon}");
    }
    assert_eq!(alive(&attempt.spec.marker).expect("looked"), []);
}

#[tokio::test]
async fn signals_of_a_terminal_leave_the_agent_alone() {
    let script = "echo ready > $MESSAGES; read word < $GO; exit 4";
    let mut attempt = Attempt::with_script(script);
    let mut messages = attempt.messages();
    let go = attempt.fifo("GO");
    let running = attempt.spawn();
    assert_eq!(messages.next().await, "ready");
    for signal in [Signal::INT, Signal::HUP, Signal::QUIT] {
        assert!(attempt.shim().signal(signal).expect("sent"));
    }
    tokio::fs::write(go, "go\n").await.expect("written");
    let run = attempt.ended(running).await;
    assert_eq!((run.cause, run.exit), (Cause::Exited, Exit::Code(4)));
}

#[tokio::test]
async fn the_agent_dies_with_a_killed_shim_and_the_sweep_finds_the_rest() {
    let script = "echo $$ > $MESSAGES; setsid --fork sh -c 'echo $$ > $MESSAGES
        exec sleep 600'; read word < $GO";
    let mut attempt = Attempt::with_script(script);
    let mut messages = attempt.messages();
    attempt.fifo("GO");
    let running = attempt.spawn();
    let agent = messages.next_pid().await;
    let daemon = messages.next_pid().await;
    assert!(attempt.shim().signal(Signal::KILL).expect("sent"));
    patiently(running.wait()).await.expect("waited");
    let adoption = adopt(attempt.path()).await.expect("looked");
    assert!(matches!(adoption, Adoption::Gone), "{adoption:?}");
    patiently(gone(agent)).await;

    let marker = &attempt.spec.marker;
    let left = alive(marker).expect("looked");
    assert!(left.iter().any(|process| process.pid == daemon));

    let report = sweep(marker, None).expect("swept");
    assert!(report.killed.iter().any(|process| process.pid == daemon));
    assert_eq!(report.alive, []);
    assert_eq!(alive(marker).expect("looked"), []);
}

#[tokio::test]
async fn a_sweep_of_the_slot_finds_what_dropped_its_marker() {
    let attempt = Attempt::with_script("true");
    let slot = attempt.spec.launch.cwd.clone();
    let elsewhere = attempt.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let held = File::create(slot.join("held")).expect("made");
    let sleeper = |cwd: &Path| {
        let mut command = Command::new("setsid");
        command.args(["sleep", "600"]).current_dir(cwd);
        command
    };
    let mut inside = sleeper(&slot).spawn().expect("started");
    let mut holding = sleeper(&elsewhere)
        .stdin(Stdio::from(held))
        .spawn()
        .expect("started");
    let mut outside = sleeper(&elsewhere).spawn().expect("started");

    let report = sweep(&attempt.spec.marker, Some(&slot)).expect("swept");
    let mut killed: Vec<u32> = report
        .killed
        .iter()
        .map(|p| u32::try_from(p.pid).expect("positive"))
        .collect();
    killed.sort_unstable();
    let mut expected = [inside.id(), holding.id()];
    expected.sort_unstable();
    assert_eq!(killed, expected);
    assert!(outside.try_wait().expect("looked").is_none());
    outside.kill().expect("killed");
    for child in [&mut inside, &mut holding, &mut outside] {
        child.wait().expect("reaped");
    }
}

#[tokio::test]
async fn a_shim_is_found_alive_from_its_very_start() {
    let mut attempt = Attempt::with_script("read word < $GO; exit 5");
    let go = attempt.fifo("GO");
    let running = attempt.spawn();
    let adoption = patiently(adopt(attempt.path())).await.expect("looked");
    let Adoption::Alive(adopted) = adoption else {
        panic!("{adoption:?}");
    };
    tokio::fs::write(go, "go\n").await.expect("written");
    let run = attempt.ended(running).await;
    assert_eq!(run.exit, Exit::Code(5));
    patiently(adopted.wait()).await.expect("waited");
}

/// Not a test of its own: the orch that dies in the next one.
#[tokio::test]
#[ignore = "started by another test"]
async fn spawn_a_shim_and_die() {
    let spec = std::env::var("TEST_SPEC").expect("set by the other test");
    let mut spec: ShimSpec = serde_json::from_str(&spec).expect("a spec");
    let env = std::env::var("TEST_ENV").expect("set by the other test");
    spec.launch.env = serde_json::from_str(&env).expect("variables");
    let dir = spec.stdout.parent().expect("a directory");
    spawn(Path::new(ORCH), dir, &spec).expect("started");
    std::process::abort();
}

#[tokio::test]
async fn an_agent_outlives_orch_and_the_next_orch_adopts_it() {
    let script = "echo ready > $MESSAGES; read word < $GO; exit 6";
    let mut attempt = Attempt::with_script(script);
    let mut messages = attempt.messages();
    let go = attempt.fifo("GO");
    let status = tokio::process::Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "--ignored", "spawn_a_shim_and_die"])
        .env(
            "TEST_SPEC",
            serde_json::to_string(&attempt.spec).expect("JSON"),
        )
        .env(
            "TEST_ENV",
            serde_json::to_string(&attempt.spec.launch.env).expect("JSON"),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let status = patiently(status).await.expect("ran");
    assert!(!status.success(), "it died: {status}");

    assert_eq!(messages.next().await, "ready");
    let adoption = adopt(attempt.path()).await.expect("looked");
    let Adoption::Alive(adopted) = adoption else {
        panic!("{adoption:?}");
    };
    tokio::fs::write(go, "go\n").await.expect("written");
    let run = attempt.ended(adopted).await;
    assert_eq!((run.cause, run.exit), (Cause::Exited, Exit::Code(6)));
    let adoption = adopt(attempt.path()).await.expect("looked");
    assert!(matches!(adoption, Adoption::Ended(_)), "{adoption:?}");
}

#[tokio::test]
async fn an_adopted_agent_can_be_ended() {
    let script = "echo ready > $MESSAGES; exec sleep 600";
    let mut attempt = Attempt::with_script(script);
    let mut messages = attempt.messages();
    let spawned = attempt.spawn();
    assert_eq!(messages.next().await, "ready");
    let adoption = adopt(attempt.path()).await.expect("looked");
    let Adoption::Alive(adopted) = adoption else {
        panic!("{adoption:?}");
    };
    end(attempt.path()).await.expect("told");
    let run = attempt.ended(adopted).await;
    assert_eq!((run.cause, run.exit), (Cause::Ended, Exit::Signal(15)));
    patiently(spawned.wait()).await.expect("waited");
}

#[tokio::test]
async fn a_directory_serves_one_shim_only() {
    let attempt = Attempt::with_script("true");
    attempt.run().await;
    let again = run_to_end(Path::new(ORCH), attempt.path(), &attempt.spec).await;
    let is_refused = matches!(again, Err(RunError::Spawn(SpawnError::Used(_))));
    assert!(is_refused, "{again:?}");
}

#[tokio::test]
async fn a_shim_that_cannot_report_says_why_in_its_log() {
    let attempt = Attempt::with_script("true");
    fs::create_dir(attempt.path().join("exit.json.new")).expect("made");
    let error = run_to_end(Path::new(ORCH), attempt.path(), &attempt.spec)
        .await
        .expect_err("no report");
    assert!(error.to_string().contains("exit.json: "), "{error}");
    let adoption = adopt(attempt.path()).await.expect("looked");
    assert!(matches!(adoption, Adoption::Gone), "{adoption:?}");
}

#[tokio::test]
async fn long_lines_are_followed_while_they_are_written() {
    let script = "exec 3<> $GO; for n in 1 2 3; do
            head -c 200000 /dev/zero | tr '\\0' x; echo $n; read word <&3
        done";
    let mut attempt = Attempt::with_script(script);
    let go = attempt.fifo("GO");
    let running = attempt.spawn();
    let mut changes = Changes::watch(&attempt.spec.stdout).expect("watched");
    let mut follower = LineFollower::open(&attempt.spec.stdout, 0).expect("opened");
    for n in 1..=3 {
        let lines = loop {
            let lines = follower.read_new().expect("read");
            if !lines.is_empty() {
                break lines;
            }
            patiently(changes.next()).await.expect("woken");
        };
        let expected = format!("{}{n}", "x".repeat(200_000));
        assert!(lines == [Line::Text(expected.into_bytes())], "line {n}");
        tokio::fs::write(&go, "go\n").await.expect("written");
    }
    attempt.ended(running).await;
    assert_eq!(follower.read_new().expect("read"), []);
    assert_eq!(follower.finish(), None);
}

#[tokio::test]
async fn the_hidden_commands_refuse_to_run_by_hand() {
    let attempt = Attempt::with_script("true");
    File::create(attempt.path().join("shim.lock")).expect("made");
    for args in [vec!["__shim"], vec!["__shim", "."], vec!["__agent", "1"]] {
        let ran = Command::new(ORCH)
            .args(&args)
            .current_dir(attempt.path())
            .output()
            .expect("ran");
        assert!(!ran.status.success(), "{args:?}");
    }
}
