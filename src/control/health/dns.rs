//! The `dns` check: a query is answered with the right code, and the right record.

use std::hash::{BuildHasher, Hasher, RandomState};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dns_message::{Answer, Question, Reply};
use super::fault::{Deadline, Fault};
use super::udp;
use super::way::Door;
use crate::control::config::{DnsCheck, DnsCode};

/// Bytes of the longest answer: what its length in front of it can say over TCP.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// Asks over UDP, and over TCP if that is what clients do or if the answer does not fit in a datagram.
pub async fn check(door: &Door<'_>, check: &DnsCheck, over_tcp: bool, deadline: &Deadline) -> Result<String, Fault> {
    // Nobody else can answer who has not seen the query.
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = Question { id, name: check.query.clone(), record: check.record };
    let mut answer =
        if over_tcp { ask_tcp(door, &question, deadline).await? } else { ask_udp(door, &question, deadline).await? };
    if answer.is_truncated && check.answer.is_some() && !over_tcp {
        answer = ask_tcp(door, &question, deadline).await?;
    }
    judge(&answer, check)
}

fn judge(answer: &Answer, check: &DnsCheck) -> Result<String, Fault> {
    let code =
        DnsCode::of_number(answer.code).map_or_else(|| format!("rcode {}", answer.code), |code| code.to_string());
    if answer.code != check.code.number() {
        return Err(Fault::Backend(format!("{code}, expected {}", check.code)));
    }
    let Some(wanted) = &check.answer else { return Ok(format!("answers {code}")) };
    if answer.records.contains(wanted) {
        return Ok(format!("answers {wanted}"));
    }
    const RECORDS_SHOWN_MAX: usize = 3;
    let shown: Vec<&str> = answer.records.iter().take(RECORDS_SHOWN_MAX).map(String::as_str).collect();
    let got = match answer.records.len() {
        0 => format!("no {} record", check.record),
        len if len > shown.len() => format!("{} and {} more", shown.join(", "), len - shown.len()),
        _ => shown.join(", "),
    };
    Err(Fault::Backend(format!("{got}, expected {wanted}")))
}

async fn ask_udp(door: &Door<'_>, question: &Question, deadline: &Deadline) -> Result<Answer, Fault> {
    let socket = door.udp().await?;
    socket.send(&question.to_bytes()).await.map_err(udp::explain)?;
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let received = async { socket.recv(&mut message).await.map_err(udp::explain) };
        let len = deadline.wait("no answer", received).await?;
        match question.read(message.get(..len).unwrap_or_default()) {
            Reply::Answer(answer) => return Ok(answer),
            Reply::Broken => return Err(broken()),
            // Whoever guesses gets no more than a part of the time.
            Reply::Other => {}
        }
    }
}

async fn ask_tcp(door: &Door<'_>, question: &Question, deadline: &Deadline) -> Result<Answer, Fault> {
    let mut stream = door.tcp(deadline).await?;
    let query = question.to_bytes();
    let exchange = async {
        // Length and message in one segment (RFC 7766 section 8).
        let len = u16::try_from(query.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&len.to_be_bytes(), query.as_slice()].concat()).await?;
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        Ok::<_, std::io::Error>(message)
    };
    let message = deadline.wait("no answer", exchange).await?;
    match question.read(&message) {
        Reply::Answer(answer) => Ok(answer),
        Reply::Other | Reply::Broken => Err(broken()),
    }
}

fn broken() -> Fault {
    Fault::Backend("the answer is not good DNS".to_owned())
}
