//! Published reference values, and everything that must not be believed.

use super::*;

// The example of the Standard Webhooks specification's own libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SECOND: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn key() -> SigningKey {
    SigningKey::parse(SECRET).unwrap()
}

fn check(
    id: Option<&str>,
    timestamp: Option<&str>,
    signature: Option<&str>,
    after: i64,
    expected: Result<&str, VerifyError>,
) {
    let headers = StandardHeaders { id, timestamp, signature };
    let now = Timestamp::from_second(SECOND + after).unwrap();
    assert_eq!(standard(&[key()], &headers, BODY, now), expected, "{headers:?} {after}");
}

#[test]
fn the_reference_message_is_signed_as_published() {
    assert_eq!(sign(&key(), MESSAGE, SECOND, BODY), SIGNED);
}

#[test]
fn an_authentic_message_is_believed_for_five_minutes() {
    let time = SECOND.to_string();
    for after in [0, 300, -300] {
        check(Some(MESSAGE), Some(&time), Some(SIGNED), after, Ok(MESSAGE));
    }
    for after in [301, -301] {
        let stale = Err(VerifyError::Stale { seconds: after });
        check(Some(MESSAGE), Some(&time), Some(SIGNED), after, stale);
    }
}

#[test]
fn one_fitting_signature_of_several_suffices() {
    let time = SECOND.to_string();
    let several = format!("v1a,abcd v1,!! v1,{} {SIGNED}", BASE64.encode([7; 32]));
    check(Some(MESSAGE), Some(&time), Some(&several), 0, Ok(MESSAGE));
    let headers =
        StandardHeaders { id: Some(MESSAGE), timestamp: Some(&time), signature: Some(SIGNED) };
    let now = Timestamp::from_second(SECOND).unwrap();
    let other = SigningKey::parse(&format!("whsec_{}", BASE64.encode([1; 32]))).unwrap();
    assert_eq!(standard(&[other.clone(), key()], &headers, BODY, now), Ok(MESSAGE));
    assert_eq!(standard(&[other], &headers, BODY, now), Err(VerifyError::Mismatch));
    assert_eq!(standard(&[], &headers, BODY, now), Err(VerifyError::Mismatch));
}

#[test]
fn whatever_is_missing_or_changed_is_named() {
    let time = SECOND.to_string();
    let missing = |header| Err(VerifyError::Missing { header });
    let malformed = |header| Err(VerifyError::Malformed { header });
    check(None, Some(&time), Some(SIGNED), 0, missing(ID));
    check(Some(MESSAGE), None, Some(SIGNED), 0, missing(TIMESTAMP));
    check(Some(MESSAGE), Some(&time), None, 0, missing(SIGNATURE));
    check(Some("msg_other"), Some(&time), Some(SIGNED), 0, Err(VerifyError::Mismatch));
    check(Some(MESSAGE), Some("1614265331"), Some(SIGNED), 0, Err(VerifyError::Mismatch));
    check(Some(MESSAGE), Some("+1614265330"), Some(SIGNED), 0, Err(VerifyError::Mismatch));
    check(Some("a.b"), Some(&time), Some(SIGNED), 0, malformed(ID));
    check(Some(&"x".repeat(10_000)), Some(&time), Some(SIGNED), 0, malformed(ID));
    for wrong in ["", "soon", "9223372036854775807", "-9223372036854775808", "1614265330.0"] {
        check(Some(MESSAGE), Some(wrong), Some(SIGNED), 0, malformed(TIMESTAMP));
    }
    for wrong in ["", "v1,", "v2,abcd", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="] {
        let expected =
            if wrong == "v1," { Err(VerifyError::Mismatch) } else { malformed(SIGNATURE) };
        check(Some(MESSAGE), Some(&time), Some(wrong), 0, expected);
    }
    let late = format!("{}{SIGNED}", "v1,AAAA ".repeat(1_000_000));
    check(Some(MESSAGE), Some(&time), Some(&late), 0, Err(VerifyError::Mismatch));
}

#[test]
fn keys_are_checked_and_never_shown() {
    assert_eq!(SigningKey::parse("hunter2").unwrap_err(), KeyError::Prefix);
    assert_eq!(SigningKey::parse("whsec_***").unwrap_err(), KeyError::Base64);
    assert_eq!(SigningKey::parse("whsec_aGk=").unwrap_err(), KeyError::Length { bytes: 2 });
    assert_eq!(SigningKey::of_text("").unwrap_err(), KeyError::Empty);
    assert_eq!(format!("{:?}", key()), "SigningKey(hidden)");
}

#[test]
fn github_signatures_are_verified() {
    // The example of GitHub's page "Validating webhook deliveries".
    let keys = [SigningKey::of_text("It's a Secret to Everybody").unwrap()];
    let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let prefixed = format!("sha256={signature}");
    let body = b"Hello, World!";
    assert_eq!(github(&keys, Some(&prefixed), body), Ok(()));
    assert_eq!(github(&keys, Some(&prefixed.to_uppercase().replace("SHA", "sha")), body), Ok(()));
    assert_eq!(github(&keys, Some(signature), body), Ok(()));
    assert_eq!(github(&keys, Some(&prefixed), b"Hello, World"), Err(VerifyError::Mismatch));
    assert_eq!(github(&[], Some(&prefixed), body), Err(VerifyError::Mismatch));
    let header = GITHUB_SIGNATURE;
    assert_eq!(github(&keys, None, body), Err(VerifyError::Missing { header }));
    for wrong in
        ["", "sha256=", "sha1=abc", &prefixed[..70], &format!("{prefixed}0"), &"\u{e9}".repeat(32)]
    {
        assert_eq!(
            github(&keys, Some(wrong), body),
            Err(VerifyError::Malformed { header }),
            "{wrong}"
        );
    }
}
