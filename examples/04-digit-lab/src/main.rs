//! Runs the digit lab's experiments and prints their tables.

fn main() {}
