//! x
mod files;
mod tree;
