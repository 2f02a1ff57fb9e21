//! UUID and network addresses as texts: written as MariaDB prints them, and read back.

use std::{
    fmt::{self, Write},
    net::{Ipv4Addr, Ipv6Addr},
};

/// Writes `01234567-89ab-cdef-0123-456789abcdef`.
pub fn write_uuid(bytes: [u8; 16], out: &mut impl Write) -> fmt::Result {
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Reads the same, with letters of either case; nothing shorter, longer or bracketed.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut rest = text.as_bytes();
    for (place, byte) in bytes.iter_mut().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            rest = rest.strip_prefix(b"-")?;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?;
        rest = behind;
    }
    rest.is_empty().then_some(bytes)
}

/// Writes `127.0.0.1`.
pub fn write_inet4(bytes: [u8; 4], out: &mut impl Write) -> fmt::Result {
    write!(out, "{}", Ipv4Addr::from(bytes))
}

/// Reads the same.
#[must_use]
pub fn parse_inet4(text: &str) -> Option<[u8; 4]> {
    text.parse::<Ipv4Addr>().ok().map(|address| address.octets())
}

/// Writes `2001:db8::1`. MariaDB leaves out the first longest run of zero words, even one word alone, and shows the end of
/// what embeds an INET4 as one.
pub fn write_inet6(bytes: [u8; 16], out: &mut impl Write) -> fmt::Result {
    let words = Ipv6Addr::from(bytes).segments();
    let (gap_start, gap_length) = longest_gap(&words);
    let gap_end = gap_start + gap_length;
    let embeds_inet4 = gap_start == 0 && (gap_length == 6 || (gap_length == 5 && words[5] == 0xffff));
    for (place, word) in words.iter().enumerate() {
        if gap_length > 0 && place == gap_start {
            out.write_str("::")?;
        }
        if (gap_start..gap_end).contains(&place) {
            continue;
        }
        if embeds_inet4 && place == 6 {
            return write_inet4([bytes[12], bytes[13], bytes[14], bytes[15]], out);
        }
        write!(out, "{word:x}")?;
        if place < 7 && place + 1 != gap_start {
            out.write_char(':')?;
        }
    }
    Ok(())
}

/// Reads every text of an address.
#[must_use]
pub fn parse_inet6(text: &str) -> Option<[u8; 16]> {
    text.parse::<Ipv6Addr>().ok().map(|address| address.octets())
}

/// Where the first longest run of zeros begins, and how long it is.
fn longest_gap(words: &[u16; 8]) -> (usize, usize) {
    let (mut longest, mut length) = ((0, 0), 0);
    for (place, word) in words.iter().enumerate() {
        length = if *word == 0 { length + 1 } else { 0 };
        if length > longest.1 {
            longest = (place + 1 - length, length);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_server_prints_them_and_read_back() {
        for text in [
            "::",
            "::1",
            "1::",
            "2001:db8::ff00:42:8329",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "::0.1.0.0",
            "::2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "1:2::4:5:6:7:8",
            "1::4:0:0:7:8",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::5:6:7:8",
            "::fffe:1:2",
        ] {
            let mut written = String::new();
            write_inet6(parse_inet6(text).unwrap(), &mut written).unwrap();
            assert_eq!(written, text);
        }
        assert_eq!(parse_inet4("1.2.3"), None);
        assert_eq!(parse_inet6("1:2:3:4:5:6:7:8::"), None);
    }

    #[test]
    fn uuids_have_one_form() {
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        let bytes = parse_uuid(text).unwrap();
        assert_eq!((bytes[0], bytes[15]), (1, 0xef));
        assert_eq!(parse_uuid(&text.to_uppercase()), Some(bytes));
        let mut written = String::new();
        write_uuid(bytes, &mut written).unwrap();
        assert_eq!(written, text);
        for bad in ["", "01234567-89ab-cdef-0123-456789abcde", "0123456789abcdef0123456789abcdef", &format!("{text}0")]
        {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }
}
