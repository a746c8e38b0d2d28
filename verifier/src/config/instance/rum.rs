//! `rum`: the pages whose browsers may report what they measure to this Serin.
//!
//! Without it nobody can: the doors of `/v1/rum` are open to every page that is listed, so the list is the decision.

use std::collections::{BTreeMap, BTreeSet};

use analysis_providers::RumSettings;
use analysis_providers::rum::Rate;

use crate::config::problem::quote;
use crate::config::reader::{At, Wrong};
use crate::config::values;

/// Beacons of one origin in a second that can be asked for; each is taken in within some microseconds.
const MOST_BEACONS: u32 = 5_000;

/// Reads the settings; what is not written has its default.
pub(super) fn read(at: &At<'_>) -> Option<RumSettings> {
    at.map("a map, e.g. { origins: [https://shop.example] }", |fields| {
        let usual = RumSettings::default();
        let origins = fields.required("origins", "origins: [https://shop.example]");
        let apps = fields.or("apps", BTreeMap::new(), apps);
        let key = fields.get("publicKey").and_then(|at| at.parse("a key", key));
        let rate = fields.or("beaconsPerSecond", usual.origin_rate, rate);
        let origins = origins.and_then(|at| self::origins(&at))?;
        Some(RumSettings { origins, apps, key, origin_rate: rate, ..usual })
    })?
}

fn origins(at: &At<'_>) -> Option<BTreeSet<String>> {
    let items = at.list("a list, e.g. [https://shop.example]")?;
    if items.is_empty() {
        let hint = "write the origins of your pages, or leave `rum` out";
        at.wrong(Wrong::new("no page may report", hint));
    }
    Some(items.iter().filter_map(|at| at.parse("an origin", origin)).collect())
}

/// What a browser sends as `Origin`: scheme, host, and port where it is not the usual one.
fn origin(text: &str) -> Result<String, Wrong> {
    if text.contains('*') {
        let message = format!("{} stands for pages of others too", quote(text));
        return Err(Wrong::new(message, "write each origin, e.g. https://shop.example"));
    }
    let url = values::url(text)?.to_ascii_lowercase();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let origin = format!("{scheme}://{}", host.strip_suffix(usual).unwrap_or(host));
    if origin == url {
        return Ok(origin);
    }
    let message = format!("{} is not an origin as browsers send it", quote(text));
    Err(Wrong::new(message, format!("write {origin}")))
}

/// A key that can stand in an address as it is.
fn key(text: &str) -> Result<String, Wrong> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=100).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not a key that can stand in an address", quote(text));
    Err(Wrong::new(message, "write 1 to 100 letters, digits, hyphens, underscores and dots"))
}

/// Apps, and the service that each is a page of.
fn apps(at: &At<'_>) -> Option<BTreeMap<String, String>> {
    let entries = at.entries("a map of apps and their services, e.g. { shop: checkout }")?;
    let read = |(_, app, at): &(_, &str, At<'_>)| {
        if app.is_empty() || app.len() > 100 || app.contains(char::is_control) {
            let message = format!("{} is not a name of an app", quote(app));
            at.wrong(Wrong::new(message, "write what its pages say, at most 100 bytes"));
            return None;
        }
        Some(((*app).to_owned(), at.parse("the name of a service", values::name)?))
    };
    Some(entries.iter().filter_map(read).collect())
}

fn rate(at: &At<'_>) -> Option<Rate> {
    at.parse("a number, e.g. 200", |text| match text.parse::<u32>() {
        Ok(per_second) if (1..=MOST_BEACONS).contains(&per_second) => {
            Ok(Rate { per_second, burst: per_second * 5 })
        }
        Ok(_) | Err(_) => Err(Wrong::new(
            format!("{} is no possible number of beacons a second", quote(text)),
            format!(
                "write 1 to {MOST_BEACONS}; pages can report a part of their views (data-sample)"
            ),
        )),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Colour, Instance, instance, render_problems};

    fn read(rum: &str) -> Result<Instance, String> {
        let text = format!("repositories: [{{ name: shop, url: /srv/shop.git }}]\n{rum}\n");
        let read = instance("serin.yaml", text.as_bytes(), Path::new("/nowhere"), &|_| None);
        read.map_err(|problems| render_problems(&problems, Colour::Never))
    }

    #[test]
    fn pages_may_report_that_are_listed() {
        assert_eq!(read("").unwrap().rum, None);
        let short = read("rum: { origins: [https://shop.example] }").unwrap().rum.unwrap();
        let origins: BTreeSet<String> = ["https://shop.example".to_owned()].into();
        assert_eq!(short, RumSettings { origins, ..RumSettings::default() });
        let whole = read(
            "rum: { origins: [\"HTTP://Localhost:8080\"], apps: { Web Shop: checkout }, publicKey: k1, beaconsPerSecond: 50 }",
        );
        let whole = whole.unwrap().rum.unwrap();
        assert!(whole.origins.contains("http://localhost:8080"), "{whole:?}");
        assert_eq!(whole.apps["Web Shop"], "checkout");
        assert_eq!(whole.key.as_deref(), Some("k1"));
        assert_eq!(whole.origin_rate, Rate { per_second: 50, burst: 250 });
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_write() {
        let told = read(
            "rum:\n  origins: [https://*.shop.example, shop.example, https://shop.example/cart, https://shop.example:443, https://a:b@c]\n  apps: { shop: Check Out, \"\": x }\n  beaconsPerSecond: 0\n  publicKeys: x",
        );
        insta::assert_snapshot!(told.unwrap_err());
        let empty = [
            "rum: { origins: [] }",
            "rum: {}",
            "rum: on",
            "rum: { origins: [https://a], publicKey: a&b }",
        ]
        .map(|rum| read(rum).unwrap_err());
        insta::assert_snapshot!(empty.join("\n"));
    }
}
