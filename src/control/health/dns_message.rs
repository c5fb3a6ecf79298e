//! Queries and answers of DNS as they are on the wire (RFC 1035 section 4), as far as a check needs them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::control::config::DnsRecord;

const HEADER_BYTES: usize = 12;
/// QR: an answer.
const ANSWER: u16 = 0x8000;
/// TC: more would not fit.
const TRUNCATED: u16 = 0x0200;
/// RD: a resolver may ask others.
const RECURSION_DESIRED: u16 = 0x0100;
/// IN, the internet.
const CLASS: u16 = 1;
/// Pointers that are followed in one name: more than any real one has.
const POINTERS_MAX: usize = 32;
/// Bytes of the longest name, written with dots.
const NAME_BYTES_MAX: usize = 255;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Tells answers apart.
    pub id: u16,
    /// Without the dot at its end; labels of at most 63 bytes.
    pub name: String,
    /// Type of the records.
    pub record: DnsRecord,
}

/// What a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of somebody else, or to something else.
    Other,
    /// To the question, and against the rules.
    Broken,
    /// To the question.
    Answer(Answer),
}

/// An answer to the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code.
    pub code: u8,
    /// Whether more would not fit.
    pub is_truncated: bool,
    /// Records of the type that was asked for, as a zone file has them; names in lower case without the dot at their end.
    pub records: Vec<String>,
}

