//! What a deployed range changed, by commit and line.

use std::fmt::Write as _;

use analysis_traces::{Frame, Matched, suspect};

use super::*;
use crate::git::{DeployedRange, deployed_range};

/// The range, one line for each place: commit's subject, file, lines, function, text.
fn told(range: &DeployedRange) -> String {
    let mut text = String::new();
    for commit in &range.diff.commits {
        writeln!(text, "{}", commit.subject).unwrap();
        for file in &commit.files {
            if file.hunks.is_empty() {
                writeln!(text, "  {}", file.path).unwrap();
            }
            for hunk in &file.hunks {
                let (start, lines) = (hunk.start, hunk.lines);
                let added = hunk.added.trim_end().replace('\n', " | ");
                writeln!(text, "  {}:{start}+{lines} [{}] {added}", file.path, hunk.function)
                    .unwrap();
            }
        }
    }
    for left_out in range.left_out.told() {
        writeln!(text, "left out: {left_out}").unwrap();
    }
    text
}

fn range(world: &World, from: Oid, to: Oid) -> DeployedRange {
    let found = deployed_range(&world.forge, from, to, None).unwrap();
    world.mirror.fetch().unwrap();
    let mirrored = world.mirror.deployed_range(from, to, None).unwrap();
    assert_eq!(found, mirrored, "a bare mirror tells the same");
    found
}

const CART: &str = "impl Cart {\n    fn load(&self) -> Vec<Item> {\n        let ids = self.ids();\n        self.items(&ids)\n    }\n\n    fn tax(&self) -> u64 {\n        19\n    }\n}\n";

