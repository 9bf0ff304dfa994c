//! What the tests share: a small world of objects on a simulated disk, and the model that it is compared with.

pub mod archive;
pub mod chooser;
pub mod crash;
pub mod damage;
pub mod draw;
pub mod failing;
pub mod liar;
pub mod lost;
pub mod model;
pub mod purged;
pub mod real;
pub mod retained;
pub mod s3;
pub mod script;
pub mod simulator;
pub mod sql;
pub mod workload;
pub mod world;
pub mod worlds;
