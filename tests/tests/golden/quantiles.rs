//! Kinds about quantiles and shares: confidence sequences from a histogram, a share's confidence sequence and the
//! two-sample p-value of a quantile (Howard and Ramdas, Bernoulli 2022, arXiv 1906.09712, appendix C.5).

use analysis::sequential::{quantile::BetaBinomial, quantile_interval, quantile_radii};
use serde_json::Value;

use crate::{
    case::{Case, Checked, number, numbers},
    stitching::least,
};

/// Radii, order statistics and bounds, by the product's radii; its own interval has to agree.
pub(crate) fn from_histogram(checked: &mut Checked, case: &Case) {
    let bounds = bucket_bounds(&case.input["bucket_upper_bounds"]);
    let counts: Vec<u64> = serde_json::from_value(case.input["bucket_counts"].clone()).unwrap();
    let cumulated: Vec<f64> = counts
        .iter()
        .scan(0.0, |sum, count| {
            *sum += f64::from(u32::try_from(*count).unwrap());
            Some(*sum)
        })
        .collect();
    let total = *cumulated.last().unwrap();
    let (p, alpha, t_opt) = (case.number("p"), case.number("alpha"), case.number("t_opt"));
    let alpha_opt = case.number_or("alpha_opt", 0.05);
    let radii = quantile_radii(p, total, alpha, t_opt, alpha_opt);
    // Where the mixture cannot reach the threshold the reference stays just within the largest possible count.
    let just_within = 1.0 - 1e-12;
    let lower = radii.lower.unwrap_or(p * total * just_within);
    let upper = radii.upper.unwrap_or((1.0 - p) * total * just_within);
    checked.close(case, lower, number(&case.expect["lower_radius"]));
    checked.close(case, upper, number(&case.expect["upper_radius"]));
    let orders = ((p * total - lower + 1.0).floor(), (p * total + upper).ceil());
    for (name, order) in [("lower_order_index", orders.0), ("upper_order_index", orders.1)] {
        if let Some(expected) = case.expect[name].as_f64() {
            checked.within(case, order, expected, 0.0);
        }
    }
    let bucket = |order: f64| cumulated.iter().position(|below| *below >= order);
    let edge = |bucket: Option<usize>| bucket.and_then(|bucket| bounds.get(bucket).copied());
    let low = (orders.0 >= 1.0).then(|| bucket(orders.0)).flatten();
    let low = edge(low.and_then(|bucket| bucket.checked_sub(1)));
    let high = edge(bucket(orders.1));
    // Durations have no value below 0, so that the edge below the lowest bucket bounds nothing.
    let lowest = case.expect["lower"].as_f64().is_some_and(|lower| lower <= 0.0);
    checked.end(case, low, if lowest { &Value::Null } else { &case.expect["lower"] });
    checked.end(case, high, &case.expect["upper"]);
    if (alpha - alpha_opt).abs() < 1e-15 {
        let interval = quantile_interval(&bounds, &counts, p, alpha, t_opt).unwrap();
        // The product gives no bound rather than one that the mixture does not reach.
        checked.equal(case, &interval.lower, &radii.lower.and(low));
        checked.equal(case, &interval.upper, &radii.upper.and(high));
    }
}

/// A share's two-sided confidence sequence.
pub(crate) fn bernoulli(checked: &mut Checked, case: &Case) {
    let (events, trials) = (case.number("num_successes"), case.number("num_trials"));
    let (alpha, t_opt) = (case.number("alpha"), case.number("t_opt"));
    let alpha_opt = case.number_or("alpha_opt", 0.05);
    let share = events / trials;
    let excluded = |p: f64| {
        let variance = p * (1.0 - p);
        let mixture = BetaBinomial::new(variance * t_opt, alpha_opt, p, 1.0 - p);
        mixture.log_mixture((share - p) * trials, variance * trials) >= -alpha.ln()
    };
    let crossing = |mut inside: f64, mut outside: f64| {
        for _ in 0..200 {
            let middle = f64::midpoint(inside, outside);
            if middle <= 0.0 || middle >= 1.0 || excluded(middle) {
                outside = middle;
            } else {
                inside = middle;
            }
        }
        outside
    };
    let lower = if share > 0.0 { crossing(share, 0.0) } else { 0.0 };
    let upper = if share < 1.0 { crossing(share, 1.0) } else { 1.0 };
    let expected = numbers(&case.expect["value"]);
    for (got, expected) in [lower, upper].into_iter().zip(expected) {
        // The reference prints a lower end below 1e-12 as 0.
        checked.within(case, got, expected, case.tolerance * expected.max(1e-6));
    }
}

