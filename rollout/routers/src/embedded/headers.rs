//! What a proxy must change in a request and an answer, and nothing else.
//!
//! Hop-by-hop fields are removed as RFC 9110, 7.6.1 asks, before the proxy adds its own, so that
//! no client can have a forwarded field removed by naming it in `Connection`.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, Version, request};

use super::random::Random;
use super::trace;
use super::upstream::Protocol;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const ONLY_TE: HeaderValue = HeaderValue::from_static("te");
const ONLY_UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// A request without a `Host`, which HTTP/1.1 demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHost;

/// What the rewriting of a request needs to know.
#[derive(Debug)]
pub(super) struct Hop<'a> {
    /// The client's address as a header value.
    pub(super) peer: &'a HeaderValue,
    /// How the instances are spoken to.
    pub(super) protocol: Protocol,
    /// Whether a request without a trace gets one.
    pub(super) start_traces: bool,
    /// Where trace ids come from.
    pub(super) random: &'a Random,
}

/// The protocol that a client wants to change to, if it asked properly (RFC 9110, 7.8).
pub(super) fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    // A change to HTTP/2 is refused by not being passed on: RFC 9113 has withdrawn it.
    let is_http2 = wanted.as_bytes().eq_ignore_ascii_case(b"h2c");
    (version == Version::HTTP_11 && !is_http2 && lists(headers, "upgrade")).then(|| wanted.clone())
}

/// Makes a client's request one that the proxy sends to an instance.
pub(super) fn rewrite_request(
    parts: &mut request::Parts,
    hop: &Hop<'_>,
    upgrade: Option<&HeaderValue>,
) -> Result<(), NoHost> {
    let headers = &mut parts.headers;
    let takes_trailers = headers
        .get_all(TE)
        .iter()
        .any(|te| tokens(te).any(|token| token.eq_ignore_ascii_case("trailers")));
    if headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112, 6.3: the coding overrules the length, which must not be passed on.
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(HTTP2_SETTINGS);
    // hyper answers it towards the client as soon as the instance's connection takes the body.
    headers.remove(EXPECT);

    let host = match parts.uri.authority() {
        // In HTTP/2 and in the absolute form, the target's authority overrules `Host`.
        Some(authority) => {
            let authority = authority.as_str();
            // Without a user and password, which do not belong there (RFC 9110, 4.2.4).
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            HeaderValue::from_str(host).map_err(|_| NoHost)?
        }
        None => match headers.get(HOST) {
            Some(host) => host.clone(),
            None if parts.version < Version::HTTP_11 => HeaderValue::from_static("localhost"),
            None => return Err(NoHost),
        },
    };
    if !headers.contains_key(FORWARDED_HOST) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HTTP);
    }
    append_forwarded_for(headers, hop.peer);
    if hop.start_traces {
        trace::start_if_absent(headers, hop.random);
    }

    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    match hop.protocol {
        Protocol::Http1 => {
            headers.insert(HOST, host);
            join_cookies(headers);
            if takes_trailers {
                headers.insert(TE, TRAILERS);
                headers.insert(CONNECTION, ONLY_TE);
            }
            if let Some(wanted) = upgrade {
                headers.insert(UPGRADE, wanted.clone());
                headers.insert(CONNECTION, ONLY_UPGRADE);
            }
            parts.uri = Uri::from(path);
            parts.version = Version::HTTP_11;
        }
        Protocol::Http2 => {
            if takes_trailers {
                headers.insert(TE, TRAILERS);
            }
            headers.remove(HOST);
            parts.uri = Uri::builder()
                .scheme("http")
                .authority(host.as_bytes())
                .path_and_query(path)
                .build()
                .map_err(|_| NoHost)?;
            parts.version = Version::HTTP_2;
        }
    }
    Ok(())
}

/// Makes an instance's answer one that the proxy gives to a client.
pub(super) fn rewrite_response(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
    if let Some(agreed) = upgrade {
        headers.insert(UPGRADE, agreed.clone());
        headers.insert(CONNECTION, ONLY_UPGRADE);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(tokens)
            // Not fields, or fields that the message cannot be understood without.
            .filter(|token| {
                !["close", "keep-alive", "host", "content-length", "cookie", "authorization"]
                    .iter()
                    .any(|kept| token.eq_ignore_ascii_case(kept))
            })
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut chain: Vec<u8> = Vec::new();
    for earlier in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(earlier.as_bytes());
        chain.extend_from_slice(b", ");
    }
    let value = if chain.is_empty() {
        peer.clone()
    } else {
        chain.extend_from_slice(peer.as_bytes());
        // Joined of valid values, so it is one; should it not be, the client's own word goes.
        HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
    };
    headers.insert(FORWARDED_FOR, value);
}

/// HTTP/2 clients may split cookies, HTTP/1.1 servers need them joined (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(b"; ".as_slice())) {
        headers.insert(COOKIE, joined);
    }
}

fn lists(headers: &HeaderMap, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(option))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or("").split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn rewritten(request: http::request::Builder) -> request::Parts {
        let peer = HeaderValue::from_static("10.0.0.9");
        let random = Random::seeded();
        let hop =
            Hop { peer: &peer, protocol: Protocol::Http1, start_traces: true, random: &random };
        let mut parts = request.body(()).expect("valid request").into_parts().0;
        rewrite_request(&mut parts, &hop, None).expect("has a host");
        parts
    }

    #[test]
    fn fields_named_in_connection_do_not_pass() {
        let parts = rewritten(
            Request::get("/a?b=c")
                .header("host", "shop.test")
                .header("connection", "close, X-Secret ,x-forwarded-for")
                .header("x-secret", "1")
                .header("keep-alive", "timeout=5")
                .header("proxy-connection", "keep-alive")
                .header("te", "gzip")
                .header("x-kept", "2"),
        );
        for gone in ["connection", "x-secret", "keep-alive", "proxy-connection", "te"] {
            assert!(!parts.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(parts.headers["x-kept"], "2");
        assert_eq!(parts.headers["x-forwarded-for"], "10.0.0.9");
        assert_eq!(parts.uri, "/a?b=c");
    }

    #[test]
    fn a_coded_body_has_no_length() {
        let parts = rewritten(
            Request::post("/")
                .header("host", "shop.test")
                .header("transfer-encoding", "chunked")
                .header("content-length", "3"),
        );
        assert!(!parts.headers.contains_key("content-length"));
        assert!(!parts.headers.contains_key("transfer-encoding"));
    }

    #[test]
    fn forwarded_fields_are_appended_and_kept() {
        let parts = rewritten(
            Request::get("http://shop.test/x")
                .header("host", "other.test")
                .header("x-forwarded-for", "1.1.1.1")
                .header("x-forwarded-for", "2.2.2.2")
                .header("x-forwarded-proto", "https"),
        );
        assert_eq!(parts.headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.9");
        assert_eq!(parts.headers["x-forwarded-proto"], "https");
        assert_eq!(parts.headers["x-forwarded-host"], "shop.test");
        assert_eq!(parts.headers["host"], "shop.test");
    }

    #[test]
    fn split_cookies_are_joined() {
        let parts = rewritten(
            Request::get("/").header("host", "h").header("cookie", "a=1").header("cookie", "b=2"),
        );
        assert_eq!(parts.headers["cookie"], "a=1; b=2");
    }
}
