//! Columns without borders: words to the left, numbers to the right.

use anstyle::Style;

use super::color;
use crate::control::config::suggest::nearest;

/// Between two columns.
const GAP: usize = 2;
/// What is left of a last column whose words have to be broken into lines.
const LAST_WIDTH_MIN: usize = 15;

/// One value of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    text: String,
    /// What it is sorted by, if it is a number.
    number: Option<f64>,
    style: Style,
}

impl Cell {
    /// A number, and how it is shown.
    pub fn number(number: f64, text: String) -> Self {
        Self { text, number: Some(number), style: Style::new() }
    }

    /// In this style.
    pub fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

/// How a table is laid out.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Characters of a line, where there is a limit.
    pub width: Option<usize>,
    /// Heading of the column that rows are sorted by.
    pub sort: Option<String>,
}

/// There is no such column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no column {name}{hint}; there are {all}")]
pub struct NoColumn {
    name: String,
    hint: String,
    all: String,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    groups: Vec<Group>,
    total: Option<Vec<Cell>>,
    lines: Vec<String>,
    /// Headings of columns that give way where a line is too short for all.
    dispensable: &'static [&'static str],
}

#[derive(Debug)]
struct Column {
    heading: String,
    is_right: bool,
}

#[derive(Debug, Default)]
struct Group {
    heading: Option<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// With these headings; those that begin with `>` are of numbers.
    pub fn new(headings: &[&str]) -> Self {
        let column = |heading: &&str| Column {
            heading: heading.trim_start_matches('>').to_owned(),
            is_right: heading.starts_with('>'),
        };
        Self {
            columns: headings.iter().map(column).collect(),
            groups: vec![Group::default()],
            total: None,
            lines: Vec::new(),
            dispensable: &[],
        }
    }