/// The two-sample p-value: the evidence that no one value is the quantile of both arms.
pub(crate) fn p_value(checked: &mut Checked, case: &Case) {
    let p = case.number("quantile_p");
    let variance = case.number("t_opt") * p * (1.0 - p);
    let mixture = BetaBinomial::new(variance, case.number_or("alpha_opt", 0.05), p, 1.0 - p);
    let arms = ["a", "b"].map(|name| ArmQuantile::new(&mixture, p, values(&case.input[name])));
    let sum = |x: f64| arms[0].least_log(x) + arms[1].least_log(x);
    // Both terms change at values of the arms only, and between them each is least where it may choose.
    let candidates = arms.iter().flat_map(|arm| &arm.sorted);
    let least = candidates.map(|x| sum(*x)).fold(f64::INFINITY, f64::min);
    checked.close(case, (-least).exp().min(1.0), number(&case.expect["p_value"]));
}

/// One arm's evidence against a value being its quantile of order `p`.
struct ArmQuantile<'a> {
    mixture: &'a BetaBinomial,
    p: f64,
    sorted: Vec<f64>,
    /// The share below at which the evidence is least.
    best: f64,
}

impl<'a> ArmQuantile<'a> {
    fn new(mixture: &'a BetaBinomial, p: f64, mut sorted: Vec<f64>) -> Self {
        sorted.sort_by(f64::total_cmp);
        let mut arm = Self { mixture, p, sorted, best: p };
        arm.best = least(&|share| arm.log(share), 0.0, 1.0);
        arm
    }

    fn log(&self, share: f64) -> f64 {
        let size = count(self.sorted.len());
        self.mixture.log_mixture((share - self.p) * size, self.p * (1.0 - self.p) * size)
    }

    /// The least over every share that is consistent with `x`: from the values below it to those up to it.
    fn least_log(&self, x: f64) -> f64 {
        let size = count(self.sorted.len());
        let below = count(self.sorted.partition_point(|value| *value < x)) / size;
        let up_to = count(self.sorted.partition_point(|value| *value <= x)) / size;
        self.log(self.best.clamp(below, up_to))
    }
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// An array of values, or the text of the one formula that the files use.
fn values(input: &Value) -> Vec<f64> {
    let Some(text) = input.as_str() else {
        return numbers(input);
    };
    let (name, formula) = text.split_once(' ').unwrap();
    let literals = literals(formula);
    let (scale, factor, modulus) = (literals[0], literals[1], literals[2]);
    let (offset, last) = match literals[..] {
        [_, _, _, again, digits, first, last] => {
            assert_eq!((again, digits, first), (modulus, 6, 1), "{text}");
            assert_eq!(
                formula,
                format!(
                    "= round({scale}*(({factor}*i) mod {modulus})/{modulus}, 6), i = 1..{last}"
                )
            );
            (0, last)
        }
        [_, _, _, again, offset, digits, first, last] => {
            assert_eq!((again, digits, first), (modulus, 6, 1), "{text}");
            assert_eq!(
                formula,
                format!(
                    "= round({scale}*(({factor}*i) mod {modulus})/{modulus} + {offset}, 6), i = 1..{last}"
                )
            );
            (offset, last)
        }
        _ => panic!("values {name} are given by a formula that this test does not know: {text}"),
    };
    let small = |number: i64| f64::from(i32::try_from(number).unwrap());
    (1..=last)
        .map(|i| {
            let value = small(scale) * small(factor * i % modulus) / small(modulus) + small(offset);
            (value * 1e6).round() / 1e6
        })
        .collect()
}

/// An array of bounds with or without the infinite one, or the text of exponential bounds.
fn bucket_bounds(input: &Value) -> Vec<f64> {
    let Some(text) = input.as_str() else {
        return input.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    };
    let literals = literals(text);
    let [base, per_doubling, first, last] = literals[..] else {
        panic!("bucket bounds are given by a formula that this test does not know: {text}")
    };
    assert_eq!(text, format!("{base}^(i/{per_doubling}), i={first}..{last}, then +Inf"));
    let small = |number: i64| f64::from(i32::try_from(number).unwrap());
    (first..=last).map(|i| small(base).powf(small(i) / small(per_doubling))).collect()
}

/// The whole numbers in a text, with a minus directly before them.
fn literals(text: &str) -> Vec<i64> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '-'))
        .filter(|part| part.chars().any(|c| c.is_ascii_digit()))
        .map(|part| part.parse().unwrap())
        .collect()
}
