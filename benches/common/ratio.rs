//! Times of several runs, and how they stand to each other.

use std::fmt;
use std::time::Duration;

/// The times that one contender took, one for each run.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle one, in milliseconds.
    pub fn median_ms(&self) -> f64 {
        middle(self.0.iter().map(|time| time.as_secs_f64() * 1e3).collect())
    }

    /// The ratios to another contender's times, each within one run.
    pub fn ratio_to(&self, other: &Times) -> Ratio {
        let ratios = || self.0.iter().zip(&other.0).map(|(one, other)| one.as_secs_f64() / other.as_secs_f64());
        Ratio {
            median: middle(ratios().collect()),
            least: ratios().fold(f64::INFINITY, f64::min),
            most: ratios().fold(0.0, f64::max),
        }
    }
}

/// The middle one of these numbers; of an even number of them the larger one of the two.
fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// How two contenders stand to each other.
#[derive(Clone, Copy)]
pub struct Ratio {
    pub median: f64,
    least: f64,
    most: f64,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.2} {:>13}", self.median, format!("{:.2}-{:.2}", self.least, self.most))
    }
}

/// What is aimed at, and whether this reaches it.
pub fn verdict(reached: f64, target: Option<f64>) -> String {
    match target {
        Some(target) if reached <= target => format!("<= {target:.2}  met"),
        Some(target) => format!("<= {target:.2}  NOT MET"),
        None => String::new(),
    }
}
