//! Thin edges to the operating system: the wall clock, files that are replaced whole, threads that
//! must not be missed, who may change what trust hangs on, what the kernel says of our own
//! process, and the service manager.
//!
//! Promises that a replaced file is either the old one or the new one after any crash, and that
//! nobody else in the house reads the wall clock. Knows nothing of calls, records or settings.

mod clock;
mod file;
mod inherit;
mod manager;
mod process;
mod trust;
mod vital;

pub use clock::{unix_micros, unix_millis};
pub use file::{
    FileStamp, create_private_dir, memory_file, move_aside, open_again, place_file, read_bounded,
    replace_file, replace_file_of_owner, rewrite_file, secret_word, sync_dir,
};
pub use inherit::Inherited;
pub use manager::Manager;
pub use process::{Pids, Process, use_small_pages};
pub use trust::{Distrust, Trust};
pub use vital::spawn_vital;
