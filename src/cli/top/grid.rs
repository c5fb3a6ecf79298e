//! Rows and columns of a view, without any knowledge of where they are drawn.

use std::cmp::Ordering;

/// How a value is meant; what it says is always in its words, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// Stands back.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// A trouble.
    Bad,
}

/// What a row is about: it stays chosen by this, wherever it moves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A service, by its name.
    Service(String),
    /// A backend, by the names of its service and its own.
    Backend(String, String),
    /// Something that there is nothing to do with.
    Other(String),
}

/// One value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// As it is shown.
    pub text: String,
    /// As it is sorted, if it is a number.
    pub number: Option<f64>,
    /// How it is meant.
    pub tone: Tone,
}

impl Cell {
    /// A number, and how it is shown.
    pub fn number(number: f64, text: String) -> Self {
        Self { text, number: Some(number), tone: Tone::Plain }
    }

    /// Meant like this.
    pub fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        // What health checks read comes from anywhere.
        Self { text: text.chars().filter(|c| !c.is_control()).collect(), ..Self::default() }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is about.
    pub key: Key,
    /// As many as there are columns.
    pub cells: Vec<Cell>,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Above it; numbers' begin with `>`.
    heading: &'static str,
    /// Columns with larger numbers give way first where there is no room for all; 0 never does.
    gives_way: u8,
}

impl Column {
    /// The words above it.
    pub fn heading(&self) -> &'static str {
        self.heading.trim_start_matches('>')
    }

    /// Whether it has numbers.
    pub fn is_right(&self) -> bool {
        self.heading.starts_with('>')
    }
}

/// The order of the rows; that of the configuration without a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By which column.
    pub column: Option<usize>,
    /// The other way round than largest first, or words from A to Z.
    pub is_reversed: bool,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// From left to right.
    pub columns: Vec<Column>,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// Between two columns.
const GAP: usize = 2;

impl Grid {
    /// Without rows; each column by its heading and how easily it gives way.
    pub fn new(columns: &[(&'static str, u8)]) -> Self {
        let column = |&(heading, gives_way): &(&'static str, u8)| Column { heading, gives_way };
        Self { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// One more row.
    pub fn row(&mut self, key: Key, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(Row { key, cells: cells.into_iter().collect() });
    }

    /// Keeps the rows that have the words somewhere, whatever their case.
    pub fn filter(&mut self, words: &str) {
        let words = words.to_lowercase();
        self.rows.retain(|row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&words)));
    }

    /// Numbers from the largest on, words from A to Z, or the other way round.
    pub fn sort(&mut self, order: Order) {
        let Some(column) = order.column else { return };
        self.rows.sort_by(|a, b| {
            let (Some(a), Some(b)) = (a.cells.get(column), b.cells.get(column)) else { return Ordering::Equal };
            let usual = match (a.number, b.number) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (None, None) => a.text.cmp(&b.text),
            };
            if order.is_reversed { usual.reverse() } else { usual }
        });
    }

    /// The columns that fit into `width`, and how wide they are; the last one takes what is left.
    pub fn fit(&self, width: usize) -> Vec<(usize, usize)> {
        let mut shown: Vec<(usize, usize)> = (0..self.columns.len()).map(|at| (at, self.width_of(at))).collect();
        loop {
            let needed: usize = shown.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP);
            if needed <= width {
                break;
            }
            let gives_way = |(at, _): &(usize, usize)| self.columns.get(*at).map_or(0, |column| column.gives_way);
            match shown.iter().enumerate().max_by_key(|(_, column)| gives_way(column)) {
                Some((place, column)) if gives_way(column) > 0 => _ = shown.remove(place),
                _ => break,
            }
        }
        shown
    }

    fn width_of(&self, column: usize) -> usize {
        // Above it there may be the mark of the order, too.
        let heading = self.columns.get(column).map_or(0, |column| column.heading().chars().count() + 1);
        let is_last = column + 1 == self.columns.len();
        let cells = self.rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| cell.text.chars().count());
        let widest = cells.max().unwrap_or(0).max(heading);
        // Words at the end of a line may be cut off.
        let is_cut = is_last && self.columns.get(column).is_some_and(|column| !column.is_right());
        if is_cut { widest.min(12) } else { widest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(&[("NAME", 0), (">PACKETS/S", 0), (">WEIGHT", 2), (">BYTES/S", 1), ("REASON", 0)]);
        for (name, packets, reason) in
            [("b1", Some(5.0), "not checked"), ("b2", Some(70.0), "refused"), ("b3", None, "")]
        {
            let packets = packets.map_or(Cell::from("-"), |n: f64| Cell::number(n, n.to_string()));
            let cells = [Cell::from(name), packets, Cell::from("100"), Cell::from("1"), Cell::from(reason)];
            grid.row(Key::Other(name.to_owned()), cells);
        }
        grid
    }

    fn names(grid: &Grid) -> String {
        grid.rows.iter().map(|row| row.cells[0].text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn largest_come_first_and_what_is_unknown_last_in_both_directions() {
        let sorted = |column, is_reversed| {
            let mut grid = grid();
            grid.sort(Order { column, is_reversed });
            names(&grid)
        };
        assert_eq!(sorted(None, true), "b1 b2 b3");
        assert_eq!((sorted(Some(1), false), sorted(Some(1), true)), ("b2 b1 b3".into(), "b1 b2 b3".into()));
        assert_eq!((sorted(Some(4), false), sorted(Some(0), true)), ("b3 b1 b2".into(), "b3 b2 b1".into()));
        assert_eq!(sorted(Some(9), false), "b1 b2 b3");
    }

    #[test]
    fn a_filter_looks_everywhere() {
        let filtered = |words: &str| {
            let mut grid = grid();
            grid.filter(words);
            names(&grid)
        };
        assert_eq!(
            (filtered("REFUSED"), filtered("b"), filtered("x")),
            ("b2".into(), "b1 b2 b3".into(), String::new())
        );
    }

    #[test]
    fn columns_give_way_in_their_order() {
        let headings = |width| {
            let grid = grid();
            grid.fit(width).iter().map(|(at, _)| grid.columns[*at].heading()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(headings(80), "NAME PACKETS/S WEIGHT BYTES/S REASON");
        assert_eq!(headings(45), "NAME PACKETS/S BYTES/S REASON");
        assert_eq!(headings(35), "NAME PACKETS/S REASON");
        assert_eq!(headings(5), "NAME PACKETS/S REASON");
    }
}
