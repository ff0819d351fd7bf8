//! The tokenizer of llama2.c (`tokenizer.bin`, `tok512.bin`): pieces with scores, merged greedily.
//!
//! Little-endian: `i32` longest piece, then for each id `f32` score, `i32` length, bytes. Ids 0, 1, 2 are unknown, BOS and EOS; 3 to 258 stand
//! for single bytes and are spelled `<0xNN>`. Source: the readers and `encode` of llama2.c, as described in its README.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::Encoding;

pub(super) const BOS: u32 = 1;
pub(super) const EOS: u32 = 2;
/// The id of byte 0.
const BYTES: u32 = 3;
/// Ids before the first piece that is text.
const FIRST_PIECE: usize = 3 + 256;
/// No piece is so long; more is a file of something else.
const LONGEST: usize = 1 << 12;

fn wrong(what: String) -> String {
    format!("is no tokenizer of llama2.c: {what}")
}

/// The next `n` bytes.
fn take<'a>(rest: &mut &'a [u8], n: usize, what: impl Fn() -> String) -> Result<&'a [u8], String> {
    let (head, tail) = rest.split_at_checked(n).ok_or_else(|| wrong(format!("it ends within {}", what())))?;
    *rest = tail;
    Ok(head)
}

fn word(rest: &mut &[u8], what: impl Fn() -> String) -> Result<[u8; 4], String> {
    let b = take(rest, 4, what)?;
    Ok([b[0], b[1], b[2], b[3]])
}

/// Pieces by id, and what two of them become.
#[derive(Debug)]
pub(super) struct Llama2 {
    pieces: Vec<Vec<u8>>,
    scores: Vec<f32>,
    ids: HashMap<Vec<u8>, u32>,
    /// The piece that is one piece after another.
    joined: HashMap<(u32, u32), u32>,
}

impl Llama2 {
    /// Reads the whole file, to its last byte.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = bytes;
        take(&mut rest, 4, || "its first number".into())?;
        let (mut pieces, mut scores) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let id = pieces.len();
            let score = f32::from_le_bytes(word(&mut rest, || format!("the score of piece {id}"))?);
            let length = i32::from_le_bytes(word(&mut rest, || format!("the length of piece {id}"))?);
            let length = usize::try_from(length).ok().filter(|&n| n <= LONGEST);
            let length = length.ok_or_else(|| wrong(format!("piece {id} has a length that can't be")))?;
            if !score.is_finite() {
                return Err(wrong(format!("piece {id} has the score {score}")));
            }
            pieces.push(take(&mut rest, length, || format!("piece {id}"))?.to_vec());
            scores.push(score);
        }
        if pieces.len() < FIRST_PIECE {
            return Err(wrong(format!("expected {FIRST_PIECE} pieces at least, found {}", pieces.len())));
        }
        Ok(Self::new(pieces, scores))
    }

    fn new(pieces: Vec<Vec<u8>>, scores: Vec<f32>) -> Self {
        let mut ids = HashMap::new();
        for (id, piece) in pieces.iter().enumerate() {
            ids.entry(piece.clone()).or_insert(id as u32);
        }
        let mut joined = HashMap::new();
        for (piece, &id) in &ids {
            for cut in 1..piece.len() {
                if let (Some(&left), Some(&right)) = (ids.get(&piece[..cut]), ids.get(&piece[cut..])) {
                    joined.insert((left, right), id);
                }
            }
        }
        Self { pieces, scores, ids, joined }
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// A space, then a token a character (its bytes where it has none), and of all neighbours that make up a piece those with the highest
    /// score are merged, the first of them where scores are equal, until none are left.
    pub(super) fn encode(&self, text: &str, add_special: bool) -> Encoding {
        let mut line = Line::default();
        if !text.is_empty() {
            self.push(&mut line, " ", (0, 0));
        }
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            self.push(&mut line, &text[at..end], (at, end));
        }
        self.merge(&mut line);
        let mut encoding = Encoding::default();
        if add_special {
            encoding.push(BOS, (0, 0));
        }
        let mut at = if line.nodes.is_empty() { END } else { 0 };
        while at != END {
            encoding.push(line.nodes[at].id, line.nodes[at].span);
            at = line.nodes[at].next;
        }
        encoding
    }

    fn push(&self, line: &mut Line, c: &str, span: (usize, usize)) {
        match self.ids.get(c.as_bytes()) {
            Some(&id) => line.push(id, span),
            None => c.bytes().for_each(|byte| line.push(BYTES + u32::from(byte), span)),
        }
    }

    fn merge(&self, line: &mut Line) {
        let mut waiting = BinaryHeap::new();
        for left in 0..line.nodes.len() {
            waiting.extend(self.candidate(line, left));
        }
        while let Some(best) = waiting.pop() {
            // One of the two has become another since.
            if self.candidate(line, best.left) != Some(best) {
                continue;
            }
            line.join(best.left, best.id);
            waiting.extend(self.candidate(line, best.left));
            if line.nodes[best.left].previous != END {
                waiting.extend(self.candidate(line, line.nodes[best.left].previous));
            }
        }
    }

    /// What the token at `left` and the next one make up.
    fn candidate(&self, line: &Line, left: usize) -> Option<Candidate> {
        let node = line.nodes.get(left).filter(|node| node.alive && node.next != END)?;
        let id = *self.joined.get(&(node.id, line.nodes[node.next].id))?;
        Some(Candidate { score: self.scores[id as usize], left, id })
    }

    /// The bytes that a token stands for; none for the special ones.
    pub(super) fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let piece = self.pieces.get(id as usize)?;
        Some(match id {
            0..BYTES => Vec::new(),
            _ if (id as usize) < FIRST_PIECE => vec![(id - BYTES) as u8],
            _ => piece.clone(),
        })
    }

    /// The spelling of a special token, without the line breaks that the files have around it.
    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.pieces.get(id as usize).map(|piece| String::from_utf8_lossy(piece).trim().to_owned())
    }
}

