//! How much pods of one arm differ among themselves.
//!
//! Requests of one pod share its node, its neighbours and the age of its caches. A canary of three pods that happen to
//! be slower by a few percent is no worse code, however many requests say so; the same reasoning as the verdict's own
//! (`analysis::sequential::pods`). The variance between pods is taken from both arms, each within itself (one-way
//! analysis of variance), and counts only where it is seen at all.

use std::collections::HashMap;

use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use crate::points::Point;
use crate::statistics::{Moments, len_f64};
use crate::tree::EntrySubtree;

/// Pods count as different from this p-value on.
const DIFFERENT: f64 = 0.1;

/// Requests of a pod before it counts.
const LEAST_REQUESTS: f64 = 5.0;

/// What differing pods add to the variance of a difference between the arms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PodSpread {
    /// Variance of the difference of the arms' means, over the squared mean duration.
    pub(crate) variance: f64,
    /// Pods of both arms, less two.
    pub(crate) freedom: f64,
}

impl PodSpread {
    /// The same for a quantity that changes by `factor` percent when durations change by one.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { variance: self.variance * factor * factor, ..self }
    }
}

/// The spread of pods whose requests take `mean` seconds; none where pods are unknown or alike.
pub(crate) fn pod_spread(points: &[Point], arms: [&[EntrySubtree]; 2], mean: f64) -> PodSpread {
    let mut pods: [HashMap<&str, Moments>; 2] = [HashMap::new(), HashMap::new()];
    for point in points {
        let subtree = arms[point.arm].get(point.row);
        if let Some(pod) = subtree.and_then(|subtree| subtree.entry().resource.instance()) {
            pods[point.arm].entry(pod).or_default().add(point.excess);
        }
    }
    let pods = pods.map(|pods| {
        let mut pods: Vec<Moments> =
            pods.into_values().filter(|pod| pod.n >= LEAST_REQUESTS).collect();
        pods.sort_by(|a, b| a.n.total_cmp(&b.n).then(a.mean().total_cmp(&b.mean())));
        pods
    });
    let (mut between, mut within, mut freedom, mut left, mut size) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for pods in pods.iter().filter(|pods| pods.len() > 1) {
        let all = pods.iter().copied().fold(Moments::default(), Moments::plus);
        for pod in pods {
            between += pod.n * (pod.mean() - all.mean()).powi(2);
            within += pod.variance() * (pod.n - 1.0);
        }
        let many = len_f64(pods.len());
        freedom += many - 1.0;
        left += all.n - many;
        // The usual average number of requests of a pod, where pods have different numbers.
        size += all.n - pods.iter().map(|pod| pod.n * pod.n).sum::<f64>() / all.n;
    }
    if freedom < 1.0 || left < 1.0 || within <= 0.0 || size <= 0.0 || mean <= 0.0 {
        return PodSpread::default();
    }
    let (between, within, size) = (between / freedom, within / left, size / freedom);
    let chance = FisherSnedecor::new(freedom, left).map_or(1.0, |f| f.sf(between / within));
    if chance > DIFFERENT {
        return PodSpread::default();
    }
    let of_pod = ((between - within) / size).max(0.0) / (mean * mean);
    let share: f64 = pods.iter().map(|pods| 1.0 / len_f64(pods.len().max(1))).sum();
    PodSpread { variance: of_pod * share, freedom }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::samples::{span, subtree};
    use crate::span::Resource;

    fn spread(shift: f64) -> PodSpread {
        let pods = 4_u32;
        let of_pod = |pod: u32| {
            let mut span = span("shop", "get");
            let name = format!("p-{pod}");
            let attributes = [("service.instance.id", name.as_str().into())].into_iter().collect();
            span.resource = Arc::new(Resource { service: "shop".into(), attributes });
            subtree(vec![span])
        };
        let arm: Vec<EntrySubtree> = (0..400).map(|number| of_pod(number % pods)).collect();
        let point = |arm: usize, row: u32| Point {
            arm,
            row: usize::try_from(row).unwrap(),
            excess: f64::from(row / pods % 5) - 2.0 + shift * f64::from(row % pods),
            bad: false,
            failed: false,
            first: true,
        };
        let points: Vec<Point> =
            (0..800).map(|at| point(usize::from(at >= 400), at % 400)).collect();
        pod_spread(&points, [&arm, &arm], 10.0)
    }

    #[test]
    fn pods_that_are_alike_add_nothing() {
        assert_eq!(spread(0.0), PodSpread::default());
    }

    #[test]
    fn pods_that_differ_widen_the_difference() {
        // Pods at 0, 1, 2, 3: variance 5/3, halved by four pods in each of two arms, over a mean of 10.
        let found = spread(1.0);
        assert!((found.variance - 5.0 / 3.0 / 2.0 / 100.0).abs() < 3e-4, "{found:?}");
        assert!((found.freedom - 6.0).abs() < 1e-12);
    }
}
