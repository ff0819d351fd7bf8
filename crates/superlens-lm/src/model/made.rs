//! Tensors that stand in no file: a family's own loader then builds a fresh model of them, or shows where in a file each number belongs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Numbers of all tensors of a model that is made and not loaded: those up to here are told apart in single precision.
pub(super) const MOST: usize = (1 << 24) - 2;

/// Names and shapes of tensors, in the order in which they were asked for.
pub(super) type Asked = Rc<RefCell<Vec<(String, Vec<usize>)>>>;

/// What tensors hold that are asked for.
#[derive(Debug)]
pub(super) enum Made {
    Zeros,
    /// 1, 2, 3, … through all of them; which they are is noted.
    Counted(Asked),
    /// These, by name.
    Given(BTreeMap<String, (Vec<usize>, Vec<f32>)>),
}

impl Made {
    /// Whether there is such a tensor. What is made has all that a loader can read.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Made::Given(tensors) => tensors.contains_key(name),
            _ => name.ends_with(".weight") || name.ends_with(".bias"),
        }
    }

    /// The tensor of that name and shape.
    ///
    /// # Errors
    /// What there is more of than can be made, and what is not among those given.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let numbers = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MOST);
        let Some(numbers) = numbers else {
            return Err(format!("{shape:?} is larger than what is made here; at most {MOST} numbers in all"));
        };
        match self {
            Made::Zeros => Ok(vec![0.0; numbers]),
            Made::Counted(asked) => {
                let mut asked = asked.borrow_mut();
                let before: usize = asked.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
                if before + numbers > MOST {
                    return Err(format!("the model is larger than what is made here; at most {MOST} numbers in all"));
                }
                asked.push((name.to_owned(), shape.to_vec()));
                Ok((1..=numbers).map(|i| (before + i) as f32).collect())
            }
            Made::Given(tensors) => match tensors.get(name) {
                Some((given, data)) if given == shape => Ok(data.clone()),
                Some((given, _)) => Err(format!("expected shape {shape:?}, found {given:?}")),
                None => Err("no such tensor".to_owned()),
            },
        }
    }
}