    /// Columns that give way, the first one first, where a line is too short for all.
    pub fn dispensable(mut self, headings: &'static [&'static str]) -> Self {
        self.dispensable = headings;
        self
    }

    /// The rows from here on belong below this line.
    pub fn group(&mut self, heading: String) {
        self.groups.push(Group { heading: Some(heading), rows: Vec::new() });
    }

    /// One more row; as many cells as there are columns.
    pub fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        if let Some(group) = self.groups.last_mut() {
            group.rows.push(cells.into_iter().map(Into::into).collect());
        }
    }

    /// The row below all others, whatever they are sorted by.
    pub fn total(&mut self, cells: Vec<Cell>) {
        self.total = Some(cells);
    }

    /// A line below all rows that keeps to no column.
    pub fn line(&mut self, text: String) {
        self.lines.push(text);
    }

    /// The text, each line ended.
    pub fn render(&self) -> String {
        self.text(None)
    }

    /// The text, laid out.
    ///
    /// # Errors
    /// There is no column to sort by.
    pub fn render_with(mut self, layout: &Layout) -> Result<String, NoColumn> {
        if let Some(name) = &layout.sort {
            let column = self.find(name)?;
            self.sort(column);
        }
        Ok(self.text(layout.width))
    }

    fn text(&self, width: Option<usize>) -> String {
        let all = || self.groups.iter().flat_map(|group| &group.rows).chain(&self.total);
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.heading.chars().count()).collect();
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let shown = self.fit(&mut widths, width);
        let heading = |column: &Column| Cell { text: column.heading.clone(), number: None, style: color::STRONG };
        let mut text = self.line_of(&self.columns.iter().map(heading).collect::<Vec<_>>(), &widths, &shown);
        for group in &self.groups {
            group.heading.iter().for_each(|line| text.push_str(&format!("{line}\n")));
            group.rows.iter().for_each(|row| text.push_str(&self.line_of(row, &widths, &shown)));
        }
        self.total.iter().for_each(|row| text.push_str(&self.line_of(row, &widths, &shown)));
        self.lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        let hidden: Vec<&str> =
            self.columns.iter().zip(&shown).filter(|(_, shown)| !**shown).map(|(c, _)| c.heading.as_str()).collect();
        if !hidden.is_empty() {
            text.push_str(&format!("{}\n", color::paint(&left_out(&hidden, width), color::FAINT)));
        }
        text
    }

    /// Which columns are shown in lines of `width`; the last one has several lines if that helps.
    fn fit(&self, widths: &mut [usize], width: Option<usize>) -> Vec<bool> {
        let mut shown = vec![true; widths.len()];
        let Some(width) = width else { return shown };
        let last_is_words = self.columns.last().is_some_and(|column| !column.is_right);
        let Some((last, others)) = widths.split_last_mut() else { return shown };
        let needed = |shown: &[bool], others: &[usize]| -> usize {
            others.iter().zip(shown).filter(|(_, shown)| **shown).map(|(width, _)| width + GAP).sum()
        };
        let last_min = if last_is_words { (*last).min(LAST_WIDTH_MIN) } else { *last };
        for heading in self.dispensable {
            if needed(&shown, others) + last_min <= width {
                break;
            }
            let at = self.columns.iter().position(|column| column.heading == *heading);
            at.and_then(|at| shown.get_mut(at)).into_iter().for_each(|shown| *shown = false);
        }
        if last_is_words {
            *last = (*last).min(width.saturating_sub(needed(&shown, others)).max(last_min));
        }
        shown
    }

    fn line_of(&self, cells: &[Cell], widths: &[usize], shown: &[bool]) -> String {
        let mut line = String::new();
        let mut at = 0;
        let mut end = 0;
        let cells = cells.iter().zip(widths).zip(self.columns.iter().zip(shown)).filter(|(_, (_, shown))| **shown);
        for ((cell, &width), (column, _)) in cells {
            // Only the last column is ever narrower than its words.
            for (n, text) in wrapped(&cell.text, width).iter().enumerate().filter(|(_, text)| !text.is_empty()) {
                if n > 0 {
                    line.push('\n');
                    end = 0;
                }
                let len = text.chars().count();
                let begin = at + if column.is_right { width.saturating_sub(len) } else { 0 };
                line.push_str(&" ".repeat(begin - end));
                line.push_str(&if cell.style == Style::new() { text.clone() } else { color::paint(text, cell.style) });
                end = begin + len;
            }
            at += width + GAP;
        }
        line + "\n"
    }

    fn find(&self, name: &str) -> Result<usize, NoColumn> {
        let wanted = name.to_lowercase();
        let named: Vec<String> = self.columns.iter().map(|column| column.heading.to_lowercase()).collect();
        let begins: Vec<usize> =
            (0..named.len()).filter(|&at| named.get(at).is_some_and(|n| n.starts_with(&wanted))).collect();
        if let Some(at) = named.iter().position(|name| *name == wanted).or(match begins.as_slice() {
            [one] => Some(*one),
            _ => None,
        }) {
            return Ok(at);
        }
        let near = nearest(&wanted, named.iter().map(String::as_str));
        let hint = match begins.len() {
            0 => near.map_or_else(String::new, |near| format!(", did you mean {near}?")),
            _ => " alone, several begin like that".to_owned(),
        };
        Err(NoColumn { name: name.to_owned(), hint, all: named.join(", ") })
    }

    /// Groups by the sum of their rows' numbers; where there are no numbers, only the rows in them.
    fn sort(&mut self, column: usize) {
        let number = |row: &Vec<Cell>| row.get(column).and_then(|cell| cell.number);
        for group in &mut self.groups {
            group.rows.sort_by(|a, b| match (number(a), number(b)) {
                (None, None) => a.get(column).map(|cell| &cell.text).cmp(&b.get(column).map(|cell| &cell.text)),
                // Those without a number come last.
                (a, b) => b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY)),
            });
        }
        let sum = |group: &Group| group.rows.iter().filter_map(number).sum::<f64>();
        self.groups.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
    }
}

/// A line about columns that are not shown, which is no longer than the others.
fn left_out(hidden: &[&str], width: Option<usize>) -> String {
    const WHERE: &str = "a wider terminal or a pipe has them.";
    let named = format!("Left out: {}; {WHERE}", hidden.join(", "));
    if width.is_some_and(|width| named.chars().count() > width) {
        return format!("Left out: {} columns; {WHERE}", hidden.len());
    }
    named
}

