//! [`Site`]: the named points of a transformer at which activations are read and written, with the names of TransformerLens.
//!
//! Where those leave a choice: `hook_normalized` is the whole output of a norm, gain and bias included, which is what the next projection reads;
//! `hook_q` and `hook_k` come before norms and rotation of queries and keys, `hook_rot_q` and `hook_rot_k` after both; `hook_attn_out` and
//! `hook_mlp_out` are what is added to the residual stream.

use std::collections::BTreeSet;
use std::fmt;

use super::config::{Config, Positions, Wiring};

/// A point of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    ResidPre,
    Norm1,
    Q,
    K,
    V,
    RotQ,
    RotK,
    /// Scores before the softmax, −∞ where a query doesn't see: per sequence `[heads · queries, keys]`.
    Scores,
    /// What the softmax makes of them, same shape.
    Pattern,
    Z,
    /// What each head adds to the residual stream, `[tokens, heads · d_model]`. Large.
    Result,
    AttnOut,
    ResidMid,
    Norm2,
    Pre,
    PreLinear,
    Post,
    MlpOut,
    ResidPost,
}

/// A point of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    Embed,
    PosEmbed,
    Block(usize, Point),
    /// What the output layer reads.
    FinalNorm,
    Logits,
}

const POINTS: [(Point, &str); 19] = [
    (Point::ResidPre, "hook_resid_pre"),
    (Point::Norm1, "ln1.hook_normalized"),
    (Point::Q, "attn.hook_q"),
    (Point::K, "attn.hook_k"),
    (Point::V, "attn.hook_v"),
    (Point::RotQ, "attn.hook_rot_q"),
    (Point::RotK, "attn.hook_rot_k"),
    (Point::Scores, "attn.hook_attn_scores"),
    (Point::Pattern, "attn.hook_pattern"),
    (Point::Z, "attn.hook_z"),
    (Point::Result, "attn.hook_result"),
    (Point::AttnOut, "hook_attn_out"),
    (Point::ResidMid, "hook_resid_mid"),
    (Point::Norm2, "ln2.hook_normalized"),
    (Point::Pre, "mlp.hook_pre"),
    (Point::PreLinear, "mlp.hook_pre_linear"),
    (Point::Post, "mlp.hook_post"),
    (Point::MlpOut, "hook_mlp_out"),
    (Point::ResidPost, "hook_resid_post"),
];

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Site::Embed => f.write_str("hook_embed"),
            Site::PosEmbed => f.write_str("hook_pos_embed"),
            Site::Block(layer, point) => {
                let (_, name) = POINTS.iter().find(|(p, _)| p == point).expect("every point has a name");
                write!(f, "blocks.{layer}.{name}")
            }
            Site::FinalNorm => f.write_str("ln_final.hook_normalized"),
            Site::Logits => f.write_str("logits"),
        }
    }
}

impl Site {
    /// The site of that name in a model of this shape.
    ///
    /// # Errors
    /// One line: what is wrong with the name, and names that there are.
    pub fn parse(name: &str, config: &Config) -> Result<Site, String> {
        let has = |site: Site| {
            if site.exists(config) {
                return Ok(site);
            }
            Err(format!("a model of family {} has no hook `{name}`; `superlens model` lists its hooks", config.family))
        };
        match name {
            "hook_embed" => return has(Site::Embed),
            "hook_pos_embed" => return has(Site::PosEmbed),
            "ln_final.hook_normalized" => return has(Site::FinalNorm),
            "logits" => return has(Site::Logits),
            _ => {}
        }
        let layers = config.layers.len();
        let unknown = || {
            let last = layers.saturating_sub(1);
            format!(
                "no hook is called `{name}`; hooks are called like blocks.{last}.hook_resid_post or blocks.0.mlp.hook_post; `superlens model` lists them"
            )
        };
        let (layer, point) = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')).ok_or_else(unknown)?;
        let layer: usize = layer.parse().map_err(|_| unknown())?;
        if layer >= layers {
            return Err(format!("hook `{name}`: the model has blocks 0 to {}", layers.saturating_sub(1)));
        }
        // What the MLP reads, by the name that TransformerLens has for it.
        let point = match point {
            "mlp.hook_in" if config.wiring == Wiring::Post => "hook_resid_mid",
            "mlp.hook_in" => "ln2.hook_normalized",
            other => other,
        };
        let (point, _) = POINTS.iter().find(|(_, n)| *n == point).ok_or_else(unknown)?;
        has(Site::Block(layer, *point))
    }

