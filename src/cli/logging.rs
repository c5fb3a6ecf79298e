//! Log lines of the management side: on standard error, or with all their fields in the journal.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::Level;
use super::color;

/// Starts logging what is at least as grave as `level`; in colour where standard error takes colours.
pub fn start(level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    // Where journald's own socket does not answer, it still gets the lines.
    if is_stream(&stream, stderr_identity())
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_field_prefix(None);
        // Fails only if logging has been started before, here and below.
        _ = tracing_subscriber::registry().with(level).with(journal).try_init();
        return;
    }
    // What the fields say is in the sentence as well.
    let sentence = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        _ => Ok(()),
    });
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(color::on_stderr())
        .fmt_fields(sentence)
        .with_writer(std::io::stderr);
    _ = subscriber.try_init();
}

/// Device and inode of standard error.
fn stderr_identity() -> Option<(u64, u64)> {
    rustix::fs::fstat(std::io::stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Whether that is what systemd says of the journal's stream, `DEVICE:INODE` (systemd.exec(5)): standard error may have
/// been led elsewhere since.
fn is_stream(stream: &str, identity: Option<(u64, u64)>) -> bool {
    let said = stream.split_once(':').and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    said.is_some() && said == identity
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_itself_is_the_journal() {
        assert!(is_stream("8:1234", Some((8, 1234))));
        for other in ["", "8", "8:", ":", "8:1235", "9:1234", "8:1234:1", "x:y"] {
            assert!(!is_stream(other, Some((8, 1234))), "{other}");
        }
        assert!(!is_stream("", None));
        assert!(stderr_identity().is_some());
    }
}
