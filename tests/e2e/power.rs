//! Loss of power: of everything that was written, only what orch waited for is sure to be on the disk.
//!
//! orch is killed at a place between two steps, all other processes with it. Then each file that git or orch has written
//! without waiting becomes, by chance, what it was when it was last waited for, what it was before the run, empty, half,
//! gone, or stays; the ledger goes back to its last synced transaction. The machine seems to have been started again.
//! What that leaves out is said in `docs/reliability.md`.
//!
//! The ordinary test tries each place of two shapes once; `cargo test --test e2e power -- --ignored --nocapture` tries
//! every passing, several times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Fixture, Ran, await_end, working_below};
use crate::shapes::{Shape, files_below};
use crate::tally::{Tally, tried};

/// The most starts until a run is done whose machine went down: one may find a slot that must be built anew.
const STARTS_MAX: u32 = 4;

/// The content of files, by path.
type Disk = BTreeMap<PathBuf, Vec<u8>>;

/// What a chance makes of a file that nobody waited for.
#[derive(Clone, Copy)]
enum Fate {
    Stays,
    Older,
    Gone,
    Empty,
    Half,
}

/// FNV-1a: the same place gives the same chances.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What git and orch keep: not the person's checkout with its index, and what only lives with a process.
fn is_kept(f: &Fixture, path: &Path) -> bool {
    let git = f.repo().join(".git");
    let places = ["objects", "refs", "logs", "packed-refs", "orch"].map(|name| git.join(name));
    let is_of_process =
        |name: &str| ["orch.lock", "control.sock"].contains(&name) || name.ends_with("-shm");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_there = places.iter().any(|place| path.starts_with(place));
    (is_there || path.starts_with(f.root().join("state"))) && !is_of_process(&name)
}

fn disk(f: &Fixture) -> Disk {
    let mut files = files_below(&f.repo().join(".git"), |path| is_kept(f, path));
    files.extend(files_below(&f.root().join("state"), |path| {
        is_kept(f, path)
    }));
    let regular = files
        .into_iter()
        .filter(|path| path.is_file() && !path.is_symlink());
    regular
        .map(|path| (path.clone(), fs::read(&path).expect("a file")))
        .collect()
}

fn orch(shape: &Shape, f: &Fixture, boot: &str, at: Option<&str>) -> Ran {
    shape.played(f, |command| {
        command
            .env("ORCH_CRASH_BOOT", boot)
            .env("ORCH_CRASH_DIR", f.root().join("passings"))
            .env("ORCH_CRASH_DISK", f.root().join("disk"));
        if let Some(at) = at {
            command.env("ORCH_CRASH_AT", at);
        }
    })
}

/// Ends every process of the run: the power is gone.
fn end_all(f: &Fixture) {
    loop {
        let living = working_below(f.root()).into_iter();
        let living: Vec<Pid> = living.filter_map(Pid::from_raw).collect();
        for &pid in &living {
            // It may have ended meanwhile.
            kill_process(pid, Signal::KILL).ok();
        }
        if living.is_empty() {
            return;
        }
        for pid in living {
            assert!(await_end(pid), "{pid:?} outlives its end");
        }
    }
}

/// Takes from the disk what nobody waited for.
fn lose(f: &Fixture, before: &Disk, chance: u64) {
    let image = f.root().join("disk/image");
    let synced = |path: &Path| fs::read(image.join(path.strip_prefix("/").expect("absolute"))).ok();
    let now = disk(f);
    let mut paths: BTreeSet<&PathBuf> = now.keys().collect();
    paths.extend(before.keys());
    for path in paths {
        let is_ledger = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("ledger.db"));
        let older = synced(path).or_else(|| before.get(path).cloned());
        if now.get(path) == older.as_ref() {
            continue;
        }
        let drawn = hash(&format!("{chance} {}", stable(f, path)));
        let fate = match (drawn % 10, &older) {
            _ if is_ledger => Fate::Older,
            (7.., None) if is_never_torn(path) => Fate::Gone,
            (_, None) if is_never_torn(path) => Fate::Stays,
            (0..4, _) => Fate::Stays,
            (_, Some(_)) => Fate::Older,
            (4..6, None) => Fate::Gone,
            (6..9, None) => Fate::Empty,
            (_, None) => Fate::Half,
        };
        let current = now.get(path).cloned().unwrap_or_default();
        match fate {
            Fate::Stays => {}
            Fate::Older => put(path, older.as_deref()),
            Fate::Gone => put(path, None),
            Fate::Empty => put(path, Some(&[])),
            Fate::Half => put(path, Some(&current[..current.len() / 2])),
        }
    }
    for file in ["ledger.db-shm", "orch.lock", "control.sock"] {
        fs::remove_file(f.repo().join(".git/orch").join(file)).ok();
    }
}

