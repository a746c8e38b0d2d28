//! The function around a line, by its indentation.
//!
//! Git's own way, the nearest line that begins at the margin, names the class of a method and not the method, unless
//! `.gitattributes` says which language a file is in, which a bare repository seldom does. Code of every usual language
//! is indented, and what opens a function has parameters.

/// Longest function that is kept, in characters.
pub(super) const WIDEST: usize = 200;

/// How far up is looked.
const FAR: usize = 2_000;

/// Words that open a block with brackets but are no function.
const BLOCKS: [&str; 24] = [
    "if",
    "else",
    "elif",
    "elsif",
    "for",
    "foreach",
    "while",
    "until",
    "unless",
    "loop",
    "switch",
    "match",
    "case",
    "when",
    "catch",
    "except",
    "try",
    "with",
    "using",
    "return",
    "await",
    "do",
    "synchronized",
    "assert",
];

/// The line that opens the innermost function around the line at `index` (from 0), without what ends it.
pub(super) fn around(lines: &[&[u8]], index: usize) -> Option<String> {
    let from = index.min(lines.len().checked_sub(1)?);
    // An empty line belongs to what follows it.
    let mut depth = (from..lines.len()).take(FAR).find_map(|at| indent(lines[at]))?;
    if opens(lines[from]) && indent(lines[from]).is_some() {
        return Some(shown(lines[from]));
    }
    for line in lines[..from].iter().rev().take(FAR) {
        let Some(here) = indent(line).filter(|here| *here < depth) else { continue };
        if opens(line) {
            return Some(shown(line));
        }
        depth = here;
        if depth == 0 {
            break;
        }
    }
    None
}

/// Columns before the first letter; a tab counts as eight. `None` for lines that are empty or only close something.
fn indent(line: &[u8]) -> Option<usize> {
    let first = line.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r'))?;
    if line[first..].iter().all(|byte| !byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some(line[..first].iter().map(|byte| if *byte == b'\t' { 8 } else { 1 }).sum())
}

/// Whether a line looks like the head of a function.
fn opens(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * WIDEST)]);
    let text = text.trim();
    let Some((head, _)) = text.split_once('(') else { return false };
    let first =
        head.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| !word.is_empty());
    let is_open = text.ends_with(['{', ':', '(', ',', '>']) || text.ends_with("do");
    let keyword = ["fn ", "def ", "func ", "function ", "fun ", "sub "];
    let is_named =
        keyword.iter().any(|word| text.starts_with(word) || head.contains(&format!(" {word}")));
    let is_block = first.is_none_or(|word| BLOCKS.contains(&word));
    let is_comment = ["//", "#", "*", "/*", "--"].iter().any(|mark| text.starts_with(mark));
    // `price(x) {` of a class and `int price(int x) {` are heads; `total += price(x,` is not.
    !is_comment && !is_block && (is_named || (is_open && !head.contains(['=', '.', '"', '\''])))
}

fn shown(line: &[u8]) -> String {
    super::super::commit::printable(&String::from_utf8_lossy(line), WIDEST)
}

#[cfg(test)]
mod tests {
    use super::around;

    fn check(text: &str, expected: Option<&str>) {
        let lines: Vec<&[u8]> = text.split('\n').map(str::as_bytes).collect();
        let at = lines.iter().position(|line| line.ends_with(b"HERE")).unwrap();
        assert_eq!(around(&lines, at).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_function_around_a_line_is_found_by_indentation() {
        check(
            "impl Cart {\n    pub fn load(&self) -> X {\n        for x in y(1) {\n            HERE",
            Some("pub fn load(&self) -> X {"),
        );
        check(
            "class Cart:\n  async def load(self, id):\n    if ok(id):\n      HERE",
            Some("async def load(self, id):"),
        );
        check(
            "public class Cart {\n\tpublic Price load(String id) {\n\t\twhile (true) {\n\n\t\t}\n\t\tHERE",
            Some("public Price load(String id) {"),
        );
        check(
            "func (r *Repo) Load(ctx context.Context) error {\n\tx := call(a,\n\t\tHERE",
            Some("func (r *Repo) Load(ctx context.Context) error {"),
        );
        check("class Cart {\n  load(id) {\n    HERE", Some("load(id) {"));
        check("fn price(a: u8) -> u8 { // HERE", Some("fn price(a: u8) -> u8 { // HERE"));
        check("fn before() {\n    work();\n}\n\nconst HERE", None);
        check("routes:\n  cart:\n    query: HERE", None);
        check("HERE", None);
    }
}
