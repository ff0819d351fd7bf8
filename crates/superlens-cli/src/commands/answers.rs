//! [`Answers`]: what was answered, kept on disk, a file a request.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use superlens_tensor::io::{remove_parts, write_atomic};

use crate::failure::{Failure, say};

/// No answer that is kept is longer, with what stands around it.
const LONGEST: u64 = 16 << 20;

pub struct Answers {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    content: String,
    /// SHA-256 of the content: a file that was cut or changed is not believed.
    sha256: String,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// An answer and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub content: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

impl Answers {
    /// Makes the folder if it isn't there.
    pub fn open(folder: &Path) -> Result<Answers, Failure> {
        fs::create_dir_all(folder).map_err(|e| Failure::Input(format!("--cache {}: {e}", folder.display())))?;
        remove_parts(folder);
        Ok(Answers { folder: folder.to_owned() })
    }

    /// The name of what is asked: the hash of all that the answer depends on.
    pub fn name(asked: &Value) -> String {
        hex(asked.to_string().as_bytes())
    }

    /// The answer that is kept. A file that can't be used is told of and counts as none.
    pub fn get(&self, name: &str) -> Option<Answer> {
        let path = self.path(name);
        let length = fs::metadata(&path).ok()?.len();
        let kept = if length > LONGEST { None } else { fs::read(&path).ok() };
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        match kept.filter(|kept| kept.sha256 == hex(kept.content.as_bytes())) {
            Some(Kept { content, prompt_tokens, completion_tokens, .. }) => {
                Some(Answer { content, prompt_tokens, completion_tokens })
            }
            None => {
                say(&format!("warning: {}: is damaged, so this is asked again", path.display()));
                None
            }
        }
    }

    pub fn put(&self, name: &str, answer: &Answer) -> std::io::Result<()> {
        let Answer { content, prompt_tokens, completion_tokens } = answer.clone();
        let kept = Kept { sha256: hex(content.as_bytes()), content, prompt_tokens, completion_tokens };
        write_atomic(&self.path(name), &serde_json::to_vec(&kept)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let answers = Answers::open(folder.path()).unwrap();
        let answer = Answer { content: "[1, 2]\n\u{0}".into(), prompt_tokens: 3, completion_tokens: 4 };
        assert_eq!(answers.get("a"), None);
        answers.put("a", &answer).unwrap();
        assert_eq!(answers.get("a"), Some(answer));
        let path = folder.path().join("a.json");
        let good = fs::read(&path).unwrap();
        let changed = String::from_utf8(good.clone()).unwrap().replace("1, 2", "1, 3").into_bytes();
        for bad in [&good[..good.len() / 2], b"", b"null", &changed] {
            fs::write(&path, bad).unwrap();
            assert_eq!(answers.get("a"), None);
        }
    }
}
