//! Where the API listens: a socket file that is nobody else's.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::control::config;

/// A listening socket; its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    /// Accepts clients.
    pub listener: UnixListener,
    /// Where it is.
    pub path: PathBuf,
    /// What the operator should know about the place.
    pub notes: Vec<String>,
    /// Device and inode, to tell the file from one that came later.
    identity: Option<(u64, u64)>,
}

impl Socket {
    fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path) == self.identity {
            // Nobody is left to be told; the next start removes what stays.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("{0}: another process listens there already; choose another place with `[control] socket` or --socket")]
    InUse(PathBuf),
    /// Something else has the name.
    #[error(
        "{0}: is in the way and is not a socket; remove it, or choose another place with `[control] socket` or --socket"
    )]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("{0}: cannot listen there: {1}; choose another place with `[control] socket` or --socket")]
    Refused(PathBuf, io::Error),
}

/// Where sockets go when nothing is configured.
#[derive(Clone, Debug)]
pub struct Places {
    /// The built-in path.
    pub default: PathBuf,
    /// `XDG_RUNTIME_DIR`, where the user has one.
    pub runtime_dir: Option<PathBuf>,
    /// For what everybody may write to.
    pub temporary_dir: PathBuf,
    /// The user's number.
    pub uid: u32,
}

impl Places {
    /// Of the running process.
    pub fn of_process() -> Self {
        Self {
            default: config::Control::default().socket,
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()),
            temporary_dir: PathBuf::from("/tmp"),
            uid: fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid()),
        }
    }

    /// Where to listen without the right to use the built-in path.
    pub fn fallback(&self) -> PathBuf {
        match &self.runtime_dir {
            Some(dir) => dir.join("tidegate.sock"),
            None => self.temporary_dir.join(format!("tidegate-{}.sock", self.uid)),
        }
    }

    /// Where a client looks, in this order.
    pub fn candidates(&self) -> Vec<PathBuf> {
        vec![self.default.clone(), self.fallback()]
    }
}

/// Listens at `path`. If that was not chosen (`explicit` is false), there are second choices where it is taken by
/// another instance or not allowed. Needs a tokio runtime.
///
/// # Errors
/// Why there is no socket, with the path.
pub async fn bind(path: &Path, explicit: bool, places: &Places) -> Result<Socket, SocketError> {
    if explicit {
        return bind_at(path).await;
    }
    let mut notes = Vec::new();
    let mut path = path.to_owned();
    let mut error = match bind_at(&path).await {
        Ok(socket) => return Ok(socket),
        Err(error) => error,
    };
    if let SocketError::Refused(_, reason) = &error
        && matches!(reason.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    {
        let fallback = places.fallback();
        notes.push(format!(
            "the API is at {} because {} cannot be written to ({reason})",
            fallback.display(),
            path.display()
        ));
        path = fallback;
        error = match bind_at(&path).await {
            Ok(socket) => return Ok(socket.with_notes(notes)),
            Err(error) => error,
        };
    }
    if let SocketError::InUse(taken) = &error {
        let own = taken.with_file_name(format!("tidegate-{}.sock", std::process::id()));
        notes.push(format!(
            "another tidegate listens at {}, so this one's API is at {}; reach it with --socket",
            taken.display(),
            own.display()
        ));
        let socket = bind_at(&own).await?;
        return Ok(socket.with_notes(notes));
    }
    Err(error)
}

async fn bind_at(path: &Path) -> Result<Socket, SocketError> {
    let refused = |error| SocketError::Refused(path.to_owned(), error);
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(refused)?;
    }
    remove_stale(path).await?;
    let listener = UnixListener::bind(path).map_err(refused)?;
    let socket = Socket { listener, path: path.to_owned(), notes: Vec::new(), identity: identity(path) };
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(refused)?;
    Ok(socket)
}

/// Removes a socket that nobody listens on; whoever ended without removing it is gone.
async fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let refused = |error| SocketError::Refused(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(refused),
        // The queue of clients is full, so somebody is there.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(SocketError::InUse(path.to_owned())),
        Err(error) => Err(refused(error)),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
