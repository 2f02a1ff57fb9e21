//! Column policies, compiled into a column's codec: a value that can't be held costs a second look, every other one nothing.

use tailrace_contract::{
    Literal, Policy,
    print::{self, NoPrint, Paper, Printed},
};
use tailrace_row::{ColumnType, Field, Value};

use super::{Codec, Form, Refusal, varying};
use crate::target_type::TargetType;

/// Every value as its print.
#[derive(Debug)]
pub(super) struct PrintForm {
    source: ColumnType,
    paper: Paper,
}

impl Codec {
    /// The codec of a column that [`crate::check::judge`] lets through; the error says why the policy can't be compiled.
    pub(crate) fn by_policy(
        source: &ColumnType,
        target: TargetType,
        is_nullable: bool,
        (policy, is_key): (&Policy, bool),
    ) -> Result<Self, String> {
        let mut codec = Self::new(source, target, is_nullable);
        match policy {
            Policy::Reject => {}
            Policy::Null => codec.stand_in = Some(Box::new((-1_i32).to_be_bytes())),
            Policy::Sentinel(literal) => codec.stand_in = Some(codec.sentinel(source, literal)?),
            Policy::Text => {
                let paper = Paper { is_key, holds_nul: false };
                codec.form = Form::Print(PrintForm { source: source.clone(), paper });
            }
        }
        Ok(codec)
    }

    /// The sentinel as it is written, its length included.
    fn sentinel(&self, source: &ColumnType, text: &str) -> Result<Box<[u8]>, String> {
        let literal =
            Literal::parse(source, text).map_err(|form| format!("no value of the column, which wants {form}"))?;
        let mut bytes = Vec::new();
        let written = match &self.form {
            // Any text may stand for a label.
            Form::Enum { characters_max, .. } | Form::Set { characters_max, .. } => {
                super::write_text(literal.value(), *characters_max, &mut bytes)
            }
            _ => self.write_value(literal.value(), &mut bytes),
        };
        written.map_err(|refusal| refusal.to_string())?;
        Ok(bytes.into())
    }

    /// Writes what stands for a value that can't be held, over what was begun at `start`.
    #[cold]
    pub(super) fn write_stand_in(&self, refusal: Refusal, start: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match &self.stand_in {
            Some(stand_in) if refusal.is_unholdable() => {
                out.truncate(start);
                out.extend_from_slice(stand_in);
                Ok(())
            }
            Some(_) | None => Err(refusal),
        }
    }

    /// Whether the policy makes a difference for this field.
    pub(crate) fn uses_policy(&self, field: Field<'_>, scratch: &mut Vec<u8>) -> bool {
        let Field::Value(value) = field else { return false };
        match (&self.form, &self.stand_in) {
            (Form::Print(form), _) => form.print(value).is_ok_and(|(_, printed)| printed != Printed::Plain),
            (_, None) => false,
            (_, Some(_)) => {
                scratch.clear();
                self.write_value(value, scratch).is_err_and(Refusal::is_unholdable)
            }
        }
    }
}

impl PrintForm {
    pub(super) fn write(&self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        // Nearly every text goes as it is.
        if let (ColumnType::Text { .. }, Value::Text(text)) = (&self.source, value)
            && !text.starts_with('\\')
            && !text.as_bytes().contains(&0)
        {
            return varying(text.as_bytes(), out);
        }
        let (text, _) = self.print(value)?;
        if text.as_bytes().contains(&0) {
            return Err(Refusal::NulInText);
        }
        varying(text.as_bytes(), out)
    }

