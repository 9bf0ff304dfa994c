//! Small worlds, looked at exhaustively.
//!
//! A world is a workload of a few steps. It is lived once, on a simulated disk that keeps a copy of itself from before each
//! operation ([`SimDisk::film`](lineal_wal::sim::SimDisk::film)). From each of these moments the power goes in every way there is: each write and name that was not synced
//! kept or lost, each write torn between sectors in every way, as far as a [budget](odometer::Budget) reaches; beyond it outcomes are
//! drawn, and some are with stale bytes and torn anywhere. States that differ in a byte, or in what had been acknowledged, are told
//! apart by a [number](print::Prints), and each is judged once: what is read is the model's state after all acknowledged steps, and
//! possibly some of those asked for behind them, in their order; all the history of that state is there; everything verifies; writes
//! go on; and opening again changes nothing. Then the recoveries are crashed in the same way, and their recoveries.

pub mod command;
pub mod explore;
pub mod failures;
pub mod faulty;
pub mod keyed;
pub mod library;
pub mod logged;
pub mod odometer;
pub mod print;
pub mod queried;
pub mod rot;
pub mod story;
pub mod tally;
