//! Who may do what: the guard before every handler, and the sign-in of browsers.
//!
//! With a token, programs send it as a bearer and browsers hold a cookie that was made from it.
//! Without one, which only a loopback listener may have, whoever is on the machine is trusted, but
//! no foreign web page is: a request must name a loopback host, which ends DNS rebinding, and one
//! that changes something must not come from another origin.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;

use super::App;
use super::pages::{self, Shell};
use super::problem::Problem;
use crate::clock::now;
use crate::config::Secret;

/// The cookie of a signed-in browser.
const COOKIE: &str = "serin_session";

/// How long a browser stays signed in, in seconds: a month, then the token is asked for again.
const SESSION: i64 = 30 * 24 * 3_600;

/// What decides about a request.
pub(super) struct Access {
    token: Option<Secret>,
    /// Host, and port if it has one, of the public URL.
    public_authority: Option<String>,
    /// Whether the page is reached over https, so that the cookie never travels in the clear.
    secure: bool,
}

impl Access {
    pub(super) fn new(token: Option<Secret>, public_url: String) -> Self {
        let uri = Uri::try_from(public_url).unwrap_or_default();
        let secure = uri.scheme_str() == Some("https");
        let public_authority = uri.authority().map(ToString::to_string);
        Self { token, public_authority, secure }
    }

    /// Whether there is a token to sign in with.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn judge(&self, request: &Request, at: Timestamp) -> Result<(), Refusal> {
        let (path, headers) = (request.uri().path(), request.headers());
        if matches!(path, "/healthz" | "/readyz") {
            return Ok(());
        }
        let Some(token) = &self.token else {
            self.loopback_host(request)?;
            return self.own_origin(request);
        };
        if path.starts_with("/static/") || path.starts_with("/hooks/") {
            return Ok(());
        }
        if path == "/login" {
            return self.own_origin(request);
        }
        if let Some(bearer) = bearer(headers) {
            return if token.matches(bearer.as_bytes()) {
                Ok(())
            } else {
                Err(Refusal::WrongToken)
            };
        }
        if cookie(headers).is_some_and(|cookie| session_holds(token, cookie, at)) {
            return self.own_origin(request);
        }
        Err(Refusal::Unknown)
    }

    /// Against DNS rebinding: a foreign name that resolves to this machine is not ours.
    fn loopback_host(&self, request: &Request) -> Result<(), Refusal> {
        let host = host(request).ok_or(Refusal::ForeignHost)?;
        let name = without_port(host);
        let loopback = name.eq_ignore_ascii_case("localhost")
            || name.to_ascii_lowercase().ends_with(".localhost")
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if loopback || self.public_authority.as_deref() == Some(host) {
            Ok(())
        } else {
            Err(Refusal::ForeignHost)
        }
    }

    /// Against foreign pages that press buttons. Programs that are no browsers send neither header.
    fn own_origin(&self, request: &Request) -> Result<(), Refusal> {
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let header = |name| request.headers().get(name);
        if let Some(site) = header("sec-fetch-site")
            && !matches!(site.as_bytes(), b"same-origin" | b"none")
        {
            return Err(Refusal::ForeignOrigin);
        }
        let Some(origin) = header("origin") else { return Ok(()) };
        let authority =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
        let ours = authority.is_some()
            && (authority == host(request) || authority == self.public_authority.as_deref());
        if ours { Ok(()) } else { Err(Refusal::ForeignOrigin) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    ForeignHost,
    ForeignOrigin,
    WrongToken,
    Unknown,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ForeignHost => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not one of this Serin",
                "use 127.0.0.1 or localhost, or set `publicUrl` in serin.yaml to the name that people use",
            ),
            Refusal::ForeignOrigin => Self::new(
                StatusCode::FORBIDDEN,
                "the request comes from another web page",
                "press the button on Serin's own page; behind a proxy set `publicUrl` in serin.yaml to the address in the browser",
            ),
            Refusal::WrongToken => Self::new(
                StatusCode::UNAUTHORIZED,
                "the token is wrong",
                "send the token that `api.tokenFrom` in serin.yaml names",
            ),
            Refusal::Unknown => Self::new(
                StatusCode::UNAUTHORIZED,
                "a token is needed",
                "send `Authorization: Bearer TOKEN`, or sign in at /login",
            ),
        }
    }
}

