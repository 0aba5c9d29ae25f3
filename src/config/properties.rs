//! Java's properties syntax, read exactly as `java.util.Properties.load(InputStream)` reads it.
//!
//! The published crates for this format do not: the one in use applies escapes inside comments, so that
//! `# C:\users` makes a file unreadable, and drops the last line where a file ends in a backslash. The rules
//! are those of the Java platform's documentation of `Properties.load`, checked against OpenJDK 17 on random
//! files. Bytes are ISO-8859-1, as Java takes them. Two differences: half of a surrogate pair, which Java
//! keeps, is malformed here, since it is no text; a lone backslash at the end of the file is no entry, where
//! Java sometimes makes one of nothing.

/// One key and its value, unescaped, untrimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub value: String,
    /// The number of the natural line on which the logical line starts, from 1.
    pub line: u32,
}

/// A logical line that Java refuses, or that cannot be text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub line: u32,
    pub what: &'static str,
}

/// Reads a whole file. Entries keep their order and their duplicates (in Java the last one wins).
pub(super) fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<Malformed>) {
    let mut entries = Vec::new();
    let mut malformed = Vec::new();
    for logical in logical_lines(bytes) {
        match entry(&logical) {
            Ok(entry) => entries.push(entry),
            Err(what) => malformed.push(Malformed { line: logical.line, what }),
        }
    }
    (entries, malformed)
}

struct Logical {
    line: u32,
    /// The joined parts, with escapes still in them.
    chars: Vec<char>,
}

/// Joins continued lines and drops comments and blank lines.
///
/// Laws: white space at the start of each part is skipped; a comment sign counts only where nothing of the
/// logical line was seen before it; an odd run of backslashes at the end of a part continues the line, and its
/// last backslash is dropped, at the end of the file too.
fn logical_lines(bytes: &[u8]) -> Vec<Logical> {
    let mut logicals = Vec::new();
    let mut open: Option<Logical> = None;
    for (line, natural) in (1..).zip(natural_lines(bytes)) {
        let start = natural.iter().position(|&b| !is_blank(char::from(b))).unwrap_or(natural.len());
        let mut part = &natural[start..];
        let fresh = open.as_ref().is_none_or(|o| o.chars.is_empty());
        if fresh && (part.is_empty() || matches!(part[0], b'#' | b'!')) {
            // Also after lone backslashes: nothing of a logical line was seen, so none is open.
            open = None;
            continue;
        }
        let backslashes = part.iter().rev().take_while(|&&b| b == b'\\').count();
        let continued = backslashes % 2 == 1;
        if continued {
            part = &part[..part.len() - 1];
        }
        let logical = open.get_or_insert_with(|| Logical { line, chars: Vec::new() });
        logical.chars.extend(part.iter().map(|&b| char::from(b)));
        if !continued {
            logicals.extend(open.take());
        }
    }
    logicals.extend(open);
    logicals.retain(|logical| !logical.chars.is_empty());
    logicals
}

/// Splits at LF, CR or CR LF, without them.
fn natural_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = match tail {
            [b'\r', b'\n', tail @ ..] | [_, tail @ ..] => tail,
            [] => tail,
        };
        Some(line)
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Splits a logical line at its first unescaped `=`, `:` or white space; white space around one `=` or `:`
/// belongs to the separator.
fn entry(logical: &Logical) -> Result<Entry, &'static str> {
    let chars = &logical.chars;
    let mut escaped = false;
    let key_end = chars.iter().position(|&c| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = c == '\\' && !escaped;
        ends
    });
    let key_end = key_end.unwrap_or(chars.len());
    let mut value_start = key_end;
    let mut separated = false;
    while let Some(&c) = chars.get(value_start) {
        if matches!(c, '=' | ':') && !separated {
            separated = true;
        } else if !is_blank(c) {
            break;
        }
        value_start += 1;
    }
    Ok(Entry {
        key: unescape(&chars[..key_end])?,
        value: unescape(&chars[value_start..])?,
        line: logical.line,
    })
}

