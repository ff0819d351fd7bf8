//! How close the features come to one another, against as many random directions.

use super::overlay::{Overlay, overlay};
use crate::{diagnose::Evidence, report::svg::Figure};

/// `None` without a dictionary.
pub fn coherence(evidence: &Evidence) -> Option<Figure> {
    overlay(&Overlay {
        name: "coherence",
        title: "How close is each feature to its nearest?",
        axis: "|cosine| to the nearest other feature (0: right angle)",
        found: ("features found", &evidence.coherence),
        null: ("random directions", &evidence.coherence_null),
        caption: "One value a feature, measured where every direction in use counts alike. No more features than \
                  dimensions can all stand at right angles (near 0). More of them cannot: they crowd, like as many random \
                  directions (grey), or keep further apart than chance where the network packs them well. Values near \
                  1 would be the same feature found twice."
            .to_owned(),
    })
}