impl Question {
    /// The query.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.name.len() + 6);
        for word in [self.id, RECURSION_DESIRED, 1, 0, 0, 0] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap_or(0));
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&self.record.number().to_be_bytes());
        bytes.extend_from_slice(&CLASS.to_be_bytes());
        bytes
    }

    /// What `message` is to this question.
    pub fn read(&self, message: &[u8]) -> Reply {
        let mut reader = Reader { message, at: 0 };
        let header: Option<Vec<u16>> = (0..6).map(|_| reader.word()).collect();
        let Some([id, flags, questions, answers, ..]) = header.as_deref() else { return Reply::Other };
        if *id != self.id || flags & ANSWER == 0 {
            return Reply::Other;
        }
        let (code, is_truncated) = ((flags & 0xf) as u8, flags & TRUNCATED != 0);
        // Some servers leave the question out when they refuse or do not understand it.
        if *questions == 0 && code != 0 {
            return Reply::Answer(Answer { code, is_truncated, records: Vec::new() });
        }
        let asked = (reader.name(), reader.word(), reader.word());
        if *questions != 1 || asked != (Some(self.name.to_ascii_lowercase()), Some(self.record.number()), Some(CLASS)) {
            return Reply::Other;
        }
        let records: Option<Vec<Option<String>>> = (0..*answers).map(|_| reader.record(self.record)).collect();
        match records {
            Some(records) => {
                Reply::Answer(Answer { code, is_truncated, records: records.into_iter().flatten().collect() })
            }
            // What was cut off may be cut off anywhere.
            None if is_truncated => Reply::Answer(Answer { code, is_truncated, records: Vec::new() }),
            None => Reply::Broken,
        }
    }
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, len: usize) -> Option<&'m [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.message.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name in lower case with dots between its labels; what follows it is next.
    fn name(&mut self) -> Option<String> {
        let mut name = Vec::new();
        let mut after = None;
        let mut pointers = 0;
        loop {
            let len = self.byte()?;
            match len >> 6 {
                0 if len == 0 => break,
                0 => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend(self.take(len.into())?.iter().map(u8::to_ascii_lowercase));
                }
                // Compression (RFC 1035 section 4.1.4).
                3 => {
                    let low = self.byte()?;
                    after = after.or(Some(self.at));
                    pointers += 1;
                    self.at = usize::from(len & 0x3f) << 8 | usize::from(low);
                }
                _ => return None,
            }
            if name.len() > NAME_BYTES_MAX || pointers > POINTERS_MAX {
                return None;
            }
        }
        self.at = after.unwrap_or(self.at);
        Some(String::from_utf8_lossy(&name).into_owned())
    }

    /// The next record, if it is of that type; the outer `None` is for one that is broken.
    fn record(&mut self, wanted: DnsRecord) -> Option<Option<String>> {
        self.name()?;
        let (kind, class) = (self.word()?, self.word()?);
        self.take(4)?;
        let len = usize::from(self.word()?);
        let end = self.at.checked_add(len)?;
        let message = self.message.get(..end)?;
        // Names in it may point to what is before it, and may not run beyond it.
        let mut data = Reader { message, at: self.at };
        self.at = end;
        if kind != wanted.number() || class != CLASS {
            return Some(None);
        }
        data.text(wanted).map(Some)
    }

    fn text(&mut self, record: DnsRecord) -> Option<String> {
        match record {
            DnsRecord::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?).to_string()),
            DnsRecord::Aaaa => Some(Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?).to_string()),
            DnsRecord::Cname | DnsRecord::Ns | DnsRecord::Ptr | DnsRecord::Soa => self.name(),
            DnsRecord::Mx => Some(format!("{} {}", self.word()?, self.name()?)),
            DnsRecord::Srv => Some(format!("{} {} {} {}", self.word()?, self.word()?, self.word()?, self.name()?)),
            DnsRecord::Txt => {
                let mut text = Vec::new();
                while self.at < self.message.len() {
                    let len = self.byte()?;
                    text.extend_from_slice(self.take(len.into())?);
                }
                Some(String::from_utf8_lossy(&text).into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, record: DnsRecord) -> Question {
        Question { id: 0x1234, name: name.into(), record }
    }

    /// An answer to `question` with these flags and records, each of a type and its data, of the name that was asked for.
    fn message(question: &Question, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_bytes();
        bytes.splice(2..4, flags.to_be_bytes());
        bytes.splice(6..8, (records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            bytes.extend_from_slice(&[0xc0, 12]);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    fn records(question: &Question, records: &[(u16, &[u8])]) -> Vec<String> {
        match question.read(&message(question, 0x8580, records)) {
            Reply::Answer(Answer { code: 0, is_truncated: false, records }) => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_query_is_as_the_rfc_has_it() {
        let bytes = question("www.example.com", DnsRecord::Aaaa).to_bytes();
        assert_eq!(
            bytes,
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x1c\x00\x01"
        );
        assert_eq!(question("", DnsRecord::Soa).to_bytes().get(12..), Some(b"\x00\x00\x06\x00\x01".as_slice()));
    }

    #[test]
    fn each_type_reads_as_in_a_zone_file() {
        let of = |record: DnsRecord, data: &[u8]| {
            let question = question("www.Example.com", record);
            // A record of another type before it, as a resolver sends a CNAME.
            records(
                &question,
                &[(5 + u16::from(record == DnsRecord::Cname) * 100, b"\x01a\x00"), (record.number(), data)],
            )
            .join("|")
        };
        assert_eq!(of(DnsRecord::A, &[192, 0, 2, 1]), "192.0.2.1");
        assert_eq!(of(DnsRecord::Aaaa, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "2001:db8::1");
        assert_eq!(of(DnsRecord::Cname, b"\x03FTP\xc0\x10"), "ftp.example.com");
        assert_eq!(of(DnsRecord::Mx, b"\x00\x0a\x04mail\xc0\x10"), "10 mail.example.com");
        assert_eq!(of(DnsRecord::Srv, b"\x00\x00\x00\x05\x01\xbb\xc0\x0c"), "0 5 443 www.example.com");
        assert_eq!(of(DnsRecord::Txt, b"\x02AB\x00\x03 cd"), "AB cd");
        assert_eq!(of(DnsRecord::Soa, b"\xc0\x10\xc0\x10\0\0\0\0"), "example.com");
    }

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let ours = question("www.example.com", DnsRecord::A);
        let answer = message(&ours, 0x8180, &[(1, &[1, 2, 3, 4])]);
        assert!(matches!(ours.read(&answer), Reply::Answer(_)));
        assert_eq!(ours.read(&ours.to_bytes()), Reply::Other, "a query");
        assert_eq!(ours.read(b"short"), Reply::Other);
        let others = [
            Question { id: 0x1235, ..ours.clone() },
            question("www.example.org", DnsRecord::A),
            question("www.example.com", DnsRecord::Ns),
        ];
        for other in others {
            assert_eq!(other.read(&answer), Reply::Other, "{other:?}");
        }
        assert_eq!(question("WWW.example.com", DnsRecord::A).read(&answer), ours.read(&answer));
        let code = |flags| match ours.read(&message(&ours, flags, &[])) {
            Reply::Answer(answer) => (answer.code, answer.is_truncated),
            other => panic!("{other:?}"),
        };
        assert_eq!((code(0x8183), code(0x8382)), ((3, false), (2, true)));
        let mut refused = b"\x12\x34\x80\x05\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        assert!(matches!(ours.read(&refused), Reply::Answer(Answer { code: 5, .. })));
        refused[3] = 0;
        assert_eq!(ours.read(&refused), Reply::Other, "good news without a question are of somebody else");
    }

    #[test]
    fn broken_answers_are_no_answers() {
        let ours = question("a.b", DnsRecord::A);
        let read = |data: &[(u16, &[u8])]| ours.read(&message(&ours, 0x8180, data));
        assert_eq!(read(&[(1, &[1, 2, 3])]), Reply::Broken, "three bytes of an address");
        let mut cut = message(&ours, 0x8180, &[(1, &[1, 2, 3, 4])]);
        cut.pop();
        assert_eq!(ours.read(&cut), Reply::Broken);
        cut[2] |= 0x02;
        assert!(matches!(ours.read(&cut), Reply::Answer(Answer { is_truncated: true, .. })));
        let names = question("a.b", DnsRecord::Ns);
        let pointer_to_itself = [0xc0, 33];
        let looped = message(&names, 0x8180, &[(2, &pointer_to_itself)]);
        assert_eq!(looped.get(33..), Some(pointer_to_itself.as_slice()));
        assert_eq!(names.read(&looped), Reply::Broken);
    }

    proptest! {
        #[test]
        fn no_message_is_a_danger(mut tail in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..80) {
            for record in [DnsRecord::A, DnsRecord::Mx, DnsRecord::Srv, DnsRecord::Txt, DnsRecord::Soa] {
                let question = question("a.example", record);
                let mut bytes = message(&question, 0x8180, &[(record.number(), &[3, 1, 2, 0xc0, 12, 0])]);
                bytes.truncate(bytes.len().saturating_sub(cut));
                bytes.append(&mut tail.clone());
                question.read(&bytes);
                question.read(&tail);
            }
            tail.clear();
        }
    }
}
