//! Promises about roles.

use super::*;

fn parsed(file: &str) -> Result<Role, String> {
    parse("x", file, Source::BuiltIn).map_err(|e| e.to_string())
}

#[test]
fn an_unknown_word_for_a_model_is_refused_with_its_key() {
    let parsed = |model: &str| {
        let file = format!("---\nname: r\nmodel: {model}\n---\nWork.\n");
        parse("r", &file, Source::BuiltIn)
    };
    for model in ["sonnet", "claude-opus-4-1", "opus[1m]"] {
        let role = parsed(model).expect("a role");
        assert_eq!(role.model.as_deref(), Some(model));
    }
    assert_eq!(parsed("inherit").expect("a role").model, None);
    let wrong = parsed("sonet").expect_err("a mistake");
    assert!(
        matches!(
            &wrong,
            RoleError::Invalid {
                key: Some("model"),
                ..
            }
        ),
        "{wrong:?}"
    );
    assert!(
        wrong.to_string().contains("did you mean `sonnet`?"),
        "{wrong}"
    );
}

#[test]
fn every_built_in_role_reads_and_says_what_it_is_for() {
    for (name, _) in BUILT_IN {
        let role = built_in(name).expect("listed");
        assert!(!role.description.is_empty(), "{name}");
        assert!(
            role.tools.is_some_and(|t| t.contains(&"Read".to_owned())),
            "{name}"
        );
        assert!(role.text.lines().count() >= 5, "{name}");
    }
    assert!(built_in(DEFAULT).is_some());
}

#[test]
fn tools_are_read_from_a_list_and_from_a_line() {
    let expected = Some(vec!["Read".to_owned(), "Grep".to_owned()]);
    assert_eq!(
        parsed("---\nname: x\ntools: [Read, Grep]\n---\n\n# Body\n")
            .expect("a role")
            .tools,
        expected
    );
    assert_eq!(
        parsed("\n---\nname: x\ntools: Read, Grep,\nmodel: inherit\n---\nBody")
            .expect("a role")
            .tools,
        expected
    );
}

#[test]
fn a_rule_of_dashes_in_the_text_does_not_end_it() {
    let role = parsed("---\ndescription: a --- b\n---\none\n---\ntwo\n").expect("a role");
    assert_eq!(
        (role.description.as_str(), role.text.as_str()),
        ("a --- b", "one\n---\ntwo")
    );
}

#[test]
fn built_in_roles_that_judge_are_read_only_and_the_others_write() {
    for (name, _) in BUILT_IN {
        let role = built_in(name).expect("listed");
        let writes = role.tools.iter().flatten().any(|t| t == "Write");
        assert_eq!(role.profile == Some(Profile::ReadOnly), !writes, "{name}");
    }
}

#[test]
fn permission_and_effort_are_read_and_a_read_only_role_has_no_tool_that_writes() {
    let role = parsed("---\npermission: dont-ask\neffort: high\n---\nBe kind.\n").expect("a role");
    assert_eq!(role.profile, Some(Profile::Mode(Permission::DontAsk)));
    assert_eq!(role.effort, Some(Effort::High));
    let error =
        parsed("---\npermission: read-only\ntools: Read, Edit\n---\nx\n").expect_err("it writes");
    assert!(error.contains("`Edit`"), "{error}");
}

#[test]
fn a_text_without_front_matter_is_a_role_of_its_file_name() {
    let role = parsed("Be kind.\n").expect("a role");
    assert_eq!(
        (role.name.as_str(), role.text.as_str(), role.tools),
        ("x", "Be kind.", None)
    );
}

#[test]
fn what_is_wrong_with_a_role_is_named() {
    for (file, what) in [
        ("---\nname: y\n---\nBody", "calls it `y`"),
        ("---\nname: x\nBody", "not closed"),
        ("---\nname: x\n---\n \n", "no text"),
        ("---\nname: x\ndescription: use: when\n---\nBody", "line 3"),
        ("---\n- x\n---\nBody", "not a list of `key: value`"),
        ("---\ntools: 3\n---\nBody", "not a list"),
        ("---\ntools: []\n---\nBody", "empty"),
        (
            "---\ntools: \"Bash(git:*)\"\n---\nBody",
            "not the name of a tool",
        ),
        ("---\nmodel: [a]\n---\nBody", "`model`"),
    ] {
        let error = parsed(file).expect_err(file);
        assert!(error.contains(what) && error.contains("`x`"), "{error}");
    }
}

#[test]
fn a_file_takes_the_place_of_the_built_in_role() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("coder.md");
    fs::write(&path, "Ours.").expect("write");
    assert_eq!(
        load(dir.path(), "coder").expect("a role").source,
        Source::File(path)
    );
    assert_eq!(
        load(dir.path(), "planner").expect("a role").source,
        Source::BuiltIn
    );
    assert!(matches!(
        load(dir.path(), "poet"),
        Err(RoleError::NotFound { .. })
    ));
}

#[test]
fn a_name_cannot_lead_out_of_the_directory() {
    for name in ["../coder", "a/b", ".hidden", "", "/etc/passwd"] {
        assert!(
            matches!(
                load(Path::new("/nowhere"), name),
                Err(RoleError::BadName(_))
            ),
            "{name}"
        );
    }
}

#[test]
fn the_list_holds_files_and_built_in_roles_once_each_and_errors_in_their_place() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("coder.md"), "Ours.").expect("write");
    fs::write(dir.path().join("broken.md"), "---\n").expect("write");
    fs::write(dir.path().join("README.txt"), "no role").expect("write");
    let list = list(dir.path()).expect("readable");
    let names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), BUILT_IN.len() + 1);
    assert!(names.is_sorted());
    assert!(
        list.iter()
            .all(|(name, role)| role.is_err() == (name == "broken"))
    );
    assert_eq!(
        super::list(&dir.path().join("none"))
            .expect("no files")
            .len(),
        BUILT_IN.len()
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_role_parser_stumble(text in "(---\n)?[-a-z: \\[\\],'\"\n]{0,80}", any in "\\PC*") {
        parsed(&text).ok();
        parsed(&any).ok();
    }
}
