//! What rules may ask of a row: facts about its token and those before it.

use superlens_lm::store::Tokens;

/// Tokens before the row's own that are asked about by place.
pub const BACK: usize = 3;
/// Tokens before the row's own in which a word may have occurred.
pub const NEAR: usize = 8;
/// Stands for no token: before the beginning of a document.
const NONE: u32 = u32::MAX;

/// Something that is true of a row or not. Words are the numbers of [`Tokens::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The token so many places back is this word; 0 is the row's own.
    Word { back: u8, word: u32 },
    /// This word is among the eight tokens before the row's own.
    Near(u32),
    /// The row's own token is of this kind.
    Kind(Kind),
    /// The row is among the first so many of its document.
    Early(u32),
}

/// Kinds of tokens, by their characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Begins with a blank.
    BeginsWord,
    /// Letters, the first of them a capital.
    Capital,
    Digits,
    Punctuation,
    /// Holds a line break.
    LineBreak,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::BeginsWord, Kind::Capital, Kind::Digits, Kind::Punctuation, Kind::LineBreak];

    fn holds(self, text: &str) -> bool {
        let bare = text.trim();
        match self {
            Kind::BeginsWord => text.starts_with(' '),
            Kind::Capital => bare.chars().next().is_some_and(char::is_uppercase),
            Kind::Digits => !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit()),
            Kind::Punctuation => !bare.is_empty() && bare.chars().all(|c| !c.is_alphanumeric()),
            Kind::LineBreak => text.contains('\n'),
        }
    }
}

/// Places in a document that rules may ask about.
pub const EARLY: [u32; 4] = [1, 4, 16, 64];

/// The tokens of rows, ready for questions.
#[derive(Clone, Debug)]
pub struct Texts {
    rows: usize,
    /// `[rows, BACK + 1]`: the row's own word first, then those before it.
    places: Vec<u32>,
    /// `[rows, NEAR]`: each word that occurred, once.
    near: Vec<u32>,
    /// A bit for each of [`Kind::ALL`].
    kinds: Vec<u8>,
    positions: Vec<u32>,
    /// Words there are.
    words: usize,
}

impl Texts {
    /// Those of any rows.
    pub fn of(tokens: &Tokens, rows: &[u64]) -> Texts {
        let kinds_of: Vec<u8> = (0..tokens.distinct() as u32)
            .map(|w| {
                let text = tokens.text_of(w);
                Kind::ALL.iter().enumerate().map(|(b, kind)| u8::from(kind.holds(text)) << b).sum()
            })
            .collect();
        let mut texts = Texts {
            rows: rows.len(),
            places: vec![NONE; rows.len() * (BACK + 1)],
            near: vec![NONE; rows.len() * NEAR],
            kinds: Vec::with_capacity(rows.len()),
            positions: Vec::with_capacity(rows.len()),
            words: tokens.distinct(),
        };
        for (i, &row) in rows.iter().enumerate() {
            let before = tokens.around(row, NEAR as u64, 0);
            for at in before.clone().rev() {
                let back = (row - at) as usize;
                if back <= BACK {
                    texts.places[i * (BACK + 1) + back] = tokens.word(at);
                }
            }
            let near = &mut texts.near[i * NEAR..(i + 1) * NEAR];
            let mut n = 0;
            for word in before.rev().skip(1).map(|at| tokens.word(at)) {
                if !near[..n].contains(&word) {
                    near[n] = word;
                    n += 1;
                }
            }
            texts.kinds.push(kinds_of[tokens.word(row) as usize]);
            texts.positions.push(tokens.position(row));
        }
        texts
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of words end here.
    pub fn words(&self) -> usize {
        self.words
    }

    /// The word so many places back, if the document goes back so far.
    pub fn word(&self, row: usize, back: usize) -> Option<u32> {
        Some(self.places[row * (BACK + 1) + back]).filter(|w| *w != NONE)
    }

    /// The words near before a row.
    pub fn near(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        self.near[row * NEAR..(row + 1) * NEAR].iter().copied().take_while(|w| *w != NONE)
    }

    pub fn holds(&self, fact: Fact, row: usize) -> bool {
        match fact {
            Fact::Word { back, word } => self.word(row, usize::from(back)) == Some(word),
            Fact::Near(word) => self.near(row).any(|w| w == word),
            Fact::Kind(kind) => {
                let bit = Kind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
                self.kinds[row] >> bit & 1 == 1
            }
            Fact::Early(n) => self.positions[row] < n,
        }
    }
}
