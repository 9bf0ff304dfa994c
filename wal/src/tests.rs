//! Tests of the log as a whole, on simulated and real disks.

mod crash;
mod damage;
mod fault;
mod log;
mod piece;
mod seed;
mod stress;
mod support;
mod traces;
