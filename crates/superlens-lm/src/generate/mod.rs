//! Texts sampled from a model itself: many at once, each further token at the cost of one row.

mod choice;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use superlens_tensor::{Mat, Rng};

use crate::intervene::{Changes, tokens};
use crate::model::{Batch, Config, Memory, Site, Transformer};

pub use choice::Choice;

/// Bytes that the keys and values of a group may take.
const MEMORY_BYTES: usize = 256 << 20;
/// Texts of a group that grow side by side.
const TEXTS: usize = 32;
/// Groups that may be under way at once, on as many threads as there are.
const GROUPS: usize = 8;

/// A plan that the model can't follow, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// What is to be sampled.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tokens in all; the text that reaches it is cut off there.
    pub tokens: u64,
    /// Tokens of the longest text, the prompt among them.
    pub length: usize,
    /// What every text begins with; one token at least.
    pub prompt: Vec<u32>,
    /// Tokens that end a text, and are not part of it.
    pub ends: Vec<u32>,
    pub choice: Choice,
}

/// Samples texts and gives the ids of each, without those of the prompt, to `each` until there are as many tokens as planned.
///
/// What is sampled is a function of the model, the changes, the plan and `rng`, whatever the number of threads. Text number `i` draws from a stream
/// of its own. The changes are made at each token when it is computed, the prompt's too.
///
/// # Errors
/// A prompt that is empty, leaves no room or has tokens that the model has not; a model without an output; and the first error of `each`,
/// after which nothing more is made.
pub fn generate<E: From<Refused>>(
    model: &Transformer,
    changes: &Changes,
    plan: &Plan,
    rng: &Rng,
    mut each: impl FnMut(&[u32]) -> Result<(), E>,
) -> Result<u64, E> {
    check(model, plan).map_err(Refused)?;
    let texts = group_size(&model.config, plan);
    let (mut made, mut group) = (0, 0);
    while made < plan.tokens {
        let left = plan.tokens - made;
        // No text needs to be longer than all that is left.
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(plan.length - plan.prompt.len());
        let most = (texts * room) as u64;
        // Fewer texts where few tokens are wanted: sizes depend on what is left alone, not on the machine.
        let (groups, texts) = if left < most {
            (1, usize::try_from(left.div_ceil(room as u64)).map_or(texts, |t| t.min(texts)))
        } else {
            (GROUPS.min(left.div_ceil(most) as usize), texts)
        };
        let all: Vec<Vec<Vec<u32>>> = (group..group + groups as u64)
            .into_par_iter()
            .map(|g| sample(model, changes, plan, rng, g, (texts, room)))
            .collect();
        group += groups as u64;
        for text in all.iter().flatten() {
            let kept = text.len().min(usize::try_from(plan.tokens - made).unwrap_or(usize::MAX));
            // An end at once is a text without a word.
            if kept > 0 {
                each(&text[..kept])?;
                made += kept as u64;
            }
            if made == plan.tokens {
                break;
            }
        }
        if all.iter().flatten().all(Vec::is_empty) {
            return Err(Refused("the model ends every text at once; give another prompt".into()).into());
        }
    }
    Ok(made)
}

fn check(model: &Transformer, plan: &Plan) -> Result<(), String> {
    if model.weights.head.is_none() || !model.config.causal {
        return Err(format!("a model of family {} gives no next tokens; nothing can be sampled", model.config.family));
    }
    if plan.prompt.is_empty() {
        return Err("the prompt has no token, and the tokenizer names none that begins a text; give a prompt".into());
    }
    model.check(&plan.prompt)?;
    let most = model.weights.positions.as_ref().map_or(usize::MAX, Mat::rows);
    if plan.length > most {
        return Err(format!("texts of {} tokens, but the model has {most} positions", plan.length));
    }
    if plan.prompt.len() >= plan.length {
        return Err(format!(
            "the prompt has {} tokens and leaves none of {} to sample",
            plan.prompt.len(),
            plan.length
        ));
    }
    plan.choice.check()
}

/// Texts of a group: as many as the memory allows, one at least.
fn group_size(config: &Config, plan: &Plan) -> usize {
    let text = plan.length.saturating_mul(config.layers.len() * 2 * config.d_keys() * 4).max(1);
    (MEMORY_BYTES / text).clamp(1, TEXTS)
}

/// So many texts, those of one group, each to its end or so many tokens.
fn sample(
    model: &Transformer,
    changes: &Changes,
    plan: &Plan,
    rng: &Rng,
    group: u64,
    (texts, room): (usize, usize),
) -> Vec<Vec<u32>> {
    let length = plan.prompt.len() + room;
    let sites = changes.and_logits(&model.config);
    let mut memory = Memory::new(&model.config, texts, length);
    let mut streams: Vec<Rng> = (0..texts).map(|t| rng.fork_index(group).fork_index(t as u64)).collect();
    let mut made: Vec<Vec<u32>> = vec![Vec::new(); texts];
    let mut open = vec![true; texts];
    let mut past = 0;
    let mut batch = Batch::new();
    (0..texts).for_each(|_| batch.push(&plan.prompt));
    while open.iter().any(|&open| open) {
        // No two tokens of a group have the same number.
        let tokens = tokens(&batch, (group * length as u64 + past as u64) * texts as u64);
        let mut pass = changes.pass();
        let mut hook = |site: Site, x: &mut Mat| pass.apply(site, &tokens, None, x);
        let logits = model.forward(&batch, &sites, Some(&mut memory), &mut hook).expect("checked: it has an output");
        past += if past == 0 { plan.prompt.len() } else { 1 };
        let mut next = Batch::new();
        for t in 0..texts {
            let mut chosen = None;
            if open[t] {
                let (_, end) = batch.rows(t);
                let id = plan.choice.of(logits.row(end - 1), &mut streams[t]);
                if plan.ends.contains(&id) {
                    open[t] = false;
                } else {
                    made[t].push(id);
                    open[t] = past + 1 < length;
                    chosen = open[t].then_some(id);
                }
            }
            // Texts that have ended stay in the batch as no rows, so that the others keep their place in the memory.
            next.push_after(past, chosen.as_slice());
        }
        batch = next;
    }
    made
}
