//! The file in which commands outlive a restart: read at start, and replaced as a whole by each change.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::commands::{Command, Commands};
use super::config::{Backend, Config, Service, State, Word};

/// Bytes of the largest file that is read: room for a command about each of 100,000 backends.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Faults of one file that are named.
const FAULTS_MAX: usize = 10;

/// Where commands are kept, and of whom.
#[derive(Clone, Debug, Default)]
pub struct StateFile {
    path: Option<PathBuf>,
    /// The configuration file that the names belong to: two balancers may have the same names.
    config: PathBuf,
    /// Why nothing is kept though there is a path.
    refusal: Option<String>,
}

/// What is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Whose names these are.
    config: PathBuf,
    /// `SERVICE/BACKEND` to what commands say of it.
    #[serde(default)]
    backends: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
}

impl StateFile {
    /// Reads the file that `config`, which came from `config_path`, names: the commands that still say something, and what
    /// the operator should know. Nothing in the file can keep tidegate from starting.
    pub fn open(config: &Config, config_path: &Path) -> (Self, Commands, Vec<String>) {
        let config_path = std::path::absolute(config_path).unwrap_or_else(|_| config_path.to_owned());
        let mut file = Self { path: config.control.state_file.clone(), config: config_path, refusal: None };
        let Some(path) = file.path.clone() else { return (file, Commands::default(), Vec::new()) };
        let place = path.display();
        let content = match read(&path) {
            Ok(None) => return (file, Commands::default(), Vec::new()),
            Ok(Some(text)) => serde_json::from_str::<Content>(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                let note = format!("{place}: {error}; commands about backends from before this start are forgotten");
                return (file, Commands::default(), vec![note]);
            }
        };
        if content.config != file.config && content.config.exists() {
            let refusal = format!(
                "{place} has the commands of another tidegate, that of {}; give each its own `state_file` in [control]",
                content.config.display()
            );
            file.refusal = Some(refusal.clone());
            return (file, Commands::default(), vec![format!("{refusal}; commands last until the next restart")]);
        }
        let (commands, notes) = commands(&content, config);
        (file, commands, notes.into_iter().map(|note| format!("{place}: {note}")).collect())
    }

    /// Whether commands are meant to outlive a restart.
    pub fn is_wanted(&self) -> bool {
        self.path.is_some()
    }

    /// Replaces the file, so that after a crash there is either the old one or the new one. May wait for the disk.
    ///
    /// # Errors
    /// Why commands will not outlive a restart.
    pub fn write(&self, commands: &Commands) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(refusal) = &self.refusal {
            return Err(format!("the command lasts until the next restart only: {refusal}"));
        }
        let failed = |error: io::Error| {
            let place = path.display();
            format!(
                "the command lasts until the next restart only: {place}: {error}; let tidegate write there, or choose another `state_file` in [control]"
            )
        };
        replace(path, &self.text(commands)).map_err(failed)
    }

    fn text(&self, commands: &Commands) -> String {
        let entry = |command: Command| {
            let state = command.state.map(|state| state.word().to_owned());
            serde_json::to_value(Entry { state, weight: command.weight }).unwrap_or_default()
        };
        let backends = commands.iter().map(|((s, b), command)| (format!("{s}/{b}"), entry(command))).collect();
        let content = Content { config: self.config.clone(), backends };
        serde_json::to_string_pretty(&content).unwrap_or_default() + "\n"
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A pipe would keep the start waiting.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    let bytes = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(text))
}

