//! What to do about text that is not YAML: the parser says what it met, this says what to write.

use serde_saphyr::granit_parser::ErrorKind;

/// What probably mends an error of this kind in `line`.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser knows some eighty errors; all but the frequent ones get the general hint"
)]
pub(super) fn hint(kind: &ErrorKind, line: &str) -> &'static str {
    // `{ command: ./service ${PORT} }`: the brace of the variable ends the map.
    if line.contains("${") && line.contains('{') {
        return "inside `{ }` or `[ ]` put text with `${...}` into quotes, e.g. \"./service ${PORT}\"";
    }
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => "YAML is indented with spaces; replace the tab",
        ErrorKind::UnclosedQuotedScalar => "the text that began with a quote has no closing quote",
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::ExpectedFlowMappingSeparator => {
            "close the `[` or `{`, or add the comma that is missing"
        }
        ErrorKind::InvalidColonPlacement | ErrorKind::MappingValueNotAllowed => {
            "close what is open above (`[`, `{` or a quote), or put text with a colon into quotes"
        }
        ErrorKind::UnknownAnchor => {
            "put text that begins with `*` into quotes, e.g. \"*.yaml\"; an alias needs its `&name` above it"
        }
        ErrorKind::UnexpectedCharacter { character: '@' | '`' | '%' }
        | ErrorKind::ExpectedNodeContent => {
            "put text that begins with a special character into quotes, e.g. \"*.yaml\""
        }
        ErrorKind::InvalidSimpleKey | ErrorKind::SimpleKeyExpected => {
            "write `key: value`, with a space after the colon, and check the indentation of this line and the one above"
        }
        ErrorKind::RecursionLimitExceeded => {
            "nothing that Serin reads nests so deep; look for a stray bracket"
        }
        _ => "check the indentation, colons and quotes of this line and the one above",
    }
}
