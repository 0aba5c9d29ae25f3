//! Text to steps.

use std::fmt;

use super::request::parse_request;
use super::{Action, Connect, Difference, EVENTS, Event, Seen, SessionChoice, Step, Text};
use crate::server::Options;

/// A script: how its server is set up, and its steps.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What the server is started with.
    pub options: Options,
    /// In the order of the file.
    pub steps: Vec<Step>,
}

/// A line that is no step.
#[derive(Clone, Debug)]
pub struct ParseError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

impl Script {
    /// Reads a whole script.
    ///
    /// # Errors
    /// The first line that is none of the language.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut script = Script::default();
        for (index, line) in text.lines().enumerate() {
            script.line(index + 1, line).map_err(|message| ParseError { line: index + 1, message })?;
        }
        Ok(script)
    }

    /// Appends one line.
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let words = words(line)?;
        let Some(first) = words.first() else { return Ok(()) };
        match first.plain() {
            Some("@config") => self.options.config.push(setting(line, "@config")),
            Some("@property") => self.options.properties.push(setting(line, "@property")),
            _ => self.steps.push(step(number, line, &words)?),
        }
        Ok(())
    }
}

fn setting(line: &str, directive: &str) -> String {
    line.trim().trim_start_matches(directive).trim().to_owned()
}

/// A word of a line; `quoted` keeps `null`, `$` and the like from their meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub bytes: Vec<u8>,
    pub quoted: bool,
}

impl Word {
    /// The word, if it was written without quotes.
    pub fn plain(&self) -> Option<&str> {
        if self.quoted { None } else { std::str::from_utf8(&self.bytes).ok() }
    }

    /// The value after `key=`, with the word's quoting.
    pub fn value_of(&self, key: &str) -> Option<Word> {
        let rest = self.bytes.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
        Some(Word { bytes: rest.to_vec(), quoted: self.quoted })
    }

    /// A path or datum.
    pub fn text(&self) -> Result<Text, String> {
        let Some(plain) = self.plain() else {
            return Ok(Text { created_by: None, bytes: Some(self.bytes.clone()) });
        };
        if plain == "null" {
            return Ok(Text { created_by: None, bytes: None });
        }
        if let Some(hex) = plain.strip_prefix("x:") {
            return Ok(Text { created_by: None, bytes: Some(parse_hex(hex)?) });
        }
        if let Some(count) = plain.strip_prefix("zeros:") {
            return Ok(Text { created_by: None, bytes: Some(vec![0; parse_number(count)?]) });
        }
        if let Some(rest) = plain.strip_prefix('$') {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            return Ok(Text { created_by: Some(name.to_owned()), bytes: Some(tail.as_bytes().to_vec()) });
        }
        Ok(Text { created_by: None, bytes: Some(self.bytes.clone()) })
    }
}

/// Splits a line into words; braces and semicolons are words of their own.
fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_none() => break,
            ' ' | '\t' => words.extend(word.take()),
            '{' | '}' | ';' => {
                words.extend(word.take());
                words.push(Word { bytes: vec![c as u8], quoted: false });
            }
            '"' => {
                let word = word.get_or_insert_with(|| Word { bytes: Vec::new(), quoted: true });
                word.quoted = true;
                quoted(&mut chars, &mut word.bytes)?;
            }
            _ => {
                let word = word.get_or_insert_with(|| Word { bytes: Vec::new(), quoted: false });
                word.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads to the closing quote.
fn quoted(chars: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) -> Result<(), String> {
    loop {
        match chars.next().ok_or("a quote is not closed")? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or("a line ends in a backslash")? {
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                '0' => bytes.push(0),
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    bytes.extend(parse_hex(&digits)?);
                }
                'u' => {
                    let digits: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    let number = u32::from_str_radix(&digits, 16).map_err(|e| e.to_string())?;
                    let c = char::from_u32(number).ok_or("no such character")?;
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            },
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Two hexadecimal digits a byte.
pub(super) fn parse_hex(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = digits.bytes().filter(|b| *b != b'_').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|e| e.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|e| format!("{pair}: {e}"))
        })
        .collect()
}

/// A decimal number of whatever width is wanted.
pub(super) fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number here"))
}

