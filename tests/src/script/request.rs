//! Words to a request's jute fields.

use super::parse::{Word, blocks, parse_hex, parse_number, parse_seen};
use super::{Field, Request, Text};
use crate::wire::{op, xid};

/// The arguments of one operation, taken from left to right.
struct Arguments<'a> {
    positional: std::vec::IntoIter<&'a Word>,
    named: Vec<&'a Word>,
    fields: Vec<Field>,
}

/// Settings that may stand anywhere after an operation's name.
const NAMED: [&str; 15] = [
    "acl",
    "flags",
    "ttl",
    "data",
    "exist",
    "child",
    "persistent",
    "recursive",
    "joining",
    "leaving",
    "members",
    "config",
    "since",
    "xid",
    "tail",
];

/// Reads one operation.
pub(super) fn parse_request(words: &[Word]) -> Result<Request, String> {
    let name = words.first().and_then(Word::plain).ok_or("an operation is due")?;
    let mut arguments = Arguments::new(&words[1..]);
    let op = match name {
        "multi" => return parse_multi(op::MULTI, &words[1..]),
        "multiRead" => return parse_multi(op::MULTI_READ, &words[1..]),
        "raw" => {
            let op = arguments.number()?;
            arguments.raw()?;
            op
        }
        "close" => op::CLOSE_SESSION,
        _ => arguments.operation(name)?,
    };
    let default_xid = match op {
        op::PING => Some(xid::PING),
        op::AUTH => Some(xid::AUTH),
        op::SET_WATCHES | op::SET_WATCHES2 => Some(xid::SET_WATCHES),
        _ => None,
    };
    let xid = match arguments.named("xid") {
        Some(word) => Some(parse_number(word.plain().unwrap_or_default())?),
        None => default_xid,
    };
    Ok(Request { op, xid, fields: arguments.finish()? })
}

fn parse_multi(op: i32, words: &[Word]) -> Result<Request, String> {
    let mut fields = Vec::new();
    let header = |fields: &mut Vec<Field>, op: i32, done: bool| {
        fields.extend([Field::Int(op), Field::Boolean(done), Field::Int(-1)]);
    };
    for command in blocks(words)? {
        let request = parse_request(&command)?;
        header(&mut fields, request.op, false);
        fields.extend(request.fields);
    }
    header(&mut fields, -1, true);
    Ok(Request { op, xid: None, fields })
}

impl<'a> Arguments<'a> {
    fn new(words: &'a [Word]) -> Self {
        let (named, positional): (Vec<_>, Vec<_>) =
            words.iter().partition(|word| NAMED.iter().any(|key| word.value_of(key).is_some()));
        Arguments { positional: positional.into_iter(), named, fields: Vec::new() }
    }

