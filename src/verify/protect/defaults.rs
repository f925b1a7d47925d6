//! Which paths are protected when nobody says anything: lists by what they decide. `docs/protection.md` shows them to
//! people. Patterns match files; `x/**` stands for `x`, whatever it is, and everything in it.

/// What is protected, and why, to follow the path in a sentence.
pub(super) struct Group {
    pub(super) why: &'static str,
    pub(super) patterns: &'static [&'static str],
}

/// In every task.
pub(super) const ALWAYS: &[Group] = &[
    Group {
        why: "decides what agents are told and may do",
        patterns: &[
            "**/.claude/**",
            "**/{CLAUDE,CLAUDE.local,AGENTS,AGENTS.override,GEMINI}.md",
            "**/.mcp.json",
            "**/{.cursorrules,.windsurfrules,.clinerules}",
            "**/{.cursor,.windsurf,.codex,.gemini,.agents,.opencode,.roo,.kiro}/**",
            "**/{.aider.conf.yml,opencode.json}",
            ".github/copilot-instructions.md",
            ".github/instructions/**",
        ],
    },
    Group {
        why: "decides what orch does",
        patterns: &["orch.yaml", ".worktreeinclude", ".stop"],
    },
    Group {
        why: "decides where submodules come from",
        patterns: &[".gitmodules"],
    },
    Group {
        why: "decides what continuous integration does",
        patterns: &[
            ".github/{workflows,actions}/**",
            ".gitlab-ci.yml",
            ".gitlab/ci/**",
            "{.circleci,.buildkite,.woodpecker}/**",
            "{.woodpecker.yml,.drone.yml}",
            "{.travis.yml,appveyor.yml,.appveyor.yml,azure-pipelines.yml,bitbucket-pipelines.yml,cloudbuild.yaml}",
            "**/Jenkinsfile",
            "{.forgejo,.gitea}/workflows/**",
        ],
    },
    Group {
        why: "is run by git",
        patterns: &["{.husky,.githooks}/**", "{lefthook.yml,.lefthook.yml}"],
    },
    Group {
        why: "is run by editors that open the repository",
        patterns: &[
            ".devcontainer/**",
            ".devcontainer.json",
            "**/.vscode/{tasks,settings}.json",
        ],
    },
    Group {
        why: "decides who reviews",
        patterns: &["{CODEOWNERS,docs/CODEOWNERS,.github/CODEOWNERS,.gitlab/CODEOWNERS}"],
    },
];

