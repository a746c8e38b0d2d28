//! Pods instead of requests: would other pods of the same version have shown the same?
//!
//! Lemma 1 speaks about these pods. "The new version is worse" needs more: four canary pods can sit on worse
//! machines. Two answers from per-pod counts: how much pods of one version differ (`between_pods_cv`), and by how
//! much the tolerated ratio must grow so that the draw of pods alone hardly exceeds it (`inflated_margin`, (11)).

use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};

use super::as_f64;
use crate::Counts;

/// The tolerated ratio for pods that differ: `r exp(t tau sqrt(1/canary + 1/baseline))` with `tau^2 = ln(1 + cv^2)`
/// and t the quantile of Student's distribution at `1 - alpha/2`, `baseline_pods - 1` degrees of freedom (11).
///
/// Rates of pods are taken as lognormal with coefficient of variation `cv`. The draw of pods alone exceeds the
/// result with probability at most alpha/2; the e-process against it is then to be held to alpha/2 as well.
/// Equal pods (`cv` 0), no canary pod, fewer than two baseline pods or an `alpha` outside (0, 1) leave `ratio`
/// as it is: ask for pods before relying on it. The cost is one quantile, some microseconds.
pub fn inflated_margin(
    ratio: f64,
    cv: f64,
    canary_pods: u32,
    baseline_pods: u32,
    alpha: f64,
) -> f64 {
    if !(cv > 0.0 && cv.is_finite() && 0 < canary_pods && 2 <= baseline_pods) {
        return ratio;
    }
    let Some(quantile) = student_quantile(alpha / 2.0, f64::from(baseline_pods) - 1.0) else {
        return ratio;
    };
    let tau = (cv * cv).ln_1p().sqrt();
    let draws = 1.0 / f64::from(canary_pods) + 1.0 / f64::from(baseline_pods);
    ratio * (quantile * tau * draws.sqrt()).exp()
}

/// Where Student's distribution leaves `tail`, in (0, 1/2), above; nothing otherwise.
///
/// Newton's method from the normal quantile. Student's tail is heavier and convex, so every step stays below the
/// root and the steps end by themselves.
pub fn student_quantile(tail: f64, freedom: f64) -> Option<f64> {
    if !(0.0 < tail && tail < 0.5) {
        return None;
    }
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let mut quantile = Normal::standard().inverse_cdf(1.0 - tail);
    for _ in 0..200 {
        let step = (student.sf(quantile) - tail) / student.pdf(quantile);
        let next = quantile + step;
        if !(next > quantile * (1.0 + 1e-15) && next.is_finite()) {
            break;
        }
        quantile = next;
    }
    quantile.is_finite().then_some(quantile)
}

/// How much rates differ between pods of one version: the coefficient of variation (standard deviation over
/// mean), from the counts of each pod over the same time.
///
/// Method of moments: the weighted variance of the pods' shares less what chance alone gives (Kleinman,
/// "Proportions with extraneous variance", JASA 1973), never negative. Nothing with fewer than two pods with
/// requests, or before the first event.
pub fn between_pods_cv(pods: impl IntoIterator<Item = Counts>) -> Option<f64> {
    let pods: Vec<(f64, f64)> = pods
        .into_iter()
        .filter(|pod| 0 < pod.of)
        .map(|pod| (as_f64(pod.events), as_f64(pod.of)))
        .collect();
    let events: f64 = pods.iter().map(|(events, _)| events).sum();
    let all: f64 = pods.iter().map(|(_, of)| of).sum();
    if pods.len() < 2 || events <= 0.0 {
        return None;
    }
    let share = events / all;
    let (mut spread, mut unequal) = (0.0, 0.0);
    for (events, of) in &pods {
        spread += of * (events / of - share).powi(2);
        unequal += of * (of / all);
    }
    // E[spread] = (m - 1)(share (1 - share) - v) + v (all - unequal), with v the variance between pods.
    let free = as_f64(pods.len() as u64) - 1.0;
    let effective = all - unequal - free;
    if effective <= 0.0 {
        return None;
    }
    let variance = (spread - free * share * (1.0 - share)) / effective;
    Some(variance.max(0.0).sqrt() / share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::draws::Draws;

    #[test]
    fn published_margins_and_quantiles() {
        let quantile = student_quantile(0.005, 35.0).unwrap();
        assert!((quantile / 2.723_805_589_208_091_2 - 1.0).abs() < 1e-12, "{quantile}");
        // Tables: two-sided 1 % with one degree of freedom, and nearly normal with a million.
        assert!((student_quantile(0.005, 1.0).unwrap() - 63.656_741_162_871_6).abs() < 1e-8);
        assert!((student_quantile(0.005, 1e6).unwrap() - 2.575_834).abs() < 2e-6);
        let margin = inflated_margin(1.25, 0.6, 4, 36, 0.01);
        assert!((margin / 2.770_940_255_217_257_5 - 1.0).abs() < 1e-12, "{margin}");
        let alike = [
            inflated_margin(1.25, 0.0, 4, 36, 0.01),
            inflated_margin(1.25, 0.6, 4, 1, 0.01),
            inflated_margin(1.25, 0.6, 0, 36, 0.01),
            inflated_margin(1.25, f64::NAN, 4, 36, 0.01),
            inflated_margin(1.25, 0.6, 4, 36, 0.0),
        ];
        assert!(alike.iter().all(|margin| (margin - 1.25).abs() < 1e-15));
    }

    #[test]
    fn spread_between_pods_is_found_and_chance_is_not_taken_for_it() {
        let mut draws = Draws::new(3);
        for cv in [0.0_f64, 0.3, 0.6] {
            let tau = (cv * cv).ln_1p().sqrt();
            let mut found = 0.0;
            for _ in 0..200 {
                let pods: Vec<Counts> = (0..36)
                    .map(|pod| {
                        let factor = (tau * draws.normal() - tau * tau / 2.0).exp();
                        let of = 20_000 + 1000 * pod;
                        Counts { events: draws.poisson(0.005 * factor * as_f64(of)), of }
                    })
                    .collect();
                found += between_pods_cv(pods).unwrap().powi(2) / 200.0;
            }
            assert!((found.sqrt() - cv).abs() < 0.05, "cv {cv}: {}", found.sqrt());
        }
    }

    #[test]
    fn without_pods_or_events_there_is_no_spread() {
        let pod = |events, of| Counts { events, of };
        assert_eq!(between_pods_cv([]), None);
        assert_eq!(between_pods_cv([pod(3, 10), pod(0, 0)]), None);
        assert_eq!(between_pods_cv([pod(0, 10), pod(0, 10)]), None);
        assert_eq!(between_pods_cv([pod(1, 1), pod(0, 1)]), None);
        assert!(between_pods_cv([pod(5, 1000), pod(5, 1000)]).unwrap().abs() < 1e-15);
    }
}
