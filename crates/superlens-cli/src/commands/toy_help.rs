//! The help of one toy: what it is, its settings with their defaults, its JSON.

use superlens::toy::lab::Toy;

/// Columns of the text.
const WIDTH: usize = 100;
/// Columns of the settings at most; what stands beside a longer one begins on the next line.
const WIDEST: usize = 26;

pub fn toy_help(toy: &Toy) -> String {
    let mut help = wrapped(&format!("{}: {}", toy.name, toy.about), 0);
    help.push_str(&wrapped(&format!("Source: {}", toy.source), 0));
    help.push_str("\nSettings (--set KEY=VALUE), with their defaults:\n");
    let typed = |k: usize| format!("{}={}", toy.settings[k].key, toy.settings[k].default);
    let widths = (0..toy.settings.len()).map(|k| typed(k).chars().count()).filter(|w| *w <= WIDEST);
    let indent = widths.max().unwrap_or(0) + 4;
    for (k, setting) in toy.settings.iter().enumerate() {
        let typed = typed(k);
        let says = wrapped(setting.says, indent);
        if typed.chars().count() + 4 <= indent {
            let room = indent - 2 - typed.chars().count();
            help.push_str(&format!("  {typed}{}{}", " ".repeat(room), says.trim_start()));
        } else {
            help.push_str(&format!("  {typed}\n{says}"));
        }
    }
    help.push_str("\n--json prints {model, seconds, instance_steps_per_s, instances: [{seed, loss, …}]}.\n");
    help.push_str("seed counts the instances: each draws from the stream of that number below --seed.\n");
    toy.keys.iter().for_each(|keys| help.push_str(&wrapped(keys, 0)));
    help.push_str(&format!("\nExamples:\n  superlens toy {0}\n  superlens toy {0} --out runs/{0}\n", toy.name));
    if let Some(s) = toy.settings.iter().find(|s| s.key.len() + s.default.len() < WIDEST) {
        help.push_str(&format!("  superlens toy {} --set {}={} --instances 4 --json\n", toy.name, s.key, s.default));
    }
    help
}

/// The text on lines of at most [`WIDTH`] columns, each `indent` from the left.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&format!("{:indent$}{line}\n", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + &format!("{:indent$}{line}\n", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens::toy::lab::TOYS;

    #[test]
    fn every_setting_is_told_on_lines_that_fit() {
        for toy in TOYS {
            let help = toy_help(toy);
            assert!(toy.settings.iter().all(|s| help.contains(&format!("  {}={}", s.key, s.default))), "{help}");
            assert!(help.lines().all(|l| l.chars().count() <= WIDTH), "{help}");
        }
    }
}
