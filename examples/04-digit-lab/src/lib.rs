//! The digit lab: a model small enough to be trained in minutes, and what each method does to it.

pub mod contrast;
pub mod count;
pub mod critique;
pub mod dft;
pub mod documents;
pub mod drafts;
pub mod ensemble;
pub mod explore;
pub mod fait;
pub mod grape;
pub mod lab;
pub mod languages;
pub mod model;
pub mod online;
pub mod otr;
pub mod preference;
pub mod probe;
pub mod table;
pub mod task;