    fn print(&self, value: Value<'_>) -> Result<(String, Printed), Refusal> {
        let mut text = String::new();
        match print::print(&self.source, value, self.paper, &mut text) {
            Ok(printed) => Ok((text, printed)),
            Err(NoPrint::OtherType) => Err(Refusal::OtherType),
            Err(NoPrint::TooFine) => Err(Refusal::TooFine),
        }
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::{Charset, Date, TextForm, Time};

    use super::*;

    fn written(codec: &Codec, value: Value<'_>) -> Result<Vec<u8>, Refusal> {
        // What stands there already must stay.
        let mut out = b"before".to_vec();
        codec.write(Field::Value(value), &mut out).map(|()| out.strip_prefix(b"before").unwrap().to_vec())
    }

    fn by(source: &ColumnType, target: TargetType, policy: Policy) -> Result<Codec, String> {
        Codec::by_policy(source, target, true, (&policy, false))
    }

    fn sentinel(text: &str) -> Policy {
        Policy::Sentinel(text.into())
    }

    #[test]
    fn only_what_can_not_be_held_is_replaced() {
        let null = by(&ColumnType::Date, TargetType::Date, Policy::Null).unwrap();
        let day = by(&ColumnType::Date, TargetType::Date, sentinel("1970-01-01")).unwrap();
        let (zero, good) = (Value::Date(Date::default()), Value::Date(Date { year: 2024, month: 2, day: 29 }));
        let epoch = Value::Date(Date { year: 1970, month: 1, day: 1 });
        assert_eq!(written(&null, zero).unwrap(), (-1_i32).to_be_bytes());
        assert_eq!(written(&day, zero), written(&null, epoch));
        assert_eq!(written(&day, good), written(&Codec::new(&ColumnType::Date, TargetType::Date, true), good));
        let mut scratch = Vec::new();
        for (value, expect) in [(zero, true), (good, false)] {
            assert_eq!(day.uses_policy(Field::Value(value), &mut scratch), expect);
        }
        assert!(!day.uses_policy(Field::Null, &mut scratch));
        // Never a matter of policies.
        assert_eq!(written(&null, Value::Integer(1)), Err(Refusal::OtherType));
        let mut out = Vec::new();
        assert_eq!(null.write(Field::Unchanged, &mut out), Err(Refusal::Unchanged));
        let required = Codec::by_policy(&ColumnType::Date, TargetType::Date, false, (&sentinel("1970-01-01"), false));
        assert_eq!(required.unwrap().write(Field::Null, &mut out), Err(Refusal::Null));
    }

    #[test]
    fn what_was_begun_is_taken_back() {
        let set = ColumnType::Set { members: ["ok".into(), "a\0".into(), String::new().into()].into() };
        let codec = by(&set, TargetType::Text, sentinel("none")).unwrap();
        for bits in [3, 4] {
            assert_eq!(written(&codec, Value::Set(bits)).unwrap(), b"\0\0\0\x04none", "{bits}");
        }
        assert_eq!(written(&codec, Value::Set(8)), Err(Refusal::NoMember));
        assert_eq!(written(&codec, Value::Set(1)).unwrap(), b"\0\0\0\x02ok");
    }

    #[test]
    fn a_sentinel_must_be_held_itself() {
        let integer = ColumnType::Integer { bits: 64, unsigned: true };
        let error = |source: &ColumnType, target, text| by(source, target, sentinel(text)).unwrap_err();
        assert!(by(&integer, TargetType::SmallInt, sentinel("-1")).is_err(), "none of the source's values");
        assert!(error(&integer, TargetType::SmallInt, "32768").contains("out of the target column's range"));
        assert!(error(&ColumnType::Date, TargetType::Date, "0000-00-00").contains("a day like 1970-01-01"));
        let time = ColumnType::Time { fraction: 0 };
        assert!(error(&time, TargetType::Time { fraction: 0 }, "-00:00:01").contains("below zero"));
        let note = ColumnType::Text { form: TextForm::Large, bytes_max: 100, charset: Charset::Utf8mb4 };
        assert!(error(&note, TargetType::Varchar { characters_max: Some(1) }, "ab").contains("longer"));
        assert!(error(&note, TargetType::Text, "\0").contains("NUL"));
        assert!(error(&ColumnType::Json, TargetType::Jsonb, "\"\\u0000\"").contains("NUL"));
    }

    #[test]
    fn a_text_column_holds_all() {
        let text = |source: &ColumnType, value| {
            let codec = by(source, TargetType::Text, Policy::Text).unwrap();
            let bytes = written(&codec, value).unwrap();
            String::from_utf8(bytes[4..].to_vec()).unwrap()
        };
        assert_eq!(text(&ColumnType::Date, Value::Date(Date::default())), "0000-00-00");
        let below = Value::Time(Time { micros: -3_020_399_000_000 });
        assert_eq!(text(&ColumnType::Time { fraction: 0 }, below), "-838:59:59");
        let note = ColumnType::Text { form: TextForm::Large, bytes_max: 100, charset: Charset::Utf8mb4 };
        for (value, expect) in [
            (Value::Text("plain"), "plain"),
            (Value::Text("\\plain"), "\\plain"),
            (Value::Text("\\x41"), "\\u5c783431"),
            (Value::Text("a\0"), "\\u6100"),
            (Value::InvalidText(b"\xff"), "\\xff"),
        ] {
            assert_eq!(text(&note, value), expect);
        }
        let codec = by(&note, TargetType::Text, Policy::Text).unwrap();
        assert_eq!(written(&codec, Value::Integer(1)), Err(Refusal::OtherType));
    }
}
