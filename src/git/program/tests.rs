//! What is promised about starting and hearing git.

use super::*;

#[test]
fn versions_are_read_from_what_git_says() {
    assert_eq!(parse_version("git version 2.47.3\n"), Some(Version(2, 47)));
    assert_eq!(
        parse_version("git version 2.39.5 (Apple Git-154)\n"),
        Some(Version(2, 39))
    );
    assert_eq!(parse_version("hub version 2.14"), None);
    assert!(Version(2, 9) < VERSION_MIN && Version(3, 0) > VERSION_MIN);
}

#[test]
fn variables_that_choose_a_repository_are_scrubbed_and_those_that_choose_a_configuration_are_kept()
{
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_TRACE", "GIT_CONFIG"] {
        assert!(is_scrubbed(OsStr::new(name)), "{name}");
    }
    for name in [
        "GIT_CONFIG_GLOBAL",
        "GIT_AUTHOR_NAME",
        "GIT_SSH_COMMAND",
        "PATH",
    ] {
        assert!(!is_scrubbed(OsStr::new(name)), "{name}");
    }
}

#[test]
fn a_program_that_is_too_old_or_no_git_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let fake = |answer: &str| {
        let path = dir.path().join("git");
        std::fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
        Git::at(&path).expect_err("refused").to_string()
    };
    assert!(fake("git version 2.30.1").ends_with("is git 2.30, but 2.38 or newer is needed"));
    assert!(fake("busybox").contains("not a git version"));
}

#[test]
fn large_input_and_output_pass_at_the_same_time() {
    let git = Git::find().expect("git is installed");
    let text = "line\n".repeat(1 << 20);
    let out = git
        .command(Path::new("/"))
        .arg("stripspace")
        .input(text.clone())
        .run()
        .expect("stripspace runs");
    assert_eq!(out.len(), text.len());
}

#[test]
fn a_refusal_names_the_command_the_code_and_the_complaint() {
    let git = Git::find().expect("git is installed");
    let dir = tempfile::tempdir().expect("a scratch directory");
    let error = git
        .command(dir.path())
        .args(["rev-parse", "HEAD"])
        .run()
        .expect_err("no repository there");
    let text = error.to_string();
    assert!(
        text.starts_with("`git rev-parse HEAD` failed with exit code 128: fatal: not a git"),
        "{text}"
    );
}

#[test]
fn a_held_lock_stays_locked_until_git_has_ended() {
    let git = Git::find().expect("git is installed");
    let dir = tempfile::tempdir().expect("a scratch directory");
    let path = dir.path().join("lock");
    let lock = File::create(&path).expect("created");
    lock.lock().expect("locked");
    let seen = git
        .command(dir.path())
        .args(["-c", "alias.try=!flock -n lock true || echo held", "try"])
        .holding(lock)
        .line()
        .expect("the alias runs");
    assert_eq!(seen, "held");
    let again = File::open(&path).expect("opened");
    again.lock().expect("free again");
}