/// The commands of `content` about backends that `config` has, and what is wrong with the others.
fn commands(content: &Content, config: &Config) -> (Commands, Vec<String>) {
    let mut commands = Commands::default();
    let mut faults = Vec::new();
    for (name, value) in &content.backends {
        match entry(name, value, config) {
            Ok((service, backend, command)) => {
                commands.set((service.name.clone(), backend.name.clone()), command.beside(backend));
            }
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(more) = faults.len().checked_sub(FAULTS_MAX).filter(|more| *more > 0) {
        faults.truncate(FAULTS_MAX);
        faults.push(format!("{more} more commands of the kind are forgotten"));
    }
    (commands, faults)
}

fn entry<'c>(
    name: &str,
    value: &serde_json::Value,
    config: &'c Config,
) -> Result<(&'c Service, &'c Backend, Command), String> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(130).collect();
    let found = name.split_once('/').and_then(|(service, backend)| {
        let service = config.services.iter().find(|known| known.name == service)?;
        Some((service, service.backends.iter().find(|known| known.name == backend)?))
    });
    let (service, backend) = found.ok_or_else(|| format!("the command about {name} is forgotten: it is gone"))?;
    let bad = || format!("the command about {name} is forgotten: {value} is none");
    let entry: Entry = serde_json::from_value(value.clone()).map_err(|_| bad())?;
    let word = |word: String| State::WORDS.iter().find(|(known, _)| *known == word).map(|(_, state)| *state);
    let state = entry.state.map(|text| word(text).ok_or_else(bad)).transpose()?;
    Ok((service, backend, Command { state, weight: entry.weight }))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("is in the way and is not a regular file"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = dir.join(name);
    let written = write_through(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left over would only be in somebody's way.
        _ = fs::remove_file(&temporary);
    }
    written?;
    // The new name must be on the disk as well.
    File::open(dir)?.sync_all()
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::{CONFIG, file};

    struct Bench {
        dir: tempfile::TempDir,
        config: Config,
        config_path: PathBuf,
        path: PathBuf,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/state.json");
        let text = format!("[control]\nstate_file = \"{}\"\n{CONFIG}", path.display());
        let config_path = file(dir.path(), "tidegate.toml", &text);
        Bench { config: Config::load(&config_path).unwrap(), dir, config_path, path }
    }

    fn drained() -> Commands {
        let mut commands = Commands::default();
        let command = Command { state: Some(State::Drain), weight: Some(5) };
        commands.set(("web".into(), "b1".into()), command);
        commands
    }

    #[test]
    fn what_is_written_is_read_again() {
        let Bench { dir, config, config_path, path } = bench();
        let (state, commands, notes) = StateFile::open(&config, &config_path);
        assert_eq!((commands, notes), (Commands::default(), vec![]));
        state.write(&drained()).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
        let (state, commands, notes) = StateFile::open(&config, &config_path);
        assert_eq!((commands, notes), (drained(), vec![]));
        state.write(&Commands::default()).unwrap();
        assert_eq!(StateFile::open(&config, &config_path).1, Commands::default());
        drop(dir);
    }

    #[test]
    fn what_is_damaged_is_forgotten_in_part() {
        let Bench { config, config_path, path, .. } = bench();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let open = |text: &str| {
            fs::write(&path, text).unwrap();
            let (_, commands, notes) = StateFile::open(&config, &config_path);
            (commands.differences(&config), notes.join("\n"))
        };
        for text in ["", "{", "[]", "{\"config\": 7}", "\u{0}\u{1}"] {
            let (commands, notes) = open(text);
            assert!(commands.is_empty() && notes.contains("from before this start are forgotten"), "{text}: {notes}");
        }
        let entries = "\"web/b1\": {\"state\": \"drain\"}, \"web/b2\": {\"state\": \"dryn\"}, \"web/gone\": {}, \
                       \"web/b3\": {\"weight\": 70000}, \"dns/d1\": {\"weight\": 100}";
        let config_name = config_path.display();
        let (commands, notes) = open(&format!("{{\"config\": \"{config_name}\", \"backends\": {{{entries}}}}}"));
        assert_eq!(commands, ["web/b1 drain, the file says up"], "and d1 has the weight of the file");
        let notes: Vec<&str> = notes.lines().collect();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].contains("web/b2 is forgotten: {\"state\":\"dryn\"} is none"), "{}", notes[0]);
        assert!(notes[2].ends_with("web/gone is forgotten: it is gone"), "{}", notes[2]);
        let gone: Vec<String> = (0..40).map(|n| format!("\"web/x{n}\": {{}}")).collect();
        let (_, notes) = open(&format!("{{\"config\": \"/nowhere\", \"backends\": {{{}}}}}", gone.join(",")));
        assert_eq!(notes.lines().count(), FAULTS_MAX + 1, "{notes}");
    }

    #[test]
    fn the_file_of_another_tidegate_is_left_alone() {
        let Bench { dir, config, config_path, path } = bench();
        let other = file(dir.path(), "other.toml", CONFIG);
        let (state, ..) = StateFile::open(&config, &other);
        state.write(&drained()).unwrap();
        let (state, commands, notes) = StateFile::open(&config, &config_path);
        assert!(commands.iter().next().is_none() && notes[0].contains("other.toml"), "{notes:?}");
        assert!(state.write(&Commands::default()).unwrap_err().contains("until the next restart only"));
        assert!(fs::read_to_string(&path).unwrap().contains("drain"));
        fs::remove_file(other).unwrap();
        let (state, _, notes) = StateFile::open(&config, &config_path);
        assert!(notes.is_empty(), "that tidegate is gone for good: {notes:?}");
        state.write(&Commands::default()).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let Bench { dir, config, config_path, path } = bench();
        fs::create_dir_all(&path).unwrap();
        let (state, _, notes) = StateFile::open(&config, &config_path);
        assert!(notes[0].contains("state.json"), "{notes:?}");
        let error = state.write(&drained()).unwrap_err();
        assert!(error.contains("not a regular file") && error.contains("`state_file` in [control]"), "{error}");
        drop(dir);
        let none = Config::parse(&format!("[control]\nstate_file = \"none\"\n{CONFIG}"), "t").unwrap();
        let (state, ..) = StateFile::open(&none, &config_path);
        assert!(!state.is_wanted() && state.write(&drained()).is_ok());
    }
}
