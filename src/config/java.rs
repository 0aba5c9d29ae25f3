//! Numbers and words as Java reads them, because ZooKeeper's files were written for Java.
//!
//! ZooKeeper parses the keys of `QuorumPeerConfig` with `Integer.parseInt` and most system properties with
//! `Integer.getInteger`, which decodes: `0x100` is hexadecimal and `010` is octal there. Unlike
//! `Integer.getInteger`, which falls back silently to its default, everything here reports what it cannot read.

/// `Integer.parseInt` and `Long.parseLong`: an optional sign and decimal digits. The caller checks the range.
pub(super) fn parse_long(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `Integer.decode` and `Long.decode`: an optional sign, then `0x`, `0X` or `#` for hexadecimal, a leading `0`
/// for octal, else decimal.
pub(super) fn decode_long(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hexadecimal = ["0x", "0X", "#"].iter().find_map(|prefix| unsigned.strip_prefix(prefix));
    let (digits, radix) = match (hexadecimal, unsigned.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (unsigned, 10),
    };
    // from_str_radix would accept a second sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `Long.parseLong(text, 16)`, without negative numbers.
pub(super) fn parse_hex_long(text: &str) -> Option<u64> {
    i64::from_str_radix(text, 16).ok().and_then(|v| u64::try_from(v).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_is_decimal_only() {
        assert_eq!(parse_long("010"), Some(10));
        assert_eq!(parse_long("+7"), Some(7));
        assert_eq!(parse_long("-1"), Some(-1));
        for bad in ["", "0x10", "1 ", "1_000", "1.0", "9223372036854775808", "+", "--1"] {
            assert_eq!(parse_long(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn decode_knows_hexadecimal_and_octal() {
        let cases = [
            ("0xfffff", 1_048_575),
            ("0XFF", 255),
            ("#10", 16),
            ("010", 8),
            ("0", 0),
            ("-0x10", -16),
            ("+12", 12),
            ("4194304", 4_194_304),
            ("-0x8000000000000000", i64::MIN),
        ];
        for (text, value) in cases {
            assert_eq!(decode_long(text), Some(value), "{text:?}");
        }
        for bad in ["", "0x", "08", "0x-1", "-", "#", "1k", "0x8000000000000000", "--1", "é"] {
            assert_eq!(decode_long(bad), None, "{bad:?}");
        }
    }
}
