//! What a PyTorch file holds: plain values, and descriptions of tensors.

/// A value of a PyTorch file. Tuples and lists are one here.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Value>),
    /// In the order of the file; keys are mostly strings.
    Dict(Vec<(Value, Value)>),
    /// Its numbers are still in the file: [`TorchFile::tensor`](super::TorchFile::tensor).
    Tensor(TensorInfo),
}

impl Value {
    /// The value of a dictionary at a key that is text.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Dict(pairs) => {
                pairs.iter().rev().find(|(k, _)| matches!(k, Value::Str(k) if k == key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Str(_) => "text",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Tensor(_) => "a tensor",
        }
    }
}

/// A tensor as the pickle describes it: a strided window on a storage, which other tensors may share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub(super) storage: String,
    pub(super) element: Element,
    pub(super) storage_len: u64,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

impl TensorInfo {
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Elements of the tensor; [`TensorInfo::check`] has made sure that they can be counted.
    pub(super) fn len(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Whether the window lies in the storage. A window with more elements than its storage (an expanded tensor) is refused, since
    /// its size would be bounded by nothing.
    pub(super) fn check(&self) -> Result<(), String> {
        let what = || format!("a tensor of shape {:?} with strides {:?}", self.shape, self.strides);
        if self.shape.len() != self.strides.len() || self.shape.len() > 64 {
            return Err(format!("{} makes no sense", what()));
        }
        let len = self.shape.iter().try_fold(1_u64, |len, &n| len.checked_mul(n));
        if len == Some(0) {
            return Ok(());
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps
            .map(|(&n, &stride)| (n - 1).checked_mul(stride))
            .try_fold(self.offset, |at, step| at.checked_add(step?));
        match (len, last) {
            (Some(len), Some(last)) if last < self.storage_len && len <= self.storage_len => Ok(()),
            _ => Err(format!(
                "{} from element {} does not fit a storage of {} elements",
                what(),
                self.offset,
                self.storage_len
            )),
        }
    }
}

/// The elements that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    I32,
    I64,
}

impl Element {
    pub fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "HalfStorage" => Element::F16,
            "BFloat16Storage" => Element::BF16,
            "FloatStorage" => Element::F32,
            "DoubleStorage" => Element::F64,
            "IntStorage" => Element::I32,
            "LongStorage" => Element::I64,
            _ => return None,
        })
    }

    pub fn storage(self) -> &'static str {
        match self {
            Element::F16 => "HalfStorage",
            Element::BF16 => "BFloat16Storage",
            Element::F32 => "FloatStorage",
            Element::F64 => "DoubleStorage",
            Element::I32 => "IntStorage",
            Element::I64 => "LongStorage",
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Element::F16 | Element::BF16 => 2,
            Element::F32 | Element::I32 => 4,
            Element::F64 | Element::I64 => 8,
        }
    }

    /// The number in `bytes`, which are as many as [`Element::bytes`] says, rounded to f32.
    pub fn number(self, bytes: &[u8]) -> f32 {
        let whole = "as many bytes as the element has";
        match self {
            Element::F16 => half::f16::from_le_bytes(bytes.try_into().expect(whole)).to_f32(),
            Element::BF16 => half::bf16::from_le_bytes(bytes.try_into().expect(whole)).to_f32(),
            Element::F32 => f32::from_le_bytes(bytes.try_into().expect(whole)),
            Element::F64 => f64::from_le_bytes(bytes.try_into().expect(whole)) as f32,
            Element::I32 => i32::from_le_bytes(bytes.try_into().expect(whole)) as f32,
            Element::I64 => i64::from_le_bytes(bytes.try_into().expect(whole)) as f32,
        }
    }
}
