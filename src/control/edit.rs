//! Changes of the running configuration over the API: checked as a whole file is, taken over as a reload is, and written to
//! the file if that is wanted.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table};

use super::config::{Config, Errors, HealthCheck, Printing, diff};
use super::manager::ReloadError;

/// What is to change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Everything: the text of a whole file.
    Whole(String),
    /// One more service: its keys, with its backends.
    AddService(Value),
    /// One service less.
    RemoveService(String),
    /// One more backend of a service: its keys.
    AddBackend(String, Value),
    /// One backend of a service less.
    RemoveBackend(String, String),
}

/// A change, and under which conditions.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is to change.
    pub change: Change,
    /// Whether the file is to have it as well.
    pub write: bool,
    /// The state of the configuration that it is meant for; `None` means whatever there is.
    pub if_match: Option<String>,
    /// Whether it may bring commands that were not there (health checks of type `exec`).
    pub may_bring_commands: bool,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Somebody else was faster.
    #[error("the configuration is not the one of `If-Match` any more; read it again, and decide anew")]
    Stale,
    /// What is to change is not there.
    #[error("no {0}; see `tidegate show backends`")]
    Missing(String),
    /// The name is taken.
    #[error("{0} is there already; remove it first, or choose another name")]
    Exists(String),
    /// The body is no table of the configuration.
    #[error("{0}")]
    Shape(String),
    /// Who has the token is not to become who runs the process.
    #[error("health checks of type `exec` are changed on the Unix socket or in the file only")]
    Commands,
    /// A change of the file would bring more than the change that was asked for.
    #[error("{0}: {1}; nothing was changed")]
    File(String, String),
    /// As a reload.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

impl From<Errors> for EditError {
    fn from(errors: Errors) -> Self {
        Self::Reload(errors.into())
    }
}

/// What a change starts from.
pub struct Basis {
    /// What runs.
    pub config: Arc<Config>,
    /// The file that it came from.
    pub loaded: PathBuf,
}

/// A checked change.
pub struct Edited {
    /// What is to run.
    pub config: Config,
    /// The file as it is to be.
    pub file: Option<Staged>,
}

impl Basis {
    /// Works the change out; may take its time, and reads and writes files.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn edit(self, request: &Request) -> Result<Edited, EditError> {
        let (text, mut config) = match &request.change {
            Change::Whole(text) => (text.clone(), Config::parse(text, "text")?),
            change => {
                let before = self.text(request.write)?;
                let text = changed(&before, change)?;
                let config = Config::parse(&text, "edit")?;
                (text, config)
            }
        };
        // What is shown has no secrets, and is to be good for being sent back.
        let lacks_key = config.dataplane.hash_key.is_none() && self.config.dataplane.hash_key.is_some();
        if lacks_key && request.write {
            let why = "the text lacks `hash_key`, which the file would lose; `tidegate show config --secrets` has it";
            return Err(EditError::File(self.loaded.display().to_string(), why.to_owned()));
        }
        config.dataplane.hash_key = config.dataplane.hash_key.or(self.config.dataplane.hash_key);
        if !request.may_bring_commands && !commands(&config).is_subset(&commands(&self.config)) {
            return Err(EditError::Commands);
        }
        let failed = |error: std::io::Error| EditError::File(self.loaded.display().to_string(), error.to_string());
        let file = if request.write { Some(Staged::new(&self.loaded, &text).map_err(failed)?) } else { None };
        Ok(Edited { config, file })
    }

    /// The text to change: what runs or, to be written, the file, which must then say the same.
    fn text(&self, of_file: bool) -> Result<String, EditError> {
        if !of_file {
            return Ok(self.config.print(&Printing { secrets: true, notes: &|_, _| Vec::new() }));
        }
        let text = super::config::read_text(&self.loaded)?;
        let file = Config::parse(&text, &self.loaded.to_string_lossy())?;
        let differs = diff(&self.config, &file);
        if !differs.is_empty() || !self.config.needs_restart(&file).is_empty() {
            let why = format!("it differs from what runs ({differs}), so it cannot be changed alongside");
            return Err(EditError::File(self.loaded.display().to_string(), why));
        }
        Ok(text)
    }
}

fn commands(config: &Config) -> HashSet<&[String]> {
    let checks = config.services.iter().filter_map(|service| Some(&service.health.as_ref()?.check));
    checks
        .filter_map(|check| if let HealthCheck::Exec(command) = check { Some(command.as_slice()) } else { None })
        .collect()
}

