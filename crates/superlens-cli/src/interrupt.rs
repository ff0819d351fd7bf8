//! Ctrl-C: stop at once, leave nothing half-written.
//!
//! A command writes into a staging folder beside its destination, which one rename puts in place at the end. The
//! handler removes that folder; it waits while the rename happens, and afterwards finds nothing to remove. So there is
//! the whole report or none. A second Ctrl-C waits for nothing.

use std::io::IsTerminal;
use std::path::Path;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use superlens::report::{NewFolder, ReportError, RunFolder, Settings, Staging};

use crate::failure::say;

/// The exit code of a program that SIGINT ended, as shells count it.
pub const EXIT_CODE: u8 = 130;

static STAGING: Mutex<Option<Staging>> = Mutex::new(None);
/// How what is under way can be gone on with.
static GOING_ON: Mutex<Option<String>> = Mutex::new(None);

/// From here on an interrupted user is told this: how to go on.
pub fn tell_how_to_go_on(how: String) {
    *GOING_ON.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
}

/// From here on Ctrl-C (and SIGTERM, SIGHUP) is answered by this module.
pub fn install() -> Result<()> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            exit(EXIT_CODE.into());
        }
        // On a thread of its own: the next signal is only heard once this handler has returned.
        thread::spawn(stop);
    })
    .context("Ctrl-C can't be handled here")
}

/// [`RunFolder::create`], with no moment at which its staging folder exists and the handler does not know of it.
///
/// # Errors
/// As `RunFolder::create`.
pub fn create_run(destination: &Path, settings: Settings) -> Result<RunFolder, ReportError> {
    let mut staging = staging();
    let run = RunFolder::create(destination, settings)?;
    *staging = Some(run.staging());
    Ok(run)
}

/// [`NewFolder::create`], known to the handler as [`create_run`]'s is.
///
/// # Errors
/// As `NewFolder::create`.
pub fn create_folder(destination: &Path) -> Result<NewFolder, ReportError> {
    let mut staging = staging();
    let folder = NewFolder::create(destination)?;
    *staging = Some(folder.staging());
    Ok(folder)
}

/// Ends the process. Holds the lock until then, so that no staging folder is made behind its back.
fn stop() {
    // A progress bar may stand in this line of a terminal.
    let clear = if std::io::stderr().is_terminal() { "\r\x1b[2K" } else { "" };
    let how = GOING_ON.lock().unwrap_or_else(PoisonError::into_inner).take();
    let how = how.map_or_else(|| "stopping, nothing half-written stays".to_string(), |how| format!("go on with {how}"));
    say(&format!("{clear}interrupted: {how}"));
    let staging = staging();
    if let Some(staging) = staging.as_ref() {
        staging.remove();
    }
    exit(EXIT_CODE.into());
}

fn staging() -> MutexGuard<'static, Option<Staging>> {
    STAGING.lock().unwrap_or_else(PoisonError::into_inner)
}
