//! In which of Debezium's forms a column's values lie: by the connector's settings, or by the record's schema part.

use tailrace_contract::{DebeziumBytes, DebeziumDecimals, DebeziumSettings, DebeziumTimes};

use super::SchemaPart;
use crate::debezium::form::ValueForm;

/// One of the forms that Debezium has for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::debezium) enum Wire {
    /// The only one.
    Plain,
    /// Connect's Decimal.
    Decimal,
    /// The same as a JSON number.
    DecimalNumber,
    /// The same as text.
    DecimalText,
    /// BIGINT UNSIGNED that wraps around at 2^63, or INT UNSIGNED that may at 2^31.
    Long,
    Base64,
    Base64UrlSafe,
    Hex,
    Millis,
    Micros,
    Nanos,
    Iso,
}

impl Wire {
    pub(super) fn by_settings(form: &ValueForm, settings: &DebeziumSettings) -> Self {
        match form {
            ValueForm::Decimal { .. } => match settings.decimals {
                DebeziumDecimals::Precise => Self::decimal(settings),
                DebeziumDecimals::Text => Self::DecimalText,
            },
            ValueForm::BigUnsigned if settings.has_precise_unsigned => Self::decimal(settings),
            ValueForm::BigUnsigned | ValueForm::Unsigned { bits: 32 } => Self::Long,
            ValueForm::Bytes => Self::bytes(settings),
            ValueForm::Date => match settings.times {
                DebeziumTimes::IsoString => Self::Iso,
                DebeziumTimes::AdaptiveTimeMicroseconds | DebeziumTimes::Microseconds | DebeziumTimes::Nanoseconds => {
                    Self::Plain
                }
            },
            ValueForm::Time | ValueForm::ClockMillis | ValueForm::ClockMicros => match settings.times {
                DebeziumTimes::AdaptiveTimeMicroseconds if matches!(form, ValueForm::ClockMillis) => Self::Millis,
                DebeziumTimes::AdaptiveTimeMicroseconds | DebeziumTimes::Microseconds => Self::Micros,
                DebeziumTimes::Nanoseconds => Self::Nanos,
                DebeziumTimes::IsoString => Self::Iso,
            },
            ValueForm::Signed { .. }
            | ValueForm::Unsigned { .. }
            | ValueForm::Float
            | ValueForm::Double
            | ValueForm::Boolean
            | ValueForm::Bits { .. }
            | ValueForm::Text { .. }
            | ValueForm::Enum(_)
            | ValueForm::Set(_)
            | ValueForm::Zoned { .. }
            | ValueForm::Year
            | ValueForm::Json
            | ValueForm::Geometry
            | ValueForm::Point
            | ValueForm::Vector { .. }
            | ValueForm::Uuid
            | ValueForm::Inet4
            | ValueForm::Inet6 => Self::Plain,
        }
    }

