//! The pickle inside a PyTorch file, read as data: a stack machine that builds tensors' descriptions and plain containers.
//!
//! Python's own reader calls whatever function the file names. This one calls nothing. It knows the handful of names that
//! state dicts need ([`Global`]) and what each of them means; every other name, and every instruction that could lead to
//! one, is an error that quotes it. Instructions: CPython's `Lib/pickletools.py`; what PyTorch puts in: `torch/_utils.py`.

use std::collections::HashMap;

use super::value::{Element, TensorInfo, Value};
use crate::io::Problem;
use crate::io::error::printable;

/// Containers in containers. State dicts with optimizers have five or so.
const MAX_DEPTH: usize = 32;
/// Values of the whole tree, where a container that is used twice counts twice: so few bytes can't unfold into very many.
const MAX_VALUES: usize = 1 << 20;

/// Reads the one value that `bytes` hold.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut machine =
        Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while machine.step()? {}
    let root = machine.pop()?;
    let mut left = MAX_VALUES;
    machine.tree(root, MAX_DEPTH, &mut left)
}

/// The names that are known. None of them is called.
#[derive(Clone, Copy)]
enum Global {
    /// `collections.OrderedDict`: a dictionary.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`.
    Tensor,
    /// `torch._utils._rebuild_parameter(tensor, …)`: the tensor.
    Parameter,
    /// `torch.Size(tuple)`: the tuple.
    Size,
    /// `torch.FloatStorage` and the like: what is in a storage.
    Storage(Element),
}

impl Global {
    fn named(module: &str, name: &str) -> Result<Self, Problem> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::Tensor,
            ("torch._utils", "_rebuild_parameter") => Global::Parameter,
            ("torch", "Size") => Global::Size,
            ("torch", storage) if Element::of_storage(storage).is_some() => {
                Global::Storage(Element::of_storage(storage).expect("asked in the guard"))
            }
            _ => {
                let name = printable(&format!("{module}.{name}"), 100);
                return Err(bad(format!(
                    "it asks for `{name}`, and nothing in a file is run here; save a plain dictionary of tensors instead: \
                     torch.save(model.state_dict(), FILE)"
                )));
            }
        })
    }
}

/// Index into [`Machine::nodes`].
type Id = usize;

