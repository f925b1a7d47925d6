//! Build files in which every new source file or dependency has its line: CMake, Gradle, Maven, Elixir, Swift, sbt,
//! Meson. Such lines may come; whatever else differs may decide which tests run and how, since these are programs.

use std::fmt::Write as _;

/// A kind of file, and whether a difference of two of them is more than sources and dependencies.
type Differs = fn(&str, &str) -> Option<bool>;

const KINDS: [(&str, Differs); 12] = [
    ("makefile", make),
    ("gnumakefile", make),
    ("cmakelists.txt", cmake),
    ("meson.build", meson),
    ("build.gradle", gradle),
    ("build.gradle.kts", gradle),
    ("settings.gradle", gradle),
    ("settings.gradle.kts", gradle),
    ("build.sbt", sbt),
    ("mix.exs", mix),
    ("package.swift", swift),
    ("pom.xml", maven),
];

/// Calls of CMake that may be added.
const CMAKE_CALLS: [&str; 13] = [
    "add_executable",
    "add_library",
    "add_subdirectory",
    "add_test",
    "catch_discover_tests",
    "find_package",
    "gtest_discover_tests",
    "install",
    "pkg_check_modules",
    "target_compile_features",
    "target_include_directories",
    "target_link_libraries",
    "target_sources",
];

/// Those of them that may have more arguments than they had.
const CMAKE_GROWING: [&str; 5] = [
    "add_executable",
    "add_library",
    "target_include_directories",
    "target_link_libraries",
    "target_sources",
];

/// Calls that set lists, which may have more files than they had.
const CMAKE_LISTS: [&str; 2] = ["set", "list"];

/// Ends of the names of source files.
const SOURCES: [&str; 14] = [
    ".c", ".cc", ".cpp", ".cxx", ".m", ".mm", ".h", ".hh", ".hpp", ".hxx", ".s", ".cu", ".vala",
    ".f90",
];

/// Ends of the words with which dependencies begin in Gradle.
const GRADLE_KINDS: [&str; 9] = [
    "implementation",
    "api",
    "compileonly",
    "compileonlyapi",
    "runtimeonly",
    "annotationprocessor",
    "developmentonly",
    "kapt",
    "ksp",
];

/// Elements of a Maven project that decide nothing about tests.
const MAVEN_FREE: [&str; 11] = [
    "dependencies",
    "dependencyManagement",
    "description",
    "developers",
    "inceptionYear",
    "licenses",
    "modules",
    "name",
    "scm",
    "url",
    "version",
];

/// Whether a build file called `name`, folded, is changed in more than its sources and dependencies. None if it is no
/// build file. One that comes, goes or cannot be read differs.
pub(super) fn changed(name: &str, base: Option<&[u8]>, new: Option<&[u8]>) -> Option<bool> {
    let (_, differs) = KINDS.iter().find(|(kind, _)| *kind == name)?;
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let (Some(base), Some(new)) = (text(base), text(new)) else {
        return Some(true);
    };
    Some(differs(&base, &new).unwrap_or(true))
}

/// Whether two sequences differ in more than items that may come, go, or grow.
fn differ<T: PartialEq>(
    base: &[T],
    new: &[T],
    may_grow: fn(&T, &T) -> bool,
    may_come: fn(&T) -> bool,
    may_go: fn(&T) -> bool,
) -> bool {
    let (mut base, mut new) = (base.iter().peekable(), new.iter().peekable());
    loop {
        match (base.peek(), new.peek()) {
            (None, None) => return false,
            (Some(was), Some(is)) if was == is || may_grow(was, is) => {
                base.next();
                new.next();
            }
            (_, Some(is)) if may_come(is) => {
                new.next();
            }
            (Some(was), _) if may_go(was) => {
                base.next();
            }
            _ => return true,
        }
    }
}

fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.trim().trim_end_matches(','));
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .collect()
}

fn never<T>(_: &T) -> bool {
    false
}

fn as_it_was<T>(_: &T, _: &T) -> bool {
    false
}

/// A call of CMake: its name, and its arguments.
#[derive(Debug, PartialEq)]
struct Call {
    name: String,
    arguments: Vec<String>,
}

fn cmake(base: &str, new: &str) -> Option<bool> {
    let may_come = |call: &Call| CMAKE_CALLS.contains(&call.name.as_str());
    Some(differ(&calls(base)?, &calls(new)?, grows, may_come, never))
}