/// Where gates judge the task: what decides which tests run, and how. A new file in a new directory is none of these:
/// it decides about nothing that was there before.
pub(super) const WITH_GATES: &[Group] = &[Group {
    why: "decides which checks run and how",
    patterns: &[
        // any language
        "**/{Makefile,GNUmakefile,*.mk}",
        "**/{justfile,.justfile,*.just}",
        "**/{Taskfile,Taskfile.dist}.{yml,yaml}",
        "**/{CMakePresets.json,CTestTestfile.cmake}",
        "**/{BUILD,BUILD.bazel,WORKSPACE,WORKSPACE.bazel,MODULE.bazel,.bazelrc}",
        "**/{.pre-commit-config.yaml,.tool-versions,mise.toml,.mise.toml,.envrc}",
        "**/{.env,.env.test,.env.local,.env.ci,.env.test.local}",
        "**/.proverc",
        "**/.bundle/**",
        "{flake.nix,shell.nix,default.nix,Earthfile}",
        "**/.gitattributes",
        // Rust
        "**/build.rs",
        "**/.cargo/**",
        "**/{rust-toolchain,rust-toolchain.toml}",
        "**/.config/{nextest.toml,insta.yaml}",
        "**/{clippy.toml,.clippy.toml,rustfmt.toml,.rustfmt.toml,deny.toml,tarpaulin.toml,.tarpaulin.toml}",
        // JavaScript and TypeScript
        "**/{jest,vitest,vite,playwright,cypress,ava,wdio,karma,nightwatch,web-test-runner}.{config,conf}.*",
        "**/{jest,vitest}.{setup,workspace,global-setup,preset}.*",
        "**/{setupTests,globalSetup}.{js,ts,mjs,mts,cjs,jsx,tsx}",
        "**/{.mocharc*,.nycrc*,.c8rc*,.taprc,cypress.json,testem.*}",
        "**/{babel.config.*,.babelrc*,.swcrc}",
        "**/{tsconfig,jsconfig}*.json",
        "**/{.eslintrc*,.eslintignore,eslint.config.*,biome.json,biome.jsonc,.prettierrc*,.stylelintrc*,.oxlintrc.json}",
        "**/{.npmrc,.yarnrc,.yarnrc.yml,.pnpmfile.cjs,pnpm-workspace.yaml,lerna.json,nx.json,turbo.json,rush.json}",
        "**/{deno.jsonc,bunfig.toml,.pnp.cjs,.pnp.loader.mjs,mocha.opts}",
        "**/.yarn/{releases,plugins,sdks}/**",
        "**/{.nvmrc,.node-version}",
        // Python
        "**/conftest.py",
        "**/{pytest.ini,.pytest.ini,pytest.toml,.pytest.toml,tox.ini,tox.toml,setup.cfg,noxfile.py}",
        "**/{.coveragerc,mypy.ini,.mypy.ini,ruff.toml,.ruff.toml,.flake8,.pylintrc,pylintrc,pyrightconfig.json}",
        "**/{sitecustomize.py,usercustomize.py,pytest.py,*.pth,pyvenv.cfg}",
        "**/{.python-version,hatch.toml,uv.toml,poetry.toml}",
        // Go
        "**/{go.work,.golangci.yml,.golangci.yaml,.golangci.toml,.golangci.json}",
        // JVM
        "**/gradle.properties",
        "**/{gradlew,gradlew.bat,mvnw,mvnw.cmd,build.sc}",
        "**/{gradle/wrapper,.mvn,buildSrc}/**",
        "**/{junit-platform.properties,testng.xml,META-INF/services/org.junit*}",
        // other languages
        "**/{phpunit.xml,phpunit.xml.dist,phpunit.dist.xml,pest.php,phpstan.neon}",
        "**/{.rspec,Rakefile,.rubocop.yml,spec_helper.rb,rails_helper.rb}",
        "**/{.formatter.exs,.credo.exs,test_helper.exs}",
        "**/{Directory.Build.props,Directory.Build.targets,global.json,*.runsettings,xunit.runner.json}",
        "**/.swiftlint.yml",
        "**/{dune-project,stack.yaml,cabal.project}",
        "**/{.luacheckrc,.busted,analysis_options.yaml,dart_test.yaml,.shellcheckrc}",
        "**/{.ruby-version,.java-version}",
        "{codecov.yml,.codecov.yml,sonar-project.properties}",
    ],
}];

/// Where gates judge the task, and in new directories as well: what programs find before anything else of that name, or
/// take in wherever it lies.
pub(super) const IN_ANY_PLACE: &[Group] = &[Group {
    why: "is found by what the gates run before what is installed",
    patterns: &["**/{node_modules,.venv,venv}/**"],
}];

/// Where tests are, by what they are called in one ecosystem or another.
pub(super) const TESTS: &[&str] = &[
    "**/{tests,test,__tests__,spec,specs,e2e,testdata,androidTest}/**",
    "**/{integration,unit,functional,acceptance}{-,_}tests/**",
    "**/*.{feature,robot}",
    "**/*_test.{go,py,rs,c,cc,cpp,dart,exs,rb,ts,js,sh}",
    "**/test_*.{py,rb,c,cc,cpp,sh}",
    "**/*.{test,spec,cy,e2e}.{js,jsx,ts,tsx,mjs,cjs,mts,cts,vue,svelte}",
    "**/*-{test,spec}.{js,jsx,ts,tsx}",
    "**/*_spec.{rb,lua}",
    "**/*{Test,Tests,TestCase,Spec,IT}.{java,kt,scala,groovy,cs,swift,php}",
    "**/*.{bats,tap,t,phpt}",
    "**/tests.{py,rs}",
];

/// What lies among tests and is none: it comes and goes with them.
pub(super) const NO_TESTS: &[&str] = &[
    "**/{*.snap,*.snap.new}",
    "**/{__snapshots__,__pycache__}/**",
    "**/*.{md,rst,pyc,orig,log}",
];
