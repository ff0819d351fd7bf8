//! Columns that line up.

/// Rows of cells as lines, each column as wide as its widest cell, two blanks apart. The first row is the heading.
pub fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// As [`lines`], for tables whose number of columns is known only at run time.
pub fn wide(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
        cells.join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// One row with columns of given widths: for tables that are printed while they grow.
pub fn line<const N: usize>(row: &[String; N], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(&format!("{cell:<width$}  "));
    }
    line.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a", "bb"], ["ccc", "–"], ["", "d"]].map(|row| row.map(str::to_string));
        assert_eq!(lines(&rows), ["a    bb", "ccc  –", "     d"]);
    }
}
