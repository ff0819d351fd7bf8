//! What was published of trained models.

mod tests;
