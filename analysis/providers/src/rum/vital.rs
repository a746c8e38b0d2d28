//! The web vitals that are judged, and from which value on each is poor.
//!
//! Definitions and thresholds: <https://web.dev/articles/vitals> (web-vitals 6.2). Between good and poor there is
//! "needs improvement"; a check counts only what is poor, since a share of page views can be tested and a mean of
//! such skewed values cannot.

/// A web vital: what one page view was like for the person in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vital {
    /// Largest contentful paint: until the main content showed, in milliseconds.
    Lcp,
    /// Interaction to next paint: the page's slowest answers to clicks and keys, in milliseconds.
    Inp,
    /// Cumulative layout shift: how much the content jumped, without unit.
    Cls,
    /// First contentful paint: until anything showed, in milliseconds.
    Fcp,
    /// Time to first byte: until the server's answer began, in milliseconds.
    Ttfb,
}

impl Vital {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Lcp, Self::Inp, Self::Cls, Self::Fcp, Self::Ttfb];

    /// Its usual name, e.g. `LCP`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lcp => "LCP",
            Self::Inp => "INP",
            Self::Cls => "CLS",
            Self::Fcp => "FCP",
            Self::Ttfb => "TTFB",
        }
    }

    /// The vital of a name in any case; `None` for others, e.g. the retired `FID`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vital| vital.name().eq_ignore_ascii_case(name))
    }

    /// Values above this are poor: milliseconds, for layout shifts without unit.
    pub const fn poor_above(self) -> f64 {
        match self {
            Self::Lcp => 4_000.0,
            Self::Inp => 500.0,
            Self::Cls => 0.25,
            Self::Fcp => 3_000.0,
            Self::Ttfb => 1_800.0,
        }
    }

    /// The threshold for people, e.g. `4000 ms`.
    pub(super) fn threshold(self) -> String {
        match self {
            Self::Cls => self.poor_above().to_string(),
            Self::Lcp | Self::Inp | Self::Fcp | Self::Ttfb => format!("{} ms", self.poor_above()),
        }
    }

    /// Whether a page view with this value is a poor one.
    pub fn is_poor(self, value: f64) -> bool {
        value > self.poor_above()
    }

    /// Whether a page can have measured this: an hour is no page view, and a shift of 1,000 screens no layout.
    pub(super) fn is_real(self, value: f64) -> bool {
        let most = match self {
            Self::Cls => 1_000.0,
            Self::Lcp | Self::Inp | Self::Fcp | Self::Ttfb => 3_600_000.0,
        };
        (0.0..=most).contains(&value)
    }

    pub(super) const fn place(self) -> usize {
        match self {
            Self::Lcp => 0,
            Self::Inp => 1,
            Self::Cls => 2,
            Self::Fcp => 3,
            Self::Ttfb => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poor_begins_above_the_published_threshold() {
        let thresholds = Vital::ALL.map(|vital| (vital.name(), vital.threshold()));
        let told = thresholds.map(|(name, text)| format!("{name} {text}")).join(", ");
        assert_eq!(told, "LCP 4000 ms, INP 500 ms, CLS 0.25, FCP 3000 ms, TTFB 1800 ms");
        for (index, vital) in Vital::ALL.into_iter().enumerate() {
            assert!(!vital.is_poor(vital.poor_above()) && vital.is_poor(vital.poor_above() + 0.01));
            assert_eq!(Vital::named(&vital.name().to_lowercase()), Some(vital));
            assert_eq!(vital.place(), index);
            for wrong in [f64::NAN, f64::INFINITY, -0.1, 1e9] {
                assert!(!vital.is_real(wrong), "{wrong}");
            }
        }
        assert_eq!(Vital::named("FID"), None);
    }
}
