//! How times, paths, data and access control lists are shown, in text and in JSON.

use std::fmt::{self, Display, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use ringkeeper_engine::jute::Read as _;
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::jute::records::Acl;
use ringkeeper_engine::op::perms;
use serde::Serialize;

use super::args::DataAs;

/// A moment in UTC with milliseconds; what is outside of the calendar's range stays a number.
pub fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(moment) => format!("{moment:.3}"),
        Err(_) => format!("{ms}ms"),
    }
}

/// Text in which nothing can steer a terminal or end the line.
pub struct Plain<'a>(pub &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c.is_control() {
                true => c.escape_default().try_for_each(|escaped| f.write_char(escaped))?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A file's name as text.
pub fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Data as text, in quotes; base64 where it is none, after the word `base64:`.
pub fn data_text(data: Option<&[u8]>, shown: DataAs) -> String {
    let Some(data) = data else { return "null".to_owned() };
    match text_of(data, shown) {
        Some(text) => format!("{text:?}"),
        None => format!("base64:{}", BASE64.encode(data)),
    }
}

fn text_of(data: &[u8], shown: DataAs) -> Option<&str> {
    let readable = |text: &&str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    std::str::from_utf8(data).ok().filter(|text| shown == DataAs::Text && readable(text))
}

/// Data as the fields of a JSON object: `dataLength`, and on demand `data` or `dataBase64`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataFields<'a> {
    data_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> DataFields<'a> {
    /// Null data has the length null.
    pub fn new(data: Option<&'a [u8]>, shown: Option<DataAs>) -> DataFields<'a> {
        let mut fields = DataFields { data_length: data.map(<[u8]>::len), data: None, data_base64: None };
        if let (Some(data), Some(shown)) = (data, shown) {
            fields.data = text_of(data, shown);
            fields.data_base64 = fields.data.is_none().then(|| BASE64.encode(data));
        }
        fields
    }
}

/// One entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AclEntry {
    /// Letters of `cdrwa`, as zkCli takes them; a number if there are unknown bits.
    pub perms: String,
    /// The scheme.
    pub scheme: String,
    /// Who, in its terms.
    pub id: String,
}

impl AclEntry {
    /// Everyone may do everything.
    pub fn open() -> AclEntry {
        AclEntry { perms: permissions(perms::ALL), scheme: "world".to_owned(), id: "anyone".to_owned() }
    }
}

impl From<&Acl<'_>> for AclEntry {
    fn from(acl: &Acl<'_>) -> AclEntry {
        let text =
            |field: &Option<std::borrow::Cow<'_, str>>| field.as_deref().unwrap_or_default().to_owned();
        AclEntry { perms: permissions(acl.perms), scheme: text(&acl.id.scheme), id: text(&acl.id.id) }
    }
}

impl Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", Plain(&self.scheme), Plain(&self.id), self.perms)
    }
}

fn permissions(bits: i32) -> String {
    if bits & !perms::ALL != 0 {
        return bits.to_string();
    }
    let letters = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    letters.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect()
}

/// A list in the form that zkCli's `setAcl` takes.
pub fn acl_text(acl: &[AclEntry]) -> String {
    acl.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The entries of jute's vector of ACL; `None` if the bytes are none.
pub fn acl_entries(bytes: &[u8]) -> Option<Vec<AclEntry>> {
    let mut reader = Reader::new(bytes);
    let list = Vec::<Acl<'_>>::read(&mut reader).ok()?;
    reader.rest().is_empty().then(|| list.iter().map(AclEntry::from).collect())
}

/// A number of 64 bits, as ZooKeeper's tools print it. JSON has it as text too: numbers there are exact
/// up to 53 bits alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A count of things, with the word for them.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_only_where_it_reads_as_text() {
        let show = |data: &[u8]| data_text(Some(data), DataAs::Text);
        assert_eq!(show(b"a \"b\"\n"), r#""a \"b\"\n""#);
        assert_eq!(show("\u{e9}".as_bytes()), "\"\u{e9}\"");
        assert_eq!(show(b"\x1b[2J"), "base64:G1sySg==");
        assert_eq!(show(b"\xff"), "base64:/w==");
        assert_eq!(show(b""), "\"\"");
        assert_eq!(data_text(None, DataAs::Text), "null");
        assert_eq!(data_text(Some(b"a"), DataAs::Base64), "base64:YQ==");
    }

    #[test]
    fn no_path_steers_a_terminal() {
        assert_eq!(Plain("/a b\u{1b}[2J\n\u{e9}").to_string(), "/a b\\u{1b}[2J\\n\u{e9}");
    }

    #[test]
    fn times_are_exact_to_the_millisecond() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MIN), "-9223372036854775808ms");
    }

    #[test]
    fn permissions_are_in_the_order_of_zkcli() {
        assert_eq!(permissions(31), "cdrwa");
        assert_eq!(permissions(17), "ra");
        assert_eq!(permissions(32), "32");
    }
}