fn grows(was: &Call, is: &Call) -> bool {
    let is_list = CMAKE_LISTS.contains(&was.name.as_str());
    let may_grow = is_list || CMAKE_GROWING.contains(&was.name.as_str());
    let is_alike = was.name == is.name && was.arguments.first() == is.arguments.first();
    let mut before = was.arguments.iter().peekable();
    let mut more = Vec::new();
    for argument in &is.arguments {
        match before.next_if_eq(&argument) {
            Some(_) => {}
            None => more.push(argument),
        }
    }
    let keeps = before.peek().is_none();
    // Words in capitals say how the others are meant.
    let is_word = |argument: &str| argument.chars().any(char::is_lowercase);
    let may_have = |argument: &&String| match is_list {
        true => is_source(argument),
        false => is_word(argument) && !argument.contains('$'),
    };
    may_grow && is_alike && keeps && more.iter().all(may_have)
}

fn is_source(name: &str) -> bool {
    let name = name.trim_matches(['"', '\'']).to_lowercase();
    SOURCES.iter().any(|end| name.ends_with(end)) && !name.contains('$')
}

/// The calls of a text, in order; none if their brackets do not match.
fn calls(text: &str) -> Option<Vec<Call>> {
    let mut calls = Vec::new();
    let plain: Vec<&str> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect();
    let plain = plain.join("\n");
    let mut rest = plain.as_str();
    while let Some((name, after)) = rest.split_once('(') {
        let mut depth = 1;
        let end = after.char_indices().find_map(|(at, c)| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            (depth == 0).then_some(at)
        })?;
        calls.push(Call {
            name: name.trim().to_lowercase(),
            arguments: after[..end].split_whitespace().map(str::to_owned).collect(),
        });
        rest = &after[end + 1..];
    }
    rest.trim().is_empty().then_some(calls)
}

fn make(base: &str, new: &str) -> Option<bool> {
    let lines = |text: &str| -> Vec<String> {
        let joined = text.replace("\\\n", " ");
        let lines = joined
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        lines.map(|line| line.trim_end().to_owned()).collect()
    };
    let grows = |was: &String, is: &String| {
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let (was, is) = (words(was), words(is));
        let sets = |words: &[String]| {
            words
                .get(1)
                .is_some_and(|word| matches!(word.as_str(), "=" | ":=" | "+="))
        };
        let more: Vec<&String> = is.iter().filter(|word| !was.contains(word)).collect();
        let may_have =
            |word: &&String| is_source(word) || (word.ends_with(".o") && !word.contains('$'));
        sets(&was)
            && was[..2] == is[..2.min(is.len())]
            && was.iter().all(|word| is.contains(word))
            && more.iter().all(may_have)
    };
    Some(differ(&lines(base), &lines(new), grows, never, never))
}

fn meson(base: &str, new: &str) -> Option<bool> {
    let may_come = |line: &&str| is_source(line) && !line.contains(' ');
    Some(differ(
        &lines(base),
        &lines(new),
        as_it_was,
        may_come,
        never,
    ))
}

fn gradle(base: &str, new: &str) -> Option<bool> {
    let may_change = |line: &&str| is_gradle_dependency(line) || is_version(line);
    let may_come =
        |line: &&str| is_gradle_dependency(line) || is_version(line) || line.starts_with("include");
    Some(differ(
        &lines(base),
        &lines(new),
        as_it_was,
        may_come,
        may_change,
    ))
}

fn is_gradle_dependency(line: &str) -> bool {
    let end = line
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(line.len());
    let word = line[..end].to_lowercase();
    let is_plain = !line.contains(['{', '}', ';', '=']);
    is_plain && end < line.len() && GRADLE_KINDS.iter().any(|kind| word.ends_with(kind))
}

/// `version = "1.2"`
fn is_version(line: &str) -> bool {
    let value = line
        .strip_prefix("version")
        .map(|rest| rest.trim_start_matches([' ', '=', ':']));
    value.is_some_and(|value| value.starts_with(['"', '\'']) && !value.contains([';', '{', '(']))
}

fn sbt(base: &str, new: &str) -> Option<bool> {
    let may_change = |line: &&str| {
        let rest = line
            .strip_prefix("libraryDependencies +=")
            .map_or(*line, str::trim);
        rest.starts_with('"') && rest.contains(" % ") && !rest.contains([';', '{', '='])
    };
    Some(differ(
        &lines(base),
        &lines(new),
        as_it_was,
        may_change,
        may_change,
    ))
}

fn mix(base: &str, new: &str) -> Option<bool> {
    let may_change =
        |line: &&str| (line.starts_with("{:") && line.ends_with('}')) || is_version(line);
    Some(differ(
        &lines(base),
        &lines(new),
        as_it_was,
        may_change,
        may_change,
    ))
}

