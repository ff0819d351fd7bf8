//! The ways a command can end early, and the exit code of each.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use superlens::report::ReportError;

use crate::interrupt;

/// Why a command did not finish.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for or given is wrong. The message says what to do; exit code 2.
    Input(String),
    /// Ctrl-C, which has said so itself; exit code 130.
    Interrupted,
    /// Nobody reads standard output any more (`superlens … | head`): no error.
    NoReader,
    /// Anything else; exit code 1.
    Other(anyhow::Error),
}

impl Failure {
    pub fn input(error: impl Display) -> Self {
        Failure::Input(error.to_string())
    }

    /// Tells standard error in one line, and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (message, code) = match self {
            Failure::Input(message) => (message, 2),
            Failure::Interrupted => return ExitCode::from(interrupt::EXIT_CODE),
            Failure::NoReader => return ExitCode::SUCCESS,
            Failure::Other(error) => (format!("{error:#}"), 1),
        };
        say(&format!("error: {}", one_line(&message)));
        ExitCode::from(code)
    }
}

/// Writes a line to standard error, if anybody reads that.
pub fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Names of files may hold anything, line breaks and terminal escapes too.
fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Other(error)
    }
}

/// An error of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NoReader,
            _ => Failure::Other(anyhow::Error::new(error).context("standard output can't be written to")),
        }
    }
}

/// An error of writing a report. That the destination can't be used is told earlier, as [`Failure::Input`].
impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Stopped => Failure::Interrupted,
            // As text: the message already holds that of its source.
            other => Failure::Other(anyhow::Error::msg(other)),
        }
    }
}

/// One line of what clap says in several, and where to read on.
pub fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let told = text.strip_prefix("error: ").unwrap_or(&text);
    let told =
        ["\n\nUsage:", "\n\nFor more"].iter().filter_map(|end| told.find(end)).min().map_or(told, |end| &told[..end]);
    let parts: Vec<String> =
        told.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    Failure::Input(format!("{}; see superlens --help", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_message_is_one_line_without_escapes() {
        assert_eq!(one_line("a\nb\x1b[31m.npy"), "a b [31m.npy");
    }

    #[test]
    fn bad_usage_is_one_line_that_keeps_the_hint() {
        let parse = |line: &str| match crate::args::Cli::try_parse_from(line.split(' ')) {
            Err(error) => match usage(&error) {
                Failure::Input(message) => message,
                other => panic!("{other:?}"),
            },
            Ok(cli) => panic!("{cli:?}"),
        };
        let message = parse("superlens demo --sed 3");
        assert!(message.contains("'--sed'") && message.contains("'--seed'") && !message.contains('\n'), "{message}");
        let message = parse("superlens diagnose");
        assert!(message.contains("<INPUT>") && message.ends_with("see superlens --help"), "{message}");
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), Failure::NoReader));
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)), Failure::Other(_)));
    }
}
