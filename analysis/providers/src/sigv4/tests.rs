//! AWS's own vectors ("aws-signing-test-suite", v4), and that no credential shows.

use super::*;

const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

fn credentials(token: Option<&str>) -> AwsCredentials {
    AwsCredentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: Secret::new(KEY),
        session_token: token.map(Secret::new),
    }
}

fn authorization(request: Unsigned<'_>, token: Option<&str>) -> String {
    let now = "2015-08-30T12:36:00Z".parse().unwrap();
    let headers = sign(request, &credentials(token), "us-east-1", "service", now).unwrap();
    assert_eq!(headers["x-amz-date"], "20150830T123600Z");
    assert_eq!(
        headers.get("x-amz-security-token").map(HeaderValue::as_bytes),
        token.map(str::as_bytes)
    );
    headers["authorization"].to_str().unwrap().to_owned()
}

fn expected(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    )
}

/// Method, address, headers, body, session token, signed headers, signature.
type Vector<'a> =
    (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], Option<&'a str>, &'a str, &'a str);

#[test]
fn the_published_vectors_hold() {
    let host = "https://example.amazonaws.com/";
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let hash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
    let hashed = [form[0], ("content-length", "13"), ("x-amz-content-sha256", hash)];
    let query = format!("{host}?Param-3=Value3&Param=Value2&%E1%88%B4=Value1");
    let vectors: [Vector<'_>; 7] = [
        (
            "GET",
            host,
            &[],
            b"",
            None,
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "POST",
            host,
            &[],
            b"",
            None,
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "GET",
            &query,
            &[],
            b"",
            None,
            "host;x-amz-date",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "POST",
            host,
            &[("My-Header1", "value1")],
            b"",
            None,
            "host;my-header1;x-amz-date",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "GET",
            host,
            &[],
            b"",
            Some(TOKEN),
            "host;x-amz-date;x-amz-security-token",
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        ),
        (
            "POST",
            host,
            &form,
            b"Param1=value1",
            None,
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "POST",
            host,
            &hashed,
            b"Param1=value1",
            None,
            "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        ),
    ];
    for (method, url, headers, body, token, signed, signature) in vectors {
        let request = Unsigned { method, url, headers, body };
        assert_eq!(authorization(request, token), expected(signed, signature), "{method} {url}");
    }
}

#[test]
fn every_part_is_signed() {
    let whole = Unsigned {
        method: "POST",
        url: "https://a.example/p?q=1",
        headers: &[("x-amz-target", "A.B")],
        body: b"{}",
    };
    let others = [
        Unsigned { method: "GET", ..whole },
        Unsigned { url: "https://b.example/p?q=1", ..whole },
        Unsigned { url: "https://a.example/p?q=2", ..whole },
        Unsigned { headers: &[("x-amz-target", "A.C")], ..whole },
        Unsigned { body: b"{} ", ..whole },
    ];
    let first = authorization(whole, None);
    for other in others {
        assert_ne!(authorization(other, None), first, "{other:?}");
    }
}

#[test]
fn no_credential_shows() {
    let credentials = credentials(Some(TOKEN));
    let request = Unsigned { method: "GET", url: "https://a.example/", headers: &[], body: b"" };
    let headers = sign(request, &credentials, "r", "s", Timestamp::UNIX_EPOCH).unwrap();
    let text = format!("{credentials:?} {headers:?}");
    assert!(!text.contains(KEY) && !text.contains(TOKEN) && !text.contains("Signature="), "{text}");
    let broken = Unsigned { url: "https://a b/", ..request };
    let error = sign(broken, &credentials, "r", "s", Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(!error.text.contains(KEY) && !error.text.contains(TOKEN), "{error}");
    insta::assert_snapshot!(error);
}