    /// What the record's schema says of the column. An error: its values are not those of the source, or in no form that is
    /// known.
    pub(super) fn by_schema(
        form: &ValueForm,
        field: &SchemaPart,
        settings: &DebeziumSettings,
    ) -> Result<Self, &'static str> {
        let primitive = field.r#type.as_str();
        let name = field.name.as_deref().unwrap_or_default();
        // Named types are integers or texts with another meaning: what was such a type before an ALTER TABLE is no number now.
        let is_plain = |wanted: &str| primitive == wanted && name.is_empty();
        let is_decimal = primitive == "bytes" && name == "org.apache.kafka.connect.data.Decimal";
        let short = name.strip_prefix("io.debezium.time.").unwrap_or_default();
        match form {
            ValueForm::Decimal { scale } if is_decimal => {
                let is_same = field.parameters.get("scale").is_some_and(|written| *written == scale.to_string());
                if is_same { Ok(Self::decimal(settings)) } else { Err("was written with another scale") }
            }
            ValueForm::Decimal { .. } if is_plain("string") => Ok(Self::DecimalText),
            ValueForm::Decimal { .. } if is_plain("double") => {
                Err("is a DECIMAL that Debezium wrote as a float, which loses digits")
            }
            ValueForm::BigUnsigned if is_decimal => Ok(Self::decimal(settings)),
            ValueForm::BigUnsigned if is_plain("int64") => Ok(Self::Long),
            ValueForm::Bytes if is_plain("bytes") => Ok(Self::Base64),
            ValueForm::Bytes if is_plain("string") && settings.bytes != DebeziumBytes::Bytes => {
                Ok(Self::bytes(settings))
            }
            ValueForm::Bytes if is_plain("string") => {
                Err("holds bytes that Debezium wrote as text: see binary_handling_mode, or its charset is binary")
            }
            ValueForm::Double if is_plain("float") => {
                Err("is a DOUBLE that Debezium wrote as a float, which loses digits")
            }
            ValueForm::Date if ["Date", "IsoDate"].contains(&short) => {
                Ok(if short == "Date" { Self::Plain } else { Self::Iso })
            }
            ValueForm::Time if ["MicroTime", "NanoTime", "IsoTime"].contains(&short) => Self::time(short),
            ValueForm::ClockMillis if short == "Timestamp" => Ok(Self::Millis),
            ValueForm::ClockMillis | ValueForm::ClockMicros
                if ["MicroTimestamp", "NanoTimestamp", "IsoTimestamp"].contains(&short) =>
            {
                Self::time(short)
            }
            // A column that was declared INTEGER UNSIGNED is one of 32 bits in the stream of some versions, as INT is.
            ValueForm::Unsigned { bits: 32 } if is_plain("int64") || is_plain("int32") && settings.is_unaltered => {
                Ok(Self::Long)
            }
            form if has_its_type(form, primitive, name) => Ok(Self::Plain),
            _ => Err(UNKNOWN),
        }
    }

    fn time(name: &str) -> Result<Self, &'static str> {
        match name {
            "MicroTime" | "MicroTimestamp" => Ok(Self::Micros),
            "NanoTime" | "NanoTimestamp" => Ok(Self::Nanos),
            "IsoTime" | "IsoTimestamp" => Ok(Self::Iso),
            _ => Err(UNKNOWN),
        }
    }

    fn decimal(settings: &DebeziumSettings) -> Self {
        if settings.has_numeric_decimals { Self::DecimalNumber } else { Self::Decimal }
    }

    fn bytes(settings: &DebeziumSettings) -> Self {
        match settings.bytes {
            DebeziumBytes::Bytes | DebeziumBytes::Base64 => Self::Base64,
            DebeziumBytes::Base64UrlSafe => Self::Base64UrlSafe,
            DebeziumBytes::Hex => Self::Hex,
        }
    }
}

/// Whether a column that has one form in Debezium's records has it there: the primitive type and the name that tells its meaning.
fn has_its_type(form: &ValueForm, primitive: &str, name: &str) -> bool {
    let is_plain = |wanted: &[&str]| name.is_empty() && wanted.contains(&primitive);
    match form {
        ValueForm::Signed { bits: 8 } => is_plain(&["boolean", "int16", "int32", "int64"]),
        ValueForm::Signed { .. } | ValueForm::Unsigned { .. } => is_plain(&["int16", "int32", "int64"]),
        ValueForm::Float => is_plain(&["float", "double"]),
        ValueForm::Double => is_plain(&["double"]),
        ValueForm::Boolean => is_plain(&["boolean"]),
        // MariaDB's JSON is a text.
        ValueForm::Text { .. } => is_plain(&["string"]) || name == JSON,
        ValueForm::Inet4 | ValueForm::Inet6 => is_plain(&["string"]),
        ValueForm::Uuid => is_plain(&["string"]) || name == "io.debezium.data.Uuid",
        ValueForm::Bits { .. } => name == "io.debezium.data.Bits",
        ValueForm::Enum(_) => name == "io.debezium.data.Enum",
        ValueForm::Set(_) => name == "io.debezium.data.EnumSet",
        ValueForm::Json => name == JSON,
        ValueForm::Zoned { .. } => name == "io.debezium.time.ZonedTimestamp",
        ValueForm::Year => name == "io.debezium.time.Year",
        ValueForm::Geometry | ValueForm::Point => name.starts_with("io.debezium.data.geometry."),
        ValueForm::Vector { .. } => name.ends_with("Vector"),
        // These have several.
        ValueForm::BigUnsigned
        | ValueForm::Decimal { .. }
        | ValueForm::Bytes
        | ValueForm::Date
        | ValueForm::Time
        | ValueForm::ClockMillis
        | ValueForm::ClockMicros => false,
    }
}

const JSON: &str = "io.debezium.data.Json";

const UNKNOWN: &str = "has another type in the record's schema than in the source, or one that loses digits";