    /// The sites that a name means, in the order of [`all`](Self::all): one, or several where it holds a `*` (`blocks.*.hook_resid_post`).
    ///
    /// # Errors
    /// As [`parse`](Self::parse); a name with a `*` that fits nothing.
    pub fn matching(name: &str, config: &Config) -> Result<Vec<Site>, String> {
        if !name.contains('*') {
            return Site::parse(name, config).map(|site| vec![site]);
        }
        let found: Vec<Site> = Site::all(config).into_iter().filter(|site| fits(&site.to_string(), name)).collect();
        if found.is_empty() {
            return Err(format!("no hook is called like `{name}`; `superlens model` lists them"));
        }
        Ok(found)
    }

    /// All sites of a model of this shape, in the order of their names in a block.
    pub fn all(config: &Config) -> Vec<Site> {
        let blocks = (0..config.layers.len()).flat_map(|l| POINTS.iter().map(move |(p, _)| Site::Block(l, *p)));
        let ends = [Site::FinalNorm, Site::Logits];
        [Site::Embed, Site::PosEmbed].into_iter().chain(blocks).chain(ends).filter(|s| s.exists(config)).collect()
    }

    fn exists(self, config: &Config) -> bool {
        match self {
            Site::PosEmbed => matches!(config.positions, Positions::Learned | Positions::Sines),
            Site::FinalNorm => config.wiring != Wiring::Post,
            Site::Block(layer, Point::RotQ | Point::RotK) => config.layers[layer].rope.is_some(),
            Site::Block(_, Point::ResidMid) => config.wiring != Wiring::Parallel,
            Site::Block(_, Point::PreLinear) => config.gated,
            _ => true,
        }
    }

    /// Numbers a row; `None` for scores and patterns, whose rows are as long as the sequence.
    pub fn width(self, config: &Config) -> Option<usize> {
        Some(match self {
            Site::Logits => config.vocab,
            Site::Embed | Site::PosEmbed | Site::FinalNorm => config.d_model,
            Site::Block(_, point) => match point {
                Point::Q | Point::RotQ | Point::Z => config.d_queries(),
                Point::K | Point::RotK | Point::V => config.d_keys(),
                Point::Scores | Point::Pattern => return None,
                Point::Result => config.heads * config.d_model,
                Point::Pre | Point::PreLinear | Point::Post => config.d_mlp,
                _ => config.d_model,
            },
        })
    }

    /// Whether the forward pass comes here before it comes to the other.
    pub fn precedes(self, other: Site, config: &Config) -> bool {
        // Norms of encoders come after what is added, not before what reads it.
        let rank = |point: Point| match (config.wiring, point) {
            (Wiring::Post, Point::Norm1) => 2 * Point::AttnOut as usize + 1,
            (Wiring::Post, Point::Norm2) => 2 * Point::MlpOut as usize + 1,
            _ => 2 * point as usize,
        };
        let place = |site: Site| match site {
            Site::Embed => (0, 0),
            Site::PosEmbed => (0, 1),
            Site::Block(layer, point) => (1 + layer, rank(point)),
            Site::FinalNorm => (usize::MAX, 0),
            Site::Logits => (usize::MAX, 1),
        };
        place(self) < place(other)
    }

    /// How many steps of the forward pass it takes to get here.
    pub(super) fn step(self, config: &Config) -> usize {
        let post = config.wiring == Wiring::Post;
        match self {
            Site::Embed | Site::PosEmbed => 0,
            Site::Block(layer, point) => {
                layer * STEPS
                    + match point {
                        Point::ResidPre => 1,
                        Point::Norm1 if post => 3,
                        Point::Norm1 | Point::Q | Point::K | Point::V | Point::RotQ | Point::RotK => 2,
                        Point::Scores | Point::Pattern | Point::Z => 2,
                        Point::Result | Point::AttnOut | Point::ResidMid => 3,
                        Point::Norm2 if post => 5,
                        Point::Norm2 | Point::Pre | Point::PreLinear | Point::Post => 4,
                        Point::MlpOut | Point::ResidPost => 5,
                    }
            }
            Site::FinalNorm | Site::Logits => usize::MAX,
        }
    }
}