fn swift(base: &str, new: &str) -> Option<bool> {
    let differs = differ(
        &lines(base),
        &lines(new),
        as_it_was,
        |line| {
            is_one_call(
                line,
                &[
                    ".package(",
                    ".product(",
                    ".target(",
                    ".testTarget(",
                    ".library(",
                ],
            )
        },
        |line| is_one_call(line, &[".package("]),
    );
    Some(differs)
}

/// A line that is a call of one of these, and nothing else.
fn is_one_call(line: &str, starts: &[&str]) -> bool {
    let is_closed = line.matches('(').count() == line.matches(')').count();
    let is_one = is_closed && line.ends_with(')') && !line.contains([';', '{']);
    is_one && starts.iter().any(|start| line.starts_with(start))
}

fn maven(base: &str, new: &str) -> Option<bool> {
    let read = |text: &str| {
        let document = roxmltree::Document::parse(text).ok()?;
        let mut deciding = String::new();
        canonical(document.root_element(), &mut deciding, 0);
        let modules = document
            .descendants()
            .filter(|node| node.has_tag_name("module"));
        let modules: Vec<String> = modules
            .filter_map(|node| Some(node.text()?.trim().to_owned()))
            .collect();
        Some((deciding, modules))
    };
    let ((base, had), (new, has)) = (read(base)?, read(new)?);
    Some(base != new || had.iter().any(|module| !has.contains(module)))
}