#[test]
fn each_line_belongs_to_the_commit_that_wrote_it() {
    let world = World::new();
    let from = world.commit("Start", &[("src/cart.rs", Some(CART)), ("a.txt", Some("1\n"))]);
    let by_row = CART.replace(
        "        self.items(&ids)\n",
        "        ids.iter()\n            .flat_map(|id| self.item(id))\n            .collect()\n",
    );
    world.commit("Load items one by one", &[("src/cart.rs", Some(&by_row))]);
    let noted = format!("// The cart.\n{by_row}");
    world.commit("Add a note", &[("src/cart.rs", Some(&noted)), ("a.txt", Some("1\n2\n"))]);
    let back = world.commit("Take it back", &[("a.txt", Some("1\n"))]);
    let to = world.commit("Lower the tax", &[("src/cart.rs", Some(&noted.replace("19", "7")))]);
    let found = range(&world, from, to);
    insta::assert_snapshot!(told(&found), @r"
    Load items one by one
      src/cart.rs:5+3 [fn load(&self) -> Vec<Item> {]         ids.iter() |             .flat_map(|id| self.item(id)) |             .collect()
    Add a note
      src/cart.rs:1+1 [] // The cart.
    Take it back
    Lower the tax
      src/cart.rs:11+1 [fn tax(&self) -> u64 {]         7
    ");
    let place = Frame { function: "Cart::load".into(), file: "src/cart.rs".into(), line: Some(6) };
    let suspect = suspect(&[(place, 1.0)], &[], &found.diff).unwrap();
    assert_eq!((suspect.position, suspect.of, suspect.matched), (1, 4, Matched::Line));
    assert_eq!(told(&range(&world, back, back)), "");
}

#[test]
fn removed_lines_and_files_belong_to_who_removed_them() {
    let world = World::new();
    let from = world.commit(
        "Start",
        &[("a.py", Some(&lines(&[]))), ("old.py", Some("x\n")), ("b.py", Some("1\n"))],
    );
    world.commit("Drop the cache", &[("a.py", Some(&lines(&[]).replace("line 7\n", "")))]);
    world.commit("Drop the old", &[("old.py", None)]);
    let without = lines(&[]).replace("line 7\n", "");
    let to = world.commit("Say hello", &[("a.py", Some(&format!("hello\n{without}")))]);
    insta::assert_snapshot!(told(&range(&world, from, to)), @r"
    Drop the cache
      a.py:9+0 [line 6] 
    Drop the old
      old.py
    Say hello
      a.py:1+1 [] hello
    ");
}

#[test]
fn renamed_files_show_what_changed_in_them() {
    let world = World::new();
    let text = lines(&[]);
    let from = world.commit("Start", &[("cart.rs", Some(&text)), ("same.rs", Some("1\n2\n"))]);
    let slow = lines(&[(3, "slow()")]);
    world.commit("Slow it down", &[("cart.rs", Some(&slow))]);
    let rename = [("cart.rs", None), ("src/cart.rs", Some(&*slow))];
    world.commit("Move the cart", &rename);
    let last = lines(&[(3, "slow()"), (9, "more()")]);
    let to = world.commit(
        "More",
        &[("src/cart.rs", Some(&last)), ("same.rs", None), ("other.rs", Some("1\n2\n"))],
    );
    insta::assert_snapshot!(told(&range(&world, from, to)), @r"
    Slow it down
      src/cart.rs:4+1 [line 2] slow()
    Move the cart
    More
      other.rs
      src/cart.rs:10+1 [line 8] more()
    ");
}

#[test]
fn a_merge_gives_way_to_what_it_brought_in() {
    let world = World::new();
    let start = world.commit("Start", &[("a", Some(&lines(&[])))]);
    let one = world.commit_on(&[start], "On the side", &[("a", Some(&lines(&[(2, "side")])))]);
    let two = world.commit_on(&[one], "Still there", &[("b", Some("b\n"))]);
    let main = world.commit("On the branch", &[("a", Some(&lines(&[(9, "main")])))]);
    let both = lines(&[(2, "side"), (9, "main"), (11, "by hand")]);
    let merge = world.commit_on(&[main, two], "Merge", &[("a", Some(&both)), ("b", Some("b\n"))]);
    world.point(merge);
    let last = world.commit("Last", &[("c", Some("c\n"))]);
    insta::assert_snapshot!(told(&range(&world, start, last)), @r"
    On the branch
      a:10+1 [line 8] main
    On the side
      a:3+1 [line 1] side
    Still there
      b:1+1 [] b
    Merge
      a:12+1 [line 10] by hand
    Last
      c:1+1 [] c
    ");
    // From the branch before the merge, only what the merge brought in.
    insta::assert_snapshot!(told(&range(&world, main, last)), @r"
    On the side
      a:3+1 [line 1] side
    Still there
      b:1+1 [] b
    Merge
      a:12+1 [line 10] by hand
    Last
      c:1+1 [] c
    ");
    // An older version is deployed again: no commit of a range did that.
    insta::assert_snapshot!(told(&range(&world, last, main)), @"left out: changed places that no commit of the range made: 4");
}

#[test]
fn only_the_paths_of_the_service_count_and_no_binary_files() {
    let world = World::new();
    let from = world.commit("Start", &[("svc/a/x", Some("1\n")), ("svc/b/x", Some("1\n"))]);
    world.commit("Other", &[("svc/b/x", Some("2\n"))]);
    let big = "0123456789abcde\n".repeat(40_000);
    let to = world.commit(
        "Ours",
        &[
            ("svc/a/x", Some("2\n")),
            ("svc/a/logo", Some("\0\u{1}\u{2}")),
            ("svc/a/package-lock.json", Some(&big)),
            ("svc/a/no newline", Some("one\r\ntwo")),
        ],
    );
    let found = deployed_range(&world.forge, from, to, Some(&paths(&["svc/a/**"]))).unwrap();
    insta::assert_snapshot!(told(&found), @r"
    Ours
      svc/a/no newline:1+2 [] one | two
      svc/a/package-lock.json
      svc/a/x:1+1 [] 2
    left out: changed files that are not text: 1
    left out: changed files too large to compare their lines: 1
    ");
}

#[test]
fn text_is_bounded_and_what_is_cut_is_counted() {
    let world = World::new();
    let from = world.commit("Start", &[("x", Some("1\n"))]);
    let long = "x".repeat(5_000);
    let to = world.commit("Long", &[("y", Some(&format!("{long}\n{long}\n{long}\n")))]);
    let found = range(&world, from, to);
    assert_eq!(found.diff.commits[0].files[0].hunks[0].lines, 3);
    assert_eq!(found.diff.commits[0].files[0].hunks[0].added.len(), 5_001);
    assert_eq!(found.left_out.text, 2 * 5_001);
}

#[test]
fn fifty_commits_over_two_hundred_files_take_less_than_a_second() {
    let world = World::new();
    let name = |file: usize| format!("src/part{}/file{file}.rs", file % 7);
    let text = |file: usize, version: usize| {
        let mut text = String::new();
        for line in 0..400 {
            let changed = if line % 50 == version % 50 { version } else { 0 };
            writeln!(text, "    line {line} of {file}, written by {changed};").unwrap();
        }
        text
    };
    let commit = |version: usize| {
        let files: Vec<(String, String)> = (0..200)
            .filter(|file| version == 0 || file % 10 == version % 10)
            .map(|file| (name(file), text(file, version)))
            .collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (&**path, Some(&**text))).collect();
        world.commit(&format!("Version {version}"), &files)
    };
    let from = commit(0);
    let mut to = from;
    for version in 1..=50 {
        to = commit(version);
    }
    let began = tokio::time::Instant::now();
    let found = deployed_range(&world.forge, from, to, None).unwrap();
    let took = began.elapsed();
    assert_eq!(found.diff.commits.len(), 50);
    let files: usize = found.diff.commits.iter().map(|commit| commit.files.len()).sum();
    assert_eq!(found.left_out.told(), Vec::<String>::new());
    assert!(files >= 200, "{files}");
    assert!(took.as_secs_f64() < 3.0, "{took:?}, with room for a busy machine");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Along one line of history the answer is that of Git's own blame, which walks each file by itself.
    #[test]
    fn lines_belong_to_whom_blame_names(
        edits in proptest::collection::vec(
            proptest::collection::vec((0_usize..30, 0_usize..4, 0_u8..6), 1..5), 1..8,
        ),
    ) {
        let world = World::new();
        let mut text: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
        let mut commits = vec![world.commit("0", &[("x", Some(&text.join("\n")))])];
        for edit in edits {
            for (at, removed, added) in edit {
                let at = at.min(text.len());
                let end = (at + removed).min(text.len());
                // Few different lines, so that some are alike.
                text.splice(at..end, (0..added % 3).map(|line| format!("{added} {line}")));
            }
            let changes = [("x", Some(&*text.join("\n")))];
            commits.push(world.commit(&commits.len().to_string(), &changes));
        }
        let (from, to) = (commits[0], *commits.last().unwrap());
        let found = deployed_range(&world.forge, from, to, None).unwrap();
        let mut options = git2::BlameOptions::new();
        options.newest_commit(to);
        let deployed = world.text(to, "x").unwrap();
        let blame = world.forge.blame_file("x".as_ref(), Some(&mut options)).unwrap();
        for commit in &found.diff.commits {
            for hunk in commit.files.iter().flat_map(|file| &file.hunks) {
                for (line, text) in (hunk.start..hunk.start + hunk.lines).zip(hunk.added.lines()) {
                    let line = usize::try_from(line).unwrap();
                    let wrote = blame.get_line(line).unwrap().final_commit_id().to_string();
                    proptest::prop_assert_eq!(&wrote, &commit.id, "line {}", line);
                    proptest::prop_assert_eq!(Some(text), deployed.lines().nth(line - 1));
                }
            }
        }
    }
}