/// Whether a name is what a pattern says, where `*` stands for any characters.
fn fits(name: &str, pattern: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let Some((middle, tail)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
    for part in middle.split('*') {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(tail)
}

/// Steps of a block: its input, attention to `z`, its output, MLP to the neurons, its output.
pub(super) const STEPS: usize = 5;

/// The sites that somebody wants to see, and with that, how far the model is computed.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    wanted: BTreeSet<Site>,
    last: usize,
    alike: bool,
}

impl Sites {
    /// These sites and nothing after the last of them.
    pub fn new(wanted: impl IntoIterator<Item = Site>, config: &Config) -> Sites {
        let wanted: BTreeSet<Site> = wanted.into_iter().collect();
        let last = wanted.iter().map(|s| s.step(config)).max().unwrap_or(0);
        Sites { wanted, last, alike: false }
    }

    /// These sites, and the whole model.
    pub fn and_logits(wanted: impl IntoIterator<Item = Site>, config: &Config) -> Sites {
        Sites::new(wanted.into_iter().chain([Site::Logits]), config)
    }

    pub fn has(&self, site: Site) -> bool {
        self.wanted.contains(&site)
    }

    /// The same, computed to the last bit as it is for any other sites: layers into which nobody looks may otherwise take a quicker way,
    /// whose sums are rounded differently. For what is held against another run of the same model.
    pub fn alike(self) -> Sites {
        Sites { alike: true, ..self }
    }

    /// How many layers, of so many, come before the first into which somebody looks, and may take any way to their end.
    pub(super) fn unseen(&self, layers: usize) -> usize {
        let seen = |site: &Site| if let Site::Block(layer, _) = site { Some(*layer) } else { None };
        if self.alike { 0 } else { self.wanted.iter().filter_map(seen).min().unwrap_or(layers) }
    }

    /// Whether the forward pass ends with what is seen at this site: who sees it there may keep it.
    pub(crate) fn end_with(&self, site: Site, config: &Config) -> bool {
        // The last of their steps.
        let last = matches!(site, Site::Block(_, Point::ResidPre | Point::Z | Point::Post | Point::ResidPost));
        last && site.step(config) == self.last
    }

    /// Whether nothing is wanted after this step.
    pub(super) fn end_at(&self, step: usize) -> bool {
        self.last <= step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family_tests::fixtures;
    use crate::model::load;

    #[test]
    fn a_star_stands_for_anything() {
        for (name, pattern, want) in [
            ("blocks.1.hook_q", "blocks.1.hook_q", true),
            ("blocks.1.hook_q", "blocks.1.hook", false),
            ("blocks.1.hook_q", "*", true),
            ("blocks.1.hook_q", "blocks.*.hook_q", true),
            ("blocks.1.hook_q", "blocks.1.hook_q*", true),
            ("blocks.1.hook_q", "*1*q", true),
            ("blocks.1.hook_q", "*1*k", false),
            ("blocks.1.hook_q", "*q*q", false),
            ("aba", "ab*ba", false),
        ] {
            assert_eq!(fits(name, pattern), want, "{name} and {pattern}");
        }
    }

    #[test]
    fn names_of_several_sites_keep_their_order() {
        let config = load(&fixtures().join("llama-gqa-published")).unwrap().config;
        let found = |name: &str| Site::matching(name, &config);
        let layers: Vec<Site> = (0..2).map(|layer| Site::Block(layer, Point::Post)).collect();
        assert_eq!(found("blocks.*.mlp.hook_post").unwrap(), layers);
        assert_eq!(found("logits").unwrap(), [Site::Logits]);
        assert_eq!(found("*").unwrap(), Site::all(&config));
        assert!(found("*.hook_pots").unwrap_err().contains("*.hook_pots"));
        assert!(found("blocks.2.mlp.hook_post").is_err());
        assert_eq!(found("blocks.1.mlp.hook_in").unwrap(), [Site::Block(1, Point::Norm2)]);
        for site in Site::all(&config) {
            assert_eq!(found(&site.to_string()).unwrap(), [site]);
        }
    }

    /// The order that is promised is that in which every family computes its sites.
    #[test]
    fn sites_precede_one_another_as_they_are_computed() {
        for folder in std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()) {
            if !folder.join("config.json").exists() {
                continue;
            }
            let model = load(&folder).unwrap();
            let config = &model.config;
            let (all, mut seen) = (Sites::new(Site::all(config), config), Vec::new());
            model.forward(&crate::model::Batch::one(&[1, 2]), &all, None, &mut |site, _| seen.push(site));
            let wrong = seen.windows(2).find(|two| !two[0].precedes(two[1], config) || two[1].precedes(two[0], config));
            assert!(seen.len() > 20 && wrong.is_none(), "{}: {wrong:?}", folder.display());
        }
    }
}
