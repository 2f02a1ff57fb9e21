//! A key as a document: so a ledger names the keys between which rows lie.
//!
//! A list with one entry for each key column, tagged with the kind of its value: `[{"integer":-5},{"text":"a"}]`. Bytes are written
//! as hexadecimal digits, floating-point numbers as the bits that they have: what is read is what was written, exactly.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::{
    image::{Field, ImageWriter},
    key::Key,
    value::{Date, DateTime, Decimal, Time, Timestamp, Value},
};

/// The value of a key column.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyPart {
    Integer(i64),
    Unsigned(u64),
    Float(u32),
    Double(u64),
    Decimal {
        unscaled: Hex,
        scale: u8,
    },
    Bit(u64),
    Text(Box<str>),
    InvalidText(Hex),
    Bytes(Hex),
    Enum(u16),
    Set(u64),
    Date([u16; 3]),
    /// Microseconds.
    Time(i64),
    /// Year, month, day, hour, minute, second, microseconds.
    DateTime([u32; 7]),
    /// Microseconds since 1970; none for the zero date.
    Timestamp(Option<i64>),
    Year(u16),
    Uuid(Hex),
    Inet4(Hex),
    Inet6(Hex),
}

/// Bytes as hexadecimal digits.
struct Hex(Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", HexDigits(&self.0)))
    }
}

struct HexDigits<'a>(&'a [u8]);

impl std::fmt::Display for HexDigits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("bytes are pairs of hexadecimal digits"))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts: Option<Vec<KeyPart>> = self.image().fields().map(KeyPart::of).collect();
        parts.ok_or_else(|| S::Error::custom("the key has a value that no key can have"))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Vec::<KeyPart>::deserialize(deserializer)?;
        Self::write(parts.len(), |image| parts.iter().try_for_each(|part| part.write(image)))
            .map_err(|what: &str| D::Error::custom(what))
    }
}

impl KeyPart {
    /// None for a field that no key can have.
    fn of(field: Field<'_>) -> Option<Self> {
        let Field::Value(value) = field else { return None };
        Some(match value {
            Value::Integer(number) => Self::Integer(number),
            Value::Unsigned(number) => Self::Unsigned(number),
            Value::Float(number) => Self::Float(number.to_bits()),
            Value::Double(number) => Self::Double(number.to_bits()),
            Value::Decimal(Decimal { unscaled, scale }) => Self::Decimal { unscaled: Hex(unscaled.to_vec()), scale },
            Value::Bit(bits) => Self::Bit(bits),
            Value::Text(text) => Self::Text(text.into()),
            Value::InvalidText(bytes) => Self::InvalidText(Hex(bytes.to_vec())),
            Value::Bytes(bytes) => Self::Bytes(Hex(bytes.to_vec())),
            Value::Enum(index) => Self::Enum(index),
            Value::Set(members) => Self::Set(members),
            Value::Date(Date { year, month, day }) => Self::Date([year, month.into(), day.into()]),
            Value::Time(Time { micros }) => Self::Time(micros),
            Value::DateTime(DateTime { date, hour, minute, second, micros }) => Self::DateTime([
                date.year.into(),
                date.month.into(),
                date.day.into(),
                hour.into(),
                minute.into(),
                second.into(),
                micros,
            ]),
            Value::Timestamp(Timestamp::Zero) => Self::Timestamp(None),
            Value::Timestamp(Timestamp::Micros(micros)) => Self::Timestamp(Some(micros)),
            Value::Year(year) => Self::Year(year),
            Value::Uuid(bytes) => Self::Uuid(Hex(bytes.to_vec())),
            Value::Inet4(bytes) => Self::Inet4(Hex(bytes.to_vec())),
            Value::Inet6(bytes) => Self::Inet6(Hex(bytes.to_vec())),
            Value::Json(_) | Value::Geometry { .. } | Value::Vector(_) => return None,
        })
    }

