//! rumpnet for C: the calls that users of rump kernels know, and a stack under a microscope.
//!
//! C programs include `rumpnet.h`, which says what each function does; `docs/c.md` is the guide. Here
//! is how it is made:
//!
//! - [`api`]: the functions, by chapters of the header. They turn what C gives into what Rust takes,
//!   call, and turn the outcome into a return value and `errno`.
//! - `raw`: C's memory, read and written. It and `api` hold all the unsafe code.
//! - `machine`: the stacks of the process, and which of them a thread uses.
//! - `table`: the descriptors of the process.
//! - `descriptor`: a socket with its descriptor; `gate`: what makes that ready when the socket is.
//! - `epoll`: sets of descriptors.
//! - `options`, `message`, `address`: what is written differently in C.
//!
//! The tables are the process's, as descriptors are: a library of C has nowhere else to keep them.

mod address;
#[allow(unsafe_code, reason = "functions that C calls: their arguments are C's promise")]
pub mod api;
mod descriptor;
mod epoll;
mod error;
mod gate;
mod machine;
mod message;
mod options;
#[allow(unsafe_code, reason = "C's memory: pointers and lengths are C's promise")]
mod raw;
mod table;
