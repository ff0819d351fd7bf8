//! Seconds that the lines of a text take to become tokens, for `benches/peers/compare_tokens.py`: `encode TOKENIZER TEXT [REPEATS]` prints JSON.

use std::path::Path;
use std::time::Instant;

use superlens_lm::tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, text, rest @ ..] = &args[..] else { return Err("usage: encode TOKENIZER TEXT [REPEATS]".into()) };
    let tokenizer = Tokenizer::open(Path::new(tokenizer))?;
    let text = std::fs::read_to_string(text)?;
    let lines: Vec<&str> = text.lines().collect();
    let repeats = rest.first().map_or(Ok(5), |n| n.parse())?;
    let (mut seconds, mut tokens) = (Vec::new(), 0);
    for _ in 0..repeats {
        let start = Instant::now();
        tokens = tokenizer.ids_of_all(&lines, true)?.iter().map(Vec::len).sum::<usize>();
        seconds.push(start.elapsed().as_secs_f64());
    }
    println!("{{\"tokens\": {tokens}, \"seconds\": {seconds:?}}}");
    Ok(())
}