/// `text` with a change, and everything else as it is, comments included.
fn changed(text: &str, change: &Change) -> Result<String, EditError> {
    let shape = |error: toml_edit::TomlError| EditError::Shape(error.message().to_owned());
    let mut document: DocumentMut = text.parse().map_err(shape)?;
    let services = tables(document.as_table_mut(), "service")?;
    match change {
        Change::Whole(text) => return Ok(text.clone()),
        Change::AddService(keys) => {
            add(services, keys, "service", "service")?;
        }
        Change::RemoveService(name) => {
            let at = place(services, name).ok_or_else(|| EditError::Missing(format!("service {name}")))?;
            services.remove(at);
        }
        Change::AddBackend(service, keys) => {
            add(backends(services, service)?, keys, "backend", &format!("service {service}: backend"))?;
        }
        Change::RemoveBackend(service, name) => {
            let backends = backends(services, service)?;
            let missing = || EditError::Missing(format!("backend {service}/{name}"));
            let at = place(backends, name).ok_or_else(missing)?;
            backends.remove(at);
        }
    }
    Ok(document.to_string())
}

fn backends<'t>(services: &'t mut ArrayOfTables, service: &str) -> Result<&'t mut ArrayOfTables, EditError> {
    let missing = || EditError::Missing(format!("service {service}"));
    let at = place(services, service).ok_or_else(missing)?;
    tables(services.get_mut(at).ok_or_else(missing)?, "backend")
}

fn tables<'t>(table: &'t mut Table, key: &str) -> Result<&'t mut ArrayOfTables, EditError> {
    let item = table.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let inline = || EditError::Shape(format!("the file has `{key}` as a list in one line; write it as [[{key}]]"));
    item.as_array_of_tables_mut().ok_or_else(inline)
}

fn place(tables: &ArrayOfTables, name: &str) -> Option<usize> {
    tables.iter().position(|table| table.get("name").and_then(Item::as_str) == Some(name))
}

fn add(tables: &mut ArrayOfTables, keys: &Value, what: &str, named: &str) -> Result<(), EditError> {
    let Value::Object(_) = keys else {
        return Err(EditError::Shape(format!("the body must be an object with the keys of a {what}")));
    };
    if let Some(name) = keys.get("name").and_then(Value::as_str)
        && place(tables, name).is_some()
    {
        return Err(EditError::Exists(format!("{named} {name}")));
    }
    let mut table = item(keys)?.into_table().map_err(|_| EditError::Shape(format!("this is no {what}")))?;
    table.decor_mut().set_prefix("\n");
    tables.push(table);
    Ok(())
}

/// JSON as TOML.
fn item(value: &Value) -> Result<Item, EditError> {
    let no_number = |number| EditError::Shape(format!("{number} is too large a number"));
    Ok(match value {
        Value::Null => return Err(EditError::Shape("null is no value: leave the key out".to_owned())),
        Value::Bool(value) => toml_edit::value(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => toml_edit::value(whole),
            (None, Some(real)) if number.is_f64() => toml_edit::value(real),
            _ => return Err(no_number(number)),
        },
        Value::String(text) => toml_edit::value(text),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            let mut tables = ArrayOfTables::new();
            for keys in items {
                add_plain(&mut tables, keys)?;
            }
            Item::ArrayOfTables(tables)
        }
        Value::Array(items) => {
            let mut array = Array::new();
            for value in items {
                let value = item(value)?.into_value().map_err(|_| EditError::Shape("a list has mixed items".into()))?;
                array.push(value);
            }
            toml_edit::value(array)
        }
        Value::Object(keys) => {
            let mut table = Table::new();
            for (key, value) in keys {
                table.insert(key, item(value)?);
            }
            Item::Table(table)
        }
    })
}

fn add_plain(tables: &mut ArrayOfTables, keys: &Value) -> Result<(), EditError> {
    if let Item::Table(table) = item(keys)? {
        tables.push(table);
    }
    Ok(())
}

/// A file that is written beside another one, to take its place in one step or to vanish.
pub struct Staged {
    beside: PathBuf,
    path: PathBuf,
    is_in_place: bool,
}

