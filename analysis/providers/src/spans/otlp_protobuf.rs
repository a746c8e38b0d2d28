//! OTLP in Protobuf: `ExportTraceServiceRequest`, which on the wire is the same as `TracesData`.
//!
//! Field numbers are those of opentelemetry-proto 1.10
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto>).
//! A broken outer message refuses the body, a broken span only itself: the frame around it is still sound.

use std::sync::Arc;

use analysis_traces::{Kind, Resource, Status};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::DecodeError;

use super::builder::{Builder, Draft, Found};
use super::ids::Ids;
use super::texts::Short;
use super::wire::{Field, Fields};
use super::{Format, Unreadable};

/// Hands everything in a body to the builder.
pub(super) fn walk(body: &[u8], builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    traces(body, builder).map_err(|error| unreadable(Format::OtlpProtobuf, body, &error))
}

/// The messages of a file of the collector's file exporter: each behind its length, four bytes, the highest first.
///
/// `None` when a body is none: a message by itself begins with 0x0a, which would be a length of 160 MiB.
pub(super) fn framed(body: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut messages, mut rest) = (Vec::new(), body);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (message, after) = after.split_at_checked(length)?;
        if message.first().is_some_and(|first| *first != 0x0a) {
            return None;
        }
        messages.push(message);
        rest = after;
    }
    (rest.is_empty() && !messages.is_empty()).then_some(messages)
}

/// Why a body is no such message, and what it is instead where that can be seen.
pub(super) fn unreadable(format: Format, body: &[u8], error: &DecodeError) -> Unreadable {
    let hint = match body.first() {
        Some(b'{' | b'[') => "it begins as JSON does, so send it as JSON".to_owned(),
        Some(0x1f) => "it begins as gzip does, so say so in its content encoding".to_owned(),
        Some(first) if first.is_ascii_graphic() => format!("it is {}", super::any::shown(body)),
        Some(_) | None => "it may have been cut short".to_owned(),
    };
    Unreadable::Protobuf { format, cause: format!("{error}; {hint}") }
}

/// The messages of one field.
fn messages(message: &[u8], tag: u32) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((at, Field::Bytes(bytes))) if at == tag => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// `TracesData`.
pub(super) fn traces(message: &[u8], builder: &mut Builder<'_>) -> Result<(), DecodeError> {
    messages(message, 1)
        .try_for_each(|resource_spans| self::resource_spans(resource_spans?, builder))
}

fn resource_spans(message: &[u8], builder: &mut Builder<'_>) -> Result<(), DecodeError> {
    builder.begin();
    for resource in messages(message, 1) {
        for pair in messages(resource?, 1) {
            attribute(pair?, builder);
        }
    }
    let resource = builder.resource();
    let mut has_scopes = false;
    for scope_spans in messages(message, 2) {
        has_scopes = true;
        scope(scope_spans?, &resource, builder)?;
    }
    if !has_scopes {
        // `instrumentation_library_spans`, as senders of 2022 wrote it, some of them twice.
        for library_spans in messages(message, 1_000) {
            scope(library_spans?, &resource, builder)?;
        }
    }
    Ok(())
}

fn scope(
    message: &[u8],
    resource: &Arc<Resource>,
    builder: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    for encoded in messages(message, 2) {
        let encoded = encoded?;
        if builder.next() && span(encoded, resource, builder).is_err() {
            builder.refused.malformed += 1;
        }
    }
    Ok(())
}