/// Lets a request through, or answers it.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.access.judge(&request, now()) {
        Ok(()) => next.run(request).await,
        Err(Refusal::Unknown) if wants_page(&request) => {
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            let next: String = form_urlencoded(path);
            Redirect::to(&format!("/login?next={next}")).into_response()
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

fn wants_page(request: &Request) -> bool {
    request.method() == Method::GET
        && !super::for_programs(request.uri().path())
        && !request.headers().contains_key(pages::FRAGMENT)
}

/// Percent-encodes all but letters, digits and `/-_.`.
fn form_urlencoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        use std::fmt::Write as _;
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
        out
    })
}

fn host(request: &Request) -> Option<&str> {
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    authority.or_else(|| request.headers().get(header::HOST)?.to_str().ok())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// The token that a program sends.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

fn mac(token: &Secret, until: i64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes())
        .expect("HMAC takes keys of every length");
    mac.update(b"serin session until ");
    mac.update(until.to_string().as_bytes());
    mac
}

/// A session: its end, and a proof that whoever holds it knew the token.
fn session(token: &Secret, until: i64) -> String {
    format!("{until}.{}", URL_SAFE_NO_PAD.encode(mac(token, until).finalize().into_bytes()))
}

fn session_holds(token: &Secret, session: &str, at: Timestamp) -> bool {
    let Some((until, proof)) = session.split_once('.') else { return false };
    let (Ok(until), Ok(proof)) = (until.parse::<i64>(), URL_SAFE_NO_PAD.decode(proof)) else {
        return false;
    };
    at.as_second() < until && mac(token, until).verify_slice(&proof).is_ok()
}

#[derive(Deserialize)]
pub(super) struct Onward {
    next: Option<String>,
}

/// A path of ours to go on to; anything else leads to the overview.
fn own_path(next: Option<&str>) -> &str {
    let good = |path: &&str| {
        (*path == "/" || path.starts_with("/services/") || path.starts_with("/deployments/"))
            && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(good).unwrap_or("/")
}

/// The form.
pub(super) async fn login_page(
    State(app): State<Arc<App>>,
    Query(query): Query<Onward>,
) -> Result<Response, Problem> {
    form(&app, own_path(query.next.as_deref()), None, StatusCode::OK)
}

#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
    next: Option<String>,
}

/// Signs a browser in.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    form_body: Result<axum::Form<Login>, axum::extract::rejection::FormRejection>,
) -> Result<Response, Problem> {
    let axum::Form(login) = form_body.map_err(|_| {
        Problem::bad_request(
            "this is not the form of the sign-in",
            "open /login and use the form there",
        )
    })?;
    let next = own_path(login.next.as_deref());
    let Some(token) = &app.access.token else { return Ok(Redirect::to(next).into_response()) };
    if !token.matches(login.token.trim().as_bytes()) {
        tracing::warn!("somebody tried to sign in with a wrong token");
        return form(&app, next, Some("This is not the token."), StatusCode::UNAUTHORIZED);
    }
    let value = session(token, now().as_second() + SESSION);
    let secure = if app.access.secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION}{secure}");
    let cookie = HeaderValue::from_str(&cookie).expect("digits and base64 make a header value");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