/// Files of orch that have their content on the disk before they have their name (a kill can come between the name and
/// the note in the image), and branches, as `docs/reliability.md` says.
fn is_never_torn(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_branch = path.components().any(|part| part.as_os_str() == "heads");
    is_branch || ["exit.json", "attempt.json"].contains(&name.as_ref())
}

/// The path without what differs from run to run: the run's id, and the ids of commits.
fn stable(f: &Fixture, path: &Path) -> String {
    let shown = path.strip_prefix(f.root()).expect("below").components();
    let parts = shown.map(|part| part.as_os_str().to_string_lossy().into_owned());
    let stable = parts.filter(|part| part.len() < 20 && !part.starts_with("repo-"));
    stable.collect::<Vec<_>>().join("/")
}

fn put(path: &Path, content: Option<&[u8]>) {
    let Some(content) = content else {
        fs::remove_file(path).ok();
        return;
    };
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    if let Ok(found) = fs::metadata(path) {
        let mode = found.permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o200)).expect("a file");
    }
    fs::write(path, content).expect("a file");
}

/// The receipts that are on the disk, as task and commit.
fn receipts(f: &Fixture) -> BTreeSet<(String, String)> {
    let landed = f.records().into_iter().map(|r| r["record"].clone());
    landed
        .filter(|r| r["kind"] == "landed")
        .map(|r| (r["ticket"]["task"].to_string(), r["commit"].to_string()))
        .collect()
}

/// The power goes at `at`; then the run goes on to its end.
fn power_goes(shape: &Shape, expected: &str, at: &str, chance: u64) -> Tally {
    let f = shape.fixture();
    let before = disk(&f);
    let crashed = orch(shape, &f, "first", Some(at));
    let mut tally = Tally {
        cases: 1,
        ..Tally::default()
    };
    if crashed.code == -1 {
        tally.kills = 1;
        end_all(&f);
        lose(&f, &before, hash(&format!("{} {at} {chance}", shape.name)));
        let safe = receipts(&f);
        let after = format!("power lost at {at}, chance {chance}");
        tally.starts = finish(shape, &f, &after);
        assert_eq!(
            shape.assert_whole(&f, &after),
            expected,
            "{}: {after}",
            shape.name
        );
        assert!(
            safe.is_subset(&receipts(&f)),
            "{}: {after}: what had landed stays landed",
            shape.name
        );
    } else {
        assert_eq!(crashed.code, 0, "{}: {at}: {crashed:?}", shape.name);
        tally.not_reached.push(format!("{} {at}", shape.name));
    }
    tally
}

fn finish(shape: &Shape, f: &Fixture, after: &str) -> u32 {
    for start in 1..=STARTS_MAX {
        let ran = orch(shape, f, "second", None);
        match ran.code {
            0 => return start,
            // What is left of the slot or of git cannot be used, which orch says and a further start mends.
            8 if start < STARTS_MAX => {}
            _ => panic!("{}: {after}: start {start}: {ran:?}", shape.name),
        }
    }
    unreachable!("the last start returns or panics")
}

/// Only orch's own places: a shim that ends alone is no loss of power.
fn places(shape: &Shape) -> BTreeMap<String, u32> {
    let shims = [
        "shim-identified",
        "agent-started",
        "agent-gone",
        "agent-ended",
        "exit-reported",
    ];
    let (_, mut places) = shape.undisturbed();
    places.retain(|place, _| !shims.contains(&place.as_str()));
    places
}

fn tries(shape: &Shape, passings_max: u32, chances: u64) -> Tally {
    let (expected, _) = shape.undisturbed();
    let mut cases = Vec::new();
    for (place, times) in places(shape) {
        for n in 1..=times.min(passings_max) {
            cases.extend((0..chances).map(|chance| (format!("{place}:{n}"), chance)));
        }
    }
    let name = |case: &(String, u64)| format!("power lost at {}, chance {}", case.0, case.1);
    tried(&cases, name, |(at, chance)| {
        power_goes(shape, &expected, at, *chance)
    })
}

