//! The texts that people read.

use super::*;

#[test]
fn durations_have_the_unit_that_fits() {
    for (seconds, expected) in [
        (0.0, "0 ms"),
        (0.062, "+62.0 ms"),
        (-0.000_25, "-250 us"),
        (12.345, "+12.3 s"),
        (1e-12, "0 ms"),
    ] {
        assert_eq!(signed(seconds), expected);
    }
    assert_eq!([percent(0.004), percent(0.856), percent(0.0)], ["less than 1 %", "86 %", "0 %"]);
    assert_eq!([small(0.04), small(2e-5), small(0.0)], ["0.040", "2e-5", "< 1e-9"]);
    assert_eq!(cut("größer als alles", 8), "größe...");
    assert_eq!(capital("über"), "Über");
}
