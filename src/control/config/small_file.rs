//! Small files that a configuration names, read without trust in what they are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What is in the file at `path`, of at most `bytes_max`.
///
/// # Errors
/// Why it is of no use, as the end of a sentence that never says what is in it.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    // A pipe or a device would keep the reader waiting.
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut content));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if content.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let fault = |path: &Path| read(path, 4096).unwrap_err();
        assert!(fault(&dir.path().join("none")).starts_with("cannot be read: No such file"));
        assert_eq!(fault(dir.path()), "is not a regular file");
        assert_eq!(fault(Path::new("/dev/zero")), "is not a regular file");
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(4097).unwrap();
        assert_eq!(fault(&large), "is larger than 4096 bytes");
        File::create(&large).unwrap().set_len(4096).unwrap();
        assert_eq!(read(&large, 4096).map(|content| content.len()), Ok(4096));
    }
}
