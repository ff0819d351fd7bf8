//! The report from the outside: pages, pictures and JSON of made diagnoses, and the rules of a run folder.

mod pages;
mod pictures;
mod run_folder;
mod samples;