    /// The operation's code; its fields are appended in the order of ZooKeeper's schema.
    fn operation(&mut self, name: &str) -> Result<i32, String> {
        Ok(match name {
            "create" => self.create(op::CREATE, "persistent")?,
            "create2" => self.create(op::CREATE2, "persistent")?,
            "createContainer" => self.create(op::CREATE_CONTAINER, "container")?,
            "createTTL" => {
                self.create(op::CREATE_TTL, "ttl")?;
                let ttl = self.named("ttl").ok_or("createTTL has a ttl=")?;
                self.fields.push(Field::Long(parse_number(ttl.plain().unwrap_or_default())?));
                op::CREATE_TTL
            }
            "delete" => self.texts(1)?.ints(1)?.code(op::DELETE),
            "deleteContainer" => self.texts(1)?.code(op::DELETE_CONTAINER),
            "exists" => self.texts(1)?.watch()?.code(op::EXISTS),
            "getData" => self.texts(1)?.watch()?.code(op::GET_DATA),
            "getChildren" => self.texts(1)?.watch()?.code(op::GET_CHILDREN),
            "getChildren2" => self.texts(1)?.watch()?.code(op::GET_CHILDREN2),
            "setData" => self.texts(2)?.ints(1)?.code(op::SET_DATA),
            "getACL" => self.texts(1)?.code(op::GET_ACL),
            "setACL" => {
                self.texts(1)?;
                let list = self.next()?.clone();
                self.acl(Some(&list))?.ints(1)?.code(op::SET_ACL)
            }
            "sync" => self.texts(1)?.code(op::SYNC),
            "check" => self.texts(1)?.ints(1)?.code(op::CHECK),
            "ping" => op::PING,
            "auth" => {
                self.fields.push(Field::Int(0));
                self.texts(2)?.code(op::AUTH)
            }
            "sasl" => self.texts(1)?.code(op::SASL),
            "checkWatches" => self.texts(1)?.choice(WATCHER_TYPES)?.code(op::CHECK_WATCHES),
            "removeWatches" => self.texts(1)?.choice(WATCHER_TYPES)?.code(op::REMOVE_WATCHES),
            "addWatch" => self.texts(1)?.choice(WATCH_MODES)?.code(op::ADD_WATCH),
            "getEphemerals" => self.texts(1)?.code(op::GET_EPHEMERALS),
            "getAllChildrenNumber" => self.texts(1)?.code(op::GET_ALL_CHILDREN_NUMBER),
            "whoAmI" => op::WHO_AM_I,
            "setWatches" => self.since()?.lists(&["data", "exist", "child"])?.code(op::SET_WATCHES),
            "setWatches2" => self
                .since()?
                .lists(&["data", "exist", "child", "persistent", "recursive"])?
                .code(op::SET_WATCHES2),
            "reconfig" => {
                for key in ["joining", "leaving", "members"] {
                    let text = match self.named(key) {
                        Some(word) => word.text()?,
                        None => Text { created_by: None, bytes: None },
                    };
                    self.fields.push(Field::Text(text));
                }
                let config = match self.named("config") {
                    Some(word) => parse_number(word.plain().unwrap_or_default())?,
                    None => -1,
                };
                self.fields.push(Field::Long(config));
                op::RECONFIG
            }
            _ => return Err(format!("`{name}` is no operation")),
        })
    }

    fn code(&mut self, op: i32) -> i32 {
        op
    }