/// Lines of at most `width` characters, broken between words where that is possible.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let blank = usize::from(used > 0);
            if used + blank + rest.len() > width && used > 0 {
                lines.push(String::new());
                continue;
            }
            let piece: String = rest.drain(..rest.len().min(width.max(1))).collect();
            if let Some(line) = lines.last_mut() {
                line.extend((blank > 0).then_some(' '));
                line.push_str(&piece);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn cells(words: [&str; 3]) -> Vec<Cell> {
        let cell = |word: &str| match word.parse() {
            Ok(number) => Cell::number(number, word.to_owned()),
            Err(_) => word.to_owned().into(),
        };
        words.map(cell).into()
    }

    #[test]
    fn numbers_stand_right_and_nothing_trails() {
        let mut table = Table::new(&["NAME", ">PACKETS", "WHY"]);
        table.row(cells(["b1", "5", ""]));
        table.row(cells(["backend", "123456789", "x"]));
        table.line("below".into());
        let text = "NAME       PACKETS  WHY\nb1               5\nbackend  123456789  x\nbelow\n";
        assert_eq!(plain(&table.render()), text);
        assert!(table.render().starts_with("\u{1b}[1mNAME\u{1b}[0m  "), "{:?}", table.render());
    }

    fn grouped() -> Table {
        let mut table = Table::new(&["NAME", ">PACKETS", "WHY"]);
        table.group("web".into());
        table.row(cells(["b1", "5", "z"]));
        table.row(cells(["b2", "7", "a"]));
        table.group("dns".into());
        table.row(cells(["d1", "-", ""]));
        table.row(cells(["d2", "100", ""]));
        table.total(cells(["total", "112", ""]));
        table
    }

    #[test]
    fn rows_are_sorted_in_their_groups_and_groups_by_their_sums() {
        let sorted = |by: &str| {
            let layout = Layout { sort: Some(by.to_owned()), width: None };
            let text = grouped().render_with(&layout).map_err(|error| error.to_string())?;
            Ok::<_, String>(plain(&text).split_whitespace().filter(|w| w.len() < 4).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(sorted("pack").unwrap(), "WHY dns d2 100 d1 - web b2 7 a b1 5 z 112");
        assert_eq!(sorted("why").unwrap(), "WHY web b2 7 a b1 5 z dns d1 - d2 100 112");
        assert_eq!(
            sorted("pakets").unwrap_err(),
            "no column pakets, did you mean packets?; there are name, packets, why"
        );
        assert_eq!(sorted("").unwrap_err(), "no column  alone, several begin like that; there are name, packets, why");
    }

    #[test]
    fn what_is_too_wide_loses_columns_and_then_has_its_last_one_in_lines() {
        let mut table = Table::new(&["NAME", ">PACKETS", ">BYTES", "WHY"]).dispensable(&["BYTES", "PACKETS"]);
        let why = "the health check says no and no again";
        table.row(["b1", "1", "2", why].map(|word| word.to_owned()));
        let at = |width| plain(&table.text(Some(width))).lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(at(80), ["NAME  PACKETS  BYTES  WHY", &format!("b1          1      2  {why}")]);
        let lines = [
            "NAME  PACKETS  BYTES  WHY",
            "b1          1      2  the health check",
            "                      says no and no",
            "                      again",
        ];
        assert_eq!(at(40), lines);
        let lines = [
            "NAME  WHY",
            "b1    the health check",
            "      says no and no",
            "      again",
            "Left out: 2 columns; a wider terminal or a pipe has them.",
        ];
        assert_eq!(at(25), lines);
        assert_eq!(left_out(&["BYTES"], Some(60)), "Left out: BYTES; a wider terminal or a pipe has them.");
    }

    #[test]
    fn words_longer_than_a_line_are_broken() {
        assert_eq!(wrapped("net_pcap0,rx_pcap=/tmp/a b", 10), ["net_pcap0,", "rx_pcap=/t", "mp/a b"]);
        assert_eq!(wrapped("", 10), [""]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }
}
