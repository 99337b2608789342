//! What all subcommands say of a bus that they could not use.

use shmif::AttachError;

use crate::fail::Failure;

/// A bus that could not be read. Readers cannot make one, so they are not told to.
pub fn failure(error: &AttachError) -> Failure {
    match error {
        AttachError::NoBus(path) => {
            Failure::new(format!("no bus at {}: start a node first", path.display()))
        }
        other => Failure::new(other.to_string()),
    }
}