    fn write(&self, image: &mut ImageWriter<'_>) -> Result<(), &'static str> {
        const RANGE: &str = "a part of a key is out of its range";
        const LENGTH: &str = "an address or UUID of another length";
        let small = |number: u32| u8::try_from(number).map_err(|_| RANGE);
        let short = |number: u16| u8::try_from(number).map_err(|_| RANGE);
        image.value(match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Unsigned(number) => Value::Unsigned(*number),
            Self::Float(bits) => Value::Float(f32::from_bits(*bits)),
            Self::Double(bits) => Value::Double(f64::from_bits(*bits)),
            Self::Decimal { unscaled, .. } if unscaled.0.is_empty() => return Err("a number without digits"),
            Self::Decimal { unscaled, scale } => Value::Decimal(Decimal { unscaled: &unscaled.0, scale: *scale }),
            Self::Bit(bits) => Value::Bit(*bits),
            Self::Text(text) => Value::Text(text),
            Self::InvalidText(bytes) => Value::InvalidText(&bytes.0),
            Self::Bytes(bytes) => Value::Bytes(&bytes.0),
            Self::Enum(index) => Value::Enum(*index),
            Self::Set(members) => Value::Set(*members),
            Self::Date([year, month, day]) => {
                Value::Date(Date { year: *year, month: short(*month)?, day: short(*day)? })
            }
            Self::Time(micros) => Value::Time(Time { micros: *micros }),
            Self::DateTime([year, month, day, hour, minute, second, micros]) => Value::DateTime(DateTime {
                date: Date { year: u16::try_from(*year).map_err(|_| RANGE)?, month: small(*month)?, day: small(*day)? },
                hour: small(*hour)?,
                minute: small(*minute)?,
                second: small(*second)?,
                micros: *micros,
            }),
            Self::Timestamp(None) => Value::Timestamp(Timestamp::Zero),
            Self::Timestamp(Some(micros)) => Value::Timestamp(Timestamp::Micros(*micros)),
            Self::Year(year) => Value::Year(*year),
            Self::Uuid(bytes) => Value::Uuid(bytes.0[..].try_into().map_err(|_| LENGTH)?),
            Self::Inet4(bytes) => Value::Inet4(bytes.0[..].try_into().map_err(|_| LENGTH)?),
            Self::Inet6(bytes) => Value::Inet6(bytes.0[..].try_into().map_err(|_| LENGTH)?),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_return() {
        let clock =
            DateTime { date: Date { year: 2024, month: 0, day: 31 }, hour: 23, minute: 1, second: 2, micros: 999_999 };
        let values = [
            Value::Integer(i64::MIN),
            Value::Unsigned(u64::MAX),
            Value::Float(-0.0),
            Value::Double(f64::MIN_POSITIVE),
            Value::Decimal(Decimal { unscaled: &[0x80, 1], scale: 30 }),
            Value::Bit(1 << 63),
            Value::Text("é \"😀\"\0"),
            Value::InvalidText(&[0xff, 0]),
            Value::Bytes(&[0, 255]),
            Value::Enum(65_535),
            Value::Set(u64::MAX),
            Value::Date(Date { year: 9999, month: 12, day: 31 }),
            Value::Time(Time { micros: -3_020_399_999_999 }),
            Value::DateTime(clock),
            Value::Timestamp(Timestamp::Zero),
            Value::Timestamp(Timestamp::Micros(-1)),
            Value::Year(2155),
            Value::Uuid([7; 16]),
            Value::Inet4([127, 0, 0, 1]),
            Value::Inet6([255; 16]),
        ];
        let key = Key::write::<()>(values.len(), |image| {
            values.iter().for_each(|value| image.value(*value));
            Ok(())
        });
        let key = key.unwrap();
        let text = serde_json::to_string(&key).unwrap();
        assert!(serde_json::from_str::<Key>(&text).unwrap() == key, "{text}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let null = Key::write::<()>(1, |image| {
            image.null();
            Ok(())
        });
        assert!(serde_json::to_string(&null.unwrap()).is_err());
        for bad in [
            r#"[{"else":1}]"#,
            r#"[{"bytes":"0"}]"#,
            r#"[{"bytes":"0x"}]"#,
            r#"[{"uuid":"00"}]"#,
            r#"[{"date":[1,2,256]}]"#,
            r#"[{"decimal":{"unscaled":"","scale":0}}]"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<Key>(bad).is_err(), "{bad}");
        }
    }
}
