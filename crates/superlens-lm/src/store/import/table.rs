//! Columns of Arrow as matrices: lists, nested or not, of floats.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

/// A column with one block of numbers an entry.
#[derive(Debug)]
pub(super) struct Block<T> {
    /// The axes below an entry: `[context, width]`, `[width]` or none.
    pub shape: Vec<usize>,
    /// Entry by entry.
    pub data: Vec<T>,
}

/// The element type at the bottom of nested lists.
pub(super) fn leaf(of: &DataType) -> &DataType {
    match of {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            leaf(field.data_type())
        }
        other => other,
    }
}

pub(super) fn is_list(of: &DataType) -> bool {
    leaf(of) != of
}

pub(super) fn is_float(of: &DataType) -> bool {
    matches!(leaf(of), DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// Floats; what 64 bits hold and 32 don't becomes infinite, which no store takes.
pub(super) fn floats(array: &ArrayRef) -> Result<Block<f32>, String> {
    let (shape, bottom) = descend(array)?;
    let data = match bottom.data_type() {
        DataType::Float16 => bottom.as_primitive::<Float16Type>().values().iter().map(|v| v.to_f32()).collect(),
        DataType::Float32 => bottom.as_primitive::<Float32Type>().values().to_vec(),
        DataType::Float64 => bottom.as_primitive::<Float64Type>().values().iter().map(|&v| v as f32).collect(),
        other => return Err(format!("expected lists of floats, found {other}")),
    };
    Ok(Block { shape, data })
}

/// Identities of tokens.
pub(super) fn tokens(array: &ArrayRef) -> Result<Block<u32>, String> {
    let (shape, bottom) = descend(array)?;
    let whole = |v: i64| u32::try_from(v).map_err(|_| format!("expected token ids of 0 and more, found {v}"));
    let data: Result<Vec<u32>, String> = match bottom.data_type() {
        DataType::Int32 => bottom.as_primitive::<Int32Type>().values().iter().map(|&v| whole(v.into())).collect(),
        DataType::Int64 => bottom.as_primitive::<Int64Type>().values().iter().map(|&v| whole(v)).collect(),
        DataType::UInt32 => Ok(bottom.as_primitive::<UInt32Type>().values().to_vec()),
        other => Err(format!("expected lists of integers, found {other}")),
    };
    Ok(Block { shape, data: data? })
}

/// Through the lists to the numbers that belong to these entries; every list of a level must be as long as the others.
fn descend(array: &ArrayRef) -> Result<(Vec<usize>, ArrayRef), String> {
    if array.null_count() > 0 {
        return Err("expected a value in every row, found empty ones (null)".into());
    }
    let (len, inside) = match array.data_type() {
        DataType::FixedSizeList(_, size) => {
            // Its values are those of its slice.
            (
                usize::try_from(*size).map_err(|_| format!("a list of length {size}"))?,
                array.as_fixed_size_list().values().clone(),
            )
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends: Vec<usize> = list.offsets().iter().map(|&o| o as usize).collect();
            (even(&ends)?, list.values().slice(ends[0], ends[ends.len() - 1] - ends[0]))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends: Vec<usize> = list.offsets().iter().map(|&o| o as usize).collect();
            (even(&ends)?, list.values().slice(ends[0], ends[ends.len() - 1] - ends[0]))
        }
        _ => return Ok((Vec::new(), array.clone())),
    };
    let (below, bottom) = descend(&inside)?;
    Ok(([vec![len], below].concat(), bottom))
}

/// The common length of lists with these offsets.
fn even(ends: &[usize]) -> Result<usize, String> {
    let mut lengths = ends.windows(2).map(|pair| pair[1] - pair[0]);
    let first = lengths.next().unwrap_or(0);
    match lengths.find(|len| *len != first) {
        Some(other) => Err(format!("expected lists of one length, found {first} and {other}")),
        None => Ok(first),
    }
}
