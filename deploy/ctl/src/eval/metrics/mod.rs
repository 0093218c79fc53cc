//! PURE: what the reports count, each by its textbook definition: classes, calibration, separation, ranking.

/// Accuracy, precision, recall and F1 over classes.
pub mod classes;

/// Whether confidence is what it says.
pub mod calibration;

/// How well a score separates two groups.
pub mod roc;

/// Where in a ranking the right ones stand.
pub mod ranking;
