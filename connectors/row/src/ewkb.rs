//! Geometries as other databases take them: EWKB, which is well-known binary with the number of the reference system in it.

use std::borrow::Cow;

/// The bit of the geometry's type that says that the number follows.
const HAS_SRID: u32 = 0x2000_0000;

/// Appends the geometry; plain well-known binary if there is no reference system. Two different geometries never become one.
/// None: what claims to be one lacks its beginning.
#[must_use]
pub fn write_ewkb(srid: u32, wkb: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if srid == 0 {
        out.extend_from_slice(wkb);
        return Some(());
    }
    let (order, rest) = wkb.split_first()?;
    let (kind, rest) = rest.split_first_chunk()?;
    out.push(*order);
    if *order == 0 {
        out.extend_from_slice(&(u32::from_be_bytes(*kind) | HAS_SRID).to_be_bytes());
        out.extend_from_slice(&srid.to_be_bytes());
    } else {
        out.extend_from_slice(&(u32::from_le_bytes(*kind) | HAS_SRID).to_le_bytes());
        out.extend_from_slice(&srid.to_le_bytes());
    }
    out.extend_from_slice(rest);
    Some(())
}

/// Reference system and well-known binary of what [`write_ewkb`] wrote. None: it was not.
#[must_use]
pub fn read_ewkb(ewkb: &[u8]) -> Option<(u32, Cow<'_, [u8]>)> {
    let Some((order, rest)) = ewkb.split_first() else { return Some((0, Cow::Borrowed(ewkb))) };
    let (kind, rest) = rest.split_first_chunk()?;
    let is_big_endian = *order == 0;
    let number = |bytes: [u8; 4]| if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    if number(*kind) & HAS_SRID == 0 {
        return Some((0, Cow::Borrowed(ewkb)));
    }
    let (srid, rest) = rest.split_first_chunk()?;
    let kind = number(*kind) & !HAS_SRID;
    let kind = if is_big_endian { kind.to_be_bytes() } else { kind.to_le_bytes() };
    Some((number(*srid), Cow::Owned([&[*order], &kind[..], rest].concat())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_system_stands_behind_the_type() {
        let check = |srid, wkb: &[u8], expect: Option<&[u8]>| {
            let mut out = Vec::new();
            let written = write_ewkb(srid, wkb, &mut out);
            assert_eq!(written.map(|()| out.as_slice()), expect);
            if written.is_some() {
                assert_eq!(read_ewkb(&out), Some((srid, Cow::Borrowed(wkb))));
            }
        };
        check(0, &[1, 1, 0, 0, 0, 9], Some(&[1, 1, 0, 0, 0, 9]));
        check(4326, &[1, 1, 0, 0, 0, 9], Some(&[1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0, 9]));
        check(4326, &[0, 0, 0, 0, 7, 9], Some(&[0, 0x20, 0, 0, 7, 0, 0, 0x10, 0xe6, 9]));
        check(0, &[], Some(&[]));
        check(4326, &[1, 1], None);
        for bad in [&[1][..], &[1, 1, 0, 0], &[1, 1, 0, 0, 0x20, 0xe6, 0x10, 0]] {
            assert_eq!(read_ewkb(bad), None);
        }
    }
}