/// Signs a browser out.
pub(super) async fn logout() -> Response {
    let cookie =
        HeaderValue::from_static("serin_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

fn form(
    app: &App,
    next: &str,
    problem: Option<&str>,
    status: StatusCode,
) -> Result<Response, Problem> {
    #[derive(serde::Serialize)]
    struct View<'a> {
        next: &'a str,
        problem: Option<&'a str>,
    }
    let shell = Shell { title: "Sign in".to_owned(), signed_in: false, ..Shell::default() };
    let mut response = app.pages.whole("login.html", shell, &View { next, problem })?;
    *response.status_mut() = status;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/api/v1/services");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(axum::body::Body::empty()).unwrap()
    }

    fn open(method: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        Access::new(None, "https://serin.example.org".to_owned())
            .judge(&request(method, headers), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn without_a_token_only_loopback_names_are_answered() {
        for host in [
            "127.0.0.1:8787",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8787",
            "a.localhost:8787",
            "serin.example.org",
        ] {
            assert_eq!(open("GET", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:8787",
            "localhost.evil.example:80",
            "",
        ] {
            assert_eq!(open("GET", &[("host", host)]), Err(Refusal::ForeignHost), "{host}");
        }
    }

    #[test]
    fn no_foreign_page_changes_anything() {
        let host = ("host", "127.0.0.1:8787");
        let foreign = Err(Refusal::ForeignOrigin);
        assert_eq!(open("POST", &[host]), Ok(()));
        assert_eq!(open("POST", &[host, ("origin", "http://127.0.0.1:8787")]), Ok(()));
        assert_eq!(open("POST", &[host, ("origin", "https://serin.example.org")]), Ok(()));
        assert_eq!(open("POST", &[host, ("origin", "http://127.0.0.1:9999")]), foreign);
        assert_eq!(open("POST", &[host, ("origin", "null")]), foreign);
        assert_eq!(open("POST", &[host, ("sec-fetch-site", "cross-site")]), foreign);
        assert_eq!(open("POST", &[host, ("sec-fetch-site", "same-site")]), foreign);
        assert_eq!(open("GET", &[host, ("sec-fetch-site", "cross-site")]), Ok(()));
    }

    #[test]
    fn with_a_token_a_bearer_or_a_session_is_needed() {
        let token = Secret::new("correct horse");
        let access = Access::new(Some(token.clone()), "http://serin.example.org".to_owned());
        let at = Timestamp::from_second(1_000).unwrap();
        let judge =
            |method: &str, headers: &[(&str, &str)]| access.judge(&request(method, headers), at);
        assert_eq!(judge("GET", &[]), Err(Refusal::Unknown));
        assert_eq!(judge("GET", &[("authorization", "Bearer correct horse")]), Ok(()));
        assert_eq!(
            judge("GET", &[("authorization", "Bearer correct hors")]),
            Err(Refusal::WrongToken)
        );
        let cookie = |session: &str| format!("theme=dark; {COOKIE}={session}");
        let good = cookie(&session(&token, 1_001));
        assert_eq!(judge("GET", &[("cookie", &good)]), Ok(()));
        let over = cookie(&session(&token, 1_000));
        assert_eq!(judge("GET", &[("cookie", &over)]), Err(Refusal::Unknown));
        let other = cookie(&session(&Secret::new("another"), 2_000));
        assert_eq!(judge("GET", &[("cookie", &other)]), Err(Refusal::Unknown));
        let longer = cookie(&session(&token, 1_001).replacen("1001", "9999", 1));
        assert_eq!(judge("GET", &[("cookie", &longer)]), Err(Refusal::Unknown));
        let pressed =
            [("cookie", &*good), ("origin", "https://evil.example"), ("host", "serin.example.org")];
        assert_eq!(judge("POST", &pressed), Err(Refusal::ForeignOrigin));
        assert!(!session(&token, 1).contains("horse"));
    }

    #[test]
    fn after_signing_in_one_stays_on_this_page() {
        assert_eq!(
            own_path(Some("/deployments/checkout-1-1?x=1")),
            "/deployments/checkout-1-1?x=1"
        );
        for path in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/services/\nx",
            "/services/\\x",
        ] {
            assert_eq!(own_path(Some(path)), "/", "{path}");
        }
    }
}
