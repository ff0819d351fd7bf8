//! [`Spec`]: a model by its name, `gpt2`, `openai-community/gpt2` or `openai-community/gpt2@revision`.

use super::HubError;

/// What the hub allows.
const LONGEST_ID: usize = 96;
const LONGEST_REVISION: usize = 256;
const USUAL_REVISION: &str = "main";

/// Which model, at which revision. Neither can lead out of the folder that it is looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `name` or `owner/name`.
    pub id: String,
    /// A branch, a tag, `refs/pr/1` or a commit.
    pub revision: String,
}

impl Spec {
    /// # Errors
    /// Names that the hub would not allow.
    pub fn parse(text: &str) -> Result<Spec, HubError> {
        let (id, revision) = text.split_once('@').unwrap_or((text, USUAL_REVISION));
        let wrong = |what: &str| HubError::input(text, what);
        let parts: Vec<&str> = id.split('/').collect();
        if parts.len() > 2 || id.len() > LONGEST_ID || !parts.iter().all(|part| is_word(part)) {
            return Err(wrong(
                "expected the name of a model, NAME or OWNER/NAME of letters, digits, `-`, `_` and `.`, and @REVISION if needed",
            ));
        }
        if id.contains("--") || id.contains("..") || id.ends_with(".git") {
            return Err(wrong("the name of a model has no `--`, no `..` and does not end with `.git`"));
        }
        let plain = |part: &str| is_word(part) && !part.ends_with(".lock");
        if revision.len() > LONGEST_REVISION || revision.contains("..") || !revision.split('/').all(plain) {
            return Err(wrong("after @ expected a branch, a tag or a commit"));
        }
        Ok(Spec { id: id.to_owned(), revision: revision.to_owned() })
    }

    /// The folder of this model in a cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}", self.id.replace('/', "--"))
    }

    /// As it is typed.
    pub(super) fn typed(&self) -> String {
        if self.revision == USUAL_REVISION { self.id.clone() } else { format!("{}@{}", self.id, self.revision) }
    }
}

/// Letters, digits and the three signs, which don't stand at its ends, but for `_`.
fn is_word(part: &str) -> bool {
    let sign = |c: char| c == '-' || c == '.';
    !part.is_empty()
        && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || sign(c))
        && !part.starts_with(sign)
        && !part.ends_with(sign)
}

/// Whether this is a commit, written out.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hub() {
        for good in ["gpt2", "openai-community/gpt2", "a/b.c_d-e@refs/pr/12", "x@v1.0", "TinyStories/_1M"] {
            assert_eq!(Spec::parse(good).unwrap().typed(), good);
        }
        assert_eq!(Spec::parse("gpt2").unwrap(), Spec::parse("gpt2@main").unwrap());
        assert_eq!(Spec::parse("a/b").unwrap().folder(), "models--a--b");
    }

    #[test]
    fn no_name_leads_elsewhere() {
        let long = "x".repeat(97);
        let bad = [
            "", "/", "a/", "/a", "a/b/c", "..", "../..", "a/..", ".a", "a.", "-a", "a--b", "a..b", "a.git", "a b",
            "a\\b", "a\nb", "a:b", "ü", "%2e%2e", "a@", "a@..", "a@../x", "a@x/../y", "a@/x", "a@x/", "a@x y", "a@b@c",
            "a@-x", &long,
        ];
        for bad in bad {
            assert!(Spec::parse(bad).is_err(), "{bad:?}");
        }
    }
}
