//! Ids of traces and spans as the formats write them. Zero is no id anywhere.

use analysis_traces::{SpanId, TraceId};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The ids of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
}

/// An id that may be left out: empty or zero is none; `None` is one that cannot be read.
type Optional = Option<Option<SpanId>>;

impl Ids {
    fn new(trace: Option<u128>, id: Option<u64>, parent: Optional) -> Option<Self> {
        let trace = TraceId(trace.filter(|number| *number != 0)?);
        let id = SpanId(id.filter(|number| *number != 0)?);
        Some(Self { trace, id, parent: parent?.filter(|parent| parent.0 != 0) })
    }

    /// From 16, 8 and 8 or no bytes.
    pub(super) fn of_bytes(trace: &[u8], id: &[u8], parent: &[u8]) -> Option<Self> {
        let short = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let trace = trace.try_into().ok().map(u128::from_be_bytes);
        let parent =
            if parent.is_empty() { Some(None) } else { short(parent).map(|id| Some(SpanId(id))) };
        Self::new(trace, short(id), parent)
    }

    /// From 32, 16 and 16 or no hexadecimal digits, or the same bytes in Base64.
    pub(super) fn of_text(trace: &str, id: &str, parent: &str) -> Option<Self> {
        let short = |text: &str| bytes::<8>(text).map(u64::from_be_bytes);
        let parent =
            if parent.is_empty() { Some(None) } else { short(parent).map(|id| Some(SpanId(id))) };
        Self::new(bytes::<16>(trace).map(u128::from_be_bytes), short(id), parent)
    }

    /// From hexadecimal digits whose leading zeros may be left out, as Jaeger and Zipkin do.
    pub(super) fn of_hex(trace: &str, id: &str, parent: &str) -> Option<Self> {
        let short = |text: &str| text.parse().ok().map(|SpanId(id)| id);
        let parent =
            if parent.is_empty() { Some(None) } else { short(parent).map(|id| Some(SpanId(id))) };
        Self::new(trace.parse().ok().map(|TraceId(id)| id), short(id), parent)
    }

    /// From numbers.
    pub(super) fn of_numbers(
        trace: Option<u128>,
        id: Option<u64>,
        parent: Optional,
    ) -> Option<Self> {
        Self::new(trace, id, parent)
    }
}

/// Exactly so many bytes, from hexadecimal digits or Base64.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut found = [0; N];
    if text.len() == 2 * N && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for (byte, digits) in found.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
            let digits = str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        return Some(found);
    }
    // 16 bytes are 22 characters and two of padding, 8 bytes are 11 and one.
    if text.len() > 24 {
        return None;
    }
    let standard = text.replace('-', "+").replace('_', "/");
    let decoded = BASE64.decode(standard).ok()?;
    found.copy_from_slice(<&[u8; N]>::try_from(&*decoded).ok()?);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_hexadecimal_digits_of_any_case_and_in_base64() {
        let of =
            |trace, id, parent| Ids::of_text(trace, id, parent).map(|ids| (ids.trace.0, ids.id.0));
        let hex = of("0AF7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "");
        assert_eq!(hex, Some((0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)));
        assert_eq!(hex, of("CvdlGRbNQ92ESOshHIAxnA==", "t61rcWkgMzE=", "AAAAAAAAAAE="));
        assert_eq!(hex, of("CvdlGRbNQ92ESOshHIAxnA", "t61rcWkgMzE", "0000000000000001"));
        let parent =
            Ids::of_text("CvdlGRbNQ92ESOshHIAxnA", "t61rcWkgMzE", "AAAAAAAAAAE=").unwrap().parent;
        assert_eq!(parent, Some(SpanId(1)));
        let url = of("-_dlGRbNQ92ESOshHIAxnA", "t61rcWkgMzE", "").unwrap();
        assert_eq!(url, of("+/dlGRbNQ92ESOshHIAxnA", "t61rcWkgMzE", "").unwrap());
    }

    #[test]
    fn zero_and_wrong_lengths_are_no_ids() {
        let (trace, id) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (trace, id, parent) in [
            ("", id, ""),
            (trace, "", ""),
            ("00000000000000000000000000000000", id, ""),
            (trace, "0000000000000000", ""),
            (&trace[..30], id, ""),
            (trace, &id[..14], ""),
            (trace, id, "b7ad"),
            (trace, id, "zzzzzzzzzzzzzzzz"),
            (id, trace, ""),
            ("+af7651916cd43dd8448eb211c80319c", id, ""),
        ] {
            assert_eq!(Ids::of_text(trace, id, parent), None, "{trace} {id} {parent}");
        }
        let root = Ids::of_text(trace, id, "0000000000000000").unwrap();
        assert_eq!(root.parent, None);
        assert_eq!(Ids::of_bytes(&[1; 16], &[1; 8], &[1; 7]), None);
        assert_eq!(Ids::of_bytes(&[1; 8], &[1; 8], &[]), None);
        assert_eq!(Ids::of_bytes(&[1; 16], &[1; 8], &[0; 8]).unwrap().parent, None);
        assert_eq!(Ids::of_hex("1f", "a", "b").unwrap().parent, Some(SpanId(11)));
        assert_eq!(Ids::of_hex("1f", "0", ""), None);
        assert_eq!(Ids::of_hex("+1", "1", ""), None);
    }
}
