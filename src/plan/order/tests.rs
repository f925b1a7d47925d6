//! The table of the documentation, and the order against its definition on random plans.

use proptest::prelude::*;

use super::*;

/// Tasks in the notation of the documentation: `d[b,c]` has a `depends_on`, `(b c)` is a parallel group, `/` begins a
/// section.
fn read(notation: &str) -> (Vec<&str>, Vec<Place<'_>>) {
    let mut section = 0;
    let mut groups = ["g1", "g2", "g3"].into_iter();
    let mut group = None;
    let mut written: Vec<(&str, usize, Option<&str>, Option<&str>)> = Vec::new();
    for word in notation.split(' ') {
        if word == "/" {
            section += 1;
            continue;
        }
        if word.starts_with('(') {
            group = groups.next();
        }
        let task = word.trim_matches(['(', ')']);
        match task.strip_suffix(']').and_then(|task| task.split_once('[')) {
            Some((name, list)) => written.push((name, section, group, Some(list))),
            None => written.push((task, section, group, None)),
        }
        if word.ends_with(')') {
            group = None;
        }
    }
    let names: Vec<&str> = written.iter().map(|(name, ..)| *name).collect();
    let index = |name: &str| {
        let found = names.iter().position(|n| *n == name);
        found.expect("a task of the example")
    };
    let list = |list: &str| {
        list.split(',')
            .filter(|n| !n.is_empty())
            .map(index)
            .collect()
    };
    let places = written
        .iter()
        .map(|&(_, section, group, explicit)| Place {
            section,
            group,
            explicit: explicit.map(list),
        })
        .collect();
    (names, places)
}

/// The edges as the documentation writes them: `b: a; c: a b`.
fn show(names: &[&str], needs: &[Vec<Need>]) -> String {
    let line = |(task, needs): (usize, &Vec<Need>)| {
        let on: Vec<&str> = needs.iter().map(|need| names[need.on]).collect();
        (!on.is_empty()).then(|| format!("{}: {}", names[task], on.join(" ")))
    };
    let lines: Vec<String> = needs.iter().enumerate().filter_map(line).collect();
    lines.join("; ")
}

