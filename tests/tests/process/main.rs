//! Tests that start processes, mount file systems or talk to a server. They stand apart from those of `engine`: between its fork
//! and its exec, a child holds the locks of every directory that is open here.

mod archive_s3;
mod directories;
mod real_disk;
mod real_process;
mod real_store;