#[test]
fn a_loss_of_power_at_any_place_loses_and_doubles_no_landed_work() {
    tries(&Shape::patient(Shape::sequence()), 1, 1).assert_clean();
}

#[test]
fn a_loss_of_power_while_landings_go_into_the_checkout_loses_and_doubles_nothing() {
    tries(&Shape::patient(Shape::live()), 1, 1).assert_clean();
}

#[test]
#[ignore = "takes minutes; see the head of this file"]
#[expect(clippy::print_stderr, reason = "the table is what it is run for")]
fn many_losses_of_power_lose_and_double_no_landed_work() {
    let mut total = Tally::default();
    let wanted = std::env::var("ORCH_POWER_SHAPES").unwrap_or_default();
    let is_wanted =
        |shape: &Shape| wanted.is_empty() || wanted.split(',').any(|name| name == shape.name);
    let shapes = [
        Shape::sequence(),
        Shape::live(),
        Shape::extension(),
        Shape::outside(),
        Shape::verified(),
        Shape::approved(),
        Shape::crowned(),
    ];
    for shape in shapes.into_iter().filter(is_wanted) {
        let tally = tries(&Shape::patient(shape.clone()), u32::MAX, 4);
        eprintln!("{}", tally.row(&format!("power, {}", shape.name)));
        total.add(tally);
    }
    eprintln!("{}", total.row("power, all"));
    total.assert_clean();
}

/// Where the candidates of a repository have their names, below its git directory.
fn candidate_refs(f: &Fixture) -> Vec<PathBuf> {
    let refs = files_below(&f.repo().join(".git/refs/orch/candidate"), |_| true);
    assert!(!refs.is_empty(), "there are candidates");
    refs
}

/// A run that completed is not gone on with: nobody would find that some of it is gone.
#[test]
fn what_attempts_left_and_its_names_are_on_the_disk_when_a_run_has_completed() {
    let shape = Shape::retry();
    let f = shape.fixture();
    orch(&shape, &f, "first", None).exits(0);
    assert_eq!(candidate_refs(&f).len(), 3, "a failed attempt, and two");
    let image = |path: &Path| {
        let kept = f.root().join("disk/image");
        fs::read(kept.join(path.strip_prefix("/").expect("absolute"))).ok()
    };
    for name in candidate_refs(&f) {
        assert_eq!(image(&name), fs::read(&name).ok(), "{}", name.display());
    }
    let new = f.git([
        "rev-list",
        "--objects",
        "--glob=refs/orch/candidate",
        "^main~2",
    ]);
    for id in new.lines().map(|line| &line[..40]) {
        let object = f.repo().join(".git/objects").join(&id[..2]).join(&id[2..]);
        assert!(image(&object).is_some(), "{id}");
    }
}

#[test]
fn a_name_that_a_loss_of_power_cut_off_after_the_run_is_mended_by_the_next_start() {
    let shape = Shape::sequence();
    let f = shape.fixture();
    orch(&shape, &f, "first", None).exits(0);
    let [first, second] = &candidate_refs(&f)[..] else {
        panic!("one of each task");
    };
    put(first, Some(&[]));
    let id = fs::read(second).expect("a ref");
    put(second, Some(&id[..id.len() / 2]));
    orch(&shape, &f, "second", None).exits(0);
    f.git(["rev-list", "--all", "--quiet"]);
}

/// How often a task may wait for the disk: transactions of the ledger, and git's objects and refs.
#[test]
fn a_task_waits_for_at_most_five_transactions_and_two_syncs_of_git() {
    let waits = |tasks: &[(&str, &str)]| {
        let shape = Shape::of_tasks(tasks);
        let f = shape.fixture();
        orch(&shape, &f, "first", None).exits(0);
        let text = fs::read_to_string(f.root().join("disk/waits")).expect("the waits");
        let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        (count("ledger"), count("git"))
    };
    let (one, three) = (
        waits(&[("1", "run: echo a > a.txt")]),
        waits(&[
            ("1", "run: echo a > a.txt"),
            ("2", "run: echo b > b.txt"),
            ("3", "run: echo c > c.txt"),
        ]),
    );
    let (transactions, git) = ((three.0 - one.0) / 2, (three.1 - one.1) / 2);
    assert!(
        transactions <= 5,
        "{transactions} synced transactions for a task"
    );
    assert!(git <= 2, "{git} syncs of git for a task");
    // One after the other, the receipt of a landing and the next start share a transaction.
    assert_eq!((transactions, git), (3, 2), "as docs/reliability.md says");
}