#[test]
fn the_examples_of_the_documentation_hold() {
    let page = include_str!("../../../docs/plan-format.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| *line != "<!-- order table -->")
        .take_while(|line| *line != "<!-- end of order table -->")
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .collect();
    assert!(rows.len() >= 12, "the table is there");
    for row in rows {
        let (notation, expected) = (row[1], row[2]);
        let (names, places) = match notation.strip_prefix("schedule: explicit; ") {
            Some(rest) => read(rest),
            None => read(notation),
        };
        let needs = match notation.starts_with("schedule: explicit; ") {
            true => explicit_needs(&places),
            false => needs(&places),
        };
        let shown = show(&names, &needs.expect("few edges"));
        assert_eq!(shown, expected, "{notation}");
    }
}

/// Everything that can be reached from each task.
fn closure(needs: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let reach = |task: usize| {
        let mut seen = BTreeSet::new();
        let mut next = needs[task].clone();
        while let Some(on) = next.pop() {
            if seen.insert(on) {
                next.extend(&needs[on]);
            }
        }
        seen
    };
    (0..needs.len()).map(reach).collect()
}

/// The rule word by word, without any of the shortcuts.
fn by_definition(tasks: &[Place<'_>]) -> Vec<Vec<usize>> {
    let mut needs: Vec<Vec<usize>> = tasks
        .iter()
        .map(|t| t.explicit.clone().unwrap_or_default())
        .collect();
    for task in (0..tasks.len()).filter(|t| tasks[*t].explicit.is_none()) {
        let is_neighbour = |other: usize| {
            (other..=task).all(|t| {
                tasks[t].group.is_some()
                    && tasks[t].group == tasks[task].group
                    && tasks[t].section == tasks[task].section
            })
        };
        let reach = closure(&needs);
        needs[task] = (0..task)
            .filter(|earlier| !reach[*earlier].contains(&task) && !is_neighbour(*earlier))
            .collect();
    }
    needs
}

fn plans() -> impl Strategy<Value = Vec<Place<'static>>> {
    let group = prop_oneof![3 => Just(None), 1 => Just(Some("g")), 1 => Just(Some("h"))];
    let task = (
        group,
        prop::bool::weighted(0.2),
        prop::option::weighted(
            0.5,
            prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        ),
        any::<u8>(),
    );
    prop::collection::vec(task, 1..14).prop_map(|tasks| {
        // Written edges follow a random rank, so that they point forward and backward and make no cycle.
        let rank: Vec<(u8, usize)> = tasks.iter().map(|t| t.3).zip(0..).collect();
        let mut section = 0;
        let place = |(at, (group, new_section, explicit, _)): (
            usize,
            &(_, _, Option<Vec<prop::sample::Index>>, _),
        )| {
            section += usize::from(*new_section);
            let lower: Vec<usize> = (0..rank.len()).filter(|t| rank[*t] < rank[at]).collect();
            let explicit = explicit.as_ref().map(|picks| {
                let picked: BTreeSet<usize> = picks
                    .iter()
                    .filter(|_| !lower.is_empty())
                    .map(|pick| *pick.get(&lower))
                    .collect();
                picked.into_iter().collect()
            });
            Place {
                section,
                group: *group,
                explicit,
            }
        };
        tasks.iter().enumerate().map(place).collect()
    })
}

proptest! {
    #[test]
    fn the_order_is_that_of_the_definition(tasks in plans()) {
        let needs = needs(&tasks).expect("few edges");
        let reduced: Vec<Vec<usize>> =
            needs.iter().map(|n| n.iter().map(|need| need.on).collect()).collect();
        let full = by_definition(&tasks);
        prop_assert_eq!(closure(&reduced), closure(&full));
        for (task, reduced) in reduced.iter().enumerate() {
            prop_assert!(reduced.iter().all(|on| full[task].contains(on)), "no edge beyond the rule");
        }
        prop_assert!(cycles(&needs).is_empty());
    }
}

fn written(edges: &[&[usize]]) -> Vec<Vec<Need>> {
    let need = |on: &usize| Need {
        on: *on,
        implied: false,
    };
    edges
        .iter()
        .map(|on| on.iter().map(need).collect())
        .collect()
}

#[test]
fn each_knot_is_shown_by_a_shortest_cycle() {
    let edges = written(&[&[], &[2], &[3, 1], &[1, 0], &[4], &[6], &[7], &[5]]);
    assert_eq!(cycles(&edges), [vec![1, 2], vec![5, 6, 7]]);
}

#[test]
fn a_row_of_many_tasks_has_one_edge_for_each() {
    let task = |explicit: Option<Vec<usize>>| Place {
        section: 0,
        group: None,
        explicit,
    };
    let row = vec![task(None); 100_000];
    let edges: usize = needs(&row).expect("few edges").iter().map(Vec::len).sum();
    assert_eq!(edges, row.len() - 1);
    // Every other task points forward to its neighbour, which leaves it nothing to follow but the pair before.
    let pairs: Vec<Place<'_>> = (0..100_000)
        .map(|at| task((at % 2 == 0).then(|| vec![at + 1])))
        .collect();
    let edges: usize = needs(&pairs).expect("few edges").iter().map(Vec::len).sum();
    assert_eq!(edges, pairs.len() - 1);
}

#[test]
fn groups_that_multiply_to_too_many_edges_are_refused() {
    let tasks: Vec<Place<'_>> = (0..4_000)
        .map(|at| Place {
            section: 0,
            group: Some(if at < 2_000 { "a" } else { "b" }),
            explicit: None,
        })
        .collect();
    assert_eq!(needs(&tasks), Err(TooLarge { at: 2_500 }));
}
