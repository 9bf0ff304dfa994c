//! History: the state of any object at any of its commits, and what is made of that.

pub(crate) mod bookmark;
pub(crate) mod fork;
pub(crate) mod past;
pub(crate) mod pins;
pub(crate) mod restore;
pub(crate) mod sound;
pub(crate) mod version;
