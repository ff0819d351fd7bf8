//! Everything a change must pass, in the order in which mistakes are cheapest to hear of.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The newest cargo-deny that builds with the Rust version of the workspace.
const CARGO_DENY: &str = "0.20.2";

/// Where cargo-deny gets the list of known vulnerabilities.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<bool>,
}

const STEPS: &[Step] = &[
    Step { name: "format", run: |root| cargo(root, &["fmt", "--all", "--check"]) },
    Step { name: "tidy", run: crate::tidy::run },
    Step {
        name: "clippy",
        run: |root| cargo(root, &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    // The README's own test command, as it stands there: unit, integration and doc tests.
    Step { name: "tests", run: |root| cargo(root, &["test", "--workspace", "--release"]) },
    // Every quick experiment: the claims of the literature that our toys must meet.
    Step { name: "experiments", run: crate::gallery::check },
    Step { name: "documentation", run: documentation },
    Step { name: "dependencies", run: dependencies },
];

/// Runs every step, also after one failed, and prints what each took. True if all passed.
pub fn run(root: &Path) -> Result<bool> {
    let mut outcomes = Vec::new();
    for step in STEPS {
        println!("\n=== {}", step.name);
        let start = Instant::now();
        let passed = (step.run)(root).with_context(|| format!("step {}", step.name))?;
        outcomes.push((step.name, passed, start.elapsed()));
    }
    println!("\n=== summary");
    for (name, passed, took) in &outcomes {
        println!("{:<14} {:<6} {:>5} s", name, if *passed { "ok" } else { "FAILED" }, took.as_secs());
    }
    Ok(outcomes.iter().all(|(_, passed, _)| *passed))
}

/// Rustdoc without a warning: every link leads somewhere, those between private items too, which are for contributors.
fn documentation(root: &Path) -> Result<bool> {
    let arguments = ["doc", "--release", "--workspace", "--no-deps", "--document-private-items"];
    let mut command = cargo_command(root, &arguments);
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    print_command(&arguments);
    Ok(command.status()?.success())
}

/// Licences, bans and sources from `deny.toml`; known vulnerabilities too, where the list of them can be reached.
fn dependencies(root: &Path) -> Result<bool> {
    let deny = cargo_deny(root)?;
    let check = |what: &[&str]| -> Result<bool> {
        println!("+ cargo deny check {}", what.join(" "));
        Ok(Command::new(&deny).current_dir(root).arg("check").args(what).status()?.success())
    };
    let mut passed = check(&["bans", "licenses", "sources"])?;
    if reachable(ADVISORIES) {
        passed &= check(&["advisories"])?;
    } else {
        println!("NOT CHECKED: advisories. {ADVISORIES} can't be reached from here, and the list of known");
        println!("vulnerabilities lives there. Where there is a network: cargo deny check advisories");
    }
    Ok(passed)
}

/// The cargo-deny on the path, or else our own under `target/tools`, built on first use.
fn cargo_deny(root: &Path) -> Result<PathBuf> {
    let starts = |program: &Path| {
        let outcome = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        outcome.is_ok_and(|status| status.success())
    };
    let installed = PathBuf::from("cargo-deny");
    let ours = root.join("target/tools/bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if starts(&installed) {
        return Ok(installed);
    }
    if !starts(&ours) {
        let arguments = ["install", "cargo-deny", "--locked", "--version", CARGO_DENY, "--root", "target/tools"];
        let mut command = cargo_command(root, &arguments);
        // It runs for a second; a light build is two minutes on two cores, its own release profile many times that.
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        print_command(&arguments);
        ensure!(command.status()?.success(), "cargo-deny {CARGO_DENY} could not be installed; see above");
    }
    Ok(ours)
}

/// Whether git gets an answer from `url` soon enough to bother.
fn reachable(url: &str) -> bool {
    let mut command = Command::new("git");
    command.args(["ls-remote", "--quiet", url, "HEAD"]).env("GIT_TERMINAL_PROMPT", "0");
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(100)),
            Err(_) => break,
        }
    }
    // It hangs or can't be asked. Whether the kill finds it alive does not matter: the answer is no either way.
    let _ = child.kill();
    let _ = child.wait();
    false
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<bool> {
    print_command(arguments);
    Ok(cargo_command(root, arguments).status()?.success())
}

fn cargo_command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    // What cargo tells the programs it runs is about xtask, and would make the crates look changed to themselves.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command
}

fn print_command(arguments: &[&str]) {
    println!("+ cargo {}", arguments.join(" "));
}
