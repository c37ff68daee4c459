//! Plain-text tables.

/// Columns as wide as their widest cell: the first to the left, the others to the right. The first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

/// A number with three decimals, or `-`.
pub fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows =
            [vec!["arm".into(), "kl".into()], vec!["sft".into(), number(Some(0.39))], vec!["a".into(), number(None)]];
        assert_eq!(table(&rows), "arm     kl\nsft  0.390\na        -\n");
    }
}
