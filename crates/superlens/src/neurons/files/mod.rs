//! Records of single units in files of the field.

pub mod openai;
