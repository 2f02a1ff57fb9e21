//! JSON brought to one spelling: members sorted by name, strings unescaped, numbers as digits and exponent. Numbers are
//! compared exactly, whatever their length: MySQL keeps decimals in JSON that no 64-bit float holds.

/// The canonical spelling; `None` if the text is no JSON.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<String> {
        self.skip_blanks();
        match self.rest.chars().next()? {
            '{' => self.object(),
            '[' => self.array(),
            '"' => self.string(),
            '-' | '0'..='9' => self.number(),
            _ => ["true", "false", "null"].into_iter().find(|word| self.take(word)).map(str::to_owned),
        }
    }

    fn object(&mut self) -> Option<String> {
        let mut members = Vec::new();
        self.list('{', '}', |reader| {
            let name = reader.string()?;
            reader.skip_blanks();
            reader.take(":").then_some(())?;
            members.push(format!("{name}:{}", reader.value()?));
            Some(())
        })?;
        members.sort();
        Some(format!("{{{}}}", members.join(",")))
    }

    fn array(&mut self) -> Option<String> {
        let mut values = Vec::new();
        self.list('[', ']', |reader| {
            values.push(reader.value()?);
            Some(())
        })?;
        Some(format!("[{}]", values.join(",")))
    }

    fn list(&mut self, open: char, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open.encode_utf8(&mut [0; 4])).then_some(())?;
        self.skip_blanks();
        if self.take(close.encode_utf8(&mut [0; 4])) {
            return Some(());
        }
        loop {
            self.skip_blanks();
            item(self)?;
            self.skip_blanks();
            if self.take(close.encode_utf8(&mut [0; 4])) {
                return Some(());
            }
            self.take(",").then_some(())?;
        }
    }

    /// With its quotes, escaped in one way only.
    fn string(&mut self) -> Option<String> {
        let mut is_escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            is_end
        })?;
        let (literal, rest) = self.rest.split_at(end.0 + 1);
        self.rest = rest;
        serde_json::to_string(&serde_json::from_str::<String>(literal).ok()?).ok()
    }

    /// `-12.50e3` is `-125e2`: digits without zeros at either end, and the power of ten of the last one.
    fn number(&mut self) -> Option<String> {
        let end =
            self.rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(self.rest.len());
        let (literal, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
        let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        all.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        let exponent: i64 = exponent.parse::<i64>().ok()? - i64::try_from(fraction.len()).ok()?;
        let digits = all.trim_end_matches('0');
        let exponent = exponent + i64::try_from(all.len() - digits.len()).ok()?;
        Some(match digits.trim_start_matches('0') {
            "" => format!("{sign}0"),
            digits => format!("{sign}{digits}e{exponent}"),
        })
    }

    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(left: &str, right: &str, is_same: bool) {
        let (left, right) = (canonical(left).expect("JSON"), canonical(right).expect("JSON"));
        assert_eq!(left == right, is_same, "{left} {right}");
    }

    #[test]
    fn spelling_does_not_count() {
        check(r#"{"b": [1, null, true], "a": {}}"#, r#"{"a":{},"b":[1,null,true]}"#, true);
        check("1.50", "15e-1", true);
        check("1e20", "100000000000000000000", true);
        check("0.0", "0", true);
        check(r#""é\n\"""#, "\"\\u00e9\\u000a\\u0022\"", true);
    }

    #[test]
    fn values_count() {
        check("123456789012345678901234567890.1", "123456789012345678901234567890.2", false);
        check("18446744073709551615", "18446744073709551614", false);
        check("1", "-1", false);
        check("1", "\"1\"", false);
        check("[1,2]", "[2,1]", false);
        check(r#"{"a":1}"#, r#"{"a":null}"#, false);
        check("null", "false", false);
        for garbage in ["", "{", "[1,]", "1 2", "nul", "\"a", "1.2.3", "--1"] {
            assert_eq!(canonical(garbage), None, "{garbage}");
        }
    }
}
