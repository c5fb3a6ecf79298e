//! Columns without borders: words to the left, numbers to the right.

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    Line(String),
}

impl Table {
    /// With these headings; those that begin with `>` are of numbers.
    pub fn new(headings: &[&str]) -> Self {
        let align = |heading: &&str| if heading.starts_with('>') { Align::Right } else { Align::Left };
        let names = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Self { columns: headings.iter().map(align).collect(), rows: vec![Row::Cells(names)] }
    }

    /// One more row; as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row::Cells(cells.into_iter().collect()));
    }

    /// A line that keeps to no column.
    pub fn line(&mut self, text: String) {
        self.rows.push(Row::Line(text));
    }

    /// The text, each line ended.
    pub fn render(&self) -> String {
        let mut widths = vec![0; self.columns.len()];
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            match row {
                Row::Line(line) => text.push_str(line),
                Row::Cells(cells) => text.push_str(self.render_cells(cells, &widths).trim_end()),
            }
            text.push('\n');
        }
        text
    }

    fn render_cells(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = cells.iter().zip(widths).zip(&self.columns).map(|((cell, &width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_nothing_trails() {
        let mut table = Table::new(&["NAME", ">PACKETS", "WHY"]);
        table.row(["b1".into(), "5".into(), String::new()]);
        table.line("between".into());
        table.row(["backend".into(), "123456789".into(), "x".into()]);
        let text = "NAME       PACKETS  WHY\nb1               5\nbetween\nbackend  123456789  x\n";
        assert_eq!(table.render(), text);
    }
}
