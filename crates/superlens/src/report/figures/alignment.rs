//! How far the features lie along single neurons, against the same features turned at random.

use super::overlay::{Overlay, overlay};
use crate::{diagnose::Evidence, report::svg::Figure};

/// `None` without a dictionary.
pub fn alignment(evidence: &Evidence) -> Option<Figure> {
    overlay(&Overlay {
        name: "alignment",
        title: "Do the features lie along the neurons?",
        axis: "share of a feature in its strongest neuron",
        found: ("features found", &evidence.alignment),
        null: ("rotated at random", &evidence.alignment_null),
        caption:
            "One value a feature: its largest squared coordinate over the sum of all. Features that are neurons pile \
                  up at 1. Features that are spread over many neurons fall on the grey outline, which shows the same \
                  features after a random (Haar) rotation: there the neurons are no better than any other axes."
                .to_owned(),
    })
}
