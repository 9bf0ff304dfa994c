//! History: the commits of an object, the state at any of them, and what is made of that.

pub(crate) mod blame;
pub(crate) mod bookmark;
pub(crate) mod bulk;
pub(crate) mod change;
pub(crate) mod commits;
pub(crate) mod diff;
pub(crate) mod fork;
pub(crate) mod past;
pub(crate) mod pins;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod sound;
mod trail;
pub(crate) mod version;
