//! Pages lead to each other: every link has an end, and every page is in the list of pages.

use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    pages.sort();
    pages
}

/// Every page of the repository's top, docs/ and docs/decisions/.
fn all() -> Vec<PathBuf> {
    ["", "docs", "docs/decisions"].iter().flat_map(|dir| pages(&top().join(dir))).collect()
}

/// What a page says in `[...](...)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)).collect()
}

/// The anchors of a page's headings, as they are made on the web.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let keep = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-").chars().filter(|&c| keep(c)).collect();
    headings.map(anchor).collect()
}

#[test]
fn every_link_has_an_end() {
    for page in all() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.iter().any(|it| it == anchor), "{}: {link} leads to no heading", page.display());
            }
        }
    }
}

#[test]
fn every_page_is_in_the_list_of_pages() {
    let list = std::fs::read_to_string(top().join("docs/README.md")).unwrap();
    let listed = links(&list);
    for page in pages(&top().join("docs")).into_iter().chain(pages(&top().join("docs/decisions"))) {
        let name = page.strip_prefix(top().join("docs")).unwrap().to_str().unwrap().to_owned();
        assert!(name == "README.md" || listed.contains(&name.as_str()), "docs/README.md does not list {name}");
    }
}

#[test]
fn columns_are_called_as_they_are_shown() {
    let mut source = String::new();
    let mut left = vec![top().join("src/cli")];
    while let Some(path) = left.pop() {
        match path.is_dir() {
            true => left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false => source += &std::fs::read_to_string(path).unwrap(),
        }
    }
    let text = std::fs::read_to_string(top().join("docs/figures.md")).unwrap();
    let is_column = |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || " /".contains(c));
    let columns: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_column).collect();
    assert!(columns.len() > 20, "{columns:?}");
    for column in columns {
        let shown = [format!("\"{column}\""), format!("\">{column}\"")];
        assert!(shown.iter().any(|it| source.contains(it)), "no column {column} is shown");
    }
}

#[test]
fn a_decision_is_a_page() {
    for page in pages(&top().join("docs/decisions")) {
        let text = std::fs::read_to_string(&page).unwrap();
        let lines = text.lines().count();
        assert!(text.starts_with("# "), "{} has no title", page.display());
        assert!(lines <= 80, "{} has {lines} lines; a page has 80 at the most", page.display());
    }
}