fn span(
    message: &[u8],
    resource: &Arc<Resource>,
    builder: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let (mut trace, mut id, mut parent, mut tracestate) = (&[][..], &[][..], &[][..], &[][..]);
    let mut draft = Draft::default();
    for field in Fields::of(message) {
        match field? {
            (1, Field::Bytes(bytes)) => trace = bytes,
            (2, Field::Bytes(bytes)) => id = bytes,
            (3, Field::Bytes(bytes)) => tracestate = bytes,
            (4, Field::Bytes(bytes)) => parent = bytes,
            (5, Field::Bytes(bytes)) => draft.name = bytes,
            (6, Field::Number(number)) => draft.kind = kind(number),
            (7, Field::Fixed(nanoseconds)) => draft.start = Some(nanoseconds),
            (8, Field::Fixed(nanoseconds)) => draft.end = Some(nanoseconds),
            (9, Field::Bytes(pair)) => attribute(pair, builder),
            (11, Field::Bytes(bytes)) => event(bytes, builder)?,
            (15, Field::Bytes(bytes)) => {
                for field in Fields::of(bytes) {
                    match field? {
                        (2, Field::Bytes(bytes)) => draft.message = bytes,
                        (3, Field::Number(number)) => draft.status = status(number),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    draft.ids = Ids::of_bytes(trace, id, parent);
    draft.start = draft.start.filter(|nanoseconds| *nanoseconds > 0);
    draft.end = draft.end.filter(|nanoseconds| *nanoseconds > 0);
    draft.tracestate = str::from_utf8(tracestate).unwrap_or_default();
    builder.finish(resource, &draft);
    Ok(())
}

/// `SpanKind`.
pub(super) const fn kind(number: u64) -> Kind {
    match number {
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => Kind::Internal,
    }
}

/// `StatusCode`.
pub(super) const fn status(number: u64) -> Status {
    match number {
        1 => Status::Ok,
        2 => Status::Error,
        _ => Status::Unset,
    }
}

/// Of all events only exceptions are looked at.
fn event(message: &[u8], builder: &mut Builder<'_>) -> Result<(), DecodeError> {
    if messages(message, 2).last().transpose()? != Some(b"exception") {
        return Ok(());
    }
    let (mut kind, mut text, mut stack) = (&[][..], &[][..], &[][..]);
    for pair in messages(message, 3) {
        let (name, value) = key_value(pair?)?;
        for field in Fields::of(value) {
            let (1, Field::Bytes(bytes)) = field? else { continue };
            let place = match name {
                b"exception.type" => &mut kind,
                b"exception.message" => &mut text,
                b"exception.stacktrace" => &mut stack,
                _ => continue,
            };
            // The first of a name counts.
            if place.is_empty() {
                *place = bytes;
            }
        }
    }
    builder.exception(kind, text, stack);
    Ok(())
}

fn attribute(pair: &[u8], builder: &mut Builder<'_>) {
    if builder.is_wide() || take(pair, builder).is_err() {
        builder.refused.attributes += 1;
    }
}

fn take(pair: &[u8], builder: &mut Builder<'_>) -> Result<(), DecodeError> {
    let (name, value) = key_value(pair)?;
    // Nothing at all is an empty text.
    let mut found = Found::Text(&[]);
    let mut written = None;
    for field in Fields::of(value) {
        let (tag, field) = field?;
        found = match (tag, field) {
            (1, Field::Bytes(text)) => Found::Text(text),
            (2, Field::Number(number)) => Found::Flag(number != 0),
            (3, Field::Number(number)) => Found::Integer(number.cast_signed()),
            (4, Field::Fixed(bits)) => Found::Number(f64::from_bits(bits)),
            (5..=7, Field::Bytes(bytes)) => {
                written = Some((tag, bytes));
                continue;
            }
            _ => continue,
        };
    }
    if let Some((7, bytes)) = written {
        // Cut to its own limit once its name is known.
        let text = base64(bytes, builder.limits.max_stack());
        builder.attribute(name, Found::Text(text.as_bytes()));
    } else if let Some((tag, bytes)) = written {
        let mut short = Short::new(builder.limits.max_text);
        composite(tag == 5, bytes, &mut short)?;
        builder.attribute(name, Found::Text(short.bytes()));
    } else {
        builder.attribute(name, found);
    }
    Ok(())
}

fn key_value(message: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in Fields::of(message) {
        match field? {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}

/// A list or a map as short text.
fn composite(is_list: bool, message: &[u8], short: &mut Short) -> Result<(), DecodeError> {
    let mut result = Ok(());
    let marks = if is_list { ['[', ']'] } else { ['{', '}'] };
    short.nested(marks, |short| {
        result = messages(message, 1).try_for_each(|element| {
            let mut value = element?;
            if !short.next() {
                return Ok(());
            }
            if !is_list {
                let name;
                (name, value) = key_value(value)?;
                short.quoted(name);
                short.plain(":");
            }
            any_value(value, short)
        });
    });
    result
}

/// As many bytes in Base64 as fill `most` bytes, and one more.
fn base64(bytes: &[u8], most: usize) -> String {
    let most = (most / 4 + 1).saturating_mul(3);
    STANDARD.encode(&bytes[..bytes.len().min(most)])
}

fn any_value(message: &[u8], short: &mut Short) -> Result<(), DecodeError> {
    let mut last = None;
    for field in Fields::of(message) {
        last = Some(field?);
    }
    match last {
        Some((1, Field::Bytes(text))) => short.quoted(text),
        Some((2, Field::Number(number))) => short.plain(if number == 0 { "false" } else { "true" }),
        Some((3, Field::Number(number))) => short.plain(&number.cast_signed().to_string()),
        Some((4, Field::Fixed(bits))) => short.plain(&f64::from_bits(bits).to_string()),
        Some((7, Field::Bytes(bytes))) => short.quoted(base64(bytes, short.room()).as_bytes()),
        Some((tag @ 5..=6, Field::Bytes(bytes))) => return composite(tag == 5, bytes, short),
        Some(_) | None => short.plain("null"),
    }
    Ok(())
}
