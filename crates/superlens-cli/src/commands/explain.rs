//! `superlens explain compositional|simulate`: what units respond to.

use crate::args::{Explain, ExplainCommand, Global};
use crate::failure::Failure;

use super::{explain_compositional, explain_simulate};

pub fn run(args: &Explain, global: Global) -> Result<(), Failure> {
    match &args.command {
        ExplainCommand::Compositional(args) => explain_compositional::run(args, global),
        ExplainCommand::Simulate(args) => explain_simulate::run(args, global),
    }
}
