//! That no input makes checking stumble: bombs, random bytes, random YAML, broken plans.

use std::time::Instant;

use orch::diagnostic::has_errors;
use orch::plan::{Strictness, check};
use proptest::prelude::*;

/// A plan to break.
const PLAN: &str = r#"sections:
  - id: s
    name: S
    tasks:
      - id: a
        name: A
        depends_on: []
      - {id: b, name: B, files: [x], rehearse: {write: {y: z}}}
      - id: c
        name: C
        rehearse:
          add_tasks:
            - {id: d, name: D}
"#;

#[test]
fn bombs_are_refused_at_once() {
    let nested = |open: &str| open.repeat(200_000);
    let laughs: String = std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned())
        .chain((1..40).map(|n| {
            let alias = format!("*a{}, ", n - 1).repeat(9);
            format!("a{n}: &a{n} [{alias}]\n")
        }))
        .collect();
    let deep: String = (0..2000)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect();
    for bomb in [
        nested("["),
        nested("{a: "),
        nested("- "),
        nested("? "),
        laughs,
        deep,
    ] {
        let start = Instant::now();
        let checked = check("p", bomb.as_bytes(), Strictness::AsWritten);
        assert!(has_errors(&checked.diagnostics) && checked.plan.is_none());
        // Generous, since this is no benchmark; without bounds it would be minutes.
        assert!(start.elapsed().as_secs() < 5, "{}", &bomb[..20]);
    }
}

/// Lines that plans are made of, and lines that break them.
fn yaml_like() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "meta:",
        "sections:",
        "tasks:",
        "- ",
        "  ",
        "    ",
        "\n",
        "\n",
        "\n",
        "\n",
        "id: ",
        "name: ",
        "status: ",
        "pending",
        "completed",
        "depends_on: ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "a",
        "1.10",
        "~",
        "\"",
        "'",
        "|",
        ">-",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "# c",
        ": ",
        "? ",
        "---",
        "...",
        "\t",
        "\r\n",
        "parallel_group: ",
        "rehearse: ",
        "write: ",
        "add_tasks: ",
        "retry: ",
        "max: ",
        "ü",
        "\u{feff}",
        "x-y: ",
        "orch: 1",
        "%YAML 1.2",
        "timeout: ",
        "1h",
        "-1",
        "99999999999999999999",
        "@",
        "`",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let checked = check("p", &bytes, Strictness::Strict);
        prop_assert_eq!(checked.plan.is_none(), has_errors(&checked.diagnostics));
        checked.render(true);
        checked.located();
    }

    #[test]
    fn no_text_makes_it_panic(text in yaml_like()) {
        let checked = check("p", text.as_bytes(), Strictness::AsWritten);
        prop_assert_eq!(checked.plan.is_none(), has_errors(&checked.diagnostics));
        checked.render(false);
        checked.located();
    }

    #[test]
    fn no_broken_plan_makes_it_panic(at in any::<prop::sample::Index>(), piece in yaml_like()) {
        let whole = PLAN;
        let at = at.index(whole.len() + 1);
        let text = format!("{}{piece}{}", &whole[..at], &whole[at..]);
        let checked = check("p", text.as_bytes(), Strictness::AsWritten);
        prop_assert_eq!(checked.plan.is_none(), has_errors(&checked.diagnostics));
        checked.render(false);
    }
}
