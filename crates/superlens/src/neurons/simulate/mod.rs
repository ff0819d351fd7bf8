//! Explain, simulate, score: a language model says in words what a unit responds to, tells from the words alone what the unit does on texts that it
//! has not seen, and is held to what it does (Bills et al. 2023; detection and fuzzing of Paulo et al. 2024; intruders of Paulo and Belrose 2025).
//!
//! The model is whatever implements [`Chat`]; nothing here opens a connection. What it answers is data: parsed strictly, never followed, and where it
//! can't be parsed a score is missing with the reason.

mod answers;
mod material;
mod prompts;
mod run;

pub use answers::{explanation, levels, place, yes_or_no};
pub use run::{Estimate, Missing, Scored, Scores, estimate, simulate};

/// Texts that one request to judge holds at most.
const BATCH: usize = 5;
/// Texts that belong, beside each intruder.
const COMPANY: usize = 4;
/// Activations are told as whole numbers from 0 to this.
pub const TOP_LEVEL: f32 = 10.0;

/// Whoever answers.
pub trait Chat: Sync {
    /// The answer to a request, as it came.
    ///
    /// # Errors
    /// [`ChatError`]: there is none.
    fn ask(&self, request: &Request) -> Result<String, ChatError>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatError {
    /// Nor will there be one to any other request: everything ends.
    Ended(String),
    /// Something came that is no answer. It counts as one that can't be read.
    Unreadable(String),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done, and how to answer.
    pub system: String,
    /// What it is to be done with.
    pub user: String,
    /// Tokens of the answer at most.
    pub max_tokens: u32,
    /// Tokens that a good answer has, about.
    pub expected_tokens: u32,
    /// 0 at first; another for each time that the same is asked again since the answer could not be read.
    pub attempt: u32,
}

/// What is asked of each unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Records a split that are explained from, calibrated on and scored on: so many of the top ones and so many random ones.
    pub examples: usize,
    /// How often a request is sent until its answer can be read.
    pub attempts: u32,
    pub simulation: bool,
    pub detection: bool,
    pub fuzzing: bool,
    pub intruder: bool,
    /// Whether each unit is scored with the explanation of another one too: what a score is worth where the explanation is wrong.
    pub shuffled: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            examples: 5,
            attempts: 3,
            simulation: true,
            detection: true,
            fuzzing: true,
            intruder: true,
            shuffled: false,
        }
    }
}
