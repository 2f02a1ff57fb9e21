//! Values for the shop's columns: empty texts beside NULL, four-byte characters, quotes and backslashes, the ends of
//! ranges. Only what PostgreSQL can hold: what it can't is the end-to-end tests' matter.

use mysql_async::Value;

use super::Dice;

const NAMES: [&str; 8] =
    ["Ada", "Žofie O'Neil", "李 小龙", "Åsa \\ \"Ås\"", "😀 Smile", "", "tab\tand\nline", "  blanks  "];
const MEMOS: [&str; 5] = ["", "déjà vu", "5 € für Größe", "ring twice", "a;b'c\"d\\e"];
const TAGS: [&str; 6] = ["", "news", "news,vip", "b2b", "blocked", "news,vip,b2b,blocked"];
const METHODS: [&str; 4] = ["card", "cash", "voucher", "transfer"];

pub(super) struct Values {
    pub(super) dice: Dice,
}

impl Values {
    pub(super) fn new(dice: Dice) -> Values {
        Values { dice }
    }

    pub(super) fn sku(&mut self, number: u64) -> String {
        format!("{number}-{:08x}-{}", self.dice.below(1 << 32), self.dice.pick(&["a", "A", "ß", "Z", "_", "é"]))
    }

    /// email, name, balance, points, tags, born, note
    pub(super) fn customer(&mut self) -> Vec<Value> {
        let number = self.dice.below(1 << 40);
        let points = *self.dice.pick(&[0i64, -1, 8_388_607, -8_388_607, 4711]);
        vec![
            format!("c{number}@example.com").into(),
            (*self.dice.pick(&NAMES)).into(),
            self.amount(),
            // The shop adds to it and takes from it: room for both.
            (points / 2).into(),
            (*self.dice.pick(&TAGS)).into(),
            self.or_null(|values| {
                format!(
                    "19{:02}-{:02}-{:02}",
                    values.dice.below(100),
                    1 + values.dice.below(12),
                    1 + values.dice.below(28)
                )
            }),
            self.or_null(|values| values.dice.pick(&NAMES).repeat(3)),
        ]
    }

    /// sku, title, price, weight, ratio, attributes, picture, made, opens, flags
    pub(super) fn product(&mut self, sku: &str) -> Vec<Value> {
        let weight = *self.dice.pick(&[0.0, 0.1, -1e-300, 1.797_693_134_862_315_7e308, 1e20, 123_456.789, 5e-324]);
        let ratio = *self.dice.pick(&[0.5f32, 3.4e38, 1.1, -0.333, 1e-38]);
        let length = self.dice.index(300);
        vec![
            sku.into(),
            format!("{} {}", self.dice.pick(&NAMES), self.dice.below(1000)).into(),
            self.amount(),
            self.or_null(|_| weight),
            self.or_null(|_| ratio),
            self.or_null(Values::attributes),
            self.or_null(|values| values.dice.bytes(length)),
            self.or_null(|values| 1901 + values.dice.below(255)),
            self.or_null(|values| {
                format!(
                    "{:02}:{:02}:{:02}.{:03}",
                    values.dice.below(24),
                    values.dice.below(60),
                    values.dice.below(60),
                    values.dice.below(1000)
                )
            }),
            self.dice.below(4096).into(),
        ]
    }

    /// Four digits behind the point, both signs.
    pub(super) fn amount(&mut self) -> Value {
        let sign = if self.dice.once_in(10) { "-" } else { "" };
        format!("{sign}{}.{:02}", self.dice.below(100_000), self.dice.below(100)).into()
    }

    pub(super) fn address(&mut self) -> Value {
        let city = *self.dice.pick(&NAMES);
        let quoted = serde_json::Value::from(city).to_string();
        let (zip, floor) = (self.dice.below(100_000), self.dice.below(40));
        format!(
            "{{\"city\": {quoted}, \"zip\": \"{zip:05}\", \"floor\": {floor}, \"at\": [{}.5, {floor}], \"c/o\": null}}",
            self.dice.below(90)
        )
        .into()
    }

    pub(super) fn memo(&mut self) -> Value {
        self.or_null(|values| *values.dice.pick(&MEMOS))
    }

    pub(super) fn method(&mut self) -> Value {
        (*self.dice.pick(&METHODS)).into()
    }

    pub(super) fn receipt(&mut self) -> Value {
        let length = self.dice.index(200);
        self.or_null(|values| values.dice.bytes(length))
    }

    pub(super) fn moment(&mut self) -> String {
        format!(
            "20{:02}-{:02}-{:02} {:02}:{:02}:59",
            self.dice.below(30),
            1 + self.dice.below(12),
            1 + self.dice.below(28),
            self.dice.below(24),
            self.dice.below(60)
        )
    }

    fn attributes(&mut self) -> String {
        let big = self.dice.roll();
        match self.dice.below(6) {
            0 => "null".to_owned(),
            1 => "[]".to_owned(),
            2 => format!("{{\"big\": {big}, \"small\": -{}, \"deep\": {{\"er\": [true, false, {{}}]}}}}", big >> 1),
            3 => "\"just \\\"text\\\" \\u00e9 😀\"".to_owned(),
            4 => format!("{{\"float\": {}.25, \"tiny\": 1e-10, \"a\": 1, \"aa\": 2, \"\": 3}}", big % 1000),
            _ => big.to_string(),
        }
    }

    fn or_null<T: Into<Value>>(&mut self, make: impl FnOnce(&mut Values) -> T) -> Value {
        if self.dice.once_in(6) { Value::NULL } else { make(self).into() }
    }
}
