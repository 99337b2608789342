//! The header, and C programs that use it.

mod build;
mod header;
mod programs;