fn step(line: usize, text: &str, words: &[Word]) -> Result<Step, String> {
    let mut words = words.to_vec();
    let mut known = None;
    if let Some(name) = words.last().and_then(Word::plain).and_then(|w| w.strip_prefix('~')) {
        let names = |text: &str| text.split(',').map(str::to_owned).collect();
        known = Some(match name.strip_prefix('?') {
            Some(may) => Difference::May(names(may)),
            None => Difference::Must(names(name)),
        });
        words.pop();
    }
    let mut expected = None;
    if let Some(at) = words.iter().position(|w| w.plain() == Some("!")) {
        let rest: Vec<_> = words[at + 1..].iter().map(|w| String::from_utf8_lossy(&w.bytes)).collect();
        expected = Some(rest.join(" "));
        words.truncate(at);
    }
    let name = words.first().and_then(Word::plain).ok_or("a step begins with a connection's name")?;
    let make = |connection: &str, action, expected| Step {
        line,
        text: text.trim().to_owned(),
        connection: connection.to_owned(),
        action,
        expected,
        known: known.clone(),
    };
    if name == "restart" {
        return Ok(make("", Action::Restart, expected));
    }
    let verb = words.get(1).and_then(Word::plain).ok_or("a connection's name is followed by what it does")?;
    let rest = &words[2..];
    let action = match verb {
        "connect" => Action::Connect(parse_connect(rest, None)?),
        "reconnect" => Action::Connect(parse_connect(rest, Some(name))?),
        "disconnect" => Action::Disconnect,
        "close" => Action::Close,
        "closed" => Action::Closed,
        "open" => Action::Open,
        "receive" => Action::Receive,
        "send" => Action::Send(one(rest)?.text()?.bytes.unwrap_or_default()),
        "frame" => Action::SendFrame(one(rest)?.text()?.bytes.unwrap_or_default()),
        "walk" => Action::Walk(one(rest)?.text()?.bytes.unwrap_or_default()),
        "expect" => Action::Expect(parse_event(rest)?),
        "pipeline" => Action::Requests(
            blocks(rest)?.iter().map(|words| parse_request(words)).collect::<Result<_, _>>()?,
        ),
        _ => Action::Requests(vec![parse_request(&words[1..])?]),
    };
    if expected.is_none() && matches!(action, Action::Requests(_) | Action::Close) {
        expected = Some("ok".to_owned());
    }
    Ok(make(name, action, expected))
}

fn one(words: &[Word]) -> Result<&Word, String> {
    match words {
        [word] => Ok(word),
        _ => Err(format!("one argument is due here, not {}", words.len())),
    }
}

/// The commands between braces.
pub(super) fn blocks(words: &[Word]) -> Result<Vec<Vec<Word>>, String> {
    let [open, inner @ .., close] = words else { return Err("`{` and `}` are due here".to_owned()) };
    if open.plain() != Some("{") || close.plain() != Some("}") {
        return Err("commands go between `{` and `}`".to_owned());
    }
    // A block of its own inside (a multi in a pipeline) keeps its semicolons.
    let mut depth = 0;
    let mut commands = vec![Vec::new()];
    for word in inner {
        match word.plain() {
            Some(";") if depth == 0 => {
                commands.push(Vec::new());
                continue;
            }
            Some("{") => depth += 1,
            Some("}") => depth -= 1,
            _ => {}
        }
        commands.last_mut().ok_or("no command")?.push(word.clone());
    }
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

fn parse_event(words: &[Word]) -> Result<Event, String> {
    let [kind, path] = words else { return Err("an event is a type and a path".to_owned()) };
    let name = kind.plain().unwrap_or_default();
    let kind = EVENTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .ok_or_else(|| format!("`{name}` is no event type"))?;
    Ok(Event { kind, path: path.text()? })
}

fn parse_connect(words: &[Word], own: Option<&str>) -> Result<Connect, String> {
    let mut connect = Connect {
        session: own.map(|name| SessionChoice::Of(name.to_owned())),
        timeout_ms: 10_000,
        read_only: Some(false),
        ..Connect::default()
    };
    for word in words {
        let text = String::from_utf8_lossy(&word.bytes).into_owned();
        let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no setting"))?;
        match key {
            "timeout" => connect.timeout_ms = parse_number(value)?,
            "session" => {
                connect.session = Some(match value.parse() {
                    Ok(number) => SessionChoice::Number(number),
                    Err(_) => SessionChoice::Of(value.to_owned()),
                });
            }
            "password" => {
                let value = word.value_of("password").ok_or("a password is due")?;
                connect.password = Some(value.text()?.bytes.unwrap_or_default());
            }
            "seen" => connect.seen = parse_seen(value)?,
            "readonly" => {
                connect.read_only = match value {
                    "none" => None,
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => return Err(format!("readonly is none, true or false, not `{value}`")),
                };
            }
            _ => return Err(format!("`{key}` is no setting of a connection")),
        }
    }
    Ok(connect)
}

/// `last` or a number.
pub(super) fn parse_seen(text: &str) -> Result<Seen, String> {
    if text == "last" { Ok(Seen::Last) } else { Ok(Seen::Number(parse_number(text)?)) }
}
