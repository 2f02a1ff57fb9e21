//! The key of a row as canonical bytes: two rows have one key exactly if these bytes are equal.
//!
//! Equality is that of the source's exact bytes, not that of its collation: `'a'` and `'A'` are two keys. A target that sees
//! more keys than the source never loses a row by it, one that sees fewer would.

use crate::{
    image::{ImageWriter, RowImage},
    schema::TableSchema,
};

/// Appends the canonical bytes of the image's key: each key field behind its length.
pub fn write_key(schema: &TableSchema, image: RowImage<'_>, out: &mut Vec<u8>) {
    for index in schema.key() {
        let field = image.field_bytes(*index);
        let length = u32::try_from(field.len()).expect("invariant: a field is under 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(field);
    }
}

/// The key of one row, on its own: the exact values of its key columns, in key order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: Box<[u8]>,
    columns: usize,
}

impl Key {
    /// The key of a row of this schema.
    #[must_use]
    pub fn of(schema: &TableSchema, image: RowImage<'_>) -> Self {
        let copied: Result<Self, std::convert::Infallible> = Self::write(schema.key().len(), |writer| {
            schema.key().iter().for_each(|index| writer.copy(image.field_bytes(*index)));
            Ok(())
        });
        let Ok(key) = copied;
        key
    }

    /// The key whose fields `write` writes, in key order.
    pub fn write<E>(columns: usize, write: impl FnOnce(&mut ImageWriter<'_>) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Vec::new();
        let mut writer = ImageWriter::begin(&mut bytes, columns);
        write(&mut writer)?;
        writer.end();
        Ok(Self { bytes: bytes.into(), columns })
    }

    /// The key columns' fields, in key order.
    #[must_use]
    pub fn image(&self) -> RowImage<'_> {
        RowImage::new(&self.bytes, self.columns, false)
    }
}

/// Shows no value.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} columns, {} bytes)", self.columns, self.bytes.len())
    }
}

/// Whether an update moved the row to another key.
#[must_use]
pub fn has_changed_key(schema: &TableSchema, before: RowImage<'_>, after: RowImage<'_>) -> bool {
    schema.key().iter().any(|index| before.field_bytes(*index) != after.field_bytes(*index))
}