/// A value under construction. Containers hold indices, since a later instruction may still add to what they hold.
enum Node {
    Plain(Value),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage { key: String, element: Element, len: u64 },
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at which a mark lies.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// One instruction. False at the last.
    fn step(&mut self) -> Result<bool, Problem> {
        let [code] = self.take()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(self.take::<1>()?),                                     // PROTO
            0x95 => drop(self.take::<8>()?),                                     // FRAME
            b'(' => self.marks.push(self.stack.len()),                           // MARK
            b'0' => drop(self.pop()?),                                           // POP
            b'1' => drop(self.pop_mark()?),                                      // POP_MARK
            b'N' => self.plain(Value::None),                                     // NONE
            0x88 => self.plain(Value::Bool(true)),                               // NEWTRUE
            0x89 => self.plain(Value::Bool(false)),                              // NEWFALSE
            b'J' => self.int(|m| Ok(i64::from(i32::from_le_bytes(m.take()?))))?, // BININT
            b'K' => self.int(|m| Ok(i64::from(m.take::<1>()?[0])))?,             // BININT1
            b'M' => self.int(|m| Ok(i64::from(u16::from_le_bytes(m.take()?))))?, // BININT2
            0x8a => self.int(Self::long)?,                                       // LONG1
            b'G' => {
                let number = f64::from_be_bytes(self.take()?); // BINFLOAT
                self.plain(Value::Float(number));
            }
            b'X' => self.text(|m| Ok(u32::from_le_bytes(m.take()?) as usize))?, // BINUNICODE
            0x8c => self.text(|m| Ok(usize::from(m.take::<1>()?[0])))?,         // SHORT_BINUNICODE
            b']' => self.push(Node::List(Vec::new())),                          // EMPTY_LIST
            b')' => self.push(Node::Tuple(Vec::new())),                         // EMPTY_TUPLE
            b'}' => self.push(Node::Dict(Vec::new())),                          // EMPTY_DICT
            b't' => {
                let items = self.pop_mark()?; // TUPLE
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => self.short_tuple(usize::from(code - 0x84))?, // TUPLE1 to TUPLE3
            b'a' => {
                let item = self.pop()?; // APPEND
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?; // APPENDS
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?); // SETITEM
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?; // SETITEMS
                self.set_items(items)?;
            }
            b'q' => {
                let at = u32::from(self.take::<1>()?[0]); // BINPUT
                self.put(at)?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.take()?); // LONG_BINPUT
                self.put(at)?;
            }
            0x94 => self.put(self.memo.len() as u32)?, // MEMOIZE
            b'h' => {
                let at = u32::from(self.take::<1>()?[0]); // BINGET
                self.get(at)?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.take()?); // LONG_BINGET
                self.get(at)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                self.push(Node::Global(Global::named(&module, &name)?));
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?); // STACK_GLOBAL
                self.push(Node::Global(Global::named(&module, &name)?));
            }
            b'Q' => self.storage()?, // BINPERSID
            b'R' => self.reduce()?,  // REDUCE
            b'b' => self.build()?,   // BUILD
            _ => {
                return Err(bad(format!(
                    "its pickle has the instruction {code:#04x} at byte {}, which no dictionary of tensors needs",
                    self.at - 1
                )));
            }
        }
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.slice(N)?;
        Ok(bytes.try_into().expect("a slice of N bytes"))
    }

    fn slice(&mut self, len: usize) -> Result<&[u8], Problem> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| bad(format!("its pickle is cut off at byte {}", self.bytes.len())))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, Problem> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or_else(|| bad("its pickle is cut off in a name".into()))?;
        let text = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.at += len + 1;
        Ok(text)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn plain(&mut self, value: Value) {
        self.push(Node::Plain(value));
    }

    fn int(&mut self, read: impl Fn(&mut Self) -> Result<i64, Problem>) -> Result<(), Problem> {
        let number = read(self)?;
        self.plain(Value::Int(number));
        Ok(())
    }

    /// A number of so many little-endian bytes, in two's complement.
    fn long(&mut self) -> Result<i64, Problem> {
        let len = usize::from(self.take::<1>()?[0]);
        if len > 8 {
            return Err(bad(format!("its pickle holds a whole number of {len} bytes, where at most 8 are read")));
        }
        let bytes = self.slice(len)?;
        let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..len].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(wide))
    }

    fn text(&mut self, len: impl Fn(&mut Self) -> Result<usize, Problem>) -> Result<(), Problem> {
        let len = len(self)?;
        let text =
            std::str::from_utf8(self.slice(len)?).map_err(|_| bad("its pickle holds text that is not UTF-8".into()))?;
        let text = text.to_owned();
        self.plain(Value::Str(text));
        Ok(())
    }

    /// What lies above the last mark must stay there until the mark goes.
    fn pop(&mut self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => Ok(self.stack.pop().expect("above the floor")),
            false => Err(unbalanced()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let mark = self.marks.pop().ok_or_else(unbalanced)?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_text(&mut self) -> Result<String, Problem> {
        let id = self.pop()?;
        self.str(id).map(str::to_owned).ok_or_else(unbalanced)
    }

    fn top(&self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.last().copied().filter(|_| self.stack.len() > floor).ok_or_else(unbalanced)
    }

    fn short_tuple(&mut self, len: usize) -> Result<(), Problem> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Problem> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(items),
            _ => return Err(unbalanced()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), Problem> {
        let dict = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.nodes[dict] {
            Node::Dict(dict) if rest.is_empty() => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(unbalanced()),
        }
        Ok(())
    }

    fn put(&mut self, at: u32) -> Result<(), Problem> {
        let id = self.top()?;
        self.memo.insert(at, id);
        Ok(())
    }

    fn get(&mut self, at: u32) -> Result<(), Problem> {
        let id = *self.memo.get(&at).ok_or_else(unbalanced)?;
        self.stack.push(id);
        Ok(())
    }

    fn str(&self, id: Id) -> Option<&str> {
        match &self.nodes[id] {
            Node::Plain(Value::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// A length, an offset or a stride.
    fn count(&self, id: Id) -> Result<u64, Problem> {
        match &self.nodes[id] {
            Node::Plain(Value::Int(n)) if *n >= 0 => Ok(*n as u64),
            _ => Err(bad("a tensor's offset, size or stride is no whole number from 0".into())),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id], Problem> {
        match &self.nodes[id] {
            Node::Tuple(items) => Ok(items),
            _ => Err(bad("its pickle has something else where a tuple must be".into())),
        }
    }

    fn counts(&self, id: Id) -> Result<Vec<u64>, Problem> {
        self.tuple(id)?.iter().map(|&id| self.count(id)).collect()
    }

    /// `("storage", type, key, device, length)`.
    fn storage(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let &[kind, element, key, _device, len] = self.tuple(id)? else {
            return Err(bad("a storage is not described by five values".into()));
        };
        let (Some("storage"), &Node::Global(Global::Storage(element)), Some(key)) =
            (self.str(kind), &self.nodes[element], self.str(key))
        else {
            return Err(bad("a storage is not described by its type and its key".into()));
        };
        let storage = Node::Storage { key: key.to_owned(), element, len: self.count(len)? };
        self.push(storage);
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), Problem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = self.tuple(arguments)?.to_vec();
        let &Node::Global(function) = &self.nodes[function] else {
            return Err(bad("its pickle calls something that is no function".into()));
        };
        match (function, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.push(Node::Dict(Vec::new())),
            (Global::Tensor, &[storage, offset, size, stride, ..]) => {
                let Node::Storage { key, element, len } = &self.nodes[storage] else {
                    return Err(bad("a tensor has no storage".into()));
                };
                let tensor = TensorInfo {
                    storage: key.clone(),
                    element: *element,
                    storage_len: *len,
                    offset: self.count(offset)?,
                    shape: self.counts(size)?,
                    strides: self.counts(stride)?,
                };
                tensor.check().map_err(bad)?;
                self.plain(Value::Tensor(tensor));
            }
            (Global::Parameter, &[tensor, ..]) if matches!(self.nodes[tensor], Node::Plain(Value::Tensor(_))) => {
                self.stack.push(tensor);
            }
            (Global::Size, &[size]) if matches!(self.nodes[size], Node::Tuple(_)) => self.stack.push(size),
            _ => return Err(bad("a tensor or a dictionary is described with other values than PyTorch uses".into())),
        }
        Ok(())
    }

    /// Attributes of an ordered dictionary (`_metadata`, the versions of a model's layers) are left aside.
    fn build(&mut self) -> Result<(), Problem> {
        self.pop()?;
        let object = self.top()?;
        match self.nodes[object] {
            Node::Dict(_) => Ok(()),
            _ => Err(bad("its pickle sets attributes of something that is no dictionary".into())),
        }
    }

    /// Unfolds what was built. The limits hold for cycles and for shared containers too.
    fn tree(&self, id: Id, depth: usize, left: &mut usize) -> Result<Value, Problem> {
        if depth == 0 {
            return Err(bad(format!("its containers are nested more than {MAX_DEPTH} deep")));
        }
        *left = left.checked_sub(1).ok_or_else(|| bad(format!("it holds more than {MAX_VALUES} values")))?;
        let mut all = |ids: &[Id]| ids.iter().map(|&id| self.tree(id, depth - 1, left)).collect::<Result<Vec<_>, _>>();
        Ok(match &self.nodes[id] {
            Node::Plain(value) => value.clone(),
            Node::List(items) | Node::Tuple(items) => Value::List(all(items)?),
            Node::Dict(pairs) => {
                let pairs = pairs.iter().map(|&(key, value)| match all(&[key, value])?.try_into() {
                    Ok::<[Value; 2], _>([key, value]) => Ok((key, value)),
                    Err(_) => unreachable!("two ids give two values"),
                });
                Value::Dict(pairs.collect::<Result<_, Problem>>()?)
            }
            Node::Global(_) | Node::Storage { .. } => {
                return Err(bad("a name or a storage stands where a value must be".into()));
            }
        })
    }
}

fn bad(what: String) -> Problem {
    Problem::Torch(what)
}

fn unbalanced() -> Problem {
    bad("its pickle is damaged: an instruction finds other values than it needs".into())
}