const END: usize = usize::MAX;

/// Tokens of a text as a list in which two can become one.
#[derive(Default)]
struct Line {
    nodes: Vec<Node>,
}

struct Node {
    id: u32,
    span: (usize, usize),
    previous: usize,
    next: usize,
    alive: bool,
}

impl Line {
    fn push(&mut self, id: u32, span: (usize, usize)) {
        let at = self.nodes.len();
        let previous = at.checked_sub(1).unwrap_or(END);
        if previous != END {
            self.nodes[previous].next = at;
        }
        self.nodes.push(Node { id, span, previous, next: END, alive: true });
    }

    /// The token at `left` takes in the next one.
    fn join(&mut self, left: usize, id: u32) {
        let right = self.nodes[left].next;
        let (end, after) = (self.nodes[right].span.1, self.nodes[right].next);
        self.nodes[right].alive = false;
        let node = &mut self.nodes[left];
        (node.id, node.span.1, node.next) = (id, end, after);
        if after != END {
            self.nodes[after].previous = left;
        }
    }
}

/// Two neighbours that make up a piece.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    score: f32,
    left: usize,
    id: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of every tokenizer, and after them these with their scores.
    fn tokenizer(more: &[(&str, f32)]) -> Llama2 {
        let mut bytes = 8i32.to_le_bytes().to_vec();
        let special = ["<unk>", "<s>", "</s>"].map(String::from);
        let all = special.into_iter().chain((0..256).map(|b| format!("<0x{b:02X}>"))).map(|piece| (piece, 0.0));
        for (piece, score) in all.chain(more.iter().map(|(piece, score)| (piece.to_string(), *score))) {
            bytes.extend(score.to_le_bytes());
            bytes.extend((piece.len() as i32).to_le_bytes());
            bytes.extend(piece.bytes());
        }
        Llama2::parse(&bytes).unwrap()
    }

    #[test]
    fn the_highest_score_is_merged_first_and_the_first_of_equals() {
        let made = tokenizer(&[
            (" ", -9.0),
            ("a", -9.0),
            ("b", -9.0),
            ("ab", -2.0),
            ("ba", -1.0),
            ("aa", -3.0),
            ("aab", -0.5),
        ]);
        let id = |piece: &str| made.ids[piece.as_bytes()];
        let ids = |text: &str| made.encode(text, false).ids;
        assert_eq!(ids("ab"), [id(" "), id("ab")]);
        // "ba" beats "ab" on either side.
        assert_eq!(ids("aba"), [id(" "), id("a"), id("ba")]);
        // The first "aa" of two, then what it makes possible.
        assert_eq!(ids("aaa"), [id(" "), id("aa"), id("a")]);
        // "ab" goes before "aa", and "a" before it makes "aab".
        assert_eq!(ids("aab"), [id(" "), id("aab")]);
    }

    #[test]
    fn files_that_are_cut_or_lie_are_refused() {
        let whole = {
            let mut bytes = 8i32.to_le_bytes().to_vec();
            for id in 0..FIRST_PIECE {
                bytes.extend(0f32.to_le_bytes());
                bytes.extend(2i32.to_le_bytes());
                bytes.extend([b'a', (id % 251) as u8]);
            }
            bytes
        };
        Llama2::parse(&whole).unwrap();
        for cut in 0..whole.len() {
            assert!(Llama2::parse(&whole[..cut]).is_err(), "{cut} bytes");
        }
        let mut lies = whole.clone();
        lies[8..12].copy_from_slice(&(-1i32).to_le_bytes());
        assert!(Llama2::parse(&lies).unwrap_err().contains("piece 0 has a length"));
        lies[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(Llama2::parse(&lies).unwrap_err().contains("piece 0 has a length"));
        let mut lies = whole;
        lies[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Llama2::parse(&lies).unwrap_err().contains("score"));
    }
}
