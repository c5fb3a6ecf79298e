//! The `exec` check: a program ends with exit status 0.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::time::{Duration, timeout};

use super::fault::{Deadline, Fault};
use super::target::Target;
use crate::control::manager::Key;

/// Bytes of a program's output that a reason may have.
const OUTPUT_BYTES_MAX: usize = 120;
/// How long output that is still in its pipe is waited for when the program has ended.
const OUTPUT_WAIT: Duration = Duration::from_millis(50);
/// What a program finds other programs by; nothing else of our own environment is given to it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with what it is told about one backend.
pub struct Command {
    program: String,
    arguments: Vec<String>,
    environment: [(&'static str, String); 5],
}

impl Command {
    /// `words` are the program's path and its arguments.
    pub fn new(words: &[String], (service, backend): &Key, target: &Target) -> Self {
        let environment = [
            ("PATH", PATH.to_owned()),
            ("TIDEGATE_SERVICE", service.clone()),
            ("TIDEGATE_BACKEND", backend.clone()),
            ("TIDEGATE_ADDRESS", target.address.to_string()),
            ("TIDEGATE_PORT", target.port.map_or_else(String::new, |port| port.to_string())),
        ];
        let program = words.first().cloned().unwrap_or_default();
        Self { program, arguments: words.iter().skip(1).cloned().collect(), environment }
    }

    /// Runs it to its end, or to `deadline`, after which neither it nor what it has started is left.
    pub async fn run(&self, deadline: &Deadline) -> Result<String, Fault> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that it can be ended with all that it starts.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Fault::Local(format!("{} cannot be run: {}", self.program, super::fault::describe(&error)))
            })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Also when the check is given up, as by a reload.
        let group = Group { child: &mut child };
        let mut output = Output::default();
        let status = group.ending(output.read(stdout, stderr), deadline).await?;
        let Some(status) = status else { return Err(deadline.passed("the command did not end")) };
        let said = output.first_line();
        match (status.code(), said.is_empty()) {
            (Some(0), true) => Ok("exit status 0".to_owned()),
            (Some(0), false) => Ok(format!("exit status 0: {said}")),
            (_, true) => Err(Fault::Backend(describe_end(status))),
            (_, false) => Err(Fault::Backend(format!("{}: {said}", describe_end(status)))),
        }
    }
}

/// `exit status 1` or `signal 9`.
fn describe_end(status: ExitStatus) -> String {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    match (status.code(), signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    }
}

/// A program with all that it has started.
struct Group<'c> {
    child: &'c mut Child,
}

impl Group<'_> {
    /// Waits for the program's end, with its output; `None` if it has to be ended.
    async fn ending(self, reading: impl Future<Output = ()>, deadline: &Deadline) -> Result<Option<ExitStatus>, Fault> {
        tokio::pin!(reading);
        let mut is_read = false;
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    // What it has started may hold the pipes open for ever.
                    if !is_read {
                        _ = timeout(OUTPUT_WAIT, reading).await;
                    }
                    return Ok(Some(status?));
                }
                () = &mut reading, if !is_read => is_read = true,
                () = tokio::time::sleep_until(deadline.at()) => break,
            }
        }
        self.kill();
        // Nothing outlives that signal, and nobody is left behind unreaped.
        _ = self.child.wait().await;
        Ok(None)
    }

    /// Ends all of them; nothing once the program has been waited for, when its number may be another's.
    fn kill(&self) {
        let number = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = number.and_then(Pid::from_raw) {
            // Fails only if they are gone already.
            _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The beginning of what a program writes; what it says of errors goes first.
#[derive(Default)]
struct Output {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Output {
    async fn read(&mut self, stdout: Option<impl AsyncRead + Unpin>, stderr: Option<impl AsyncRead + Unpin>) {
        tokio::join!(read_start(stdout, &mut self.out), read_start(stderr, &mut self.err));
    }

    fn first_line(&self) -> String {
        let line = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>()
        };
        Some(line(&self.err)).filter(|line| !line.is_empty()).unwrap_or_else(|| line(&self.out))
    }
}

/// Reads to the end, so that the program is never held up, and keeps the beginning.
async fn read_start(from: Option<impl AsyncRead + Unpin>, start: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut piece = [0; 512];
    while let Ok(len @ 1..) = from.read(&mut piece).await {
        let room = OUTPUT_BYTES_MAX - start.len();
        start.extend_from_slice(piece.get(..len.min(room)).unwrap_or_default());
    }
}