/// Java's escapes: `\t \n \r \f`, `\uXXXX` as UTF-16 units, and any other escaped character as itself.
fn unescape(chars: &[char]) -> Result<String, &'static str> {
    let mut units = Vec::with_capacity(chars.len());
    let mut rest = chars.iter().copied();
    while let Some(c) = rest.next() {
        let unit = match c {
            '\\' => match rest.next() {
                Some('u') => code_unit(&mut rest)?,
                Some('t') => u16::from(b'\t'),
                Some('n') => u16::from(b'\n'),
                Some('r') => u16::from(b'\r'),
                Some('f') => 0x0c,
                Some(other) => latin1_unit(other),
                None => break,
            },
            other => latin1_unit(other),
        };
        units.push(unit);
    }
    String::from_utf16(&units).map_err(|_| "a \\u escape is half of a surrogate pair")
}

fn code_unit(rest: &mut impl Iterator<Item = char>) -> Result<u16, &'static str> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = rest.next().and_then(|c| c.to_digit(16));
        let digit = digit.ok_or("a \\u escape needs four hexadecimal digits")?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

/// Each char came from one ISO-8859-1 byte, so it is one UTF-16 unit.
fn latin1_unit(c: char) -> u16 {
    c as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String, u32)> {
        let (entries, malformed) = parse(text);
        assert_eq!(malformed, []);
        entries.into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn pair(key: &str, value: &str, line: u32) -> (String, String, u32) {
        (key.to_owned(), value.to_owned(), line)
    }

    #[test]
    fn every_separator_of_java_separates() {
        for text in ["k=v", "k:v", "k v", "k\tv", "k\x0cv", "k = v", "  k : v", "k  v", "k \t=\x0c v"] {
            assert_eq!(pairs(text.as_bytes()), [pair("k", "v", 1)], "{text:?}");
        }
        assert_eq!(pairs(b"k==v"), [pair("k", "=v", 1)]);
        assert_eq!(pairs(b"k :=v "), [pair("k", "=v ", 1)]);
        assert_eq!(pairs(b"k"), [pair("k", "", 1)]);
        assert_eq!(pairs(b"=v"), [pair("", "v", 1)]);
    }

    #[test]
    fn continued_lines_join_and_keep_the_first_line_number() {
        let text = b"\n# c\nlist = a,\\\n   b,\\\r\n\tc\nnext=1\n";
        assert_eq!(pairs(text), [pair("list", "a,b,c", 3), pair("next", "1", 6)]);
    }

    #[test]
    fn only_an_odd_run_of_backslashes_continues() {
        assert_eq!(pairs(b"a=x\\\\\nb=y"), [pair("a", "x\\", 1), pair("b", "y", 2)]);
        assert_eq!(pairs(b"a=x\\\\\\\nb=y"), [pair("a", "x\\b=y", 1)]);
        assert_eq!(pairs(b"a=x\\"), [pair("a", "x", 1)]);
    }

    #[test]
    fn a_comment_is_only_a_comment_at_the_start_of_a_logical_line() {
        assert_eq!(pairs(b"# C:\\users\\\n! also\na=1 # not"), [pair("a", "1 # not", 3)]);
        assert_eq!(pairs(b"a=1\\\n#2"), [pair("a", "1#2", 1)]);
        // Nothing of the logical line was seen yet, so the sign opens a comment.
        assert_eq!(pairs(b"\\\n# comment\na=1"), [pair("a", "1", 3)]);
    }

    #[test]
    fn escapes_are_javas() {
        assert_eq!(pairs(br"a\ b\=c\:d=\t\n\r\f\q\\"), [pair("a b=c:d", "\t\n\r\x0cq\\", 1)]);
        assert_eq!(pairs(br"a=\u0041\u00e9\uD83D\uDE00"), [pair("a", "Aé😀", 1)]);
        assert_eq!(pairs(b"a=\xe9"), [pair("a", "é", 1)]);
    }

    #[test]
    fn malformed_escapes_name_their_line_and_leave_the_others() {
        let (entries, malformed) = parse(b"a=1\nb=\\u12\nc=\\uD83D\nd=2");
        assert_eq!(entries.len(), 2);
        assert_eq!(malformed.iter().map(|m| m.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn line_ends_are_lf_cr_and_cr_lf() {
        assert_eq!(pairs(b"a=1\rb=2\r\nc=3\n"), [pair("a", "1", 1), pair("b", "2", 2), pair("c", "3", 3)]);
    }
}
