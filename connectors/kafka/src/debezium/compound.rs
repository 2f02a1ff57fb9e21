//! Fields of several JSON values: geometries are structs, vectors arrays.
//!
//! A point's coordinates are written beside its well-known binary for whoever reads only them; the binary is what counts.
//! What Debezium's form can't hold (an SRID beyond 2^31, numbers that are none) is noted as a truth: all bytes of the value.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tailrace_row::{ImageWriter, Value};

use super::{
    base64_text::{read_base64, write_base64},
    form::ColumnForm,
    java_float::{write_f32, write_f64},
    truth::{Side, TruthWriter, not_finite_text},
};

/// Appends a geometry; `is_point` says whether its form has coordinates of their own.
pub(super) fn write_geometry(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    is_point: bool,
    (srid, wkb): (u32, &[u8]),
    truths: &mut TruthWriter,
    side: Side,
) {
    out.push(b'{');
    if is_point {
        let (x, y) = coordinates(wkb);
        for (name, number) in [("\"x\":", x), ("\"y\":", y)] {
            out.extend_from_slice(name.as_bytes());
            write_number(out, number.is_finite(), number, |out| write_f64(out, number));
            out.push(b',');
        }
    }
    out.extend_from_slice(b"\"wkb\":");
    write_base64(out, wkb);
    out.extend_from_slice(b",\"srid\":");
    if i32::try_from(srid).is_ok() {
        out.extend_from_slice(itoa::Buffer::new().format(srid).as_bytes());
    } else {
        truths.note_bytes(side, &column.opening, &[&srid.to_le_bytes(), wkb].concat());
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
}

/// Appends a vector.
pub(super) fn write_vector(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    numbers: &[u8],
    truths: &mut TruthWriter,
    side: Side,
) {
    let mut separator = b'[';
    let mut is_exact = true;
    for number in floats(numbers) {
        out.push(separator);
        separator = b',';
        is_exact &= number.is_finite();
        write_number(out, number.is_finite(), f64::from(number), |out| write_f32(out, number));
    }
    if separator == b'[' {
        out.push(b'[');
    }
    out.push(b']');
    if !is_exact {
        truths.note_bytes(side, &column.opening, numbers);
    }
}

/// Finite numbers by `write`, the others by their name.
fn write_number(out: &mut Vec<u8>, is_finite: bool, number: f64, write: impl FnOnce(&mut Vec<u8>)) {
    if is_finite {
        write(out);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(not_finite_text(number).as_bytes());
    out.push(b'"');
}

/// Coordinates of a point; those of the empty point where there is none.
fn coordinates(wkb: &[u8]) -> (f64, f64) {
    let read = || {
        let ([order], rest) = wkb.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (x, rest) = rest.split_first_chunk()?;
        let (y, _) = rest.split_first_chunk()?;
        Some(match order {
            0 => (f64::from_be_bytes(*x), f64::from_be_bytes(*y)),
            _ => (f64::from_le_bytes(*x), f64::from_le_bytes(*y)),
        })
    };
    read().unwrap_or((f64::NAN, f64::NAN))
}

fn floats(numbers: &[u8]) -> impl Iterator<Item = f32> {
    let (numbers, rest) = numbers.as_chunks();
    debug_assert!(rest.is_empty(), "a vector is made of whole numbers");
    numbers.iter().map(|number| f32::from_le_bytes(*number))
}

/// A geometry as it is read; Debezium shows the SRID 0 as null.
#[derive(Deserialize)]
pub(super) struct RawGeometry<'a> {
    #[serde(borrow)]
    wkb: Cow<'a, str>,
    srid: Option<u32>,
}

/// A vector as it is read: numbers by their text, because a general JSON reader may miss the last bit.
pub(super) type RawVector<'a> = Vec<&'a RawValue>;

pub(super) fn read_geometry(
    raw: &RawGeometry<'_>,
    bytes: &mut Vec<u8>,
    writer: &mut ImageWriter<'_>,
) -> Result<(), &'static str> {
    read_base64(&raw.wkb, bytes).ok_or("is no base64")?;
    writer.value(Value::Geometry { srid: raw.srid.unwrap_or(0), wkb: bytes });
    Ok(())
}

pub(super) fn read_vector(
    raw: &RawVector<'_>,
    dimension: u32,
    bytes: &mut Vec<u8>,
    writer: &mut ImageWriter<'_>,
) -> Result<(), &'static str> {
    if raw.len() > dimension as usize {
        return Err("has more numbers than its type");
    }
    bytes.clear();
    for number in raw {
        let number: Option<f32> = number.get().parse().ok().filter(|number: &f32| number.is_finite());
        bytes.extend_from_slice(&number.ok_or("has what is no number of its type")?.to_le_bytes());
    }
    writer.value(Value::Vector(bytes));
    Ok(())
}

/// The value out of all its bytes, as a truth has them.
pub(super) fn geometry_of_truth(bytes: &[u8]) -> Option<Value<'_>> {
    let (srid, wkb) = bytes.split_first_chunk()?;
    Some(Value::Geometry { srid: u32::from_le_bytes(*srid), wkb })
}

/// The same of a vector.
pub(super) fn vector_of_truth(bytes: &[u8], dimension: u32) -> Option<Value<'_>> {
    let is_possible = bytes.len().is_multiple_of(4) && bytes.len() / 4 <= dimension as usize;
    is_possible.then_some(Value::Vector(bytes))
}
