use super::*;
use crate::model::family_tests::fixtures;
use crate::model::{Sites, load};

fn plan(tokens: u64) -> Plan {
    Plan { tokens, length: 14, prompt: vec![1, 7], ends: vec![], choice: Choice::default() }
}

fn texts(model: &Transformer, plan: &Plan, seed: u64) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    let made = generate(model, &Changes::default(), plan, &Rng::new(seed), |ids| {
        all.push(ids.to_vec());
        Ok::<(), Refused>(())
    });
    assert_eq!(made.unwrap(), all.iter().map(|t| t.len() as u64).sum::<u64>());
    all
}

fn refused(model: &Transformer, plan: &Plan) -> String {
    generate(model, &Changes::default(), plan, &Rng::new(0), |_| Ok::<(), Refused>(())).unwrap_err().to_string()
}

/// Without a memory: the whole text is run again for each token.
fn greedy(model: &Transformer, prompt: &[u32], length: usize) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    while ids.len() < length {
        let sites = Sites::and_logits([], &model.config);
        let logits = model.forward(&Batch::one(&ids), &sites, None, &mut |_, _| {}).unwrap();
        ids.push(Choice { temperature: 0.0, ..Choice::default() }.of(logits.row(ids.len() - 1), &mut Rng::new(0)));
    }
    ids[prompt.len()..].to_vec()
}

#[test]
fn the_likeliest_tokens_are_those_of_a_run_without_memory() {
    for family in ["gpt2-published", "llama-gqa-published", "gemma2-published", "bloom", "neox-parallel-published"] {
        let model = load(&fixtures().join(family)).unwrap();
        let plan = Plan { choice: Choice { temperature: 0.0, ..Choice::default() }, ..plan(12 * 3) };
        let want = greedy(&model, &plan.prompt, plan.length);
        assert_eq!(texts(&model, &plan, 0), vec![want; 3], "{family}");
    }
}

#[test]
fn texts_depend_on_the_seed_and_on_nothing_else() {
    let model = load(&fixtures().join("gpt2-published")).unwrap();
    let plan = Plan { ends: vec![3, 4, 5], ..plan(9000) };
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| texts(&model, &plan, 1))
    };
    let all = on(1);
    assert_eq!(all, on(3));
    assert_ne!(all, texts(&model, &plan, 2));
    assert_eq!(all.concat().len(), 9000, "the last text is cut off there");
    assert!(all.concat().iter().all(|id| !plan.ends.contains(id)));
    let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
    assert!(lengths.iter().any(|&n| n < 6) && lengths.contains(&12), "some end themselves, some at the length");
}

/// Each first token as often as its probability says: χ² over the tokens, at a level of one in a million.
#[test]
fn tokens_come_as_often_as_they_are_likely() {
    let model = load(&fixtures().join("llama-gqa-published")).unwrap();
    let plan = Plan { length: 3, ..plan(20_000) };
    let sites = Sites::and_logits([], &model.config);
    let logits = model.forward(&Batch::one(&plan.prompt), &sites, None, &mut |_, _| {}).unwrap();
    let weights: Vec<f64> = logits.row(1).iter().map(|&x| f64::from(x).exp()).collect();
    let all: f64 = weights.iter().sum();
    let mut seen = vec![0.0; weights.len()];
    texts(&model, &plan, 5).iter().for_each(|text| seen[text[0] as usize] += 1.0);
    let expected = weights.iter().map(|w| 20_000.0 * w / all);
    let chi: f64 = seen.iter().zip(expected).map(|(o, e)| (o - e) * (o - e) / e).sum();
    let freedom = (seen.len() - 1) as f64;
    assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt() + 10.0, "χ² {chi} with {freedom} degrees");
}

#[test]
fn only_the_likeliest_are_taken_where_asked() {
    let logits = [0.0, 3.0, f32::NAN, 2.0, 1.0];
    let draw = |choice: Choice| {
        let mut rng = Rng::new(4);
        let mut seen: Vec<u32> = (0..2000).map(|_| choice.of(&logits, &mut rng)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(draw(Choice::default()), [0, 1, 3, 4], "never what is no number");
    assert_eq!(draw(Choice { top_k: Some(2), ..Choice::default() }), [1, 3]);
    // Probabilities .64, .24, .09, .03.
    assert_eq!(draw(Choice { top_p: Some(0.6), ..Choice::default() }), [1]);
    assert_eq!(draw(Choice { top_p: Some(0.9), ..Choice::default() }), [1, 3, 4]);
    assert_eq!(draw(Choice { temperature: 0.0, ..Choice::default() }), [1]);
    assert_eq!(draw(Choice { temperature: 0.01, ..Choice::default() }), [1]);
    assert_eq!(Choice::default().of(&[f32::NAN; 3], &mut Rng::new(0)), 0);
}

#[test]
fn what_can_not_be_sampled_is_told() {
    let model = load(&fixtures().join("gpt2-published")).unwrap();
    assert!(refused(&model, &Plan { prompt: vec![], ..plan(1) }).contains("give a prompt"));
    assert!(refused(&model, &Plan { prompt: vec![61], ..plan(1) }).contains("tokens 0 to 60"));
    assert!(refused(&model, &Plan { prompt: vec![1; 14], ..plan(1) }).contains("leaves none of 14"));
    assert!(refused(&model, &Plan { length: 5000, ..plan(1) }).contains("positions"));
    assert!(refused(&model, &Plan { ends: (0..61).collect(), ..plan(1) }).contains("ends every text at once"));
    for choice in [
        Choice { temperature: f32::NAN, ..Choice::default() },
        Choice { top_k: Some(0), ..Choice::default() },
        Choice { top_p: Some(0.0), ..Choice::default() },
    ] {
        assert!(refused(&model, &Plan { choice, ..plan(1) }).contains("expected"));
    }
    let encoder = load(&fixtures().join("bert-published")).unwrap();
    assert!(refused(&encoder, &plan(1)).contains("no next tokens"));
}
