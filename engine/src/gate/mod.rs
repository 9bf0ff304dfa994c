//! The two gates of an object: the input gate hands out turns, the output gate holds back what is not durable.

pub(crate) mod archived;
pub(crate) mod durability;
pub(crate) mod event;
pub(crate) mod inside;
pub(crate) mod limit;
pub(crate) mod output;
mod parker;
pub(crate) mod turn;
