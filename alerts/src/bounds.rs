//! Keeping a Slack message within what Slack takes.
//!
//! Slack refuses a whole message for one text that is too long (`invalid_blocks`), and a lost alert
//! is worse than a short one. The limits are those of the Block Kit reference
//! (<https://docs.slack.dev/reference/block-kit/blocks>) as of 2026.

use serde_json::Value;

/// Most blocks of a message.
const BLOCKS: usize = 50;
/// Most characters of a section's or context's text, and of the fallback text.
const TEXT: usize = 3000;
/// Most characters of one field of a section.
const FIELD: usize = 2000;
/// Most fields of a section, and most elements of a context.
const FIELDS: usize = 10;
/// Most characters of a header.
const HEADER: usize = 150;

/// Cuts a message in place and switches off mentions that plain words would make.
///
/// # Errors
/// In a few words, when it is no Slack message at all.
pub(crate) fn slack(message: &mut Value) -> Result<(), &'static str> {
    let Some(message) = message.as_object_mut() else {
        return Err("must be a JSON object with `text` and `blocks`");
    };
    match message.get_mut("text") {
        Some(Value::String(text)) if !text.trim().is_empty() => cut(text, TEXT),
        Some(_) | None => return Err("needs a `text`: it is what a notification shows"),
    }
    match message.get_mut("blocks") {
        None => Ok(()),
        Some(Value::Array(blocks)) => {
            blocks.truncate(BLOCKS);
            blocks.iter_mut().for_each(block);
            Ok(())
        }
        Some(_) => Err("has `blocks` that are no list"),
    }
}

fn block(block: &mut Value) {
    let header = block["type"] == "header";
    if let Some(found) = block.get_mut("text") {
        text(found, if header { HEADER } else { TEXT });
    }
    for (list, most) in [("fields", FIELD), ("elements", TEXT)] {
        if let Some(Value::Array(items)) = block.get_mut(list) {
            items.truncate(FIELDS);
            for item in items {
                text(item, most);
            }
        }
    }
}

fn text(object: &mut Value, most: usize) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    if object.get("type").is_some_and(|kind| kind == "mrkdwn") {
        object.insert("verbatim".to_owned(), Value::Bool(true));
    }
    if let Some(Value::String(text)) = object.get_mut("text") {
        cut(text, most);
    }
}

/// Cuts a mrkdwn text without leaving half an entity, half a link or an open code block.
fn cut(text: &mut String, most: usize) {
    const FENCE: &str = "```";
    if text.chars().count() <= most {
        return;
    }
    let keep = most - FENCE.len() - 1;
    let end = text.char_indices().nth(keep).map_or(text.len(), |(index, _)| index);
    text.truncate(end);
    if let Some(open) = text.rfind('<').filter(|&open| !text[open..].contains('>')) {
        text.truncate(open);
    }
    if let Some(open) = text.rfind('&').filter(|&open| !text[open..].contains(';')) {
        text.truncate(open);
    }
    text.push('\u{2026}');
    if text.matches(FENCE).count() % 2 == 1 {
        text.push_str(FENCE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(text: &str, most: usize) -> String {
        let mut text = text.to_owned();
        cut(&mut text, most);
        text
    }

    #[test]
    fn a_cut_leaves_nothing_half() {
        assert_eq!(after("short", 10), "short");
        assert_eq!(after("abcdefghijk", 10), "abcdef\u{2026}");
        assert_eq!(after("abc&amp;defghijk", 10), "abc\u{2026}");
        assert_eq!(after("abc<https://x|y>", 10), "abc\u{2026}");
        assert_eq!(after("a```bcdefghijk", 10), "a```bc\u{2026}```");
    }

    #[test]
    fn a_message_of_any_size_fits() {
        let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": "x".repeat(9000)},
            "fields": vec![json!({"type": "mrkdwn", "text": "y".repeat(9000)}); 30]});
        let header =
            json!({"type": "header", "text": {"type": "plain_text", "text": "z".repeat(999)}});
        let mut blocks = vec![section; 80];
        blocks[0] = header;
        let mut message = json!({"text": "t".repeat(9000), "blocks": blocks});
        slack(&mut message).unwrap();
        let count = |value: &Value| value.as_str().unwrap().chars().count();
        assert!(count(&message["text"]) <= TEXT);
        assert_eq!(message["blocks"].as_array().unwrap().len(), BLOCKS);
        assert!(count(&message["blocks"][0]["text"]["text"]) <= HEADER);
        assert!(count(&message["blocks"][1]["text"]["text"]) <= TEXT);
        assert_eq!(message["blocks"][1]["text"]["verbatim"], true);
        assert_eq!(message["blocks"][1]["fields"].as_array().unwrap().len(), FIELDS);
        assert!(count(&message["blocks"][1]["fields"][0]["text"]) <= FIELD);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for refused in
            [json!([]), json!({}), json!({"text": " "}), json!({"text": "a", "blocks": 1})]
        {
            let mut message = refused.clone();
            assert!(slack(&mut message).is_err(), "{refused}");
        }
    }
}
