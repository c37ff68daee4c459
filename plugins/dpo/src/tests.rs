//! The plugin against a pretend host.