fn canonical(node: roxmltree::Node<'_, '_>, out: &mut String, depth: usize) {
    let name = node.tag_name().name();
    let is_free = depth == 1 && MAVEN_FREE.contains(&name);
    let lower = name.to_lowercase();
    let is_property = depth == 2
        && node
            .parent_element()
            .is_some_and(|above| above.tag_name().name() == "properties");
    let decides = ["test", "skip", "surefire", "failsafe", "argline"]
        .iter()
        .any(|word| lower.contains(word));
    // `properties` alone says nothing.
    let is_empty = depth == 1
        && name == "properties"
        && !node.descendants().any(|n| n.is_element() && n != node);
    if !node.is_element() || is_free || is_empty || (is_property && !decides) {
        return;
    }
    let attributes = node
        .attributes()
        .map(|a| format!(" {}={:?}", a.name(), a.value()));
    let attributes: String = attributes.collect();
    let text = node.text().unwrap_or_default().trim();
    write!(out, "<{name}{attributes}>{text}").expect("a string takes any text");
    for child in node.children() {
        canonical(child, out, depth + 1);
    }
    out.push_str("</>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_kept(name: &str, base: &str, cases: &[(&str, &str, bool)]) {
        for (from, to, differs) in cases {
            assert!(base.contains(from), "{from}");
            let new = base.replacen(from, to, 1);
            let found = changed(name, Some(base.as_bytes()), Some(new.as_bytes()));
            assert_eq!(found, Some(*differs), "{name}: {new}");
        }
    }

    #[test]
    fn sources_and_libraries_of_cmake_may_come_and_nothing_else_may_differ() {
        let base = "cmake_minimum_required(VERSION 3.20)\nproject(app C)\nset(SRC src/a.c)\nadd_library(app\n  ${SRC}\n  src/b.c)\nenable_testing()\nadd_executable(t tests/t.c)\ntarget_link_libraries(t app)\nadd_test(NAME t COMMAND t)\n";
        assert_kept(
            "cmakelists.txt",
            base,
            &[
                ("src/b.c)", "src/b.c\n  src/c.c) # more", false),
                ("src/a.c)", "src/a.c src/d.c)", false),
                (
                    "enable_testing",
                    "find_package(ZLIB)\nadd_library(more m.c)\nenable_testing",
                    false,
                ),
                (
                    "COMMAND t)",
                    "COMMAND t)\nadd_executable(u u.c)\nadd_test(NAME u COMMAND u)",
                    false,
                ),
                ("t app)", "t app m)", false),
                ("src/b.c)", ")", true),
                ("enable_testing()\n", "", true),
                ("add_test(NAME t COMMAND t)", "", true),
                ("COMMAND t)", "COMMAND true)", true),
                ("enable_testing", "return()\nenable_testing", true),
                (
                    "enable_testing",
                    "set(CMAKE_CROSSCOMPILING_EMULATOR true)\nenable_testing",
                    true,
                ),
                (
                    "add_executable(t tests/t.c)",
                    "add_executable(t EXCLUDE_FROM_ALL tests/t.c)",
                    true,
                ),
                ("(NAME t COMMAND t)", "(NAME t COMMAND t", true),
            ],
        );
    }

    #[test]
    fn lists_of_sources_in_a_makefile_may_grow_and_nothing_else_may_differ() {
        let base = "SRC = a.c \\\n  b.c\nSHELL = /bin/sh\ntest: app\n\t./app\n";
        assert_kept(
            "makefile",
            base,
            &[
                ("b.c", "b.c \\\n  c.c", false),
                ("SRC = a.c", "# all of them\nSRC = a.c c.o", false),
                ("a.c", "", true),
                ("a.c", "a.c -DNDEBUG", true),
                ("/bin/sh", "/bin/true x.c", true),
                ("\t./app", "\ttrue", true),
                ("test: app", "test: app c.c", true),
                ("test", "check:\n\ttrue\ntest", true),
            ],
        );
    }

    #[test]
    fn dependencies_may_change_in_build_files_that_are_programs() {
        let gradle = "plugins { id 'java' }\nversion = '1.0'\ndependencies {\n    implementation 'a:b:1'\n    testImplementation('j:u:5')\n}\ntest {\n    useJUnitPlatform()\n}\n";
        assert_kept(
            "build.gradle",
            gradle,
            &[
                (
                    "'a:b:1'",
                    "'a:b:2'\n    implementation project(':more')",
                    false,
                ),
                ("'1.0'", "'1.1'", false),
                ("useJUnitPlatform()", "enabled = false", true),
                ("'a:b:1'", "'a:b:1'; test.enabled = false", true),
                ("'a:b:1'", "('a:b:1') { tasks.test.enabled = false }", true),
                (
                    "plugins",
                    "tasks.withType(Test) { enabled = false }\nplugins",
                    true,
                ),
            ],
        );
        assert_kept(
            "settings.gradle.kts",
            "rootProject.name = \"a\"\ninclude(\":a\")\n",
            &[
                ("include", "include(\":b\")\ninclude", false),
                ("include(\":a\")", "", true),
            ],
        );
        assert_kept(
            "mix.exs",
            "defmodule A do\n  version: \"0.1.0\",\n  defp deps do\n    [\n      {:jason, \"~> 1.4\"}\n    ]\n  end\nend\n",
            &[
                (
                    "{:jason, \"~> 1.4\"}",
                    "{:jason, \"~> 1.4\"},\n      {:req, \"~> 0.5\"}",
                    false,
                ),
                ("0.1.0", "0.2.0", false),
                (
                    "defp deps",
                    "def cli, do: [preferred_envs: []]\n  defp deps",
                    true,
                ),
            ],
        );
        assert_kept(
            "build.sbt",
            "scalaVersion := \"3\"\nlibraryDependencies += \"a\" %% \"b\" % \"1\"\n",
            &[
                ("% \"1\"", "% \"2\"", false),
                ("scalaVersion", "Test / test := {}\nscalaVersion", true),
            ],
        );
        assert_kept(
            "package.swift",
            "let package = Package(\n  dependencies: [\n    .package(url: \"a\", from: \"1\"),\n  ],\n  targets: [\n    .testTarget(name: \"T\"),\n  ]\n)\n",
            &[
                (
                    "from: \"1\"),",
                    "from: \"2\"),\n    .package(url: \"b\", from: \"1\"),",
                    false,
                ),
                (".testTarget(name: \"T\"),", "", true),
            ],
        );
        assert_kept(
            "meson.build",
            "src = files(\n  'a.c',\n)\ntest('t', t)\n",
            &[
                ("'a.c',", "'a.c',\n  'b.c',", false),
                ("test('t', t)", "", true),
            ],
        );
    }

    #[test]
    fn dependencies_and_modules_of_maven_may_come_and_plugins_are_left_alone() {
        let base = "<project><version>1</version><properties><java.version>17</java.version></properties><modules><module>a</module></modules><dependencies><dependency><artifactId>x</artifactId></dependency></dependencies><build><plugins><plugin><artifactId>maven-surefire-plugin</artifactId></plugin></plugins></build></project>";
        assert_kept(
            "pom.xml",
            base,
            &[
                (
                    "<dependencies>",
                    "<dependencies>\n  <dependency><artifactId>y</artifactId></dependency>",
                    false,
                ),
                ("17<", "21<", false),
                ("<version>1", "<version>2", false),
                ("</module>", "</module><module>b</module>", false),
                ("<module>a</module>", "", true),
                (
                    "<java.version>",
                    "<skipTests>true</skipTests><java.version>",
                    true,
                ),
                (
                    "surefire-plugin</artifactId>",
                    "surefire-plugin</artifactId><configuration><skip>true</skip></configuration>",
                    true,
                ),
                ("</project>", "", true),
            ],
        );
        assert_eq!(changed("pom.xml", None, Some(base.as_bytes())), Some(true));
        assert_eq!(changed("main.c", None, None), None);
    }
}