    fn next(&mut self) -> Result<&'a Word, String> {
        self.positional.next().ok_or_else(|| "an argument is missing".to_owned())
    }

    fn number(&mut self) -> Result<i32, String> {
        parse_number(self.next()?.plain().unwrap_or_default())
    }

    fn named(&self, key: &str) -> Option<Word> {
        self.named.iter().find_map(|word| word.value_of(key))
    }

    fn texts(&mut self, count: usize) -> Result<&mut Self, String> {
        for _ in 0..count {
            let text = self.next()?.text()?;
            self.fields.push(Field::Text(text));
        }
        Ok(self)
    }

    fn ints(&mut self, count: usize) -> Result<&mut Self, String> {
        for _ in 0..count {
            let number = self.number()?;
            self.fields.push(Field::Int(number));
        }
        Ok(self)
    }

    fn raw(&mut self) -> Result<&mut Self, String> {
        for word in self.positional.by_ref() {
            let bytes = word.text()?.bytes.unwrap_or_default();
            self.fields.push(Field::Raw(bytes));
        }
        Ok(self)
    }

    fn watch(&mut self) -> Result<&mut Self, String> {
        let watch = match self.positional.next() {
            None => false,
            Some(word) if word.plain() == Some("watch") => true,
            Some(_) => return Err("`watch` or nothing is due here".to_owned()),
        };
        self.fields.push(Field::Boolean(watch));
        Ok(self)
    }

    fn choice(&mut self, names: &[(&str, i32)]) -> Result<&mut Self, String> {
        let word = self.next()?.plain().unwrap_or_default();
        let number = match names.iter().find(|(name, _)| *name == word) {
            Some((_, number)) => *number,
            None => parse_number(word)?,
        };
        self.fields.push(Field::Int(number));
        Ok(self)
    }

    fn since(&mut self) -> Result<&mut Self, String> {
        let seen = match self.named("since") {
            Some(word) => parse_seen(word.plain().unwrap_or_default())?,
            None => super::Seen::Last,
        };
        self.fields.push(Field::Zxid(seen));
        Ok(self)
    }

    fn lists(&mut self, keys: &[&str]) -> Result<&mut Self, String> {
        for key in keys {
            let list = self.named(key).map(|word| String::from_utf8_lossy(&word.bytes).into_owned());
            let items: Vec<&str> =
                list.as_deref().unwrap_or_default().split(',').filter(|item| !item.is_empty()).collect();
            self.fields.push(Field::Int(i32::try_from(items.len()).map_err(|e| e.to_string())?));
            for item in items {
                self.fields.push(bytes(item.as_bytes()));
            }
        }
        Ok(self)
    }

    fn create(&mut self, op: i32, default_mode: &str) -> Result<i32, String> {
        self.texts(2)?;
        let acl = self.named("acl");
        self.acl(acl.as_ref())?;
        let flags = self.named("flags");
        let mode = flags.as_ref().and_then(Word::plain).unwrap_or(default_mode);
        let number = match MODES.iter().position(|name| *name == mode) {
            Some(number) => i32::try_from(number).map_err(|e| e.to_string())?,
            None => parse_number(mode)?,
        };
        self.fields.push(Field::Int(number));
        Ok(op)
    }

    /// `open`, `read`, `creator`, `null`, `empty`, or `PERMS@SCHEME:ID` separated by commas.
    fn acl(&mut self, word: Option<&Word>) -> Result<&mut Self, String> {
        let named = word.map(|word| String::from_utf8_lossy(&word.bytes).into_owned());
        let list = match named.as_deref() {
            None | Some("open") => "rwcda@world:anyone",
            Some("read") => "r@world:anyone",
            Some("creator") => "rwcda@auth:",
            Some("null") => {
                self.fields.push(Field::Int(-1));
                return Ok(self);
            }
            Some("empty") => "",
            Some(other) => other,
        };
        let entries: Vec<&str> = list.split(',').filter(|entry| !entry.is_empty()).collect();
        self.fields.push(Field::Int(i32::try_from(entries.len()).map_err(|e| e.to_string())?));
        for entry in entries {
            let (permissions, id) = entry.split_once('@').ok_or("an ACL entry is PERMS@SCHEME:ID")?;
            let (scheme, id) = id.split_once(':').ok_or("an ACL entry is PERMS@SCHEME:ID")?;
            self.fields.push(Field::Int(parse_permissions(permissions)?));
            self.fields.push(bytes(scheme.as_bytes()));
            self.fields.push(bytes(id.as_bytes()));
        }
        Ok(self)
    }

    fn finish(mut self) -> Result<Vec<Field>, String> {
        if let Some(word) = self.named("tail") {
            self.fields.push(Field::Raw(parse_hex(word.plain().unwrap_or_default())?));
        }
        match self.positional.next() {
            None => Ok(self.fields),
            Some(word) => Err(format!("`{}` is too much", String::from_utf8_lossy(&word.bytes))),
        }
    }
}

fn bytes(bytes: &[u8]) -> Field {
    Field::Text(Text { created_by: None, bytes: Some(bytes.to_vec()) })
}

fn parse_permissions(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    text.chars().try_fold(0, |all, c| {
        let bit = "rwcda".find(c).ok_or_else(|| format!("`{c}` is no permission"))?;
        Ok(all | (1 << bit))
    })
}

/// In the order of ZooKeeper's flags.
const MODES: [&str; 7] =
    ["persistent", "ephemeral", "sequential", "ephemeral_sequential", "container", "ttl", "ttl_sequential"];

const WATCHER_TYPES: &[(&str, i32)] =
    &[("children", 1), ("data", 2), ("any", 3), ("persistent", 4), ("recursive", 5)];

const WATCH_MODES: &[(&str, i32)] = &[("persistent", 0), ("recursive", 1), ("standard", 2)];