impl Staged {
    fn new(path: &Path, text: &str) -> std::io::Result<Self> {
        // A link stays one.
        let path = std::fs::canonicalize(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let staged = Self { beside: path.with_file_name(name), path, is_in_place: false };
        let mode = std::fs::metadata(&staged.path)?.permissions().mode();
        let mut file = std::fs::File::create(&staged.beside)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Takes the place of the file.
    ///
    /// # Errors
    /// Why the old one is still there.
    pub fn put(mut self) -> Result<(), String> {
        let shown = self.path.display();
        std::fs::rename(&self.beside, &self.path).map_err(|error| format!("{shown} could not be written: {error}"))?;
        self.is_in_place = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_in_place {
            // Nobody is left to be told.
            _ = std::fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::fixture::{CONFIG, edited, file};

    fn basis(text: &str, loaded: &Path) -> Basis {
        Basis { config: Arc::new(Config::parse(text, "t.toml").unwrap()), loaded: loaded.to_owned() }
    }

    fn request(change: Change, write: bool) -> Request {
        Request { change, write, if_match: None, may_bring_commands: false }
    }

    fn edit(change: Change) -> Result<Config, String> {
        let edited = basis(CONFIG, Path::new("/nonexistent")).edit(&request(change, false));
        edited.map(|edited| edited.config).map_err(|error| error.to_string())
    }

    #[test]
    fn services_and_backends_come_and_go() {
        let api = json!({
            "name": "api", "vip": "192.0.2.20", "port": 443, "mode": "nat",
            "health": { "type": "tcp", "interval": 0.5 },
            "backend": [{ "name": "a1", "address": "10.1.0.21" }, { "name": "a2", "address": "10.1.0.22", "weight": 7 }],
        });
        let config = edit(Change::AddService(api)).unwrap();
        let names: Vec<_> = config.services.iter().map(|s| (s.name.as_str(), s.backends.len())).collect();
        assert_eq!(names, [("web", 3), ("dns", 1), ("api", 2)]);
        assert!(config.services[2].health.is_some() && config.services[2].backends[1].weight == 7);
        let config = edit(Change::RemoveService("web".into())).unwrap();
        assert_eq!(config.services.len(), 1);
        let b4 = json!({ "name": "b4", "address": "10.1.0.14", "port": 8080 });
        let config = edit(Change::AddBackend("web".into(), b4)).unwrap();
        assert_eq!(config.services[0].backends.len(), 4);
        assert_eq!(config.services[1].backends.len(), 1, "it is not the other service's");
        let config = edit(Change::RemoveBackend("web".into(), "b2".into())).unwrap();
        assert_eq!(config.services[0].backends.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["b1", "b3"]);
        let config = edit(Change::RemoveBackend("dns".into(), "d1".into())).unwrap();
        assert!(config.services[1].backends.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change| edit(change).unwrap_err();
        assert!(refused(Change::RemoveService("wep".into())).starts_with("no service wep"));
        assert!(refused(Change::RemoveBackend("web".into(), "b9".into())).starts_with("no backend web/b9"));
        let b1 = json!({ "name": "b1", "address": "10.1.0.14" });
        let exists = refused(Change::AddBackend("web".into(), b1));
        assert!(exists.starts_with("service web: backend b1 is there already"), "{exists}");
        let misspelt = refused(Change::AddBackend("web".into(), json!({ "name": "b4", "adress": "10.1.0.14" })));
        assert!(
            misspelt.contains("unknown key `adress` in [[service.backend]], did you mean `address`?"),
            "{misspelt}"
        );
        assert!(refused(Change::AddService(json!([1]))).starts_with("the body must be an object"));
        assert!(refused(Change::AddService(json!({ "name": null }))).starts_with("null is no value"));
        assert!(refused(Change::AddService(json!({ "name": u64::MAX }))).contains("too large"));
        let exec = json!({ "name": "x", "vip": "192.0.2.30", "port": 1, "mode": "nat",
                           "health": { "type": "exec", "command": ["/bin/true"] } });
        assert!(refused(Change::AddService(exec)).contains("Unix socket"));
    }

    #[test]
    fn a_file_keeps_its_comments_and_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("# precious\n{}", edited(&[("weight = 50", "weight = 50 # half")]));
        let path = file(dir.path(), "t.toml", &text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let change = || request(Change::RemoveBackend("web".into(), "b1".into()), true);
        let entries = || std::fs::read_dir(dir.path()).unwrap().count();
        let edited = basis(&text, &path).edit(&change()).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap(), entries()), (text.clone(), 2));
        drop(edited);
        assert_eq!(entries(), 1, "what is not taken over leaves nothing");
        basis(&text, &path).edit(&change()).unwrap().file.unwrap().put().unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.contains("# precious") && written.contains("# half") && !written.contains("b1"), "{written}");
        assert_eq!((std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, entries()), (0o640, 1));
        let error = basis(&text, &path).edit(&change()).err().unwrap().to_string();
        assert!(error.contains("it differs from what runs (-1 backend)"), "{error}");
    }

    #[test]
    fn a_secret_that_was_not_shown_is_not_lost() {
        let key = format!("[dataplane]\nhash_key = \"00112233445566778899aabbccddeeff\"\n{CONFIG}");
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "t.toml", &key);
        let whole = |write| basis(&key, &path).edit(&request(Change::Whole(CONFIG.to_owned()), write));
        assert!(whole(false).unwrap().config.dataplane.hash_key.is_some());
        assert!(whole(true).err().unwrap().to_string().contains("lacks `hash_key`"));
    }
}
